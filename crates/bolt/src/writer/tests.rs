//! What the writer refuses, and where it puts what.

use super::*;
use crate::page::{Header, Kind, Page, Place, header};
use std::collections::BTreeMap;

type Items = Vec<(Vec<u8>, Vec<u8>)>;

/// Buckets and items as they are given, in any order.
#[derive(Clone, Default)]
struct List(Vec<(Vec<u8>, Items)>);

impl Source for List {
    fn buckets(&mut self) -> Result<Vec<Vec<u8>>> {
        Ok(self.0.iter().map(|(name, _)| name.clone()).collect())
    }

    fn visit(&mut self, bucket: &[u8], emit: &mut Emit<'_>) -> Result<()> {
        let (_, items) = self.0.iter().find(|(name, _)| name == bucket).unwrap();
        items.iter().try_for_each(|(key, value)| emit(key, value))
    }
}

fn list(items: &[(&str, usize)]) -> List {
    let items = items.iter().map(|(key, bytes)| (key.as_bytes().to_vec(), vec![b'v'; *bytes]));
    List(vec![(b"bucket".to_vec(), items.collect())])
}

fn written(source: &mut List) -> Vec<u8> {
    let mut file = Vec::new();
    let layout = write_image(source, PageBytes::default(), &mut file).unwrap();
    assert_eq!(layout.file_bytes(), file.len() as u64);
    file
}

fn header_of(file: &[u8], page: usize) -> Header {
    Header::decode(file[page * 4096..].first_chunk().unwrap())
}

#[test]
fn small_and_empty_buckets_are_inline() {
    // 16 of the page's header, 16 of the element: 991 more make a quarter of a page.
    let quarter = 1024 - 16 - 16 - 1;
    for (bytes, pages) in [(quarter, 3), (quarter + 1, 4)] {
        let file = written(&mut list(&[("k", bytes)]));
        assert_eq!(file.len(), pages * 4096, "{bytes}");
    }
    let file = written(&mut list(&[]));
    assert_eq!(file.len(), 3 * 4096);
    // One element, its key, then a bucket header of zeros and an empty leaf without id.
    let mut value = [0; 32];
    value[16..].copy_from_slice(&header(0, Kind::Leaf, 0, 0).encode());
    let root = &file[2 * 4096..];
    assert_eq!(root[..16], header(2, Kind::Leaf, 1, 0).encode());
    assert_eq!(root[16..32], *b"\x01\0\0\0\x10\0\0\0\x06\0\0\0\x20\0\0\0");
    assert_eq!(root[32..38], *b"bucket");
    assert_eq!(root[38..70], value);
    assert!(root[70..].iter().all(|byte| *byte == 0));
}

#[test]
fn no_buckets_make_an_empty_root() {
    let file = written(&mut List::default());
    assert_eq!(file.len(), 3 * 4096);
    assert_eq!(header_of(&file, 2), header(2, Kind::Leaf, 0, 0));
    assert_eq!(Reader::open(file).unwrap().check().unwrap().buckets, 0);
}

#[test]
fn pages_are_filled_to_nine_tenths() {
    // 4096 * 0.9 = 3686; minus headers, two items of 1819 bytes just fit.
    let fits = (3686 - 16 - 2 * 16) / 2 - 1;
    let file = written(&mut list(&[("a", fits), ("b", fits)]));
    assert_eq!(header_of(&file, 2), header(2, Kind::Leaf, 2, 0));
    let file = written(&mut list(&[("a", fits), ("b", fits + 1)]));
    assert_eq!(header_of(&file, 2), header(2, Kind::Leaf, 1, 0));
    assert_eq!(header_of(&file, 3), header(3, Kind::Leaf, 1, 0));
    assert_eq!(header_of(&file, 4), header(4, Kind::Branch, 2, 0));
}

#[test]
fn a_large_item_has_a_leaf_of_its_own_with_overflow() {
    let whole = 4096 - 16 - 16 - 1;
    for (bytes, overflow) in [(whole - 300, 0), (whole, 0), (whole + 1, 1), (whole + 4096, 1)] {
        let file = written(&mut list(&[("a", 5), ("b", bytes), ("c", 5)]));
        assert_eq!(header_of(&file, 2), header(2, Kind::Leaf, 1, 0), "{bytes}");
        assert_eq!(header_of(&file, 3), header(3, Kind::Leaf, 1, overflow), "{bytes}");
        let next = 4 + overflow as usize;
        assert_eq!(header_of(&file, next), header(next as u64, Kind::Leaf, 1, 0), "{bytes}");
    }
}

#[test]
fn every_branch_has_two_children_and_their_first_keys() {
    let long = |n: usize| format!("{n:04}{}", "k".repeat(1500));
    let longest = |n: usize| format!("{n:04}{}", "k".repeat(30_000));
    for leaves in 1..40 {
        for key in [&long as &dyn Fn(usize) -> String, &longest, &|n| format!("{n:04}")] {
            let items = (0..leaves).map(|n| (key(n).into_bytes(), vec![0; 3000]));
            let mut source = List(vec![(b"b".to_vec(), items.collect())]);
            let file = written(&mut source);
            check_branches(&file);
            assert_eq!(read(&file)[&b"b"[..]], source.0[0].1);
        }
    }
}

fn check_branches(file: &[u8]) {
    let mut page = 2;
    let mut firsts = BTreeMap::new();
    while page < file.len() / 4096 {
        let header = header_of(file, page);
        let slots = header.overflow as usize + 1;
        let bytes = file[page * 4096..(page + slots) * 4096].to_vec();
        let place = Place { page: page as u64, offset: page as u64 * 4096 };
        let parsed = Page::parse(place, page as u64, bytes).unwrap();
        if parsed.kind() == Kind::Branch {
            assert!(parsed.count() >= 2);
            for i in 0..parsed.count() {
                assert_eq!(firsts[&parsed.child(i)], parsed.key(i));
            }
        }
        firsts.insert(page as u64, parsed.key(0).to_vec());
        page += slots;
    }
}

fn read(file: &Vec<u8>) -> BTreeMap<Vec<u8>, Items> {
    let reader = Reader::open(file).unwrap();
    reader.check().unwrap();
    let mut all = BTreeMap::new();
    for bucket in reader.buckets().unwrap() {
        let bucket = bucket.unwrap();
        let name = bucket.name().to_vec();
        let mut cursor = bucket.cursor().unwrap();
        let mut items = Vec::new();
        while let Some((key, value)) = cursor.next_item().unwrap() {
            items.push((key.to_vec(), value.to_vec()));
        }
        all.insert(name, items);
    }
    all
}

#[test]
fn no_page_has_more_elements_than_bbolt_understands() {
    let items = (0..150_000_u32).map(|n| (n.to_be_bytes().to_vec(), Vec::new()));
    let mut source = List(vec![(b"b".to_vec(), items.collect())]);
    let mut file = Vec::new();
    write_image(&mut source, PageBytes::new(16 << 20).unwrap(), &mut file).unwrap();
    let count = |page: usize| Header::decode(file[page << 24..].first_chunk().unwrap()).count;
    assert_eq!((count(2), count(3), count(4)), (0xFFFE, 0xFFFE, 18_932));
    assert_eq!(read(&file)[&b"b"[..]], source.0[0].1);
}

#[test]
fn bad_input_is_named() {
    let check = |mut source: List, wanted: &str| {
        let told = measure(&mut source, PageBytes::default()).unwrap_err().to_string();
        assert_eq!(told, wanted);
    };
    check(list(&[("b", 1), ("a", 1)]), "key a of bucket bucket comes after b");
    check(list(&[("b", 1), ("b", 1)]), "key b of bucket bucket comes after b");
    check(
        list(&[("", 1)]),
        "a key of bucket bucket that begins with  has 0 bytes, allowed are 1 to 32768",
    );
    let long = "k".repeat(32769);
    let start = &long[..64];
    check(
        list(&[(&long, 1)]),
        &format!(
            "a key of bucket bucket that begins with {start} has 32769 bytes, allowed are 1 to \
             32768"
        ),
    );
    measure(&mut list(&[(&long[1..], 1)]), PageBytes::default()).unwrap();
    let two = List(vec![(b"b".to_vec(), Vec::new()), (b"a".to_vec(), Vec::new())]);
    check(two, "key a of bucket  comes after b");
}

#[test]
fn a_source_that_changes_is_told() {
    let before = list(&[("a", 2000), ("b", 2000), ("c", 10)]);
    let layout = measure(&mut before.clone(), PageBytes::default()).unwrap();
    let cases = [
        list(&[("a", 2000), ("b", 2000), ("d", 10)]),
        list(&[("a", 2000), ("b", 2001), ("c", 9)]),
        list(&[("a", 2000), ("b", 2000)]),
        list(&[("a", 2000), ("b", 2000), ("c", 10), ("d", 1 << 20)]),
        List::default(),
    ];
    for mut after in cases {
        let mut file = Vec::new();
        let told = write_measured(&mut after, &layout, &mut file).unwrap_err();
        assert!(matches!(told, Error::SourceChanged));
        assert!(file.len() as u64 <= layout.file_bytes());
    }
}

#[test]
fn a_failing_writer_and_a_failing_source_are_told_apart() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let told = write_image(&mut list(&[]), PageBytes::default(), &mut Full).unwrap_err();
    assert!(matches!(told, Error::Write(_)), "{told}");

    struct Breaks;
    impl Source for Breaks {
        fn buckets(&mut self) -> Result<Vec<Vec<u8>>> {
            Ok(vec![b"b".to_vec()])
        }
        fn visit(&mut self, _: &[u8], _: &mut Emit<'_>) -> Result<()> {
            Err(Error::source("no more"))
        }
    }
    let told = measure(&mut Breaks, PageBytes::default()).unwrap_err().to_string();
    assert_eq!(told, "the source of the database failed: no more");
}
