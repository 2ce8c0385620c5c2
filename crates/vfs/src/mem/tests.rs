//! What survives a crash of the disk in memory, and what planned failures do.

use super::*;

fn contents(fs: &MemFs, path: &str) -> Option<Vec<u8>> {
    fs.read(Path::new(path)).ok()
}

#[test]
fn what_was_synced_survives_every_crash() {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new("/d")).unwrap();
    let file = fs.open(Path::new("/d/f"), OpenMode::CreateNew).unwrap();
    file.write_at(&[7; 2000], 0).unwrap();
    file.sync_data().unwrap();
    fs.sync_dir(Path::new("/d")).unwrap();
    for seed in 0..100 {
        assert_eq!(contents(&fs.crash(seed), "/d/f"), Some(vec![7; 2000]));
    }
}

#[test]
fn unsynced_sectors_are_lost_one_by_one_and_unsynced_names_vanish() {
    let fs = MemFs::new();
    let file = fs.open(Path::new("/f"), OpenMode::CreateNew).unwrap();
    let lost = (0..100).filter(|seed| contents(&fs.crash(*seed), "/f").is_none()).count();
    assert!((1..100).contains(&lost), "{lost}");

    fs.sync_dir(Path::new("/")).unwrap();
    file.set_len(1536).unwrap();
    file.sync_data().unwrap();
    file.write_at(&[1; 1036], 500).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let content = contents(&fs.crash(seed), "/f").unwrap();
        for sector in [&content[500..512], &content[512..1024], &content[1024..]] {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is never torn");
        }
        seen.insert((content[500], content[600], content[1100]));
    }
    assert_eq!(seen.len(), 8, "every subset of three sectors: {seen:?}");
}

#[test]
fn a_planned_failure_hits_once_and_a_power_cut_for_ever() {
    let fs = MemFs::new();
    let file = fs.open(Path::new("/f"), OpenMode::CreateNew).unwrap();
    fs.fail_nth(2);
    file.write_at(b"abcd", 0).unwrap();
    let error = file.write_at(b"efgh", 4).unwrap_err();
    assert_eq!(error.to_string(), "cannot write /f: planned disk failure");
    assert_eq!(contents(&fs, "/f").unwrap(), b"abcdef");
    file.write_at(b"ij", 6).unwrap();
    fs.cut_power_after(1);
    file.sync_data().unwrap();
    assert!(file.write_at(b"kl", 8).is_err());
    assert!(file.sync_data().is_err());
}

#[test]
fn a_failed_sync_makes_nothing_durable_and_the_next_one_does() {
    let fs = MemFs::new();
    let file = fs.open(Path::new("/f"), OpenMode::CreateNew).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs.fail_nth_sync(2);
    file.sync_data().unwrap();
    file.write_at(b"abcd", 0).unwrap();
    assert!(file.sync_data().is_err());
    let lost = (0..50).filter(|seed| contents(&fs.crash(*seed), "/f").unwrap().is_empty()).count();
    assert!((1..50).contains(&lost), "{lost}");
    file.sync_data().unwrap();
    assert_eq!(contents(&fs.crash(1), "/f").unwrap(), b"abcd");
}

#[test]
fn a_renamed_directory_keeps_its_files_and_locks_exclude() {
    let fs = MemFs::new();
    fs.create_dir_all(Path::new("/a.tmp")).unwrap();
    let file = fs.open(Path::new("/a.tmp/f"), OpenMode::CreateNew).unwrap();
    file.try_lock().unwrap();
    fs.rename(Path::new("/a.tmp"), Path::new("/a")).unwrap();
    file.append(b"x").unwrap();
    assert_eq!(contents(&fs, "/a/f").unwrap(), b"x");
    let other = fs.open(Path::new("/a/f"), OpenMode::Write).unwrap();
    assert!(other.try_lock().unwrap_err().is_locked());
    drop(file);
    other.try_lock().unwrap();
    assert_eq!(fs.read_dir(Path::new("/")).unwrap(), ["a"]);
}
