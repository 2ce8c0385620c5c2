//! Linearizable reads (thesis section 6.4): a read is answered with the commit index at its
//! arrival, once it is sure that no newer leader had committed anything by then.

use super::{Raft, StateType, to};
use crate::NONE;
use crate::planted::{self, Bug};
use crate::ready::ReadState;
use crate::storage::Storage;
use raftpb::{Message, MessageType};

impl<S: Storage> Raft<S> {
    /// Takes a read request, of this node or forwarded by a follower.
    pub(super) fn read_index(&mut self, request: Message) {
        if self.has_committed_in_term() || planted::is(Bug::ReadBeforeCommit) {
            self.start_read(request);
        } else {
            // A new leader does not know yet how far its predecessors have committed. That holds
            // for the only voter too, which Go lets answer at once: a commit index alone is not
            // synced, so after a crash it may be below what was answered before.
            self.pending_reads.push(request);
        }
    }

    /// Whether this node leads, is the only voter, and has committed something in its term: then
    /// whatever was ever committed is at or below its commit index.
    pub(crate) fn decides_alone(&self) -> bool {
        self.state == StateType::Leader
            && self.tracker.is_singleton()
            && self.tracker.config.voters.contains(self.id)
            && self.has_committed_in_term()
    }

    fn start_read(&mut self, request: Message) {
        let commit = self.log.committed;
        // The only voter has nobody to ask. A leader that was removed, and leads on until another
        // is elected, has: the one voter left may be leading already. Go answers at once then.
        let voter = self.tracker.config.voters.contains(self.id);
        let alone = self.tracker.is_singleton() && (voter || planted::is(Bug::RemovedLeaderReads));
        let alone = alone || planted::is(Bug::ReadWithoutQuorum);
        if self.lease_based_reads() || alone {
            self.answer_read(request, commit);
            return;
        }
        self.read_only.add_request(request, commit);
        if let Some(context) = self.read_only.heartbeat_context() {
            self.read_only.receive_ack(self.id, &context);
        }
        self.broadcast_heartbeat();
    }

    /// Takes up the reads that waited for the first commit of the term.
    pub(super) fn release_pending_reads(&mut self) {
        if self.pending_reads.is_empty() || !self.has_committed_in_term() {
            return;
        }
        for request in std::mem::take(&mut self.pending_reads) {
            self.start_read(request);
        }
    }

    /// Notes a follower's confirmation, and answers the reads that have a quorum now.
    pub(super) fn confirm_reads(&mut self, from: u64, context: &[u8]) {
        if self.lease_based_reads() || context.is_empty() {
            return;
        }
        self.read_only.receive_ack(from, context);
        for (request, commit) in self.read_only.confirm(&self.tracker.config.voters) {
            self.answer_read(request, commit);
        }
    }

    fn answer_read(&mut self, mut request: Message, index: u64) {
        let from = request.from();
        if from == NONE || from == self.id {
            let request_ctx =
                request.entries.first_mut().and_then(|entry| entry.data.take()).unwrap_or_default();
            self.read_states.push(ReadState { index, request_ctx });
            return;
        }
        let mut answer = to(from, MessageType::MsgReadIndexResp);
        answer.index = Some(index);
        answer.entries = request.entries;
        self.send(answer);
    }

    fn has_committed_in_term(&self) -> bool {
        self.log.term(self.log.committed) == Some(self.term)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Config, MemoryStorage, RawNode};
    use raftpb::{
        ConfChange, ConfChangeType, ConfState, Entry, HardState, MembershipChange, Message,
        MessageType, Snapshot, SnapshotMetadata,
    };

    /// Entry 3 was committed and answered, but the durable commit index is still 2.
    #[test]
    fn a_lone_voter_that_restarts_answers_no_read_below_what_it_had_committed() {
        let conf_state = Some(ConfState { voters: vec![1], ..ConfState::default() });
        let metadata = Some(SnapshotMetadata { conf_state, index: Some(2), term: Some(1) });
        let mut storage = MemoryStorage::new();
        storage.apply_snapshot(Snapshot { metadata, ..Snapshot::default() }).expect("newer");
        storage.append(&[Entry { index: Some(3), term: Some(1), ..Entry::default() }]);
        storage.set_hard_state(HardState { term: Some(1), vote: Some(1), commit: Some(2) });
        let config = Config { id: 1, pre_vote: false, ..Config::default() };
        let mut node = RawNode::new(config, storage).expect("a valid start");
        node.campaign().expect("not refused");
        let mut asked = false;
        let mut answers = Vec::new();
        while node.has_ready() {
            let ready = node.ready();
            node.storage_mut().append(&ready.entries);
            answers.extend(ready.read_states.iter().map(|state| state.index));
            node.advance();
            if !asked && node.basic_status().soft_state.state == crate::StateType::Leader {
                asked = true;
                assert_eq!(node.basic_status().hard_state.commit(), 2);
                node.read_index("read".into());
            }
        }
        assert_eq!(answers, [4]);
    }

    /// Nodes 1 and 2; 1 leads, and applies its own removal.
    #[test]
    fn a_leader_that_was_removed_asks_the_one_voter_left_before_it_answers_a_read() {
        let conf_state = Some(ConfState { voters: vec![1, 2], ..ConfState::default() });
        let metadata = Some(SnapshotMetadata { conf_state, index: Some(2), term: Some(1) });
        let mut storage = MemoryStorage::new();
        storage.apply_snapshot(Snapshot { metadata, ..Snapshot::default() }).expect("newer");
        let config = Config { id: 1, pre_vote: false, ..Config::default() };
        let mut node = RawNode::new(config, storage).expect("a valid start");
        let mut reads = 0;
        let mut settle = |node: &mut RawNode<MemoryStorage>| {
            while node.has_ready() {
                let ready = node.ready();
                node.storage_mut().append(&ready.entries);
                reads += ready.read_states.len();
                node.advance();
            }
            reads
        };
        let answer = |kind: MessageType, index| Message {
            r#type: Some(kind.into()),
            from: Some(2),
            to: Some(1),
            term: Some(1),
            index: Some(index),
            ..Message::default()
        };
        node.campaign().expect("not refused");
        settle(&mut node);
        node.step(answer(MessageType::MsgVoteResp, 0)).expect("a vote");
        settle(&mut node);
        node.step(answer(MessageType::MsgAppResp, 3)).expect("an acknowledgement");
        settle(&mut node);
        let kind = Some(ConfChangeType::ConfChangeRemoveNode.into());
        let removal = ConfChange { r#type: kind, node_id: Some(1), ..ConfChange::default() };
        node.apply_conf_change(&removal.to_v2()).expect("a valid change");
        node.read_index("read".into());
        assert_eq!(settle(&mut node), 0);
        let echo = Some(bytes::Bytes::copy_from_slice(&1u64.to_le_bytes()));
        let heard = Message { context: echo, ..answer(MessageType::MsgHeartbeatResp, 0) };
        node.step(heard).expect("an answer");
        assert_eq!(settle(&mut node), 1);
    }
}
