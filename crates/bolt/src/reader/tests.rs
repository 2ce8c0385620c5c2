//! Damage that the checksums of a meta page do not cover, one kind after the other.

use super::*;
use crate::page::{self, element_at, put};
use crate::writer::{Emit, PageBytes, Source, write_image};

/// One bucket `b` with `items` items of 100 bytes.
struct Items(u32);

impl Source for Items {
    fn buckets(&mut self) -> Result<Vec<Vec<u8>>> {
        Ok(vec![b"b".to_vec()])
    }

    fn visit(&mut self, _: &[u8], emit: &mut Emit<'_>) -> Result<()> {
        (0..self.0).try_for_each(|n| emit(&n.to_be_bytes(), &[7; 100]))
    }
}

const PAGE: usize = 1024;

/// A file of three levels: leaves 2 to 8 and so on, branches, their root, the leaf of buckets.
fn file() -> Vec<u8> {
    let mut file = Vec::new();
    write_image(&mut Items(1000), PageBytes::new(1024).unwrap(), &mut file).unwrap();
    file
}

/// Page and flags of every page of a file without overflow.
fn pages(file: &[u8], flags: u16) -> Vec<usize> {
    let header = |page: &usize| Header::decode(file[page * PAGE..].first_chunk().unwrap());
    (2..file.len() / PAGE).filter(|page| header(page).flags == flags).collect()
}

fn told(file: Vec<u8>) -> String {
    Reader::open(file).and_then(|reader| reader.check()).unwrap_err().to_string()
}

#[test]
fn a_sound_file_is_walked_whole() {
    let file = file();
    let pages = file.len() as u64 / 1024 - 2;
    let reader = Reader::open(file).unwrap();
    assert_eq!(reader.check().unwrap(), Checked { buckets: 1, items: 1000, pages });
    assert_eq!(reader.used_bytes(), (pages + 2) * 1024);
    assert_eq!(reader.page_bytes(), 1024);
    assert!(reader.bucket(b"a").unwrap().is_none());
    let bucket = reader.bucket(b"b").unwrap().unwrap();
    assert_eq!((bucket.name(), bucket.sequence()), (&b"b"[..], 0));
    let mut cursor = bucket.cursor().unwrap();
    for n in 0..1000_u32 {
        let (key, value) = cursor.next_item().unwrap().unwrap();
        assert_eq!((key, value), (&n.to_be_bytes()[..], &[7; 100][..]));
    }
    assert!(cursor.next_item().unwrap().is_none());
    assert!(cursor.next_item().unwrap().is_none());
}

#[test]
fn a_cursor_begins_where_it_is_told() {
    let file = file();
    let reader = Reader::open(file).unwrap();
    let first = |from: &[u8]| {
        let mut cursor = reader.bucket(b"b").unwrap().unwrap().cursor_from(from).unwrap();
        let mut left = 0;
        let mut first = None;
        while let Some((key, _)) = cursor.next_item().unwrap() {
            first.get_or_insert_with(|| u32::from_be_bytes(key.try_into().unwrap()));
            left += 1;
        }
        (first, left)
    };
    for n in 0..1000_u32 {
        assert_eq!(first(&n.to_be_bytes()), (Some(n), 1000 - n));
        // Between n and n + 1: in the gap of two leaves as well.
        let between = [&n.to_be_bytes()[..], &[0]].concat();
        assert_eq!(first(&between), ((n < 999).then_some(n + 1), 999 - n));
    }
    assert_eq!(first(b""), (Some(0), 1000));
    for absent in [&b""[..], b"a", b"b\0", b"c"] {
        assert!(reader.bucket(absent).unwrap().is_none());
    }
}

#[test]
fn a_circle_of_pages_has_an_end() {
    let mut file = file();
    let branches = pages(&file, 0x01);
    let (inner, root) = (branches[0], *branches.last().unwrap());
    // The first child of an inner branch becomes the root above it, and its key fits.
    let child = inner * PAGE + element_at(0) + 8;
    put(&mut file, child, &(root as u64).to_le_bytes());
    let message = told(file);
    assert!(message.contains(&format!("a page not met before, found page {root}")), "{message}");
}

#[test]
fn two_parents_of_one_page_are_reported() {
    let mut file = file();
    let inner = pages(&file, 0x01)[0];
    put(&mut file, inner * PAGE + element_at(1) + 8, &2_u64.to_le_bytes());
    let message = told(file);
    assert!(message.contains("a page not met before, found page 2"), "{message}");
}

#[test]
fn ids_that_are_no_pages_are_reported() {
    let mark = file().len() / PAGE;
    for id in [0, 1, mark as u64, u64::MAX] {
        let mut file = file();
        let inner = pages(&file, 0x01)[0];
        put(&mut file, inner * PAGE + element_at(1) + 8, &id.to_le_bytes());
        let message = told(file);
        assert!(message.contains(&format!("to below {mark}, found {id}")), "{message}");
    }
}

#[test]
fn keys_outside_what_their_branch_says_are_reported() {
    let check = |swap: &dyn Fn(&mut Vec<u8>, usize), wanted: &str| {
        let mut file = file();
        let inner = pages(&file, 0x01)[0];
        swap(&mut file, inner);
        let message = told(file);
        assert!(message.contains(wanted), "{message}");
    };
    let child = |file: &[u8], inner: usize, i: usize| {
        let at = inner * PAGE + element_at(i) + 8;
        u64::from_le_bytes(*file[at..].first_chunk().unwrap())
    };
    let swap = |file: &mut Vec<u8>, inner: usize, i: usize, j: usize| {
        let (a, b) = (child(file, inner, i), child(file, inner, j));
        put(file, inner * PAGE + element_at(i) + 8, &b.to_le_bytes());
        put(file, inner * PAGE + element_at(j) + 8, &a.to_le_bytes());
    };
    check(&|file, inner| swap(file, inner, 1, 2), "expected keys below");
    // The last child's keys may only be bounded from below here, but are bounded from above by
    // the branch's own sibling.
    check(
        &|file, inner| {
            let count = usize::from(file[inner * PAGE + 10]);
            swap(file, inner, count - 2, count - 1);
        },
        "expected keys below",
    );
    // The last key of the branch is one too high for the child it points to.
    check(
        &|file, inner| {
            let count = usize::from(file[inner * PAGE + 10]);
            let last = inner * PAGE + element_at(count) + 4 * count - 1;
            file[last] += 1;
        },
        "expected a first key from",
    );
}

#[test]
fn an_overflow_beyond_the_file_is_reported_and_one_beyond_the_limit_refused() {
    let mut file = file();
    put(&mut file, 2 * PAGE + 12, &u32::MAX.to_le_bytes());
    let message = told(file.clone());
    assert!(message.contains("page slots, found 4294967296"), "{message}");
    put(&mut file, 2 * PAGE + 12, &1_u32.to_le_bytes());
    let reader = Reader::open_with(&file, Limits { page_bytes_max: 1024 }).unwrap();
    let told = reader.check().unwrap_err();
    assert!(matches!(told, Error::PageTooLarge { page: 2, bytes: 2048, limit: 1024 }), "{told}");
}

#[test]
fn buckets_are_buckets_and_items_are_not() {
    let sound = file();
    let root = sound.len() / PAGE - 1;
    let mut plain = sound.clone();
    put(&mut plain, root * PAGE + element_at(0), &0_u32.to_le_bytes());
    assert!(told(plain).contains("expected a bucket, found the value of b"));
    let mut short = sound.clone();
    put(&mut short, root * PAGE + element_at(0) + 12, &15_u32.to_le_bytes());
    assert!(told(short).contains("expected a bucket's 16 bytes, found 15"));
    let mut inline = sound.clone();
    put(&mut inline, root * PAGE + element_at(0) + 16 + 1, &0_u64.to_le_bytes());
    let message = told(inline);
    let wanted = format!("page {root} at offset {}", root * PAGE + 16 + 16 + 1 + 16);
    assert!(message.contains(&wanted), "{message}");
    assert!(message.contains("expected a page header, found 0 bytes"), "{message}");
    let mut nested = sound;
    put(&mut nested, 2 * PAGE + element_at(0), &1_u32.to_le_bytes());
    let reader = Reader::open(nested).unwrap();
    let mut cursor = reader.bucket(b"b").unwrap().unwrap().cursor().unwrap();
    let told = cursor.next_item().unwrap_err();
    assert!(matches!(&told, Error::Nested { bucket, key } if bucket == b"b" && key == &[0; 4]));
    assert_eq!(told.to_string(), "key \\x00\\x00\\x00\\x00 of bucket b is a bucket");
    assert!(cursor.next_item().unwrap().is_none(), "after an error it is at its end");
}

#[test]
fn a_tree_without_end_is_too_deep() {
    // Branches with one child each, every one the parent of the next.
    let count = 60_u64;
    let mut file = Meta { page_bytes: 1024, root: 2, mark: 2 + count, txid: 0 }.encode(0);
    file.extend(Meta { page_bytes: 1024, root: 2, mark: 2 + count, txid: 1 }.encode(1));
    for id in 2..2 + count {
        let mut page = vec![0; PAGE];
        put(&mut page, 0, &page::header(id, Kind::Branch, 1, 0).encode());
        let child = (id + 1).min(1 + count);
        put(&mut page, 16, &page::BranchElement { pos: 16, ksize: 1, child }.encode());
        page[32] = b'k';
        file.extend(page);
    }
    let message = told(file);
    assert!(message.contains("expected at most 40 branches above a leaf, found more"), "{message}");
}

/// A file that cannot be read from some offset on.
struct Breaks(Vec<u8>, u64);

impl ReadAt for Breaks {
    fn byte_len(&self) -> std::io::Result<u64> {
        self.0.byte_len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        if offset + buffer.len() as u64 > self.1 {
            return Err(std::io::Error::other("bad sector"));
        }
        self.0.read_exact_at(buffer, offset)
    }
}

#[test]
fn a_failing_disk_is_told_and_not_taken_for_damage() {
    let file = file();
    for good in (0..file.len() as u64).step_by(512) {
        let told = Reader::open(Breaks(file.clone(), good)).and_then(|reader| reader.check());
        let told = told.unwrap_err();
        assert!(matches!(told, Error::Read { .. }), "{good}: {told}");
    }
    let told = Reader::open(Breaks(file, 5000)).unwrap().check().unwrap_err().to_string();
    assert!(told.ends_with(": bad sector"), "{told}");
}
