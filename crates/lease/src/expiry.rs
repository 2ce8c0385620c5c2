//! A member's clock over the leases: when each expires, if this member is the leader.
//!
//! Every member keeps one and tells it of each lease granted, revoked or checkpointed; only the
//! leader's runs. Time comes in as an argument, since whatever moment the caller likes.
//!
//! Each lease has one timer in a min-heap, and a renewal does not touch it: it moves the deadline
//! beside it. A timer that fires before its lease's deadline is set again for the deadline, so
//! that a lease costs the heap one step per time to live however often it is renewed, and a
//! renewal costs one look-up by hash. A hierarchical wheel would set timers in constant time too,
//! but the heap's logarithm is paid once per time to live (`benches/expiry.rs`), times to live go
//! from 2 seconds to 285 years, and the leases that have been overdue longest come out first
//! without a further order. Timers of leases that are gone stay in the heap until they fire or
//! are more than half of it.
//!
//! Nothing here expires by itself: [`Expiry::due`] hands ids out to be revoked through the log,
//! and again some time later if they were not. Source: etcd `server/lease/lessor.go`.

use crate::Lease;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

/// A member's clock over the leases.
#[derive(Debug)]
pub struct Expiry {
    options: Options,
    primary: bool,
    /// By hash, since renewals are nearly all the work; its order is never seen from outside.
    leases: HashMap<i64, Clock>,
    timers: Timers,
    checkpoints: Timers,
}

/// How the clock runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether the seconds that long leases have left go into the log from time to time, so that
    /// a change of leader does not give them their whole time again (gate `LeaseCheckpoint`).
    pub checkpoints: bool,
}

/// Earliest first. An entry that its lease does not know any more is skipped.
type Timers = BinaryHeap<Reverse<(Duration, i64)>>;

#[derive(Debug)]
struct Clock {
    ttl: i64,
    remaining_ttl: i64,
    /// When the lease expires. Of the leader's clock only, as the following.
    deadline: Duration,
    /// When its one good timer fires.
    timer: Duration,
    /// When its one good checkpoint is due.
    checkpoint: Option<Duration>,
}

/// What a renewal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The lease has its whole time to live again, in seconds.
    Renewed(i64),
    /// A checkpoint of the lease stands, and would cut it short after a change of leader: first
    /// have a checkpoint of 0 applied, then renew again.
    ForgetCheckpoint,
}

/// How long a lease has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Remaining {
    /// What was granted, in seconds.
    pub granted: i64,
    /// What is left in whole seconds, rounded towards 0; not above 0 if the lease has expired and
    /// is yet to be revoked.
    pub left: i64,
}

/// Why the clock does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// This member does not lead: ask the leader.
    #[error("not a primary lessor")]
    NotPrimary,
    /// There is no such lease.
    #[error("lease not found")]
    NotFound,
    /// The lease has expired, and its revocation may be on its way through the log. It is too
    /// late to renew it and too early to say that it is gone: wait until it is revoked (not
    /// found) or this member ceases to lead (not primary).
    #[error("lease is expired and to be revoked")]
    Expired,
}

/// Ids that one pass hands out at most.
pub const REVOKE_BATCH: usize = 500;

/// Checkpoints that fit into one entry of the log.
pub const CHECKPOINT_BATCH: usize = 1000;

/// Time between checkpoints of a lease; shorter ones have none.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(300);

/// A new leader of so many leases moves those apart that would expire together, and lets so many
/// expire per second, as in etcd, which revokes a third more.
const SPREAD_FROM: usize = 1000;
const SPREAD_PER_SECOND: u32 = 750;

/// Timers that one pass sets again at most.
const RENEWED_BATCH: usize = 10_000;

/// Time after which an id that was handed out is handed out again.
const RETRY: Duration = Duration::from_secs(3);

impl Expiry {
    /// A clock without leases, of a member that does not lead.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            primary: false,
            leases: HashMap::new(),
            timers: Timers::new(),
            checkpoints: Timers::new(),
        }
    }

    /// Takes over a whole set of leases, at start or after a snapshot. The clock stops: whoever
    /// was sent a snapshot does not lead.
    pub fn load(&mut self, leases: impl IntoIterator<Item = Lease>) {
        self.demote();
        self.leases.clear();
        self.leases.extend(leases.into_iter().map(|lease| (lease.id, Clock::new(&lease))));
    }

    /// A lease was granted.
    pub fn grant(&mut self, lease: Lease, now: Duration) {
        let mut clock = Clock::new(&lease);
        if self.primary {
            let deadline = now + clock.left();
            clock.deadline = deadline;
            set(&mut self.timers, &mut clock.timer, lease.id, deadline);
        }
        self.leases.insert(lease.id, clock);
        self.plan_checkpoint(lease.id, now);
    }

    /// A lease was revoked. Unknown ids are fine.
    pub fn revoke(&mut self, id: i64) {
        self.leases.remove(&id);
        self.sweep();
    }

    /// A checkpoint was applied: the lease has `remaining_ttl` seconds left, 0 for its whole
    /// time. The deadline stays; the next leader goes by it. Unknown ids are fine.
    pub fn checkpoint(&mut self, id: i64, remaining_ttl: i64, now: Duration) {
        if let Some(clock) = self.leases.get_mut(&id) {
            clock.remaining_ttl = remaining_ttl;
            self.plan_checkpoint(id, now);
        }
    }

    /// Gives a lease its whole time again.
    ///
    /// # Errors
    /// Each [`Refused`].
    pub fn renew(&mut self, id: i64, now: Duration) -> Result<Renewal, Refused> {
        if !self.primary {
            return Err(Refused::NotPrimary);
        }
        let clock = self.leases.get_mut(&id).ok_or(Refused::NotFound)?;
        if clock.deadline <= now {
            return Err(Refused::Expired);
        }
        if self.options.checkpoints && clock.remaining_ttl > 0 {
            return Ok(Renewal::ForgetCheckpoint);
        }
        let ttl = clock.ttl;
        clock.deadline = now + clock.left();
        // Only the first renewal under a new leader can come out earlier: the election timeout
        // it was given on top is gone.
        if clock.deadline < clock.timer {
            let deadline = clock.deadline;
            set(&mut self.timers, &mut clock.timer, id, deadline);
            self.sweep();
        }
        Ok(Renewal::Renewed(ttl))
    }

    /// How long a lease has.
    ///
    /// # Errors
    /// [`Refused::NotPrimary`], [`Refused::NotFound`].
    pub fn remaining(&self, id: i64, now: Duration) -> Result<Remaining, Refused> {
        if !self.primary {
            return Err(Refused::NotPrimary);
        }
        let clock = self.leases.get(&id).ok_or(Refused::NotFound)?;
        let left = match clock.deadline.checked_sub(now) {
            Some(left) => seconds(left),
            None => -seconds(now - clock.deadline),
        };
        Ok(Remaining { granted: clock.ttl, left })
    }

    /// This member leads now: every lease gets what it has left at its last checkpoint, or its
    /// whole time, and `extend` on top, as its client could not renew it in between.
    ///
    /// So all leases of the same time to live expire together if their clients are gone. Where
    /// many do, the later ones are given more: about a second for each 750 of them, so that clients
    /// have time to come back.
    pub fn promote(&mut self, extend: Duration, now: Duration) {
        self.demote();
        self.primary = true;
        let mut order: Vec<(Duration, i64)> = Vec::with_capacity(self.leases.len());
        for (id, clock) in &mut self.leases {
            clock.deadline = now + extend + clock.left();
            order.push((clock.deadline, *id));
        }
        order.sort_unstable();
        if order.len() >= SPREAD_FROM {
            self.spread(&order, extend, now);
        }
        for (_, id) in order {
            let clock = self.leases.get_mut(&id).expect("the order is of these leases");
            let deadline = clock.deadline;
            set(&mut self.timers, &mut clock.timer, id, deadline);
            self.plan_checkpoint(id, now);
        }
    }

    /// This member does not lead any more.
    pub fn demote(&mut self) {
        self.primary = false;
        self.timers.clear();
        self.checkpoints.clear();
        for clock in self.leases.values_mut() {
            clock.checkpoint = None;
        }
    }

    /// Whether this member leads, as far as leases go.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.primary
    }

    /// The ids of up to `max` leases that have expired, longest overdue first; see
    /// [`REVOKE_BATCH`]. Who is handed an id proposes its revocation; if that comes to nothing,
    /// the id comes again after three seconds.
    ///
    /// A pass takes a few milliseconds at most: if very many leases turn out to have been
    /// renewed, it stops among them, and [`Expiry::next_wake`] is not later than `now` then.
    pub fn due(&mut self, now: Duration, max: usize) -> Vec<i64> {
        let mut due = Vec::new();
        let mut renewed = 0;
        while due.len() < max && renewed < RENEWED_BATCH {
            let Some((at, id)) = pop(&mut self.timers, now) else { break };
            let Some(clock) = self.leases.get_mut(&id).filter(|clock| clock.timer == at) else {
                continue;
            };
            let expired = clock.deadline <= now;
            let again = if expired { now + RETRY } else { clock.deadline };
            set(&mut self.timers, &mut clock.timer, id, again);
            if expired {
                due.push(id);
            } else {
                renewed += 1;
            }
        }
        due
    }

    /// Up to `max` leases whose checkpoint is due, with the seconds they have left, rounded up;
    /// see [`CHECKPOINT_BATCH`].
    pub fn due_checkpoints(&mut self, now: Duration, max: usize) -> Vec<(i64, i64)> {
        let mut due = Vec::new();
        while due.len() < max {
            let Some((at, id)) = pop(&mut self.checkpoints, now) else { break };
            let known = |clock: &&mut Clock| clock.checkpoint == Some(at);
            let Some(clock) = self.leases.get_mut(&id).filter(known) else { continue };
            clock.checkpoint = None;
            let Some(left) = clock.deadline.checked_sub(now).filter(|left| !left.is_zero()) else {
                continue;
            };
            let left = seconds(left) + i64::from(left.subsec_nanos() > 0);
            if left < clock.ttl {
                due.push((id, left));
            } else {
                // Renewed a moment ago: there is nothing to note, but there will be.
                self.plan_checkpoint(id, now);
            }
        }
        due
    }

    /// The earliest moment at which [`Expiry::due`] or [`Expiry::due_checkpoints`] may have
    /// something to give.
    #[must_use]
    pub fn next_wake(&self) -> Option<Duration> {
        let at = |timers: &Timers| timers.peek().map(|Reverse((at, _))| *at);
        at(&self.timers).into_iter().chain(at(&self.checkpoints)).min()
    }

    /// All ids, by when they expire if this member leads, and else in their own order.
    #[must_use]
    pub fn by_expiry(&self) -> Vec<i64> {
        let deadline = |clock: &Clock| self.primary.then_some(clock.deadline);
        let mut order: Vec<_> =
            self.leases.iter().map(|(id, clock)| (deadline(clock), *id)).collect();
        order.sort_unstable();
        order.into_iter().map(|(_, id)| id).collect()
    }

    /// Moves deadlines of a new leader's leases apart; `order` has them ascending.
    fn spread(&mut self, order: &[(Duration, i64)], extend: Duration, now: Duration) {
        // A window begins with a lease that expires well after the ones before; it grows with
        // each lease in it that is moved.
        let mut begin = order[0].0;
        let mut end = begin + Duration::from_secs(1);
        let mut expiring = 0;
        for (deadline, id) in order {
            if *deadline > end {
                begin = *deadline;
                end = begin + Duration::from_secs(1);
                expiring = 1;
                continue;
            }
            expiring += 1;
            if expiring <= SPREAD_PER_SECOND {
                continue;
            }
            // A lease that expires later than the window began needs so much less.
            let share =
                Duration::from_secs(1).mul_f64(f64::from(expiring) / f64::from(SPREAD_PER_SECOND));
            let delay = share.saturating_sub(*deadline - begin);
            end = begin + delay;
            let clock = self.leases.get_mut(id).expect("the order is of these leases");
            clock.deadline = now + delay + extend + clock.left();
        }
    }

    fn plan_checkpoint(&mut self, id: i64, now: Duration) {
        if !self.primary || !self.options.checkpoints {
            return;
        }
        let Some(clock) = self.leases.get_mut(&id) else { return };
        if clock.left() > CHECKPOINT_INTERVAL {
            let at = now + CHECKPOINT_INTERVAL;
            clock.checkpoint = Some(at);
            self.checkpoints.push(Reverse((at, id)));
            self.sweep();
        }
    }

    /// Drops the timers that nobody knows any more, once they are more than half.
    fn sweep(&mut self) {
        let many = 2 * self.leases.len() + 64;
        let leases = &self.leases;
        if self.timers.len() > many {
            self.timers
                .retain(|Reverse((at, id))| leases.get(id).is_some_and(|clock| clock.timer == *at));
        }
        if self.checkpoints.len() > many {
            self.checkpoints.retain(|Reverse((at, id))| {
                leases.get(id).is_some_and(|clock| clock.checkpoint == Some(*at))
            });
        }
    }
}

impl Clock {
    fn new(lease: &Lease) -> Self {
        Self {
            ttl: lease.ttl,
            remaining_ttl: lease.remaining_ttl,
            deadline: Duration::ZERO,
            timer: Duration::ZERO,
            checkpoint: None,
        }
    }

    /// What a leader gives the lease: what it has left at its last checkpoint, else all.
    fn left(&self) -> Duration {
        let left = if self.remaining_ttl > 0 { self.remaining_ttl } else { self.ttl };
        // A checkpoint is not bounded by what was granted, nor is a clock.
        Duration::from_secs(left.clamp(0, crate::MAX_TTL).unsigned_abs())
    }
}

fn set(timers: &mut Timers, timer: &mut Duration, id: i64, at: Duration) {
    *timer = at;
    timers.push(Reverse((at, id)));
}

/// The earliest timer, if it fires by `now`.
fn pop(timers: &mut Timers, now: Duration) -> Option<(Duration, i64)> {
    let Reverse((at, _)) = timers.peek()?;
    if *at > now {
        return None;
    }
    timers.pop().map(|Reverse(timer)| timer)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
