//! How many requests a second etcd keeps up with, for loads at half of that.
//!
//! Not what it does while 500 clients wait for their answers: then requests come in heaps, and
//! client and server take many at once. Where they come at fixed times each is a packet, a system
//! call and a wake of its own on both sides, client and server share two processors, and etcd is
//! full below: half of what it does closed can be at the edge of what it does open, where its queue
//! grows for as long as the run lasts, and two runs differ fiftyfold. So the rate is looked for
//! with the load it is for, in twentieths of what etcd does closed: the highest at which what is
//! due is answered in time.

use super::programs::Programs;
use super::results::{self, Rate};
use super::rows::Row;
use super::run;
use anyhow::{Result, ensure};

/// Runs that tell what etcd does closed, and whether it keeps up with a rate: most of them decide.
const RUNS: usize = 3;

/// Rates that are told apart, up to what etcd does closed.
const STEPS: u32 = 20;

/// So much of what was due must be answered while it is measured.
const IN_TIME: f64 = 0.99;

/// Finds the rate of a row that is so much of what etcd keeps up with.
pub fn find(row: &Row, share: f64, programs: &Programs, seconds: u32) -> Result<Rate> {
    let mut peaks = Vec::new();
    for _ in 0..RUNS {
        let answer = run::once(row, &programs.theirs, programs, seconds, None)?;
        peaks.push(results::figure(&answer, "/reports/0/per_second")?);
    }
    let closed = results::median(&peaks).round();
    let kept = highest(closed, |rate| {
        let answer = run::once(row, &programs.theirs, programs, seconds, Some(rate))?;
        let in_time = results::figure(&answer, "/in_time_per_second")?;
        eprintln!("{} {}: {in_time:.0} of {rate} a second in time", row.line, row.name);
        Ok(in_time >= rate * IN_TIME)
    })?;
    Ok(Rate { rate: (kept * share).round(), kept, closed })
}

/// The highest rate that is kept up with in most runs, in steps: each of those looked at halves
/// what is left.
fn highest(closed: f64, mut keeps_up: impl FnMut(f64) -> Result<bool>) -> Result<f64> {
    let rate_of = |step: u32| (closed * f64::from(step) / f64::from(STEPS)).round();
    let (mut kept, mut lost) = (0, STEPS + 1);
    while lost - kept > 1 {
        let step = kept.midpoint(lost);
        let (mut good, mut bad) = (0, 0);
        while good <= RUNS / 2 && bad <= RUNS / 2 {
            if keeps_up(rate_of(step))? { good += 1 } else { bad += 1 }
        }
        if good > bad { kept = step } else { lost = step }
    }
    ensure!(kept > 0, "etcd keeps up with no rate");
    Ok(rate_of(kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_rate_is_found() {
        assert_eq!(highest(1000.0, |rate| Ok(rate <= 620.0)).unwrap(), 600.0);
        assert_eq!(highest(1000.0, |rate| Ok(rate <= 50.0)).unwrap(), 50.0);
        assert_eq!(highest(1000.0, |_| Ok(true)).unwrap(), 1000.0);
        assert!(highest(1000.0, |_| Ok(false)).is_err());
    }

    /// One run that fails or succeeds by chance changes nothing.
    #[test]
    fn most_runs_decide() {
        let mut runs = 0;
        let rate = highest(1000.0, |rate| {
            runs += 1;
            Ok((rate <= 500.0) != (runs % 3 == 1))
        });
        assert_eq!(rate.unwrap(), 500.0);
    }
}
