//! The simulator finds bugs: each one planted is found, and the same seeds pass without it.

use quorate_sim::{run, run_all, servers};
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
    Mvcc(mvcc::planted::Bug),
    Apply(apply::planted::Bug),
    Server(server::planted::Bug),
}

impl Debug for Planted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Planted::Raft(bug) => write!(f, "raft {bug:?}"),
            Planted::Wal(bug) => write!(f, "wal {bug:?}"),
            Planted::Mvcc(bug) => write!(f, "mvcc {bug:?}"),
            Planted::Apply(bug) => write!(f, "apply {bug:?}"),
            Planted::Server(bug) => write!(f, "server {bug:?}"),
        }
    }
}

impl Planted {
    fn all() -> Vec<Planted> {
        let raft = raft::planted::Bug::ALL.into_iter().map(Planted::Raft);
        let wal = wal::planted::Bug::ALL.into_iter().map(Planted::Wal);
        let mvcc = mvcc::planted::Bug::ALL.into_iter().map(Planted::Mvcc);
        let apply = apply::planted::Bug::ALL.into_iter().map(Planted::Apply);
        let server = server::planted::Bug::ALL.into_iter().map(Planted::Server);
        raft.chain(wal).chain(mvcc).chain(apply).chain(server).collect()
    }

    /// Whether it takes whole servers to show it.
    fn is_of_servers(self) -> bool {
        match self {
            Planted::Raft(_) | Planted::Wal(_) => false,
            Planted::Mvcc(_) | Planted::Apply(_) | Planted::Server(_) => true,
        }
    }
}

/// Turns a bug on for this thread, or all off.
fn plant(bug: Option<Planted>) {
    raft::planted::plant(None);
    wal::planted::plant(None);
    mvcc::planted::plant(None);
    apply::planted::plant(None);
    server::planted::plant(None);
    match bug {
        Some(Planted::Raft(bug)) => raft::planted::plant(Some(bug)),
        Some(Planted::Wal(bug)) => wal::planted::plant(Some(bug)),
        Some(Planted::Mvcc(bug)) => mvcc::planted::plant(Some(bug)),
        Some(Planted::Apply(bug)) => apply::planted::plant(Some(bug)),
        Some(Planted::Server(bug)) => server::planted::plant(Some(bug)),
        None => {}
    }
}

/// The first seed that shows the bug, and how.
fn find(bug: Planted) -> Option<(u64, &'static str)> {
    plant(Some(bug));
    let found = (0..SEEDS).find_map(|seed| {
        let violation = match bug.is_of_servers() {
            true => servers::run(seed, false).violation,
            false => run(seed, false).violation,
        };
        Some((seed, violation?.property))
    });
    plant(None);
    found
}

#[test]
fn each_planted_bug_is_found_and_the_same_seeds_pass_without_it() {
    let bugs = Planted::all();
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

    let last = |of_servers: bool| {
        let found = bugs.iter().zip(results.iter().flatten());
        let found = found.filter(|(bug, _)| bug.is_of_servers() == of_servers);
        found.map(|(_, (seed, _))| *seed).max().unwrap_or_default()
    };
    let (last_below, last_servers) = (last(false), last(true));
    let clean =
        run_all(0..last_below + 1).failure.or(servers::run_all(0..last_servers + 1).failure);
    assert!(clean.is_none(), "without any bug: {}", clean.expect("there is one"));
    let needed: Vec<String> = bugs
        .iter()
        .zip(results.iter().flatten())
        .map(|(bug, (seed, property))| format!("{bug:?} {} ({property})", seed + 1))
        .collect();
    testkit::figures::note(
        "planted",
        format!(
            "{} bugs, each found; seeds needed: {}; seeds 0..={last_below} and, of whole servers, \
             0..={last_servers} pass without",
            bugs.len(),
            needed.join(", ")
        ),
    );
}
