//! The stream of messages of all kinds: each as its length, 8 bytes big endian, and its bytes.
//! Source: etcd server/etcdserver/api/rafthttp/message_codec.go.

use super::{CodecError, decode_message, put_message, take_frame};
use bytes::BytesMut;
use raftpb::Message;

/// Writes a message.
pub fn encode(out: &mut BytesMut, message: &Message) {
    put_message(out, message);
}

/// Takes the first message from the front of `input`, or nothing if it has not all come.
///
/// # Errors
/// If the bytes are no message.
pub fn decode(input: &mut BytesMut) -> Result<Option<Message>, CodecError> {
    take_frame(input, 0)?.map(decode_message).transpose()
}
