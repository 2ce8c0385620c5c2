//! A node that leads: it takes proposals, and moves its followers' logs towards its own.

use super::{Raft, to};
use crate::ready::StateType;
use crate::storage::Storage;
use crate::tracker::ProgressState;
use crate::{Error, NONE};
use raftpb::{Message, MessageType};
use tracing::{debug, info, warn};

impl<S: Storage> Raft<S> {
    pub(super) fn tick_heartbeat(&mut self) {
        self.heartbeat_elapsed += 1;
        self.election_elapsed += 1;
        if self.election_elapsed >= self.config.election_tick {
            self.election_elapsed = 0;
            if self.config.check_quorum {
                self.check_quorum();
            }
            // A transfer that takes longer is given up: proposals wait for it.
            self.lead_transferee = None;
        }
        let due = self.heartbeat_elapsed >= self.config.heartbeat_tick;
        if self.state == StateType::Leader && due {
            self.heartbeat_elapsed = 0;
            self.broadcast_heartbeat();
        }
    }

    /// Steps down if no quorum was heard since the last check (thesis section 6.2).
    fn check_quorum(&mut self) {
        if !self.tracker.is_quorum_active() {
            warn!(id = self.id, term = self.term, "stepped down: a quorum is not active");
            self.become_follower(self.term, NONE);
        }
        for (id, member) in &mut self.tracker.progress {
            if *id != self.id {
                member.recent_active = false;
            }
        }
    }

    pub(super) fn step_leader(&mut self, message: Message, kind: MessageType) -> Result<(), Error> {
        match kind {
            MessageType::MsgBeat => self.broadcast_heartbeat(),
            MessageType::MsgCheckQuorum => self.check_quorum(),
            MessageType::MsgProp => return self.propose(message.entries),
            MessageType::MsgReadIndex => self.read_index(message),
            _ => self.step_about_member(&message, kind),
        }
        Ok(())
    }

    /// Messages from or about a member.
    fn step_about_member(&mut self, message: &Message, kind: MessageType) {
        let from = message.from();
        let Some(member) = self.tracker.progress.get_mut(&from) else {
            debug!(id = self.id, from, ?kind, "ignored a message from no member");
            return;
        };
        match kind {
            MessageType::MsgAppResp if message.reject() => {
                member.recent_active = true;
                self.append_rejected(message);
            }
            MessageType::MsgAppResp => {
                member.recent_active = true;
                self.append_accepted(from, message.index());
            }
            MessageType::MsgHeartbeatResp => {
                member.recent_active = true;
                member.msg_app_flow_paused = false;
                // Whatever was sent may be lost; an empty append finds out.
                let behind = member.matched < self.log.last_index();
                if behind || self.tracker.progress[&from].state == ProgressState::Probe {
                    self.send_append(from);
                }
                self.confirm_reads(from, message.context());
            }
            MessageType::MsgSnapStatus if member.state == ProgressState::Snapshot => {
                if message.reject() {
                    // Start again from what is known to match.
                    member.pending_snapshot = 0;
                }
                member.become_probe();
                // It takes the follower a moment; its answer, or to a heartbeat, goes on.
                member.msg_app_flow_paused = true;
            }
            // What was streamed is likely lost.
            MessageType::MsgUnreachable if member.state == ProgressState::Replicate => {
                member.become_probe();
            }
            MessageType::MsgTransferLeader => self.transfer_leader(from),
            _ => {}
        }
    }

    fn append_rejected(&mut self, message: &Message) {
        let from = message.from();
        let (hint, hint_term) = (message.reject_hint(), message.log_term());
        debug!(id = self.id, from, index = message.index(), hint, hint_term, "append rejected");
        // The follower's log at the hint has the hint's term or a lower one, so nothing of this
        // log with a higher term can match there.
        let hint = if hint_term > 0 {
            self.log.find_conflict_by_term(hint.min(self.log.last_index()), hint_term).0
        } else {
            hint
        };
        let Some(member) = self.tracker.progress.get_mut(&from) else { return };
        if member.maybe_decrement(message.index(), hint) {
            if member.state == ProgressState::Replicate {
                member.become_probe();
            }
            self.send_append(from);
        }
    }

    fn append_accepted(&mut self, from: u64, index: u64) {
        if index > self.log.last_index() {
            // This log only grows within a term, so nobody can have more of it.
            warn!(id = self.id, from, index, "ignored an acknowledgement of entries never sent");
            return;
        }
        let first_index = self.log.first_index();
        let Some(member) = self.tracker.progress.get_mut(&from) else { return };
        let news = member.maybe_update(index);
        let probe_matched = member.matched == index && member.state == ProgressState::Probe;
        if !news && !probe_matched {
            return;
        }
        match member.state {
            ProgressState::Probe => member.become_replicate(),
            // From here the log suffices, wherever the snapshot may be.
            ProgressState::Snapshot if member.matched + 1 >= first_index => {
                member.become_probe();
                member.become_replicate();
            }
            ProgressState::Snapshot => {}
            ProgressState::Replicate => member.inflights.free_to(index),
        }
        let can_bump_commit = member.can_bump_commit(self.log.committed);
        if self.maybe_commit() {
            self.release_pending_reads();
            self.broadcast_append();
        } else if from != self.id && can_bump_commit {
            self.send_append(from);
        }
        if from != self.id {
            // The window may have opened for more than one append.
            while self.maybe_send_append(from, false) {}
        }
        self.finish_transfer(from);
    }

    fn finish_transfer(&mut self, from: u64) {
        let caught_up = |matched| matched == self.log.last_index();
        if self.lead_transferee == Some(from)
            && self.tracker.progress.get(&from).is_some_and(|member| caught_up(member.matched))
        {
            info!(id = self.id, to = from, "the transferee has caught up; it may campaign");
            self.send(to(from, MessageType::MsgTimeoutNow));
        }
    }

    fn transfer_leader(&mut self, transferee: u64) {
        let Some(member) = self.tracker.progress.get(&transferee) else { return };
        if member.is_learner {
            debug!(id = self.id, transferee, "ignored a transfer to a learner");
            return;
        }
        if self.lead_transferee == Some(transferee) {
            return;
        }
        if transferee == self.id {
            // To keep the leadership is to give up a transfer under way.
            debug!(id = self.id, given_up = ?self.lead_transferee, "transfer to oneself");
            self.lead_transferee = None;
            return;
        }
        info!(id = self.id, transferee, term = self.term, "transferring leadership");
        let matched = member.matched;
        self.lead_transferee = Some(transferee);
        // It shall be done within one election timeout.
        self.election_elapsed = 0;
        if matched == self.log.last_index() {
            self.finish_transfer(transferee);
        } else {
            self.send_append(transferee);
        }
    }
}
