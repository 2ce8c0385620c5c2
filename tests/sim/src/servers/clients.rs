//! Clients: each does one thing at a time, at any member. What is not answered in time has an
//! unknown outcome, and the client goes on.

use super::coverage::Point;
use super::world::{Event, World};
use crate::plan::Millis;
use api::etcdserverpb::{InternalRaftRequest, RangeRequest};
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Write(Box<InternalRaftRequest>),
    /// Of the present.
    Read(RangeRequest),
    /// Of what the member has; `hold` is how long the client has the view before it reads.
    Serializable(RangeRequest, Millis),
    Renew(i64),
}

impl Op {
    /// The operation in few words: requests have many fields, of which most are empty.
    fn told(&self) -> String {
        let Self::Write(request) = self else { return format!("{self:?}") };
        let request = format!("{request:?}");
        let fields = request.split(", ").filter(|field| !field.ends_with(": None"));
        fields.collect::<Vec<_>>().join(", ")
    }
}

#[derive(Debug, Default)]
pub(crate) struct Client {
    /// Number of the last operation.
    pub(crate) seq: u64,
    pub(crate) waiting: Option<Op>,
    pub(crate) asked_at: Millis,
    /// What was acknowledged, to anybody, before it asked.
    pub(crate) floor: u64,
    /// The member it asked, and in which life of it.
    pub(crate) member: (u64, u64),
    /// Requests that it gave up.
    pub(crate) unknown: Vec<u64>,
    /// The requests it put into logs, by operation.
    pub(crate) requests: BTreeMap<u64, u64>,
}

impl World {
    pub(crate) fn client_acts(&mut self, at: usize) {
        if self.healing || self.clients[at].waiting.is_some() {
            return;
        }
        let up = self.up();
        if up.is_empty() {
            return self.after(20, Event::ClientActs(at));
        }
        let op = self.draw_op(at);
        // Whoever takes itself for the leader will do.
        let leads = |n: &u64| self.places[n].process.as_ref().is_some_and(|its| its.raft().leads);
        let leaders: Vec<u64> = up.iter().copied().filter(leads).collect();
        let odds = if matches!(op, Op::Renew(_)) { 850 } else { 500 };
        let to_leader = !leaders.is_empty() && self.rng.per_mille(odds);
        let n = self.rng.pick(if to_leader { &leaders } else { &up });
        self.ask(at, op, n);
    }

    pub(crate) fn ask(&mut self, at: usize, op: Op, n: u64) {
        let (now, floor) = (self.now, self.history.floor);
        let client = &mut self.clients[at];
        client.seq += 1;
        (client.asked_at, client.floor) = (now, floor);
        let seq = client.seq;
        if self.trace.is_on() {
            self.trace.note(now, format_args!("client {at}.{seq} asks {n}: {}", op.told()));
        }
        self.clients[at].waiting = Some(op);
        let (life, delay) = (self.life_of(n), self.rng.below(4));
        self.clients[at].member = (n, life);
        self.after(delay, Event::Arrives(at, seq, n, life));
        self.after(self.plan.patience, Event::ClientGivesUp(at, seq));
    }

    pub(crate) fn arrives(&mut self, at: usize, seq: u64, n: u64, life: u64) {
        let Some(op) = self.waits(at, seq).cloned() else { return };
        if !self.lives(n, life) {
            // Refused by the machine; nothing was asked of anybody.
            return self.client_done(at, seq);
        }
        let waiter = self.waiter(at, seq);
        let Some(member) = self.process(n) else { return };
        match op {
            Op::Write(request) => {
                let id = member.submit((*request).clone(), waiter);
                if id != 0 {
                    self.history.submitted(id, *request);
                    self.clients[at].requests.insert(seq, id);
                }
            }
            Op::Read(_) => member.confirm(waiter),
            Op::Serializable(_, hold) => {
                let view = Box::new(member.view());
                if hold == 0 {
                    return self.looks(at, seq, (n, life), Some(view));
                }
                return self.after(hold, Event::Looks(at, seq, n, life, Some(view)));
            }
            Op::Renew(_) => member.confirm_lead(waiter),
        }
        self.take_answers();
        self.wake(n);
    }

    /// A lease whose renewal is sure gets its time.
    pub(crate) fn renew(&mut self, at: usize, seq: u64, id: i64) {
        let (n, _) = self.clients[at].member;
        let Some(member) = self.process(n) else { return };
        let renewed = member.renew(id);
        self.trace.note(self.now, format_args!("client {at}.{seq}: {id:x} {renewed:?}"));
        match renewed {
            Ok(lease::Renewal::Renewed(ttl)) => {
                let asked_at = self.clients[at].asked_at;
                let verdict = self.leases.renewed(id, ttl, asked_at);
                self.judge("renewals say what was granted", verdict);
                self.coverage.hit(Point::Renewed);
            }
            Ok(lease::Renewal::ForgetCheckpoint) => {
                self.judge("nobody checkpoints", Err(format!("{id:x}")));
            }
            Err(_) => self.coverage.hit(Point::NotRenewed),
        }
        self.client_done(at, seq);
    }

    pub(crate) fn client_gives_up(&mut self, at: usize, seq: u64) {
        if let Some(op) = self.waits(at, seq) {
            if matches!(op, Op::Write(_)) {
                self.coverage.hit(Point::Unknown);
                let id = self.clients[at].requests.get(&seq).copied();
                self.clients[at].unknown.extend(id);
            }
            self.client_done(at, seq);
        }
    }

    /// A client has its answer, or none, and thinks a while.
    pub(crate) fn client_done(&mut self, at: usize, seq: u64) {
        if self.clients[at].seq == seq && self.clients[at].waiting.take().is_some() {
            let pause = self.rng.between(1, self.plan.pause_max);
            self.after(pause, Event::ClientActs(at));
        }
    }
}
