//! Header compression, RFC 7541.
//!
//! The decoder has all of it. The encoder uses no dynamic table: answers of gRPC have three short
//! fields, and a table would be state to keep for few bytes.

pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod fields;
mod huffman;
mod integer;
pub(crate) mod name;
mod table;

pub(crate) use table::TABLE_BYTES_MAX;

#[cfg(test)]
mod tests;

/// The block cannot be decoded: the tables of both ends differ from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Undecodable;

/// What RFC 7541 adds to the length of name and value of each field.
pub(crate) const FIELD_OVERHEAD: usize = 32;
