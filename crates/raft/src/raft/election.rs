//! Elections: when one starts, who is asked, how a vote is cast (raft sections 5.2 and 5.4.1,
//! thesis section 9.6 for the pre-vote).

use super::{Raft, to};
use crate::NONE;
use crate::log::EntryId;
use crate::planted::{self, Bug};
use crate::ready::StateType;
use crate::storage::Storage;
use bytes::Bytes;
use raftpb::{Entry, EntryType, Message, MessageType};
use tracing::{debug, info, warn};

/// Why an election is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Campaign {
    /// To find out whether one could be won.
    PreElection,
    /// The timer ran out, or the pre-vote was won.
    Election,
    /// The leader asked for it.
    Transfer,
}

/// What tells voters that the leader itself wants this election. The bytes are etcd-io/raft's.
pub(super) const TRANSFER_CONTEXT: &[u8] = b"CampaignTransfer";

impl<S: Storage> Raft<S> {
    pub(super) fn tick_election(&mut self) {
        self.election_elapsed += 1;
        if self.is_promotable() && self.election_elapsed >= self.randomized_election_timeout {
            self.election_elapsed = 0;
            let pre_vote = self.config.pre_vote;
            self.hup(if pre_vote { Campaign::PreElection } else { Campaign::Election });
        }
    }

    /// Whether this node may become leader: it is a voter, and its log is complete.
    fn is_promotable(&self) -> bool {
        let voter = self.tracker.progress.get(&self.id).is_some_and(|own| !own.is_learner);
        voter && self.log.unstable.snapshot.is_none()
    }

    /// Starts an election, if this node may.
    pub(super) fn hup(&mut self, campaign: Campaign) {
        if self.state == StateType::Leader {
            debug!(id = self.id, "ignored a call to campaign: already leader");
            return;
        }
        if !self.is_promotable() {
            warn!(id = self.id, "cannot campaign: no voter, or a snapshot is being restored");
            return;
        }
        // A committed change may say that this node is no voter any more.
        if self.has_unapplied_conf_changes() {
            warn!(id = self.id, term = self.term, "cannot campaign: membership changes to apply");
            return;
        }
        info!(id = self.id, term = self.term, ?campaign, "starting an election");
        self.campaign(campaign);
    }

    fn has_unapplied_conf_changes(&self) -> bool {
        self.log.any_unapplied(|entry: &Entry| entry.r#type() != EntryType::EntryNormal)
    }

    pub(super) fn campaign(&mut self, campaign: Campaign) {
        let (kind, term) = if campaign == Campaign::PreElection {
            self.become_pre_candidate();
            (MessageType::MsgPreVote, self.term + 1)
        } else {
            self.become_candidate();
            (MessageType::MsgVote, self.term)
        };
        let last = self.log.last_entry_id();
        for id in self.tracker.config.voters.ids() {
            if id == self.id {
                // Its own vote counts once it is durable, so it goes the way of the others'.
                let mut vote = to(id, response_to(kind));
                vote.term = Some(term);
                self.send(vote);
                continue;
            }
            let mut request = to(id, kind);
            request.term = Some(term);
            request.index = Some(last.index);
            request.log_term = Some(last.term);
            if campaign == Campaign::Transfer {
                request.context = Some(Bytes::from_static(TRANSFER_CONTEXT));
            }
            self.send(request);
        }
    }

    /// Answers a request for a vote. The term is not below this node's.
    pub(super) fn cast_vote(&mut self, message: &Message, kind: MessageType) {
        let from = message.from();
        let can_vote = self.vote == from
            || (self.vote == NONE && self.lead == NONE)
            || planted::is(Bug::SecondVote)
            || (kind == MessageType::MsgPreVote && message.term() > self.term);
        let candidate = EntryId { term: message.log_term(), index: message.index() };
        // A learner votes too: it may be a voter already by a change it has not applied.
        let granted = can_vote && self.log.is_up_to_date(candidate);
        info!(id = self.id, from, ?kind, term = message.term(), granted, "answered an election");
        let mut answer = to(from, response_to(kind));
        if granted {
            // For a pre-vote this is the term asked about, not this node's.
            answer.term = message.term;
            self.send(answer);
            if kind == MessageType::MsgVote {
                self.election_elapsed = 0;
                self.vote = from;
            }
        } else {
            answer.term = Some(self.term);
            answer.reject = Some(true);
            self.send(answer);
        }
    }
}

fn response_to(request: MessageType) -> MessageType {
    if request == MessageType::MsgPreVote {
        MessageType::MsgPreVoteResp
    } else {
        MessageType::MsgVoteResp
    }
}
