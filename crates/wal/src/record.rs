//! The bytes of one record: frame, header, data and padding, written and read.
//!
//! ```text
//! offset  size  frame, always on an 8-byte boundary of the file
//!      0     8  length field, little endian: low 56 bits n = bytes of the record;
//!               top byte 0x80 | p if p > 0 bytes of padding follow, else 0
//!      8     n  record: 08 <type> 10 <crc> [1a <length> <data>]
//!    8+n     p  zeros, so that n + p is a multiple of 8
//! ```
//! `crc` is the CRC-32C over the data fields of all records since the log was created. It does
//! not cover the rest of the frame, so the reader is strict there: fields in ascending order,
//! each once, none unknown, varints as short as possible, header and length field in agreement,
//! padding zero. Every etcd from 3.4 to 3.7 writes exactly that; a flipped bit does not.
//!
//! What it is not: it knows no file and no order of records (see `scan`).

use crate::wire::{self, Fields};
use raftpb::{Entry, EntryType, HardState};
use std::ops::Range;

/// Bytes of the length field.
pub(crate) const LENGTH_BYTES: usize = 8;

/// What a record is about; the numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Metadata = 1,
    Entry = 2,
    State = 3,
    Crc = 4,
    Snapshot = 5,
}

impl Kind {
    fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            1 => Self::Metadata,
            2 => Self::Entry,
            3 => Self::State,
            4 => Self::Crc,
            5 => Self::Snapshot,
            _ => return None,
        })
    }
}

/// Size of a frame's parts, from its length field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameSize {
    /// Bytes of the record.
    pub record: u64,
    /// Bytes of padding, 0..=7.
    pub padding: u64,
}

impl FrameSize {
    pub(crate) fn of_record(record: u64) -> Self {
        Self { record, padding: record.wrapping_neg() % 8 }
    }

    /// The length field, or `None` if its top byte does not go with the length.
    pub(crate) fn decode(field: u64) -> Option<Self> {
        let size = Self::of_record(field & (u64::MAX >> 8));
        (size.encode() == field).then_some(size)
    }

    fn encode(self) -> u64 {
        let top = if self.padding == 0 { 0 } else { 0x80 | self.padding };
        self.record | top << 56
    }
}

/// A record's header and where its data lies in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub kind: Kind,
    pub crc: u32,
    /// `None` if the field is absent, which is not the same as empty everywhere.
    pub data: Option<Range<usize>>,
}

/// Why a header could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// The bytes end inside it; what is there is right so far.
    Incomplete,
    /// The bytes are those of no record.
    Bad(&'static str),
}

/// Reads the header of a record of `record_bytes` from `bytes`, which may be fewer.
pub(crate) fn read_header(bytes: &[u8], record_bytes: u64) -> Result<Header, HeaderError> {
    use HeaderError::{Bad, Incomplete};
    let whole = bytes.len() as u64 >= record_bytes;
    let bytes = &bytes[..bytes.len().min(usize::try_from(record_bytes).unwrap_or(usize::MAX))];
    let cut = if whole { Bad("record shorter than its header") } else { Incomplete };
    let mut at = 0;
    let expect = |at: &mut usize, tag: u8, name| match bytes.get(*at) {
        None => Err(cut),
        Some(byte) if *byte == tag => {
            *at += 1;
            Ok(())
        }
        Some(_) => Err(Bad(name)),
    };
    let varint = |at: &mut usize, name| match wire::varint(&bytes[*at..]) {
        Ok((value, size)) => {
            *at += size;
            Ok(value)
        }
        Err(wire::VarintError::Short) => Err(cut),
        Err(wire::VarintError::Bad) => Err(Bad(name)),
    };

    expect(&mut at, 0x08, "no type field")?;
    let kind = Kind::from_number(varint(&mut at, "malformed type")?).ok_or(Bad("unknown type"))?;
    expect(&mut at, 0x10, "no crc field")?;
    let crc = u32::try_from(varint(&mut at, "malformed crc")?).map_err(|_| Bad("crc too long"))?;
    if at as u64 == record_bytes {
        return Ok(Header { kind, crc, data: None });
    }
    expect(&mut at, 0x1a, "no data field where one should be")?;
    let len = varint(&mut at, "malformed data length")?;
    if len.checked_add(at as u64) != Some(record_bytes) {
        return Err(Bad("data length at odds with the length field"));
    }
    // In range also when the bytes are cut: the caller asks for the data of whole records only.
    Ok(Header { kind, crc, data: Some(at..at + usize::try_from(len).unwrap_or(usize::MAX - at)) })
}

/// Records on their way to a file: one buffer, reused, and the running CRC.
#[derive(Debug)]
pub(crate) struct Encoder {
    /// Whole frames, not yet written.
    pub buffer: Vec<u8>,
    /// CRC-32C over the data fields of all records since the log was created.
    pub crc: u32,
}

impl Encoder {
    pub(crate) fn new(crc: u32) -> Self {
        Self { buffer: Vec::new(), crc }
    }

    /// The record that carries the running CRC into a segment; it has no data.
    pub(crate) fn push_crc(&mut self) {
        self.push_frame(Kind::Crc, None::<(usize, fn(&mut Vec<u8>))>);
    }

    pub(crate) fn push_metadata(&mut self, metadata: &[u8]) {
        self.push_frame(
            Kind::Metadata,
            Some((metadata.len(), |buffer: &mut Vec<u8>| buffer.extend_from_slice(metadata))),
        );
    }

    pub(crate) fn push_entry(&mut self, entry: &Entry) {
        // An absent payload of a v2 change reads like a hard state whose type bit flipped, so it
        // is written as present and empty, which means the same to every reader.
        let empty_payload = entry.data.is_none() && entry.r#type() == EntryType::EntryConfChangeV2;
        let tail: &[u8] = if empty_payload { &[0x22, 0x00] } else { &[] };
        let size = prost::Message::encoded_len(entry) + tail.len();
        self.push_frame(
            Kind::Entry,
            Some((size, |buffer: &mut Vec<u8>| {
                prost::Message::encode(entry, buffer).expect("a vector grows as needed");
                buffer.extend_from_slice(tail);
            })),
        );
    }

    pub(crate) fn push_state(&mut self, state: &HardState) {
        let whole = HardState {
            term: Some(state.term()),
            vote: Some(state.vote()),
            commit: Some(state.commit()),
        };
        self.push_message(Kind::State, &whole);
    }

    pub(crate) fn push_snapshot(&mut self, snapshot: &raftpb::wal::Snapshot) {
        let whole = raftpb::wal::Snapshot {
            index: Some(snapshot.index()),
            term: Some(snapshot.term()),
            conf_state: snapshot.conf_state.clone(),
        };
        self.push_message(Kind::Snapshot, &whole);
    }

    fn push_message(&mut self, kind: Kind, message: &impl prost::Message) {
        self.push_frame(
            kind,
            Some((message.encoded_len(), |buffer: &mut Vec<u8>| {
                message.encode(buffer).expect("a vector grows as needed");
            })),
        );
    }

    /// Appends a frame. The CRC stands before the data it covers and has a variable length, so
    /// the data is encoded where it lands with a CRC of five bytes (15 of 16 have that), and
    /// moved down otherwise.
    fn push_frame(&mut self, kind: Kind, data: Option<(usize, impl FnOnce(&mut Vec<u8>))>) {
        const CRC_BYTES_MAX: usize = 5;
        let frame = self.buffer.len();
        assert!(frame.is_multiple_of(8), "frames are padded to eight bytes");
        let head = frame + LENGTH_BYTES;
        self.buffer.resize(head, 0);
        self.buffer.extend_from_slice(&[0x08, kind as u8, 0x10]);
        let crc_at = self.buffer.len();
        if let Some((size, encode)) = data {
            let rest = crc_at + CRC_BYTES_MAX;
            self.buffer.resize(rest, 0);
            self.buffer.push(0x1a);
            wire::push_varint(&mut self.buffer, size as u64);
            let data_at = self.buffer.len();
            encode(&mut self.buffer);
            assert_eq!(self.buffer.len() - data_at, size, "a message has the length it tells");
            self.crc = crc32c::crc32c_append(self.crc, &self.buffer[data_at..]);
            let (crc, crc_bytes) = wire::encode_varint(u64::from(self.crc));
            self.buffer[crc_at..crc_at + crc_bytes].copy_from_slice(&crc[..crc_bytes]);
            if crc_bytes < CRC_BYTES_MAX {
                self.buffer.copy_within(rest.., crc_at + crc_bytes);
                self.buffer.truncate(self.buffer.len() - (CRC_BYTES_MAX - crc_bytes));
            }
        } else {
            wire::push_varint(&mut self.buffer, u64::from(self.crc));
        }
        let size = FrameSize::of_record((self.buffer.len() - head) as u64);
        self.buffer[frame..head].copy_from_slice(&size.encode().to_le_bytes());
        self.buffer.resize(self.buffer.len().next_multiple_of(8), 0);
    }
}

/// Reads an entry's bytes as strictly as the frame: what is no entry is not taken for one.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_entry(data: &bytes::Bytes) -> Result<Entry, &'static str> {
    let mut entry = Entry::default();
    let mut fields = Fields::new(data);
    while let Some((number, value)) = fields.next_field()? {
        match (number, value) {
            (1, wire::Value::Varint(kind @ 0..=2)) => entry.r#type = i32::try_from(kind).ok(),
            (1, _) => return Err("unknown entry type"),
            (2, wire::Value::Varint(term)) => entry.term = Some(term),
            (3, wire::Value::Varint(index)) => entry.index = Some(index),
            (4, wire::Value::Bytes(range)) => {
                entry.data = Some(data.slice(range));
            }
            _ => return Err("unknown field in entry"),
        }
    }
    check_entry(&entry)?;
    if entry.r#type() == EntryType::EntryConfChangeV2 && entry.data.is_none() {
        return Err("configuration change without payload");
    }
    Ok(entry)
}

/// What holds for each entry of a log, wherever it comes from.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_entry(entry: &Entry) -> Result<(), &'static str> {
    if !matches!(entry.r#type.unwrap_or_default(), 0..=2) {
        return Err("unknown entry type");
    }
    if entry.term() == 0 || entry.index() == 0 {
        return Err("entry without term or index");
    }
    if entry.r#type() == EntryType::EntryConfChange && entry.data().is_empty() {
        return Err("configuration change without payload");
    }
    Ok(())
}

/// Reads a hard state's bytes, strictly.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_state(data: &[u8]) -> Result<HardState, &'static str> {
    let mut state = HardState::default();
    let mut fields = Fields::new(data);
    while let Some((number, value)) = fields.next_field()? {
        match (number, value) {
            (1, wire::Value::Varint(term)) => state.term = Some(term),
            (2, wire::Value::Varint(vote)) => state.vote = Some(vote),
            (3, wire::Value::Varint(commit)) => state.commit = Some(commit),
            _ => return Err("unknown field in hard state"),
        }
    }
    if state.term() == 0 {
        return Err("hard state without term");
    }
    Ok(state)
}
