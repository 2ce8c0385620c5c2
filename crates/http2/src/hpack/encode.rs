//! Encoding of header blocks: literals that enter no table, and whole fields of the static one.

use super::{integer, table};

/// Appends a field.
pub(crate) fn field(block: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let (named, whole) = table::find_static(name, value);
    if let Some(index) = whole {
        integer::encode(0x80, 7, index, block);
        return;
    }
    integer::encode(0, 4, named.unwrap_or(0), block);
    if named.is_none() {
        text(block, name);
    }
    text(block, value);
}

fn text(block: &mut Vec<u8>, text: &[u8]) {
    integer::encode(0, 7, text.len(), block);
    block.extend_from_slice(text);
}

/// Tells a peer which wants a smaller table that we use none (RFC 7541, section 4.2).
pub(crate) const TABLE_UNUSED: u8 = 0x20;

/// `:status: 200` and `content-type: application/grpc`.
pub(crate) const GRPC_HEAD: &[u8] = b"\x88\x0f\x10\x10application/grpc";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_are_what_the_encoder_makes() {
        let mut block = Vec::new();
        field(&mut block, b":status", b"200");
        field(&mut block, b"content-type", b"application/grpc");
        assert_eq!(block, GRPC_HEAD);
        block.clear();
        field(&mut block, b"grpc-status", b"0");
        assert_eq!(block, crate::status::OK_BLOCK);
    }
}
