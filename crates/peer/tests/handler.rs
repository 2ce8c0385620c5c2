//! Every status and text of the peer port, asked for in raw HTTP.

#![allow(clippy::unwrap_used, reason = "a poisoned lock fails the test, as it should")]

mod common;

use common::{Member, append, message};
use prost::Message as _;
use raftpb::{Message, MessageType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const GOOD: &str = "X-Server-From: 1\r\nX-Server-Version: 3.7.1\r\nX-Min-Cluster-Version: 3.0.0\r\n\
                    X-Etcd-Cluster-ID: 1000\r\nX-Raft-To: 2\r\n";

/// Member 2, which knows member 1 and removed member 3.
async fn member() -> Member {
    let two = Member::start(2).await;
    two.transport.add_peer(1, vec![common::url("127.0.0.1:1")]);
    two.told.removed_ids.lock().unwrap().insert(3);
    two
}

async fn ask(member: &Member, request: &str, headers: &str, body: &[u8]) -> String {
    let length = body.len();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    send(member, &[head.as_bytes(), body].concat()).await
}

async fn send(member: &Member, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(&member.address).await.expect("it listens");
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn check(answer: &str, status: u16, body: &str) {
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "want {status}: {answer}");
    assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "want {body:?}: {answer}");
    let lower = answer.to_ascii_lowercase();
    assert!(lower.contains("x-etcd-cluster-id: 1000\r\n"), "{answer}");
    assert!(lower.contains("x-server-version: 3.7.1\r\n"), "{answer}");
}

#[tokio::test]
async fn streams_check_in_etcds_order() {
    let two = member().await;
    let stream = "GET /raft/stream/msgapp/1";
    let answer = ask(&two, "POST /raft/stream/msgapp/1", GOOD, b"").await;
    check(&answer, 405, "Method Not Allowed\n");
    assert!(answer.to_ascii_lowercase().contains("allow: get\r\n"), "{answer}");
    let old = GOOD.replace("3.7.1", "2.3.0");
    check(&ask(&two, stream, &old, b"").await, 412, "incompatible version\n");
    let silent = "X-Etcd-Cluster-ID: 1000\r\nX-Raft-To: 2\r\n";
    check(&ask(&two, stream, silent, b"").await, 412, "incompatible version\n");
    let other = GOOD.replace("1000", "2000");
    check(&ask(&two, stream, &other, b"").await, 412, "cluster ID mismatch\n");
    check(&ask(&two, "GET /raft/stream/none/1", GOOD, b"").await, 404, "invalid path\n");
    check(&ask(&two, "GET /raft/stream/1", GOOD, b"").await, 404, "invalid path\n");
    check(&ask(&two, "GET /raft/stream/message/xyz", GOOD, b"").await, 404, "invalid from\n");
    check(&ask(&two, "GET /raft/stream/message/3", GOOD, b"").await, 410, "removed member\n");
    let unknown = ask(&two, "GET /raft/stream/message/9", GOOD, b"").await;
    check(&unknown, 404, "error sender not found\n");
    let wrong = GOOD.replace("X-Raft-To: 2", "X-Raft-To: 4");
    check(&ask(&two, stream, &wrong, b"").await, 412, "to field mismatch\n");
    check(&ask(&two, "GET /elsewhere", GOOD, b"").await, 404, "404 page not found\n");
    two.stop().await;
}

#[tokio::test]
async fn a_stream_is_answered_at_once_and_starts_with_a_heartbeat() {
    let two = member().await;
    let mut stream = TcpStream::connect(&two.address).await.expect("it listens");
    let request = format!("GET /raft/stream/msgapp/1 HTTP/1.1\r\nHost: h\r\n{GOOD}\r\n");
    stream.write_all(request.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    // Head, then one chunk of one byte: the link heartbeat.
    while !answer.ends_with(b"1\r\n\0\r\n") {
        assert!(stream.read_buf(&mut answer).await.expect("an answer") > 0);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    two.stop().await;
}

#[tokio::test]
async fn posts_are_taken_or_refused_by_name() {
    let two = member().await;
    let good = message(MessageType::MsgVote, 1, 2, 5).encode_to_vec();
    let answer = ask(&two, "GET /raft", GOOD, b"").await;
    check(&answer, 405, "Method Not Allowed\n");
    assert!(answer.to_ascii_lowercase().contains("allow: post\r\n"), "{answer}");
    let other = GOOD.replace("1000", "2000");
    check(&ask(&two, "POST /raft", &other, &good).await, 412, "cluster ID mismatch\n");
    let removed = GOOD.replace("From: 1", "From: 3");
    check(&ask(&two, "POST /raft", &removed, &good).await, 403, "removed member\n");
    let forged = message(MessageType::MsgVote, 3, 2, 5).encode_to_vec();
    check(&ask(&two, "POST /raft", GOOD, &forged).await, 403, "removed member\n");
    let garbage = ask(&two, "POST /raft", GOOD, b"\xff\xff\xff").await;
    check(&garbage, 400, "error unmarshalling raft message\n");
    for bad in [
        message(MessageType::MsgVote, 1, 7, 5),
        message(MessageType::MsgAppResp, u64::MAX - 1, 2, 5),
        Message { r#type: Some(99), ..message(MessageType::MsgVote, 1, 2, 5) },
    ] {
        let answer = ask(&two, "POST /raft", GOOD, &bad.encode_to_vec()).await;
        check(&answer, 500, "error processing raft message\n");
    }
    // Compat: what members say to themselves only is passed over.
    for local in [
        message(MessageType::MsgHup, 1, 2, 5),
        message(MessageType::MsgStorageAppendResp, u64::MAX, 2, 5),
    ] {
        check(&ask(&two, "POST /raft", GOOD, &local.encode_to_vec()).await, 204, "");
    }
    assert!(two.messages().is_empty());
    check(&ask(&two, "POST /raft", GOOD, &good).await, 204, "");
    assert_eq!(two.messages().len(), 1);
    two.stop().await;
}

#[tokio::test]
async fn snapshots_need_their_message_first() {
    let two = member().await;
    let framed = |message: &Message| {
        let mut body = bytes::BytesMut::new();
        quorate_peer::codec::message::encode(&mut body, message);
        body
    };
    let post = "POST /raft/snapshot";
    let wrong = framed(&append(1, 2, 0));
    check(&ask(&two, post, GOOD, &wrong).await, 400, "wrong raft message type\n");
    let short = &framed(&append(1, 2, 0))[..12];
    let reason = "failed to decode raft message (unexpected EOF)\n";
    check(&ask(&two, post, GOOD, short).await, 400, reason);
    let long = u64::MAX.to_be_bytes();
    let reason = "failed to decode raft message (rafthttp: error limit exceeded)\n";
    check(&ask(&two, post, GOOD, &long).await, 400, reason);
    let metadata = Some(raftpb::SnapshotMetadata { index: Some(4), ..Default::default() });
    let snapshot = Some(raftpb::Snapshot { data: None, metadata });
    let good = Message { snapshot, ..message(MessageType::MsgSnap, 1, 2, 0) };
    let mut body = framed(&good);
    body.extend_from_slice(&[1; 1000]);
    check(&ask(&two, post, GOOD, &body).await, 204, "");
    assert_eq!(*two.told.saved.lock().unwrap(), [(4, 1000)]);
    assert_eq!(two.messages(), [good]);
    two.stop().await;
}

#[tokio::test]
async fn a_body_cut_short_is_not_taken() {
    let two = member().await;
    let body = message(MessageType::MsgVote, 1, 2, 5).encode_to_vec();
    let head = format!("POST /raft HTTP/1.1\r\nHost: h\r\nContent-Length: 500\r\n{GOOD}\r\n");
    let mut stream = TcpStream::connect(&two.address).await.expect("it listens");
    stream.write_all(&[head.as_bytes(), &body].concat()).await.expect("sent");
    stream.shutdown().await.expect("half closed");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(two.messages().is_empty());
    two.stop().await;
}

#[tokio::test]
async fn probing_says_that_the_member_is_well_and_when() {
    let two = member().await;
    let answer = ask(&two, "GET /raft/probing", "", b"").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let body = answer.rsplit("\r\n\r\n").next().expect("a body");
    assert!(body.starts_with("{\"OK\":true,\"Now\":\"20") && body.ends_with("Z\"}\n"), "{body}");
    two.stop().await;
}

#[tokio::test]
async fn garbage_harms_nobody() {
    let two = member().await;
    for garbage in [
        &b"\0\0\0\0"[..],
        b"GET",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(&two.address).await.expect("it listens");
        let _ = stream.write_all(garbage).await;
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
    }
    let answer = ask(&two, "GET /raft/probing", "", b"").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    two.stop().await;
}
