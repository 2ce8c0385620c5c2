//! The power fails at every operation on the disk: what is found afterwards is what some commit
//! left, nothing that was synced is missing, nothing is there that the log had not.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

mod common;

use common::{Random, World, matches_model, read_all, reopen};
use vfs::MemFs;

const STEPS: u64 = 120;

/// Lives until the power fails.
fn live(fs: &MemFs, seed: u64) -> Option<World> {
    let mut random = Random(seed);
    let mut world = World::new(reopen(fs).ok()?);
    for _ in 0..STEPS {
        if world.step(&mut random).is_err() {
            break;
        }
    }
    Some(world)
}

#[test]
fn ten_thousand_crashes_leave_a_whole_prefix() {
    let (mut crashes, mut rewritten, mut lost_a_part) = (0_u64, 0, 0);
    let mut seed = 0;
    while crashes < 10_000 {
        seed += 1;
        let whole = MemFs::new();
        live(&whole, seed).unwrap();
        for at in 0..whole.operations() {
            let fs = MemFs::new();
            fs.cut_power_after(at);
            let world = live(&fs, seed);
            let crashed = fs.crash(seed << 16 | at);
            crashes += 1;
            let what = format!("seed {seed}, power cut after {at} operations");
            let mut opened = reopen(&crashed).unwrap_or_else(|e| panic!("{what}: {e}"));
            let found = read_all(&mut opened).unwrap_or_else(|e| panic!("{what}: {e}"));
            let Some(world) = world else {
                assert_eq!(found.0, common::State::default(), "{what}");
                continue;
            };
            let place = matches_model(&world.model, &found);
            let place = place.unwrap_or_else(|| panic!("{what}: {found:?}"));
            let index = world.model.states[place].index;
            assert!(index >= world.opened.flusher.synced_index(), "{what}: a synced one is lost");
            assert!(index <= world.durable, "{what}: ahead of the log");
            rewritten += u64::from(world.rewrites > 0);
            lost_a_part += u64::from(place + 1 < world.model.states.len());

            // It goes on, and a second crash right after a sync loses nothing.
            let mut model = world.model;
            model.puts.truncate(model.states[place].puts);
            model.states.truncate(place + 1);
            let mut world = World { opened, model, ..world };
            world.locations.clear();
            let mut random = Random(at);
            for _ in 0..3 {
                world.commit(&mut random);
            }
            world.flush();
            let mut again = reopen(&crashed.crash(at)).unwrap();
            let place = matches_model(&world.model, &read_all(&mut again).unwrap());
            assert_eq!(place, Some(world.model.states.len() - 1), "{what}");
        }
    }
    assert!(rewritten > 1000 && lost_a_part > 1000);
    testkit::figures::note(
        "backend-crashes",
        format!("{crashes} over {seed} lives, {rewritten} of them after a compaction"),
    );
}
