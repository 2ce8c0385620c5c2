//! Frames to the client: heads, messages, trailers, and what the windows hold back.
//!
//! - What the windows allow goes straight into the output, without a queue between.
//! - Streams with queues take turns, a frame each.
//! - A message in parts is made when its stream has its turn and nothing of it waits, so that one
//!   part of it is in memory, whatever the windows are.
//! - The output grows to a limit; behind it everything waits in the queues, where a stream that is
//!   reset takes its bytes along.

use super::{Connection, Owner};
use crate::buffer::Buffer;
use crate::error::Reason;
use crate::frame::{self, FrameHead};
use crate::hpack::encode;
use crate::streams::{End, Key, Rest, Stream};
use bytes::Bytes;

impl<T: Owner> Connection<T> {
    /// Sends the head of an answer; with `end` that is all of it.
    pub(crate) fn send_head(&mut self, key: Key, block: &[u8], end: bool) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        debug_assert!(!stream.head_sent, "an answer has one head");
        stream.head_sent = true;
        self.put_block(key.id, block, end);
        if end {
            self.ended(key);
        }
    }

    /// Whether the head of the answer is sent; none if the stream is over.
    pub(crate) fn head_sent(&self, key: Key) -> Option<bool> {
        self.streams.get(key).map(|stream| stream.head_sent)
    }

    /// Sends `len` bytes, which `write` writes.
    pub(crate) fn send_data(&mut self, key: Key, len: usize, write: impl FnOnce(&mut Buffer)) {
        let room = self.outflow.open().min(self.peer.frame_bytes_max);
        let crowded = self.is_crowded();
        let Some(stream) = self.streams.get_mut(key) else { return };
        debug_assert!(stream.end == End::Open, "nothing comes after the end");
        if stream.queue.is_empty() && !crowded && len <= room.min(stream.outflow.open()) {
            stream.outflow.send(len);
            self.outflow.send(len);
            stream.owner.sent(len);
            self.put_frame(FrameHead { len, kind: frame::DATA, flags: 0, id: key.id });
            let before = self.out.len();
            write(&mut self.out);
            assert_eq!(self.out.len() - before, len, "a message has the length that it said");
            self.sent();
            return;
        }
        let mut buffer = Buffer::with_capacity(len.min(QUEUED_AT_ONCE_BYTES_MAX));
        write(&mut buffer);
        assert_eq!(buffer.len(), len, "a message has the length that it said");
        buffer.drain_into(&mut stream.queue);
        stream.queued += len;
        self.queued += len;
        self.list(key);
    }

    /// Sends the first part of a message, and the rest as there is room for it.
    pub(crate) fn send_parts(&mut self, key: Key, first: Buffer, rest: Option<Rest>) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        debug_assert!(stream.end == End::Open && stream.rest.is_none(), "it is the last message");
        self.queued += stream.enqueue(first);
        stream.rest = rest;
        self.list(key);
    }

    /// Says what comes after all that was sent.
    pub(crate) fn finish(&mut self, key: Key, end: End) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        debug_assert!(stream.end == End::Open, "a stream ends once");
        stream.end = end;
        if !stream.has_more() {
            self.put_end(key);
        }
    }

    /// Sends trailers now: nothing waits before them.
    pub(crate) fn finish_now(&mut self, key: Key, trailers: &[u8]) {
        self.put_block(key.id, trailers, true);
        self.ended(key);
    }

    /// Drops what waits, for a call that ends otherwise than it went.
    pub(crate) fn drop_queue(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.queue.clear();
        stream.rest = None;
        self.queued -= stream.queued;
        stream.owner.sent(stream.queued);
        stream.queued = 0;
        stream.end = End::Open;
    }

    /// Whether the stream takes more: it is not over, nor is its end known.
    pub(crate) fn is_open(&self, key: Key) -> bool {
        self.streams.get(key).is_some_and(|stream| stream.end == End::Open)
    }

    /// Whether nothing of the stream waits.
    pub(crate) fn is_clear(&self, key: Key) -> bool {
        self.streams.get(key).is_some_and(|stream| !stream.has_more())
    }

    /// Whether more in the output would only wait there.
    pub(crate) fn is_crowded(&self) -> bool {
        self.out.len() >= OUT_BYTES_HIGH
    }

    /// Moves what the windows allow from the queues into the output, until that has enough to
    /// write. Messages in parts are made as far as they are needed for that.
    pub(crate) fn fill(&mut self) {
        while !self.sendable.is_empty()
            && self.outflow.open() > 0
            && self.out.len() < OUT_BYTES_ENOUGH
        {
            let key = self.sendable.pop_front().expect("it is not empty");
            let Some(stream) = self.streams.get_mut(key) else { continue };
            stream.listed = false;
            let room =
                (stream.outflow.open()).min(self.outflow.open()).min(self.peer.frame_bytes_max);
            if room > stream.queued
                && let Some(rest) = stream.rest.take()
            {
                let mut part = Buffer::default();
                match rest.next(&mut part) {
                    Ok(rest) => {
                        stream.rest = rest;
                        self.queued += stream.enqueue(part);
                    }
                    Err(status) => {
                        stream.owner.broken(status.code);
                        self.reset(key, Reason::INTERNAL_ERROR);
                        continue;
                    }
                }
            }
            let len = stream.queued.min(room);
            if len == 0 {
                continue;
            }
            stream.outflow.send(len);
            self.outflow.send(len);
            stream.owner.sent(len);
            stream.queued -= len;
            self.queued -= len;
            let last = !stream.has_more() && stream.end == End::Plain;
            let flags = if last { frame::END_STREAM } else { 0 };
            self.out.put_slice(&FrameHead { len, kind: frame::DATA, flags, id: key.id }.bytes());
            let mut left = len;
            while left > 0 {
                let piece = stream.queue.front_mut().expect("the queue has what it counts");
                if piece.len() > left {
                    self.out.put(piece.split_to(left));
                    break;
                }
                left -= piece.len();
                let piece = stream.queue.pop_front().expect("it is there");
                self.out.put(piece);
            }
            if stream.queued == 0 {
                stream.queue.clear();
            }
            let trailers = !stream.has_more() && matches!(stream.end, End::Trailers(_));
            self.sent();
            if last {
                self.ended(key);
            } else if trailers {
                self.put_end(key);
            } else {
                self.list(key);
            }
        }
    }

    /// Puts a stream into the list of those that can send, if it can.
    pub(super) fn list(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        if stream.has_more() && stream.outflow.open() > 0 && !stream.listed {
            stream.listed = true;
            self.sendable.push_back(key);
        }
    }

    fn put_end(&mut self, key: Key) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        match std::mem::replace(&mut stream.end, End::Open) {
            End::Open => return,
            End::Plain => {
                let flags = frame::END_STREAM;
                self.put_frame(FrameHead { len: 0, kind: frame::DATA, flags, id: key.id });
            }
            End::Trailers(block) => self.put_block(key.id, &block, true),
        }
        self.ended(key);
    }

    /// END_STREAM is sent. A client that has more to say learns that nobody listens.
    fn ended(&mut self, key: Key) {
        self.sent();
        self.flood.finished();
        if self.streams.get(key).is_some_and(|stream| !stream.remote_done) {
            self.put_reset(key.id, Reason::NO_ERROR);
        }
        self.remove(key, None);
    }

    /// An answer left: the client has a reason to speak.
    fn sent(&mut self) {
        self.flood.useful();
        self.alive.answered();
    }

    fn put_block(&mut self, id: u32, block: &[u8], end: bool) {
        let shrunk;
        let mut rest = block;
        if self.peer.table_shrunk {
            self.peer.table_shrunk = false;
            self.peer.table_unused = true;
            shrunk = [&[encode::TABLE_UNUSED], block].concat();
            rest = &shrunk;
        }
        let (mut kind, mut flags) = (frame::HEADERS, if end { frame::END_STREAM } else { 0 });
        loop {
            let (part, more) = rest.split_at(rest.len().min(self.peer.frame_bytes_max));
            if more.is_empty() {
                flags |= frame::END_HEADERS;
            }
            self.out.put_slice(&FrameHead { len: part.len(), kind, flags, id }.bytes());
            self.out.put_slice(part);
            if more.is_empty() {
                break;
            }
            (kind, flags, rest) = (frame::CONTINUATION, 0, more);
        }
        self.alive.answered();
    }

    /// Sends pieces that exist already.
    pub(crate) fn send_bytes(&mut self, key: Key, data: Bytes) {
        self.send_data(key, data.len(), |out| out.put(data));
    }
}

impl<T: Owner> Stream<T> {
    /// Adds a part of a message to what waits. Returns its bytes.
    fn enqueue(&mut self, part: Buffer) -> usize {
        let len = part.len();
        self.owner.waits(len);
        part.drain_into(&mut self.queue);
        self.queued += len;
        len
    }
}

/// With so much in the output nothing more is added to it, nor is the client asked for more.
const OUT_BYTES_HIGH: usize = 256 << 10;

/// With so much in the output what waits in queues goes on waiting. It is less than the above, so
/// that a client that takes a large answer is heard, and is given its small ones, meanwhile.
const OUT_BYTES_ENOUGH: usize = 128 << 10;

/// Room that is taken at once for a message that has to wait.
const QUEUED_AT_ONCE_BYTES_MAX: usize = 1 << 20;
