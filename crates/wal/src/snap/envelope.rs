//! The bytes of a `.snap` file.
//!
//! ```text
//! 08 <crc varint>  12 <length varint> <data>
//! ```
//! `data` is a serialised raft snapshot and `crc` the CRC-32C of it alone. Like the log, it is
//! read strictly: both fields, in order, once, nothing else. Compat: a crc of 0 and empty data
//! are refused as etcd does (`snapshotter.go: Read`), though one snapshot in 2^32 has that crc.

use super::{Error, Result};
use crate::wire::{self, Fields, Value};
use bytes::Bytes;
use prost::Message;
use std::path::Path;

/// The content of a `.snap` file.
#[must_use]
pub fn encode(snapshot: &raftpb::Snapshot) -> Vec<u8> {
    let data = snapshot.encode_to_vec();
    let mut file = Vec::with_capacity(data.len() + 16);
    file.push(0x08);
    wire::push_varint(&mut file, u64::from(crc32c::crc32c(&data)));
    file.push(0x12);
    wire::push_varint(&mut file, data.len() as u64);
    file.extend_from_slice(&data);
    file
}

/// The snapshot in the content of the file `path`.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn decode(path: &Path, file: &[u8]) -> Result<raftpb::Snapshot> {
    let corrupt = |offset: usize, expected: &str, found: String| Error::Corrupt {
        path: path.to_owned(),
        offset: offset as u64,
        expected: expected.to_owned(),
        found,
    };
    let malformed = |what: &str| corrupt(0, "a snapshot envelope", what.to_owned());
    let mut fields = Fields::new(file);
    let mut crc = 0;
    let mut data = 0..0;
    while let Some((number, value)) = fields.next_field().map_err(malformed)? {
        match (number, value) {
            (1, Value::Varint(value)) => crc = value,
            (2, Value::Bytes(range)) => data = range,
            (number, _) => return Err(malformed(&format!("field {number}"))),
        }
    }
    if crc == 0 || data.is_empty() {
        return Err(malformed("no crc or no data"));
    }
    let computed = crc32c::crc32c(&file[data.clone()]);
    if u64::from(computed) != crc {
        let expected = format!("crc {computed:08x}");
        return Err(corrupt(data.start, &expected, format!("crc {crc:08x}")));
    }
    raftpb::Snapshot::decode(Bytes::copy_from_slice(&file[data.clone()]))
        .map_err(|e| corrupt(data.start, "a raft snapshot", e.to_string()))
}
