//! `deliver-msgs` and `send-snapshot`.

use super::{Env, indexes, text};
use raft::{Storage, describe_message, is_local_target};
use raftpb::{Message, MessageType};
use testkit::script::Block;

impl Env {
    pub(super) fn deliver_messages(&mut self, block: &Block) -> Result<(), String> {
        let mut kind = None;
        if let Some(argument) = block.argument("type") {
            let name = argument.values.join("");
            kind = Some(MessageType::from_str_name(&name).ok_or(format!("no type {name}"))?);
        }
        let mut count = 0;
        for argument in &block.arguments {
            if argument.key == "drop" {
                for id in &argument.values {
                    count += self.deliver_to(id.parse().map_err(text)?, kind, true);
                }
            } else if argument.values.is_empty() {
                count += self.deliver_to(argument.key.parse().map_err(text)?, kind, false);
            }
        }
        if count == 0 {
            self.println("no messages");
        }
        Ok(())
    }

    /// Delivers or drops the messages to `id`. Returns how many there were.
    pub(super) fn deliver_to(&mut self, id: u64, kind: Option<MessageType>, drop: bool) -> usize {
        let messages = std::mem::take(&mut self.messages);
        let (chosen, rest) =
            messages.into_iter().partition(|message| is_for(message, id, kind, drop));
        self.messages = rest;
        let chosen: Vec<Message> = chosen;
        let count = chosen.len();
        for message in chosen {
            let line = describe_message(&message);
            if drop {
                self.println(&format!("dropped: {line}"));
                continue;
            }
            self.println(&line);
            let place = usize::try_from(id - 1).expect("a node of the script");
            if let Err(error) = self.nodes[place].raw.step(message) {
                self.println(&error.to_string());
            }
        }
        count
    }

    pub(super) fn has_messages_for(&self, id: u64) -> bool {
        self.messages.iter().any(|message| is_for(message, id, None, false))
    }

    pub(super) fn send_snapshot(&mut self, block: &Block) -> Result<(), String> {
        let [from, to] = indexes(block)?[..] else {
            return Err("two nodes are wanted: sender and receiver".to_owned());
        };
        let sender = &self.nodes[from].raw;
        let message = Message {
            r#type: Some(MessageType::MsgSnap.into()),
            term: sender.basic_status().hard_state.term,
            from: Some(from as u64 + 1),
            to: Some(to as u64 + 1),
            snapshot: Some(sender.storage().snapshot().map_err(text)?),
            ..Message::default()
        };
        self.print(&describe_message(&message));
        self.messages.push(message);
        Ok(())
    }
}

/// What a node tells itself cannot be dropped.
fn is_for(message: &Message, id: u64, kind: Option<MessageType>, drop: bool) -> bool {
    let local = message.from() == message.to()
        || is_local_target(message.from())
        || is_local_target(message.to());
    message.to() == id && !(drop && local) && kind.is_none_or(|kind| message.r#type() == kind)
}
