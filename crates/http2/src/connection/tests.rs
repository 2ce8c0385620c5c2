//! Random lives of a connection beside a model of its client: whatever is sent in whatever pieces,
//! bodies arrive whole and in order, and no window is ever exceeded.

use super::{Connection, Event, Owner};
use crate::buffer::Buffer;
use crate::frame::{self, FrameHead};
use crate::handler::Parts;
use crate::options::Options;
use crate::status::{Code, Status};
use crate::streams::{End, Key, Rest};
use bytes::{Buf as _, Bytes, BytesMut};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::sync::Arc;
use std::time::Instant;

/// What a test keeps with a stream: the bytes of it that left.
#[derive(Debug, Default)]
struct Left(usize);

impl Owner for Left {
    fn waits(&mut self, _: usize) {}

    fn broken(&mut self, _: Code) {}

    fn sent(&mut self, bytes: usize) {
        self.0 += bytes;
    }
}

/// A message in parts of so many bytes, which breaks behind so many parts.
#[derive(Debug)]
struct Cut {
    left: Bytes,
    part: usize,
    breaks: Option<usize>,
}

impl Parts for Cut {
    fn next(&mut self, out: &mut Buffer) -> Result<(), Status> {
        if self.breaks == Some(0) {
            return Err(Status::new(Code::DataLoss, "broken"));
        }
        self.breaks = self.breaks.map(|parts| parts - 1);
        out.put(self.left.split_to(self.part.min(self.left.len())));
        Ok(())
    }
}

/// Something that happens.
#[derive(Debug, Clone)]
enum Step {
    Open {
        end: bool,
    },
    Body {
        pick: usize,
        len: usize,
        padding: u8,
        end: bool,
    },
    Trailers {
        pick: usize,
    },
    Cancel {
        pick: usize,
    },
    WidenConnection {
        by: u32,
    },
    WidenStream {
        pick: usize,
        by: u32,
    },
    FirstWindow {
        size: u32,
    },
    Answer {
        pick: usize,
        len: usize,
    },
    /// The last message, made in parts of so many bytes; it may break behind some of them.
    Parts {
        pick: usize,
        len: usize,
        part: usize,
        breaks: Option<usize>,
    },
    Finish {
        pick: usize,
        trailers: bool,
    },
    /// So much of what the client wrote arrives.
    Arrive {
        len: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let pick = 0..8_usize;
    prop_oneof![
        3 => any::<bool>().prop_map(|end| Step::Open { end }),
        4 => (pick.clone(), 0..3000_usize, any::<u8>(), any::<bool>())
            .prop_map(|(pick, len, padding, end)| Step::Body { pick, len, padding, end }),
        1 => pick.clone().prop_map(|pick| Step::Trailers { pick }),
        1 => pick.clone().prop_map(|pick| Step::Cancel { pick }),
        1 => (1..5000_u32).prop_map(|by| Step::WidenConnection { by }),
        2 => (pick.clone(), 1..5000_u32).prop_map(|(pick, by)| Step::WidenStream { pick, by }),
        1 => (0..8000_u32).prop_map(|size| Step::FirstWindow { size }),
        5 => (pick.clone(), 0..9000_usize).prop_map(|(pick, len)| Step::Answer { pick, len }),
        2 => (pick.clone(), 1..60_000_usize, 1..9000_usize, prop::option::weighted(0.2, 0..4_usize))
            .prop_map(|(pick, len, part, breaks)| Step::Parts { pick, len, part, breaks }),
        2 => (pick, any::<bool>()).prop_map(|(pick, trailers)| Step::Finish { pick, trailers }),
        9 => (1..4000_usize).prop_map(|len| Step::Arrive { len }),
    ]
}

/// One request, as its client knows it.
#[derive(Debug, Default)]
struct Request {
    /// What the client wrote of the body, and whether that is all.
    body: Vec<u8>,
    body_ended: bool,
    /// What the server got of it.
    got: Vec<u8>,
    got_end: bool,
    /// What the server sent, and whether that is all.
    answer: Vec<u8>,
    answer_ended: bool,
    /// What came of it.
    came: Vec<u8>,
    came_end: bool,
    cancelled: bool,
    /// The answer cannot be made to its end.
    breaks: bool,
    /// What the server may send, as the client counts; more may be on its way to it.
    window: i64,
    key: Option<Key>,
}

struct World {
    connection: Connection<Left>,
    /// Written by the client and not arrived.
    wire: Vec<u8>,
    arrived: BytesMut,
    /// All that arrived.
    written: Vec<u8>,
    /// Sent by the server, in part a frame.
    came: BytesMut,
    requests: BTreeMap<u32, Request>,
    window: i64,
    first_window: i64,
    next_id: u32,
    next_byte: u8,
}

const SMALL_WINDOW: u32 = 65_535;

impl World {
    fn new() -> Self {
        let options = Options {
            stream_window: 20_000,
            connection_window: SMALL_WINDOW,
            cancelled_max: 1_000_000,
            ..Options::default()
        };
        let mut wire = frame::PREFACE.to_vec();
        put(&mut wire, frame::SETTINGS, 0, 0, b"");
        Self {
            connection: Connection::new(Arc::new(options), Instant::now()),
            wire,
            arrived: BytesMut::new(),
            written: Vec::new(),
            came: BytesMut::new(),
            requests: BTreeMap::new(),
            window: i64::from(SMALL_WINDOW),
            first_window: i64::from(SMALL_WINDOW),
            next_id: 1,
            next_byte: 0,
        }
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        self.next_byte = self.next_byte.wrapping_add(31);
        (0..len).map(|place| self.next_byte.wrapping_add(place.to_le_bytes()[0])).collect()
    }

    fn picked(&self, pick: usize, wanted: impl Fn(&Request) -> bool) -> Option<u32> {
        let fitting = self.requests.iter().filter(|(_, request)| wanted(request));
        let ids: Vec<u32> = fitting.map(|(id, _)| *id).collect();
        (!ids.is_empty()).then(|| ids[pick % ids.len()])
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Open { end } => {
                let id = self.next_id;
                self.next_id += 2;
                let flags = frame::END_HEADERS | if end { frame::END_STREAM } else { 0 };
                put(&mut self.wire, frame::HEADERS, flags, id, b"\x83\x86\x84");
                let window = self.first_window;
                let request = Request { body_ended: end, window, ..Request::default() };
                self.requests.insert(id, request);
            }
            Step::Body { pick, len, padding, end } => {
                let open = |request: &Request| !request.body_ended && !request.cancelled;
                let Some(id) = self.picked(pick, open) else { return };
                // The server takes all at once, so that a little at a time is always allowed.
                let mut payload = self.bytes(len);
                let request = self.requests.get_mut(&id).unwrap();
                request.body.extend_from_slice(&payload);
                request.body_ended = end;
                let mut flags = if end { frame::END_STREAM } else { 0 };
                if padding % 3 == 0 {
                    flags |= frame::PADDED;
                    payload.insert(0, padding);
                    payload.extend(std::iter::repeat_n(0, usize::from(padding)));
                }
                put(&mut self.wire, frame::DATA, flags, id, &payload);
                // Its window cannot be known before the server's updates are: let it arrive.
                self.arrive(usize::MAX);
            }
            Step::Trailers { pick } => {
                let open = |request: &Request| !request.body_ended && !request.cancelled;
                let Some(id) = self.picked(pick, open) else { return };
                let flags = frame::END_HEADERS | frame::END_STREAM;
                put(&mut self.wire, frame::HEADERS, flags, id, b"\x00\x01a\x01b");
                self.requests.get_mut(&id).unwrap().body_ended = true;
            }
            Step::Cancel { pick } => {
                let Some(id) = self.picked(pick, |request| !request.cancelled) else { return };
                put(&mut self.wire, frame::RST_STREAM, 0, id, &8_u32.to_be_bytes());
                self.requests.get_mut(&id).unwrap().cancelled = true;
            }
            Step::WidenConnection { by } => {
                put(&mut self.wire, frame::WINDOW_UPDATE, 0, 0, &by.to_be_bytes());
                self.window += i64::from(by);
            }
            Step::WidenStream { pick, by } => {
                let Some(id) = self.picked(pick, |_| true) else { return };
                put(&mut self.wire, frame::WINDOW_UPDATE, 0, id, &by.to_be_bytes());
                self.requests.get_mut(&id).unwrap().window += i64::from(by);
            }
            Step::FirstWindow { size } => {
                let mut setting = frame::SETTINGS_INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
                setting.extend_from_slice(&size.to_be_bytes());
                put(&mut self.wire, frame::SETTINGS, 0, 0, &setting);
                for request in self.requests.values_mut() {
                    request.window += i64::from(size) - self.first_window;
                }
                self.first_window = i64::from(size);
                // A smaller window counts from when the server knows it.
                self.arrive(usize::MAX);
            }
            Step::Answer { pick, len } => {
                let open = |request: &Request| request.key.is_some() && !request.answer_ended;
                let Some(id) = self.picked(pick, open) else { return };
                let bytes = self.bytes(len);
                let request = self.requests.get_mut(&id).unwrap();
                let key = request.key.unwrap();
                if self.connection.head_sent(key) == Some(false) {
                    self.connection.send_head(key, b"\x88", false);
                }
                request.answer.extend_from_slice(&bytes);
                self.connection.send_bytes(key, Bytes::from(bytes));
            }
            Step::Parts { pick, len, part, breaks } => {
                let open = |request: &Request| request.key.is_some() && !request.answer_ended;
                let Some(id) = self.picked(pick, open) else { return };
                let bytes = self.bytes(len);
                let request = self.requests.get_mut(&id).unwrap();
                let key = request.key.unwrap();
                request.answer.extend_from_slice(&bytes);
                (request.breaks, request.answer_ended) = (breaks.is_some(), true);
                if self.connection.head_sent(key) == Some(false) {
                    self.connection.send_head(key, b"\x88", false);
                }
                let parts = Cut { left: bytes.into(), part, breaks };
                let rest = Rest::new(Box::new(parts), len);
                self.connection.send_parts(key, Buffer::default(), Some(rest));
                self.connection.finish(key, End::Plain);
            }
            Step::Finish { pick, trailers } => {
                let open = |request: &Request| request.key.is_some() && !request.answer_ended;
                let Some(id) = self.picked(pick, open) else { return };
                let request = self.requests.get_mut(&id).unwrap();
                request.answer_ended = true;
                let key = request.key.unwrap();
                let end =
                    if trailers { End::Trailers(b"\x00\x01a\x01b"[..].into()) } else { End::Plain };
                if self.connection.head_sent(key) == Some(false) {
                    self.connection.send_head(key, b"\x88", false);
                }
                self.connection.finish(key, end);
            }
            Step::Arrive { len } => self.arrive(len),
        }
        self.settle();
    }

    fn arrive(&mut self, len: usize) {
        let len = len.min(self.wire.len());
        self.arrived.extend_from_slice(&self.wire[..len]);
        self.written.extend_from_slice(&self.wire[..len]);
        self.wire.drain(..len);
        while let Some(event) = self.connection.next(&mut self.arrived).expect("all is legal") {
            match event {
                Event::Head { key, end } => {
                    let request = self.requests.get_mut(&key.id).unwrap();
                    (request.key, request.got_end) = (Some(key), end);
                }
                Event::Data { key, data, end } => {
                    let request = self.requests.get_mut(&key.id).unwrap();
                    request.got.extend_from_slice(&data);
                    request.got_end = end;
                    self.connection.taken(key, data.len());
                }
                Event::Trailers { key } => self.requests.get_mut(&key.id).unwrap().got_end = true,
            }
        }
        self.settle();
    }

    /// Takes what the server sends, and lets go of what is over.
    fn settle(&mut self) {
        loop {
            self.connection.fill();
            let bytes = output(&mut self.connection);
            if bytes.is_empty() {
                break;
            }
            self.came.extend_from_slice(&bytes);
        }
        while let Some(head) = FrameHead::read(&self.came) {
            let whole = frame::FRAME_HEAD_LEN + head.len;
            assert!(head.len <= 16_384);
            if self.came.len() < whole {
                break;
            }
            self.came.advance(frame::FRAME_HEAD_LEN);
            let payload = self.came.split_to(head.len);
            self.came_frame(head, &payload);
        }
        while let Some(over) = self.connection.take_over() {
            assert!(over.owner.0 < 1 << 30);
        }
        // A stream that is over takes no answer.
        for request in self.requests.values_mut() {
            let over = request.key.is_some_and(|key| self.connection.stream(key).is_none());
            request.answer_ended |= over;
        }
    }

    fn came_frame(&mut self, head: FrameHead, payload: &[u8]) {
        match head.kind {
            frame::DATA => {
                let len = i64::try_from(payload.len()).unwrap();
                self.window -= len;
                let request = self.requests.get_mut(&head.id).unwrap();
                request.window -= len;
                assert!(len == 0 || (self.window >= 0 && request.window >= 0), "a window exceeded");
                assert!(!request.came_end, "nothing comes after the end");
                request.came.extend_from_slice(payload);
                request.came_end = head.has(frame::END_STREAM);
            }
            frame::HEADERS => {
                let request = self.requests.get_mut(&head.id).unwrap();
                assert!(!request.came_end, "nothing comes after the end");
                request.came_end = head.has(frame::END_STREAM);
            }
            frame::RST_STREAM => {
                let request = self.requests.get_mut(&head.id).unwrap();
                let reason = frame::number(payload);
                // Only after the end, for a client that has not said all.
                let expected = (request.came_end && reason == 0) || (request.breaks && reason == 2);
                assert!(expected || reason == 5, "reset with {reason}");
                request.cancelled = true;
            }
            frame::GOAWAY => panic!("a GOAWAY"),
            _ => {}
        }
    }

    /// Opens all windows, ends all requests, and looks at what became of them.
    fn finish(mut self) {
        self.arrive(usize::MAX);
        self.step(&Step::FirstWindow { size: 1 << 24 });
        self.step(&Step::WidenConnection { by: 1 << 24 });
        self.arrive(usize::MAX);
        let ids: Vec<u32> = self.requests.keys().copied().collect();
        for _ in &ids {
            self.step(&Step::Finish { pick: 0, trailers: true });
        }
        for (id, request) in &self.requests {
            assert!(request.key.is_some(), "{id} began");
            let in_order = request.answer.starts_with(&request.came);
            assert!(in_order, "{id}: the answer comes in order");
            assert!(request.body.starts_with(&request.got), "{id}: the body comes in order");
            if !request.cancelled {
                assert_eq!(request.came, request.answer, "{id}: all of the answer");
                assert!(request.came_end, "{id}: the end of the answer");
                assert_eq!(request.got, request.body, "{id}: all of the body");
                assert_eq!(request.got_end, request.body_ended, "{id}: the end of the body");
            }
        }
        assert_eq!(self.connection.streams_len(), 0);
        assert_eq!(self.connection.queued(), 0);
    }
}

fn put(out: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    out.extend_from_slice(&FrameHead { len: payload.len(), kind, flags, id }.bytes());
    out.extend_from_slice(payload);
}

proptest! {
    #[test]
    fn random_lives(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }

    /// Pieces make no difference to what is read and what is sent.
    #[test]
    fn input_may_be_cut_anywhere(steps in prop::collection::vec(step(), 1..40), cut in 1..50_usize) {
        let mut world = World::new();
        for step in &steps {
            world.step(step);
        }
        world.arrive(usize::MAX);
        prop_assert_eq!(read(&world.written, usize::MAX), read(&world.written, cut));
    }
}

/// Events, and what is sent, of a connection that reads pieces of `len` bytes.
fn read(written: &[u8], len: usize) -> (Vec<String>, Vec<u8>) {
    let options = Options { concurrent_streams_max: 5, ..Options::default() };
    let mut connection = Connection::<Left>::new(Arc::new(options), Instant::now());
    let (mut input, mut events) = (BytesMut::new(), Vec::new());
    for piece in written.chunks(len) {
        input.extend_from_slice(piece);
        while let Ok(Some(event)) = connection.next(&mut input) {
            events.push(format!("{event:?}"));
        }
    }
    (events, output(&mut connection))
}

/// Takes the output.
fn output(connection: &mut Connection<Left>) -> Vec<u8> {
    let mut slices = [IoSlice::new(&[]); 8];
    let set = connection.out.slices(&mut slices);
    let bytes: Vec<u8> = slices[..set].iter().flat_map(|slice| slice.to_vec()).collect();
    connection.out.advance(bytes.len());
    bytes
}
