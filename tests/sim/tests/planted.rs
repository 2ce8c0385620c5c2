//! The simulator finds bugs: each one planted is found, and the same seeds pass without it.

use quorate_sim::run;
use std::fmt::Debug;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Seeds tried for a bug, at most.
const SEEDS: u64 = 4_000;
/// Threads that look for bugs.
const THREADS: usize = 2;

/// A planted bug of one crate or the other.
#[derive(Clone, Copy)]
enum Planted {
    Raft(raft::planted::Bug),
    Wal(wal::planted::Bug),
}

impl Debug for Planted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Planted::Raft(bug) => write!(f, "raft {bug:?}"),
            Planted::Wal(bug) => write!(f, "wal {bug:?}"),
        }
    }
}

/// Turns a bug on for this thread, or all off.
fn plant(bug: Option<Planted>) {
    raft::planted::plant(None);
    wal::planted::plant(None);
    match bug {
        Some(Planted::Raft(bug)) => raft::planted::plant(Some(bug)),
        Some(Planted::Wal(bug)) => wal::planted::plant(Some(bug)),
        None => {}
    }
}

/// The first seed that shows the bug, and how.
fn find(bug: Planted) -> Option<(u64, &'static str)> {
    plant(Some(bug));
    let found = (0..SEEDS).find_map(|seed| Some((seed, run(seed, false).violation?.property)));
    plant(None);
    found
}

#[test]
fn each_planted_bug_is_found_and_the_same_seeds_pass_without_it() {
    let raft = raft::planted::Bug::ALL.map(Planted::Raft);
    let bugs: Vec<Planted> =
        raft.into_iter().chain(wal::planted::Bug::ALL.map(Planted::Wal)).collect();
    let next = AtomicUsize::new(0);
    let results = Mutex::new(vec![None; bugs.len()]);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = find(*bug);
                    println!("{bug:?}: {found:?}");
                    let at = bugs.iter().position(|other| std::ptr::eq(other, bug));
                    results.lock().expect("no other panics")[at.expect("one of them")] = found;
                }
            });
        }
    });
    let results = results.into_inner().expect("nobody panicked");
    let missed: Vec<_> = bugs.iter().zip(&results).filter(|(_, found)| found.is_none()).collect();
    assert!(missed.is_empty(), "not found in {SEEDS} seeds: {missed:?}");

    let last = results.iter().flatten().map(|(seed, _)| *seed).max().unwrap_or_default();
    let clean = quorate_sim::run_all(0..last + 1);
    assert!(clean.failure.is_none(), "without any bug: {}", clean.failure.expect("there is one"));
    let needed: Vec<String> = bugs
        .iter()
        .zip(results.iter().flatten())
        .map(|(bug, (seed, property))| format!("{bug:?} {} ({property})", seed + 1))
        .collect();
    testkit::figures::note(
        "planted",
        format!(
            "{} bugs, each found; seeds needed: {}; seeds 0..={last} pass without",
            bugs.len(),
            needed.join(", ")
        ),
    );
}
