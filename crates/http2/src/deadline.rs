//! The times at which calls are over, of one connection.
//!
//! Most calls end long before. Their times stay in the heap until they come up or are more than
//! those of calls under way: so that a deadline costs a push, and nothing when the call ends.

use crate::streams::Key;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

/// Deadlines, the next first.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, Key)>>,
    /// Of calls under way.
    live: usize,
}

impl Deadlines {
    pub(crate) fn insert(&mut self, at: Instant, key: Key) {
        self.heap.push(Reverse((at, key)));
        self.live += 1;
    }

    /// A call that had a deadline is over.
    pub(crate) fn remove(&mut self, is_live: impl Fn(Key) -> bool) {
        self.live -= 1;
        if self.heap.len() > 2 * self.live + STALE_MAX {
            self.heap.retain(|Reverse((_, key))| is_live(*key));
        }
    }

    /// A time not after the next deadline of a call under way.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A call, perhaps one that is over, whose time is up at `now`.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<Key> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse((_, key))| key)
    }
}

/// Times of ended calls that are not worth a walk.
const STALE_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn ended_calls_do_not_pile_up() {
        let start = Instant::now();
        let mut deadlines = Deadlines::default();
        for id in 0..10_000 {
            deadlines.insert(start + Duration::from_millis(u64::from(id)), Key { slot: 0, id });
            if id > 0 {
                deadlines.remove(|key| key.id == 0 || key.id > id);
            }
            assert!(deadlines.heap.len() <= STALE_MAX + 4);
        }
        assert_eq!(deadlines.next(), Some(start));
        assert_eq!(deadlines.expired(start).map(|key| key.id), Some(0));
    }
}
