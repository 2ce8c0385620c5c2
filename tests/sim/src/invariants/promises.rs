//! What leaves a node is true when it leaves: an entry it acknowledges and a vote it grants are
//! on its disk.

use super::{Verdict, hold};
use crate::durable::Durable;
use raftpb::{Message, MessageType};

pub(crate) fn sent(message: &Message, durable: &Durable) -> Verdict {
    if message.reject() || message.term() != durable.term {
        // Of a later term the disk says more than the message; of an earlier one less, which
        // only a granted vote may not be.
        let granted = message.r#type() == MessageType::MsgVoteResp && !message.reject();
        hold!(
            !granted || message.term() < durable.term,
            "{} votes in term {}, on disk is {}",
            message.from(),
            message.term(),
            durable.term
        );
        return Ok(());
    }
    let (from, to) = (message.from(), message.to());
    match message.r#type() {
        MessageType::MsgVoteResp => {
            let vote = durable.vote;
            hold!(vote == to, "{from} votes for {to}, on disk is a vote for {vote}");
        }
        MessageType::MsgAppResp => {
            let (index, last) = (message.index(), durable.last_index());
            hold!(index <= last, "{from} acknowledges {index}, on disk is {last}");
        }
        _ => {}
    }
    Ok(())
}
