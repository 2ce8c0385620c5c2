//! The proposal's bytes in the log: a key and a value in Go's gob encoding.
//!
//! Compat: upstream's raftexample encodes its `kv` struct with `encoding/gob`, so a log written
//! here can be replayed there and the two can be members of one cluster. Only that one struct is
//! spoken, not gob at large:
//!
//! ```text
//! message     = length, type id (signed), body
//! first       = the definition of struct kv{Key string; Val string}, under a negative type id
//! second      = fields as (field number delta, length, bytes), an absent field is empty, 0 ends
//! unsigned n  = n < 128 ? n : (-byte count as u8), big endian bytes
//! signed n    = unsigned (n << 1), or (!n << 1 | 1) if negative
//! ```
//!
//! The decoder skips the definition, so the type id a Go process happened to give it is free.

use bytes::{BufMut, Bytes, BytesMut};

/// What a proposal asks for: `key` shall hold `val`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kv {
    /// The whole request URI, leading slash included.
    pub key: String,
    /// The request body.
    pub val: Bytes,
}

/// A log entry that is no gob-encoded `kv`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("log entry is no key-value proposal: {what} at byte {at}")]
pub struct DecodeError {
    what: &'static str,
    at: usize,
}

/// The definition of the struct as Go's first encoder of a process writes it, length included.
const DEFINITION: &[u8] =
    b"\x1f\x7f\x03\x01\x01\x02kv\x01\xff\x80\x00\x01\x02\x01\x03Key\x01\x0c\x00\x01\x03Val\x01\x0c\x00\x00\x00";

/// Type id 64, gob's first for a user's type, as a signed number.
const TYPE_ID: &[u8] = b"\xff\x80";

impl Kv {
    /// Encodes the proposal for the log.
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::with_capacity(self.key.len() + self.val.len() + 24);
        body.put_slice(TYPE_ID);
        let mut last = 0;
        for (number, field) in [(1, self.key.as_bytes()), (2, &self.val[..])] {
            if !field.is_empty() {
                put_unsigned(&mut body, number - last);
                put_unsigned(&mut body, field.len() as u64);
                body.put_slice(field);
                last = number;
            }
        }
        body.put_u8(0);
        let mut out = BytesMut::with_capacity(DEFINITION.len() + 9 + body.len());
        out.put_slice(DEFINITION);
        put_unsigned(&mut out, body.len() as u64);
        out.put_slice(&body);
        out.freeze()
    }

    /// Decodes a log entry's data.
    ///
    /// # Errors
    /// If the data is not one gob definition followed by one `kv` value.
    pub fn decode(data: &Bytes) -> Result<Kv, DecodeError> {
        let mut input = Input { data, at: 0 };
        let definition = input.length("definition runs past the end")?;
        input.at += definition;
        let value = input.length("value runs past the end")?;
        if input.at + value != data.len() {
            return Err(input.error("bytes after the value"));
        }
        input.unsigned()?; // the type id; whichever the encoder's process gave it
        let mut kv = Kv { key: String::new(), val: Bytes::new() };
        let mut number = 0;
        loop {
            let delta = input.unsigned()?;
            if delta == 0 {
                break;
            }
            number += delta;
            let length = input.length("field runs past the end")?;
            let field = data.slice(input.at..input.at + length);
            match number {
                1 => {
                    kv.key = String::from_utf8(field.into())
                        .map_err(|_| input.error("key is not UTF-8"))?;
                }
                2 => kv.val = field,
                _ => return Err(input.error("unknown field")),
            }
            input.at += length;
        }
        if input.at == data.len() { Ok(kv) } else { Err(input.error("bytes after the last field")) }
    }
}

fn put_unsigned(out: &mut BytesMut, n: u64) {
    if n < 128 {
        out.put_u8(n.to_le_bytes()[0]);
        return;
    }
    let bytes = n.to_be_bytes();
    let significant = &bytes[n.leading_zeros() as usize / 8..];
    out.put_i8(-i8::try_from(significant.len()).expect("a u64 has at most eight bytes"));
    out.put_slice(significant);
}

/// A bounded reader that knows where it is.
struct Input<'a> {
    data: &'a [u8],
    at: usize,
}

impl Input<'_> {
    fn error(&self, what: &'static str) -> DecodeError {
        DecodeError { what, at: self.at }
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        let byte = *self.data.get(self.at).ok_or_else(|| self.error("end of data"))?;
        self.at += 1;
        Ok(byte)
    }

    fn unsigned(&mut self) -> Result<u64, DecodeError> {
        let first = self.byte()?;
        if first < 128 {
            return Ok(u64::from(first));
        }
        let count = first.wrapping_neg();
        if count > 8 {
            return Err(self.error("number of more than eight bytes"));
        }
        let mut n = 0;
        for _ in 0..count {
            n = n << 8 | u64::from(self.byte()?);
        }
        Ok(n)
    }

    /// A length, checked to lie within the data.
    fn length(&mut self, past_end: &'static str) -> Result<usize, DecodeError> {
        let length = self.unsigned()?;
        usize::try_from(length)
            .ok()
            .filter(|&length| length <= self.data.len() - self.at)
            .ok_or_else(|| self.error(past_end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes printed by a Go program that encodes the struct with `encoding/gob`.
    #[test]
    fn bytes_are_those_of_go() {
        let head = "1f7f030101026b7601ff8000010201034b6579010c00010356616c010c000000";
        check("/foo", b"bar", &format!("{head}0eff8001042f666f6f010362617200"));
        check("/foo", b"", &format!("{head}09ff8001042f666f6f00"));
        check("", b"", &format!("{head}03ff8000"));
        let long = "79".repeat(200);
        check("/k", &[b'y'; 200], &format!("{head}ffd2ff8001022f6b01ffc8{long}00"));
        let longer = "79".repeat(70_000);
        check("/k", &[b'y'; 70_000], &format!("{head}fd01117cff8001022f6b01fd011170{longer}00"));
    }

    fn check(key: &str, val: &[u8], hex: &str) {
        let kv = Kv { key: key.to_owned(), val: Bytes::copy_from_slice(val) };
        let encoded = kv.encode();
        let found: String = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, hex);
        assert_eq!(Kv::decode(&encoded), Ok(kv));
    }

    #[test]
    fn every_truncation_and_any_tail_is_an_error() {
        let kv = Kv { key: "/key".into(), val: Bytes::from_static(b"value") };
        let encoded = kv.encode();
        for end in 0..encoded.len() {
            Kv::decode(&encoded.slice(..end)).expect_err("a truncated proposal");
        }
        let mut longer = encoded.to_vec();
        longer.push(0);
        Kv::decode(&Bytes::from(longer)).expect_err("a byte too many");
    }
}
