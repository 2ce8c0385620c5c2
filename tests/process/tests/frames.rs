//! Bytes that are no protocol, on both ports: what answers them is an error or an end, others are
//! served meanwhile, and memory stays bounded.
//!
//! What is well-formed HTTP on the peer port and yet no peer's is answered as the real etcd does.

use prost::Message as _;
use quorate_process::{Options, Program, Rng, Server, Witness, subject};
use raftpb::{Message, MessageType};
use std::net::SocketAddr;
use std::time::Duration;
use testkit::figures;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Memory that a server may come to have, in MiB.
const MEMORY_MAX_MIB: u64 = 256;

/// How long a server may keep silent before it is left alone.
const SILENCE: Duration = Duration::from_millis(300);

/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Sends, as far as it is taken, and reads until the other end closes or keeps silent.
async fn send(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.expect("it is accepted");
    let (mut reading, mut writing) = stream.split();
    let mut heard = Vec::new();
    let write = async {
        // It may be cut off in the middle of it.
        let _ = timeout(PATIENCE, writing.write_all(bytes)).await;
    };
    let read = async {
        let mut part = [0; 4096];
        while let Ok(Ok(bytes)) = timeout(SILENCE, reading.read(&mut part)).await {
            if bytes == 0 {
                break;
            }
            heard.extend_from_slice(&part[..bytes]);
        }
    };
    tokio::join!(write, read);
    heard
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("frames are small").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// An opening, and frames behind it.
fn opened(frames: &[Vec<u8>]) -> Vec<u8> {
    [PREFACE.to_vec(), frame(4, 0, 0, &[]), frames.concat()].concat()
}

/// The head of a call in HPACK, nothing compressed.
fn head() -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/etcdserverpb.KV/Range"),
        (":authority", "a"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        bytes.push(0);
        for text in [name, value] {
            bytes.push(u8::try_from(text.len()).expect("short"));
            bytes.extend(text.bytes());
        }
    }
    bytes
}

/// Names, and what is sent to the client port.
fn broken_http2() -> Vec<(&'static str, Vec<u8>)> {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const RESET: u8 = 3;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const WINDOW: u8 = 8;
    const CONTINUATION: u8 = 9;
    let streams = || (0..5000u32).map(|number| 2 * number + 1);
    let resets = streams()
        .flat_map(|id| [frame(HEADERS, 4, id, &head()), frame(RESET, 0, id, &8u32.to_be_bytes())]);
    let mut rows: Vec<(&'static str, Vec<Vec<u8>>)> = vec![
        ("frame too large", vec![vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]]),
        ("settings of odd length", vec![frame(SETTINGS, 0, 0, &[1, 2, 3])]),
        ("settings on a stream", vec![frame(SETTINGS, 0, 1, &[])]),
        ("headers on stream 0", vec![frame(HEADERS, 4, 0, &head())]),
        ("headers on an even stream", vec![frame(HEADERS, 4, 2, &head())]),
        ("data on an idle stream", vec![frame(DATA, 1, 7, b"data")]),
        ("window of 0", vec![frame(WINDOW, 0, 0, &[0; 4])]),
        ("window too large", vec![frame(WINDOW, 0, 0, &[0x7f, 0xff, 0xff, 0xff]); 3]),
        ("continuation of nothing", vec![frame(CONTINUATION, 4, 1, &head())]),
        ("hpack garbage", vec![frame(HEADERS, 4, 1, &[0xff; 300])]),
        ("a pseudo header twice", vec![frame(HEADERS, 4, 1, &[head(), head()].concat())]),
        ("padding beyond the frame", vec![frame(HEADERS, 0xc, 1, &[200, 1, 2])]),
        ("an unknown frame", vec![frame(77, 0, 1, b"?")]),
        ("reset of an idle stream", vec![frame(RESET, 0, 9, &[0; 4])]),
        ("flood of settings", vec![frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]); 20_000]),
        ("flood of pings", vec![frame(PING, 0, 0, b"pingping"); 20_000]),
        ("flood of resets", resets.collect()),
        ("calls without end", streams().map(|id| frame(HEADERS, 4, id, &head())).collect()),
    ];
    let more = frame(
        CONTINUATION,
        0,
        1,
        &[&[0x00u8, 1, b'a', 0x7f, 0x81, 0x7f][..], &[b'b'; 16_000]].concat(),
    );
    let mut endless = vec![frame(HEADERS, 0, 1, &head())];
    endless.extend(std::iter::repeat_n(more, 2000));
    rows.push(("headers without end", endless));
    let empty = [vec![frame(HEADERS, 4, 1, &head())], vec![frame(DATA, 0, 1, &[]); 50_000]];
    rows.push(("empty data without end", empty.concat()));
    rows.into_iter().map(|(name, frames)| (name, opened(&frames))).collect()
}

/// The same for whoever speaks HTTP/1.
fn broken_http1() -> Vec<(&'static str, Vec<u8>)> {
    let text = |text: &str| text.as_bytes().to_vec();
    let mut rng = Rng::new(1);
    let mut garbage =
        || (0..1 << 16).map(|_| u8::try_from(rng.below(256)).expect("a byte")).collect();
    let long = "x".repeat(4 << 20);
    vec![
        ("garbage", garbage()),
        ("other garbage", garbage()),
        ("zeros", vec![0; 1 << 16]),
        ("a handshake of TLS", vec![22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]),
        ("no version", text("GET /version\r\n\r\n")),
        ("an unknown version", text("GET /version HTTP/9.9\r\n\r\n")),
        ("no host", text("GET /version HTTP/1.1\r\n\r\n")),
        ("a header without colon", text("GET /version HTTP/1.1\r\nHost: a\r\nnothing\r\n\r\n")),
        ("a zero byte", text("GET /version HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n")),
        ("a long path", format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()),
        ("a long header", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n").into_bytes()),
        ("many headers", {
            let lines = "X: y\r\n".repeat(100_000);
            format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n").into_bytes()
        }),
        ("two lengths", {
            text(
                "POST /version HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
            )
        }),
        ("a negative length", {
            text("POST /version HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n")
        }),
        ("a broken chunk", {
            text("POST /raft HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\nx\r\n")
        }),
        ("an endless chunk", {
            text(
                "POST /raft HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            )
        }),
    ]
}

#[test]
fn garbage_and_broken_frames_end_their_connection_alone() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut server = Server::start(&subject(), Options::without_sync());
    runtime.block_on(async {
        let witness = Witness::start(&server);
        let (mut sent, (client, peer)) = (0, (server.client_address(), server.peer_address()));
        for (name, bytes) in broken_http1().into_iter().chain(broken_http2()) {
            for address in [client, peer] {
                send(address, &bytes).await;
                assert!(server.runs(), "{name} ended it: {}", server.log());
                sent += 1;
            }
        }
        let (latencies, peak) = (witness.end().await, server.memory_peak_mib());
        assert!(peak < MEMORY_MAX_MIB, "{peak} MiB");
        let figure = format!("{sent} connections of garbage and broken frames, peak {peak} MiB");
        figures::note("frames", format!("{figure}; {latencies}"));
    });
}

/// What an answer on the peer port says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    content_type: String,
    body: String,
}

/// Who a member is, as its peer port tells.
#[derive(Clone, Debug)]
struct Who {
    cluster: String,
    id: u64,
}

async fn ask(address: SocketAddr, head: &str, body: &[u8]) -> Option<Answer> {
    let length = body.len();
    let head = format!("{head}Host: a\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    let heard = send(address, &[head.as_bytes(), body].concat()).await;
    let heard = String::from_utf8_lossy(&heard).into_owned();
    let (head, body) = heard.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let kind = head.lines().filter_map(|line| line.split_once(": "));
    let kind = kind.filter(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let content_type = kind.map(|(_, kind)| kind.to_owned()).next().unwrap_or_default();
    let chunked = head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked");
    let body = if chunked { join_chunks(body)? } else { body.to_owned() };
    Some(Answer { status, content_type, body })
}

fn join_chunks(mut chunks: &str) -> Option<String> {
    let mut body = String::new();
    // Go breaks off some answers instead of ending them.
    while !chunks.is_empty() {
        let (length, rest) = chunks.split_once("\r\n")?;
        let length = usize::from_str_radix(length, 16).ok()?;
        body += rest.get(..length)?;
        chunks = rest.get(length + 2..)?;
    }
    Some(body)
}

async fn who(address: SocketAddr) -> Who {
    let head = "GET /members HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let heard = String::from_utf8(send(address, head.as_bytes()).await).expect("it is text");
    let (head, body) = heard.split_once("\r\n\r\n").expect("it has a body");
    let named = |line: &str| line.to_ascii_lowercase().starts_with("x-etcd-cluster-id:");
    let cluster = head.lines().find(|line| named(line)).expect("it tells its cluster");
    let members: serde_json::Value = serde_json::from_str(body).expect("members are JSON");
    let id = members[0]["id"].as_u64().expect("an id is a number");
    Who { cluster: cluster.split_once(": ").expect("a header").1.to_owned(), id }
}

/// Names, heads and bodies of requests that no member makes.
fn strange_requests(who: &Who) -> Vec<(String, String, Vec<u8>)> {
    let versions = "X-Server-Version: 3.7.1\r\nX-Min-Cluster-Version: 3.0.0\r\n";
    let (cluster, id) = (&who.cluster, format!("{:x}", who.id));
    let mine = format!("{versions}X-Etcd-Cluster-ID: {cluster}\r\nX-Server-From: abc\r\n");
    let message = |kind: i32, to: u64| Message {
        r#type: Some(kind),
        to: Some(to),
        from: Some(0xabc),
        ..Message::default()
    };
    let framed = |message: &Message| {
        let bytes = message.encode_to_vec();
        [(bytes.len() as u64).to_be_bytes().to_vec(), bytes].concat()
    };
    let mut rows = Vec::new();
    let mut row = |name: &str, start: &str, headers: &str, body: Vec<u8>| {
        let head = format!("{start} HTTP/1.1\r\n{headers}");
        rows.push((format!("{start}: {name}"), head, body));
    };
    for path in ["/raft", "/raft/snapshot"] {
        let post = format!("POST {path}");
        row("no headers", &post, "", Vec::new());
        row("another method", &format!("GET {path}"), &mine, Vec::new());
        row("another cluster", &post, &format!("{versions}X-Etcd-Cluster-ID: 77\r\n"), vec![]);
        row("old", &post, &mine.replace("3.7.1", "2.3.0"), Vec::new());
        row("far ahead", &post, &mine.replace("3.0.0", "4.0.0"), Vec::new());
        row("garbage", &post, &mine, vec![0xff; 5000]);
    }
    row("for another", "POST /raft", &mine, message(8, 77).encode_to_vec());
    row("local", "POST /raft", &mine, message(MessageType::MsgHup as i32, who.id).encode_to_vec());
    row("half", "POST /raft/snapshot", &mine, framed(&message(7, who.id))[..9].to_vec());
    row("nothing", "POST /raft/snapshot", &mine, Vec::new());
    row("too long", "POST /raft/snapshot", &mine, vec![0x7f; 64]);
    row("no snapshot", "POST /raft/snapshot", &mine, framed(&message(8, who.id)));
    let to = format!("{mine}X-Raft-To: {id}\r\n");
    for (path, headers) in [
        ("message/abc", &to),
        ("msgappv2/abc", &to),
        ("message/xyz", &to),
        ("message/", &to),
        ("nothing/abc", &to),
        ("message/abc", &mine),
        ("message/abc/abc", &to),
    ] {
        row("a stranger's", &format!("GET /raft/stream/{path}"), headers, Vec::new());
    }
    row("another method", "POST /raft/stream/message/abc", &to, Vec::new());
    row("no headers", "GET /raft/stream/message/abc", "", Vec::new());
    row("another method", "POST /members", "", Vec::new());
    row("another method", "DELETE /version", "", Vec::new());
    row("nothing there", "GET /", "", Vec::new());
    row("nothing there", "GET /v3/kv/range", "", Vec::new());
    row("nothing there", "GET /raft/", "", Vec::new());
    for body in [
        "",
        "{",
        "[]",
        "null",
        "7",
        "{\"revision\":-5}",
        "{\"revision\":99999}",
        "{\"revision\":\"1\"}",
    ] {
        row(body, "GET /members/hashkv", "", body.as_bytes().to_vec());
    }
    row("another cluster", "GET /members/hashkv", "X-Etcd-Cluster-ID: 77\r\n", b"{}".to_vec());
    rows
}

#[test]
fn strangers_at_the_peer_port_are_answered_as_by_the_real_etcd() {
    let etcd = Program::newest_etcd();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut ours = Server::start(&subject(), Options::without_sync());
    let mut theirs = Server::start(&etcd, Options::without_sync());
    let (mut different, mut asked) = (Vec::new(), 0);
    runtime.block_on(async {
        let both = (who(ours.peer_address()).await, who(theirs.peer_address()).await);
        let rows = strange_requests(&both.0).into_iter().zip(strange_requests(&both.1));
        for ((name, head, body), (_, their_head, their_body)) in rows {
            let our_answer = ask(ours.peer_address(), &head, &body).await;
            let their_answer = ask(theirs.peer_address(), &their_head, &their_body).await;
            asked += 1;
            assert!(ours.runs() && theirs.runs(), "{name} ended one: {}", ours.log());
            if our_answer != their_answer {
                different
                    .push(format!("{name}\n  ours   {our_answer:?}\n  theirs {their_answer:?}"));
            }
        }
    });
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
    figures::note("peer-strangers", format!("{asked} requests answered as by the real etcd"));
}

/// Snapshots that are none, and messages larger than a member's: what the real etcd would take.
#[test]
fn what_is_too_much_for_the_peer_port_is_refused() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut server = Server::start(&subject(), Options::without_sync());
    runtime.block_on(async {
        let address = server.peer_address();
        let who = who(address).await;
        let witness = Witness::start(&server);
        let headers = format!(
            "X-Server-Version: 3.7.1\r\nX-Min-Cluster-Version: 3.0.0\r\nX-Server-From: abc\r\n\
             X-Etcd-Cluster-ID: {}\r\n",
            who.cluster
        );
        let metadata = raftpb::SnapshotMetadata {
            index: Some(1_000_000),
            term: Some(1000),
            ..Default::default()
        };
        let snapshot = Message {
            r#type: Some(MessageType::MsgSnap as i32),
            to: Some(who.id),
            from: Some(0xabc),
            term: Some(1000),
            snapshot: Some(raftpb::Snapshot { data: None, metadata: Some(metadata) }),
            ..Message::default()
        };
        let envelope = snapshot.encode_to_vec();
        let mut body = (envelope.len() as u64).to_be_bytes().to_vec();
        body.extend(envelope);
        body.extend(vec![7; 100_000]);
        let head = format!("POST /raft/snapshot HTTP/1.1\r\n{headers}");
        let answer = ask(address, &head, &body).await.expect("it is answered");
        assert_eq!(answer.status, 500, "{answer:?}");
        // Eight at once, a hundred MiB each: two are read, the others wait.
        let head = format!("POST /raft HTTP/1.1\r\n{headers}");
        let body = vec![0x0a; 100 << 20];
        let posts = (0..8).map(|_| ask(address, &head, &body));
        for answer in futures_util::future::join_all(posts).await.into_iter().flatten() {
            assert_eq!(answer.status, 400, "{answer:?}");
        }
        assert!(server.runs(), "{}", server.log());
        let (latencies, peak) = (witness.end().await, server.memory_peak_mib());
        assert!(peak < MEMORY_MAX_MIB * 2, "{peak} MiB");
        let figure = format!("8 posts of 100 MiB to the peer port, peak {peak} MiB");
        figures::note("peer-posts", format!("{figure}; {latencies}"));
    });
}
