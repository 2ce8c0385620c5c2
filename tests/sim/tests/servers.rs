//! Whole servers: the seeds of the test command, a range of them, or one with its trace.
//!
//! `QUORATE_SEEDS=0..5000` runs a range, `QUORATE_SEED=7` one.

use quorate_sim::servers::{run, run_all};
use std::time::Instant;

/// Seeds of an ordinary run.
const SEEDS: u64 = 300;

#[test]
fn every_history_is_linearizable_and_every_watch_is_told_all() {
    if let Ok(seed) = std::env::var("QUORATE_SEED") {
        let seed = seed.parse().expect("QUORATE_SEED is a number");
        let outcome = run(seed, true);
        outcome.trace.iter().for_each(|line| println!("{line}"));
        println!("{} steps, {}", outcome.steps, outcome.coverage);
        assert_eq!(outcome.violation, None);
        return;
    }
    let range = std::env::var("QUORATE_SEEDS").ok().map_or(0..SEEDS, |range| {
        let (from, to) = range.split_once("..").expect("QUORATE_SEEDS is a range, as in 0..100");
        from.parse().expect("a number")..to.parse().expect("a number")
    });
    let started = Instant::now();
    let summary = run_all(range.clone());
    if let Some(failure) = summary.failure {
        panic!("{failure}");
    }
    let seconds = started.elapsed().as_secs_f64();
    let rate = summary.seeds as f64 / seconds;
    let (seeds, steps) = (summary.seeds, summary.steps);
    testkit::figures::note(
        "servers",
        format!(
            "seeds {}..{}: {seeds} seeds, {steps} steps, {rate:.0} seeds/s, 0 violations; {}",
            range.start, range.end, summary.coverage
        ),
    );
    if seeds >= SEEDS {
        assert_eq!(summary.coverage.missing(), [""; 0], "never happened");
    }
}

#[test]
fn a_seed_decides_everything() {
    for seed in [1, 2, 3, 4] {
        let (one, other) = (run(seed, true), run(seed, true));
        assert_eq!(one.trace, other.trace);
        assert_eq!((one.digest, one.steps), (other.digest, other.steps));
        assert_eq!(one.coverage, other.coverage);
    }
}
