//! Running seeds: one, or a range on two threads; and the report of one that failed.

use crate::coverage::{Counters, Coverage};
use crate::oracle::Violation;
use crate::world::{Outcome, World};
use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};

/// Threads that run worlds, one world each.
const THREADS: usize = 2;

/// A world that a seed decides.
pub(crate) trait Simulated {
    /// Its counters.
    type Coverage: Counters;
    /// The test that replays a seed of it.
    const TEST: &'static str;

    /// The world of a seed; with the end of its trace kept, if asked.
    fn new(seed: u64, traced: bool) -> Self;
    /// Runs faults, then without; stops at the first violation.
    fn run(&mut self);
    /// Notes what must not happen and did, if it is the first.
    fn violated(&mut self, property: &'static str, text: String);
    /// What the run came to.
    fn end(self) -> Outcome<Self::Coverage>;
}

/// What a range of seeds came to.
#[derive(Debug, Default)]
pub struct Summary<C = Coverage> {
    /// Seeds that ran.
    pub seeds: u64,
    /// Events in them.
    pub steps: u64,
    /// Runs whose cluster could not go on through no fault of its own.
    pub stranded: u64,
    /// What happened in them.
    pub coverage: C,
    /// The lowest seed that failed.
    pub failure: Option<Failure>,
}

/// A seed that failed.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The test that replays it.
    pub test: &'static str,
    /// The step it failed in.
    pub step: u64,
    /// What was violated.
    pub violation: Violation,
    /// The end of the trace.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "{line}")?;
        }
        let Violation { property, text } = &self.violation;
        writeln!(f, "seed {}, step {}: {property}: {text}", self.seed, self.step)?;
        let (seed, test) = (self.seed, self.test);
        write!(
            f,
            "replay: QUORATE_SEED={seed} cargo test -p quorate-sim --test {test} -- --nocapture"
        )
    }
}

/// Runs one seed, with a trace if asked. A panic anywhere in it is a violation too.
#[must_use]
pub fn run(seed: u64, traced: bool) -> Outcome {
    run_in::<World>(seed, traced)
}

/// Runs the seeds of a range until one fails.
#[must_use]
pub fn run_all(seeds: Range<u64>) -> Summary {
    run_all_in::<World>(seeds)
}

/// [`run`], in any world.
pub(crate) fn run_in<W: Simulated>(seed: u64, traced: bool) -> Outcome<W::Coverage> {
    catch_panics_quietly();
    let mut world = W::new(seed, traced);
    PANIC.with_borrow_mut(|panic| panic.watched = true);
    let ran = catch_unwind(AssertUnwindSafe(|| world.run()));
    let text = PANIC.with_borrow_mut(|panic| {
        panic.watched = false;
        std::mem::take(&mut panic.text)
    });
    if ran.is_err() {
        world.violated("no panic", text);
    }
    world.end()
}

/// [`run_all`], in any world.
pub(crate) fn run_all_in<W: Simulated>(seeds: Range<u64>) -> Summary<W::Coverage> {
    let next = AtomicU64::new(seeds.start);
    let failed = AtomicU64::new(u64::MAX);
    let summary = Mutex::new(Summary::<W::Coverage>::default());
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.load(Ordering::Relaxed) < seed {
                        break;
                    }
                    let outcome = run_in::<W>(seed, false);
                    let mut summary = summary.lock().expect("panics in runs are caught");
                    summary.seeds += 1;
                    summary.steps += outcome.steps;
                    summary.stranded += u64::from(outcome.stranded);
                    summary.coverage.merge(&outcome.coverage);
                    if outcome.violation.is_some() {
                        failed.fetch_min(seed, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let mut summary = summary.into_inner().expect("panics in runs are caught");
    let failed = failed.into_inner();
    if failed < u64::MAX {
        summary.failure = Some(replay::<W>(failed));
    }
    summary
}

/// Runs a failed seed again, with a trace.
fn replay<W: Simulated>(seed: u64) -> Failure {
    let Outcome { steps, violation, trace, .. } = run_in::<W>(seed, true);
    let violation = violation.unwrap_or(Violation {
        property: "one seed, one run",
        text: "it failed before, and passes now".to_owned(),
    });
    Failure { seed, test: W::TEST, step: steps, violation, trace }
}

#[derive(Default)]
struct Panic {
    /// Whether a panic of this thread is caught and told by a violation.
    watched: bool,
    text: String,
}

thread_local! {
    static PANIC: RefCell<Panic> = RefCell::default();
}

/// Keeps the text of panics in worlds, and lets all others be printed as ever.
fn catch_panics_quietly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let watched = PANIC.with_borrow_mut(|panic| {
                panic.text = info.to_string();
                panic.watched
            });
            if !watched {
                before(info);
            }
        }));
    });
}
