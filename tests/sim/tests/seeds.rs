//! The seeds of the test command, a range of them, or one with its trace.
//!
//! `QUORATE_SEEDS=0..100000` runs a range, `QUORATE_SEED=7` one.

use quorate_sim::{run, run_all};
use std::time::Instant;

/// Seeds of an ordinary run.
const SEEDS: u64 = 2_000;

#[test]
fn every_seed_keeps_every_invariant() {
    if let Ok(seed) = std::env::var("QUORATE_SEED") {
        let seed = seed.parse().expect("QUORATE_SEED is a number");
        let outcome = run(seed, true);
        outcome.trace.iter().for_each(|line| println!("{line}"));
        println!("{} steps, stranded {}, {}", outcome.steps, outcome.stranded, outcome.coverage);
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
    let (seeds, steps, stranded) = (summary.seeds, summary.steps, summary.stranded);
    testkit::figures::note(
        "sim",
        format!(
            "seeds {}..{}: {seeds} seeds, {steps} steps, {rate:.0} seeds/s, 0 violations, \
             {stranded} stranded; {}",
            range.start, range.end, summary.coverage
        ),
    );
    if seeds >= SEEDS {
        assert_eq!(summary.coverage.missing(), [""; 0], "never happened");
        assert!(stranded * 50 < seeds, "{stranded} of {seeds} runs proved no progress");
    }
}

#[test]
fn a_seed_decides_everything() {
    for seed in [1, 2, 3, 4] {
        let (one, other) = (run(seed, true), run(seed, true));
        assert_eq!(one.trace, other.trace);
        assert_eq!((one.steps, one.coverage), (other.steps, other.coverage));
    }
}
