//! The window of append messages sent to one member and not yet acknowledged.
//!
//! Invariants: indexes ascend; the sum of the sizes held is `bytes`; there are never more than
//! `messages_max` messages. Memory grows with use, so that thousands of idle groups cost little.

use std::collections::VecDeque;

/// One append message under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inflight {
    /// The index of the last entry in the message.
    index: u64,
    /// The size of the message's entries.
    bytes: u64,
}

/// A window over append messages, limited by their number and by their bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inflights {
    window: VecDeque<Inflight>,
    bytes: u64,
    messages_max: usize,
    /// Zero means no limit.
    bytes_max: u64,
}

impl Inflights {
    /// A window of up to `messages_max` messages and about `bytes_max` bytes, zero for no limit.
    ///
    /// The limit of bytes is soft: the message that crosses it is still accepted, or one larger
    /// than the limit could never be sent.
    pub fn new(messages_max: usize, bytes_max: u64) -> Self {
        Self { window: VecDeque::new(), bytes: 0, messages_max, bytes_max }
    }

    /// Notes a message sent, whose last entry has `index` and whose entries have `bytes` bytes.
    ///
    /// # Panics
    /// If the window is full, or if `index` does not follow the last one: both are faults of the
    /// caller that would let a leader flood a member.
    pub fn add(&mut self, index: u64, bytes: u64) {
        assert!(!self.is_full(), "cannot add into a full window of inflight messages");
        assert!(self.window.back().is_none_or(|last| last.index <= index), "indexes ascend");
        self.window.push_back(Inflight { index, bytes });
        self.bytes += bytes;
    }

    /// Frees every message whose last entry is at or below `index`.
    pub fn free_to(&mut self, index: u64) {
        let freed = self.window.partition_point(|inflight| inflight.index <= index);
        self.bytes -= self.window.drain(..freed).map(|inflight| inflight.bytes).sum::<u64>();
    }

    /// Whether no further message may be sent.
    pub fn is_full(&self) -> bool {
        self.window.len() == self.messages_max
            || (self.bytes_max != 0 && self.bytes >= self.bytes_max)
    }

    /// The number of messages under way.
    pub fn count(&self) -> usize {
        self.window.len()
    }

    /// The bytes of entries under way.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Forgets all messages under way.
    pub fn reset(&mut self) {
        self.window.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window(indexes: &[u64], messages_max: usize, bytes_max: u64) -> Inflights {
        let mut inflights = Inflights::new(messages_max, bytes_max);
        for &index in indexes {
            inflights.add(index, 10);
        }
        inflights
    }

    #[test]
    fn full_by_number_or_by_bytes() {
        assert!(!window(&[1, 2], 3, 0).is_full());
        assert!(window(&[1, 2, 3], 3, 0).is_full());
        assert!(!window(&[1, 2], 9, 21).is_full());
        assert!(window(&[1, 2, 3], 9, 21).is_full(), "the limit of bytes is soft");
        assert!(window(&[], 0, 0).is_full());
    }

    #[test]
    fn frees_up_to_and_with_the_acknowledged_index() {
        let mut inflights = window(&[3, 5, 9], 3, 0);
        inflights.free_to(2);
        assert_eq!((inflights.count(), inflights.bytes()), (3, 30));
        inflights.free_to(5);
        assert_eq!((inflights.count(), inflights.bytes()), (1, 10));
        inflights.free_to(100);
        assert_eq!((inflights.count(), inflights.bytes()), (0, 0));
    }

    proptest! {
        #[test]
        fn holds_exactly_what_is_not_yet_acknowledged(
            steps in prop::collection::vec((any::<bool>(), 0..4_u64, 0..50_u64), 0..60),
            messages_max in 1..12_usize,
            bytes_max in prop::option::of(1..200_u64),
        ) {
            let mut inflights = Inflights::new(messages_max, bytes_max.unwrap_or(0));
            let mut model: Vec<(u64, u64)> = Vec::new();
            let (mut sent, mut acked) = (0, 0);
            for (send, distance, bytes) in steps {
                if send && !inflights.is_full() {
                    sent += distance + 1;
                    inflights.add(sent, bytes);
                    model.push((sent, bytes));
                } else {
                    acked = sent.min(acked + distance);
                    inflights.free_to(acked);
                    model.retain(|(index, _)| *index > acked);
                }
                let bytes: u64 = model.iter().map(|(_, bytes)| bytes).sum();
                prop_assert_eq!((inflights.count(), inflights.bytes()), (model.len(), bytes));
                let full = model.len() == messages_max || bytes_max.is_some_and(|max| bytes >= max);
                prop_assert_eq!(inflights.is_full(), full);
            }
        }
    }
}
