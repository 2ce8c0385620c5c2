//! The appends that are on their way to one follower: how many, how many bytes, up to where.
//!
//! A ring of (last index, bytes), oldest first. It grows with use up to the configured number, so
//! that an idle follower costs nothing.

use std::collections::VecDeque;

/// Appends sent and not yet acknowledged, bounded by number and by bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inflights {
    appends: VecDeque<Inflight>,
    bytes: u64,
    count_max: usize,
    /// 0 is no limit.
    bytes_max: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Inflight {
    /// Index of the append's last entry.
    index: u64,
    bytes: u64,
}

impl Inflights {
    /// None on their way; at most `count_max` and, unless 0, about `bytes_max` bytes.
    pub fn new(count_max: usize, bytes_max: u64) -> Inflights {
        Inflights { appends: VecDeque::new(), bytes: 0, count_max, bytes_max }
    }

    /// Notes an append that was sent, up to entry `index`.
    ///
    /// # Panics
    /// If they are full: the caller asks first.
    pub fn add(&mut self, index: u64, bytes: u64) {
        assert!(!self.is_full(), "an append was sent although the in-flight window is full");
        self.appends.push_back(Inflight { index, bytes });
        self.bytes += bytes;
    }

    /// Forgets the appends up to entry `index`: they have arrived.
    pub fn free_to(&mut self, index: u64) {
        while let Some(oldest) = self.appends.front() {
            if oldest.index > index {
                break;
            }
            self.bytes -= oldest.bytes;
            self.appends.pop_front();
        }
    }

    /// Whether nothing more may be sent. One append may go above the byte limit, so that an entry
    /// larger than the limit can be sent at all.
    pub fn is_full(&self) -> bool {
        self.appends.len() >= self.count_max
            || (self.bytes_max != 0 && self.bytes >= self.bytes_max)
    }

    /// The number of appends on their way.
    pub fn count(&self) -> usize {
        self.appends.len()
    }

    pub(crate) fn reset(&mut self) {
        self.appends.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_by_count_and_freed_in_order() {
        let mut inflights = Inflights::new(3, 0);
        for index in [2, 4, 6] {
            assert!(!inflights.is_full());
            inflights.add(index, 100);
        }
        assert!(inflights.is_full());
        inflights.free_to(1);
        assert_eq!(inflights.count(), 3);
        inflights.free_to(4);
        assert_eq!(inflights.count(), 1);
        inflights.free_to(100);
        assert_eq!(inflights, Inflights::new(3, 0));
    }

    #[test]
    fn full_by_bytes_after_the_append_that_reaches_them() {
        let mut inflights = Inflights::new(10, 100);
        inflights.add(1, 99);
        assert!(!inflights.is_full());
        inflights.add(2, 500);
        assert!(inflights.is_full());
        inflights.free_to(2);
        assert!(!inflights.is_full());
    }
}
