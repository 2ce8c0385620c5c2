//! One connection: HTTP/2 frames for gRPC calls, written and read by hand (RFC 9113).
//!
//! It sends what a call needs and nothing else, obeys the peer's windows and limits, answers its
//! settings and pings, and gives it room again as data comes in. What it is not: a general HTTP/2
//! client. It neither waits nor knows of other connections; [`super::Pool`] does.
//!
//! Invariants: a stream is in the map from its first frame until its end was told, and each end is
//! told once; every header block is decoded in order, also those of streams that are gone, because
//! the table depends on all of them.

use super::event::{Events, Failure, What};
use super::hpack::{Decoder, Encoder};
use super::method::Method;
use super::stream::Stream;
use api::Code;
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) socket: TcpStream,
    encoder: Encoder,
    decoder: Decoder,
    /// Bytes to be written; those before `sent` are.
    out: Vec<u8>,
    sent: usize,
    /// The start of a frame whose end has not come.
    rest: Vec<u8>,
    /// A header block that goes on in further frames: its stream, flags and start.
    block: Option<(u32, u8, Vec<u8>)>,
    streams: HashMap<u32, Stream>,
    next: u32,
    peer: Peer,
    /// Bytes received since the peer was last told of room.
    taken: u32,
    /// Messages that a window holds back.
    held: VecDeque<Held>,
    /// Calls beyond what the peer lets be under way at once.
    waiting: VecDeque<Waiting>,
    /// Whether the peer's settings have come.
    pub(super) greeted: bool,
    /// Why it is of no more use.
    pub(super) lost: Option<Failure>,
    /// Whether nothing comes any more.
    pub(super) closed: bool,
}

/// What the peer allows.
#[derive(Debug)]
struct Peer {
    /// Bytes that may still be sent on the connection.
    window: i64,
    /// And on a new stream.
    stream_window: i64,
    frame: usize,
    streams: usize,
}

#[derive(Debug)]
struct Held {
    stream: u32,
    bytes: Vec<u8>,
    sent: usize,
    end: bool,
}

#[derive(Debug)]
struct Waiting {
    token: u32,
    method: Method,
    message: Vec<u8>,
    counts: bool,
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

const SETTING_TABLE: u16 = 1;
const SETTING_PUSH: u16 = 2;
const SETTING_STREAMS: u16 = 3;
const SETTING_WINDOW: u16 = 4;
const SETTING_FRAME: u16 = 5;

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const ENHANCE_YOUR_CALM: u32 = 11;

const FRAME_HEAD: usize = 9;
/// Windows and frames unless something else is said.
const WINDOW: u32 = 65_535;
const FRAME: usize = 16_384;

/// What may be under way to us, as with clients that follow the bandwidth (Go's go up to this).
const OUR_WINDOW: u32 = 16 << 20;
/// And on a whole connection, so that one slow stream holds up no other.
const OUR_CONNECTION_WINDOW: u32 = 256 << 20;

impl Conn {
    pub(super) fn new(socket: TcpStream, authority: String) -> Self {
        let mut conn = Self {
            socket,
            encoder: Encoder::new(authority),
            decoder: Decoder::default(),
            out: b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            sent: 0,
            rest: Vec::new(),
            block: None,
            streams: HashMap::new(),
            next: 1,
            peer: Peer {
                window: WINDOW.into(),
                stream_window: WINDOW.into(),
                frame: FRAME,
                streams: usize::MAX,
            },
            taken: 0,
            held: VecDeque::new(),
            waiting: VecDeque::new(),
            greeted: false,
            lost: None,
            closed: false,
        };
        conn.frame(12, SETTINGS, 0, 0);
        for (setting, value) in [(SETTING_PUSH, 0), (SETTING_WINDOW, OUR_WINDOW)] {
            conn.out.extend(setting.to_be_bytes());
            conn.out.extend(value.to_be_bytes());
        }
        conn.give_room(0, OUR_CONNECTION_WINDOW - WINDOW);
        conn
    }

    /// Starts a call with one message, now or as soon as the peer lets one more be under way.
    pub(super) fn start(&mut self, token: u32, method: Method, message: &[u8], counts: bool) {
        if self.streams.len() >= self.peer.streams {
            let message = message.to_vec();
            self.waiting.push_back(Waiting { token, method, message, counts });
            return;
        }
        self.begin(token, method, message, true, counts);
    }

    /// Starts a call that may send more messages, and returns its stream; none if the peer lets no
    /// more be under way.
    pub(super) fn open(&mut self, token: u32, method: Method, message: &[u8]) -> Option<u32> {
        let room = self.streams.len() < self.peer.streams;
        room.then(|| self.begin(token, method, message, false, false))
    }

    fn begin(
        &mut self,
        token: u32,
        method: Method,
        message: &[u8],
        end: bool,
        counts: bool,
    ) -> u32 {
        let id = self.next;
        self.next += 2;
        let head = self.frame(0, HEADERS, END_HEADERS, id);
        self.encoder.block(method as usize, method.path(), &mut self.out);
        self.patch_length(head);
        let stream = Stream::new(token, self.peer.stream_window, !end, counts);
        self.streams.insert(id, stream);
        self.message(id, message, end);
        id
    }

    /// Sends one more message on an open stream; nothing if it is gone.
    pub(super) fn send(&mut self, id: u32, message: &[u8]) {
        if self.streams.contains_key(&id) {
            self.message(id, message, false);
        }
    }

    /// Ends a call as Go's clients do: nothing more is sent, nothing more is wanted. Its end is not
    /// told.
    pub(super) fn cancel(&mut self, id: u32) {
        let Some(stream) = self.streams.remove(&id) else { return };
        self.held.retain(|held| held.stream != id);
        if stream.open {
            self.frame(0, DATA, END_STREAM, id);
        }
        self.frame(4, RST_STREAM, 0, id);
        self.out.extend(CANCEL.to_be_bytes());
        self.let_wait_end();
    }

    /// A message with its prefix, in one DATA frame where it fits.
    fn message(&mut self, id: u32, message: &[u8], end: bool) {
        let length = message.len() + 5;
        let prefix = u32::try_from(message.len()).expect("messages are shorter").to_be_bytes();
        let stream = self.streams.get_mut(&id).expect("the caller has it");
        let room = self.peer.window.min(stream.window);
        let size = i64::try_from(length).expect("messages are shorter");
        if length <= self.peer.frame && size <= room && self.held.is_empty() {
            stream.window -= size;
            self.peer.window -= size;
            self.frame(length, DATA, if end { END_STREAM } else { 0 }, id);
            self.out.push(0);
            self.out.extend(prefix);
            self.out.extend_from_slice(message);
            return;
        }
        let mut bytes = vec![0];
        bytes.extend(prefix);
        bytes.extend_from_slice(message);
        self.held.push_back(Held { stream: id, bytes, sent: 0, end });
        self.send_held();
    }

    /// Sends of what was held back as much as may be sent now.
    fn send_held(&mut self) {
        let mut blocked: Vec<u32> = Vec::new();
        let mut held = std::mem::take(&mut self.held);
        held.retain_mut(|held| {
            let Some(stream) = self.streams.get_mut(&held.stream) else { return false };
            // Messages of one stream keep their order.
            while !blocked.contains(&held.stream) {
                let room = self.peer.window.min(stream.window);
                let left = held.bytes.len() - held.sent;
                let size = left.min(self.peer.frame).min(usize::try_from(room).unwrap_or(0));
                if size == 0 {
                    break;
                }
                let last = size == left;
                stream.window -= size as i64;
                self.peer.window -= size as i64;
                let flags = if held.end && last { END_STREAM } else { 0 };
                frame(&mut self.out, size, DATA, flags, held.stream);
                self.out.extend_from_slice(&held.bytes[held.sent..held.sent + size]);
                held.sent += size;
                if last {
                    return false;
                }
            }
            blocked.push(held.stream);
            true
        });
        self.held = held;
    }

    /// Starts calls that waited, as far as there is room for them.
    fn let_wait_end(&mut self) {
        while self.streams.len() < self.peer.streams {
            let Some(call) = self.waiting.pop_front() else { return };
            self.begin(call.token, call.method, &call.message, true, call.counts);
        }
    }

    /// Takes what has come, as far as `scratch` holds it, and tells what it was.
    pub(super) fn receive(&mut self, scratch: &mut [u8], events: &mut Events) {
        let read = match self.socket.read(scratch) {
            Ok(0) => return self.lose("the server closed the connection", events),
            Ok(read) => read,
            Err(error) if is_passing(&error) => return,
            Err(error) => return self.lose(&error.to_string(), events),
        };
        let at = Instant::now();
        let used = if self.rest.is_empty() {
            let used = self.frames(&scratch[..read], at, events);
            used.inspect(|used| self.rest.extend_from_slice(&scratch[*used..read])).map(|_| ())
        } else {
            let mut rest = std::mem::take(&mut self.rest);
            rest.extend_from_slice(&scratch[..read]);
            let used = self.frames(&rest, at, events);
            used.map(|used| {
                rest.drain(..used);
                self.rest = rest;
            })
        };
        if let Err(Broken(text)) = used {
            self.lose(text, events);
        }
    }

    /// Takes every whole frame, and tells how many bytes they were.
    fn frames(&mut self, bytes: &[u8], at: Instant, events: &mut Events) -> Result<usize, Broken> {
        let mut used = 0;
        while let Some(head) = bytes.get(used..used + FRAME_HEAD) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let id = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
            let from = used + FRAME_HEAD;
            let Some(inside) = bytes.get(from..from + length) else { break };
            self.take(head[3], head[4], id, inside, at, events)?;
            used = from + length;
        }
        Ok(used)
    }

    fn take(
        &mut self,
        kind: u8,
        flags: u8,
        id: u32,
        inside: &[u8],
        at: Instant,
        events: &mut Events,
    ) -> Result<(), Broken> {
        match kind {
            DATA => self.take_data(flags, id, inside, at, events)?,
            HEADERS => {
                let mut inside = unpadded(flags, inside)?;
                if flags & PRIORITY != 0 {
                    inside = inside.get(5..).ok_or(Broken("a frame that is too short"))?;
                }
                if flags & END_HEADERS == 0 {
                    self.block = Some((id, flags, inside.to_vec()));
                } else {
                    self.take_block(flags, id, inside, at, events)?;
                }
            }
            CONTINUATION => {
                let (of, first, mut block) = self.block.take().ok_or(Broken("an odd frame"))?;
                block.extend_from_slice(inside);
                if of != id {
                    return Err(Broken("an odd frame"));
                } else if flags & END_HEADERS == 0 {
                    self.block = Some((id, first, block));
                } else {
                    self.take_block(first, id, &block, at, events)?;
                }
            }
            RST_STREAM => {
                let code = number(inside)?;
                if let Some(stream) = self.streams.remove(&id) {
                    self.held.retain(|held| held.stream != id);
                    let failure = reset(code);
                    events.push(stream.token, at, What::Ended(Err(failure)));
                    self.let_wait_end();
                }
            }
            SETTINGS if flags & ACK == 0 => self.take_settings(inside)?,
            PING if flags & ACK == 0 => {
                self.frame(inside.len(), PING, ACK, 0);
                self.out.extend_from_slice(inside);
            }
            GOAWAY => {
                let last = number(inside)? & 0x7fff_ffff;
                let text = "the server goes away";
                self.lost = Some(Failure::new(Code::Unavailable, text));
                self.end_streams(events, |id| id > last);
            }
            WINDOW_UPDATE => {
                let more = i64::from(number(inside)?);
                if id == 0 {
                    self.peer.window += more;
                } else if let Some(stream) = self.streams.get_mut(&id) {
                    stream.window += more;
                }
                self.send_held();
            }
            PUSH_PROMISE => return Err(Broken("a pushed response")),
            // Priorities, acknowledgements and what nobody knows yet.
            _ => {}
        }
        Ok(())
    }

    fn take_data(
        &mut self,
        flags: u8,
        id: u32,
        inside: &[u8],
        at: Instant,
        events: &mut Events,
    ) -> Result<(), Broken> {
        let size = u32::try_from(inside.len()).expect("24 bits");
        self.taken += size;
        if self.taken >= OUR_CONNECTION_WINDOW / 2 {
            let taken = std::mem::take(&mut self.taken);
            self.give_room(0, taken);
        }
        let data = unpadded(flags, inside)?;
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        stream.data(data, at, events);
        if flags & END_STREAM != 0 {
            // A gRPC call ends with trailers.
            let text = "server closed the stream without sending trailers";
            let stream = self.streams.remove(&id).expect("it was there");
            let failure = Failure::new(Code::Internal, text);
            events.push(stream.token, at, What::Ended(Err(failure)));
            self.let_wait_end();
            return Ok(());
        }
        stream.taken += size;
        if stream.taken >= OUR_WINDOW / 2 {
            let taken = std::mem::take(&mut stream.taken);
            self.give_room(id, taken);
        }
        Ok(())
    }

    fn take_block(
        &mut self,
        flags: u8,
        id: u32,
        block: &[u8],
        at: Instant,
        events: &mut Events,
    ) -> Result<(), Broken> {
        let head = self.decoder.block(block).map_err(|malformed| Broken(malformed.0))?;
        let Some(stream) = self.streams.get_mut(&id) else { return Ok(()) };
        stream.head(&head);
        if flags & END_STREAM != 0 {
            let mut stream = self.streams.remove(&id).expect("it was there");
            if stream.open {
                // Our half is open still; the peer wants nothing more.
                stream.open = false;
                self.held.retain(|held| held.stream != id);
                self.frame(4, RST_STREAM, 0, id);
                self.out.extend(NO_ERROR.to_be_bytes());
            }
            events.push(stream.token, at, What::Ended(stream.outcome()));
            self.let_wait_end();
        }
        Ok(())
    }

    fn take_settings(&mut self, inside: &[u8]) -> Result<(), Broken> {
        for setting in inside.chunks_exact(6) {
            let value = number(&setting[2..])?;
            match u16::from_be_bytes([setting[0], setting[1]]) {
                SETTING_TABLE => self.encoder.limit(value),
                SETTING_STREAMS => self.peer.streams = value as usize,
                SETTING_WINDOW => {
                    let change = i64::from(value) - self.peer.stream_window;
                    self.peer.stream_window += change;
                    for stream in self.streams.values_mut() {
                        stream.window += change;
                    }
                }
                SETTING_FRAME => self.peer.frame = value as usize,
                _ => {}
            }
        }
        self.frame(0, SETTINGS, ACK, 0);
        self.greeted = true;
        self.send_held();
        self.let_wait_end();
        Ok(())
    }

    /// Ends it and every call on it.
    pub(super) fn lose(&mut self, why: &str, events: &mut Events) {
        self.closed = true;
        self.lost.get_or_insert_with(|| Failure::new(Code::Unavailable, why));
        self.end_streams(events, |_| true);
    }

    fn end_streams(&mut self, events: &mut Events, which: impl Fn(u32) -> bool) {
        let at = Instant::now();
        let failure = self.lost.clone().expect("it is lost");
        let mut ended: Vec<u32> = self.streams.keys().copied().filter(|id| which(*id)).collect();
        ended.sort_unstable();
        for id in ended {
            let stream = self.streams.remove(&id).expect("it was there");
            events.push(stream.token, at, What::Ended(Err(failure.clone())));
        }
        for call in self.waiting.drain(..) {
            events.push(call.token, at, What::Ended(Err(failure.clone())));
        }
    }

    /// Writes what there is to write. Tells whether the system took all of it.
    pub(super) fn flush(&mut self) -> io::Result<bool> {
        while self.sent < self.out.len() {
            match self.socket.write(&self.out[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        Ok(true)
    }

    fn give_room(&mut self, id: u32, bytes: u32) {
        self.frame(4, WINDOW_UPDATE, 0, id);
        self.out.extend(bytes.to_be_bytes());
    }

    /// Writes a frame's head, and tells where it is.
    fn frame(&mut self, length: usize, kind: u8, flags: u8, id: u32) -> usize {
        frame(&mut self.out, length, kind, flags, id)
    }

    /// The frame that begins at `head` is the last; its length is now known.
    fn patch_length(&mut self, head: usize) {
        let length = u32::try_from(self.out.len() - head - FRAME_HEAD).expect("a short frame");
        self.out[head..head + 3].copy_from_slice(&length.to_be_bytes()[1..]);
    }
}

/// What the peer must not have sent.
struct Broken(&'static str);

fn frame(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, id: u32) -> usize {
    let at = out.len();
    let [_, a, b, c] = u32::try_from(length).expect("frames are shorter").to_be_bytes();
    let [d, e, f, g] = id.to_be_bytes();
    out.extend([a, b, c, kind, flags, d, e, f, g]);
    at
}

fn unpadded(flags: u8, inside: &[u8]) -> Result<&[u8], Broken> {
    if flags & PADDED == 0 {
        return Ok(inside);
    }
    let (padding, inside) = inside.split_first().ok_or(Broken("a frame that is too short"))?;
    let end = inside.len().checked_sub((*padding).into()).ok_or(Broken("too much padding"))?;
    Ok(&inside[..end])
}

fn number(bytes: &[u8]) -> Result<u32, Broken> {
    let bytes = bytes.get(..4).ok_or(Broken("a frame that is too short"))?;
    Ok(u32::from_be_bytes(bytes.try_into().expect("4 bytes")))
}

/// The code that Go's library gives a reset.
fn reset(code: u32) -> Failure {
    let grpc = match code {
        REFUSED_STREAM => Code::Unavailable,
        CANCEL => Code::Cancelled,
        ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        _ => Code::Internal,
    };
    Failure::new(grpc, format!("stream terminated by RST_STREAM with error code: {code}"))
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
