//! Fields of encoded messages, without decoding the messages.
//!
//! Answers are looked at for one or two numbers, thousands of times a second on the servers' cores:
//! a walk over the tags costs a tenth of decoding. What it is not: a check of what it walks over.

/// Walks over the fields of a message. Ends early where the bytes make no sense.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a>(&'a [u8]);

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of fixed size, of which etcd's API has none.
    Other,
}

impl<'a> Fields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let tag = varint(&mut self.0)?;
        let value = match tag & 7 {
            0 => Value::Number(varint(&mut self.0)?),
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).ok()?;
                Value::Bytes(take(&mut self.0, length)?)
            }
            1 => take(&mut self.0, 8).map(|_| Value::Other)?,
            5 => take(&mut self.0, 4).map(|_| Value::Other)?,
            _ => return None,
        };
        Some((tag >> 3, value))
    }
}

/// The first number in field `field`; 0 where there is none, as in any message.
pub(crate) fn number(message: &[u8], field: u64) -> i64 {
    let found = Fields::of(message).find_map(|(number, value)| match value {
        Value::Number(value) if number == field => Some(value),
        _ => None,
    });
    found.unwrap_or(0).cast_signed()
}

/// The first bytes in field `field`.
pub(crate) fn bytes(message: &[u8], field: u64) -> Option<&[u8]> {
    all_bytes(message, field).next()
}

/// The bytes of each occurrence of field `field`.
pub(crate) fn all_bytes(message: &[u8], field: u64) -> impl Iterator<Item = &[u8]> {
    Fields::of(message).filter_map(move |(number, value)| match value {
        Value::Bytes(bytes) if number == field => Some(bytes),
        _ => None,
    })
}

/// The revision in the header of any response of the API.
pub(crate) fn revision(response: &[u8]) -> i64 {
    bytes(response, HEADER).map_or(0, |header| number(header, HEADER_REVISION))
}

const HEADER: u64 = 1;
const HEADER_REVISION: u64 = 3;

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::etcdserverpb::{RangeResponse, ResponseHeader};
    use api::mvccpb::KeyValue;
    use prost::Message as _;

    #[test]
    fn numbers_and_bytes_are_found() {
        let header = ResponseHeader { revision: 300, member_id: u64::MAX, ..Default::default() };
        let kv = |key: &'static [u8]| KeyValue { key: key.into(), ..Default::default() };
        let response = RangeResponse {
            header: Some(header),
            kvs: vec![kv(b"a"), kv(b"b")],
            count: -1,
            more: true,
        };
        let message = response.encode_to_vec();
        assert_eq!(revision(&message), 300);
        assert_eq!((number(&message, 3), number(&message, 4), number(&message, 9)), (1, -1, 0));
        let keys: Vec<_> = all_bytes(&message, 2).filter_map(|kv| bytes(kv, 1)).collect();
        assert_eq!(keys, [b"a", b"b"]);
        // Cut short, it ends and does not panic.
        for end in 0..message.len() {
            assert!(Fields::of(&message[..end]).count() <= 5);
        }
    }
}
