//! The fields of a stored `mvccpb.KeyValue` that start-up needs, read without a copy.
//!
//! Stored values are canonical (fields ascending, zeros left out), but any order and unknown
//! fields are accepted, as a value may come from another member's file.

/// What an index needs of a key-value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head<'a> {
    pub key: &'a [u8],
    pub create_revision: i64,
    pub version: i64,
    pub lease: i64,
}

impl<'a> Head<'a> {
    /// Reads a value; `None` if it is no key-value.
    pub(crate) fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let mut head = Self::default();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes)?;
            let (field, wire) = (tag >> 3, tag & 7);
            match wire {
                0 => {
                    let number = varint(&mut bytes)?.cast_signed();
                    match field {
                        2 => head.create_revision = number,
                        4 => head.version = number,
                        6 => head.lease = number,
                        _ => {}
                    }
                }
                2 => {
                    let len = usize::try_from(varint(&mut bytes)?).ok()?;
                    let data = bytes.get(..len)?;
                    bytes = &bytes[len..];
                    if field == 1 {
                        head.key = data;
                    }
                }
                1 => bytes = bytes.get(8..)?,
                5 => bytes = bytes.get(4..)?,
                _ => return None,
            }
        }
        Some(head)
    }
}

/// Takes a varint off the front.
pub(crate) fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..10 {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Appends a varint.
pub(crate) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("less than 0x80"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_gives_its_head() {
        // The record of foo=bar at revision 2, as etcd writes it.
        let bytes = b"\x0a\x03foo\x10\x02\x18\x02\x20\x01\x2a\x03bar";
        let head = Head { key: b"foo", create_revision: 2, version: 1, lease: 0 };
        assert_eq!(Head::parse(bytes), Some(head));
        let with_lease = b"\x0a\x01k\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(Head::parse(with_lease).unwrap().lease, -1);
        for bad in
            [&b"\x0a\x09foo"[..], b"\x10", b"\x0b", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"]
        {
            assert_eq!(Head::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn varints_come_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            push_varint(&mut bytes, value);
            let mut rest = &*bytes;
            assert_eq!((varint(&mut rest), rest.len()), (Some(value), 0));
        }
    }
}
