//! Fast calls, frame by frame: messages, ends, deadlines, and the life of a connection around them.
//!
//! Where time passes it is the runtime's, which jumps to the next timer when nothing else is left.

mod support;

use bytes::Bytes;
use quorate_http2::{Code, Error, Options, Reason, Status};
use std::sync::atomic::Ordering;
use std::time::Duration;
use support::*;

const ECHO: &str = "/t.T/Echo";
const STREAM: &str = "/t.T/Stream";
const NEVER: &str = "/t.T/Never";

#[tokio::test]
async fn a_unary_call() {
    let mut client = Client::open(Options::default()).await;
    client.call(1, ECHO, &message(b"hello")).await;
    let answer = client.answer(1).await;
    assert_eq!(answer.len(), 3, "head, message, trailers");
    assert!(has(&answer[..1], "content-type", "application/grpc") || answer[0].payload[0] == 0x88);
    assert_eq!(data(&answer), message(b"hello"));
    assert!(has(&answer[2..], "grpc-status", "0"));
    let seen = std::sync::Arc::clone(&client.seen);
    client.hang_up().await.expect("in peace");
    assert_eq!((seen.opened.load(Ordering::SeqCst), seen.under_way()), (1, 0));
}

#[tokio::test]
async fn a_message_in_any_pieces() {
    let mut client = Client::open(Options::default()).await;
    let whole = message(b"in pieces");
    for (cut, id) in (1..whole.len()).zip((1..).step_by(2)) {
        client.send(&frame(HEADERS, END_HEADERS, id, &call(ECHO))).await;
        client.send(&frame(DATA, 0, id, &whole[..cut])).await;
        client.send(&frame(DATA, PADDED, id, &[&[3], &whole[cut..], &[0; 3]].concat())).await;
        client.send(&frame(DATA, END_STREAM, id, b"")).await;
        // Answered as soon as the message is there; the rest of the request is then not wanted.
        assert_eq!(data(&client.answer(id).await), whole, "cut at {cut}");
    }
}

#[tokio::test]
async fn many_messages_both_ways() {
    let mut client = Client::open(Options::default()).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &call(STREAM))).await;
    client.send(&frame(DATA, 0, 1, &[message(b"one"), message(b"two")].concat())).await;
    let first = client.until(|frame| frame.kind == DATA).await;
    let second = client.until(|frame| frame.kind == DATA).await;
    assert_eq!(
        (&first.payload[..], &second.payload[..]),
        (&message(b"one")[..], &message(b"two")[..])
    );
    client.send(&frame(DATA, END_STREAM, 1, &message(b"three"))).await;
    let rest = client.answer(1).await;
    assert_eq!(data(&rest), message(b"three"));
    assert!(has(&rest, "grpc-status", "0"));
    // Trailers end a request as well.
    client.send(&frame(HEADERS, END_HEADERS, 3, &call(STREAM))).await;
    client.send(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &block(&[("a", "b")]))).await;
    assert!(has(&client.answer(3).await, "grpc-status", "0"));
}

/// Sends one request and tells how it ended: status of HTTP, code, text.
async fn refused(head: &[u8], body: &[u8]) -> Vec<Frame> {
    let options = Options { message_bytes_max: 8, ..Options::default() };
    let mut client = Client::open(options).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, head)).await;
    client.send(&frame(DATA, END_STREAM, 1, body)).await;
    client.answer(1).await
}

#[tokio::test]
async fn calls_end_as_those_of_grpc_go() {
    let unexpected = "grpc: received unexpected payload format 7";
    let compressed = "grpc: compressed flag set with identity or empty encoding";
    let large = "grpc: received message larger than max (9 vs. 8)";
    let dropped = "the server dropped the call";
    for (what, path, body, code, text) in [
        ("no message", ECHO, vec![], "2", "EOF"),
        ("a part of a message", ECHO, message(b"abc")[..6].to_vec(), "2", "unexpected EOF"),
        ("a part in a stream", STREAM, message(b"abc")[..6].to_vec(), "13", "unexpected EOF"),
        ("a message too large", ECHO, message(b"123456789"), "8", large),
        ("a large one in a stream", STREAM, message(b"123456789"), "8", large),
        ("a compressed message", ECHO, vec![1, 0, 0, 0, 0], "13", compressed),
        ("a strange flag", ECHO, vec![7, 0, 0, 0, 0], "13", unexpected),
        ("a refused call", "/t.T/Refused", vec![], "7", "not you"),
        ("a call that nobody ends", "/t.T/Dropped", message(b""), "14", dropped),
    ] {
        let frames = refused(&call(path), &body).await;
        assert_eq!(frames.len(), 1, "{what}: trailers alone");
        assert!(frames[0].payload[0] == 0x88, "{what}: the status of HTTP is 200");
        assert!(has(&frames, "grpc-status", code), "{what}: {frames:?}");
        assert!(has(&frames, "grpc-message", text), "{what}: {frames:?}");
    }
    let more = [message(b"one"), message(b"two")].concat();
    assert_eq!(data(&refused(&call(ECHO), &more).await), message(b"one"), "one is enough");
}

#[tokio::test]
async fn heads_are_refused_as_by_grpc_go() {
    let refusal = |more: &[(&str, &str)]| call_with(ECHO, more);
    let malformed = "malformed grpc-timeout: transport: timeout unit is not recognized: \"5x\"";
    let encoding = "grpc: Decompressor is not installed for grpc-encoding \"gzip\"";
    let frames = refused(&refusal(&[("grpc-timeout", "5x")]), b"").await;
    assert_eq!(frames[0].payload[0], 0x8c, "400");
    assert!(has(&frames, "grpc-status", "13") && has(&frames, "grpc-message", malformed));
    let frames = refused(&refusal(&[("grpc-encoding", "gzip")]), b"").await;
    assert!(has(&frames, "grpc-status", "12") && has(&frames, "grpc-message", encoding));
    let frames = refused(&refusal(&[("grpc-timeout", "0n")]), b"").await;
    assert!(has(&frames, "grpc-status", "4"));
    let get = [
        (":method", "GET"),
        (":scheme", "http"),
        (":path", ECHO),
        ("content-type", "application/grpc+proto"),
    ];
    let frames = refused(&block(&get), b"").await;
    assert!(frames[0].payload.windows(3).any(|part| part == b"405"));
    assert!(frames[0].payload.windows(22).any(|part| part == b"application/grpc+proto"));
}

#[tokio::test]
async fn the_subtype_comes_back() {
    let head = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", ECHO),
        ("content-type", "application/grpc+proto"),
    ];
    let frames = refused(&block(&head), &message(b"x")).await;
    assert!(frames[0].payload.windows(22).any(|part| part == b"application/grpc+proto"));
    assert_eq!(data(&frames), message(b"x"));
}

#[tokio::test(start_paused = true)]
async fn calls_end_when_their_time_is_up() {
    let mut client = Client::open(Options::default()).await;
    let started = tokio::time::Instant::now();
    for (id, timeout) in [(1, "3S"), (3, "1S"), (5, "2S")] {
        let head = call_with(NEVER, &[("grpc-timeout", timeout)]);
        client.send(&frame(HEADERS, END_HEADERS, id, &head)).await;
    }
    for (id, seconds) in [(3, 1), (5, 2), (1, 3)] {
        let frames = client.answer(id).await;
        assert!(has(&frames, "grpc-status", "4"));
        assert!(has(&frames, "grpc-message", "context deadline exceeded"));
        assert_eq!(started.elapsed().as_secs(), seconds);
    }
    assert_eq!(client.seen.under_way(), 0);
    let kept = client.seen.kept.lock().expect("no test fails in it").pop().expect("three");
    assert!(kept.is_closed());
    kept.finish(Status::OK);
    // A service's request is reset: it may have begun to answer.
    let head = call_with("/other.T/Slow", &[("grpc-timeout", "1S")]);
    client.send(&frame(HEADERS, END_HEADERS, 7, &head)).await;
    let frames = client.answer(7).await;
    assert_eq!(frames.last().map(|frame| frame.number(0)), Some(Reason::CANCEL.0));
    client.hang_up().await.expect("in peace");
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_dropped_when_the_time_is_up() {
    let mut client = Client::open(Options::default()).await;
    client.send(&frame(SETTINGS, 0, 0, &setting(4, 10))).await;
    let head = call_with(STREAM, &[("grpc-timeout", "1S")]);
    client.send(&frame(HEADERS, END_HEADERS, 1, &head)).await;
    client.send(&frame(DATA, 0, 1, &message(b"more than ten bytes"))).await;
    let frames = client.answer(1).await;
    assert_eq!(data(&frames), message(b"more than ten bytes")[..10]);
    assert!(has(&frames, "grpc-status", "4"));
}

#[tokio::test]
async fn a_cancelled_call_is_closed() {
    let mut client = Client::open(Options::default()).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &call(NEVER))).await;
    client.send(&frame(RST_STREAM, 0, 1, &Reason::CANCEL.0.to_be_bytes())).await;
    client.send(&frame(PING, 0, 0, &[0; 8])).await;
    client.until(|frame| frame.kind == PING).await;
    assert_eq!(client.seen.under_way(), 0);
    let kept = client.seen.kept.lock().expect("no test fails in it").pop().expect("one");
    assert!(kept.is_closed());
}

#[tokio::test(start_paused = true)]
async fn the_handler_is_told_what_was_sent_and_how_calls_ended() {
    let mut client = Client::open(Options::default()).await;
    client.call(1, ECHO, &message(b"hello")).await;
    client.answer(1).await;
    let head = call_with(NEVER, &[("grpc-timeout", "1S")]);
    client.send(&frame(HEADERS, END_HEADERS, 3, &head)).await;
    client.answer(3).await;
    client.send(&frame(HEADERS, END_HEADERS, 5, &call(NEVER))).await;
    client.send(&frame(RST_STREAM, 0, 5, &Reason::CANCEL.0.to_be_bytes())).await;
    client.send(&frame(HEADERS, END_HEADERS, 7, &call("/t.T/Dropped"))).await;
    client.send(&frame(DATA, END_STREAM, 7, &message(b"x"))).await;
    client.send(&frame(PING, 0, 0, &[0; 8])).await;
    client.until(|frame| frame.kind == PING).await;
    let seen = &client.seen;
    assert_eq!(*seen.sent.lock().expect("no test fails in it"), [5]);
    let codes = seen.codes.lock().expect("no test fails in it").clone();
    assert_eq!(codes[..3], [Code::Ok, Code::DeadlineExceeded, Code::Cancelled]);
}

#[tokio::test]
async fn answers_from_another_thread_leave_together() {
    let mut client = Client::open(Options::default()).await;
    let ids: Vec<u32> = (0..20).map(|place| 2 * place + 1).collect();
    for id in &ids {
        client.send(&frame(HEADERS, END_HEADERS | END_STREAM, *id, &call(NEVER))).await;
    }
    client.send(&frame(PING, 0, 0, &[0; 8])).await;
    client.until(|frame| frame.kind == PING).await;
    let kept = std::mem::take(&mut *client.seen.kept.lock().expect("no test fails in it"));
    assert_eq!(kept.len(), ids.len());
    let thread = std::thread::spawn(move || {
        for answers in kept {
            answers.push(Bytes::from_static(b"a"));
            answers.clone().push(Bytes::from_static(b"b"));
            answers.finish(Status::new(Code::Aborted, "100% done"));
        }
    });
    for id in ids {
        let frames = client.answer(id).await;
        assert_eq!(data(&frames), [message(b"a"), message(b"b")].concat());
        assert!(has(&frames, "grpc-status", "10") && has(&frames, "grpc-message", "100%25 done"));
    }
    thread.join().expect("it does not panic");
}

#[tokio::test]
async fn a_producer_waits_for_a_slow_client() {
    let mut client = Client::open(Options::default()).await;
    client.send(&frame(SETTINGS, 0, 0, &setting(4, 100))).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &call(NEVER))).await;
    client.send(&frame(PING, 0, 0, &[0; 8])).await;
    client.until(|frame| frame.kind == PING).await;
    let answers = client.seen.kept.lock().expect("no test fails in it").pop().expect("one");
    let produced = tokio::spawn(async move {
        for place in 0..50_u8 {
            answers.push(Bytes::from(vec![place; 95]));
            let drained = |cx: &mut std::task::Context<'_>| {
                if answers.wake_when_drained(200, cx.waker()) {
                    std::task::Poll::Pending
                } else {
                    std::task::Poll::Ready(())
                }
            };
            std::future::poll_fn(drained).await;
            assert!(answers.queued_bytes() <= 200);
        }
        answers.finish(Status::OK);
    });
    let mut got = 0;
    while got < 5000 {
        let part = client.until(|frame| frame.kind == DATA).await;
        got += part.payload.len();
        let by = u32::try_from(part.payload.len()).expect("a frame is short").to_be_bytes();
        client.send(&frame(WINDOW_UPDATE, 0, 1, &by)).await;
    }
    assert!(has(&client.answer(1).await, "grpc-status", "0"));
    produced.await.expect("it does not panic");
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_asked_and_then_left() {
    let options = Options {
        keepalive_interval: Duration::from_secs(10),
        keepalive_timeout: Duration::from_secs(5),
        ..Options::default()
    };
    let mut client = Client::open(options).await;
    let started = tokio::time::Instant::now();
    let ping = client.until(|frame| frame.kind == PING).await;
    assert_eq!((ping.flags, started.elapsed().as_secs()), (0, 10));
    client.send(&frame(PING, ACK, 0, &ping.payload)).await;
    client.until(|frame| frame.kind == PING).await;
    assert_eq!(started.elapsed().as_secs(), 20);
    assert_eq!(client.next().await, None, "nothing more is said");
    assert_eq!(started.elapsed().as_secs(), 25);
    assert!(matches!(client.hang_up().await, Err(Error::Silent { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_client_has_to_begin_and_to_acknowledge() {
    let options = || Options { handshake_timeout: Duration::from_secs(7), ..Options::default() };
    let mut client = Client::silent(options());
    while client.next().await.is_some() {}
    assert!(matches!(client.hang_up().await, Err(Error::Silent { .. })));
    let mut client = Client::silent(options());
    client.send(PREFACE).await;
    client.send(&frame(SETTINGS, 0, 0, b"")).await;
    while client.next().await.is_some() {}
    assert!(matches!(client.hang_up().await, Err(Error::Silent { .. })));
}

/// Pings and tells whether the server bears it.
async fn ping(client: &mut Client) -> Result<(), (Reason, String)> {
    client.send(&frame(PING, 0, 0, &[0; 8])).await;
    let answer = client.until(|frame| matches!(frame.kind, PING | GOAWAY)).await;
    if answer.kind == PING {
        // The GOAWAY of a strike too many comes behind the answer.
        client.send(&frame(SETTINGS, 0, 0, b"")).await;
        let next = client.until(|frame| matches!(frame.kind, SETTINGS | GOAWAY)).await;
        if next.kind == SETTINGS {
            return Ok(());
        }
        return Err((Reason(next.number(4)), String::from_utf8_lossy(&next.payload[8..]).into()));
    }
    Err((Reason(answer.number(4)), String::from_utf8_lossy(&answer.payload[8..]).into()))
}

#[tokio::test(start_paused = true)]
async fn clients_that_ping_too_often_are_sent_away() {
    let options = Options { ping_interval_min: Duration::from_secs(5), ..Options::default() };
    let too_many = Err((Reason::ENHANCE_YOUR_CALM, "too_many_pings".to_owned()));
    // With a call under way, every five seconds is allowed.
    let mut client = Client::open(options.clone()).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &call(NEVER))).await;
    for _ in 0..5 {
        assert_eq!(ping(&mut client).await, Ok(()));
        tokio::time::advance(Duration::from_secs(5)).await;
    }
    assert_eq!(ping(&mut client).await, Ok(()));
    assert_eq!(ping(&mut client).await, Ok(()), "a strike");
    assert_eq!(ping(&mut client).await, Ok(()), "another");
    assert_eq!(ping(&mut client).await, too_many);
    // Without one, every two hours is.
    let mut client = Client::open(options).await;
    for _ in 0..3 {
        assert_eq!(ping(&mut client).await, Ok(()));
        tokio::time::advance(Duration::from_secs(60)).await;
    }
    // An answer gives all strikes back.
    client.call(1, ECHO, &message(b"x")).await;
    client.answer(1).await;
    for _ in 0..3 {
        assert_eq!(ping(&mut client).await, Ok(()));
    }
    assert_eq!(ping(&mut client).await, too_many);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_waits_for_calls_under_way() {
    let mut client = Client::open(Options::default()).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &call(NEVER))).await;
    client.send(&frame(PING, 0, 0, &[0; 8])).await;
    client.until(|frame| frame.kind == PING).await;
    client.stop.take().expect("once").send(()).expect("it listens");
    let first = client.until(|frame| frame.kind == GOAWAY).await;
    assert_eq!((first.number(0), first.number(4)), (u32::MAX >> 1, 0));
    let ping = client.until(|frame| frame.kind == PING).await;
    // A request that was on its way is still taken, one behind the second GOAWAY is not.
    client.call(3, ECHO, &message(b"last")).await;
    assert_eq!(data(&client.answer(3).await), message(b"last"));
    client.send(&frame(PING, ACK, 0, &ping.payload)).await;
    let second = client.until(|frame| frame.kind == GOAWAY).await;
    assert_eq!((second.number(0), second.number(4)), (3, 0));
    client.call(5, ECHO, &message(b"too late")).await;
    let answers = client.seen.kept.lock().expect("no test fails in it").pop().expect("one");
    answers.answer(Bytes::from_static(b"done"));
    assert_eq!(data(&client.answer(1).await), message(b"done"));
    while let Some(frame) = client.next().await {
        assert_ne!(frame.id, 5, "it is not answered");
    }
    client.hang_up().await.expect("in peace");
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_calls_is_ended_in_peace() {
    let options = Options { idle_max: Some(Duration::from_secs(9)), ..Options::default() };
    let mut client = Client::open(options).await;
    client.call(1, ECHO, &message(b"x")).await;
    client.answer(1).await;
    let started = tokio::time::Instant::now();
    client.until(|frame| frame.kind == GOAWAY).await;
    assert_eq!(started.elapsed().as_secs(), 9);
    // Nobody answers the ping behind it: the second comes by itself.
    client.until(|frame| frame.kind == GOAWAY).await;
    assert_eq!(started.elapsed().as_secs(), 14);
    assert_eq!(client.next().await, None);
    client.hang_up().await.expect("in peace");
}

#[tokio::test]
async fn a_client_that_leaves_gets_its_answers_first() {
    let mut client = Client::open(Options::default()).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &call(NEVER))).await;
    client.send(&frame(GOAWAY, 0, 0, &[0; 8])).await;
    client.send(&frame(PING, 0, 0, &[0; 8])).await;
    client.until(|frame| frame.kind == PING).await;
    let answers = client.seen.kept.lock().expect("no test fails in it").pop().expect("one");
    answers.answer(Bytes::from_static(b"done"));
    assert_eq!(data(&client.answer(1).await), message(b"done"));
    assert_eq!(client.until(|_| true).await.kind, RST_STREAM);
    assert_eq!(client.next().await, None);
    client.hang_up().await.expect("in peace");
}

#[tokio::test]
async fn a_transport_that_is_cut_closes_all_calls() {
    let mut client = Client::open(Options::default()).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &call(NEVER))).await;
    client.send(&frame(PING, 0, 0, &[0; 8])).await;
    client.until(|frame| frame.kind == PING).await;
    let seen = std::sync::Arc::clone(&client.seen);
    assert!(client.hang_up().await.is_err());
    assert_eq!(seen.under_way(), 0);
    let kept = seen.kept.lock().expect("no test fails in it").pop().expect("one");
    assert!(kept.is_closed());
    kept.push(Bytes::from_static(b"to nobody"));
}
