//! The footer of a sealed segment: what an index needs of each revision in it, by user key.
//!
//! ```text
//! frames | "QFTR" | count u32 | entries len u64 | index u64 | term u64 | revision bytes u64
//!        | last main u64 | last sub u64 | entries crc u32 | head crc u32
//!        | entries ... | frames end u64 | head crc u32 | "QEND"
//! ```
//! An entry: bytes shared with the key before it, bytes of its own, these, main, sub, a byte of
//! flags (1 deletion, 2 with lease), for other than deletions main - create revision and
//! version, the lease if there is one, offset, bytes of the record. All numbers are varints.
//! Entries ascend by key, then revision, so that start-up merges segments instead of sorting.

use crate::frame::{Mark, usize_of};
use crate::kv::{KeyValue, push_varint, varint};
use crate::record::RecordRef;
use crate::{Error, Location, Result, Revision, RevisionKey};
use std::path::Path;
use vfs::File;

pub(crate) const MAGIC: &[u8; 4] = b"QFTR";
const END_MAGIC: &[u8; 4] = b"QEND";
const HEAD_BYTES: usize = 64;
/// A length and eight varints of ten bytes at most.
const TAIL_BYTES: usize = 1 + 8 * 10;
/// Entries fetched from memory together.
const GROUP: usize = 32;
/// Where in the head its own CRC stands, behind that of the entries.
const CRC_AT: usize = HEAD_BYTES - 4;
const END_BYTES: usize = 16;
const TOMBSTONE: u8 = 1;
const WITH_LEASE: u8 = 2;

/// The footer of a file, read and checked.
#[derive(Debug)]
pub(crate) struct Footer {
    pub mark: Mark,
    /// Where the frames end and the footer begins.
    pub frames_end: u64,
    /// Bytes of the records of revisions.
    pub revision_bytes: u64,
    /// The highest revision; zero if there is none.
    pub last_revision: Revision,
    pub entries: Entries,
}

/// The encoded entries of one segment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Entries {
    bytes: Vec<u8>,
    count: u32,
}

impl Footer {
    /// Reads the footer of a file of `len` bytes; `None` if it has none that is whole.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn read(file: &dyn File, segment: u32, len: u64) -> Result<Option<Self>> {
        let Some(end_at) = len.checked_sub(END_BYTES as u64) else { return Ok(None) };
        let mut end = [0; END_BYTES];
        file.read_at(&mut end, end_at)?;
        let frames_end = u64::from_le_bytes(end[..8].try_into().expect("eight bytes were cut"));
        let head_fits =
            frames_end.checked_add(HEAD_BYTES as u64).is_some_and(|entries| entries <= end_at);
        if end[12..] != *END_MAGIC || !head_fits {
            return Ok(None);
        }
        let mut bytes = vec![0; usize_of(end_at - frames_end)];
        file.read_at(&mut bytes, frames_end)?;
        let head: [u8; HEAD_BYTES] = bytes[..HEAD_BYTES].try_into().expect("that many were cut");
        let small = |at: usize| {
            u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes were cut"))
        };
        let large = |at: usize| {
            u64::from_le_bytes(head[at..at + 8].try_into().expect("eight bytes were cut"))
        };
        let head_crc = head_crc(segment, frames_end, &head);
        let entries = bytes.split_off(HEAD_BYTES);
        let sound = head[..4] == *MAGIC
            && head[CRC_AT..] == head_crc.to_le_bytes()
            && end[8..12] == head_crc.to_le_bytes()
            && large(8) == entries.len() as u64
            && small(CRC_AT - 4) == crc32c::crc32c(&entries);
        Ok(sound.then(|| Self {
            mark: Mark { index: large(16), term: large(24) },
            frames_end,
            revision_bytes: large(32),
            last_revision: Revision { main: large(40).cast_signed(), sub: large(48).cast_signed() },
            entries: Entries { bytes: entries, count: small(4) },
        }))
    }

    /// Whether a damaged footer begins at `frames_end`, as far as one of its ends can say so: the
    /// frames before it are then all there were.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn begins_at(
        file: &dyn File,
        segment: u32,
        frames_end: u64,
        len: u64,
    ) -> Result<bool> {
        let mut head = [0; HEAD_BYTES];
        file.read_at(&mut head, frames_end)?;
        let mut end = [0; END_BYTES];
        file.read_at(&mut end, len.saturating_sub(END_BYTES as u64))?;
        let by_head = head[CRC_AT..] == head_crc(segment, frames_end, &head).to_le_bytes();
        Ok(by_head || end[..8] == frames_end.to_le_bytes() && end[12..] == *END_MAGIC)
    }

    /// Walks over the entries, whose records lie in `segment`.
    pub(crate) fn cursor(self, segment: u32) -> Cursor {
        Cursor::new(segment, self.entries)
    }

    /// Writes the footer behind the frames.
    ///
    /// # Errors
    /// The disk's.
    pub(crate) fn write(&self, file: &dyn File, segment: u32) -> Result<()> {
        let entries = &self.entries;
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&entries.count.to_le_bytes());
        head.extend_from_slice(&(entries.bytes.len() as u64).to_le_bytes());
        head.extend_from_slice(&self.mark.index.to_le_bytes());
        head.extend_from_slice(&self.mark.term.to_le_bytes());
        head.extend_from_slice(&self.revision_bytes.to_le_bytes());
        head.extend_from_slice(&self.last_revision.main.to_le_bytes());
        head.extend_from_slice(&self.last_revision.sub.to_le_bytes());
        head.extend_from_slice(&crc32c::crc32c(&entries.bytes).to_le_bytes());
        let crc = head_crc(segment, self.frames_end, &head).to_le_bytes();
        head.extend_from_slice(&crc);
        assert_eq!(head.len(), HEAD_BYTES, "the fields above");
        let end = [&self.frames_end.to_le_bytes()[..], &crc, END_MAGIC].concat();
        file.write_parts_at(&[&head, &entries.bytes, &end], self.frames_end)?;
        Ok(())
    }
}

/// The CRC of a head up to where its own stands.
fn head_crc(segment: u32, frames_end: u64, head: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(segment, &head[..CRC_AT]);
    crc32c::crc32c_append(crc, &frames_end.to_le_bytes())
}

/// Collects the entries of a segment in the order of its records, and sorts them once.
///
/// All bytes of an entry lie together, since after sorting they are met in no order: a byte with
/// the length of what follows the key, that, and the key.
#[derive(Clone, Debug, Default)]
pub(crate) struct FooterBuilder {
    bytes: Vec<u8>,
    items: Vec<Item>,
    /// Bytes that all keys begin with.
    shared: usize,
    revision_bytes: u64,
    last_revision: Revision,
}

/// Where an entry's bytes begin, and how many of them are its key.
#[derive(Clone, Copy, Debug)]
struct Item {
    start: u32,
    key_len: u32,
}

impl FooterBuilder {
    /// Takes a revision's record; records come in the order of their revisions.
    ///
    /// # Errors
    /// What is wrong with it: a record that passed its CRC and is no revision was written so.
    pub(crate) fn push(
        &mut self,
        location: Location,
        record: &RecordRef<'_>,
    ) -> std::result::Result<(), &'static str> {
        let (revision, tombstone) =
            RevisionKey::parse(record.key).ok_or("a record whose key is no revision")?;
        let head = KeyValue::parse(record.value).ok_or("a record whose value is no key-value")?;
        match self.items.first() {
            None => self.shared = head.key.len(),
            Some(first) => {
                let first = &self.key(*first)[..self.shared];
                if !head.key.starts_with(first) {
                    self.shared = common(first, head.key);
                }
            }
        }
        let number = |at: usize| u32::try_from(at).map_err(|_| "more keys than a segment holds");
        let (start, key_len) = (number(self.bytes.len())?, number(head.key.len())?);
        self.items.push(Item { start, key_len });
        // On the stack first: one check for room instead of one for each byte.
        let mut tail = Tail { bytes: [0; TAIL_BYTES], len: 1 };
        tail.encode(revision, tombstone, &head, location);
        tail.bytes[0] = u8::try_from(tail.len - 1).expect("eight varints are short");
        self.bytes.extend_from_slice(&tail.bytes[..tail.len]);
        self.bytes.extend_from_slice(head.key);
        self.revision_bytes += u64::from(location.len);
        self.last_revision = self.last_revision.max(revision);
        Ok(())
    }

    /// Back to nothing; the memory stays for the next segment.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
        (self.shared, self.revision_bytes) = (0, 0);
        self.last_revision = Revision::default();
    }

    /// The footer of a file whose frames end at `frames_end`, its entries sorted.
    pub(crate) fn finish(&self, mark: Mark, frames_end: u64) -> Footer {
        let (revision_bytes, last_revision) = (self.revision_bytes, self.last_revision);
        Footer { mark, frames_end, revision_bytes, last_revision, entries: self.entries() }
    }

    fn entries(&self) -> Entries {
        // The bytes behind what all keys share decide most comparisons; the position puts the
        // revisions of one key into their order.
        let prefix = |item: &Item| {
            let rest = &self.key(*item)[self.shared..];
            let mut prefix = [0; 8];
            let len = rest.len().min(8);
            prefix[..len].copy_from_slice(&rest[..len]);
            u64::from_be_bytes(prefix)
        };
        let mut order: Vec<(u64, Item)> =
            self.items.iter().map(|item| (prefix(item), *item)).collect();
        order.sort_unstable_by_key(|(prefix, _)| *prefix);
        for equal in order.chunk_by_mut(|a, b| a.0 == b.0).filter(|equal| equal.len() > 1) {
            equal.sort_unstable_by(|(_, a), (_, b)| {
                let by_key = self.key(*a)[self.shared..].cmp(&self.key(*b)[self.shared..]);
                by_key.then_with(|| a.start.cmp(&b.start))
            });
        }
        let mut bytes = Vec::with_capacity(self.bytes.len() + 2 * order.len());
        let mut before: &[u8] = &[];
        for group in order.chunks(GROUP) {
            // The entries lie in no order: asking for all first lets memory answer at once.
            let touch = |sum, (_, item): &(u64, Item)| {
                let (start, key_len) = (item.start as usize, item.key_len as usize);
                sum ^ self.bytes[start] ^ self.bytes[start + key_len]
            };
            std::hint::black_box(group.iter().fold(0, touch));
            for (_, item) in group {
                let (tail, key) = self.parts(*item);
                let shared = common(before, key);
                push_varint(&mut bytes, shared as u64);
                push_varint(&mut bytes, (key.len() - shared) as u64);
                bytes.extend_from_slice(&key[shared..]);
                bytes.extend_from_slice(tail);
                before = key;
            }
        }
        let count = u32::try_from(order.len()).expect("fewer than the bytes, which are");
        Entries { bytes, count }
    }

    fn key(&self, item: Item) -> &[u8] {
        self.parts(item).1
    }

    fn parts(&self, item: Item) -> (&[u8], &[u8]) {
        let bytes = &self.bytes[item.start as usize..];
        let (tail, rest) = bytes[1..].split_at(usize::from(bytes[0]));
        (tail, &rest[..item.key_len as usize])
    }
}

/// What an entry says behind its key, being encoded.
struct Tail {
    bytes: [u8; TAIL_BYTES],
    len: usize,
}

impl Tail {
    fn encode(
        &mut self,
        revision: Revision,
        tombstone: bool,
        head: &KeyValue<'_>,
        location: Location,
    ) {
        self.varint(revision.main.cast_unsigned());
        self.varint(revision.sub.cast_unsigned());
        let with_lease = head.lease != 0;
        let flags = u8::from(tombstone) * TOMBSTONE + u8::from(with_lease) * WITH_LEASE;
        self.varint(u64::from(flags));
        if !tombstone {
            let age = revision.main.wrapping_sub(head.create_revision);
            self.varint(age.cast_unsigned());
            self.varint(head.version.cast_unsigned());
        }
        if with_lease {
            self.varint(head.lease.cast_unsigned());
        }
        self.varint(u64::from(location.offset));
        self.varint(u64::from(location.len));
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes[self.len] = value.to_le_bytes()[0] | 0x80;
            self.len += 1;
            value >>= 7;
        }
        self.bytes[self.len] = value.to_le_bytes()[0];
        self.len += 1;
    }
}

/// Bytes that two keys share at their front.
fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// Walks over the entries of one segment.
#[derive(Debug)]
pub(crate) struct Cursor {
    entries: Entries,
    segment: u32,
    at: usize,
    left: u32,
    /// The present entry; meaningless before the first [`Cursor::advance`].
    pub key: Vec<u8>,
    pub revision: Revision,
    pub tombstone: bool,
    pub create_revision: i64,
    pub version: i64,
    pub lease: i64,
    pub location: Location,
}

impl Cursor {
    fn new(segment: u32, entries: Entries) -> Self {
        Self {
            left: entries.count,
            entries,
            segment,
            at: 0,
            key: Vec::new(),
            revision: Revision::default(),
            tombstone: false,
            create_revision: 0,
            version: 0,
            lease: 0,
            location: Location::default(),
        }
    }

    pub(crate) fn count(&self) -> usize {
        self.entries.count as usize
    }

    /// Goes to the next entry; false at the end.
    ///
    /// # Errors
    /// Names `path` if the entries, whose CRC was right, make no sense.
    pub(crate) fn advance(&mut self, path: &Path) -> Result<bool> {
        if self.left == 0 {
            return Ok(false);
        }
        self.left -= 1;
        self.decode().ok_or_else(|| Error::Corrupt {
            path: path.to_owned(),
            offset: self.at as u64,
            expected: "an entry of the footer".to_owned(),
            found: "other bytes".to_owned(),
        })?;
        Ok(true)
    }

    fn decode(&mut self) -> Option<()> {
        let bytes = &mut &self.entries.bytes[self.at..];
        let before = bytes.len();
        let shared = usize::try_from(varint(bytes)?).ok()?;
        let own = usize::try_from(varint(bytes)?).ok()?;
        if shared > self.key.len() || own > bytes.len() {
            return None;
        }
        self.key.truncate(shared);
        let (suffix, rest) = bytes.split_at(own);
        self.key.extend_from_slice(suffix);
        *bytes = rest;
        self.revision.main = varint(bytes)?.cast_signed();
        self.revision.sub = varint(bytes)?.cast_signed();
        let (flags, rest) = bytes.split_first()?;
        *bytes = rest;
        self.tombstone = flags & TOMBSTONE != 0;
        (self.create_revision, self.version, self.lease) = (0, 0, 0);
        if !self.tombstone {
            let age = varint(bytes)?.cast_signed();
            self.create_revision = self.revision.main.wrapping_sub(age);
            self.version = varint(bytes)?.cast_signed();
        }
        if flags & WITH_LEASE != 0 {
            self.lease = varint(bytes)?.cast_signed();
        }
        let offset = u32::try_from(varint(bytes)?).ok()?;
        let len = u32::try_from(varint(bytes)?).ok()?;
        self.location = Location { segment: self.segment, offset, len };
        self.at += before - bytes.len();
        Some(())
    }
}
