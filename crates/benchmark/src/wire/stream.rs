//! One call's stream: messages out of DATA frames, and windows.

use super::event::{Events, Failure, What};
use super::hpack::Head;
use api::Code;
use std::time::Instant;

/// A call that is under way.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) token: u32,
    /// Bytes that may still be sent.
    pub(super) window: i64,
    /// Bytes received since the peer was last told of room.
    pub(super) taken: u32,
    /// Whether there may be more to send.
    pub(super) open: bool,
    inbox: Inbox,
    refused: Option<Failure>,
}

#[derive(Debug)]
enum Inbox {
    /// Messages are handed on; here is the start of one.
    Keep(Vec<u8>),
    /// Messages are counted: what is here of a prefix, the bytes of the message, those to come.
    Count { prefix: Vec<u8>, length: u64, left: u64 },
}

/// Compressed or not, and the length of the message.
const PREFIX: usize = 5;

impl Stream {
    pub(super) fn new(token: u32, window: i64, open: bool, counts: bool) -> Self {
        let inbox = if counts {
            Inbox::Count { prefix: Vec::new(), length: 0, left: 0 }
        } else {
            Inbox::Keep(Vec::new())
        };
        Self { token, window, taken: 0, open, inbox, refused: None }
    }

    /// Takes the inside of a DATA frame.
    pub(super) fn data(&mut self, data: &[u8], at: Instant, events: &mut Events) {
        match &mut self.inbox {
            Inbox::Keep(partial) if partial.is_empty() => {
                let used = messages(self.token, data, at, events);
                partial.extend_from_slice(&data[used..]);
            }
            Inbox::Keep(partial) => {
                partial.extend_from_slice(data);
                let used = messages(self.token, partial, at, events);
                partial.drain(..used);
            }
            Inbox::Count { prefix, length, left } => {
                let mut rest = data;
                while !rest.is_empty() || (*left == 0 && prefix.len() == PREFIX) {
                    if prefix.len() < PREFIX {
                        let (some, after) = rest.split_at(rest.len().min(PREFIX - prefix.len()));
                        prefix.extend_from_slice(some);
                        rest = after;
                        if let Some(bytes) = length_of(prefix) {
                            (*length, *left) = (bytes as u64, bytes as u64);
                        }
                        continue;
                    }
                    let some = (*left).min(rest.len() as u64);
                    *left -= some;
                    rest = &rest[usize::try_from(some).unwrap_or(rest.len())..];
                    if *left == 0 {
                        events.push(self.token, at, What::Counted(*length));
                        prefix.clear();
                    }
                }
            }
        }
    }

    /// Takes a block of headers or trailers.
    pub(super) fn head(&mut self, head: &Head) {
        if let Some(http) = head.http.filter(|http| *http != 200) {
            let text = format!("unexpected HTTP status code {http}");
            self.refused = Some(Failure::new(Code::Unknown, text));
        }
        if let Some(code) = head.grpc.filter(|code| *code != 0) {
            let code = i32::try_from(code).unwrap_or(i32::MAX);
            self.refused = Some(Failure { code, text: percent_decoded(&head.message) });
        }
    }

    /// How it ended, once the peer has said so.
    pub(super) fn outcome(self) -> Result<(), Failure> {
        self.refused.map_or(Ok(()), Err)
    }
}

/// Hands on all whole messages, and tells how many bytes they took.
fn messages(token: u32, data: &[u8], at: Instant, events: &mut Events) -> usize {
    let mut used = 0;
    while let Some(length) = length_of(&data[used..]) {
        let Some(message) = data.get(used + PREFIX..used + PREFIX + length) else { break };
        events.push_message(token, at, message);
        used += PREFIX + length;
    }
    used
}

/// The message's length, if its prefix is there. None of ours is compressed: we accept none.
fn length_of(data: &[u8]) -> Option<usize> {
    let prefix = data.get(..PREFIX)?;
    let length = prefix[1..].try_into().expect("4 bytes");
    Some(u32::from_be_bytes(length) as usize)
}

fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut decoded, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while let Some(&byte) = bytes.get(at) {
        let hex = bytes.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(escaped) if byte == b'%' => {
                decoded.push(escaped);
                at += 3;
            }
            _ => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: &[u8] = b"\0\0\0\0\x03abc\0\0\0\0\0\0\0\0\0\x01d";

    /// However frames cut them, the same messages come out.
    #[test]
    fn messages_are_put_together() {
        for size in 1..=DATA.len() {
            let mut events = Events::default();
            let mut kept = Stream::new(1, 0, false, false);
            let mut counted = Stream::new(2, 0, false, true);
            for piece in DATA.chunks(size) {
                kept.data(piece, Instant::now(), &mut events);
                counted.data(piece, Instant::now(), &mut events);
            }
            let (mut texts, mut lengths) = (Vec::new(), Vec::new());
            for event in events.list() {
                match event.what {
                    What::Message(from, to) => texts.push(events.message(from, to)),
                    What::Counted(bytes) => lengths.push(bytes),
                    What::Ended(_) => unreachable!(),
                }
            }
            assert_eq!(texts, [&b"abc"[..], b"", b"d"], "pieces of {size}");
            assert_eq!(lengths, [3, 0, 1], "pieces of {size}");
        }
    }

    #[test]
    fn errors_are_read() {
        let mut stream = Stream::new(1, 0, false, false);
        let message = "etcdserver: no%20space%2".into();
        stream.head(&Head { http: Some(200), grpc: Some(8), message });
        let failure = stream.outcome().unwrap_err();
        let text = "rpc error: code = ResourceExhausted desc = etcdserver: no space%2";
        assert_eq!(failure.to_string(), text);
    }
}
