//! A connection without its transport: bytes in, events and bytes out, time as an argument.
//!
//! It knows frames, streams, windows, and the rules of RFC 9113; it knows neither sockets nor
//! tasks nor gRPC. Its user calls [`Connection::next`] with what was read until there is no event,
//! sends what is in [`Connection::out`], and looks at [`Connection::take_over`] for the streams
//! that are over.
//!
//! - After a `Violation` the connection takes nothing more; its GOAWAY is the last of its output.
//! - Each stream that an event announced is given back by `take_over` exactly once.
//! - What a client can make us keep is bounded: fields by their limit, bodies by their windows,
//!   answers to frames by not reading while they wait.

mod alive;
mod away;
mod flood;
mod headers;
mod receive;
mod send;

#[cfg(test)]
mod tests;

pub(crate) use alive::Late;

use crate::buffer::Buffer;
use crate::error::{Reason, Violation};
use crate::flow::{Inflow, Outflow, WINDOW_DEFAULT};
use crate::frame::{self, FrameHead};
use crate::hpack::decode::Decoder;
use crate::hpack::fields::Fields;
use crate::options::Options;
use crate::status::Code;
use crate::streams::{Key, Stream, Streams};
use alive::Alive;
use away::Away;
use bytes::{Buf as _, Bytes, BytesMut};
use flood::Flood;
use headers::Block;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// The state of a connection. `T` is what its user keeps with each stream.
#[derive(Debug)]
pub(crate) struct Connection<T> {
    options: Arc<Options>,
    /// The fields of the last `Head` or `Trailers`.
    pub(crate) fields: Fields,
    /// What is ready to be sent.
    pub(crate) out: Buffer,
    streams: Streams<T>,
    /// The largest id that a client used.
    last_id: u32,
    phase: Phase,
    decoder: Decoder,
    /// A header block whose end has not come.
    block: Option<Block>,
    inflow: Inflow,
    outflow: Outflow,
    peer: Peer,
    /// Streams with something in their queues, in turn.
    sendable: VecDeque<Key>,
    /// Bytes in all queues.
    queued: usize,
    over: Vec<Over<T>>,
    forgotten: Forgotten,
    alive: Alive,
    away: Away,
    flood: Flood,
    /// When the last step was.
    now: Instant,
}

/// What the user of a connection keeps with a stream.
pub(crate) trait Owner: Default {
    /// So many bytes that were made of a message in parts wait.
    fn waits(&mut self, bytes: usize);

    /// So many of the stream's queued bytes left.
    fn sent(&mut self, bytes: usize);

    /// A message in parts could not be made to its end.
    fn broken(&mut self, code: Code);
}

/// Something for the user.
#[derive(Debug)]
pub(crate) enum Event {
    /// A request begins; its head is in `fields`.
    Head {
        key: Key,
        /// There is no body.
        end: bool,
    },
    /// A part of a body. The user says with `taken` when its window may open again.
    Data { key: Key, data: Bytes, end: bool },
    /// The body is over; its trailers are in `fields`.
    Trailers { key: Key },
}

/// A stream that is over.
#[derive(Debug)]
pub(crate) struct Over<T> {
    pub(crate) owner: T,
    /// What the client's side was told, or told us, if it was not a plain end.
    pub(crate) reset: Option<Reason>,
}

/// How far the beginning of the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Preface,
    Settings,
    Open,
    Failed,
}

/// What the client's SETTINGS say.
#[derive(Debug)]
struct Peer {
    window: u32,
    frame_bytes_max: usize,
    /// The next block must say that our table is not used.
    table_shrunk: bool,
    /// It has been said.
    table_unused: bool,
}

/// The last streams that we ended before their client did: frames may still come for them.
#[derive(Debug)]
struct Forgotten {
    ids: [u32; FORGOTTEN_MAX],
    next: usize,
}

impl<T: Owner> Connection<T> {
    pub(crate) fn new(options: Arc<Options>, now: Instant) -> Self {
        let mut connection = Self {
            fields: Fields::new(options.header_list_bytes_max),
            out: Buffer::default(),
            streams: Streams::new(),
            last_id: 0,
            phase: Phase::Preface,
            decoder: Decoder::new(options.names),
            block: None,
            inflow: Inflow::new(options.connection_window.max(WINDOW_DEFAULT)),
            outflow: Outflow::new(WINDOW_DEFAULT),
            peer: Peer {
                window: WINDOW_DEFAULT,
                frame_bytes_max: frame::FRAME_BYTES_MIN as usize,
                table_shrunk: false,
                table_unused: false,
            },
            sendable: VecDeque::new(),
            queued: 0,
            over: Vec::new(),
            forgotten: Forgotten { ids: [0; FORGOTTEN_MAX], next: 0 },
            alive: Alive::new(&options, now),
            away: Away::default(),
            flood: Flood::new(&options, now),
            now,
            options,
        };
        connection.greet();
        connection
    }

    /// Our SETTINGS, and the window of the connection, which SETTINGS cannot set.
    fn greet(&mut self) {
        let options = &self.options;
        let mut settings = Vec::with_capacity(4);
        if options.concurrent_streams_max != u32::MAX {
            settings.push((frame::SETTINGS_MAX_CONCURRENT_STREAMS, options.concurrent_streams_max));
        }
        settings.push((frame::SETTINGS_INITIAL_WINDOW_SIZE, options.stream_window));
        let frame_bytes_max = self.frame_bytes_max();
        if frame_bytes_max != frame::FRAME_BYTES_MIN {
            settings.push((frame::SETTINGS_MAX_FRAME_SIZE, frame_bytes_max));
        }
        settings.push((frame::SETTINGS_MAX_HEADER_LIST_SIZE, options.header_list_bytes_max));
        let len = settings.len() * frame::SETTING_LEN;
        self.put_frame(FrameHead { len, kind: frame::SETTINGS, flags: 0, id: 0 });
        for (id, value) in settings {
            self.out.put_slice(&id.to_be_bytes());
            self.out.put_slice(&value.to_be_bytes());
        }
        let more = self.options.connection_window.saturating_sub(WINDOW_DEFAULT);
        if more > 0 {
            self.put_window_update(0, more);
        }
    }

    /// The next event in `input`, of which what was understood is taken off.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Violation> {
        let result = self.step(input);
        if let Err(violation) = result {
            self.fail(violation);
        }
        result
    }

    fn step(&mut self, input: &mut BytesMut) -> Result<Option<Event>, Violation> {
        if self.phase == Phase::Failed {
            input.clear();
            return Ok(None);
        }
        if self.phase == Phase::Preface {
            let len = input.len().min(frame::PREFACE.len());
            if input[..len] != frame::PREFACE[..len] {
                return Err(Violation::protocol("the client does not begin as HTTP/2 does"));
            }
            if len < frame::PREFACE.len() {
                return Ok(None);
            }
            input.advance(len);
            self.phase = Phase::Settings;
        }
        while let Some(head) = FrameHead::read(input) {
            if head.len > self.frame_bytes_max() as usize {
                return Err(Violation::frame_size("a frame is larger than announced"));
            }
            if input.len() < frame::FRAME_HEAD_LEN + head.len {
                return Ok(None);
            }
            self.alive.heard(self.now);
            if let Some(event) = self.frame(head, input)? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    /// Bytes that the frame at the start of `input` still needs; at least one.
    pub(crate) fn missing(&self, input: &[u8]) -> usize {
        let len = FrameHead::read(input).map_or(0, |head| head.len);
        let whole = frame::FRAME_HEAD_LEN + len.min(self.frame_bytes_max() as usize);
        whole.saturating_sub(input.len()).max(1)
    }

    fn frame_bytes_max(&self) -> u32 {
        self.options.frame_bytes_max.clamp(frame::FRAME_BYTES_MIN, frame::FRAME_BYTES_MAX)
    }

    /// Time has come this far. Everything that follows happens now.
    pub(crate) fn set_now(&mut self, now: Instant) {
        self.now = now;
    }

    /// The time of the step that is under way.
    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn stream(&self, key: Key) -> Option<&Stream<T>> {
        self.streams.get(key)
    }

    /// What the user keeps with a stream; nothing if the stream is over.
    pub(crate) fn owner(&mut self, key: Key) -> Option<&mut T> {
        self.streams.get_mut(key).map(|stream| &mut stream.owner)
    }

    pub(crate) fn streams_len(&self) -> usize {
        self.streams.len()
    }

    /// Bytes that wait in the queues of streams.
    pub(crate) fn queued(&self) -> usize {
        self.queued
    }

    /// A stream that is over since the last call.
    pub(crate) fn take_over(&mut self) -> Option<Over<T>> {
        self.over.pop()
    }

    /// Ends all streams: the transport is gone.
    pub(crate) fn abandon(&mut self) {
        for key in self.streams.keys() {
            self.remove(key, Some(Reason::CANCEL));
        }
    }

    /// The user took `len` bytes of a stream's body: its window and the connection's may open.
    pub(crate) fn taken(&mut self, key: Key, len: usize) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        let len = len.min(stream.untaken);
        stream.untaken -= len;
        self.connection_taken(len);
        self.open_stream(key, len);
    }

    /// The same for the connection's window alone; the stream's opens with
    /// [`Connection::open_stream`].
    pub(crate) fn taken_of_connection(&mut self, key: Key, len: usize) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        stream.untaken -= len;
        self.connection_taken(len);
    }

    /// Lets a stream's window open by `len` bytes that were taken.
    pub(crate) fn open_stream(&mut self, key: Key, len: usize) {
        let Some(stream) = self.streams.get_mut(key) else { return };
        // Who has sent all needs no window.
        let update = if stream.remote_done { None } else { stream.inflow.take(len) };
        if let Some(by) = update {
            self.put_window_update(key.id, by);
        }
    }

    fn connection_taken(&mut self, len: usize) {
        if let Some(by) = self.inflow.take(len) {
            self.put_window_update(0, by);
        }
    }

    /// Takes a stream out, and gives it to the user.
    fn remove(&mut self, key: Key, reset: Option<Reason>) {
        let Some(stream) = self.streams.remove(key) else { return };
        self.queued -= stream.queued;
        self.connection_taken(stream.untaken);
        if !stream.remote_done {
            self.forgotten.ids[self.forgotten.next] = key.id;
            self.forgotten.next = (self.forgotten.next + 1) % FORGOTTEN_MAX;
        }
        self.over.push(Over { owner: stream.owner, reset });
        if self.streams.is_empty() {
            self.alive.without_calls(self.now);
        }
    }

    /// Ends a stream with an error of which the client is told.
    pub(crate) fn reset(&mut self, key: Key, reason: Reason) {
        if self.streams.get(key).is_some() {
            self.put_reset(key.id, reason);
            self.remove(key, Some(reason));
        }
    }

    /// Tells the client why nothing more is taken of it.
    pub(crate) fn fail(&mut self, violation: Violation) {
        tracing::debug!(reason = %violation.reason, what = violation.what, "a client broke HTTP/2");
        self.phase = Phase::Failed;
        self.put_go_away(self.last_id, violation.reason, violation.what.as_bytes());
    }

    fn put_frame(&mut self, head: FrameHead) {
        self.out.put_slice(&head.bytes());
    }

    fn put_number(&mut self, kind: u8, id: u32, number: u32) {
        let mut bytes = [0; frame::FRAME_HEAD_LEN + 4];
        bytes[..frame::FRAME_HEAD_LEN]
            .copy_from_slice(&FrameHead { len: 4, kind, flags: 0, id }.bytes());
        bytes[frame::FRAME_HEAD_LEN..].copy_from_slice(&number.to_be_bytes());
        self.out.put_slice(&bytes);
    }

    fn put_window_update(&mut self, id: u32, by: u32) {
        self.put_number(frame::WINDOW_UPDATE, id, by);
    }

    fn put_reset(&mut self, id: u32, reason: Reason) {
        self.put_number(frame::RST_STREAM, id, reason.0);
    }

    fn put_ping(&mut self, flags: u8, data: [u8; 8]) {
        self.put_frame(FrameHead { len: data.len(), kind: frame::PING, flags, id: 0 });
        self.out.put_slice(&data);
    }

    fn put_go_away(&mut self, last_id: u32, reason: Reason, debug: &[u8]) {
        self.put_frame(FrameHead { len: 8 + debug.len(), kind: frame::GOAWAY, flags: 0, id: 0 });
        self.out.put_slice(&last_id.to_be_bytes());
        self.out.put_slice(&reason.0.to_be_bytes());
        self.out.put_slice(debug);
    }
}

impl Forgotten {
    fn has(&self, id: u32) -> bool {
        self.ids.contains(&id)
    }
}

/// How many ended streams are remembered.
const FORGOTTEN_MAX: usize = 64;
