//! Messages in parts: whole whatever the windows are, of which little is made ahead, and that hold
//! up nobody.

mod support;

use quorate_http2::{Code, Options, Reason};
use std::sync::atomic::Ordering;
use support::*;

const ECHO: &str = "/t.T/Echo";
const PARTS: &str = "/t.T/Parts";

/// What a client takes at most in these tests.
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// Bytes that the transport between the two ends holds, and the output before it.
const ON_THE_WAY: usize = (64 << 10) + (256 << 10);

fn widen(id: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, id, &by.to_be_bytes())
}

/// A client whose connection has all the room there is, and whose streams begin with `window`.
async fn client(window: u32) -> Client {
    let mut client = Client::open(Options::default()).await;
    client.send(&widen(0, WINDOW_MAX - 65_535)).await;
    client.send(&frame(SETTINGS, 0, 0, &setting(4, window))).await;
    client.until(|frame| frame.kind == SETTINGS && frame.flags & ACK != 0).await;
    client
}

fn wanted(len: usize) -> Vec<u8> {
    message(&Counted::bytes(0..len))
}

#[tokio::test]
async fn a_message_in_parts_of_any_size_is_whole() {
    let mut client = client(WINDOW_MAX).await;
    let cases = [(1, 1), (10, 3), (16_379, 16_379), (16_384, 70_000), (1 << 20, 1 << 16)];
    for ((len, part), id) in cases.into_iter().zip((1..).step_by(2)) {
        client.call(id, PARTS, &Counted::ask(len, part, len)).await;
        let frames = client.answer(id).await;
        assert_eq!(data(&frames), wanted(len), "{len} in parts of {part}");
        assert!(has(&frames, "grpc-status", "0"));
    }
    let seen = std::sync::Arc::clone(&client.seen);
    client.hang_up().await.expect("in peace");
    assert_eq!((seen.parts.load(Ordering::SeqCst), seen.under_way()), (0, 0));
    assert_eq!(*seen.sent.lock().expect("no test fails in it"), cases.map(|(len, _)| len));
}

#[tokio::test]
async fn no_more_is_made_than_the_windows_ask_for() {
    let mut client = client(0).await;
    let (len, part) = (3000, 100);
    client.call(1, PARTS, &Counted::ask(len, part, len)).await;
    let mut came = Vec::new();
    // A byte at a time first, then more each time.
    for by in (0_u32..).map(|turn| 1 << (turn / 40)) {
        client.send(&widen(1, by)).await;
        let mut left = by as usize;
        while left > 0 && came.len() < wanted(len).len() {
            let frame = client.until(|frame| frame.kind == DATA).await;
            left -= frame.payload.len();
            came.extend_from_slice(&frame.payload);
        }
        let made = client.seen.made.load(Ordering::SeqCst);
        assert!(made <= came.len() + part, "{made} bytes are made of which {} came", came.len());
        if came.len() == wanted(len).len() {
            break;
        }
    }
    assert_eq!(came, wanted(len));
    let end = client.answer(1).await;
    assert!(has(&end, "grpc-status", "0"));
}

#[tokio::test]
async fn a_client_that_reads_nothing_has_little_made() {
    let mut client = client(WINDOW_MAX).await;
    let (len, part) = (64 << 20, 64 << 10);
    client.call(1, PARTS, &Counted::ask(len, part, len)).await;
    let first = client.until(|frame| frame.kind == DATA).await;
    // The task has gone to sleep: the transport is full.
    while client.seen.made.load(Ordering::SeqCst) < 128 << 10 {
        tokio::task::yield_now().await;
    }
    let made = client.seen.made.load(Ordering::SeqCst);
    assert!(made <= ON_THE_WAY + part, "{made} bytes are made");
    client.send(&frame(RST_STREAM, 0, 1, &Reason::CANCEL.0.to_be_bytes())).await;
    client.send(&frame(PING, 0, 0, &[0; 8])).await;
    client.until(|frame| frame.kind == PING).await;
    let made = client.seen.made.load(Ordering::SeqCst);
    assert!(made < len / 16, "{made} bytes are made for a call that was cancelled");
    assert_eq!(client.seen.parts.load(Ordering::SeqCst), 0, "what it held is free");
    assert_eq!(client.seen.under_way(), 0);
    assert_eq!(first.payload[..5], wanted(len)[..5]);
}

#[tokio::test]
async fn a_break_in_the_middle_resets_and_one_at_the_beginning_is_a_status() {
    let mut client = client(WINDOW_MAX).await;
    client.call(1, PARTS, &Counted::ask(50_000, 1000, 20_000)).await;
    let frames = client.answer(1).await;
    let last = frames.last().expect("a reset");
    assert_eq!((last.kind, last.number(0)), (RST_STREAM, Reason::INTERNAL_ERROR.0));
    let came = data(&frames);
    assert!(came.len() <= 20_005 && wanted(50_000).starts_with(&came), "{}", came.len());
    client.call(3, PARTS, &Counted::ask(50_000, 1000, 0)).await;
    let frames = client.answer(3).await;
    assert_eq!(frames.len(), 1, "trailers alone");
    assert!(has(&frames, "grpc-status", "15") && has(&frames, "grpc-message", "it broke"));
    // The connection goes on.
    client.call(5, ECHO, &message(b"hello")).await;
    assert_eq!(data(&client.answer(5).await), message(b"hello"));
    assert_eq!(client.seen.parts.load(Ordering::SeqCst), 0);
    let codes = client.seen.codes.lock().expect("no test fails in it").clone();
    assert_eq!(codes, [Code::DataLoss, Code::DataLoss, Code::Ok]);
}

#[tokio::test]
async fn two_large_messages_share_a_connection_and_small_ones_pass_them() {
    let mut client = client(WINDOW_MAX).await;
    let (len, part) = (4 << 20, 64 << 10);
    client.call(1, PARTS, &Counted::ask(len, part, len)).await;
    client.call(3, PARTS, &Counted::ask(len, part, len)).await;
    let (mut came, mut ended) = ([Vec::new(), Vec::new()], 0);
    let (mut small, mut next) = (Vec::new(), 5);
    client.call(next, ECHO, &message(b"small")).await;
    let (mut since, mut longest) = (0, 0);
    while ended < 2 {
        let frame = client.next().await.expect("the connection holds");
        match (frame.kind, frame.id) {
            (DATA, 1 | 3) => {
                came[frame.id as usize / 2].extend_from_slice(&frame.payload);
                since += frame.payload.len();
                let (first, second) = (came[0].len(), came[1].len());
                let both = first.min(second) > 0 && ended == 0;
                assert!(!both || first.abs_diff(second) < 1 << 20, "they take turns");
            }
            (DATA, id) => {
                assert_eq!((id, &frame.payload[..]), (next, &message(b"small")[..]));
                small.push(id);
                longest = longest.max(std::mem::take(&mut since));
                next += 2;
                client.call(next, ECHO, &message(b"small")).await;
            }
            (HEADERS, 1 | 3) if frame.ends() => ended += 1,
            _ => {}
        }
    }
    assert!(came.iter().all(|came| *came == wanted(len)));
    assert!(small.len() > 5, "small answers come between: {small:?}");
    assert!(longest <= 1 << 20, "a small answer waited behind {longest} bytes");
}
