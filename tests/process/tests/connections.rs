//! Limits of a client's connection that flags set, spoken frame by frame to ours and to the real
//! etcd: requests at once, pings of the client, pings of the server.

use quorate_process::{Options, Program, Server, subject};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What HTTP/2 begins with, a frame of settings without any, and an answer to the server's.
const OPENING: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";

/// Whether somebody is there.
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0anybody?";

/// Types of frames, their flag of an answer, and the setting of requests at once (RFC 9113).
const SETTINGS: u8 = 4;
const PING_TYPE: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const AT_ONCE: u16 = 3;

/// Of a connection that is ended because of too many pings.
const ENHANCE_YOUR_CALM: u32 = 11;

/// How long a frame, or an end, may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A frame.
#[derive(Debug)]
struct Frame {
    kind: u8,
    flags: u8,
    payload: Vec<u8>,
}

async fn connect(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.client_address()).await.expect("it is accepted");
    stream.write_all(OPENING).await.expect("it is taken");
    stream
}

/// The next frame; `None` at the end.
async fn next(stream: &mut TcpStream) -> Option<Frame> {
    let read = async {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let len = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; len as usize];
        stream.read_exact(&mut payload).await.ok()?;
        Some(Frame { kind: head[3], flags: head[4], payload })
    };
    timeout(PATIENCE, read).await.expect("it says something, or ends")
}

/// Begins to watch, and goes on for ever: a call that is under way and gets no answer.
async fn begin_call(stream: &mut TcpStream) {
    let mut fields = vec![0x83, 0x86];
    for (name, value) in [
        (&b"\x04"[..], "/etcdserverpb.Watch/Watch"),
        (b"\x01", "localhost"),
        (b"\x0f\x10", "application/grpc"),
        (b"\0\x02te", "trailers"),
    ] {
        fields.extend_from_slice(name);
        fields.push(u8::try_from(value.len()).expect("values are short"));
        fields.extend_from_slice(value.as_bytes());
    }
    let len = u8::try_from(fields.len()).expect("fields are short");
    let mut frame = vec![0, 0, len, 1, 4, 0, 0, 0, 1];
    frame.append(&mut fields);
    stream.write_all(&frame).await.expect("it is taken");
}

/// Pings until the server has had enough; gives how many it answered, and what it said then.
async fn ping(stream: &mut TcpStream, most: usize) -> (usize, Option<(u32, Vec<u8>)>) {
    for answered in 0..most {
        stream.write_all(PING).await.expect("it is taken");
        loop {
            match next(stream).await {
                None => return (answered, None),
                Some(frame) if frame.kind == GOAWAY => {
                    let code = frame.payload[4..8].try_into().expect("four bytes");
                    return (answered, Some((u32::from_be_bytes(code), frame.payload[8..].into())));
                }
                Some(frame) if (frame.kind, frame.flags) == (PING_TYPE, ACK) => break,
                Some(_) => {}
            }
        }
    }
    (most, None)
}

fn on_both(flags: &[&str], test: impl AsyncFn(Server)) {
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    for program in [subject(), Program::newest_etcd()] {
        let options = flags.iter().fold(Options::without_sync(), |all, flag| all.flag(flag));
        runtime.block_on(test(Server::start(&program, options)));
    }
}

#[test]
fn requests_at_once_are_told() {
    for (flag, want) in
        [("--max-concurrent-streams=7", Some(7)), ("--max-concurrent-streams=0", None)]
    {
        on_both(&[flag], async |server| {
            let settings = next(&mut connect(&server).await).await.expect("settings come first");
            assert_eq!(settings.kind, SETTINGS);
            let told = settings.payload.chunks(6).find_map(|setting| {
                let name = u16::from_be_bytes([setting[0], setting[1]]);
                let value = setting[2..].try_into().expect("four bytes");
                (name == AT_ONCE).then_some(u32::from_be_bytes(value))
            });
            assert_eq!(told, want, "{}", server.program().name);
        });
    }
}

#[test]
fn a_client_that_pings_too_often_is_sent_away() {
    let too_many = Some((ENHANCE_YOUR_CALM, b"too_many_pings".to_vec()));
    on_both(&["--grpc-keepalive-min-time=1ns"], async |server| {
        let mut stream = connect(&server).await;
        begin_call(&mut stream).await;
        assert_eq!(ping(&mut stream, 20).await, (20, None), "{}", server.program().name);
        // Without a call it may ask every two hours, whatever the flag says.
        let mut stream = connect(&server).await;
        let (_, said) = ping(&mut stream, 20).await;
        assert_eq!(said, too_many, "{}", server.program().name);
    });
    on_both(&["--grpc-keepalive-min-time=1h"], async |server| {
        let mut stream = connect(&server).await;
        begin_call(&mut stream).await;
        let (_, said) = ping(&mut stream, 20).await;
        assert_eq!(said, too_many, "{}", server.program().name);
    });
}

#[test]
fn a_client_that_is_silent_is_asked_and_then_left() {
    let flags = ["--grpc-keepalive-interval=1s", "--grpc-keepalive-timeout=1s"];
    on_both(&flags, async |server| {
        let mut stream = connect(&server).await;
        let mut asked = false;
        while let Some(frame) = next(&mut stream).await {
            asked |= (frame.kind, frame.flags) == (PING_TYPE, 0);
        }
        assert!(asked, "{} closed the connection without a ping", server.program().name);
    });
}
