//! The leader's clock: when which lease runs out. It survives nothing and decides nothing; what
//! is due is proposed to be revoked.
//!
//! A binary heap holds one item per lease, and a renewal leaves it where it is: an item that
//! comes up too early is put back at its lease's real time. So a renewal costs one look-up,
//! whatever the number of leases, and a lease costs the heap once per time to live.
//!
//! Source: etcd server/lease/lessor.go.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// Leases revoked in one pass, at most (etcd: half of 1,000 a second, twice a second).
pub const REVOKES_MAX: usize = 500;

/// A lease that was due and is still there is due again after this.
const RETRY: Duration = Duration::from_secs(3);

/// When leases run out. Only the leader's counts.
#[derive(Debug, Default)]
pub struct Expiry {
    leads: bool,
    leases: BTreeMap<i64, Lease>,
    /// Each lease's next time to be looked at, which is never after it runs out.
    next: BinaryHeap<Reverse<(Duration, i64)>>,
}

#[derive(Debug, Clone, Copy)]
struct Lease {
    ttl: i64,
    /// Seconds left as the last leader told; 0 if it did not.
    remaining: i64,
    /// When it runs out, on a leader.
    deadline: Duration,
}

impl Expiry {
    /// The clock of a member that does not lead, over leases with their granted and remaining
    /// seconds.
    pub fn new(leases: impl Iterator<Item = (i64, i64, i64)>) -> Self {
        let lease = |(id, ttl, remaining)| (id, Lease { ttl, remaining, deadline: Duration::MAX });
        Self { leases: leases.map(lease).collect(), ..Self::default() }
    }

    /// A lease was granted.
    pub fn grant(&mut self, id: i64, ttl: i64, now: Duration) {
        let deadline = now.saturating_add(seconds(ttl));
        self.leases.insert(id, Lease { ttl, remaining: 0, deadline });
        if self.leads {
            self.next.push(Reverse((deadline, id)));
        }
    }

    /// A lease is gone.
    pub fn revoke(&mut self, id: i64) {
        self.leases.remove(&id);
    }

    /// The leader told what remains of a lease.
    pub fn checkpoint(&mut self, id: i64, remaining: i64) {
        if let Some(lease) = self.leases.get_mut(&id) {
            lease.remaining = remaining;
        }
    }

    /// Whether there is such a lease.
    #[must_use]
    pub fn contains(&self, id: i64) -> bool {
        self.leases.contains_key(&id)
    }

    /// This member leads from `now` on: all leases get what remained of them, and `extend` more,
    /// as their owners could not renew them meanwhile. Those that would run out all at once are
    /// spread, so that revoking them does not keep everybody else waiting.
    pub fn promote(&mut self, now: Duration, extend: Duration) {
        self.leads = true;
        for lease in self.leases.values_mut() {
            let left = if lease.remaining > 0 { lease.remaining } else { lease.ttl };
            lease.deadline = now.saturating_add(extend).saturating_add(seconds(left));
        }
        self.spread();
        let items = self.leases.iter().map(|(id, lease)| Reverse((lease.deadline, *id)));
        self.next = items.collect();
    }

    /// At most three quarters of [`REVOKES_MAX`] run out in a second; what is above moves back.
    fn spread(&mut self) {
        // Compat: etcd's leaseRevokeRate is 1,000 a second, of which it plans three quarters.
        const PER_SECOND: u64 = 750;
        let mut order: Vec<(Duration, i64)> =
            self.leases.iter().map(|(id, lease)| (lease.deadline, *id)).collect();
        if order.len() < 1000 {
            return;
        }
        order.sort_unstable();
        let (mut base, mut count) = (order[0].0, 0u64);
        for (deadline, id) in order {
            if deadline > base.saturating_add(Duration::from_secs(1)) {
                (base, count) = (deadline, 0);
            }
            count += 1;
            let over = count.saturating_sub(PER_SECOND);
            let delay = Duration::from_millis(over * 1000 / PER_SECOND);
            if let Some(lease) = self.leases.get_mut(&id) {
                lease.deadline = deadline.saturating_add(delay);
            }
        }
    }

    /// This member leads no more.
    pub fn demote(&mut self) {
        self.leads = false;
        self.next.clear();
        for lease in self.leases.values_mut() {
            lease.deadline = Duration::MAX;
        }
    }

    /// Whether this member leads, as far as its clock was told.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.leads
    }

    /// Gives a lease its whole time again, and returns its seconds; `None` if there is none, or
    /// it has run out and is about to be revoked.
    pub fn renew(&mut self, id: i64, now: Duration) -> Option<i64> {
        let lease = self.leases.get_mut(&id)?;
        if !self.leads || lease.deadline <= now {
            return None;
        }
        lease.remaining = 0;
        lease.deadline = now.saturating_add(seconds(lease.ttl));
        Some(lease.ttl)
    }

    /// How long a lease still has; zero once it ran out.
    #[must_use]
    pub fn remaining(&self, id: i64, now: Duration) -> Option<Duration> {
        self.leases.get(&id).map(|lease| lease.deadline.saturating_sub(now))
    }

    /// Leases that have run out, at most `max`. One that is not revoked is due again later.
    pub fn due(&mut self, now: Duration, max: usize) -> Vec<i64> {
        let mut due = Vec::new();
        while due.len() < max
            && let Some(Reverse((at, id))) = self.next.peek().copied()
            && at <= now
        {
            self.next.pop();
            let Some(lease) = self.leases.get(&id) else { continue };
            let next = if lease.deadline <= now {
                due.push(id);
                now + RETRY
            } else {
                lease.deadline
            };
            self.next.push(Reverse((next, id)));
        }
        due
    }
}

fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_lease_is_due_once_its_time_is_over_and_again_if_it_stays() {
        let mut expiry = Expiry::default();
        expiry.promote(Duration::ZERO, Duration::ZERO);
        expiry.grant(7, 2, Duration::ZERO);
        assert_eq!(expiry.due(SECOND, 10), []);
        assert_eq!(expiry.renew(7, SECOND), Some(2));
        assert_eq!(expiry.due(2 * SECOND, 10), []);
        assert_eq!(expiry.remaining(7, 2 * SECOND), Some(SECOND));
        assert_eq!(expiry.due(3 * SECOND, 10), [7]);
        assert_eq!(expiry.renew(7, 3 * SECOND), None);
        assert_eq!(expiry.due(4 * SECOND, 10), []);
        assert_eq!(expiry.due(6 * SECOND, 10), [7]);
        expiry.revoke(7);
        assert_eq!(expiry.due(60 * SECOND, 10), []);
    }

    #[test]
    fn who_does_not_lead_has_nothing_due() {
        let mut expiry = Expiry::new([(1, 5, 0), (2, 5, 3)].into_iter());
        assert_eq!(expiry.due(60 * SECOND, 10), []);
        assert_eq!(expiry.renew(1, Duration::ZERO), None);
        expiry.promote(10 * SECOND, SECOND);
        assert_eq!(expiry.due(14 * SECOND, 10), [2]);
        assert_eq!(expiry.due(16 * SECOND, 1), [1]);
        expiry.demote();
        assert_eq!(expiry.due(60 * SECOND, 10), []);
    }

    #[test]
    fn many_at_once_are_spread() {
        let mut expiry = Expiry::new((1..=3000).map(|id| (id, 10, 0)));
        expiry.promote(Duration::ZERO, Duration::ZERO);
        assert_eq!(expiry.due(10 * SECOND, 5000).len(), 750);
        assert!(expiry.due(14 * SECOND, 5000).len() > 2000);
    }
}
