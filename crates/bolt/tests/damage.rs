//! A file from anybody: every byte set to other values, and every length cut. The reader ends, gives
//! no more than the file can hold, and does not panic; what it does give is in order.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

use proptest::collection::vec;
use proptest::prelude::*;
use quorate_bolt::{Emit, Error, PageBytes, Reader, Result, Source, write_image};

/// Two levels of branches, overflow, an inline and an empty bucket, in about 14 KiB.
struct Small;

impl Source for Small {
    fn buckets(&mut self) -> Result<Vec<Vec<u8>>> {
        Ok(["big", "empty", "inline", "tree"].map(|name| name.as_bytes().to_vec()).to_vec())
    }

    fn visit(&mut self, bucket: &[u8], emit: &mut Emit<'_>) -> Result<()> {
        match bucket {
            b"big" => emit(b"k", &[3; 1500]),
            b"inline" => [b"a", b"b"].into_iter().try_for_each(|key| emit(key, b"value")),
            b"tree" => (0..10_u8).try_for_each(|n| {
                let mut key = [n; 300];
                key[1..].fill(b'k');
                emit(&key, &[n; 100])
            }),
            _ => Ok(()),
        }
    }
}

/// All that can be had from a file, by every way to it: items, or the first error.
fn walk(file: &[u8]) -> Result<usize> {
    let reader = Reader::open(file)?;
    let checked = reader.check();
    let mut items = 0;
    let mut bytes = 0;
    let mut last_bucket = Vec::new();
    for bucket in reader.buckets()? {
        let bucket = bucket?;
        assert!(last_bucket.as_slice() < bucket.name(), "buckets ascend");
        last_bucket = bucket.name().to_vec();
        let mut cursor = bucket.cursor()?;
        let mut last = Vec::new();
        let mut of_bucket = 0;
        while let Some((key, value)) = cursor.next_item()? {
            assert!(last.as_slice() < key, "keys ascend");
            last = key.to_vec();
            items += 1;
            of_bucket += key.len() + value.len();
        }
        // One bucket gives no byte of the file twice.
        assert!(of_bucket <= file.len(), "{of_bucket} bytes from a file of {}", file.len());
        bytes += of_bucket;
    }
    // Nor do two, or `check` fails.
    let checked = checked?;
    assert!(bytes <= file.len(), "{bytes} bytes from a file of {}", file.len());
    assert_eq!(checked.items, items as u64);
    Ok(items)
}

#[test]
fn no_byte_makes_the_reader_panic_or_run_on() {
    let mut file = Vec::new();
    write_image(&mut Small, PageBytes::new(1024).unwrap(), &mut file).unwrap();
    assert_eq!(walk(&file).unwrap(), 13);
    let (mut tried, mut reported, mut whole) = (0_u64, 0_u64, 0_u64);
    let mut judge = |bytes: &[u8]| {
        tried += 1;
        match walk(bytes) {
            Ok(_) => whole += 1,
            Err(Error::Corrupt { .. } | Error::Nested { .. } | Error::PageTooLarge { .. }) => {
                reported += 1;
            }
            Err(other) => panic!("{other}"),
        }
    };
    for at in 0..file.len() {
        let mut damaged = file.clone();
        for value in [0x00, 0xFF].into_iter().chain((0..8).map(|bit| file[at] ^ (1 << bit))) {
            damaged[at] = value;
            judge(&damaged);
        }
    }
    // The two metas say the same, so one that is damaged changes nothing. With the first one cut
    // away, the second stands alone and every bit of it decides.
    let mut alone = file.clone();
    alone[..1024].fill(0);
    for at in 1024 + 16..1024 + 80 {
        let mut damaged = alone.clone();
        for bit in 0..8 {
            damaged[at] = alone[at] ^ (1 << bit);
            assert!(walk(&damaged).is_err(), "bit {bit} of {at} in the only meta");
        }
    }
    for length in 0..file.len() {
        assert!(walk(&file[..length]).is_err(), "cut at {length}");
    }
    testkit::figures::note(
        "bolt-damage",
        format!(
            "{tried} changed bytes in a file of {}: {reported} reported, {whole} in data, zeros \
             or a spare meta and read to the end; {} truncations, all reported; no panic",
            file.len(),
            file.len()
        ),
    );
}

/// Several structures at once: windows of four bytes set to numbers that sizes and ids fear.
#[test]
fn no_number_makes_the_reader_panic_or_run_on() {
    let mut file = Vec::new();
    write_image(&mut Small, PageBytes::new(1024).unwrap(), &mut file).unwrap();
    for at in (2048..file.len() - 8).step_by(2) {
        for number in [1_u64, 2, 16, 0x7FFF_FFFF, 0xFFFF_FFF0, u64::MAX - 15, file.len() as u64] {
            let mut damaged = file.clone();
            damaged[at..at + 4].copy_from_slice(&number.to_le_bytes()[..4]);
            let _ = walk(&damaged).is_ok();
            damaged[at..at + 8].copy_from_slice(&number.to_le_bytes());
            let _ = walk(&damaged).is_ok();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Many bytes at once, in the pages' first bytes, where structure is, as often as anywhere.
    #[test]
    fn no_bytes_together_make_the_reader_panic_or_run_on(
        changes in vec((1024_usize..13 * 1024, any::<bool>(), any::<u8>()), 1..30)
    ) {
        let mut file = Vec::new();
        write_image(&mut Small, PageBytes::new(1024).unwrap(), &mut file).unwrap();
        for (at, in_structure, byte) in changes {
            let at = if in_structure { at / 1024 * 1024 + at % 80 } else { at };
            file[at] = byte;
        }
        let _ = walk(&file).is_ok();
    }
}

/// Every page in the place of every other one, under that one's id.
#[test]
fn no_page_in_a_wrong_place_makes_the_reader_panic_or_run_on() {
    let mut file = Vec::new();
    write_image(&mut Small, PageBytes::new(1024).unwrap(), &mut file).unwrap();
    let pages = file.len() / 1024;
    for (from, to) in (0..pages).flat_map(|from| (2..pages).map(move |to| (from, to))) {
        let mut damaged = file.clone();
        damaged.copy_within(from * 1024..(from + 1) * 1024, to * 1024);
        // The second slot of the large value's page is all value, which nothing protects.
        let unseen = from == to || to == 3;
        assert_eq!(walk(&damaged).is_ok(), unseen, "page {from} as {to}, under its own id");
        damaged[to * 1024..to * 1024 + 8].copy_from_slice(&(to as u64).to_le_bytes());
        let _ = walk(&damaged).is_ok();
    }
}
