//! Answers as bytes. What the store holds encoded is spliced in as it is, and never decoded.
//!
//! Fields are written in the order of their numbers, with zeros left out, as Go and prost do.

use crate::grpc::kv::RangeAnswer;
use api::etcdserverpb::{
    DeleteRangeResponse, LeaseKeepAliveResponse, PutResponse, ResponseHeader, TxnResponse,
    WatchResponse,
};
use bytes::{BufMut, Bytes, BytesMut};
use http2::Buffer;
use mvcc::RangeResult;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};
use server::{WatchEvent, WatchEvents};
use std::sync::Arc;

/// One message to a client.
pub(crate) enum Answer {
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Range(RangeAnswer),
    Txn(TxnResponse),
    KeepAlive(LeaseKeepAliveResponse),
    /// All that is said on a watch stream but events.
    Watch(WatchResponse),
    Events(EventsAnswer),
    /// Encoded where there was time for it.
    Encoded(Bytes),
}

/// Events of a watcher. Their bytes are shared with all who are told the same.
pub(crate) struct EventsAnswer {
    pub header: ResponseHeader,
    pub watch_id: i64,
    /// Events as fields of the message.
    pub events: Bytes,
    /// How many.
    pub count: usize,
}

impl Answer {
    /// How many events it tells.
    pub(crate) fn events(&self) -> usize {
        match self {
            Self::Watch(response) => response.events.len(),
            Self::Events(answer) => answer.count,
            _ => 0,
        }
    }
}

/// Tags: the number of a field, and that it has a length or is a number.
const HEADER: u8 = 1 << 3 | 2;
const RANGE_KVS: u8 = 2 << 3 | 2;
const RANGE_MORE: u8 = 3 << 3;
const RANGE_COUNT: u8 = 4 << 3;
const WATCH_ID: u8 = 2 << 3;
const WATCH_EVENTS: u8 = 11 << 3 | 2;
const EVENT_TYPE: u8 = 1 << 3;
const EVENT_KV: u8 = 2 << 3 | 2;
const EVENT_PREV_KV: u8 = 3 << 3 | 2;
const DELETE: u8 = 1;

impl http2::Answer for Answer {
    fn encoded_len(&self) -> usize {
        match self {
            Self::Put(response) => response.encoded_len(),
            Self::DeleteRange(response) => response.encoded_len(),
            Self::Range(answer) => range_len(answer),
            Self::Txn(response) => response.encoded_len(),
            Self::KeepAlive(response) => response.encoded_len(),
            Self::Watch(response) => response.encoded_len(),
            Self::Events(answer) => {
                part_len(answer.header.encoded_len())
                    + number_len(answer.watch_id)
                    + answer.events.len()
            }
            Self::Encoded(bytes) => bytes.len(),
        }
    }

    fn encode(self, out: &mut Buffer) {
        match self {
            Self::Put(response) => response.encode_raw(out.tail()),
            Self::DeleteRange(response) => response.encode_raw(out.tail()),
            Self::Range(RangeAnswer { header, result }) => {
                put_header(&header, out.tail());
                put_range(result, out);
            }
            Self::Txn(response) => response.encode_raw(out.tail()),
            Self::KeepAlive(response) => response.encode_raw(out.tail()),
            Self::Watch(response) => response.encode_raw(out.tail()),
            Self::Events(EventsAnswer { header, watch_id, events, .. }) => {
                put_header(&header, out.tail());
                put_number(WATCH_ID, watch_id, out.tail());
                out.put(events);
            }
            Self::Encoded(bytes) => out.put(bytes),
        }
    }
}

/// A range as bytes in one place, with `room` for whoever holds them.
pub(crate) fn range_bytes(answer: RangeAnswer) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(range_len(&answer));
    put_header(&answer.header, &mut bytes);
    for record in &answer.result.records {
        put_record(record, &mut bytes);
    }
    put_range_end(answer.result.more, answer.result.count, &mut bytes);
    bytes
}

pub(crate) fn range_len(RangeAnswer { header, result }: &RangeAnswer) -> usize {
    let records: usize = result.records.iter().map(|record| part_len(record.len())).sum();
    let more = if result.more { 2 } else { 0 };
    part_len(header.encoded_len()) + records + more + number_len(result.count)
}

fn put_range(mut result: RangeResult, out: &mut Buffer) {
    for record in std::mem::take(&mut result.records) {
        let tail = out.tail();
        tail.put_u8(RANGE_KVS);
        encode_varint(record.len() as u64, tail);
        out.put(record);
    }
    put_range_end(result.more, result.count, out.tail());
}

/// The fields behind the records.
pub(super) fn put_range_end(more: bool, count: i64, out: &mut impl BufMut) {
    if more {
        out.put_slice(&[RANGE_MORE, 1]);
    }
    put_number(RANGE_COUNT, count, out);
}

/// A record as a field of a range.
pub(super) fn put_record(record: &[u8], out: &mut impl BufMut) {
    put_part(RANGE_KVS, record, out);
}

/// The events as fields of a watch response, made once for all who are told them.
pub(crate) fn events_bytes(events: &Arc<WatchEvents>) -> Bytes {
    events.encoded(|list| {
        let len = list.iter().map(|event| part_len(event_len(event))).sum();
        let mut bytes = BytesMut::with_capacity(len);
        for event in list {
            bytes.put_u8(WATCH_EVENTS);
            encode_varint(event_len(event) as u64, &mut bytes);
            if event.tombstone {
                bytes.put_slice(&[EVENT_TYPE, DELETE]);
            }
            put_part(EVENT_KV, &event.record, &mut bytes);
            if let Some(previous) = &event.previous {
                put_part(EVENT_PREV_KV, previous, &mut bytes);
            }
        }
        bytes.freeze()
    })
}

fn event_len(event: &WatchEvent) -> usize {
    let kind = if event.tombstone { 2 } else { 0 };
    let previous = event.previous.as_ref().map_or(0, |previous| part_len(previous.len()));
    kind + part_len(event.record.len()) + previous
}

pub(super) fn put_header(header: &ResponseHeader, out: &mut impl BufMut) {
    out.put_u8(HEADER);
    encode_varint(header.encoded_len() as u64, out);
    header.encode_raw(out);
}

/// Bytes of a part of so many, with its tag and length.
pub(super) fn part_len(len: usize) -> usize {
    1 + encoded_len_varint(len as u64) + len
}

fn put_part(tag: u8, bytes: &[u8], out: &mut impl BufMut) {
    out.put_u8(tag);
    encode_varint(bytes.len() as u64, out);
    out.put_slice(bytes);
}

fn number_len(number: i64) -> usize {
    if number == 0 { 0 } else { 1 + encoded_len_varint(number.cast_unsigned()) }
}

fn put_number(tag: u8, number: i64, out: &mut impl BufMut) {
    if number != 0 {
        out.put_u8(tag);
        encode_varint(number.cast_unsigned(), out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::etcdserverpb::RangeResponse;
    use api::mvccpb::{Event, KeyValue, event::EventType};

    fn record(size: usize) -> (KeyValue, Bytes) {
        let kv = KeyValue {
            key: Bytes::from_static(b"key"),
            mod_revision: 300,
            value: vec![7; size].into(),
            ..KeyValue::default()
        };
        let bytes = kv.encode_to_vec().into();
        (kv, bytes)
    }

    fn header() -> ResponseHeader {
        ResponseHeader { cluster_id: u64::MAX, member_id: 2, revision: 300, raft_term: 4 }
    }

    fn encoded(answer: Answer) -> Vec<u8> {
        let mut out = Buffer::default();
        let len = http2::Answer::encoded_len(&answer);
        http2::Answer::encode(answer, &mut out);
        assert_eq!(out.len(), len);
        out.to_vec()
    }

    #[test]
    fn ranges_are_what_prost_makes_of_them() {
        for (sizes, more, count) in
            [(vec![], false, 0), (vec![0, 5, 10_000, 200], true, 4000), (vec![1], false, 1)]
        {
            let (kvs, records): (Vec<_>, Vec<_>) = sizes.into_iter().map(record).unzip();
            let result = RangeResult { records, more, count, revision: 300 };
            let wanted = RangeResponse { header: Some(header()), kvs, more, count };
            let answer = || RangeAnswer { header: header(), result: result.clone() };
            assert_eq!(encoded(Answer::Range(answer())), wanted.encode_to_vec());
            assert_eq!(range_bytes(answer()), wanted.encode_to_vec());
        }
    }

    #[test]
    fn events_are_what_prost_makes_of_them() {
        let (kv, bytes) = record(300);
        let (prev_kv, previous) = record(5000);
        let put = WatchEvent { tombstone: false, record: bytes.clone(), previous: None };
        let delete = WatchEvent { tombstone: true, record: bytes, previous: Some(previous) };
        let events = vec![
            Event { kv: Some(kv.clone()), ..Event::default() },
            Event { r#type: EventType::Delete as i32, kv: Some(kv), prev_kv: Some(prev_kv) },
        ];
        let wanted =
            WatchResponse { header: Some(header()), watch_id: 0, events, ..Default::default() };
        for watch_id in [0, 7, -1] {
            let events = events_bytes(&WatchEvents::new(vec![put.clone(), delete.clone()]));
            let answer = EventsAnswer { header: header(), watch_id, events, count: 2 };
            let wanted = WatchResponse { watch_id, ..wanted.clone() };
            assert_eq!(encoded(Answer::Events(answer)), wanted.encode_to_vec());
        }
    }
}
