//! A node that asks for votes, or whether it would get them.

use super::Raft;
use super::election::Campaign;
use crate::quorum::VoteResult;
use crate::ready::StateType;
use crate::storage::Storage;
use crate::{Error, NONE};
use raftpb::{Message, MessageType};
use tracing::info;

impl<S: Storage> Raft<S> {
    pub(super) fn step_candidate(
        &mut self,
        message: Message,
        kind: MessageType,
    ) -> Result<(), Error> {
        let own_response = if self.state == StateType::PreCandidate {
            MessageType::MsgPreVoteResp
        } else {
            MessageType::MsgVoteResp
        };
        match kind {
            MessageType::MsgProp => return Err(Error::ProposalDropped),
            // Another node leads this term already.
            MessageType::MsgApp | MessageType::MsgHeartbeat | MessageType::MsgSnap => {
                self.become_follower(message.term(), message.from());
                self.hear_leader(message, kind);
            }
            // An answer to the other kind of election is a stale one.
            _ if kind == own_response => self.count_vote(&message),
            _ => {}
        }
        Ok(())
    }

    fn count_vote(&mut self, message: &Message) {
        let granted = !message.reject();
        info!(id = self.id, from = message.from(), granted, "received a vote");
        self.tracker.record_vote(message.from(), granted);
        match self.tracker.vote_result() {
            VoteResult::Won if self.state == StateType::PreCandidate => {
                self.campaign(Campaign::Election);
            }
            VoteResult::Won => {
                self.become_leader();
                self.broadcast_append();
            }
            // The term stays: a pre-vote rejected with a higher one made it adopt that already.
            VoteResult::Lost => self.become_follower(self.term, NONE),
            VoteResult::Pending => {}
        }
    }
}
