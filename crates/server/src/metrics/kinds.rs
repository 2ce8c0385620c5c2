//! Counters, gauges and histograms: plain atomics, each written where the thing happens.
//!
//! What they are not: a registry, or text. Who shows them reads them when asked.
//!
//! Invariant: no lock and no allocation on the side that writes; the two sides of a
//! histogram that is read meanwhile may be one observation apart.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Adds some.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Shows a number that its only writer counts elsewhere.
    pub fn show(&self, total: u64) {
        self.0.store(total, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds some, or takes some away.
    pub fn add(&self, more: i64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// Makes it this.
    pub fn set(&self, number: i64) {
        self.0.store(number, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Observations in buckets, most often each twice as wide as the one before.
#[derive(Debug)]
pub struct Histogram {
    /// The upper bound of each bucket, in the smallest unit.
    bounds: Box<[u64]>,
    /// Whether each is twice the one before, and the bucket of a number is computed.
    doubles: bool,
    /// How many of the smallest unit make one of the unit shown.
    scale: f64,
    /// One for each bucket, and one for what is above them all.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram at one moment, in the unit shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Upper bound of each bucket, and the observations up to there.
    pub buckets: Vec<(f64, u64)>,
    /// All observations.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
}

/// Nanoseconds of a second, and of a millisecond.
const SECOND: f64 = 1e9;
const MILLISECOND: f64 = 1e6;

impl Histogram {
    /// Of durations shown in seconds.
    pub fn seconds(start: Duration, buckets: usize) -> Self {
        Self::new(nanos(start), SECOND, buckets)
    }

    /// Of durations shown in milliseconds.
    pub fn milliseconds(start: Duration, buckets: usize) -> Self {
        Self::new(nanos(start), MILLISECOND, buckets)
    }

    /// Of whole numbers.
    pub fn whole(start: u64, buckets: usize) -> Self {
        Self::new(start, 1.0, buckets)
    }

    /// Of durations shown in seconds, in buckets with these bounds, ascending.
    pub fn seconds_up_to(bounds: &[Duration]) -> Self {
        Self::of(bounds.iter().copied().map(nanos).collect(), false, SECOND)
    }

    fn new(start: u64, scale: f64, buckets: usize) -> Self {
        assert!(start > 0, "a bucket has room");
        Self::of((0..buckets).map(|at| start << at).collect(), true, scale)
    }

    fn of(bounds: Box<[u64]>, doubles: bool, scale: f64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, doubles, scale, counts, sum: AtomicU64::new(0) }
    }

    /// Takes in how long something took.
    pub fn took(&self, duration: Duration) {
        self.observe(nanos(duration));
    }

    /// Takes in a number in the smallest unit.
    pub fn observe(&self, number: u64) {
        // A number belongs to the first bucket whose bound is not below it.
        let bucket = if self.doubles {
            let bits = u64::BITS - (number.saturating_sub(1) / self.bounds[0]).leading_zeros();
            (bits as usize).min(self.bounds.len())
        } else {
            self.bounds.partition_point(|bound| *bound < number)
        };
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(number, Ordering::Relaxed);
    }

    /// How it stands.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "what is shown is a float")]
    pub fn read(&self) -> Reading {
        let mut count = 0;
        let mut buckets = Vec::with_capacity(self.bounds.len());
        for (bound, bucket) in self.bounds.iter().zip(&self.counts) {
            count += bucket.load(Ordering::Relaxed);
            buckets.push((*bound as f64 / self.scale, count));
        }
        count += self.counts[self.bounds.len()].load(Ordering::Relaxed);
        let sum = self.sum.load(Ordering::Relaxed) as f64 / self.scale;
        Reading { buckets, count, sum }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let check = |number: u64, bucket: Option<usize>| {
            let histogram = Histogram::whole(10, 3);
            histogram.observe(number);
            let reading = histogram.read();
            let found = reading.buckets.iter().position(|(_, count)| *count == 1);
            assert_eq!(found, bucket, "{number}");
            assert_eq!((reading.count, reading.sum), (1, number as f64));
        };
        check(0, Some(0));
        check(10, Some(0));
        check(11, Some(1));
        check(20, Some(1));
        check(21, Some(2));
        check(40, Some(2));
        check(41, None);
        check(u64::MAX, None);
    }

    #[test]
    fn bounds_of_any_distance() {
        let bounds = [5, 10, 25].map(Duration::from_millis);
        let histogram = Histogram::seconds_up_to(&bounds);
        for millis in [5, 6, 25, 26] {
            histogram.took(Duration::from_millis(millis));
        }
        let reading = histogram.read();
        assert_eq!(reading.buckets, [(0.005, 1), (0.01, 2), (0.025, 3)]);
        assert_eq!(reading.count, 4);
    }

    #[test]
    fn durations_are_shown_in_their_unit() {
        let histogram = Histogram::seconds(Duration::from_micros(100), 2);
        histogram.took(Duration::from_micros(150));
        let reading = histogram.read();
        assert_eq!(reading.buckets, [(0.0001, 0), (0.0002, 1)]);
        assert_eq!(reading.sum, 0.00015);
    }
}
