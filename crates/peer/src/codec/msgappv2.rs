//! The stream of appends. An append that continues the last one needs neither addresses nor
//! terms, only its entries:
//!
//! ```text
//! u8 0                                             the link is alive
//! u8 1, u64 count, count x (u64 length, entry), u64 commit    continues the last append
//! u8 2, u64 length, message                        any other append
//! ```
//!
//! Numbers are big endian. Both ends remember the term and index at which the last frame ended;
//! a new connection starts from 0 and 0. Source: etcd rafthttp/msgappv2_codec.go.

use super::{
    CodecError, MESSAGE_BYTES_MAX, decode_message, link_heartbeat, put_message, take_frame,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message as _;
use raftpb::{Entry, Message, MessageType};

const HEARTBEAT: u8 = 0;
const CONTINUATION: u8 = 1;
const FULL: u8 = 2;

/// What both ends remember.
#[derive(Debug, Default)]
struct Position {
    term: u64,
    index: u64,
}

impl Position {
    fn after_full(message: &Message) -> Position {
        let index = message.entries.last().map_or(message.index(), Entry::index);
        Position { term: message.term(), index }
    }
}

/// The sending end.
#[derive(Debug, Default)]
pub struct Encoder(Position);

impl Encoder {
    /// Writes an append, or a link heartbeat.
    pub fn encode(&mut self, out: &mut BytesMut, message: &Message) {
        if super::is_link_heartbeat(message) {
            out.put_u8(HEARTBEAT);
            return;
        }
        let continues = self.0.index == message.index()
            && self.0.term == message.log_term()
            && message.log_term() == message.term();
        if continues {
            out.put_u8(CONTINUATION);
            out.put_u64(message.entries.len() as u64);
            for entry in &message.entries {
                put_message(out, entry);
            }
            out.put_u64(message.commit());
            self.0.index += message.entries.len() as u64;
        } else {
            out.put_u8(FULL);
            put_message(out, message);
            self.0 = Position::after_full(message);
        }
    }
}

/// The receiving end, which rebuilds what a continuation left out.
#[derive(Debug)]
pub struct Decoder {
    position: Position,
    from: u64,
    to: u64,
    /// A continuation of which not all entries have come.
    partial: Option<Partial>,
}

#[derive(Debug)]
struct Partial {
    missing: u64,
    entries: Vec<Entry>,
    bytes: u64,
}

impl Decoder {
    /// The end at member `to` of a stream of member `from`.
    pub fn new(from: u64, to: u64) -> Decoder {
        Decoder { position: Position::default(), from, to, partial: None }
    }

    /// Takes the first message from the front of `input`, or nothing if it has not all come.
    ///
    /// # Errors
    /// If the bytes are no frame.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Message>, CodecError> {
        if self.partial.is_some() {
            return self.decode_continuation(input);
        }
        match input.first() {
            None => Ok(None),
            Some(&HEARTBEAT) => {
                input.advance(1);
                Ok(Some(link_heartbeat()))
            }
            Some(&CONTINUATION) => {
                let Some(mut count) = input.get(1..9) else { return Ok(None) };
                let partial = Partial { missing: count.get_u64(), entries: Vec::new(), bytes: 0 };
                self.partial = Some(partial);
                input.advance(9);
                self.decode_continuation(input)
            }
            Some(&FULL) => {
                let Some(frame) = take_frame(input, 1)? else { return Ok(None) };
                let message = decode_message(frame)?;
                self.position = Position::after_full(&message);
                Ok(Some(message))
            }
            Some(&kind) => Err(CodecError::UnknownKind { kind }),
        }
    }

    fn decode_continuation(&mut self, input: &mut BytesMut) -> Result<Option<Message>, CodecError> {
        let Some(partial) = &mut self.partial else { return Ok(None) };
        while partial.missing > 0 {
            let Some(frame) = take_frame(input, 0)? else { return Ok(None) };
            // Whatever the lengths say one by one, a message is a message.
            partial.bytes += frame.len() as u64 + 8;
            if partial.bytes > MESSAGE_BYTES_MAX {
                let (length, max) = (partial.bytes, MESSAGE_BYTES_MAX);
                return Err(CodecError::TooLong { length, max });
            }
            partial.entries.push(decode_entry(frame)?);
            partial.missing -= 1;
        }
        if input.len() < 8 {
            return Ok(None);
        }
        let commit = input.get_u64();
        let entries = self.partial.take().map(|partial| partial.entries).unwrap_or_default();
        let message = Message {
            r#type: Some(MessageType::MsgApp.into()),
            to: Some(self.to),
            from: Some(self.from),
            term: Some(self.position.term),
            log_term: Some(self.position.term),
            index: Some(self.position.index),
            commit: Some(commit),
            ..Message::default()
        };
        self.position.index = self.position.index.wrapping_add(entries.len() as u64);
        Ok(Some(Message { entries, ..message }))
    }
}

fn decode_entry(frame: Bytes) -> Result<Entry, CodecError> {
    Ok(Entry::decode(frame)?)
}
