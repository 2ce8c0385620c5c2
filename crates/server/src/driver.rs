//! The stage around raft: proposals, messages, reads and time go in; appends, applies, messages
//! to peers and answered reads come out.
//!
//! Invariants:
//! - it never waits: not for a disk, a peer or the apply stage. At most [`WORK_MAX`] pieces of
//!   work are with the log and with the apply stage each, so that their channels are never full;
//! - a read is answered once this member has applied the index that a quorum confirmed after the
//!   read arrived. All reads that wait share one round, and the next starts when it ends;
//! - a received snapshot goes to the log first, then to the apply stage, and raft goes on behind
//!   both;
//! - proposals that arrive while there is no leader wait for one, as in etcd, until whoever
//!   proposed gives up. Those that other members sent here wait as well, and those that come while
//!   the lead is handed over: etcd loses these.
//!
//! What it is not: a thread or a clock ([`crate::threads`] has those).

use crate::Error;
use crate::planted::{self, Bug};
use apply::Reply;
use bytes::Bytes;
use raft::{LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, MemoryStorage, RawNode, SoftState, StateType};
use raftpb::{ConfChange, Entry, MembershipChange, Message, MessageType, Snapshot};
use std::collections::{BTreeMap, VecDeque};
use tokio::sync::oneshot;

/// Pieces of work with one stage, at most.
pub(crate) const WORK_MAX: usize = 64;

/// Proposals that wait for a leader, at most, and of others; then new ones are refused.
const HELD_MAX: usize = 4096;

/// Changes of members that wait for a leader, at most.
const CHANGES_HELD_MAX: usize = 64;

/// Ticks after which an unanswered round of reads is asked again (etcd: 500 ms).
const READ_RETRY_TICKS: u32 = 5;

/// The last index of the log that a member has, if there is such a member, and the leader's own;
/// `None` from a member that does not lead.
pub(crate) type Matches = Option<(Option<u64>, u64)>;

/// What the driver is told. What is rare and large is in a box: thousands of these wait at times.
#[derive(Debug)]
pub(crate) enum Input {
    /// Time passes.
    Tick,
    /// So many ticks count as passed: an election need not wait for them.
    Advance(u32),
    /// An entry for the log.
    Propose {
        id: u64,
        data: Bytes,
    },
    /// The same, unless another leads: it is not passed on.
    ProposeAsLeader {
        id: u64,
        data: Bytes,
    },
    /// A change of members for the log.
    Configure {
        id: u64,
        change: ConfChange,
    },
    /// How much of the log a member has, and this one.
    Matches {
        id: u64,
        answer: oneshot::Sender<Matches>,
    },
    /// A voter is to lead in this member's place.
    TransferLead {
        to: u64,
    },
    /// A linearizable read, by its id.
    Read(u64),
    /// What raft says of itself.
    Status {
        answer: oneshot::Sender<raft::Status>,
    },
    /// From a peer.
    Step(Box<Message>),
    /// What was appended is durable.
    Appended(Box<Message>),
    /// What was applied is visible.
    Applied(Applied),
    /// The log up to here is in a snapshot.
    Compact {
        snapshot: Box<Snapshot>,
        keep: u64,
    },
    Unreachable(u64),
    SnapshotSent {
        to: u64,
        status: raft::SnapshotStatus,
    },
}

/// What the apply stage did with one piece of work.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// Index of the last entry applied.
    pub index: u64,
    /// Changes of members, in order; `None` for one that was refused.
    pub changes: Vec<Option<ConfChange>>,
    /// What those who asked for the changes are told once raft has them in force.
    pub replies: Vec<(u64, Result<Reply, Error>)>,
    /// For raft.
    pub responses: Vec<Message>,
}

/// What is to be done, in any order.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub to_peers: Vec<Message>,
    pub appends: Vec<Message>,
    pub applies: Vec<Message>,
    /// What requests came to: proposals that raft did not take, changes of members, reads.
    pub replies: Vec<(u64, Result<Reply, Error>)>,
    /// Who leads, if that changed.
    pub soft_state: Option<SoftState>,
    /// Rounds of reads that another leader was asked for.
    pub reads_failed: u64,
    /// Rounds of reads that were asked again.
    pub reads_asked_again: u64,
}

/// What others may know of raft's state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Progress {
    pub term: u64,
    pub lead: u64,
    pub leads: bool,
    pub committed: u64,
    pub last_index: u64,
    /// Whether what is applied here is the present, with nobody to ask.
    pub decides_alone: bool,
}

#[derive(Debug)]
struct Round {
    context: u64,
    ticks: u32,
    reads: Vec<u64>,
}

/// The stage.
#[derive(Debug)]
pub(crate) struct Driver {
    id: u64,
    raw: RawNode<MemoryStorage>,
    proposals: Vec<(u64, Bytes)>,
    /// Changes of members, which wait for a leader as proposals do.
    changes: Vec<(u64, ConfChange)>,
    /// Those that wait for a leader, each with the tick after which nobody waits for it.
    held: VecDeque<(u64, (u64, Bytes))>,
    /// Those of other members.
    held_of_others: VecDeque<(u64, Message)>,
    reads: Vec<u64>,
    round: Option<Round>,
    rounds: u64,
    /// Reads confirmed at an index that is not applied yet.
    confirmed: BTreeMap<u64, Vec<u64>>,
    /// Ticks after which whoever waits for an answer has been told that it took too long.
    request_ticks: u32,
    applied: u64,
    /// The commit index when this node was first found to decide alone; `None` while it does not.
    alone_from: Option<u64>,
    appends_out: usize,
    applies_out: usize,
    /// Index of a snapshot that the state machine takes in, and what the log has for raft since:
    /// raft hears of all in order, or it takes its log to end with the snapshot.
    installing: Option<(u64, Vec<Message>)>,
    lead: u64,
    ticks: u64,
}

impl Driver {
    /// `applied` is the last index applied; a request is forgotten `request_ticks` ticks after it
    /// came.
    pub(crate) fn new(
        id: u64,
        raw: RawNode<MemoryStorage>,
        applied: u64,
        request_ticks: u32,
    ) -> Self {
        let mut driver = Self {
            id,
            raw,
            proposals: Vec::new(),
            changes: Vec::new(),
            held: VecDeque::new(),
            held_of_others: VecDeque::new(),
            reads: Vec::new(),
            round: None,
            rounds: 0,
            confirmed: BTreeMap::new(),
            request_ticks,
            applied,
            alone_from: None,
            appends_out: 0,
            applies_out: 0,
            installing: None,
            lead: raft::NONE,
            ticks: 0,
        };
        driver.campaign_alone();
        driver
    }

    /// Takes all of `inbox` and says what is to be done now.
    pub(crate) fn step(&mut self, inbox: &mut Vec<Input>, out: &mut Outbox) {
        for input in inbox.drain(..) {
            self.take(input, out);
        }
        self.propose(out);
        self.start_round();
        while self.appends_out < WORK_MAX && self.applies_out < WORK_MAX && self.raw.has_ready() {
            self.take_ready(out);
            self.start_round();
        }
        let alone = self.raw.decides_alone();
        let committed = || self.raw.basic_status().hard_state.commit();
        self.alone_from = alone.then(|| self.alone_from.unwrap_or_else(committed));
    }

    /// Pieces of work that the log has not answered, those just given out among them.
    pub(crate) fn appends_out(&self) -> usize {
        self.appends_out
    }

    /// The same of the apply stage.
    pub(crate) fn applies_out(&self) -> usize {
        self.applies_out
    }

    /// Whether this member decides alone and there is nobody to send anything to.
    pub(crate) fn serves_nobody_else(&self) -> bool {
        self.alone_from.is_some() && self.raw.is_alone()
    }

    pub(crate) fn progress(&self) -> Progress {
        let basic = self.raw.basic_status();
        Progress {
            term: basic.hard_state.term(),
            lead: basic.soft_state.lead,
            leads: basic.soft_state.state == StateType::Leader,
            committed: basic.hard_state.commit(),
            last_index: self.raw.last_index(),
            decides_alone: self.alone_from.is_some_and(|from| from <= self.applied),
        }
    }

    /// Committed entries behind `after`, as far as the log has them in memory.
    pub(crate) fn committed_entries(&self, after: u64) -> Vec<Entry> {
        let committed = self.raw.basic_status().hard_state.commit();
        let mut entries = self.raw.all_entries();
        entries.retain(|entry| after < entry.index() && entry.index() <= committed);
        entries
    }

    fn take(&mut self, input: Input, out: &mut Outbox) {
        match input {
            Input::Tick => self.tick(out),
            Input::Advance(ticks) => (0..ticks).for_each(|_| self.raw.tick()),
            Input::Propose { id, data } => self.proposals.push((id, data)),
            Input::ProposeAsLeader { id, data } => self.propose_as_leader(id, data, out),
            Input::Configure { id, change } => self.changes.push((id, change)),
            Input::Matches { id, answer } => {
                // Whoever asked may have gone.
                let _ = answer.send(self.matches(id));
            }
            Input::TransferLead { to } => self.raw.transfer_leader(to),
            Input::Read(id) => self.reads.push(id),
            Input::Status { answer } => {
                // As above.
                let _ = answer.send(self.raw.status());
            }
            Input::Step(message) if message.r#type() == MessageType::MsgProp => {
                self.step_proposal(self.ticks + u64::from(self.request_ticks), *message);
            }
            Input::Step(message) => self.step_raft(*message),
            Input::Appended(message) => self.take_appended(*message, out),
            Input::Applied(applied) => self.take_applied(applied, out),
            Input::Compact { snapshot, keep } => self.compact(*snapshot, keep),
            Input::Unreachable(id) => self.raw.report_unreachable(id),
            Input::SnapshotSent { to, status } => self.raw.report_snapshot(to, status),
        }
    }

    fn tick(&mut self, out: &mut Outbox) {
        self.ticks += 1;
        self.raw.tick();
        let now = self.ticks;
        while self.held.pop_front_if(|(until, _)| *until < now).is_some() {}
        while self.held_of_others.pop_front_if(|(until, _)| *until < now).is_some() {}
        let request_ticks = self.request_ticks;
        // Nobody waits for its reads any more; those that came meanwhile are the next round.
        self.round.take_if(|round| round.ticks >= request_ticks);
        if let Some(round) = &mut self.round {
            round.ticks += 1;
            if round.ticks % READ_RETRY_TICKS == 0 {
                out.reads_asked_again += 1;
                self.raw.read_index(context_bytes(round.context));
            }
        }
    }

    fn take_appended(&mut self, message: Message, out: &mut Outbox) {
        self.appends_out -= 1;
        let storage = self.raw.storage_mut();
        if let Some(snapshot) = &message.snapshot {
            storage.apply_snapshot(snapshot.clone()).expect("raft takes newer snapshots only");
        }
        storage.append(&message.entries);
        if let Some(snapshot) = &message.snapshot {
            // Raft hears of it once the state machine stands there too; until then it gives out
            // nothing to apply.
            self.applies_out += 1;
            self.installing = Some((snapshot.index(), Vec::new()));
            out.applies.push(message);
        } else if let Some((_, later)) = &mut self.installing
            && !planted::is(Bug::AppendsOvertakeSnapshot)
        {
            later.extend(message.responses);
        } else {
            self.deliver(message.responses, out);
        }
    }

    fn take_applied(&mut self, applied: Applied, out: &mut Outbox) {
        self.applies_out -= 1;
        self.applied = applied.index;
        for change in applied.changes {
            // Compat: a refused change is passed with an id of 0, which only ends its being
            // under way.
            let change = change.unwrap_or_default();
            self.raw.apply_conf_change(&change.to_v2()).expect("it was checked when proposed");
        }
        self.deliver(applied.responses, out);
        let installed = self.installing.take_if(|(index, _)| *index == applied.index);
        self.deliver(installed.map(|(_, later)| later).unwrap_or_default(), out);
        out.replies.extend(applied.replies);
        if self.lead == raft::NONE {
            self.campaign_alone();
        }
        let later = self.confirmed.split_off(&(self.applied + 1));
        let now = std::mem::replace(&mut self.confirmed, later);
        out.replies.extend(now.into_values().flatten().map(confirmed));
    }

    /// A cluster of one need not wait for others to be silent.
    fn campaign_alone(&mut self) {
        let status = self.raw.status();
        let alone = status.config.voters.ids().into_iter().eq([self.id]);
        if alone && status.basic.soft_state.state == StateType::Follower {
            // None today; a node that may not campaign yet does not.
            let _ = self.raw.campaign();
        }
    }

    fn compact(&mut self, snapshot: Snapshot, keep: u64) {
        let index = snapshot.index();
        let conf_state = snapshot.metadata.and_then(|metadata| metadata.conf_state);
        let storage = self.raw.storage_mut();
        let data = snapshot.data.unwrap_or_default();
        // Another one, received meanwhile, may be newer; then there is nothing to do.
        if storage.create_snapshot(index, conf_state, data).is_ok() && index > keep {
            // Entries that are gone already need not go.
            let _ = storage.compact(index - keep);
        }
    }

    fn matches(&self, id: u64) -> Matches {
        let status = self.raw.status();
        let own = status.progress.get(&self.id)?.matched;
        Some((status.progress.get(&id).map(|progress| progress.matched), own))
    }

    /// At once, as what else has come may end its lead. Whoever takes itself for the leader and is
    /// none gets it into its own log at most, where it is never committed.
    fn propose_as_leader(&mut self, id: u64, data: Bytes, out: &mut Outbox) {
        if planted::is(Bug::RevocationsPassedOn) {
            return self.proposals.push((id, data));
        }
        let leads = self.raw.basic_status().soft_state.state == StateType::Leader;
        if !leads || self.raw.propose(data).is_err() {
            out.replies.push((id, Err(api::Error::NotLeader.into())));
        }
    }

    /// Gives raft all proposals at once.
    fn propose(&mut self, out: &mut Outbox) {
        if self.lead != raft::NONE {
            for (id, change) in self.changes.drain(..) {
                if let Err(error) = self.raw.propose_conf_change(&change) {
                    out.replies.push((id, Err(Error::Other(error.to_string()))));
                }
            }
        }
        let surplus = self.changes.len().saturating_sub(CHANGES_HELD_MAX);
        for (id, _) in self.changes.drain(..surplus) {
            out.replies.push((id, Err(api::Error::TooManyRequests.into())));
        }
        let until = self.ticks + u64::from(self.request_ticks);
        if self.lead == raft::NONE {
            for proposal in std::mem::take(&mut self.proposals) {
                self.hold(until, proposal, out);
            }
            return;
        }
        for (until, message) in std::mem::take(&mut self.held_of_others) {
            self.step_proposal(until, message);
        }
        if self.held.is_empty() && self.proposals.is_empty() {
            return;
        }
        let mut batch = std::mem::take(&mut self.held);
        batch.extend(self.proposals.drain(..).map(|proposal| (until, proposal)));
        match self.raw.propose_all(batch.iter().map(|(_, (_, data))| data.clone())) {
            Ok(()) => {}
            // The lead is being handed over, or was lost just now.
            Err(raft::Error::ProposalDropped) => {
                batch.into_iter().for_each(|(until, proposal)| self.hold(until, proposal, out));
            }
            Err(error) => {
                let told = |id| (id, Err(Error::Other(error.to_string())));
                out.replies.extend(batch.into_iter().map(|(_, (id, _))| told(id)));
            }
        }
    }

    fn hold(&mut self, until: u64, proposal: (u64, Bytes), out: &mut Outbox) {
        if self.held.len() < HELD_MAX {
            self.held.push_back((until, proposal));
        } else {
            out.replies.push((proposal.0, Err(api::Error::TooManyRequests.into())));
        }
    }

    /// A proposal that another member sent here, thinking that this one leads.
    fn step_proposal(&mut self, until: u64, message: Message) {
        let from = message.from();
        match self.raw.step(message.clone()) {
            Ok(()) => {}
            Err(raft::Error::ProposalDropped) if self.held_of_others.len() < HELD_MAX => {
                self.held_of_others.push_back((until, message));
            }
            Err(error) => tracing::debug!(from, %error, "raft refused a proposal"),
        }
    }

    fn start_round(&mut self) {
        if self.reads.is_empty() || self.round.is_some() {
            return;
        }
        self.rounds += 1;
        let reads = std::mem::take(&mut self.reads);
        self.round = Some(Round { context: self.rounds, ticks: 0, reads });
        self.raw.read_index(context_bytes(self.rounds));
    }

    fn take_ready(&mut self, out: &mut Outbox) {
        let ready = self.raw.ready();
        if let Some(soft_state) = ready.soft_state {
            self.lead_changes(soft_state.lead, out);
            out.soft_state = Some(soft_state);
            self.propose(out);
        }
        for state in ready.read_states {
            let round =
                self.round.take_if(|round| context_bytes(round.context) == state.request_ctx);
            let Some(round) = round else { continue };
            if state.index <= self.applied || planted::is(Bug::ReadsBeforeApply) {
                out.replies.extend(round.reads.into_iter().map(confirmed));
            } else {
                self.confirmed.entry(state.index).or_default().extend(round.reads);
            }
        }
        for message in ready.messages {
            match message.to() {
                LOCAL_APPEND_THREAD => {
                    self.appends_out += 1;
                    out.appends.push(message);
                }
                LOCAL_APPLY_THREAD => {
                    self.applies_out += 1;
                    out.applies.push(message);
                }
                _ => out.to_peers.push(message),
            }
        }
    }

    /// Reads of a round that another leader was asked for are told: it may never be answered. A
    /// round that nobody was there to answer is asked again at once.
    fn lead_changes(&mut self, lead: u64, out: &mut Outbox) {
        let changed = lead != self.lead && lead != raft::NONE && self.lead != raft::NONE;
        let found = self.lead == raft::NONE && lead != raft::NONE;
        self.lead = lead;
        if let Some(round) = self.round.as_ref().filter(|_| found) {
            self.raw.read_index(context_bytes(round.context));
        }
        if changed && let Some(round) = self.round.take() {
            out.reads_failed += 1;
            let told = |id| (id, Err(api::Error::LeaderChanged.into()));
            out.replies.extend(round.reads.into_iter().map(told));
        }
    }

    fn deliver(&mut self, responses: Vec<Message>, out: &mut Outbox) {
        for message in responses {
            if message.to() == self.id {
                self.step_raft(message);
            } else {
                out.to_peers.push(message);
            }
        }
    }

    fn step_raft(&mut self, message: Message) {
        let (kind, from) = (message.r#type(), message.from());
        if let Err(error) = self.raw.step(message) {
            tracing::debug!(?kind, from, %error, "raft refused a message");
        }
    }
}

fn confirmed(read: u64) -> (u64, Result<Reply, Error>) {
    (read, Ok(Reply::Done))
}

fn context_bytes(round: u64) -> Bytes {
    Bytes::copy_from_slice(&round.to_be_bytes())
}

#[cfg(test)]
mod tests;
