//! Header blocks (RFC 7541), as far as a gRPC client needs them.
//!
//! [`Encoder`] writes the seven headers of a request. Like every real client it has them indexed
//! after the first request, so that a block is seven bytes. [`Decoder`] keeps the peer's table
//! and tells the three values that matter. What it is not: a codec for headers in general.

use super::huffman;
use std::collections::VecDeque;

/// What a response's or a trailer's block said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// `:status`.
    pub(crate) http: Option<u32>,
    /// `grpc-status`.
    pub(crate) grpc: Option<u32>,
    /// `grpc-message`, still percent-encoded.
    pub(crate) message: String,
}

/// Writes request headers for one connection.
#[derive(Debug)]
pub(crate) struct Encoder {
    authority: String,
    /// What the peer's table holds, oldest first: headers by number, see [`Encoder::block`].
    indexed: Vec<usize>,
    /// Whether the peer keeps a table that is large enough.
    indexes: bool,
    /// A change of the table's size, to be told with the next block.
    resized: bool,
}

impl Encoder {
    pub(crate) fn new(authority: String) -> Self {
        Self { authority, indexed: Vec::new(), indexes: true, resized: false }
    }

    /// The peer's table has so many bytes. Below the usual size nothing is indexed any more.
    pub(crate) fn limit(&mut self, bytes: u32) {
        if bytes < TABLE_BYTES && self.indexes {
            self.indexes = false;
            self.resized = true;
            self.indexed.clear();
        }
    }

    /// Appends the block of a request for `path`; `number` tells paths apart, from 0.
    pub(crate) fn block(&mut self, number: usize, path: &str, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.resized) {
            out.push(0x20);
        }
        // `:method: POST` and `:scheme: http`, of the static table.
        out.extend([0x83, 0x86]);
        self.header(FIXED.len() + 1 + number, STATIC_PATH, "", path, out);
        let authority = std::mem::take(&mut self.authority);
        self.header(FIXED.len(), STATIC_AUTHORITY, "", &authority, out);
        self.authority = authority;
        for (number, (index, name, value)) in FIXED.iter().enumerate() {
            self.header(number, *index, name, value, out);
        }
    }

    fn header(&mut self, header: usize, index: u8, name: &str, value: &str, out: &mut Vec<u8>) {
        if let Some(age) = self.indexed.iter().rev().position(|indexed| *indexed == header) {
            out.push(0x80 | small(STATIC_ENTRIES + 1 + age));
            return;
        }
        // 6 bits of index where it is kept, 4 where not.
        if self.indexes {
            out.push(0x40 | index);
            self.indexed.push(header);
        } else if index < 15 {
            out.push(index);
        } else {
            out.extend([15, index - 15]);
        }
        if index == 0 {
            string(name, out);
        }
        string(value, out);
    }
}

/// Headers with one value: index of the name in the static table, name if it is not there, value.
const FIXED: [(u8, &str, &str); 3] = [
    (31, "", "application/grpc"),
    (58, "", concat!("quorate-benchmark/", env!("CARGO_PKG_VERSION"))),
    (0, "te", "trailers"),
];

const STATIC_PATH: u8 = 4;
const STATIC_AUTHORITY: u8 = 1;

/// A string of up to 126 bytes as it is; ours are all shorter.
fn string(text: &str, out: &mut Vec<u8>) {
    out.push(small(text.len()));
    out.extend_from_slice(text.as_bytes());
}

fn small(number: usize) -> u8 {
    u8::try_from(number).ok().filter(|number| *number < 0x7f).expect("headers of ours are short")
}

/// Reads header blocks of one connection.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// The newest first.
    table: VecDeque<Field>,
    bytes: usize,
    limit: Option<usize>,
}

/// Why a block cannot be read. The connection is lost with it, as its table is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

#[derive(Clone, Debug)]
struct Field {
    name: Name,
    name_bytes: usize,
    value_bytes: usize,
    /// Of the names that matter.
    value: Box<[u8]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Status,
    GrpcStatus,
    GrpcMessage,
    Other,
}

impl Decoder {
    /// Reads one whole block.
    pub(crate) fn block(&mut self, block: &[u8]) -> Result<Head, Malformed> {
        let mut head = Head::default();
        let mut rest = block;
        while let Some(&first) = rest.first() {
            if first & 0x80 != 0 {
                let index = integer(&mut rest, 7)?;
                self.indexed(index, &mut head)?;
            } else if first & 0xc0 == 0x40 {
                let field = self.literal(&mut rest, 6)?;
                head.take(field.name, &field.value);
                self.insert(field);
            } else if first & 0xe0 == 0x20 {
                self.limit = Some(integer(&mut rest, 5)?);
                self.evict(0);
            } else {
                let field = self.literal(&mut rest, 4)?;
                head.take(field.name, &field.value);
            }
        }
        Ok(head)
    }

    fn indexed(&self, index: usize, head: &mut Head) -> Result<(), Malformed> {
        match index {
            0 => return Err(Malformed("a header without an index")),
            8..=14 => head.http = Some(STATIC_STATUS[index - 8]),
            1..=STATIC_ENTRIES => {}
            _ => {
                let field = self.entry(index)?;
                head.take(field.name, &field.value);
            }
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<&Field, Malformed> {
        let age = index - STATIC_ENTRIES - 1;
        self.table.get(age).ok_or(Malformed("an index beyond the table"))
    }

    fn literal(&self, rest: &mut &[u8], bits: u32) -> Result<Field, Malformed> {
        let index = integer(rest, bits)?;
        let (name, name_bytes) = match index {
            0 => {
                let text = text(rest)?;
                let name = match &*text {
                    b":status" => Name::Status,
                    b"grpc-status" => Name::GrpcStatus,
                    b"grpc-message" => Name::GrpcMessage,
                    _ => Name::Other,
                };
                (name, text.len())
            }
            8..=14 => (Name::Status, STATIC_NAME_BYTES[index - 1].into()),
            1..=STATIC_ENTRIES => (Name::Other, STATIC_NAME_BYTES[index - 1].into()),
            _ => self.entry(index).map(|field| (field.name, field.name_bytes))?,
        };
        let value = text(rest)?;
        let value_bytes = value.len();
        let value = if name == Name::Other { Box::default() } else { value.into() };
        Ok(Field { name, name_bytes, value_bytes, value })
    }

    fn insert(&mut self, field: Field) {
        self.evict(field.size());
        if field.size() <= self.limit() {
            self.bytes += field.size();
            self.table.push_front(field);
        }
    }

    /// Makes room for so many bytes.
    fn evict(&mut self, wanted: usize) {
        while self.bytes + wanted > self.limit() {
            let Some(oldest) = self.table.pop_back() else { return };
            self.bytes -= oldest.size();
        }
    }

    fn limit(&self) -> usize {
        self.limit.unwrap_or(TABLE_BYTES as usize)
    }
}

impl Field {
    /// As the RFC counts.
    fn size(&self) -> usize {
        self.name_bytes + self.value_bytes + 32
    }
}

impl Head {
    fn take(&mut self, name: Name, value: &[u8]) {
        let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        match name {
            Name::Status => self.http = number(),
            Name::GrpcStatus => self.grpc = number(),
            Name::GrpcMessage => self.message = String::from_utf8_lossy(value).into_owned(),
            Name::Other => {}
        }
    }
}

/// An integer behind a prefix of so many bits.
fn integer(rest: &mut &[u8], bits: u32) -> Result<usize, Malformed> {
    let all = (1_usize << bits) - 1;
    let (first, mut after) = rest.split_first().ok_or(Malformed("a block that ends early"))?;
    let mut value = usize::from(*first) & all;
    if value == all {
        for shift in (0..).step_by(7) {
            let (byte, next) = after.split_first().ok_or(Malformed("a block that ends early"))?;
            if shift > 28 {
                return Err(Malformed("an integer that is too large"));
            }
            after = next;
            value += usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
    }
    *rest = after;
    Ok(value)
}

fn text(rest: &mut &[u8]) -> Result<Vec<u8>, Malformed> {
    let packed = rest.first().is_some_and(|first| first & 0x80 != 0);
    let length = integer(rest, 7)?;
    let (text, after) =
        rest.split_at_checked(length).ok_or(Malformed("a string that ends early"))?;
    *rest = after;
    if packed {
        return huffman::decode(text).ok_or(Malformed("a string in no such code"));
    }
    Ok(text.to_vec())
}

/// Both tables' size unless something else is said.
const TABLE_BYTES: u32 = 4096;

/// RFC 7541, appendix A.
const STATIC_ENTRIES: usize = 61;
/// Values of entries 8 to 14.
const STATIC_STATUS: [u32; 7] = [200, 204, 206, 304, 400, 404, 500];
/// How long each name is, from entry 1.
const STATIC_NAME_BYTES: [u8; STATIC_ENTRIES] = [
    10, 7, 7, 5, 5, 7, 7, 7, 7, 7, 7, 7, 7, 7, 14, 15, 15, 13, 6, 27, 3, 5, 13, 13, 19, 16, 16, 14,
    16, 13, 12, 6, 4, 4, 6, 7, 4, 4, 8, 17, 13, 8, 19, 13, 4, 8, 12, 18, 19, 5, 7, 7, 11, 6, 10,
    25, 17, 10, 4, 3, 16,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b' ').collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
        digits.chunks(2).map(|two| pair(two).unwrap()).collect()
    }

    /// RFC 7541, C.6: three responses in Huffman's code, with evictions from 256 bytes.
    #[test]
    fn the_rfc_s_responses_are_read() {
        let mut decoder = Decoder { limit: Some(256), ..Decoder::default() };
        let first = "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0
                     82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3"
            .replace(['\n'], "");
        assert_eq!(decoder.block(&bytes(&first)).unwrap().http, Some(302));
        assert_eq!((decoder.table.len(), decoder.bytes), (4, 222));
        let second = bytes("4883 640e ffc1 c0bf");
        assert_eq!(decoder.block(&second).unwrap().http, Some(307));
        assert_eq!((decoder.table.len(), decoder.bytes), (4, 222));
        let third = "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b
                     d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27
                     0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07"
            .replace(['\n'], "");
        assert_eq!(decoder.block(&bytes(&third)).unwrap().http, Some(200));
        assert_eq!((decoder.table.len(), decoder.bytes), (3, 215));
    }

    #[test]
    fn trailers_are_read_literal_and_indexed() {
        let mut decoder = Decoder::default();
        let mut block = vec![0x40, 11];
        block.extend(b"grpc-status\x01");
        block.extend(b"0");
        block.extend([0x40, 12]);
        block.extend(b"grpc-message\x04a%20");
        let head = Head { http: None, grpc: Some(0), message: "a%20".into() };
        assert_eq!(decoder.block(&block), Ok(head.clone()));
        assert_eq!(decoder.block(&[0xbf, 0xbe]), Ok(head));
        assert!(decoder.block(&[0xc0]).is_err());
        assert!(decoder.block(&[0x80]).is_err());
        assert!(decoder.block(&[0x40, 5, b'a']).is_err());
    }

    /// What is written is read by the other half, and seven bytes long the second time.
    #[test]
    fn requests_are_indexed() {
        let mut encoder = Encoder::new("127.0.0.1:2379".into());
        let mut decoder = Decoder::default();
        for _ in 0..2 {
            for (number, path) in ["/a/Put", "/a/Range"].into_iter().enumerate() {
                let mut block = Vec::new();
                encoder.block(number, path, &mut block);
                decoder.block(&block).unwrap();
            }
        }
        assert_eq!(decoder.table.len(), 6);
        let mut block = Vec::new();
        encoder.block(0, "/a/Put", &mut block);
        assert_eq!(block.len(), 7);
        encoder.limit(0);
        let mut block = Vec::new();
        encoder.block(0, "/a/Put", &mut block);
        decoder.block(&block).unwrap();
        assert_eq!((block[0], decoder.table.len()), (0x20, 0));
    }
}
