//! Any sorted content, written and read back, is the same; so is a file written from a file.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use quorate_bolt::{Emit, Layout, PageBytes, Reader, Result, Source, measure, write_image};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

type Items = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Clone, Debug, Default, PartialEq)]
struct Model(BTreeMap<Vec<u8>, Items>);

impl Source for Model {
    fn buckets(&mut self) -> Result<Vec<Vec<u8>>> {
        Ok(self.0.keys().cloned().collect())
    }

    fn visit(&mut self, bucket: &[u8], emit: &mut Emit<'_>) -> Result<()> {
        self.0[bucket].iter().try_for_each(|(key, value)| emit(key, value))
    }
}

fn read(file: &Vec<u8>) -> Model {
    let reader = Reader::open(file).unwrap();
    let checked = reader.check().unwrap();
    assert_eq!(checked.pages + 2, file.len() as u64 / u64::from(reader.page_bytes()), "no waste");
    let mut model = Model::default();
    for bucket in reader.buckets().unwrap() {
        let bucket = bucket.unwrap();
        let items = model.0.entry(bucket.name().to_vec()).or_default();
        let mut cursor = bucket.cursor().unwrap();
        while let Some((key, value)) = cursor.next_item().unwrap() {
            assert!(items.last_key_value().is_none_or(|(last, _)| last.as_slice() < key));
            items.insert(key.to_vec(), value.to_vec());
        }
    }
    assert_eq!(checked.buckets, model.0.len() as u64);
    assert_eq!(checked.items, model.0.values().map(|items| items.len() as u64).sum::<u64>());
    model
}

fn write(source: &mut impl Source, page_bytes: u32) -> (Layout, Vec<u8>) {
    let mut file = Vec::new();
    let page_bytes = PageBytes::new(page_bytes).unwrap();
    let layout = write_image(source, page_bytes, &mut file).unwrap();
    assert_eq!(layout.file_bytes(), file.len() as u64);
    (layout, file)
}

/// Written, read, written from what was written: all the same. Gives the file's length.
fn check(model: &mut Model, page_bytes: u32) -> u64 {
    let (layout, file) = write(model, page_bytes);
    assert_eq!(read(&file), *model);
    let reader = Reader::open(&file).unwrap();
    for name in model.0.keys() {
        assert_eq!(reader.bucket(name).unwrap().unwrap().name(), name);
        let absent = [name.as_slice(), &[0]].concat();
        assert_eq!(reader.bucket(&absent).unwrap().is_some(), model.0.contains_key(&absent));
    }
    let mut reader = Reader::open(&file).unwrap();
    assert_eq!(measure(&mut reader, PageBytes::new(page_bytes).unwrap()).unwrap(), layout);
    let (_, again) = write(&mut reader, page_bytes);
    assert!(again == file, "a copy is the same file");
    layout.file_bytes()
}

/// Lengths where something changes for pages of 1024 bytes: inline or not, full, with overflow.
fn value_bytes() -> impl Strategy<Value = usize> {
    let near = |at: usize| at.saturating_sub(40)..at + 8;
    prop_oneof![
        4 => 0_usize..64,
        2 => near(1024 / 4),
        2 => near(1024 * 9 / 10),
        2 => near(1024),
        1 => near(2048),
        1 => 3000_usize..20_000,
    ]
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(any::<u8>(), 1..20),
        2 => vec(0_u8..3, 1..6),
        1 => vec(any::<u8>(), 300..1500),
    ]
}

fn items(most: usize) -> impl Strategy<Value = Items> {
    btree_map(key(), (value_bytes(), any::<u8>()).prop_map(|(n, byte)| vec![byte; n]), 0..most)
}

static CASES: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

fn count(bytes: u64) {
    let cases = CASES.fetch_add(1, Ordering::Relaxed) + 1;
    let bytes = BYTES.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if cases.is_multiple_of(100) {
        testkit::figures::note("bolt-model", format!("{cases} files, {bytes} bytes, all the same"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn few_buckets_come_back(buckets in btree_map(vec(any::<u8>(), 1..9), items(60), 0..5)) {
        count(check(&mut Model(buckets), 1024));
    }

    /// The bucket of buckets grows branches of its own.
    #[test]
    fn many_buckets_come_back(buckets in btree_map(vec(any::<u8>(), 1..40), items(3), 0..300)) {
        count(check(&mut Model(buckets), 1024));
    }

    #[test]
    fn other_page_sizes_come_back(items in items(200), shift in 0..5_u32) {
        let buckets = BTreeMap::from([(b"b".to_vec(), items)]);
        count(check(&mut Model(buckets), 1024 << shift));
    }
}

#[test]
fn a_large_bucket_has_levels() {
    let items = |n: u32| (0..n).map(|n| (n.to_be_bytes().to_vec(), vec![1; 20])).collect();
    let buckets = BTreeMap::from([(b"a".to_vec(), items(5)), (b"b".to_vec(), items(100_000))]);
    check(&mut Model(buckets), 1024);
}
