//! What a unary call of 256 bytes costs a server: this crate beside hyper with tonic, both
//! echoing, under the same client.
//!
//! Each server is a process of its own with one worker thread, so that its CPU time is its own. The
//! client keeps a number of calls under way on each connection, and its header blocks are those of
//! a client with a warm table. Argument: seconds per row (3).
#![allow(clippy::cast_possible_truncation, reason = "the numbers of a bench are small")]

use bytes::{Buf as _, Bytes, BytesMut};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use quorate_http2::{Answers, Handler, Head, NoFastCalls, Options, Route, Status, serve};
use std::io::{BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};

const MESSAGE_BYTES: usize = 256;
const CONNECTIONS: usize = 8;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == "server") {
        return server(&arguments[2]);
    }
    let seconds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(3);
    println!("unary echo of {MESSAGE_BYTES} bytes, {CONNECTIONS} connections; CPU us per call");
    println!("{:<24} {:>9} {:>10} {:>7} {:>7}", "server", "in flight", "calls/s", "user", "system");
    for in_flight in [1, 5, 50] {
        for kind in ["http2", "http2-thread", "http2-service", "hyper", "hyper-tonic"] {
            row(kind, in_flight, Duration::from_secs(seconds));
        }
    }
}

fn row(kind: &str, in_flight: usize, run: Duration) {
    let program = std::env::current_exe().expect("this program has a path");
    let mut server = Command::new(program);
    server.args(["server", kind]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = server.spawn().expect("it starts");
    let mut lines = BufReader::new(server.stdout.take().expect("it is a pipe"));
    let port = number(&mut lines) as u16;
    let runtime = one_thread();
    // The first second warms up.
    let (mut before, mut calls) = ((0, 0), 0);
    for part in [Duration::from_millis(500), run] {
        calls = runtime.block_on(load(port, in_flight, part));
        if part != run {
            before = usage(&mut server, &mut lines);
        }
    }
    let after = usage(&mut server, &mut lines);
    drop(server.stdin.take());
    server.wait().expect("it ends");
    let per_call = |before: u64, after: u64| (after - before) as f64 / calls as f64;
    println!(
        "{kind:<24} {in_flight:>9} {:>10.0} {:>7.2} {:>7.2}",
        calls as f64 / run.as_secs_f64(),
        per_call(before.0, after.0),
        per_call(before.1, after.1),
    );
}

/// The server's CPU time so far, user and system, in microseconds.
fn usage(server: &mut Child, lines: &mut impl std::io::BufRead) -> (u64, u64) {
    let input = server.stdin.as_mut().expect("it is a pipe");
    input.write_all(b"?").expect("it listens");
    (number(lines), number(lines))
}

fn number(lines: &mut impl std::io::BufRead) -> u64 {
    let mut line = String::new();
    lines.read_line(&mut line).expect("the server says it");
    line.trim().parse().expect("it is a number")
}

fn one_thread() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn server(kind: &str) {
    let runtime = one_thread();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    println!("{}", listener.local_addr().expect("it is bound").port());
    runtime.spawn(accept(listener, kind.to_owned()));
    let mut byte = [0];
    while std::io::stdin().read(&mut byte).is_ok_and(|count| count == 1) {
        let usage = getrusage(UsageWho::RUSAGE_SELF).expect("every process has one");
        let micros = |time: TimeVal| time.tv_sec() * 1_000_000 + time.tv_usec();
        println!("{}\n{}", micros(usage.user_time()), micros(usage.system_time()));
    }
}

async fn accept(listener: TcpListener, kind: String) {
    let worker = Worker::start();
    let options = Arc::new(Options::default());
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).expect("it is TCP");
        let (options, nothing, never) =
            (Arc::clone(&options), Bytes::new(), std::future::pending());
        match kind.as_str() {
            "http2" => {
                let handler = Echo { worker: None };
                tokio::spawn(serve(stream, nothing, options, handler, tonic_echo, never));
            }
            "http2-thread" => {
                let handler = Echo { worker: Some(worker.clone()) };
                tokio::spawn(serve(stream, nothing, options, handler, tonic_echo, never));
            }
            "http2-service" => {
                tokio::spawn(serve(stream, nothing, options, NoFastCalls, tonic_echo, never));
            }
            _ => {
                let with_tonic = kind == "hyper-tonic";
                let service = hyper::service::service_fn(move |request| async move {
                    if with_tonic {
                        Ok(tonic_echo(request).await)
                    } else {
                        bare_echo(request).await
                    }
                });
                let executor = hyper_util::rt::TokioExecutor::new();
                let stream = hyper_util::rt::TokioIo::new(stream);
                let builder = hyper::server::conn::http2::Builder::new(executor);
                tokio::spawn(builder.serve_connection(stream, service));
            }
        }
    }
}

/// Echoes in the connection's task, or from another thread as a state machine would.
struct Echo {
    worker: Option<Worker>,
}

impl Handler for Echo {
    type Answer = Bytes;
    type Call = Option<Answers<Bytes>>;

    fn open(&mut self, head: &Head<'_>, answers: &Answers<Bytes>) -> Route<Self::Call> {
        if head.path() == "/echo.Echo/Echo" {
            return Route::Unary(Some(answers.clone()));
        }
        Route::Refuse(Status::new(quorate_http2::Code::Unimplemented, "unknown method"))
    }

    fn message(&mut self, call: &mut Self::Call, message: Bytes) {
        let Some(answers) = call.take() else { return };
        match &self.worker {
            None => answers.answer(message),
            Some(worker) => worker.0.send((answers, message)).expect("the worker runs"),
        }
    }

    fn half_closed(&mut self, _: &mut Self::Call) {}

    fn closed(&mut self, _: Self::Call, _: quorate_http2::Code) {}
}

/// A thread that answers.
#[derive(Clone)]
struct Worker(std::sync::mpsc::SyncSender<(Answers<Bytes>, Bytes)>);

impl Worker {
    fn start() -> Self {
        let (send, receive) = std::sync::mpsc::sync_channel::<(Answers<Bytes>, Bytes)>(4096);
        std::thread::spawn(move || {
            for (answers, message) in receive {
                answers.answer(message);
            }
        });
        Self(send)
    }
}

/// The message as tonic sees it. Its one field takes the bytes of the message itself.
#[derive(Clone, PartialEq, prost::Message)]
struct Text {
    #[prost(bytes = "bytes", tag = "1")]
    text: Bytes,
}

struct TonicEcho;

impl tonic::server::UnaryService<Text> for TonicEcho {
    type Response = Text;
    type Future = std::future::Ready<Result<tonic::Response<Text>, tonic::Status>>;

    fn call(&mut self, request: tonic::Request<Text>) -> Self::Future {
        std::future::ready(Ok(tonic::Response::new(request.into_inner())))
    }
}

async fn tonic_echo<B>(request: http::Request<B>) -> http::Response<tonic::body::Body>
where
    B: http_body::Body<Data = Bytes, Error: Into<tonic::codegen::StdError> + Send> + Send + 'static,
{
    let codec = tonic_prost::ProstCodec::<Text, Text>::default();
    tonic::server::Grpc::new(codec).unary(TonicEcho, request).await
}

/// hyper alone: the body comes back as it is.
async fn bare_echo(
    request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<tonic::body::Body>, hyper::Error> {
    use http_body_util::BodyExt as _;
    let body = request.into_body().collect().await?.to_bytes();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    let trailers = std::future::ready(Some(Ok(trailers)));
    let body = http_body_util::Full::new(body).with_trailers(trailers);
    let response = http::Response::builder().header("content-type", "application/grpc");
    Ok(response.body(tonic::body::Body::new(body)).expect("it is a legal response"))
}

/// Calls for as long as `run`, on all connections. Returns how many were answered.
async fn load(port: u16, in_flight: usize, run: Duration) -> u64 {
    let until = Instant::now() + run;
    let connections = (0..CONNECTIONS).map(|_| tokio::spawn(connection(port, in_flight, until)));
    let mut calls = 0;
    for connection in connections.collect::<Vec<_>>() {
        calls += connection.await.expect("a connection lasts");
    }
    calls
}

async fn connection(port: u16, in_flight: usize, until: Instant) -> u64 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
    stream.set_nodelay(true).expect("it is TCP");
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    let (mut next_id, mut calls, mut received, mut under_way) = (1, 0, 0, 0);
    let mut input = BytesMut::with_capacity(1 << 16);
    while under_way < in_flight {
        request(&mut out, next_id);
        (next_id, under_way) = (next_id + 2, under_way + 1);
    }
    loop {
        stream.write_all(&out).await.expect("the server reads");
        out.clear();
        if under_way == 0 {
            return calls;
        }
        input.reserve(1 << 14);
        let count = stream.read_buf(&mut input).await.expect("the server writes");
        assert!(count > 0, "the server stays");
        let go_on = Instant::now() < until;
        while input.len() >= 9 {
            let len = u32::from_be_bytes([0, input[0], input[1], input[2]]) as usize;
            let (kind, flags) = (input[3], input[4]);
            if input.len() < 9 + len {
                break;
            }
            match kind {
                0 => received += len,
                1 if flags & 1 != 0 => {
                    (calls, under_way) = (calls + 1, under_way - 1);
                    if go_on {
                        request(&mut out, next_id);
                        (next_id, under_way) = (next_id + 2, under_way + 1);
                    }
                }
                4 if flags & 1 == 0 => out.extend_from_slice(b"\0\0\0\x04\x01\0\0\0\0"),
                6 if flags & 1 == 0 => {
                    out.extend_from_slice(b"\0\0\x08\x06\x01\0\0\0\0");
                    out.extend_from_slice(&input[9..17]);
                }
                3 | 7 => panic!("the server gives up"),
                _ => {}
            }
            input.advance(9 + len);
        }
        if received > 1 << 14 {
            out.extend_from_slice(b"\0\0\x04\x08\0\0\0\0\0");
            out.extend_from_slice(&(received as u32).to_be_bytes());
            received = 0;
        }
    }
}

/// HEADERS and DATA of a call. The first request fills the server's table.
fn request(out: &mut Vec<u8>, id: u32) {
    let mut block = vec![0x83, 0x86];
    let fields = [
        (":path", "/echo.Echo/Echo"),
        (":authority", "127.0.0.1:2379"),
        ("content-type", "application/grpc"),
        ("user-agent", "grpc-go/1.71.0"),
        ("te", "trailers"),
    ];
    for (place, (name, value)) in fields.iter().enumerate() {
        if id > 1 {
            block.push(0x80 | (61 + fields.len() - place) as u8);
            continue;
        }
        block.push(0x40);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    let frame = |out: &mut Vec<u8>, kind, flags, payload: &[u8]| {
        out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&[kind, flags]);
        out.extend_from_slice(&id.to_be_bytes());
        out.extend_from_slice(payload);
    };
    frame(out, 1, 4, &block);
    // Field 1 of the message that tonic reads: 253 bytes after a tag and a length of two.
    let mut message = vec![0, 0, 0, 1, 0, 0x0a, 0xfd, 0x01];
    message.resize(5 + MESSAGE_BYTES, b'x');
    frame(out, 0, 1, &message);
}
