//! The door to one node: calls and messages in, [`Ready`] out.
//!
//! ```text
//!   plain:         ready() -> store, send, apply -> advance()
//!   asynchronous:  ready() -> messages, some to the storage threads -> step() their responses
//! ```
//!
//! In the asynchronous form `ready` may be called again before earlier work is done. Messages to
//! one storage thread are to be carried out in order; each carries the responses to deliver,
//! to this node or others, once its work is done, and for appends durable.

use crate::confchange::ChangeError;
use crate::config::{Config, ConfigError};
use crate::log::{EntryId, encoded_size};
use crate::raft::Raft;
use crate::ready::{Peer, Ready, SnapshotStatus, SoftState, StateType};
use crate::status::{BasicStatus, Status};
use crate::storage::Storage;
use crate::tracker::Progress;
use crate::{Error, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, is_local_target};
use bytes::Bytes;
use prost::Message as _;
use raftpb::{
    ConfChange, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType, HardState,
    MembershipChange, Message, MessageType,
};

/// One node of a raft cluster. Owns its [`Storage`].
#[derive(Debug)]
pub struct RawNode<S> {
    raft: Raft<S>,
    async_storage_writes: bool,
    /// As of the last `Ready`.
    soft_state: SoftState,
    hard_state: HardState,
    /// What this node tells itself once the last `Ready` is done.
    steps_on_advance: Vec<Message>,
}

impl<S: Storage> RawNode<S> {
    /// A node that goes on from what its storage holds.
    ///
    /// # Errors
    /// If the configuration does not work, or the storage cannot be read or contradicts itself.
    pub fn new(config: Config, storage: S) -> Result<RawNode<S>, ConfigError> {
        let async_storage_writes = config.async_storage_writes;
        let raft = Raft::new(config, storage)?;
        let (soft_state, hard_state) = (raft.soft_state(), raft.hard_state());
        let steps_on_advance = Vec::new();
        Ok(RawNode { raft, async_storage_writes, soft_state, hard_state, steps_on_advance })
    }

    /// Starts a new cluster: puts a first configuration into the empty log, already committed.
    /// All its members must be given the same `peers`, in the same order.
    ///
    /// # Errors
    /// [`Error::Malformed`] if there are no peers or the log is not empty;
    /// [`Error::Change`] if an id is 0 or they make no valid configuration.
    pub fn bootstrap(&mut self, peers: &[Peer]) -> Result<(), Error> {
        if peers.is_empty() {
            return Err(Error::Malformed { what: "a bootstrap without peers" });
        }
        if self.raft.log.last_index() != 0 {
            return Err(Error::Malformed { what: "a bootstrap of a log that is not empty" });
        }
        // Whatever the hard state says then, it is news to the storage.
        self.hard_state = HardState::default();
        self.raft.become_follower(1, crate::NONE);
        let kind = ConfChangeType::ConfChangeAddNode;
        let change = |peer: &Peer| ConfChange {
            r#type: Some(kind.into()),
            node_id: Some(peer.id),
            context: peer.context.clone(),
            ..ConfChange::default()
        };
        let entries = peers.iter().zip(1u64..).map(|(peer, index)| Entry {
            r#type: Some(EntryType::EntryConfChange.into()),
            term: Some(1),
            index: Some(index),
            data: Some(change(peer).encode_to_vec().into()),
        });
        self.raft.log.append(entries);
        self.raft.log.committed = peers.len() as u64;
        // In force at once, so that the node can campaign; applying them changes nothing then.
        for peer in peers {
            self.raft.apply_conf_change(&change(peer).to_v2())?;
        }
        Ok(())
    }

    /// Lets one tick of time pass.
    pub fn tick(&mut self) {
        self.raft.tick();
    }

    /// Starts an election.
    ///
    /// # Errors
    /// None today; a node that may not campaign does not.
    pub fn campaign(&mut self) -> Result<(), Error> {
        self.raft.step(local(MessageType::MsgHup, crate::NONE))
    }

    /// Proposes data for the log.
    ///
    /// # Errors
    /// [`Error::ProposalDropped`] if it cannot be taken now.
    pub fn propose(&mut self, data: Bytes) -> Result<(), Error> {
        self.propose_entries(vec![Entry { data: Some(data), ..Entry::default() }])
    }

    /// Proposes several entries at once: all are taken, or none. Cheaper than one by one.
    ///
    /// # Errors
    /// As [`Self::propose`].
    pub fn propose_all(&mut self, data: impl IntoIterator<Item = Bytes>) -> Result<(), Error> {
        let entry = |data| Entry { data: Some(data), ..Entry::default() };
        self.propose_entries(data.into_iter().map(entry).collect())
    }

    /// Proposes a change of membership. It may still be replaced by an empty entry, if another is
    /// under way.
    ///
    /// # Errors
    /// [`Error::ProposalDropped`] if it cannot be taken now.
    pub fn propose_conf_change(&mut self, change: &impl MembershipChange) -> Result<(), Error> {
        let (kind, data) = change.to_entry();
        let (r#type, data) = (Some(kind.into()), Some(data));
        self.propose_entries(vec![Entry { r#type, data, ..Entry::default() }])
    }

    fn propose_entries(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        let mut proposal = local(MessageType::MsgProp, self.raft.id);
        proposal.entries = entries;
        self.raft.step(proposal)
    }

    /// Puts a committed change of membership in force, and returns the configuration. To be
    /// called for each such entry as it is applied, in order; a change that the application
    /// finds to be pointless is passed with node ids of 0. Entries that a snapshot stands for,
    /// once it is stored, are applied no more.
    ///
    /// # Errors
    /// If the configuration in force does not allow the change. It then stays as it is; if the
    /// other nodes did otherwise, the cluster is broken.
    pub fn apply_conf_change(&mut self, change: &ConfChangeV2) -> Result<ConfState, ChangeError> {
        self.raft.apply_conf_change(change)
    }

    /// Takes a message from another node, or a response from a storage thread.
    ///
    /// # Errors
    /// [`Error::StepLocalMsg`], [`Error::StepPeerNotFound`] and [`Error::Malformed`] name
    /// messages that must not come from the network; [`Error::ProposalDropped`] a proposal that
    /// cannot be taken now. Either way nothing has changed.
    pub fn step(&mut self, message: Message) -> Result<(), Error> {
        let kind = check_shape(&message)?;
        let from_thread = is_local_target(message.from());
        if kind.is_local() && !from_thread {
            return Err(Error::StepLocalMsg);
        }
        let known = || self.raft.tracker.progress.contains_key(&message.from());
        if kind.is_response() && !from_thread && !known() {
            return Err(Error::StepPeerNotFound);
        }
        self.raft.step(message)
    }

    /// Whether [`Self::ready`] has anything to say.
    pub fn has_ready(&self) -> bool {
        let raft = &self.raft;
        let hard_state = raft.hard_state();
        raft.soft_state() != self.soft_state
            || (!hard_state.is_empty() && hard_state != self.hard_state)
            || raft.log.unstable.next_snapshot().is_some()
            || !raft.messages.is_empty()
            || !raft.messages_after_append.is_empty()
            || raft.log.unstable.has_next_entries()
            || raft.log.has_next_committed_entries(raft.allow_unstable())
            || !raft.read_states.is_empty()
    }

    /// What is to be done now. It counts as handed out.
    ///
    /// # Panics
    /// Without asynchronous storage writes, if the last one was not advanced from.
    pub fn ready(&mut self) -> Ready {
        let allow_unstable = self.raft.allow_unstable();
        let raft = &mut self.raft;
        let (soft_state, hard_state) = (raft.soft_state(), raft.hard_state());
        let entries = raft.log.unstable.next_entries();
        let voted = hard_state.vote() != self.hard_state.vote()
            || hard_state.term() != self.hard_state.term();
        let mut ready = Ready {
            soft_state: (soft_state != self.soft_state).then_some(soft_state),
            hard_state: (hard_state != self.hard_state).then_some(hard_state),
            read_states: std::mem::take(&mut raft.read_states),
            must_sync: !entries.is_empty() || voted,
            entries,
            snapshot: raft.log.unstable.next_snapshot().cloned(),
            committed_entries: raft.log.next_committed_entries(allow_unstable),
            messages: std::mem::take(&mut raft.messages),
        };
        self.soft_state = soft_state;
        self.hard_state = hard_state;
        let promises = std::mem::take(&mut raft.messages_after_append);
        if self.async_storage_writes {
            self.hand_out_to_threads(&mut ready, promises);
        } else {
            self.keep_for_advance(&mut ready, promises);
        }
        let log = &mut self.raft.log;
        log.unstable.accept_in_progress();
        if let Some(last) = ready.committed_entries.last() {
            let size = encoded_size(&ready.committed_entries);
            log.accept_applying(last.index(), size, allow_unstable);
        }
        ready
    }

    fn hand_out_to_threads(&self, ready: &mut Ready, promises: Vec<Message>) {
        let hard_state = ready.hard_state.filter(|state| !state.is_empty());
        let append_needed = !ready.entries.is_empty()
            || hard_state.is_some()
            || ready.snapshot.is_some()
            || !promises.is_empty();
        if append_needed {
            let mut append = local(MessageType::MsgStorageAppend, self.raft.id);
            append.to = Some(LOCAL_APPEND_THREAD);
            append.entries = ready.entries.clone();
            append.term = hard_state.and_then(|state| state.term);
            append.vote = hard_state.and_then(|state| state.vote);
            append.commit = hard_state.and_then(|state| state.commit);
            append.snapshot = ready.snapshot.clone();
            append.responses = promises;
            append.responses.extend(self.append_response(ready));
            ready.messages.push(append);
        }
        if let Some(response) = self.apply_response(ready) {
            let mut apply = local(MessageType::MsgStorageApply, self.raft.id);
            apply.to = Some(LOCAL_APPLY_THREAD);
            apply.term = Some(0);
            apply.entries = ready.committed_entries.clone();
            apply.responses = vec![response];
            ready.messages.push(apply);
        }
    }

    fn keep_for_advance(&mut self, ready: &mut Ready, promises: Vec<Message>) {
        assert!(self.steps_on_advance.is_empty(), "a Ready was not advanced from");
        let id = self.raft.id;
        let (own, others) = promises.into_iter().partition::<Vec<_>, _>(|m| m.to() == id);
        ready.messages.extend(others);
        self.steps_on_advance = own;
        let responses = [self.append_response(ready), self.apply_response(ready)];
        self.steps_on_advance.extend(responses.into_iter().flatten());
    }

    /// What the node is told once all that is unstable now is durable.
    ///
    /// Entries can be replaced and written twice; then an earlier write's response could be
    /// taken for the later one's (an ABA problem). Naming the *last* unstable entry's id and the
    /// present term, always, rules that out: whichever write that was, all before it is durable.
    fn append_response(&self, ready: &Ready) -> Option<Message> {
        let raft = &self.raft;
        let unstable = raft.log.unstable.len() > 0;
        if !unstable && ready.snapshot.is_none() {
            return None;
        }
        let mut response = local(MessageType::MsgStorageAppendResp, LOCAL_APPEND_THREAD);
        response.to = Some(raft.id);
        response.term = Some(raft.term);
        if unstable {
            let EntryId { term, index } = raft.log.last_entry_id();
            response.index = Some(index);
            response.log_term = Some(term);
        }
        response.snapshot = ready.snapshot.clone();
        Some(response)
    }

    /// What the node is told once the committed entries are applied.
    fn apply_response(&self, ready: &Ready) -> Option<Message> {
        if ready.committed_entries.is_empty() {
            return None;
        }
        let mut response = local(MessageType::MsgStorageApplyResp, LOCAL_APPLY_THREAD);
        response.to = Some(self.raft.id);
        // No term: entries that were committed stay committed.
        response.term = Some(0);
        response.entries = ready.committed_entries.clone();
        Some(response)
    }

    /// Tells that the last [`Ready`] is done with: stored, sent, applied.
    ///
    /// # Panics
    /// With asynchronous storage writes: there, responses tell.
    pub fn advance(&mut self) {
        assert!(
            !self.async_storage_writes,
            "advance is for plain Ready; deliver responses instead"
        );
        let mut steps = std::mem::take(&mut self.steps_on_advance);
        for message in steps.drain(..) {
            // A message to itself cannot be refused in a way that matters: it may have become
            // stale, and then is nothing.
            let _ = self.raft.step(message);
        }
        // Keeps the allocation.
        self.steps_on_advance = steps;
    }

    /// The node's state with its members.
    pub fn status(&self) -> Status {
        let leads = self.raft.state == StateType::Leader;
        let tracker = &self.raft.tracker;
        Status {
            basic: self.basic_status(),
            config: tracker.config.clone(),
            progress: if leads { tracker.progress.clone() } else { Default::default() },
        }
    }

    /// The node's state without its members. Allocates nothing.
    pub fn basic_status(&self) -> BasicStatus {
        BasicStatus {
            id: self.raft.id,
            hard_state: self.raft.hard_state(),
            soft_state: self.raft.soft_state(),
            applied: self.raft.log.applied,
            lead_transferee: self.raft.lead_transferee,
        }
    }

    /// Whether this node leads, is the only voter, and has committed something in its term: a
    /// state that holds all up to its commit index is the present, and no read need ask anybody.
    pub fn decides_alone(&self) -> bool {
        self.raft.decides_alone()
    }

    /// Whether there is no other member, learners included.
    pub fn is_alone(&self) -> bool {
        let mut members = self.raft.tracker.progress.keys();
        members.next() == Some(&self.raft.id) && members.next().is_none()
    }

    /// Shows each member's progress to `visitor`, in order of id. Copies nothing.
    pub fn with_progress(&self, mut visitor: impl FnMut(u64, &Progress)) {
        for (id, progress) in &self.raft.tracker.progress {
            visitor(*id, progress);
        }
    }

    /// Tells that a message to `id` could not be sent.
    pub fn report_unreachable(&mut self, id: u64) {
        self.tell(local(MessageType::MsgUnreachable, id));
    }

    /// Tells how the sending of a snapshot to `id` ended. Until told, nothing more is sent there.
    pub fn report_snapshot(&mut self, id: u64, status: SnapshotStatus) {
        let mut report = local(MessageType::MsgSnapStatus, id);
        report.reject = Some(status == SnapshotStatus::Failure);
        self.tell(report);
    }

    /// Asks the leader to hand over to `transferee`.
    pub fn transfer_leader(&mut self, transferee: u64) {
        self.tell(local(MessageType::MsgTransferLeader, transferee));
    }

    /// Forgets who leads, without doubting the term: the node may then vote for another in a
    /// pre-vote. For when the application knows that the leader is gone.
    pub fn forget_leader(&mut self) {
        self.tell(local(MessageType::MsgForgetLeader, crate::NONE));
    }

    /// Asks for an index that is safe to read at. The answer comes as a [`crate::ReadState`] with
    /// the same bytes; it may never come, so the caller asks again after a while.
    pub fn read_index(&mut self, request_ctx: Bytes) {
        let mut request = local(MessageType::MsgReadIndex, crate::NONE);
        request.entries = vec![Entry { data: Some(request_ctx), ..Entry::default() }];
        self.tell(request);
    }

    /// Steps a message of this node's own that cannot be refused.
    fn tell(&mut self, mut message: Message) {
        if message.from() == crate::NONE {
            message.from = None;
        }
        let refused = self.raft.step(message).is_err();
        assert!(!refused, "only proposals can be refused");
    }

    /// The stable log.
    pub fn storage(&self) -> &S {
        &self.raft.log.storage
    }

    /// The stable log, to store what a [`Ready`] holds.
    pub fn storage_mut(&mut self) -> &mut S {
        &mut self.raft.log.storage
    }

    /// Sets the drawn election timeout, until it is drawn anew. For scripted tests.
    #[doc(hidden)]
    pub fn set_randomized_election_timeout(&mut self, ticks: u32) {
        self.raft.set_randomized_election_timeout(ticks);
    }

    /// The index of the last entry, stable or not.
    pub fn last_index(&self) -> u64 {
        self.raft.log.last_index()
    }

    /// The term of the entry at `index`, stable or not; also of the one before the first. `None` if
    /// the log does not know it.
    pub fn term(&self, index: u64) -> Option<u64> {
        self.raft.log.term(index)
    }

    /// All entries from the first to the last, stable or not. For scripted tests.
    #[doc(hidden)]
    pub fn all_entries(&self) -> Vec<Entry> {
        self.raft.log.entries(self.raft.log.first_index(), u64::MAX).unwrap_or_default()
    }
}

fn local(kind: MessageType, from: u64) -> Message {
    Message { r#type: Some(kind.into()), from: Some(from), ..Message::default() }
}

/// Checks what every message must have, so that nothing below has to doubt it.
fn check_shape(message: &Message) -> Result<MessageType, Error> {
    let malformed = |what| Err(Error::Malformed { what });
    let Ok(kind) = MessageType::try_from(message.r#type.unwrap_or_default()) else {
        return malformed("a message of an unknown type");
    };
    // Those ids are no nodes': whatever else bears one was forged, or lost its way.
    let thread_response =
        matches!(kind, MessageType::MsgStorageAppendResp | MessageType::MsgStorageApplyResp);
    if is_local_target(message.from()) && !thread_response {
        return malformed("a message of a storage thread that is no response");
    }
    if message.index() == u64::MAX
        || message.snapshot.as_ref().is_some_and(|s| s.index() == u64::MAX)
    {
        return malformed("a message about an index that no log can reach");
    }
    if kind.is_local() {
        return Ok(kind);
    }
    let needs_sender = !matches!(
        kind,
        MessageType::MsgProp | MessageType::MsgReadIndex | MessageType::MsgForgetLeader
    );
    if needs_sender && message.from() == crate::NONE {
        return malformed("a message from nobody");
    }
    let statement = matches!(
        kind,
        MessageType::MsgApp
            | MessageType::MsgAppResp
            | MessageType::MsgVote
            | MessageType::MsgVoteResp
            | MessageType::MsgPreVote
            | MessageType::MsgPreVoteResp
            | MessageType::MsgSnap
            | MessageType::MsgHeartbeat
            | MessageType::MsgHeartbeatResp
            | MessageType::MsgTimeoutNow
            | MessageType::MsgReadIndexResp
    );
    if statement && message.term() == 0 {
        return malformed("a statement without a term");
    }
    match kind {
        MessageType::MsgApp if !is_log_slice(message) => malformed("an append with a gap"),
        MessageType::MsgSnap if message.snapshot.as_ref().is_none_or(|s| s.is_empty()) => {
            malformed("a snapshot message without a snapshot")
        }
        MessageType::MsgReadIndex if message.entries.len() != 1 => {
            malformed("a read request that is not one entry")
        }
        MessageType::MsgProp if message.entries.is_empty() => {
            malformed("a proposal without entries")
        }
        _ => Ok(kind),
    }
}

/// Whether the entries follow the previous one and each other, with terms that do not fall nor
/// exceed the leader's.
fn is_log_slice(append: &Message) -> bool {
    let mut prev = EntryId { term: append.log_term(), index: append.index() };
    for entry in &append.entries {
        let id = EntryId::of(entry);
        if prev.index.checked_add(1) != Some(id.index) || id.term < prev.term {
            return false;
        }
        prev = id;
    }
    prev.term <= append.term()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStorage;

    #[test]
    fn forged_senders_and_impossible_indexes_are_refused_and_change_nothing() {
        let config = Config { id: 1, ..Config::default() };
        let mut node = RawNode::new(config, MemoryStorage::new()).expect("a valid start");
        let before = node.basic_status().hard_state;
        let message =
            |kind, from, index| Message { term: Some(9), index: Some(index), ..local(kind, from) };
        let forged = [LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD].into_iter().flat_map(|from| {
            [MessageType::MsgApp, MessageType::MsgVote, MessageType::MsgVoteResp]
                .map(|kind| message(kind, from, 0))
        });
        let impossible = [MessageType::MsgApp, MessageType::MsgVote, MessageType::MsgAppResp]
            .map(|kind| message(kind, 2, u64::MAX));
        for message in forged.chain(impossible) {
            let kind = message.r#type();
            let refused = node.step(message);
            assert!(matches!(refused, Err(Error::Malformed { .. })), "{kind:?}: {refused:?}");
        }
        assert_eq!(node.basic_status().hard_state, before);
        assert!(!node.has_ready());
    }
}
