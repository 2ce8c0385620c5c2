//! What a client may not do, and what it gets for it: the codes of RFC 9113.

mod support;

use quorate_http2::{Error, Options, Reason};
use support::*;

const ECHO: &str = "/t.T/Echo";

/// What ends a connection: bytes after its beginning, and the code.
fn ends_the_connection() -> Vec<(&'static str, Vec<u8>, Reason)> {
    let (protocol, size) = (Reason::PROTOCOL_ERROR, Reason::FRAME_SIZE_ERROR);
    let flow = Reason::FLOW_CONTROL_ERROR;
    let begin = |id| frame(HEADERS, END_HEADERS, id, &call("/t.T/Never"));
    let after = |bytes: Vec<u8>| [begin(1), bytes].concat();
    let too_long = [&[0, 0x40, 1, SETTINGS, 0, 0, 0, 0, 0][..], &[0; 100]].concat();
    vec![
        ("DATA of no stream", frame(DATA, 0, 0, b""), protocol),
        ("DATA of an idle stream", frame(DATA, 0, 7, b""), protocol),
        ("padding that is all and more", after(frame(DATA, PADDED, 1, b"\x05abc")), protocol),
        ("padding without a length", after(frame(DATA, PADDED, 1, b"")), size),
        ("HEADERS of no stream", frame(HEADERS, END_HEADERS, 0, &call(ECHO)), protocol),
        ("HEADERS with an even id", begin(2), protocol),
        ("HEADERS with a smaller id", [begin(5), begin(3)].concat(), Reason::STREAM_CLOSED),
        (
            "a block that cannot be decoded",
            frame(HEADERS, END_HEADERS, 1, b"\x80"),
            Reason::COMPRESSION_ERROR,
        ),
        (
            "a block in two frames of others",
            [frame(HEADERS, 0, 1, b""), frame(PING, 0, 0, &[0; 8])].concat(),
            protocol,
        ),
        (
            "CONTINUATION of another",
            [frame(HEADERS, 0, 1, b""), frame(CONTINUATION, 4, 3, b"")].concat(),
            protocol,
        ),
        ("CONTINUATION of nothing", frame(CONTINUATION, END_HEADERS, 1, b""), protocol),
        ("PRIORITY of no stream", frame(PRIORITY, 0, 0, &[0; 5]), protocol),
        ("PRIORITY of a wrong size", frame(PRIORITY, 0, 1, &[0; 4]), size),
        ("RST_STREAM of no stream", frame(RST_STREAM, 0, 0, &[0; 4]), protocol),
        ("RST_STREAM of an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), protocol),
        ("RST_STREAM of a wrong size", after(frame(RST_STREAM, 0, 1, &[0; 5])), size),
        ("SETTINGS of a stream", frame(SETTINGS, 0, 1, b""), protocol),
        ("SETTINGS of a wrong size", frame(SETTINGS, 0, 0, &[0; 5]), size),
        ("an acknowledgement with SETTINGS", frame(SETTINGS, ACK, 0, &setting(1, 0)), size),
        ("ENABLE_PUSH of 2", frame(SETTINGS, 0, 0, &setting(2, 2)), protocol),
        ("a window above the largest", frame(SETTINGS, 0, 0, &setting(4, 1 << 31)), flow),
        ("MAX_FRAME_SIZE too small", frame(SETTINGS, 0, 0, &setting(5, 16_383)), protocol),
        ("MAX_FRAME_SIZE too large", frame(SETTINGS, 0, 0, &setting(5, 1 << 24)), protocol),
        ("PUSH_PROMISE", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]), protocol),
        ("PING of a stream", frame(PING, 0, 1, &[0; 8]), protocol),
        ("PING of a wrong size", frame(PING, 0, 0, &[0; 7]), size),
        ("GOAWAY of a stream", frame(GOAWAY, 0, 1, &[0; 8]), protocol),
        ("GOAWAY of a wrong size", frame(GOAWAY, 0, 0, &[0; 7]), size),
        ("WINDOW_UPDATE of a wrong size", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), size),
        ("WINDOW_UPDATE of an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1]), protocol),
        ("a window that opens by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), protocol),
        (
            "a window that opens too far",
            frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
            flow,
        ),
        (
            "SETTINGS that open a window too far",
            [
                after(frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0, 0])),
                frame(SETTINGS, 0, 0, &setting(4, 65_535 * 2)),
            ]
            .concat(),
            flow,
        ),
        ("a frame larger than announced", too_long, size),
    ]
}

#[tokio::test]
async fn some_ends_the_connection() {
    for (what, bytes, wanted) in ends_the_connection() {
        let mut client = Client::open(Options::default()).await;
        client.send(&bytes).await;
        let (reason, text) = client.sent_away().await;
        assert_eq!(reason, wanted, "{what}: {text}");
        let seen = std::sync::Arc::clone(&client.seen);
        match client.hang_up().await {
            Err(Error::Client { reason, .. }) => assert_eq!(reason, wanted, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
        assert_eq!(seen.under_way(), 0, "{what}: every call is closed");
    }
}

/// What ends a stream: its frames, its id, and the code.
fn ends_the_stream() -> Vec<(&'static str, Vec<u8>, u32, Reason)> {
    let protocol = Reason::PROTOCOL_ERROR;
    let head =
        |fields: &[(&str, &str)]| frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields));
    let get = [(":method", "GET"), (":scheme", "http"), (":path", "/")];
    let with = |more: (&'static str, &'static str)| head(&[&get[..], &[more]].concat());
    let begin = frame(HEADERS, END_HEADERS, 1, &call("/t.T/Never"));
    let after = |bytes: Vec<u8>| [begin.clone(), bytes].concat();
    let half = |bytes: Vec<u8>| {
        let begin = frame(HEADERS, END_HEADERS | END_STREAM, 1, &call("/t.T/Never"));
        [begin, bytes].concat()
    };
    let promised = |more: &[Vec<u8>]| {
        let block = call_with("/x/y", &[("content-length", "3")]);
        [&[frame(HEADERS, END_HEADERS, 1, &block)], more].concat().concat()
    };
    vec![
        ("no method", head(&get[1..]), 1, protocol),
        ("no scheme", head(&[get[0], get[2]]), 1, protocol),
        ("no path", head(&get[..2]), 1, protocol),
        ("an empty path", head(&[get[0], get[1], (":path", "")]), 1, protocol),
        ("two paths", with((":path", "/b")), 1, protocol),
        ("a pseudo-field of a response", with((":status", "200")), 1, protocol),
        ("a pseudo-field behind others", head(&[("a", "b"), get[0], get[1], get[2]]), 1, protocol),
        ("upper case", with(("Accept", "x")), 1, protocol),
        ("a field of the connection", with(("connection", "close")), 1, protocol),
        ("te without trailers", with(("te", "gzip")), 1, protocol),
        ("a value with a line's end", with(("a", "b\nc")), 1, protocol),
        ("a length that is none", with(("content-length", "3x")), 1, protocol),
        ("a length of a body that is absent", with(("content-length", "3")), 1, protocol),
        ("more than the length says", promised(&[frame(DATA, 0, 1, b"abcd")]), 1, protocol),
        ("less than the length says", promised(&[frame(DATA, END_STREAM, 1, b"ab")]), 1, protocol),
        (
            "less than the length says, with trailers",
            promised(&[frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&[("a", "b")]))]),
            1,
            protocol,
        ),
        ("DATA after the end", half(frame(DATA, 0, 1, b"a")), 1, Reason::STREAM_CLOSED),
        ("trailers after the end", half(frame(HEADERS, 5, 1, b"")), 1, Reason::STREAM_CLOSED),
        ("trailers that end nothing", after(frame(HEADERS, END_HEADERS, 1, b"")), 1, protocol),
        (
            "trailers with a pseudo-field",
            after(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&[(":path", "/")]))),
            1,
            protocol,
        ),
        ("a window that opens by nothing", after(frame(WINDOW_UPDATE, 0, 1, &[0; 4])), 1, protocol),
        (
            "a window that opens too far",
            after(frame(WINDOW_UPDATE, 0, 1, &[0x7f, 0xff, 0xff, 0xff])),
            1,
            Reason::FLOW_CONTROL_ERROR,
        ),
        (
            "PRIORITY of a wrong size",
            after(frame(PRIORITY, 0, 1, &[0; 4])),
            1,
            Reason::FRAME_SIZE_ERROR,
        ),
    ]
}

#[tokio::test]
async fn some_ends_the_stream_and_others_go_on() {
    for (what, bytes, id, wanted) in ends_the_stream() {
        let mut client = Client::open(Options::default()).await;
        client.send(&bytes).await;
        let reset = client.until(|frame| frame.kind == RST_STREAM).await;
        assert_eq!((reset.id, Reason(reset.number(0))), (id, wanted), "{what}");
        client.call(id + 2, ECHO, &message(b"still here")).await;
        assert_eq!(data(&client.answer(id + 2).await), message(b"still here"), "{what}");
        client.hang_up().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

#[tokio::test]
async fn frames_of_streams_that_are_over_are_borne() {
    let mut client = Client::open(Options::default()).await;
    client.call(1, ECHO, &message(b"x")).await;
    client.answer(1).await;
    client.send(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])).await;
    client.send(&frame(RST_STREAM, 0, 1, &[0; 4])).await;
    client.send(&frame(PRIORITY, 0, 1, &[0; 5])).await;
    // The server ends this one first: what the client had on its way is no offence.
    client.send(&frame(HEADERS, END_HEADERS, 3, &call("/t.T/Refused"))).await;
    let refused = client.answer(3).await;
    assert!(has(&refused, "grpc-status", "7") && has(&refused, "grpc-message", "not you"));
    client.send(&frame(DATA, 0, 3, b"late")).await;
    client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 3, &block(&[("a", "b")]))).await;
    // This one was over for both: the client is told so.
    client.send(&frame(DATA, 0, 1, b"late")).await;
    let reset = client.until(|frame| frame.kind == RST_STREAM && frame.id == 1).await;
    assert_eq!(Reason(reset.number(0)), Reason::STREAM_CLOSED);
    client.call(5, ECHO, &message(b"y")).await;
    assert_eq!(data(&client.answer(5).await), message(b"y"));
    // But it cannot begin again.
    client.send(&frame(HEADERS, END_HEADERS, 1, &call(ECHO))).await;
    assert_eq!(client.sent_away().await.0, Reason::STREAM_CLOSED);
}

#[tokio::test]
async fn what_nobody_knows_is_ignored() {
    let mut client = Client::open(Options::default()).await;
    client.send(&frame(0xfa, 0xff, 9, b"from the future")).await;
    client.send(&frame(SETTINGS, 0, 0, &setting(0x99, 1))).await;
    client.send(&frame(PING, 0, 0, b"8 bytes.")).await;
    let pong = client.until(|frame| frame.kind == PING).await;
    assert_eq!((pong.flags, &pong.payload[..]), (ACK, &b"8 bytes."[..]));
    client.hang_up().await.expect("in peace");
}

#[tokio::test]
async fn a_beginning_that_is_none() {
    for bytes in
        [b"GET / HTTP/1.1\r\n\r\n".to_vec(), [PREFACE, &frame(PING, 0, 0, &[0; 8])].concat()]
    {
        let mut client = Client::silent(Options::default());
        client.send(&bytes).await;
        assert_eq!(client.sent_away().await.0, Reason::PROTOCOL_ERROR);
        assert!(matches!(client.hang_up().await, Err(Error::Client { .. })));
    }
    // Cut anywhere, it is waited for.
    let mut client = Client::silent(Options::default());
    for byte in [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat() {
        client.send(&[byte]).await;
    }
    client.until(|frame| frame.kind == SETTINGS && frame.flags & ACK != 0).await;
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_to_be_tried_again() {
    let options = Options { concurrent_streams_max: 2, ..Options::default() };
    let mut client = Client::silent(options);
    client.send(PREFACE).await;
    client.send(&frame(SETTINGS, 0, 0, b"")).await;
    let settings = client.until(|frame| frame.kind == SETTINGS).await;
    assert!(settings.payload.chunks(6).any(|chunk| chunk == setting(3, 2)));
    for id in [1, 3, 5] {
        client.send(&frame(HEADERS, END_HEADERS, id, &call("/t.T/Never"))).await;
    }
    let reset = client.until(|frame| frame.kind == RST_STREAM).await;
    assert_eq!((reset.id, Reason(reset.number(0))), (5, Reason::REFUSED_STREAM));
    client.send(&frame(RST_STREAM, 0, 1, &Reason::CANCEL.0.to_be_bytes())).await;
    client.call(7, ECHO, &message(b"x")).await;
    assert_eq!(data(&client.answer(7).await), message(b"x"));
}

#[tokio::test]
async fn too_many_fields_end_a_stream_and_tables_stay_the_same() {
    let options = Options { header_list_bytes_max: 400, ..Options::default() };
    let mut client = Client::open(options).await;
    // A field that enters the table, in a block that is too large.
    let mut large = call(ECHO);
    large.extend_from_slice(b"\x40\x01a\x01b");
    large.extend_from_slice(&block(&[("c", &"d".repeat(100)), ("e", &"f".repeat(100))]));
    client.send(&frame(HEADERS, END_HEADERS, 1, &large)).await;
    let reset = client.until(|frame| frame.kind == RST_STREAM).await;
    assert_eq!((reset.id, Reason(reset.number(0))), (1, Reason::FRAME_SIZE_ERROR));
    // Its index is known.
    let again = [&call(ECHO)[..], &[0xbe]].concat();
    client.send(&frame(HEADERS, END_HEADERS, 3, &again)).await;
    client.send(&frame(DATA, END_STREAM, 3, &message(b"x"))).await;
    assert_eq!(data(&client.answer(3).await), message(b"x"));
}

#[tokio::test]
async fn a_client_without_a_table_is_told_that_none_is_used() {
    let mut client = Client::open(Options::default()).await;
    client.send(&frame(SETTINGS, 0, 0, &setting(1, 0))).await;
    for id in [1, 3] {
        client.call(id, ECHO, &message(b"x")).await;
        let head = &client.answer(id).await[0];
        assert_eq!(head.payload[0] == 0x20, id == 1, "in the first block after that");
    }
}
