//! Answers are judged as they come: writes by the log, reads by the model at their revision.

use super::clients::Op;
use super::coverage::Point;
use super::history::Learned;
use super::model::answer;
use super::world::{Event, World};
use api::Error as Api;
use api::etcdserverpb::{InternalRaftRequest, RangeRequest};
use apply::Reply;
use mvcc::{Read as _, View};
use server::{Answer, Error};

const ANSWERED: &str = "writes are answered as the log says";
const LINEARIZABLE: &str = "reads say what the log says";

impl World {
    /// A new entry of the log is known.
    pub(crate) fn learned(&mut self, learned: &Learned) {
        let Learned { index, id, request, outcome, events } = learned;
        if self.trace.is_on() {
            let revision = self.history.model.revision;
            let what = format_args!("log {index}: {id:x} at revision {revision}: {outcome:?}");
            self.trace.note(self.now, what);
        }
        let point = match outcome {
            Err(_) => Point::Refused,
            Ok(Reply::Put(_)) => Point::Puts,
            Ok(Reply::DeleteRange(_)) => Point::Deletes,
            Ok(Reply::Txn(txn)) if txn.succeeded => Point::TxnsThen,
            Ok(Reply::Txn(_)) => Point::TxnsElse,
            Ok(Reply::Compaction(_)) => Point::Compactions,
            Ok(Reply::LeaseGrant(grant)) => {
                self.leases.granted(grant.id, grant.ttl);
                Point::Granted
            }
            Ok(Reply::LeaseRevoke(_)) => {
                self.coverage.add(Point::GoneWithLease, *events as u64);
                self.lease_gone(*id, request)
            }
            Ok(_) => return,
        };
        self.coverage.hit(point);
    }

    fn lease_gone(&mut self, id: u64, request: &InternalRaftRequest) -> Point {
        let lease = request.lease_revoke.as_ref().map_or(0, |revoke| revoke.id);
        match self.leases.gone(id, lease, self.now) {
            Ok(true) => Point::Expired,
            Ok(false) => Point::Revoked,
            Err(text) => {
                self.judge("a lease that is kept alive lives", Err(text));
                Point::Expired
            }
        }
    }

    /// A member's answer to a client that may wait for it still.
    pub(crate) fn answered(&mut self, at: usize, seq: u64, told: Answer) {
        if self.trace.is_on() {
            self.trace.note(self.now, format_args!("client {at}.{seq} is told {told:?}"));
        }
        let waits = self.waits(at, seq).cloned();
        let Some(id) = self.clients[at].requests.get(&seq).copied() else {
            return self.confirmed(at, seq, waits, &told);
        };
        let outcome = self.history.outcomes.get(&id);
        let index = match (told, outcome) {
            (Ok(reply), Some((index, Ok(wanted)))) if reply == *wanted => *index,
            (Err(Error::Api(error)), Some((index, Err(wanted)))) if error == *wanted => *index,
            (Err(Error::Api(error)), None) if !is_verdict(&error) => 0,
            (Err(Error::Api(Api::Timeout | Api::Stopped | Api::TooManyRequests)), _) => 0,
            (Err(Error::Other(_)), _) => 0,
            (told, outcome) => {
                let text = format!("client {at}.{seq} is told {told:?} for {outcome:?}");
                return self.judge(ANSWERED, Err(text));
            }
        };
        if waits.is_none() {
            return;
        }
        self.history.acknowledged(index);
        if index == 0 {
            self.coverage.hit(Point::Unknown);
        } else if let Some(Op::Write(request)) = waits {
            let asked_at = self.clients[at].asked_at;
            self.leases.acknowledged(&request, asked_at);
            if self.healing {
                self.wrote.insert(self.clients[at].member.0);
            }
        }
        self.client_done(at, seq);
    }

    /// The member's state is new enough for a client's read.
    fn confirmed(&mut self, at: usize, seq: u64, waits: Option<Op>, told: &Answer) {
        match (waits, told) {
            (Some(Op::Read(_) | Op::Renew(_)), Ok(_)) => {
                // Another thread reads, at its time.
                let (n, life) = self.clients[at].member;
                let delay = self.rng.below(4);
                self.after(delay, Event::Looks(at, seq, n, life, None));
            }
            (Some(op), _) => {
                let renewal = matches!(op, Op::Renew(_));
                self.coverage.add(Point::NotRenewed, u64::from(renewal));
                self.client_done(at, seq);
            }
            (None, _) => {}
        }
    }

    /// A client reads, from a view it has or the one of now.
    pub(crate) fn looks(
        &mut self,
        at: usize,
        seq: u64,
        (n, life): (u64, u64),
        view: Option<Box<View>>,
    ) {
        let Some(op) = self.waits(at, seq).cloned() else { return };
        if !self.lives(n, life) {
            return self.client_done(at, seq);
        }
        if let Op::Renew(id) = op {
            return self.renew(at, seq, id);
        }
        let Some(member) = self.process(n) else { return };
        let view = view.map_or_else(|| member.view(), |view| *view);
        let verdict = match &op {
            Op::Read(range) => {
                self.judge_fresh(at, &view).and_then(|()| self.judge_read(range, &view))
            }
            Op::Serializable(range, hold) => {
                let verdict = self.judge_read(range, &view);
                if *hold > 0 && self.history.model.compacted > view.compact_revision() {
                    self.coverage.hit(Point::HeldViews);
                }
                verdict
            }
            Op::Write(_) | Op::Renew(_) => Ok(()),
        };
        let fresh = matches!(op, Op::Read(_));
        self.coverage.hit(if fresh { Point::Reads } else { Point::SerializableReads });
        if fresh {
            let index = self.history.index_of(view.revision());
            self.history.acknowledged(index);
        } else if view.revision() < self.history.model.revision {
            self.coverage.hit(Point::StaleReads);
        }
        self.judge(
            LINEARIZABLE,
            verdict.map_err(|text| format!("client {at}.{seq} at {n}: {text}")),
        );
        self.client_done(at, seq);
    }

    /// Whether a view has all that was acknowledged before the client asked.
    fn judge_fresh(&self, at: usize, view: &View) -> Result<(), String> {
        let floor = self.clients[at].floor;
        let index = self.history.index_of(view.revision());
        let wanted = self.history.revision_at(floor);
        if index == u64::MAX || view.revision() < wanted {
            return Err(format!("revision {} where {wanted} was acknowledged", view.revision()));
        }
        Ok(())
    }

    fn judge_read(&mut self, range: &RangeRequest, view: &View) -> Result<(), String> {
        let (revision, compacted) = (view.revision(), view.compact_revision());
        let model = &self.history.model;
        let at = if range.revision > 0 { range.revision } else { revision };
        let found = view.range(&apply::range_query(range)).map(apply::range_response);
        let must_fail = at > revision || at < compacted;
        match found {
            Ok(found) if !must_fail => {
                let all = model.range_at(&range.key, &range.range_end, at);
                let wanted = answer(range, all, revision);
                if found != wanted {
                    return Err(format!("of {at} at {revision}: {found:?} for {wanted:?}"));
                }
                self.coverage.add(Point::PastReads, u64::from(range.revision > 0));
                Ok(())
            }
            Err(mvcc::Error::FutureRev) if at > revision => Ok(()),
            Err(mvcc::Error::Compacted) if at < model.compacted => {
                self.coverage.hit(Point::PastReadsCompacted);
                Ok(())
            }
            found => Err(format!("of {at} at {revision}, compacted {compacted}: {found:?}")),
        }
    }
}

/// Whether an error says that an entry was applied and came to nothing.
fn is_verdict(error: &Api) -> bool {
    use Api::{Compacted, FutureRev, KeyNotFound, LeaseExist, LeaseNotFound};
    matches!(error, LeaseNotFound | LeaseExist | Compacted | FutureRev | KeyNotFound)
}
