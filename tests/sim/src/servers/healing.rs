//! The end of a run: no more faults, all members up. The cluster must take a write at each member
//! within bounded time, everybody must apply everything, leases that nobody keeps alive must run
//! out, watchers must have been told all, and all states must be equal.

use super::clients::Op;
use super::coverage::Point;
use super::plan::HEALING_MAX;
use super::world::{Event, World};
use crate::plan::Millis;
use api::etcdserverpb::{InternalRaftRequest, PutRequest};
use std::collections::BTreeMap;

/// How often somebody looks after the cluster.
const LOOK: Millis = 100;

impl World {
    pub(crate) fn heal(&mut self) {
        self.trace.note(self.now, format_args!("no more faults"));
        self.healing = true;
        self.network.calm();
        for place in self.places.values_mut() {
            place.stalled_until = 0;
            place.paused_until = place.paused_until.min(self.now);
        }
        let deadline = self.now + HEALING_MAX;
        for at in 0..self.clients.len() {
            let seq = self.clients[at].seq;
            self.client_gives_up(at, seq);
        }
        self.after(0, Event::Mend);
        while self.step() {
            if let Some(why_not) = self.unhealed() {
                if self.now > deadline {
                    return self.judge("progress without faults", Err(why_not));
                }
            } else {
                return self.compare_members();
            }
        }
    }

    /// Starts what is down, and asks each member for a write until it took one.
    pub(crate) fn mend(&mut self) {
        self.after(LOOK, Event::Mend);
        for n in self.places.keys().copied().collect::<Vec<_>>() {
            self.start(n);
        }
        let at = self.clients.len() - 1;
        let seq = self.clients[at].seq;
        if self.clients[at].waiting.is_some() {
            if self.now > self.clients[at].asked_at + 1500 {
                self.client_gives_up(at, seq);
            }
            return;
        }
        if let Some(n) = self.places.keys().copied().find(|n| !self.wrote.contains(n)) {
            let put = PutRequest {
                key: format!("last{n}").into(),
                value: seq.to_string().into(),
                ..PutRequest::default()
            };
            let request = InternalRaftRequest { put: Some(put), ..<_>::default() };
            self.ask(at, Op::Write(Box::new(request)), n);
        }
    }

    /// What is still to come; nothing once the cluster is as it must be.
    fn unhealed(&self) -> Option<String> {
        if self.wrote.len() < self.places.len() {
            return Some(format!("only {:?} took a write", self.wrote));
        }
        let last = self.history.last();
        for (n, place) in &self.places {
            let Some(member) = &place.process else { return Some(format!("{n} is down")) };
            let index = member.with_machine(apply::StateMachine::consistent_index);
            if index < last || member.applied() < last {
                let raft = member.raft();
                return Some(format!("{n} applied {index} of {last}: {raft:?}"));
            }
            if member.with_machine(|machine| machine.mvcc().is_compacting()) {
                return Some(format!("{n} has yet to end a compaction"));
            }
        }
        if !self.history.model.leases.is_empty() {
            return Some(format!("leases that nobody keeps: {:?}", self.history.model.leases));
        }
        let model = &self.history.model;
        let behind = self
            .watchers
            .iter()
            .position(|watcher| watcher.judge.due(model, model.revision).next().is_some());
        behind.map(|at| format!("watcher {at} waits at {}", self.watchers[at].judge.next))
    }

    /// All members at the same index have the same bytes, and say the same hashes.
    fn compare_members(&mut self) {
        let revision = self.history.model.revision;
        let compacted = self.history.model.compacted.max(1);
        // By what is hashed: all, or keys of some revisions.
        let mut hashes: BTreeMap<Option<(i64, i64)>, (u64, u32)> = BTreeMap::new();
        let mut verdict = Ok(());
        for (n, place) in &self.places {
            let Some(member) = &place.process else { continue };
            let view = member.view();
            let mut found = Vec::new();
            let whole = member.with_machine(apply::StateMachine::image).hash();
            found.push(whole.map(|hash| (None, hash)).map_err(|error| error.to_string()));
            for at in [revision, (revision + compacted) / 2, compacted] {
                let hash = view.hash_by_revision(at).map_err(|error| error.to_string());
                // One that a compaction made also counts what that dropped.
                found.push(hash.map(|its| (Some((at, its.compact_revision)), its.hash)));
            }
            for found in found {
                verdict = verdict.and_then(|()| {
                    let (what, hash) = found?;
                    let (first, wanted) = *hashes.entry(what).or_insert((*n, hash));
                    let same = hash == wanted;
                    same.then_some(()).ok_or_else(|| {
                        format!("of {what:?} {first} has {wanted:x}, {n} has {hash:x}")
                    })
                });
            }
        }
        self.judge("equal hashes at equal revisions", verdict);
        self.coverage.add(Point::HashesCompared, u64::from(self.places.len() > 1));
        let unknown = self.clients.iter().flat_map(|client| client.unknown.iter());
        let applied = unknown.filter(|id| self.history.outcomes.contains_key(id)).count();
        self.coverage.add(Point::UnknownApplied, applied as u64);
    }
}
