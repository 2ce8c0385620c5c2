//! Ids of requests, and of leases whose client names none (etcd `pkg/idutil`).
//!
//! ```text
//! | member id, low 16 bits | milliseconds at start, 40 bits | 8 bits |
//! ```
//! The lower 48 bits count up by one for each id. Two members, or one member before and after a
//! restart, do not meet: it would take more than 256 ids in each millisecond of its life.

use std::sync::atomic::{AtomicU64, Ordering};

/// Gives out ids. Any thread.
#[derive(Debug)]
pub(crate) struct Ids {
    prefix: u64,
    counter: AtomicU64,
}

impl Ids {
    pub(crate) fn new(member_id: u64, unix_millis: u64) -> Self {
        let start = (unix_millis & ((1 << 40) - 1)) << 8;
        Self { prefix: member_id << 48, counter: AtomicU64::new(start) }
    }

    pub(crate) fn next(&self) -> u64 {
        let count = self.counter.fetch_add(1, Ordering::Relaxed) + 1;
        self.prefix | (count & ((1 << 48) - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::Ids;

    #[test]
    fn ids_are_laid_out_as_etcd_lays_them_out() {
        let ids = Ids::new(0x1234_5678_9abc_def0, 0x0123_4567_89ab_cdef);
        assert_eq!(ids.next(), 0xdef0_6789_abcd_ef01);
        assert_eq!(ids.next(), 0xdef0_6789_abcd_ef02);
    }
}
