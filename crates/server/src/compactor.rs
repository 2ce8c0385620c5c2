//! Compaction by itself: what to compact, and when.
//!
//! [`Compactor`] is told the time and the revision whenever it asked to be woken, and says which
//! revision to compact; whoever runs it (`tasks.rs`) asks the log. It compacts on the leader only
//! and remembers on all, so that a new leader need not begin anew.
//!
//! What it is not: a clock, a task, or the compaction itself.
//!
//! Source: etcd `server/etcdserver/api/v3compactor`.

use std::collections::VecDeque;
use std::time::Duration;

/// What a member keeps when it compacts by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AutoCompaction {
    /// What was there within this time.
    Periodic(Duration),
    /// So many revisions.
    Revision(i64),
}

/// Periodic compactions are no further apart than this.
const HOUR: Duration = Duration::from_secs(3600);

/// Revisions are looked at so many times in a period.
const LOOKS: u32 = 10;

/// The shortest time between two looks: a period of nothing would be no rest at all.
const LOOK_MIN: Duration = Duration::from_millis(1);

/// How often revisions are counted.
const REVISION_PERIOD: Duration = Duration::from_secs(5 * 60);

/// The stage.
#[derive(Debug)]
pub(crate) struct Compactor {
    keep: AutoCompaction,
    /// Revisions at the last looks, the oldest a period ago once it is full.
    seen: VecDeque<i64>,
    wake_at: Duration,
    /// The last revision that was compacted.
    last: i64,
    last_at: Duration,
    /// Whether the first period is over.
    is_under_way: bool,
}

impl Compactor {
    pub(crate) fn new(keep: AutoCompaction, now: Duration, revision: i64) -> Self {
        let mut compactor = Self {
            keep,
            seen: VecDeque::new(),
            wake_at: Duration::ZERO,
            last: 0,
            last_at: now,
            is_under_way: false,
        };
        compactor.look(now, revision);
        compactor
    }

    /// When [`Compactor::step`] has something to do.
    pub(crate) fn wake_at(&self) -> Duration {
        self.wake_at
    }

    /// What is kept.
    pub(crate) fn keeps(&self) -> AutoCompaction {
        self.keep
    }

    /// How long after a failure it is tried again.
    pub(crate) fn pause(&self) -> Duration {
        match self.keep {
            AutoCompaction::Periodic(period) => (period.min(HOUR) / LOOKS).max(LOOK_MIN),
            AutoCompaction::Revision(_) => REVISION_PERIOD,
        }
    }

    /// Says what to compact now, if anything. Before it does nothing again it must be told with
    /// [`Compactor::compacted`] whether that could be done.
    pub(crate) fn step(&mut self, now: Duration, revision: i64, leads: bool) -> Option<i64> {
        if now < self.wake_at {
            return None;
        }
        let due = if leads { self.due(now, revision) } else { None };
        if due.is_none() {
            self.look(now, revision);
        }
        due
    }

    fn due(&self, now: Duration, revision: i64) -> Option<i64> {
        match self.keep {
            AutoCompaction::Periodic(period) => {
                let wait = if self.is_under_way { period.min(HOUR) } else { period };
                let oldest = *self.seen.front()?;
                let is_due = now.saturating_sub(self.last_at) >= wait && oldest != self.last;
                is_due.then_some(oldest)
            }
            AutoCompaction::Revision(keep) => {
                let oldest = revision.saturating_sub(keep);
                (oldest > 0 && oldest != self.last).then_some(oldest)
            }
        }
    }

    /// Takes what came of a compaction; `revision` is the one of now.
    pub(crate) fn compacted(&mut self, compacted: Option<i64>, now: Duration, revision: i64) {
        // Compat: the first period counts as over even if nothing came of it.
        self.is_under_way = true;
        if let Some(compacted) = compacted {
            self.last = compacted;
            self.last_at = now;
        }
        self.look(now, revision);
    }

    fn look(&mut self, now: Duration, revision: i64) {
        if let AutoCompaction::Periodic(period) = self.keep {
            self.seen.push_back(revision);
            let looks = period.as_nanos() / self.pause().as_nanos() + 1;
            if self.seen.len() as u128 > looks {
                self.seen.pop_front();
            }
        }
        self.wake_at = now + self.pause();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Runs it for a while; revisions are minutes. Gives when it compacted what.
    fn run(keep: AutoCompaction, minutes: u32, leads: impl Fn(i64) -> bool) -> Vec<(i64, i64)> {
        let minute = |now: Duration| i64::try_from(now.as_secs() / 60).expect("a short while") + 1;
        let mut compactor = Compactor::new(keep, Duration::ZERO, 1);
        let mut done = Vec::new();
        while compactor.wake_at() <= MINUTE * minutes {
            let now = compactor.wake_at();
            if let Some(revision) = compactor.step(now, minute(now), leads(minute(now))) {
                done.push((minute(now), revision));
                compactor.compacted(Some(revision), now, minute(now));
            }
        }
        done
    }

    #[test]
    fn a_period_below_an_hour() {
        let done = run(AutoCompaction::Periodic(10 * MINUTE), 40, |_| true);
        // The first period passes; then goes what was there at the last look before it.
        assert_eq!(done, [(11, 1), (21, 10), (31, 20), (41, 30)]);
    }

    #[test]
    fn a_period_above_an_hour() {
        let done = run(AutoCompaction::Periodic(120 * MINUTE), 250, |_| true);
        assert_eq!(done, [(121, 1), (181, 55), (241, 115)]);
    }

    #[test]
    fn only_the_leader_compacts() {
        let keep = AutoCompaction::Periodic(10 * MINUTE);
        assert_eq!(run(keep, 60, |_| false), []);
        // One that begins to lead knows what was there a period ago.
        assert_eq!(run(keep, 40, |minute| minute > 25)[0], (26, 15));
    }

    #[test]
    fn a_failure_is_tried_again_soon() {
        let mut compactor =
            Compactor::new(AutoCompaction::Periodic(10 * MINUTE), Duration::ZERO, 1);
        for look in 1..10 {
            assert_eq!(compactor.step(MINUTE * look, 5, true), None);
        }
        assert_eq!(compactor.step(MINUTE * 10, 6, true), Some(1));
        compactor.compacted(None, MINUTE * 10, 6);
        assert_eq!(compactor.step(MINUTE * 11, 7, true), Some(1));
        compactor.compacted(None, MINUTE * 11, 7);
        assert_eq!(compactor.step(MINUTE * 12, 8, true), Some(5));
    }

    #[test]
    fn the_same_revision_is_not_compacted_twice() {
        let mut compactor = Compactor::new(AutoCompaction::Revision(10), Duration::ZERO, 1);
        assert_eq!(compactor.step(MINUTE, 100, true), None, "it is not time yet");
        assert_eq!(compactor.step(MINUTE * 5, 10, true), None, "there is too little");
        assert_eq!(compactor.step(MINUTE * 10, 25, true), Some(15));
        compactor.compacted(Some(15), MINUTE * 10, 25);
        assert_eq!(compactor.step(MINUTE * 15, 25, true), None);
        assert_eq!(compactor.step(MINUTE * 20, 26, true), Some(16));
    }
}
