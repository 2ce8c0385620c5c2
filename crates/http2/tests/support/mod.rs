//! A client that writes any frames, and a handler with a few methods.
#![allow(dead_code, reason = "not every test needs all of it")]

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use quorate_http2::{
    Answers, Body, BodyError, Buffer, Error, Handler, Head, Options, Parts, Reason, Route, Status,
    serve,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::task::JoinHandle;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PADDED: u8 = 8;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// No test waits longer for an event.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A frame as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub id: u32,
    pub payload: Bytes,
}

impl Frame {
    /// The number at a place of the payload.
    pub fn number(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.payload[at..at + 4].try_into().expect("four bytes"))
    }

    pub fn ends(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

pub fn frame(kind: u8, flags: u8, id: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).expect("a frame is short").to_be_bytes();
    let mut bytes = vec![len[1], len[2], len[3], kind, flags];
    bytes.extend_from_slice(&id.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

pub fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// A header block of literals.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let len = u8::try_from(text.len()).ok().filter(|len| *len < 127);
            block.push(len.expect("a test's texts are short"));
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// The head of a call of gRPC.
pub fn call(path: &str) -> Vec<u8> {
    call_with(path, &[])
}

pub fn call_with(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "x"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    fields.extend_from_slice(more);
    block(&fields)
}

/// A message of gRPC with its prefix.
pub fn message(text: &[u8]) -> Vec<u8> {
    let len = u32::try_from(text.len()).expect("a message is short").to_be_bytes();
    [&[0], &len[..], text].concat()
}

/// The client's end of a connection whose other end is served.
pub struct Client {
    stream: DuplexStream,
    input: BytesMut,
    pub served: JoinHandle<Result<(), Error>>,
    pub seen: Arc<Seen>,
    pub stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Client {
    /// A connection on which nothing was sent.
    pub fn silent(options: Options) -> Self {
        let (near, far) = tokio::io::duplex(1 << 16);
        let seen = Arc::<Seen>::default();
        let handler = Echo { seen: Arc::clone(&seen) };
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let shutdown = async move {
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        let (nothing, options) = (Bytes::new(), Arc::new(options));
        let served = tokio::spawn(serve(far, nothing, options, handler, service, shutdown));
        Self { stream: near, input: BytesMut::new(), served, seen, stop: Some(stop) }
    }

    /// A connection past its beginning: the server's first frames are read.
    pub async fn open(options: Options) -> Self {
        let mut client = Self::silent(options);
        client.send(PREFACE).await;
        client.send(&frame(SETTINGS, 0, 0, b"")).await;
        client.until(|frame| frame.kind == SETTINGS && frame.flags & ACK != 0).await;
        client.send(&frame(SETTINGS, ACK, 0, b"")).await;
        client
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // A server that gave up does not read; what it said is read by the test.
        let written = tokio::time::timeout(PATIENCE, self.stream.write_all(bytes)).await;
        let _: Result<(), _> = written.expect("the server reads or hangs up");
    }

    /// Begins a call, with its whole body.
    pub async fn call(&mut self, id: u32, path: &str, body: &[u8]) {
        self.send(&frame(HEADERS, END_HEADERS, id, &call(path))).await;
        self.send(&frame(DATA, END_STREAM, id, body)).await;
    }

    /// The next frame; none at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if self.input.len() >= 9 {
                let head: [u8; 9] = self.input[..9].try_into().expect("nine bytes");
                let len = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                if self.input.len() >= 9 + len {
                    self.input.advance(9);
                    let payload = self.input.split_to(len).freeze();
                    let id = u32::from_be_bytes(head[5..].try_into().expect("four bytes"));
                    return Some(Frame { kind: head[3], flags: head[4], id, payload });
                }
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.input)).await;
            if read.expect("the server says something in time").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// The first frame that is wanted; the ones before it are dropped.
    pub async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.next().await.expect("the server does not hang up");
            if wanted(&frame) {
                return frame;
            }
        }
    }

    /// All frames of a stream up to its end.
    pub async fn answer(&mut self, id: u32) -> Vec<Frame> {
        let mut frames = Vec::new();
        loop {
            let frame = self.until(|frame| frame.id == id && frame.kind != WINDOW_UPDATE).await;
            let last = frame.ends() || frame.kind == RST_STREAM;
            frames.push(frame);
            if last {
                return frames;
            }
        }
    }

    /// The reason of the GOAWAY with which the server ends the connection, and its text.
    pub async fn sent_away(&mut self) -> (Reason, String) {
        let frame = self.until(|frame| frame.kind == GOAWAY).await;
        let text = String::from_utf8_lossy(&frame.payload[8..]).into_owned();
        (Reason(frame.number(4)), text)
    }

    /// Closes the client's end and waits for the server's.
    pub async fn hang_up(self) -> Result<(), Error> {
        drop(self.stream);
        let served = tokio::time::timeout(PATIENCE, self.served).await;
        served.expect("the server ends in time").expect("it does not panic")
    }
}

/// The bytes of all DATA frames.
pub fn data(frames: &[Frame]) -> Vec<u8> {
    let data = frames.iter().filter(|frame| frame.kind == DATA);
    data.flat_map(|frame| frame.payload.to_vec()).collect()
}

/// Whether a block of ours has a field. Our encoder writes literals without Huffman.
pub fn has(frames: &[Frame], name: &str, value: &str) -> bool {
    let (name_len, value_len) = (name.len(), value.len());
    let len = |len: usize| u8::try_from(len).expect("a test's texts are short");
    let named = [&[len(name_len)], name.as_bytes(), &[len(value_len)], value.as_bytes()].concat();
    let blocks = frames.iter().filter(|frame| frame.kind == HEADERS);
    blocks.into_iter().any(|frame| frame.payload.windows(named.len()).any(|part| part == named))
}

/// What a handler saw.
#[derive(Debug, Default)]
pub struct Seen {
    pub opened: AtomicUsize,
    pub closed: AtomicUsize,
    /// How large each answer was, and how each call ended.
    pub sent: Mutex<Vec<usize>>,
    pub codes: Mutex<Vec<quorate_http2::Code>>,
    /// Messages in parts that are under way, and how many bytes of them were made.
    pub parts: AtomicUsize,
    pub made: AtomicUsize,
    /// Calls that nobody answers.
    pub kept: Mutex<Vec<Answers<Bytes>>>,
}

impl Seen {
    pub fn under_way(&self) -> usize {
        self.opened.load(Ordering::SeqCst) - self.closed.load(Ordering::SeqCst)
    }
}

/// A message in parts: byte after byte counted, which fails in the part that reaches `breaks`.
#[derive(Debug)]
pub struct Counted {
    seen: Arc<Seen>,
    len: usize,
    part: usize,
    breaks: usize,
    at: usize,
}

impl Counted {
    /// What a client asks for.
    pub fn ask(len: usize, part: usize, breaks: usize) -> Vec<u8> {
        message(format!("{len} {part} {breaks}").as_bytes())
    }

    fn asked(seen: &Arc<Seen>, message: &[u8]) -> Self {
        let text = std::str::from_utf8(message).expect("numbers");
        let mut numbers = text.split(' ').map(|number| number.parse().expect("a number"));
        let mut next = || numbers.next().expect("three numbers");
        seen.parts.fetch_add(1, Ordering::SeqCst);
        Self { seen: Arc::clone(seen), len: next(), part: next(), breaks: next(), at: 0 }
    }

    /// The bytes of one.
    pub fn bytes(range: std::ops::Range<usize>) -> Vec<u8> {
        range.map(|at| (at % 251).to_le_bytes()[0]).collect()
    }
}

impl Parts for Counted {
    fn next(&mut self, out: &mut Buffer) -> Result<(), Status> {
        let end = self.len.min(self.at + self.part);
        if end > self.breaks {
            return Err(Status::new(quorate_http2::Code::DataLoss, "it broke"));
        }
        out.put_slice(&Self::bytes(self.at..end));
        self.seen.made.fetch_add(end - self.at, Ordering::SeqCst);
        self.at = end;
        Ok(())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.seen.parts.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Echoes: `/t.T/Echo` a message, `/t.T/Stream` many, `/t.T/Never` none; `/t.T/Parts` gives
/// one in parts. Others are the service's.
pub struct Echo {
    pub seen: Arc<Seen>,
}

pub struct Call {
    answers: Option<Answers<Bytes>>,
    streaming: bool,
    in_parts: bool,
}

impl Handler for Echo {
    type Answer = Bytes;
    type Call = Call;

    fn open(&mut self, head: &Head<'_>, answers: &Answers<Bytes>) -> Route<Call> {
        let streaming = match head.path() {
            "/t.T/Echo" | "/t.T/Parts" => false,
            "/t.T/Stream" => true,
            "/t.T/Never" => {
                self.seen.opened.fetch_add(1, Ordering::SeqCst);
                self.seen.kept.lock().expect("no test fails in it").push(answers.clone());
                return Route::Streaming(Call { answers: None, streaming: true, in_parts: false });
            }
            "/t.T/Dropped" => {
                self.seen.opened.fetch_add(1, Ordering::SeqCst);
                return Route::Unary(Call { answers: None, streaming: false, in_parts: false });
            }
            "/t.T/Refused" => {
                let code = quorate_http2::Code::PermissionDenied;
                return Route::Refuse(Status::new(code, "not you"));
            }
            _ => return Route::Service,
        };
        self.seen.opened.fetch_add(1, Ordering::SeqCst);
        let in_parts = head.path() == "/t.T/Parts";
        let call = Call { answers: Some(answers.clone()), streaming, in_parts };
        if streaming { Route::Streaming(call) } else { Route::Unary(call) }
    }

    fn message(&mut self, call: &mut Call, message: Bytes) {
        if call.streaming {
            if let Some(answers) = &call.answers {
                answers.push(message);
            }
        } else if let Some(answers) = call.answers.take() {
            if call.in_parts {
                let parts = Counted::asked(&self.seen, &message);
                let len = parts.len;
                answers.answer_in_parts(parts, len);
            } else {
                answers.answer(message);
            }
        }
    }

    fn half_closed(&mut self, call: &mut Call) {
        if let Some(answers) = call.answers.take() {
            answers.finish(Status::OK);
        }
    }

    fn sent(&mut self, _: &mut Call, _: Option<&Bytes>, bytes: usize) {
        self.seen.sent.lock().expect("no test fails in it").push(bytes);
    }

    fn closed(&mut self, _: Call, code: quorate_http2::Code) {
        self.seen.closed.fetch_add(1, Ordering::SeqCst);
        self.seen.codes.lock().expect("no test fails in it").push(code);
    }
}

/// Sends a request's body back, trailers too, piece by piece.
pub async fn service(
    request: http::Request<Body>,
) -> http::Response<http_body_util::combinators::UnsyncBoxBody<Bytes, BodyError>> {
    let response = http::Response::builder().header("x-path", request.uri().path());
    let response = if request.uri().path() == "/gone" { response.status(410) } else { response };
    response.body(request.into_body().boxed_unsync()).expect("it is a legal response")
}
