//! All invariants together: it is told of each step and remembers the first violation.

use crate::durable::{Durable, Work};
use crate::invariants::{
    Verdict, View, acknowledged::Acknowledged, append_only::AppendOnly, commits::Commits,
    completeness::Completeness, elections::ElectionSafety, log_matching::LogMatching, membership,
    promises, reads::Answer, reads::Reads, restarts, state_machine::StateMachine, stores::Stores,
    terms::Terms,
};
use crate::kv::{Kv, Version, Write, hash_entry};
use crate::store::Held;
use raftpb::{ConfState, Entry, Message};
use std::collections::BTreeMap;

/// What was violated, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The property.
    pub property: &'static str,
    /// Who did what.
    pub text: String,
}

#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) violation: Option<Violation>,
    /// What each node has on disk for certain.
    durable: BTreeMap<u64, Durable>,
    terms: Terms,
    elections: ElectionSafety,
    append_only: AppendOnly,
    log_matching: LogMatching,
    completeness: Completeness,
    commits: Commits,
    machine: StateMachine,
    reads: Reads,
    acknowledged: Acknowledged,
    stores: Stores,
}

impl Oracle {
    /// The judge of a new cluster of so many founders.
    pub(crate) fn new(founders: u64) -> Self {
        let mut oracle = Self::default();
        oracle.terms.begin();
        oracle.commits.begin(founders);
        oracle
    }

    pub(crate) fn judge(&mut self, property: &'static str, verdict: Verdict) {
        if let Err(text) = verdict {
            self.violation.get_or_insert(Violation { property, text });
        }
    }

    /// Looks at a node after it did something; `commit_before` is where it stood. Returns whether
    /// it is a newly elected leader.
    pub(crate) fn observe(&mut self, view: &View<'_>, commit_before: u64) -> bool {
        let verdict = self.terms.observe(view);
        self.judge("terms come from candidates", verdict);
        let elected = match self.elections.observe(view) {
            Ok(elected) => elected,
            Err(text) => {
                self.judge("election safety", Err(text));
                false
            }
        };
        if elected {
            let verdict = self.completeness.elected(view);
            self.judge("leader completeness", verdict);
        }
        let verdict = self.append_only.observe(view);
        self.judge("leader append-only", verdict);
        if view.commit != commit_before {
            if view.commit < commit_before {
                let text = format!("{} goes back to {} of {commit_before}", view.id, view.commit);
                self.judge("commit index never falls", Err(text));
            }
            match self.commits.observe(view, &self.durable) {
                Ok(Some(last)) => self.completeness.committed(view.term, last),
                Ok(None) => {}
                Err(text) => self.judge("commit rule", Err(text)),
            }
        }
        self.judge("configuration in force", membership::observe(view));
        elected
    }

    pub(crate) fn holds(&mut self, id: u64, before: Option<u64>, entries: &[Entry]) {
        let verdict = self.log_matching.holds(id, before, entries);
        self.judge("log matching", verdict);
    }

    /// A message leaves its node. Those about a term still to come are no statement of it.
    pub(crate) fn sent(&mut self, message: &Message) {
        use raftpb::MessageType::{MsgPreVote, MsgPreVoteResp};
        let from = message.from();
        if !matches!(message.r#type(), MsgPreVote | MsgPreVoteResp) {
            let durable = self.durable.get(&from);
            // A leader's appends and a candidate's requests are sent while its disk still works.
            if durable.is_some_and(|durable| durable.term >= message.term()) {
                self.terms.sent(from, message.term());
            }
        }
        let verdict = self.elections.sent(message);
        self.judge("one vote a term", verdict);
        if let Some(durable) = self.durable.get(&from) {
            let verdict = promises::sent(message, durable);
            self.judge("promises are durable", verdict);
        }
    }

    /// Work for the log was done and will be acknowledged. Returns whether it replaced entries.
    pub(crate) fn written(&mut self, id: u64, work: &Work) -> bool {
        let (term, vote) = (work.hard_state.term(), work.hard_state.vote());
        let verdict = self.elections.written(id, term, vote);
        self.judge("one vote a term", verdict);
        self.durable.entry(id).or_default().done(work)
    }

    /// Whether the last entry of `id` on disk lies before `index`.
    pub(crate) fn is_ahead_of_disk(&self, id: u64, index: u64) -> bool {
        self.durable.get(&id).is_none_or(|durable| durable.last_index() < index)
    }

    /// A node starts from its disk. If that is `hurt`, an older snapshot with the log behind it
    /// may stand for the promised one.
    pub(crate) fn restarted(
        &mut self,
        id: u64,
        on_its_way: &[Work],
        found: Durable,
        entries: &[Entry],
        hurt: bool,
    ) {
        let promised = self.durable.entry(id).or_default();
        let mut judged = found.clone();
        if hurt {
            judged.trim(promised.snapshot);
        }
        let mut verdict = restarts::found(id, promised, on_its_way, &judged);
        if hurt && verdict.is_err() {
            // Nor may the log need one of the member's own that was on its way.
            let without: Vec<Work> = on_its_way.iter().map(Work::without_own_snapshot).collect();
            verdict = restarts::found(id, promised, &without, &judged);
        }
        self.judge("restarts find what was promised", verdict);
        let verdict = self.terms.restarted(id, found.term);
        self.judge("terms never fall", verdict);
        self.holds(id, None, entries);
        self.durable.insert(id, found);
    }

    /// Up to where `id` would find its log committed after a crash now.
    pub(crate) fn durable_commit(&self, id: u64) -> u64 {
        let durable = self.durable.get(&id);
        durable.map_or(0, |durable| durable.commit_synced.min(durable.last_index()))
    }

    /// The store of `id` says that it is synced up to `index`.
    pub(crate) fn store_synced(&mut self, id: u64, index: u64) {
        self.stores.synced(id, index);
    }

    /// What a node that starts finds in its store.
    pub(crate) fn store_found(&mut self, id: u64, commit: u64, held: &Held) {
        let verdict = self.stores.found(id, commit, held);
        self.judge("stores lie behind their logs", verdict);
    }

    pub(crate) fn stopped(&mut self, id: u64) {
        self.append_only.stopped(id);
    }

    /// A node applied an entry. `write` is in it if it is one that counts.
    pub(crate) fn applied(
        &mut self,
        id: u64,
        entry: &Entry,
        kv: &Kv,
        write: Option<&Write>,
        commit: u64,
    ) {
        if let Some(write) = write {
            let version = kv.read(write.key);
            if version.index == entry.index() {
                self.machine.wrote(write.key, version);
            }
        }
        self.stores.applied(entry);
        let verdict = self.machine.applied(id, entry, kv, commit);
        self.judge("state machine safety", verdict);
    }

    pub(crate) fn changed(&mut self, id: u64, index: u64, conf_state: &ConfState) {
        let verdict = self.machine.changed(id, index, conf_state);
        self.judge("one membership at an index", verdict);
    }

    pub(crate) fn restored(&mut self, id: u64, kv: &Kv) {
        let verdict = self.machine.restored(id, kv);
        self.judge("snapshots hold the state of their index", verdict);
    }

    /// A client is told that its write is in.
    pub(crate) fn acknowledged(&mut self, entry: &Entry) {
        self.acknowledged.told(entry.index(), hash_entry(entry));
        self.reads.wrote(entry.index());
    }

    /// The highest index that a client was told of.
    pub(crate) fn told(&self) -> u64 {
        self.reads.told()
    }

    pub(crate) fn read_begun(&mut self, client: u64, seq: u64) {
        self.reads.begun(client, seq);
    }

    pub(crate) fn read_answered(&mut self, answer: &Answer) {
        let want: Version = self.machine.version(answer.key, answer.applied);
        let verdict = self.reads.answered(answer, want);
        self.judge("linearizable reads", verdict);
    }

    /// The end of a run: node `id`, with the state `kv`, must have everything.
    pub(crate) fn ended(&mut self, id: u64, kv: &Kv) {
        let verdict = self.acknowledged.all_in(&self.machine, id, kv.applied);
        self.judge("nothing acknowledged is lost", verdict);
        self.restored(id, kv);
    }
}
