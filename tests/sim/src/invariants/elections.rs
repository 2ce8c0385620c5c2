//! Election safety (raft section 5.2): a term has at most one leader, and a node votes for at
//! most one candidate a term, crashes or not. A vote is one once it is on disk, or was sent; a
//! leader that others elected while its own disk slept may have forgotten after a crash that it
//! wanted to vote for itself.

use super::{Verdict, View, hold};
use raft::StateType;
use raftpb::{Message, MessageType};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct ElectionSafety {
    leaders: BTreeMap<u64, u64>,
    /// Whom a node voted for, by (node, term).
    votes: BTreeMap<(u64, u64), u64>,
}

impl ElectionSafety {
    /// Returns whether this is a leader not seen before.
    pub(crate) fn observe(&mut self, view: &View<'_>) -> Result<bool, String> {
        if view.state != StateType::Leader {
            return Ok(false);
        }
        let new = !self.leaders.contains_key(&view.term);
        let leader = *self.leaders.entry(view.term).or_insert(view.id);
        hold!(leader == view.id, "{} and {leader} both lead in term {}", view.id, view.term);
        Ok(new)
    }

    /// Notes a vote that leaves its node.
    pub(crate) fn sent(&mut self, message: &Message) -> Verdict {
        if message.r#type() == MessageType::MsgVoteResp && !message.reject() {
            self.vote(message.from(), message.term(), message.to())?;
        }
        Ok(())
    }

    /// Notes a vote that is on the disk of `node`; 0 is none.
    pub(crate) fn written(&mut self, node: u64, term: u64, candidate: u64) -> Verdict {
        if candidate == 0 { Ok(()) } else { self.vote(node, term, candidate) }
    }

    fn vote(&mut self, node: u64, term: u64, candidate: u64) -> Verdict {
        let first = *self.votes.entry((node, term)).or_insert(candidate);
        hold!(first == candidate, "{node} voted for {first} and {candidate} in term {term}");
        Ok(())
    }
}
