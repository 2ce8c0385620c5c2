//! A strict reader of protobuf bytes: fields ascending, each once, varints as short as possible.
//!
//! Ordinary decoders take any order, repetition, padding of varints and unknown fields; a log
//! record whose bit flipped would often pass. Only the two wire types the log uses are known.
//! What it is not: a decoder of messages; those it serves name their fields themselves.

use std::ops::Range;

/// Why there is no varint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VarintError {
    /// The bytes end inside it.
    Short,
    /// Longer than needed, or than 64 bits.
    Bad,
}

/// Reads a varint; gives the value and its size in bytes.
pub(crate) fn varint(bytes: &[u8]) -> Result<(u64, usize), VarintError> {
    let mut value = 0;
    for (i, byte) in bytes.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        if i == 9 && *byte > 1 {
            return Err(VarintError::Bad);
        }
        value |= bits << (7 * i);
        if byte & 0x80 == 0 {
            return if i > 0 && bits == 0 { Err(VarintError::Bad) } else { Ok((value, i + 1)) };
        }
    }
    Err(VarintError::Short)
}

/// The varint of a value and how many of the bytes it takes.
pub(crate) fn encode_varint(mut value: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut size = 0;
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        bytes[size] = if value == 0 { low } else { low | 0x80 };
        size += 1;
        if value == 0 {
            return (bytes, size);
        }
    }
}

pub(crate) fn push_varint(buffer: &mut Vec<u8>, value: u64) {
    let (bytes, size) = encode_varint(value);
    buffer.extend_from_slice(&bytes[..size]);
}

/// A field's value: a number, or where its bytes lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Varint(u64),
    Bytes(Range<usize>),
}

/// The fields of a message, in order.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    last: u64,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, last: 0 }
    }

    /// The next field's number and value, or `None` at the end.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn next_field(&mut self) -> Result<Option<(u64, Value)>, &'static str> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let number = tag >> 3;
        if number <= self.last {
            return Err("field out of order");
        }
        self.last = number;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| "field too long")?;
                let end = self.at.checked_add(len).filter(|end| *end <= self.bytes.len());
                let range = self.at..end.ok_or("field longer than its message")?;
                self.at = range.end;
                Value::Bytes(range)
            }
            _ => return Err("unknown wire type"),
        };
        Ok(Some((number, value)))
    }

    fn varint(&mut self) -> Result<u64, &'static str> {
        let (value, size) = varint(&self.bytes[self.at..]).map_err(|_| "malformed varint")?;
        self.at += size;
        Ok(value)
    }
}
