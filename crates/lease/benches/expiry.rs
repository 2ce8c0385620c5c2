//! What leases cost the leader's clock: a renewal, a pass in which nothing is due, and the
//! second in which 100,000 leases expire or turn out to have been renewed.
//!
//! `cargo bench -p quorate-lease` prints a table, per lease.
#![allow(clippy::unwrap_used, reason = "a bench may end with a panic")]

use quorate_lease::{Expiry, Lease, Options, REVOKE_BATCH};
use std::hint::black_box;
use std::time::{Duration, Instant};

const LEASES: i64 = 100_000;
const TTL: Duration = Duration::from_secs(10);

fn main() {
    let mut expiry = Expiry::new(Options::default());
    expiry.promote(Duration::ZERO, Duration::ZERO);
    let ids = || (1..=LEASES).map(|id| id.wrapping_mul(0x5851_f42d_4c95_7f2d));
    report("grant", ids().count(), || {
        for id in ids() {
            expiry.grant(Lease { id, ttl: 10, remaining_ttl: 0 }, Duration::ZERO);
        }
    });
    report("renew", ids().count(), || {
        for id in ids() {
            black_box(expiry.renew(id, TTL / 2)).unwrap();
        }
    });
    report("a pass, nothing due (in all)", 1, || {
        assert!(expiry.due(TTL / 2, REVOKE_BATCH).is_empty());
    });
    let mut longest = Duration::ZERO;
    report("set again, as all were renewed", ids().count(), || {
        while expiry.next_wake() <= Some(TTL) {
            let began = Instant::now();
            assert!(expiry.due(TTL, REVOKE_BATCH).is_empty());
            longest = longest.max(began.elapsed());
        }
    });
    report_longest(longest);
    let mut longest = Duration::ZERO;
    report("hand out and revoke, 500 a pass", ids().count(), || {
        for _ in 0..ids().count() / REVOKE_BATCH {
            let began = Instant::now();
            let due = expiry.due(TTL * 3 / 2, REVOKE_BATCH);
            longest = longest.max(began.elapsed());
            assert_eq!(due.len(), REVOKE_BATCH);
            due.into_iter().for_each(|id| expiry.revoke(id));
        }
    });
    report_longest(longest);
}

fn report_longest(longest: Duration) {
    println!("{:32} {:>9.1} us", "the longest of these passes", longest.as_secs_f64() * 1e6);
}

fn report(name: &str, count: usize, work: impl FnOnce()) {
    let began = Instant::now();
    work();
    let each = began.elapsed().as_secs_f64() * 1e9 / count as f64;
    println!("{name:32} {each:>9.0} ns");
}
