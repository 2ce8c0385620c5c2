//! Long-lived streams of messages. A stream is dialled by the receiver: member A asks B for the
//! messages that B has for A, and B writes them into the response for ever.
//!
//! Two kinds: appends (msgappv2), which make up most of the traffic, and all other messages.

mod reader;
mod writer;

pub(crate) use reader::read_streams;
pub(crate) use writer::{Attached, StreamQueue, stream_queue};

use crate::codec::msgappv2;
use crate::codec::{CodecError, message};
use bytes::BytesMut;
use raftpb::Message;

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// Appends.
    Append,
    /// All other messages, and appends while there is no stream of them.
    Message,
}

impl StreamKind {
    /// The path below `/raft/stream/`.
    pub(crate) fn path(self) -> &'static str {
        match self {
            StreamKind::Append => "msgapp",
            StreamKind::Message => "message",
        }
    }

    pub(crate) fn of_path(path: &str) -> Option<StreamKind> {
        [StreamKind::Append, StreamKind::Message].into_iter().find(|kind| kind.path() == path)
    }
}

/// How many times a stream says that it is alive within the silence after which it is given up.
const HEARTBEATS: u32 = 3;

/// Messages waiting to be written to one stream, or to be processed from one peer, at most: etcd's
/// number, enough for a burst of appends and little enough to bound what a dead link holds.
pub(crate) const MESSAGES_MAX: usize = 4096;

enum Encoder {
    Append(msgappv2::Encoder),
    Message,
}

impl Encoder {
    fn new(kind: StreamKind) -> Encoder {
        match kind {
            StreamKind::Append => Encoder::Append(msgappv2::Encoder::default()),
            StreamKind::Message => Encoder::Message,
        }
    }

    fn encode(&mut self, out: &mut BytesMut, message: &Message) {
        match self {
            Encoder::Append(encoder) => encoder.encode(out, message),
            Encoder::Message => message::encode(out, message),
        }
    }
}

enum Decoder {
    Append(msgappv2::Decoder),
    Message,
}

impl Decoder {
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Message>, CodecError> {
        match self {
            Decoder::Append(decoder) => decoder.decode(input),
            Decoder::Message => message::decode(input),
        }
    }
}
