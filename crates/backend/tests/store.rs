//! The store against its model: whatever is done in whatever order, it says what the model says,
//! while it is open and after it is opened again.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

mod common;

use common::{DIR, OPTIONS, Random, World, fs_dyn, matches_model, read_all, reopen};
use quorate_backend::{Bucket, Error, Opened, Revision, open};
use std::path::Path;
use std::time::Duration;
use vfs::{Fs, MemFs};

#[test]
fn random_lives_say_what_the_model_says() {
    let mut rewrites = 0;
    for seed in 0..300 {
        let fs = MemFs::new();
        let mut random = Random(seed);
        let mut world = World::new(reopen(&fs).unwrap());
        for step in 0..150 {
            world.step(&mut random).unwrap_or_else(|error| panic!("seed {seed} {step}: {error}"));
            if step % 25 == 0 {
                world.check_open();
            }
        }
        world.check_open();
        let World { mut opened, model, now, .. } = world;
        opened.flusher.step(now, u64::MAX).unwrap();
        opened.flusher.sync().unwrap();
        assert_eq!(opened.flusher.synced_index(), opened.store.consistent_index());
        rewrites += world.rewrites;
        drop(opened);
        let mut again = reopen(&fs).unwrap();
        let found = read_all(&mut again).unwrap();
        let place = matches_model(&model, &found);
        assert_eq!(place, Some(model.states.len() - 1), "seed {seed}");
    }
    assert!(rewrites > 300, "compactions happen: {rewrites}");
}

#[test]
fn nothing_is_written_before_the_log_has_it() {
    let fs = MemFs::new();
    let mut opened = reopen(&fs).unwrap();
    opened.store.put(Revision { main: 2, sub: 0 }, false, b"\x0a\x01k");
    opened.store.set(Bucket::Meta, b"k", b"v");
    opened.store.commit(5, 1);
    opened.flusher.step(Duration::ZERO, 4).unwrap();
    opened.flusher.sync().unwrap();
    assert_eq!(opened.flusher.synced_index(), 0);
    assert!(opened.reader.usage().overlay_bytes > 0);
    let at = Duration::from_millis;
    opened.flusher.step(at(1), 5).unwrap();
    assert_eq!(opened.flusher.wake_at(), Some(at(11)), "waits for others");
    assert!(opened.reader.usage().overlay_bytes > 0);
    opened.flusher.step(at(11), 5).unwrap();
    assert_eq!(opened.flusher.synced_index(), 0, "written, not yet synced");
    assert_eq!(opened.reader.usage().overlay_bytes, 0);
    assert_eq!(opened.flusher.wake_at(), Some(at(111)));
    opened.flusher.step(at(111), 5).unwrap();
    assert_eq!(opened.flusher.synced_index(), 5);
    assert_eq!(opened.flusher.wake_at(), None);
}

#[test]
fn what_a_killed_process_left_unsynced_is_synced_before_it_counts() {
    let fs = MemFs::new();
    let mut world = World::new(reopen(&fs).unwrap());
    world.commit(&mut Random(1));
    world.opened.flusher.step(Duration::ZERO, u64::MAX).unwrap();
    world.opened.flusher.step(Duration::from_millis(10), u64::MAX).unwrap();
    let index = world.opened.store.consistent_index();
    assert_eq!((world.opened.flusher.synced_index(), index > 0), (0, true), "written only");
    drop(world);
    let again = reopen(&fs).unwrap();
    assert_eq!(again.flusher.synced_index(), index);
    for seed in 0..50 {
        let after = reopen(&fs.crash(seed)).unwrap();
        assert_eq!(after.store.consistent_index(), index, "power cut {seed} behind a kill");
    }
}

#[test]
fn a_store_is_locked_while_anybody_may_write_to_it() {
    let fs = MemFs::new();
    let Opened { reader, flusher, compactor, .. } = reopen(&fs).unwrap();
    drop(flusher);
    assert!(matches!(reopen(&fs), Err(Error::Locked { .. })));
    drop(compactor);
    let again = reopen(&fs).unwrap();
    drop(reader);
    assert!(matches!(reopen(&fs), Err(Error::Locked { .. })));
    drop(again);
}

#[test]
fn a_missing_segment_is_named() {
    let fs = MemFs::new();
    let mut world = World::new(reopen(&fs).unwrap());
    let mut random = Random(1);
    while world.opened.reader.usage().files < 4 {
        world.commit(&mut random);
        world.flush();
    }
    drop(world);
    fs.remove(&Path::new(DIR).join("00000001-00000001-00000000.seg")).unwrap();
    let error = reopen(&fs).unwrap_err();
    assert!(matches!(error, Error::MissingSegment { expected: 1, found: 2, .. }), "{error}");
}

#[test]
fn a_failed_write_is_final() {
    let fs = MemFs::new();
    let mut world = World::new(open(fs_dyn(&fs), Path::new(DIR), OPTIONS).unwrap());
    world.commit(&mut Random(3));
    world.opened.flusher.step(Duration::ZERO, u64::MAX).unwrap();
    fs.fail_nth(1);
    let first = world.opened.flusher.sync().unwrap_err();
    let second = world.opened.flusher.sync().unwrap_err();
    assert_eq!(first.to_string(), second.to_string());
}

#[test]
fn a_pin_stays_while_its_files_are_replaced() {
    let fs = MemFs::new();
    let mut world = World::new(reopen(&fs).unwrap());
    let mut random = Random(5);
    while world.opened.reader.usage().files < 6 {
        world.commit(&mut random);
        world.flush();
    }
    let pin = world.opened.reader.pin();
    let count = |pin: &quorate_backend::Pin| {
        let mut count = 0;
        pin.for_each(|_, _| {
            count += 1;
            Ok::<_, Error>(())
        })
        .unwrap();
        count
    };
    let before = count(&pin);
    assert_eq!(before, world.model.puts.len());
    world.opened.flusher.sync().unwrap();
    world.compact();
    let bytes = world.opened.reader.usage().file_bytes;
    while world.opened.compactor.step(&&world.model, 100).unwrap() != quorate_backend::Step::Idle {}
    assert!(world.opened.reader.usage().file_bytes < bytes);
    assert_eq!(count(&pin), before);
    assert!(count(&world.opened.reader.pin()) < before);
    world.check_open();
}

/// Finds what can be read of all puts, in any order, and what each is.
fn find_some(world: &World, random: &mut Random) -> (quorate_backend::Records, Vec<Vec<u8>>) {
    let mut live: Vec<usize> = (0..world.model.puts.len())
        .filter(|place| {
            let put = &world.model.puts[*place];
            !put.tombstone && !world.model.dead.contains_key(&put.revision)
        })
        .collect();
    if random.below(2) == 0 {
        live.sort_by_cached_key(|place| (random.below(8), *place));
    }
    let locations = live.iter().map(|place| world.locations[*place]).collect();
    let values = live.iter().map(|place| world.model.puts[*place].value.clone()).collect();
    (world.opened.reader.find(locations).unwrap(), values)
}

#[test]
fn what_was_found_stays_readable_whatever_happens() {
    let mut read_late = 0;
    for seed in 0..200 {
        let mut world = World::new(reopen(&MemFs::new()).unwrap());
        let mut random = Random(seed);
        let mut found = Vec::new();
        for _ in 0..300 {
            world.step(&mut random).unwrap();
            if random.below(20) == 0 {
                found.push((find_some(&world, &mut random), 0, world.rewrites));
            }
            // Some go on now, and some wait for the end.
            for ((records, values), next, rewrites) in &mut found {
                if random.below(10) > 0 || *next == values.len() {
                    continue;
                }
                let count = usize::try_from(1 + random.below(9)).unwrap();
                let end = values.len().min(*next + count);
                let mut place = *next;
                let take = |value: &[u8]| {
                    assert_eq!(value, values[place]);
                    assert_eq!(value.len(), records.value_len(place));
                    place += 1;
                };
                records.read(*next..end, take).unwrap();
                assert_eq!(place, end);
                *next = end;
                read_late += u64::from(world.rewrites > *rewrites + 1);
            }
        }
        for ((records, values), ..) in found {
            let mut all = Vec::new();
            records.read(0..records.len(), |value| all.push(value.to_vec())).unwrap();
            assert_eq!(all, values);
        }
    }
    assert!(read_late > 100, "files were replaced meanwhile: {read_late}");
}

#[test]
fn what_is_gone_is_not_found_and_damage_is_named() {
    let fs = MemFs::new();
    let mut world = World::new(reopen(&fs).unwrap());
    let mut random = Random(7);
    while world.opened.reader.usage().files < 6 {
        world.commit(&mut random);
        world.flush();
    }
    let (records, values) = find_some(&world, &mut random);
    let first = world.locations[0];
    world.compact();
    while world.opened.compactor.step(&&world.model, 100).unwrap() != quorate_backend::Step::Idle {}
    assert!(world.opened.reader.find(vec![first]).is_err_and(|error| error.is_gone()));
    records.read(0..values.len(), |_| {}).unwrap();
    // The oldest file that is left is damaged behind its head.
    let (records, values) = find_some(&world, &mut random);
    let name = fs_dyn(&fs).read_dir(Path::new(DIR)).unwrap();
    let name = name.into_iter().find(|name| name.ends_with(".seg")).unwrap();
    let file = fs_dyn(&fs).open(&Path::new(DIR).join(name), vfs::OpenMode::Write).unwrap();
    file.write_at(&[0xff; 400], 60).unwrap();
    let error = records.read(0..values.len(), |_| {}).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}
