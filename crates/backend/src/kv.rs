//! A stored `mvccpb.KeyValue`: its fields read without a copy, and its bytes made in one
//! allocation.
//!
//! Stored values are canonical (fields ascending, zeros left out), but any order and unknown
//! fields are accepted, as a value may come from another member's file.

/// The fields of a key-value, borrowed from wherever it is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyValue<'a> {
    /// The user's key.
    pub key: &'a [u8],
    /// The revision that created the key.
    pub create_revision: i64,
    /// The revision of this record; 0 in a deletion's.
    pub mod_revision: i64,
    /// How often the key was put since it was created.
    pub version: i64,
    /// The user's value.
    pub value: &'a [u8],
    /// The lease the key is attached to; 0 for none.
    pub lease: i64,
}

impl<'a> KeyValue<'a> {
    /// Reads a value; `None` if it is no key-value.
    #[must_use]
    #[inline]
    pub fn parse(mut bytes: &'a [u8]) -> Option<Self> {
        let mut head = Self::default();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes)?;
            let (field, wire) = (tag >> 3, tag & 7);
            match wire {
                0 => {
                    let number = varint(&mut bytes)?.cast_signed();
                    match field {
                        2 => head.create_revision = number,
                        3 => head.mod_revision = number,
                        4 => head.version = number,
                        6 => head.lease = number,
                        _ => {}
                    }
                }
                2 => {
                    let len = usize::try_from(varint(&mut bytes)?).ok()?;
                    let data = bytes.get(..len)?;
                    bytes = &bytes[len..];
                    match field {
                        1 => head.key = data,
                        5 => head.value = data,
                        _ => {}
                    }
                }
                1 => bytes = bytes.get(8..)?,
                5 => bytes = bytes.get(4..)?,
                _ => return None,
            }
        }
        Some(head)
    }

    /// The canonical bytes: fields ascending, zeros left out.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let numbers =
            [(2 << 3, self.create_revision), (3 << 3, self.mod_revision), (4 << 3, self.version)];
        let number_len =
            |number: i64| if number == 0 { 0 } else { 1 + varint_len(number.cast_unsigned()) };
        let data_len = |data: &[u8]| {
            if data.is_empty() { 0 } else { 1 + varint_len(data.len() as u64) + data.len() }
        };
        let len = data_len(self.key)
            + numbers.iter().map(|(_, number)| number_len(*number)).sum::<usize>()
            + data_len(self.value)
            + number_len(self.lease);
        let mut out = Vec::with_capacity(len);
        push_data(&mut out, 1 << 3 | 2, self.key);
        for (tag, number) in numbers {
            push_number(&mut out, tag, number);
        }
        push_data(&mut out, 5 << 3 | 2, self.value);
        push_number(&mut out, 6 << 3, self.lease);
        out
    }
}

fn push_number(out: &mut Vec<u8>, tag: u8, number: i64) {
    if number != 0 {
        out.push(tag);
        push_varint(out, number.cast_unsigned());
    }
}

fn push_data(out: &mut Vec<u8>, tag: u8, data: &[u8]) {
    if !data.is_empty() {
        out.push(tag);
        push_varint(out, data.len() as u64);
        out.extend_from_slice(data);
    }
}

/// Bytes of a varint.
fn varint_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Takes a varint off the front.
#[inline]
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
    fn a_value_gives_its_fields_and_they_its_bytes() {
        // The record of foo=bar at revision 2, as etcd writes it.
        let bytes = b"\x0a\x03foo\x10\x02\x18\x02\x20\x01\x2a\x03bar";
        let whole = KeyValue {
            key: b"foo",
            create_revision: 2,
            mod_revision: 2,
            version: 1,
            value: b"bar",
            lease: 0,
        };
        assert_eq!(KeyValue::parse(bytes), Some(whole));
        assert_eq!(whole.encode(), bytes);
        let with_lease = b"\x0a\x01k\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(KeyValue::parse(with_lease).unwrap().lease, -1);
        for bad in
            [&b"\x0a\x09foo"[..], b"\x10", b"\x0b", b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"]
        {
            assert_eq!(KeyValue::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn values_take_exactly_what_they_need() {
        for number in [0, 1, 127, 128, 1 << 35, i64::MAX, -1] {
            for len in [0, 1, 127, 128, 70_000] {
                let value = vec![7; len];
                let whole = KeyValue {
                    key: b"k",
                    create_revision: number,
                    mod_revision: number,
                    version: number,
                    value: &value,
                    lease: number,
                };
                let bytes = whole.encode();
                assert_eq!(bytes.capacity(), bytes.len());
                assert_eq!(KeyValue::parse(&bytes), Some(whole));
            }
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
