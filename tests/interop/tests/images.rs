//! Images that the real etcd's tools judge: one of a million keys that took little memory, and many
//! of random shape. `snapshot status` runs bbolt's own consistency check and hashes all it reads.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

use bolt::{PageBytes, Reader, write_image};
use interop::hash::{self, hash_kv};
use interop::release::releases;
use interop::store::{Database, History};
use quorate_interop as interop;
use std::fs::File;
use std::path::Path;
use std::process::Command;

const IMAGE_KEYS: u64 = 1_000_000;
const MEMORY_KIB: u64 = 64 << 10;

#[test]
fn an_image_of_a_million_keys_takes_little_memory_and_is_accepted() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("image.db");
    let (bytes, peak_kib) = write_keys(&path, IMAGE_KEYS);
    assert_eq!(bytes, std::fs::metadata(&path).unwrap().len());
    assert!(peak_kib < MEMORY_KIB, "{peak_kib} KiB");

    let reader = Reader::open(File::open(&path).unwrap()).unwrap();
    let checked = reader.check().unwrap();
    assert_eq!((checked.buckets, checked.pages + 2), (10, bytes / 4096));
    let ours = hash::status(&reader).unwrap();
    assert_eq!(ours.items, IMAGE_KEYS + 3);

    append_sha256(&path);
    for release in releases() {
        let told = release.utl(&["snapshot", "status", path.to_str().unwrap()]);
        assert_eq!(told["hash"].as_u64(), Some(ours.hash.into()), "{told}");
        assert_eq!(told["revision"].as_i64(), Some(ours.revision), "{told}");
        assert_eq!(told["totalSize"].as_u64(), Some(bytes), "{told}");
        // Compat: before 3.6 it is all items, since then the keys that are there.
        let keys = if release.stamps() { IMAGE_KEYS } else { ours.items };
        assert_eq!(told["totalKey"].as_u64(), Some(keys), "{told}");

        // Restoring checks the digest, which covers all that we wrote.
        let data = temp.path().join(format!("restored-{}", release.version));
        let data_dir = format!("--data-dir={}", data.display());
        release.utl(&["snapshot", "restore", path.to_str().unwrap(), &data_dir]);
        let restored = Database::read(&data.join("member/snap/db")).unwrap();
        assert_eq!(restored.bucket("key").len() as u64, IMAGE_KEYS);
        testkit::figures::note(
            &format!("interop-image-{}", release.version),
            format!("{IMAGE_KEYS} keys, {bytes} bytes, peak memory {peak_kib} KiB: accepted"),
        );
    }
}

/// Writes an image of that many keys in a process of its own; its bytes, and the process's memory.
fn write_keys(path: &Path, keys: u64) -> (u64, u64) {
    let mut image = Command::new(env!("CARGO_BIN_EXE_image"));
    let output = image.arg(path).arg(keys.to_string()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).unwrap();
    let (bytes, peak_kib) = told.trim().split_once(' ').unwrap();
    (bytes.parse().unwrap(), peak_kib.parse().unwrap())
}

/// A saved snapshot is a database with its digest behind it.
fn append_sha256(path: &Path) {
    let output = Command::new("sha256sum").arg(path).output().unwrap();
    let digits = &String::from_utf8(output.stdout).unwrap()[..64];
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let digest: Vec<u8> = (0..64).step_by(2).map(byte).collect();
    let file = File::options().append(true).open(path).unwrap();
    std::io::Write::write_all(&mut &file, &digest).unwrap();
}

const CHANGED_KEYS: u64 = 100_000;

/// Three levels of pages that we packed: a member deletes from their middle, compacts, and so
/// merges and splits pages everywhere. bbolt finds children by their first keys then.
#[test]
fn the_real_etcd_changes_an_image_in_its_middle() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("image.db");
    write_keys(&path, CHANGED_KEYS);
    append_sha256(&path);
    for release in releases() {
        let data = temp.path().join(&release.version);
        let data_dir = format!("--data-dir={}", data.display());
        release.utl(&["snapshot", "restore", path.to_str().unwrap(), &data_dir]);
        let member = release.start(&data, &["--unsafe-no-fsync"]);
        let told = release.hash(&member, 0);
        let db = data.join("member/snap/db");
        let before = Database::read(&path).unwrap();
        assert_eq!(hash_kv(before.bucket("key"), told.revision, -1), told);
        let name = |n: u64| format!("/registry/pods/default/{n:09}");
        for (from, to) in [(20_000, 45_000), (60_000, 60_500), (99_000, 100_000)] {
            release.ctl(&member, &["del", &name(from), &name(to)]);
        }
        let left = CHANGED_KEYS - 26_500;
        assert_eq!(member.key_count(), left);
        let compact = told.revision + 2;
        release.ctl(&member, &["compact", &compact.to_string(), "--physical"]);
        let told = release.hash(&member, 0);
        member.stop();
        let after = Database::read(&db).unwrap();
        assert_eq!(hash_kv(after.bucket("key"), told.revision, compact), told);
        assert_eq!(after.live().len() as u64, left);
        let member = release.start(&data, &["--unsafe-no-fsync"]);
        assert_eq!(release.hash(&member, 0), told);
        testkit::figures::note(
            &format!("interop-changed-{}", release.version),
            format!(
                "{CHANGED_KEYS} keys restored from our image, 26500 deleted, compacted to {} \
                 records, hashes equal, restarts",
                after.bucket("key").len()
            ),
        );
    }
}

const RANDOM_IMAGES: u64 = 60;

#[test]
fn images_of_any_shape_are_accepted() {
    let temp = tempfile::tempdir().unwrap();
    let (mut bytes, mut items, mut overflowing) = (0, 0, 0);
    for seed in 1..=RANDOM_IMAGES {
        let mut random = Random(seed);
        let path = temp.path().join(format!("{seed}.db"));
        let page_bytes = 1024 << random.below(7);
        let mut database = database(&mut random);
        let mut file = File::create(&path).unwrap();
        let layout =
            write_image(&mut database, PageBytes::new(page_bytes).unwrap(), &mut file).unwrap();
        bytes += layout.file_bytes();
        items += layout.items();
        let large = |value: &Vec<u8>| value.len() > page_bytes as usize;
        overflowing +=
            database.0.values().flat_map(|items| items.values()).filter(|v| large(v)).count();
        let reader = Reader::open(File::open(&path).unwrap()).unwrap();
        let ours = hash::status(&reader).unwrap();
        for release in releases() {
            let told = release.utl(&["snapshot", "status", path.to_str().unwrap()]);
            assert_eq!(told["hash"].as_u64(), Some(ours.hash.into()), "seed {seed}: {told}");
            let size = told["totalSize"].as_u64();
            assert_eq!(size, Some(layout.file_bytes()), "seed {seed}: {told}");
        }
        std::fs::remove_file(&path).unwrap();
    }
    let versions: Vec<_> = releases().into_iter().map(|release| release.version).collect();
    testkit::figures::note(
        "interop-images",
        format!(
            "{RANDOM_IMAGES} random images, {bytes} bytes, {items} items, {overflowing} larger \
             than a page: accepted by {}",
            versions.join(" and ")
        ),
    );
}

/// The judges do judge: what breaks an image makes them refuse it, as we do. Only the bbolt of the
/// newer release looks at the order of keys; both see to it that a page has one parent.
#[test]
fn a_broken_image_is_refused_by_both_sides() {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("image.db");
    write_keys(&path, 10_000);
    let sound = std::fs::read(&path).unwrap();
    let is_branch = |page: &usize| sound[page * 4096 + 8..page * 4096 + 10] == [1, 0];
    let branch = (2..sound.len() / 4096).find(is_branch).unwrap();
    let child = |i: usize| branch * 4096 + 16 + i * 16 + 8..branch * 4096 + 16 + i * 16 + 16;
    let mut swapped = sound.clone();
    swapped[child(1)].copy_from_slice(&sound[child(2)]);
    swapped[child(2)].copy_from_slice(&sound[child(1)]);
    let mut twice = sound.clone();
    twice[child(2)].copy_from_slice(&sound[child(1)]);
    for (file, wanted, by_all) in
        [(swapped, "expected keys below", false), (twice, "a page not met before", true)]
    {
        std::fs::write(&path, &file).unwrap();
        let told = Reader::open(&file).unwrap().check().unwrap_err().to_string();
        assert!(told.contains(wanted), "{told}");
        for release in releases() {
            let mut status = Command::new(release.home.join("etcdutl"));
            let output = status.args(["snapshot", "status"]).arg(&path).output().unwrap();
            let refuses = by_all || release.stamps();
            assert_eq!(!output.status.success(), refuses, "{}: {output:?}", release.version);
        }
    }
}

/// etcd's buckets with some keys, and others of any size, with keys and values of any length.
fn database(random: &mut Random) -> Database {
    let mut database = Database::empty();
    let mut history = History::default();
    for n in 0..random.below(300) {
        history.put(format!("key {n}").as_bytes(), &random.bytes(2000), 0);
    }
    for (key, value) in history.records() {
        database.insert("key", key.as_slice(), value.as_slice());
    }
    let buckets = if random.below(4) == 0 { random.below(2000) } else { random.below(5) };
    for n in 0..buckets {
        let name = format!("other {:016x} {n}", random.next());
        let items = database.0.entry(name.into_bytes()).or_default();
        // Large ones are few where buckets are many, so that no image is a burden to a disk.
        let (most_items, most_key, most_value) = match random.below(4) {
            0 => (3, 10, 10),
            1 => (1 + 20_000 / buckets, 20, 40),
            2 => (2 + 200 / (buckets + 1), 32_760, 100),
            _ => (2 + 20 / (buckets + 1), 100, 100_000),
        };
        for _ in 0..random.below(most_items) {
            let mut key = random.next().to_be_bytes().to_vec();
            key.extend(random.bytes(most_key));
            items.insert(key, random.bytes(most_value));
        }
    }
    database
}

/// xorshift64: the same images each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 1
    }

    fn below(&mut self, most: u64) -> u64 {
        (self.next() >> 20) % most.max(1)
    }

    /// Up to `most` bytes, mostly few.
    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let most = if self.below(3) == 0 { most } else { most / 20 };
        let length = usize::try_from(self.below(most + 1)).unwrap();
        vec![b'a' + u8::try_from(self.below(26)).unwrap(); length]
    }
}
