//! How messages stand in the body of a stream.
//!
//! Both codecs are pure: they write into a buffer, and read from one as far as it goes. A length
//! is believed only as far as the bytes have come, so a lying one costs its sender, not this
//! node.

pub mod message;
pub mod msgappv2;

use bytes::{Buf, Bytes, BytesMut};
use prost::Message as _;
use raftpb::{Message, MessageType};

/// The largest message read from a stream, in bytes. It guards against garbage, as in etcd.
pub const MESSAGE_BYTES_MAX: u64 = 512 << 20;

/// Bytes that are not a stream of messages. The stream is then of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A length above all reason.
    #[error("stream announces {length} bytes, more than {max}")]
    TooLong {
        /// The length announced.
        length: u64,
        /// The longest taken.
        max: u64,
    },
    /// Bytes that are no protobuf message.
    #[error("stream holds bytes that do not decode")]
    Malformed(#[from] prost::DecodeError),
    /// A frame of no known kind.
    #[error("stream holds a frame of unknown kind {kind}")]
    UnknownKind {
        /// The kind.
        kind: u8,
    },
}

/// Whether a message only says that the link is alive: a heartbeat from nobody to nobody.
pub fn is_link_heartbeat(message: &Message) -> bool {
    message.r#type() == MessageType::MsgHeartbeat && message.from() == 0 && message.to() == 0
}

/// The message that says so.
pub fn link_heartbeat() -> Message {
    Message { r#type: Some(MessageType::MsgHeartbeat.into()), ..Message::default() }
}

fn put_message(out: &mut BytesMut, message: &impl prost::Message) {
    use bytes::BufMut;
    let length = message.encoded_len();
    out.reserve(8 + length);
    out.put_u64(length as u64);
    message.encode(out).expect("the buffer has been made large enough");
}

/// Takes a length and so many bytes from the front of `input`, if they have all come.
fn take_frame(input: &mut BytesMut, skip: usize) -> Result<Option<Bytes>, CodecError> {
    let Some(head) = input.get(skip..skip + 8) else { return Ok(None) };
    let length = u64::from_be_bytes(head.try_into().expect("eight bytes"));
    let too_long = CodecError::TooLong { length, max: MESSAGE_BYTES_MAX };
    if length > MESSAGE_BYTES_MAX {
        return Err(too_long);
    }
    let length = usize::try_from(length).map_err(|_| too_long)?;
    if input.len() - skip - 8 < length {
        return Ok(None);
    }
    input.advance(skip + 8);
    Ok(Some(input.split_to(length).freeze()))
}

fn decode_message(frame: Bytes) -> Result<Message, CodecError> {
    Ok(Message::decode(frame)?)
}

#[cfg(test)]
mod tests;
