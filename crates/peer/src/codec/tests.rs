//! The bytes of both streams, and what becomes of broken ones.

use super::*;
use proptest::prelude::*;
use raftpb::Entry;

fn entry(term: u64, index: u64, data: &'static str) -> Entry {
    Entry {
        r#type: Some(0),
        term: Some(term),
        index: Some(index),
        data: Some(Bytes::from_static(data.as_bytes())),
    }
}

fn append(term: u64, log_term: u64, index: u64, commit: u64, entries: Vec<Entry>) -> Message {
    Message {
        r#type: Some(MessageType::MsgApp.into()),
        to: Some(2),
        from: Some(1),
        term: Some(term),
        log_term: Some(log_term),
        index: Some(index),
        commit: Some(commit),
        entries,
        ..Message::default()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn vectors_link_heartbeats() {
    let mut out = BytesMut::new();
    message::encode(&mut out, &link_heartbeat());
    assert_eq!(hex(&out), "00000000000000020808"); // as etcd 3.7 sends it
    let decoded = message::decode(&mut out).expect("a message").expect("all of it");
    assert!(is_link_heartbeat(&decoded));
    // As etcd 3.5 sends it: every field of the 30 bytes, zeros and an empty snapshot included.
    let old: &[u8] = &[
        0, 0, 0, 0, 0, 0, 0, 30, 0x08, 8, 0x10, 0, 0x18, 0, 0x20, 0, 0x28, 0, 0x30, 0, 0x40, 0,
        0x4a, 8, 0x12, 6, 0x0a, 0, 0x10, 0, 0x18, 0, 0x50, 0, 0x58, 0, 0x68, 0,
    ];
    let mut old = BytesMut::from(old);
    // The lengths add up whichever fields a version has.
    let announced = old.len() - 8;
    old[7] = u8::try_from(announced).expect("short");
    let decoded = message::decode(&mut old).expect("a message").expect("all of it");
    assert!(is_link_heartbeat(&decoded));
    let mut out = BytesMut::new();
    msgappv2::Encoder::default().encode(&mut out, &link_heartbeat());
    assert_eq!(hex(&out), "00");
}

#[test]
fn vectors_appends() {
    let mut encoder = msgappv2::Encoder::default();
    let mut out = BytesMut::new();
    // The first one cannot continue anything.
    encoder.encode(&mut out, &append(1, 1, 4, 4, vec![entry(1, 5, "a")]));
    let full = "080310021801200128013004";
    let one = "08001001180522016 1".replace(' ', "");
    assert_eq!(hex(&out), format!("02{:016x}{full}3a09{one}4004", 12 + 2 + 9 + 2));
    out.clear();
    // The second continues it, and so does an empty one.
    encoder.encode(&mut out, &append(1, 1, 5, 5, vec![entry(1, 6, "b")]));
    encoder.encode(&mut out, &append(1, 1, 6, 6, vec![]));
    let two = "080010011806220162";
    let zero = "0".repeat(15);
    let want = format!("01{zero}1{zero}9{two}{zero}5{one}", one = format_args!("01{zero}0{zero}6"));
    assert_eq!(hex(&out), want);
    out.clear();
    // A gap or a new term does not.
    encoder.encode(&mut out, &append(1, 1, 9, 6, vec![]));
    assert_eq!(out[0], 2);
    out.clear();
    encoder.encode(&mut out, &append(2, 1, 9, 6, vec![entry(2, 10, "c")]));
    assert_eq!(out[0], 2);
    out.clear();
    encoder.encode(&mut out, &append(2, 2, 10, 6, vec![entry(2, 11, "d")]));
    assert_eq!(out[0], 1);
}

/// Appends as a leader sends them: mostly following each other, sometimes not.
fn appends() -> impl Strategy<Value = Vec<Message>> {
    let step = (0..4u8, 0..4usize, 0..5u64);
    prop::collection::vec(step, 1..20).prop_map(|steps| {
        let (mut term, mut index) = (1, 0);
        let mut log_term = 0;
        let mut messages = Vec::new();
        for (kind, count, commit) in steps {
            match kind {
                0 => term += 1,
                1 => index += 7,
                _ => {}
            }
            let entries = (1..=count as u64).map(|i| entry(term, index + i, "payload")).collect();
            messages.push(append(term, log_term, index, commit, entries));
            index += count as u64;
            log_term = term;
        }
        messages
    })
}

proptest! {
    #[test]
    fn appends_come_out_as_they_went_in(messages in appends(), chunk in 1..50usize) {
        let mut encoder = msgappv2::Encoder::default();
        let mut bytes = BytesMut::new();
        for message in &messages {
            encoder.encode(&mut bytes, message);
        }
        let mut decoder = msgappv2::Decoder::new(1, 2);
        let (mut input, mut decoded) = (BytesMut::new(), Vec::new());
        for part in bytes.chunks(chunk) {
            input.extend_from_slice(part);
            while let Some(message) = decoder.decode(&mut input).expect("what was encoded") {
                decoded.push(message);
            }
        }
        prop_assert_eq!(decoded, messages);
    }

    #[test]
    fn garbage_is_an_error_or_waits_for_more(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut input = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = message::decode(&mut input) {}
        let mut input = BytesMut::from(&bytes[..]);
        let mut decoder = msgappv2::Decoder::new(1, 2);
        while let Ok(Some(_)) = decoder.decode(&mut input) {}
    }
}

#[test]
fn a_lying_length_is_refused_before_its_bytes_come() {
    let mut input = BytesMut::from(&u64::MAX.to_be_bytes()[..]);
    assert!(matches!(message::decode(&mut input), Err(CodecError::TooLong { .. })));
    let mut input = BytesMut::from(&[9u8][..]);
    let error = msgappv2::Decoder::new(1, 2).decode(&mut input);
    assert_eq!(error, Err(CodecError::UnknownKind { kind: 9 }));
}
