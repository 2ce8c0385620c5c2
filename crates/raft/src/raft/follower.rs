//! A node that follows: it takes what the leader sends, and passes on what clients ask.

use super::election::Campaign;
use super::{Raft, to};
use crate::log::EntryId;
use crate::planted::{self, Bug};
use crate::ready::{ReadState, StateType};
use crate::storage::Storage;
use crate::tracker::ProgressTracker;
use crate::{Error, NONE, confchange};
use raftpb::{Message, MessageType, Snapshot};
use tracing::{debug, info, warn};

impl<S: Storage> Raft<S> {
    pub(super) fn step_follower(
        &mut self,
        message: Message,
        kind: MessageType,
    ) -> Result<(), Error> {
        match kind {
            MessageType::MsgProp => {
                if self.lead == NONE || self.config.disable_proposal_forwarding {
                    return Err(Error::ProposalDropped);
                }
                self.forward(message);
            }
            MessageType::MsgApp | MessageType::MsgHeartbeat | MessageType::MsgSnap => {
                self.election_elapsed = 0;
                self.lead = message.from();
                self.hear_leader(message, kind);
            }
            MessageType::MsgTransferLeader | MessageType::MsgReadIndex => {
                if self.lead == NONE {
                    info!(id = self.id, ?kind, "no leader to forward a request to; dropped it");
                } else {
                    self.forward(message);
                }
            }
            MessageType::MsgForgetLeader => {
                // The lease is a promise not to look for another leader.
                if self.lease_based_reads() {
                    warn!(id = self.id, "ignored a call to forget the leader: reads rely on it");
                } else {
                    self.lead = NONE;
                }
            }
            // The leader wants it, so no pre-vote: nobody else is disturbed.
            MessageType::MsgTimeoutNow => self.hup(Campaign::Transfer),
            MessageType::MsgReadIndexResp => self.receive_read_index(message),
            _ => {}
        }
        Ok(())
    }

    fn forward(&mut self, mut message: Message) {
        message.to = Some(self.lead);
        // With a term the leader could take it for one of another time.
        message.term = None;
        self.send(message);
    }

    fn receive_read_index(&mut self, mut message: Message) {
        let index = message.index();
        match (message.entries.pop(), message.entries.is_empty()) {
            (Some(mut request), true) => {
                let request_ctx = request.data.take().unwrap_or_default();
                self.read_states.push(ReadState { index, request_ctx });
            }
            _ => warn!(id = self.id, from = message.from(), "read index answer to no one request"),
        }
    }

    /// Takes what the leader of this term sent.
    pub(super) fn hear_leader(&mut self, message: Message, kind: MessageType) {
        match kind {
            MessageType::MsgApp => self.handle_append(message),
            MessageType::MsgHeartbeat => self.handle_heartbeat(message),
            _ => self.handle_snapshot(message),
        }
    }

    fn handle_append(&mut self, message: Message) {
        let from = message.from();
        let prev = EntryId { term: message.log_term(), index: message.index() };
        let mut answer = to(from, MessageType::MsgAppResp);
        if prev.index < self.log.committed {
            // An old append; what is committed is the same as the leader's.
            answer.index = Some(self.log.committed);
            if planted::is(Bug::AcknowledgesTheMessage) {
                answer.index = Some(prev.index + message.entries.len() as u64);
            }
            self.send(answer);
            return;
        }
        let commit = message.commit();
        if let Some(last) = self.log.maybe_append(prev, message.entries, commit) {
            answer.index = Some(last);
            self.send(answer);
            return;
        }
        // Where this log may match is at most where its term is not above the leader's: the
        // leader need not probe every index in between.
        let hint = prev.index.min(self.log.last_index());
        let (hint, hint_term) = self.log.find_conflict_by_term(hint, prev.term);
        debug!(id = self.id, from, index = prev.index, hint, hint_term, "rejected an append");
        answer.index = Some(prev.index);
        answer.reject = Some(true);
        answer.reject_hint = Some(hint);
        answer.log_term = Some(hint_term);
        self.send(answer);
    }

    fn handle_heartbeat(&mut self, message: Message) {
        self.log.commit_to(message.commit());
        let mut answer = to(message.from(), MessageType::MsgHeartbeatResp);
        answer.context = message.context;
        self.send(answer);
    }

    fn handle_snapshot(&mut self, message: Message) {
        let from = message.from();
        let snapshot = message.snapshot.unwrap_or_default();
        let (index, term) = (snapshot.index(), snapshot.term());
        let restored = self.restore(snapshot);
        info!(id = self.id, from, index, term, restored, "received a snapshot");
        let mut answer = to(from, MessageType::MsgAppResp);
        answer.index = Some(if restored { self.log.last_index() } else { self.log.committed });
        self.send(answer);
    }

    /// Starts over from a snapshot. Returns whether it was needed.
    fn restore(&mut self, snapshot: Snapshot) -> bool {
        if snapshot.index() <= self.log.committed {
            return false;
        }
        assert!(self.state == StateType::Follower, "whoever hears a leader follows");
        let metadata = snapshot.metadata.clone().unwrap_or_default();
        let conf_state = metadata.conf_state.unwrap_or_default();
        let sets = [&conf_state.voters, &conf_state.learners, &conf_state.voters_outgoing];
        // Learners-to-be are outgoing voters, so they need no look.
        if !sets.into_iter().flatten().any(|id| *id == self.id) {
            warn!(id = self.id, ?conf_state, "ignored a snapshot of a cluster without this node");
            return false;
        }
        let id = EntryId { term: snapshot.term(), index: snapshot.index() };
        if self.log.matches(id) {
            // The log has it all; it only did not know that it is committed.
            self.log.commit_to(id.index);
            return false;
        }
        let tracker =
            ProgressTracker::new(self.tracker.inflight_count_max, self.tracker.inflight_bytes_max);
        let changed = match confchange::restore(&tracker, id.index, &conf_state) {
            Ok(changed) => changed,
            Err(error) => {
                warn!(id = self.id, ?conf_state, %error, "ignored a snapshot: no valid membership");
                return false;
            }
        };
        self.log.restore(snapshot);
        self.tracker = tracker;
        self.switch_to_config(changed);
        true
    }
}
