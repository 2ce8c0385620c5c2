//! Pages: header, elements, keys and values.
//!
//! ```text
//! page    id u64 | flags u16 | count u16 | overflow u32 | elements | keys and values | zeros
//! leaf    flags u32 | pos u32 | ksize u32 | vsize u32
//! branch  pos u32 | ksize u32 | child u64
//! bucket  root u64 | sequence u64 | if root is 0, a leaf page without zeros
//! ```
//! Little endian. `pos` counts from the element it stands in to its key; the value follows the
//! key. A page with `overflow` n takes n + 1 page slots.
//!
//! Invariants of a [`Page`] that was parsed, so that its accessors cannot fail: keys and values
//! lie within it, behind the elements, in their order and without overlap; keys are neither empty
//! nor too long and ascend; flags are 0 or 1. Without overlap nobody can make a small file give
//! much data.

use crate::{Error, Result};

/// Longest key, in bytes: bbolt's `MaxKeySize`.
pub const KEY_BYTES_MAX: usize = 32768;
/// Longest value, in bytes: bbolt's `MaxValueSize`.
pub const VALUE_BYTES_MAX: usize = (1 << 31) - 2;

/// Elements a page may have. bbolt 1.3 gives a count of 0xFFFF another meaning.
pub(crate) const COUNT_MAX: usize = 0xFFFE;

/// The first page that is not a meta page.
pub(crate) const FIRST_ID: u64 = 2;

// The header, each offset from the one before.
const ID: usize = 0;
const FLAGS: usize = ID + 8;
const COUNT: usize = FLAGS + 2;
const OVERFLOW: usize = COUNT + 2;
/// Bytes of a page's header.
pub(crate) const HEADER_BYTES: usize = OVERFLOW + 4;

// A leaf's element.
const LEAF_FLAGS: usize = 0;
const LEAF_POS: usize = LEAF_FLAGS + 4;
const LEAF_KSIZE: usize = LEAF_POS + 4;
const LEAF_VSIZE: usize = LEAF_KSIZE + 4;

// A branch's element.
const BRANCH_POS: usize = 0;
const BRANCH_KSIZE: usize = BRANCH_POS + 4;
const BRANCH_CHILD: usize = BRANCH_KSIZE + 4;

/// Bytes of an element, of a leaf's as of a branch's.
pub(crate) const ELEMENT_BYTES: usize = 16;
const _: () = assert!(LEAF_VSIZE + 4 == ELEMENT_BYTES && BRANCH_CHILD + 8 == ELEMENT_BYTES);

// A bucket's value.
const BUCKET_ROOT: usize = 0;
const BUCKET_SEQUENCE: usize = BUCKET_ROOT + 8;
/// Bytes of a bucket's value before its inline page.
pub(crate) const BUCKET_BYTES: usize = BUCKET_SEQUENCE + 8;

/// What a page holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Branch,
    Leaf,
}

impl Kind {
    const fn flag(self) -> u16 {
        match self {
            Self::Branch => 0x01,
            Self::Leaf => 0x02,
        }
    }
}

/// The flag of a meta page.
pub(crate) const META_FLAG: u16 = 0x04;

/// The first 16 bytes of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) id: u64,
    pub(crate) flags: u16,
    pub(crate) count: u16,
    /// Page slots behind the first that belong to the page.
    pub(crate) overflow: u32,
}

impl Header {
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Self {
        Self {
            id: u64_at(bytes, ID),
            flags: u16::from_le_bytes(array(bytes, FLAGS)),
            count: u16::from_le_bytes(array(bytes, COUNT)),
            overflow: u32_at(bytes, OVERFLOW),
        }
    }

    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        put(&mut bytes, ID, &self.id.to_le_bytes());
        put(&mut bytes, FLAGS, &self.flags.to_le_bytes());
        put(&mut bytes, COUNT, &self.count.to_le_bytes());
        put(&mut bytes, OVERFLOW, &self.overflow.to_le_bytes());
        bytes
    }
}

/// Whether an element of a leaf is a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Plain,
    Bucket,
}

/// The element of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeafElement {
    pub(crate) flags: u32,
    pub(crate) pos: u32,
    pub(crate) ksize: u32,
    pub(crate) vsize: u32,
}

impl LeafElement {
    pub(crate) const BUCKET: u32 = 1;

    fn decode(bytes: &[u8]) -> Self {
        Self {
            flags: u32_at(bytes, LEAF_FLAGS),
            pos: u32_at(bytes, LEAF_POS),
            ksize: u32_at(bytes, LEAF_KSIZE),
            vsize: u32_at(bytes, LEAF_VSIZE),
        }
    }

    pub(crate) fn encode(&self) -> [u8; ELEMENT_BYTES] {
        let mut bytes = [0; ELEMENT_BYTES];
        put(&mut bytes, LEAF_FLAGS, &self.flags.to_le_bytes());
        put(&mut bytes, LEAF_POS, &self.pos.to_le_bytes());
        put(&mut bytes, LEAF_KSIZE, &self.ksize.to_le_bytes());
        put(&mut bytes, LEAF_VSIZE, &self.vsize.to_le_bytes());
        bytes
    }
}

/// The element of a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BranchElement {
    pub(crate) pos: u32,
    pub(crate) ksize: u32,
    pub(crate) child: u64,
}

impl BranchElement {
    fn decode(bytes: &[u8]) -> Self {
        Self {
            pos: u32_at(bytes, BRANCH_POS),
            ksize: u32_at(bytes, BRANCH_KSIZE),
            child: u64_at(bytes, BRANCH_CHILD),
        }
    }

    pub(crate) fn encode(&self) -> [u8; ELEMENT_BYTES] {
        let mut bytes = [0; ELEMENT_BYTES];
        put(&mut bytes, BRANCH_POS, &self.pos.to_le_bytes());
        put(&mut bytes, BRANCH_KSIZE, &self.ksize.to_le_bytes());
        put(&mut bytes, BRANCH_CHILD, &self.child.to_le_bytes());
        bytes
    }
}

/// What stands before the inline page in a bucket's value, or alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BucketHeader {
    /// 0 if the bucket's one leaf follows inline.
    pub(crate) root: u64,
    pub(crate) sequence: u64,
}

impl BucketHeader {
    pub(crate) fn decode(bytes: &[u8; BUCKET_BYTES]) -> Self {
        Self { root: u64_at(bytes, BUCKET_ROOT), sequence: u64_at(bytes, BUCKET_SEQUENCE) }
    }

    pub(crate) fn encode(&self) -> [u8; BUCKET_BYTES] {
        let mut bytes = [0; BUCKET_BYTES];
        put(&mut bytes, BUCKET_ROOT, &self.root.to_le_bytes());
        put(&mut bytes, BUCKET_SEQUENCE, &self.sequence.to_le_bytes());
        bytes
    }
}

/// The header of a branch or leaf with `count` elements, `overflow` slots behind its first.
pub(crate) fn header(id: u64, kind: Kind, count: usize, overflow: u32) -> Header {
    let count = u16::try_from(count).expect("a node holds at most COUNT_MAX elements");
    Header { id, flags: kind.flag(), count, overflow }
}

/// A branch or leaf that was read and found sound.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    /// The page it is or, if it is inline, stands in, and where it begins.
    place: Place,
    kind: Kind,
    count: usize,
    bytes: Vec<u8>,
}

impl Page {
    /// The page `id` at `place`, whose bytes, overflow included, are `bytes`. The id of an inline
    /// page is 0.
    pub(crate) fn parse(place: Place, id: u64, bytes: Vec<u8>) -> Result<Self> {
        let Some(header) = bytes.first_chunk() else {
            return Err(place.corrupt("a page header", format!("{} bytes", bytes.len())));
        };
        let header = Header::decode(header);
        if header.id != id {
            return Err(place.corrupt(&format!("id {id}"), format!("id {}", header.id)));
        }
        let kind = match header.flags {
            0x01 => Kind::Branch,
            0x02 => Kind::Leaf,
            flags => return Err(place.corrupt("a branch or a leaf", format!("flags {flags:#06x}"))),
        };
        let count = usize::from(header.count);
        if count == 0 && kind == Kind::Branch {
            return Err(place.corrupt("a branch with children", "none".to_owned()));
        }
        let page = Self { place, kind, count, bytes };
        page.check_elements()?;
        Ok(page)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Where its element `i` begins, in bytes of the file.
    pub(crate) fn element_offset(&self, i: usize) -> u64 {
        self.place.offset + element_at(i) as u64
    }

    pub(crate) fn place(&self, i: usize) -> Place {
        Place { offset: self.element_offset(i), ..self.place }
    }

    pub(crate) fn key(&self, i: usize) -> &[u8] {
        let (_, pos, ksize, _) = self.element(i);
        let start = element_at(i) + pos;
        &self.bytes[start..start + ksize]
    }

    pub(crate) fn value(&self, i: usize) -> (Value, &[u8]) {
        let (flags, pos, ksize, vsize) = self.element(i);
        let start = element_at(i) + pos + ksize;
        let kind = if flags == 0 { Value::Plain } else { Value::Bucket };
        (kind, &self.bytes[start..start + vsize])
    }

    /// Where the value of element `i` begins, in bytes of the file.
    pub(crate) fn value_offset(&self, i: usize) -> u64 {
        let (_, pos, ksize, _) = self.element(i);
        self.element_offset(i) + (pos + ksize) as u64
    }

    pub(crate) fn child(&self, i: usize) -> u64 {
        BranchElement::decode(&self.bytes[element_at(i)..]).child
    }

    /// Flags, position, key size and value size of an element of either kind.
    fn element(&self, i: usize) -> (u32, usize, usize, usize) {
        let bytes = &self.bytes[element_at(i)..];
        match self.kind {
            Kind::Branch => {
                let element = BranchElement::decode(bytes);
                (0, element.pos as usize, element.ksize as usize, 0)
            }
            Kind::Leaf => {
                let element = LeafElement::decode(bytes);
                let sizes = (element.pos as usize, element.ksize as usize, element.vsize as usize);
                (element.flags, sizes.0, sizes.1, sizes.2)
            }
        }
    }

    fn check_elements(&self) -> Result<()> {
        let mut end = element_at(self.count);
        if end > self.bytes.len() {
            let found = format!("{} elements in {} bytes", self.count, self.bytes.len());
            return Err(self.place.corrupt("elements within the page", found));
        }
        for i in 0..self.count {
            let at = self.place(i);
            let (flags, pos, ksize, vsize) = self.element(i);
            if flags > LeafElement::BUCKET {
                return Err(at.corrupt("element flags 0 or 1", format!("{flags:#x}")));
            }
            if !(1..=KEY_BYTES_MAX).contains(&ksize) {
                return Err(at.corrupt("a key of 1 to 32768 bytes", format!("{ksize}")));
            }
            // Four numbers below 2^32 each: no overflow in 64 bits.
            let start = element_at(i) + pos;
            if start < end || start + ksize + vsize > self.bytes.len() {
                let expected = format!("a key and value in bytes {end} to {}", self.bytes.len());
                return Err(at.corrupt(&expected, format!("{start} to {}", start + ksize + vsize)));
            }
            end = start + ksize + vsize;
            if i > 0 && self.key(i - 1) >= self.key(i) {
                return Err(at.corrupt("keys that ascend", shown(self.key(i))));
            }
        }
        Ok(())
    }
}

/// Where something was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) page: u64,
    pub(crate) offset: u64,
}

impl Place {
    pub(crate) fn corrupt(self, expected: &str, found: String) -> Error {
        Error::Corrupt {
            page: self.page,
            offset: self.offset,
            expected: expected.to_owned(),
            found,
        }
    }
}

/// The beginning of a key, for an error.
pub(crate) fn shown(key: &[u8]) -> String {
    key[..key.len().min(64)].escape_ascii().to_string()
}

/// Where element `i` begins in its page.
pub(crate) const fn element_at(i: usize) -> usize {
    HEADER_BYTES + i * ELEMENT_BYTES
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

/// The `N` bytes at `at`, which the caller knows to be there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("callers pass bytes that hold the structure")
}

pub(crate) fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_come_back() {
        let page = Header { id: 0x0102_0304_0506_0708, flags: 0x02, count: 9, overflow: 77 };
        assert_eq!(page.encode(), *b"\x08\x07\x06\x05\x04\x03\x02\x01\x02\0\x09\0\x4d\0\0\0");
        assert_eq!(Header::decode(&page.encode()), page);
        let leaf = LeafElement { flags: 1, pos: 2, ksize: 3, vsize: 0x0403_0201 };
        assert_eq!(leaf.encode(), *b"\x01\0\0\0\x02\0\0\0\x03\0\0\0\x01\x02\x03\x04");
        assert_eq!(LeafElement::decode(&leaf.encode()), leaf);
        let branch = BranchElement { pos: 5, ksize: 6, child: 7 };
        assert_eq!(branch.encode(), *b"\x05\0\0\0\x06\0\0\0\x07\0\0\0\0\0\0\0");
        assert_eq!(BranchElement::decode(&branch.encode()), branch);
        let bucket = BucketHeader { root: 3, sequence: 4 };
        assert_eq!(BucketHeader::decode(&bucket.encode()), bucket);
    }

    const AT: Place = Place { page: 5, offset: 5 * 4096 };

    /// A leaf at page 5 with the elements and data given.
    fn leaf(elements: &[(u32, u32, u32, u32)], data: &[u8]) -> Vec<u8> {
        let mut bytes = header(5, Kind::Leaf, elements.len(), 0).encode().to_vec();
        for &(flags, pos, ksize, vsize) in elements {
            bytes.extend(LeafElement { flags, pos, ksize, vsize }.encode());
        }
        bytes.extend(data);
        bytes
    }

    #[test]
    fn a_sound_leaf_gives_its_items() {
        let page = Page::parse(AT, 5, leaf(&[(0, 32, 1, 2), (1, 19, 2, 0)], b"a12bc"));
        let page = page.unwrap();
        assert_eq!((page.key(0), page.value(0)), (&b"a"[..], (Value::Plain, &b"12"[..])));
        assert_eq!((page.key(1), page.value(1)), (&b"bc"[..], (Value::Bucket, &b""[..])));
        assert_eq!(page.value_offset(0), 5 * 4096 + 16 + 32 + 1);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let check = |bytes: Vec<u8>, wanted: &str| {
            let told = Page::parse(AT, 5, bytes).unwrap_err().to_string();
            assert!(told.contains(wanted), "{told}");
        };
        check(vec![0; 15], "expected a page header, found 15 bytes");
        check(leaf(&[(0, 16, 1, 0)], b""), "expected a key and value in bytes 32 to 32");
        check(leaf(&[(0, 15, 1, 0)], b"a"), "found 31 to 32");
        check(leaf(&[(0, 16, 0, 1)], b"a"), "expected a key of 1 to 32768 bytes, found 0");
        check(leaf(&[(0, 16, 1, u32::MAX)], b"a"), "in bytes 32 to 33");
        check(leaf(&[(0, 32, 1, 0), (0, 17, 1, 0)], b"ba"), "expected keys that ascend, found a");
        check(leaf(&[(0, 32, 1, 1), (0, 17, 1, 0)], b"ab"), "in bytes 50 to 50, found 49 to 50");
        check(leaf(&[(2, 16, 1, 0)], b"a"), "element flags 0 or 1, found 0x2");
        let mut other = leaf(&[], b"");
        other[ID] = 6;
        check(other, "expected id 5, found id 6");
        let mut other = leaf(&[], b"");
        other[FLAGS] = 0x12;
        check(other, "expected a branch or a leaf, found flags 0x0012");
        let mut other = leaf(&[], b"");
        other[COUNT] = 1;
        check(other, "found 1 elements in 16 bytes");
        other = leaf(&[], b"");
        other[FLAGS] = 0x01;
        check(other, "a branch with children");
    }
}
