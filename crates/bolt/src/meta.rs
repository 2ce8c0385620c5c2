//! The two meta pages: where the root is, how many pages the file has, how large they are.
//!
//! ```text
//! page header | magic u32 | version u32 | page size u32 | flags u32 | root u64 | sequence u64
//!             | freelist u64 | mark u64 | txid u64 | checksum u64
//! ```
//! The checksum, FNV-1a of all before it, decides alone whether a meta is valid: it does not cover
//! the page header, and a meta refused for its header would give the older state for the newer.

use crate::page::{FIRST_ID, HEADER_BYTES, Header, META_FLAG, Place, put, u32_at, u64_at};
use crate::read_at::ReadAt;
use crate::{Error, Result};

/// What a valid meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) page_bytes: u32,
    /// Root page of the bucket of buckets.
    pub(crate) root: u64,
    /// The first page that was never used.
    pub(crate) mark: u64,
    /// The transaction that wrote it; the higher is the newer.
    pub(crate) txid: u64,
}

// Offsets in the meta, each from the one before.
const MAGIC: usize = 0;
const VERSION: usize = MAGIC + 4;
const PAGE_BYTES: usize = VERSION + 4;
const FLAGS: usize = PAGE_BYTES + 4;
const ROOT: usize = FLAGS + 4;
const SEQUENCE: usize = ROOT + 8;
const FREELIST: usize = SEQUENCE + 8;
const MARK: usize = FREELIST + 8;
const TXID: usize = MARK + 8;
const CHECKSUM: usize = TXID + 8;
/// Bytes of a meta behind its page's header.
const META_BYTES: usize = CHECKSUM + 8;
const _: () = assert!(META_BYTES == 64);

/// bbolt's `magic`.
const MAGIC_NUMBER: u32 = 0xED0C_DAED;
/// bbolt's `version`.
const VERSION_NUMBER: u32 = 2;
/// The freelist is not in the file; it is found by walking. etcd keeps its files so on Linux.
const NO_FREELIST: u64 = u64::MAX;

/// Page sizes that bbolt looks for when the first meta is damaged: 1024 to 16 MiB.
pub(crate) const PAGE_SIZES: std::ops::RangeInclusive<u32> = 1024..=1024 << 14;

impl Meta {
    /// The page `id`, of `self.page_bytes` bytes.
    pub(crate) fn encode(&self, id: u64) -> Vec<u8> {
        let mut page = vec![0; self.page_bytes as usize];
        let header = Header { id, flags: META_FLAG, count: 0, overflow: 0 };
        put(&mut page, 0, &header.encode());
        let meta = &mut page[HEADER_BYTES..];
        put(meta, MAGIC, &MAGIC_NUMBER.to_le_bytes());
        put(meta, VERSION, &VERSION_NUMBER.to_le_bytes());
        put(meta, PAGE_BYTES, &self.page_bytes.to_le_bytes());
        put(meta, ROOT, &self.root.to_le_bytes());
        put(meta, FREELIST, &NO_FREELIST.to_le_bytes());
        put(meta, MARK, &self.mark.to_le_bytes());
        put(meta, TXID, &self.txid.to_le_bytes());
        let checksum = fnv1a(&meta[..CHECKSUM]);
        put(meta, CHECKSUM, &checksum.to_le_bytes());
        page
    }

    /// The meta behind the page header in `page`; `place` is where that page is.
    fn decode(page: &[u8; HEADER_BYTES + META_BYTES], place: Place) -> Result<Self> {
        let meta = &page[HEADER_BYTES..];
        let check = |what: &str, found: u64, expected: u64| {
            if found == expected {
                return Ok(());
            }
            Err(place.corrupt(&format!("meta {what} {expected:#x}"), format!("{found:#x}")))
        };
        check("magic", u32_at(meta, MAGIC).into(), MAGIC_NUMBER.into())?;
        check("version", u32_at(meta, VERSION).into(), VERSION_NUMBER.into())?;
        check("checksum", u64_at(meta, CHECKSUM), fnv1a(&meta[..CHECKSUM]))?;
        let page_bytes = u32_at(meta, PAGE_BYTES);
        if !page_bytes.is_power_of_two() || !PAGE_SIZES.contains(&page_bytes) {
            let expected = "a page size that is a power of two from 1024 to 16777216";
            return Err(place.corrupt(expected, page_bytes.to_string()));
        }
        Ok(Self {
            page_bytes,
            root: u64_at(meta, ROOT),
            mark: u64_at(meta, MARK),
            txid: u64_at(meta, TXID),
        })
    }
}

/// Finds the newest valid meta of `file` and checks that what it says fits the file's length.
pub(crate) fn newest(file: &(impl ReadAt + ?Sized)) -> Result<Meta> {
    let length = file.byte_len().map_err(|source| Error::Read { offset: 0, bytes: 0, source })?;
    let first = read(file, length, 0, 0)?;
    let second = match &first {
        Ok(first) => at_its_page_size(file, length, first.page_bytes)?,
        Err(_) => probe(file, length)?,
    };
    let (page, meta) = match (first, second) {
        (Ok(first), Ok(second)) if second.txid > first.txid => (1, second),
        (Ok(first), _) => (0, first),
        (Err(_), Ok(second)) => (1, second),
        (Err(first), Err(_)) => return Err(first),
    };
    check_fits(&meta, page, length)?;
    Ok(meta)
}

fn at_its_page_size(
    file: &(impl ReadAt + ?Sized),
    length: u64,
    page_bytes: u32,
) -> Result<Result<Meta>> {
    let offset = u64::from(page_bytes);
    Ok(read(file, length, offset, 1)?.and_then(|meta| {
        if meta.page_bytes == page_bytes {
            return Ok(meta);
        }
        let found = format!("{}", meta.page_bytes);
        Err(Place { page: 1, offset }.corrupt(&format!("page size {page_bytes}"), found))
    }))
}

/// Looks for the second meta where it would be for each page size.
fn probe(file: &(impl ReadAt + ?Sized), length: u64) -> Result<Result<Meta>> {
    let mut page_bytes = *PAGE_SIZES.start();
    loop {
        let meta = at_its_page_size(file, length, page_bytes)?;
        if meta.is_ok() || page_bytes == *PAGE_SIZES.end() {
            return Ok(meta);
        }
        page_bytes *= 2;
    }
}

/// The meta at `offset`. Outside, a failing disk; inside, a meta that is not valid.
fn read(
    file: &(impl ReadAt + ?Sized),
    length: u64,
    offset: u64,
    page: u64,
) -> Result<Result<Meta>> {
    let mut bytes = [0; HEADER_BYTES + META_BYTES];
    let place = Place { page, offset };
    let wanted = bytes.len() as u64;
    if offset + wanted > length {
        return Ok(Err(place.corrupt("a meta page", format!("a file of {length} bytes"))));
    }
    file.read_exact_at(&mut bytes, offset).map_err(|source| Error::Read {
        offset,
        bytes: wanted,
        source,
    })?;
    Ok(Meta::decode(&bytes, place))
}

fn check_fits(meta: &Meta, page: u64, length: u64) -> Result<()> {
    let place = Place { page, offset: page * u64::from(meta.page_bytes) };
    let pages = length / u64::from(meta.page_bytes);
    if meta.mark > pages {
        let found = format!("{} pages", meta.mark);
        return Err(place.corrupt(&format!("at most {pages} pages, as the file has"), found));
    }
    if !(FIRST_ID..meta.mark).contains(&meta.root) {
        let expected = format!("a root page from {FIRST_ID} to below {}", meta.mark);
        return Err(place.corrupt(&expected, meta.root.to_string()));
    }
    Ok(())
}

/// 64-bit FNV-1a.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const META: Meta = Meta { page_bytes: 4096, root: 2, mark: 3, txid: 0 };

    fn file(first: Meta, second: Meta) -> Vec<u8> {
        let mut file = first.encode(0);
        file.extend(second.encode(1));
        let pages = first.mark.max(second.mark);
        file.resize(usize::try_from(pages).unwrap() * first.page_bytes as usize, 0);
        file
    }

    #[test]
    fn fnv1a_is_the_published_one() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_newer_valid_meta_is_taken() {
        let (old, new) = (Meta { txid: 4, ..META }, Meta { txid: 5, mark: 4, root: 3, ..META });
        assert_eq!(newest(&file(old, new)).unwrap(), new);
        assert_eq!(newest(&file(new, old)).unwrap(), new);
        let mut damaged = file(old, new);
        damaged[4096 + HEADER_BYTES + ROOT] ^= 1;
        assert_eq!(newest(&damaged).unwrap(), old);
        damaged[HEADER_BYTES + CHECKSUM] ^= 1;
        let told = newest(&damaged).unwrap_err().to_string();
        assert!(told.starts_with("corrupt database: page 0 at offset 0: expected meta checksum"));
    }

    #[test]
    fn every_page_size_is_found_without_the_first_meta() {
        for shift in 0..=14 {
            let meta = Meta { page_bytes: 1024 << shift, ..META };
            let mut file = file(meta, Meta { txid: 1, ..meta });
            file[HEADER_BYTES] = 0;
            assert_eq!(newest(&file).unwrap(), Meta { txid: 1, ..meta });
        }
    }

    #[test]
    fn what_does_not_fit_the_file_is_refused() {
        let check = |meta: Meta, wanted: &str| {
            let mut file = file(META, META);
            file[..4096].copy_from_slice(&meta.encode(0)[..4096]);
            let told = newest(&file).unwrap_err().to_string();
            assert!(told.contains(wanted), "{told}");
        };
        check(Meta { txid: 2, mark: 4, ..META }, "at most 3 pages, as the file has, found 4 pages");
        check(Meta { txid: 2, mark: u64::MAX, ..META }, "at most 3 pages");
        check(Meta { txid: 2, root: 3, ..META }, "a root page from 2 to below 3, found 3");
        check(Meta { txid: 2, root: 1, ..META }, "a root page from 2");
        let empty = newest(&Vec::new()).unwrap_err().to_string();
        assert!(empty.contains("expected a meta page, found a file of 0 bytes"), "{empty}");
    }
}
