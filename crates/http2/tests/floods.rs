//! Clients that make work or take room without end: each is bounded, and sent away or held back.

mod support;

use bytes::Bytes;
use quorate_http2::{Error, Options, Reason};
use std::time::Duration;
use support::*;

const ECHO: &str = "/t.T/Echo";
const NEVER: &str = "/t.T/Never";

/// Sends the same frames again and again, until the server has had enough.
async fn flood(what: &str, options: Options, start: &[u8], again: impl Fn(u32) -> Vec<u8>) {
    let mut client = Client::open(options).await;
    client.send(start).await;
    let sending = async {
        for round in 0..20_000 {
            let (bytes, sent) = (again(round), round);
            client.send(&bytes).await;
            if sent % 50 == 0 {
                // The answers have to be read, or the server stops to read.
                client.send(&frame(PING, 0, 0, b"in step?")).await;
                let frame = client.until(|frame| matches!(frame.kind, PING | GOAWAY)).await;
                if frame.kind == GOAWAY {
                    return Some(Reason(frame.number(4)));
                }
            }
        }
        None
    };
    assert_eq!(sending.await, Some(Reason::ENHANCE_YOUR_CALM), "{what}");
    let seen = std::sync::Arc::clone(&client.seen);
    assert!(matches!(client.hang_up().await, Err(Error::Client { .. })), "{what}");
    assert_eq!(seen.under_way(), 0, "{what}");
}

#[tokio::test(start_paused = true)]
async fn floods_end_the_connection() {
    let options = || Options {
        idle_frames_max: 1000,
        cancelled_max: 100,
        // The flood's own pings are no part of it.
        ping_interval_min: Duration::ZERO,
        ping_without_calls: true,
        ..Options::default()
    };
    let begin = frame(HEADERS, END_HEADERS, 1, &call(NEVER));
    flood("settings", options(), b"", |_| frame(SETTINGS, 0, 0, &setting(4, 1))).await;
    let asked_too_often = Options { ping_interval_min: Duration::from_secs(5), ..options() };
    flood("pings", asked_too_often, b"", |_| frame(PING, 0, 0, &[0; 8])).await;
    flood("priorities", options(), b"", |_| frame(PRIORITY, 0, 1, &[0; 5])).await;
    flood("of an extension", options(), b"", |_| frame(0x77, 0, 0, b"?")).await;
    flood("empty DATA", options(), &begin, |_| frame(DATA, 0, 1, b"")).await;
    flood("padding", options(), &begin, |_| frame(DATA, PADDED, 1, b"\x01\x00")).await;
    flood("windows", options(), &begin, |_| frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).await;
    flood("cancelled calls", options(), b"", |round| {
        let id = 2 * round + 1;
        let begin = frame(HEADERS, END_HEADERS, id, &call(NEVER));
        [begin, frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat()
    })
    .await;
    flood("broken calls", options(), b"", |round| {
        let id = 2 * round + 1;
        let begin = frame(HEADERS, END_HEADERS, id, &call(NEVER));
        [begin, frame(WINDOW_UPDATE, 0, id, &[0; 4])].concat()
    })
    .await;
    flood("malformed requests", options(), b"", |round| {
        frame(HEADERS, END_HEADERS, 2 * round + 1, &block(&[("a", "b")]))
    })
    .await;
}

#[tokio::test]
async fn a_block_without_end_ends_the_connection() {
    for part in [&b""[..], &[0; 10_000]] {
        let options = Options { header_list_bytes_max: 1 << 17, ..Options::default() };
        let mut client = Client::open(options).await;
        client.send(&frame(HEADERS, 0, 1, &call(ECHO))).await;
        for _ in 0..40 {
            client.send(&frame(CONTINUATION, 0, 1, part)).await;
        }
        assert_eq!(client.sent_away().await.0, Reason::ENHANCE_YOUR_CALM);
    }
}

#[tokio::test]
async fn a_large_block_in_many_frames_is_none() {
    let mut client = Client::open(Options::default()).await;
    client.send(&frame(HEADERS, 0, 1, &call(ECHO))).await;
    for place in 0..10 {
        let text = "v".repeat(100);
        let fields: Vec<_> = (0..100).map(|_| ("x-field", text.as_str())).collect();
        let flags = if place == 9 { END_HEADERS } else { 0 };
        client.send(&frame(CONTINUATION, flags, 1, &block(&fields))).await;
    }
    client.send(&frame(DATA, END_STREAM, 1, &message(b"x"))).await;
    assert_eq!(data(&client.answer(1).await), message(b"x"));
}

#[tokio::test(start_paused = true)]
async fn cancelled_calls_are_forgiven_with_time() {
    let options = Options { cancelled_max: 10, ..Options::default() };
    let mut client = Client::open(options).await;
    for round in 0..500 {
        let id = 2 * round + 1;
        client.send(&frame(HEADERS, END_HEADERS, id, &call(NEVER))).await;
        client.send(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8])).await;
        tokio::time::advance(Duration::from_millis(20)).await;
    }
    client.call(1001, ECHO, &message(b"x")).await;
    assert_eq!(data(&client.answer(1001).await), message(b"x"));
}

/// A client that wants one answer of a stream cancels it behind that, as often as it likes.
#[tokio::test(start_paused = true)]
async fn calls_cancelled_behind_an_answer_are_no_flood() {
    let options = Options { cancelled_max: 10, ..Options::default() };
    let mut client = Client::open(options).await;
    for round in 0..500 {
        let id = 2 * round + 1;
        client.send(&frame(HEADERS, END_HEADERS, id, &call("/t.T/Stream"))).await;
        client.send(&frame(DATA, 0, id, &message(b"once"))).await;
        let answer = client.until(|frame| (frame.kind, frame.id) == (DATA, id)).await;
        assert_eq!(answer.payload, message(b"once"));
        client.send(&frame(RST_STREAM, 0, id, &[0, 0, 0, 8])).await;
    }
    client.hang_up().await.expect("in peace");
}

/// The client opens no window: messages pile up to a limit, and then the connection is cut.
#[tokio::test]
async fn answers_that_nobody_takes_are_bounded() {
    let options = Options { queued_bytes_max: 1 << 20, ..Options::default() };
    let mut client = Client::open(options).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &call(NEVER))).await;
    client.send(&frame(PING, 0, 0, &[0; 8])).await;
    client.until(|frame| frame.kind == PING).await;
    let answers = client.seen.kept.lock().expect("no test fails in it").pop().expect("one");
    let piece = Bytes::from(vec![0; 1 << 16]);
    let (mut pushed, started) = (0, std::time::Instant::now());
    while !answers.is_closed() {
        assert!(started.elapsed() < PATIENCE, "{pushed}");
        if answers.queued_bytes() < 1 << 21 {
            answers.push(piece.clone());
            pushed += 1;
        }
        tokio::task::yield_now().await;
    }
    assert!(pushed < 40, "{pushed} pieces of 64 KiB");
    assert_eq!(client.sent_away().await.0, Reason::ENHANCE_YOUR_CALM);
}

/// The client does not read at all: nothing more is read of it, and after a while it is cut off.
#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_not_read() {
    let options = Options {
        stall_timeout: Duration::from_secs(30),
        idle_frames_max: u32::MAX,
        ping_interval_min: Duration::ZERO,
        ping_without_calls: true,
        ..Options::default()
    };
    let mut client = Client::open(options).await;
    let pings = frame(PING, 0, 0, &[0; 8]).repeat(1000);
    let mut sent = 0;
    let endless = async {
        loop {
            client.send(&pings).await;
            sent += pings.len();
            assert!(sent < 10 << 20, "the server reads on");
        }
    };
    // Both directions are full soon; `send` would wait for ever.
    let stuck = tokio::time::timeout(Duration::from_secs(10), endless).await;
    assert!(stuck.is_err());
    // What is in flight: two pipes, the output and the input of the server.
    assert!(sent < 2 << 20, "{sent}");
    let served = tokio::time::timeout(Duration::from_secs(40), &mut client.served).await;
    let served = served.expect("it gives up in time").expect("it does not panic");
    assert!(matches!(served, Err(Error::Silent { .. })), "{served:?}");
}

/// A stream whose answers are not taken gets no new window for its requests.
#[tokio::test]
async fn who_does_not_take_answers_may_not_ask() {
    let options = Options { stream_window: 1 << 19, ..Options::default() };
    let mut client = Client::open(options).await;
    client.send(&frame(HEADERS, END_HEADERS, 1, &call("/t.T/Stream"))).await;
    let text = message(&[7; 16_000]);
    let mut allowed = 1_i64 << 19;
    let mut sent = 0_i64;
    loop {
        // All that the window allows.
        while allowed >= 16_005 {
            client.send(&frame(DATA, 0, 1, &text)).await;
            (allowed, sent) = (allowed - 16_005, sent + 16_005);
            assert!(sent < 4 << 20, "the window opens again and again");
        }
        client.send(&frame(PING, 0, 0, &[0; 8])).await;
        let mut widened = false;
        loop {
            let frame = client.until(|frame| matches!(frame.kind, PING | WINDOW_UPDATE)).await;
            if frame.kind == PING {
                break;
            }
            if frame.id == 1 {
                allowed += i64::from(frame.number(0));
                widened = true;
            }
        }
        if !widened {
            break;
        }
    }
    // It opens once the answers are taken.
    client.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0x7f, 0, 0])).await;
    client.send(&frame(WINDOW_UPDATE, 0, 0, &[0, 0x7f, 0, 0])).await;
    client.until(|frame| frame.kind == WINDOW_UPDATE && frame.id == 1).await;
}
