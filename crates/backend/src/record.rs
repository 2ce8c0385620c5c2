//! A record: one revision, or one change of a small bucket.
//!
//! ```text
//!  0         4          8       10     11   12
//! +---------+----------+-------+------+----+-----+-------+
//! | crc u32 | value    | key   | kind | 0  | key | value |
//! |         | len u32  |len u16|  u8  | u8 |     |       |
//! +---------+----------+-------+------+----+-----+-------+
//!            '------------------ crc covers ------------'
//! ```
//! All numbers little-endian. `kind` is 0 for a revision, whose key and value are etcd's bytes of
//! the bucket `key`; 0x10 + bucket sets an entry of a small bucket, 0x20 + bucket deletes one.

use crate::Bucket;

/// Where a record lies. Good until the store is opened again, or the record is dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// Number of the segment the record was appended to.
    pub segment: u32,
    /// Where in it the record begins.
    pub offset: u32,
    /// Bytes of the record, head included.
    pub len: u32,
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Revision,
    Set(Bucket),
    Delete(Bucket),
}

/// A record in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordRef<'a> {
    pub kind: Kind,
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub crc: u32,
    /// Bytes of the record, head included.
    pub len: usize,
}

pub(crate) const HEAD_BYTES: usize = 12;
const SET: u8 = 0x10;
const DELETE: u8 = 0x20;

/// Appends a record and returns its CRC.
///
/// # Panics
/// If key or value are longer than their fields: requests are bounded far below.
pub(crate) fn encode(out: &mut Vec<u8>, kind: Kind, key: &[u8], value: &[u8]) -> u32 {
    let kind = match kind {
        Kind::Revision => 0,
        Kind::Set(bucket) => SET + bucket as u8,
        Kind::Delete(bucket) => DELETE + bucket as u8,
    };
    let key_len = u16::try_from(key.len()).expect("keys of records are short");
    let value_len = u32::try_from(value.len()).expect("values are smaller than a request");
    let at = out.len();
    out.reserve(HEAD_BYTES + key.len() + value.len());
    let mut head = [0; HEAD_BYTES];
    head[4..8].copy_from_slice(&value_len.to_le_bytes());
    head[8..10].copy_from_slice(&key_len.to_le_bytes());
    head[10] = kind;
    out.extend_from_slice(&head);
    out.extend_from_slice(key);
    out.extend_from_slice(value);
    let crc = crc32c::crc32c(&out[at + 4..]);
    out[at..at + 4].copy_from_slice(&crc.to_le_bytes());
    crc
}

/// Reads the record at the front of `bytes`: the one place where a stored CRC is checked and
/// stripped.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn decode(bytes: &[u8]) -> Result<RecordRef<'_>, &'static str> {
    let record = decode_trusted(bytes)?;
    if crc32c::crc32c(&bytes[4..record.len]) != record.crc {
        return Err("a record with another CRC");
    }
    Ok(record)
}

/// As [`decode`], for bytes that were encoded or checked by this process a moment ago.
///
/// # Errors
/// What is wrong with it.
#[inline]
pub(crate) fn decode_trusted(bytes: &[u8]) -> Result<RecordRef<'_>, &'static str> {
    let head = bytes.first_chunk::<HEAD_BYTES>().ok_or("a cut record head")?;
    let crc = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
    let value_len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let key_len = usize::from(u16::from_le_bytes([head[8], head[9]]));
    let value_len = usize::try_from(value_len).map_err(|_| "a value beyond memory")?;
    let len = HEAD_BYTES + key_len + value_len;
    let record = bytes.get(..len).ok_or("a cut record")?;
    let bucket = |number| Bucket::from_number(number).ok_or("a record of an unknown bucket");
    let kind = match head[10] {
        0 => Kind::Revision,
        kind @ SET..DELETE => Kind::Set(bucket(kind - SET)?),
        kind @ DELETE.. => Kind::Delete(bucket(kind - DELETE)?),
        _ => return Err("a record of an unknown kind"),
    };
    if head[11] != 0 {
        return Err("a record with an unknown flag");
    }
    let (key, value) = record[HEAD_BYTES..].split_at(key_len);
    Ok(RecordRef { kind, key, value, crc, len })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_any_flipped_bit_shows() {
        let kinds = [Kind::Revision, Kind::Set(Bucket::Meta), Kind::Delete(Bucket::Lease)];
        for kind in kinds {
            let mut bytes = vec![9; 3];
            let crc = encode(&mut bytes, kind, b"key", b"value");
            bytes.extend_from_slice(b"behind");
            let bytes = &bytes[3..];
            let record = decode(bytes).unwrap();
            let expected = RecordRef { kind, key: b"key", value: b"value", crc, len: 20 };
            assert_eq!(record, expected);
            for bit in 0..record.len * 8 {
                let mut flipped = bytes.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(decode(&flipped).is_err(), "bit {bit}");
            }
            assert!((0..record.len).all(|len| decode(&bytes[..len]).is_err()));
        }
    }
}
