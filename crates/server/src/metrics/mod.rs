//! The numbers of a member: what is counted and timed while it works.
//!
//! One [`Metrics`] for each member and no global one, so that a process can hold several. The
//! stages do not know of it: their threads and tasks write it around them. What can be computed
//! from the member's state when somebody asks is not here. `serve` gives the numbers their names.

mod disk;
mod kinds;
mod peers;
mod watching;

pub use disk::Disk;
pub(crate) use disk::{Part, measured};
pub use kinds::{Counter, Gauge, Histogram, Reading};
pub use peers::{PeerNumbers, Peers};
pub use watching::{StreamEvents, Watching};

use api::etcdserverpb::AlarmMember;
use apply::{Op, Operations};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// All numbers of a member. Any thread.
#[derive(Debug)]
pub struct Metrics {
    /// Alarms that were on since the start: member and kind.
    alarms: Mutex<BTreeSet<(u64, i32)>>,
    /// Times that another member was seen to lead.
    pub leader_changes: Counter,
    /// Heartbeats that left later than they should.
    pub late_heartbeats: Counter,
    /// Requests that did not get into the log, or whose client gave up.
    pub proposals_failed: Counter,
    /// Learners that were given a vote here.
    pub promotions: Counter,
    /// Promotions that failed here, by what was answered.
    promotions_failed: Mutex<BTreeMap<String, u64>>,
    /// Rounds of reads that were not answered in time.
    pub reads_slow: Counter,
    /// Rounds of reads that failed.
    pub reads_failed: Counter,
    /// 1 while a snapshot from a peer takes the state's place.
    pub snapshot_applying: Gauge,
    /// From a request's arrival until its answer.
    pub requests: ByOp,
    /// The same for transactions that only read.
    pub read_only_txns: Outcomes,
    /// Applying one entry.
    pub applies: ByOp,
    /// Answering one range, without waiting for the agreement.
    pub ranges: Outcomes,
    /// Entries and reads that took longer than `warning_apply`.
    pub slow_applies: Counter,
    /// The log.
    pub log: Disk,
    /// The files of raft's snapshots.
    pub snapshots: Disk,
    /// Received databases.
    pub databases: Disk,
    /// The store.
    pub store: Disk,
    /// Putting a snapshot of raft into bytes.
    pub snapshot_encodes: Histogram,
    /// Saving one.
    pub snapshot_saves: Histogram,
    /// Receiving a database.
    pub database_saves: Histogram,
    /// Writing the state as a database.
    pub images: Histogram,
    /// How many of these are under way.
    pub images_open: Gauge,
    /// Hashing all keys at a revision.
    pub hashes: Histogram,
    /// Hashing the whole store.
    pub whole_hashes: Histogram,
    /// What transactions of the log did to the keys.
    pub applied: Keys,
    /// What reads outside of the log did.
    pub read: Keys,
    /// Compactions.
    pub compactions: Compactions,
    /// Leases.
    pub leases: Leases,
    /// Watches.
    pub watches: Watching,
    /// Other members.
    pub peers: Peers,
}

/// Histograms of what succeeded and what did not.
#[derive(Debug)]
pub struct Outcomes {
    /// What succeeded.
    pub good: Histogram,
    /// What did not.
    pub bad: Histogram,
}

impl Outcomes {
    fn new(make: impl Fn() -> Histogram) -> Self {
        Self { good: make(), bad: make() }
    }

    /// Takes one in.
    pub fn took(&self, good: bool, duration: Duration) {
        if good { &self.good } else { &self.bad }.took(duration);
    }
}

/// Outcomes by what was asked for.
#[derive(Debug)]
pub struct ByOp(Vec<Outcomes>);

impl ByOp {
    fn new(make: impl Fn() -> Histogram) -> Self {
        Self(Op::ALL.iter().map(|_| Outcomes::new(&make)).collect())
    }

    /// Those of one kind of request.
    #[must_use]
    pub fn of(&self, op: Op) -> &Outcomes {
        &self.0[op as usize]
    }
}

/// Operations on keys.
#[derive(Debug, Default)]
#[allow(missing_docs, reason = "each is named as what it counts")]
pub struct Keys {
    pub ranges: Counter,
    pub puts: Counter,
    pub deletes: Counter,
    /// Transactions of more than one operation.
    pub txns: Counter,
    /// Bytes of the keys and values that were put.
    pub put_bytes: Counter,
}

impl Keys {
    /// Shows what their only writer counted.
    pub(crate) fn show(&self, operations: &Operations) {
        self.ranges.show(operations.ranges);
        self.puts.show(operations.puts);
        self.deletes.show(operations.deletes);
        self.txns.show(operations.txns);
        self.put_bytes.show(operations.put_bytes);
    }

    /// Adds what one request did.
    pub fn add(&self, operations: &Operations) {
        self.ranges.add(operations.ranges);
        self.txns.add(operations.txns);
    }
}

/// What compactions take.
#[derive(Debug)]
pub struct Compactions {
    /// The longest that other work waited for one.
    pub pauses_max: Histogram,
    /// Each time that other work waited for one.
    pub pauses: Histogram,
    /// From its beginning to its end.
    pub totals: Histogram,
    /// Revisions dropped.
    pub revisions: Counter,
    /// When the last one ended, in seconds since 1970.
    pub last: Gauge,
}

/// What happens to leases.
#[derive(Debug)]
pub struct Leases {
    /// Granted.
    pub granted: Counter,
    /// Revoked, by clients or since they ran out.
    pub revoked: Counter,
    /// Kept alive.
    pub renewed: Counter,
    /// Revoked since they ran out.
    pub expired: Counter,
    /// The seconds they are granted.
    pub ttls: Histogram,
    /// Streams of renewals whose requests could not be read.
    pub receive_failures: Counter,
}

/// etcd's usual buckets: twice as wide each, up to 8 s from 1 ms on.
const BUCKETS: usize = 14;

/// Those of what is applied: up to 52 s from 0.1 ms on.
const APPLY_BUCKETS: usize = 20;

fn from_millis(millis: u64) -> Histogram {
    Histogram::seconds(Duration::from_millis(millis), BUCKETS)
}

fn of_applies() -> Histogram {
    Histogram::seconds(Duration::from_micros(100), APPLY_BUCKETS)
}

impl Default for Metrics {
    fn default() -> Self {
        let millis = Duration::from_millis;
        Self {
            alarms: Mutex::default(),
            leader_changes: Counter::default(),
            late_heartbeats: Counter::default(),
            proposals_failed: Counter::default(),
            promotions: Counter::default(),
            promotions_failed: Mutex::default(),
            reads_slow: Counter::default(),
            reads_failed: Counter::default(),
            snapshot_applying: Gauge::default(),
            requests: ByOp::new(|| from_millis(1)),
            read_only_txns: Outcomes::new(|| from_millis(1)),
            applies: ByOp::new(of_applies),
            ranges: Outcomes::new(of_applies),
            slow_applies: Counter::default(),
            log: Disk::default(),
            snapshots: Disk::default(),
            databases: Disk::default(),
            store: Disk::default(),
            snapshot_encodes: from_millis(1),
            snapshot_saves: from_millis(1),
            database_saves: Histogram::seconds(millis(100), 10),
            images: Histogram::seconds(millis(10), 17),
            images_open: Gauge::default(),
            hashes: Histogram::seconds(millis(10), 15),
            whole_hashes: Histogram::seconds(millis(10), 15),
            applied: Keys::default(),
            read: Keys::default(),
            compactions: Compactions {
                pauses_max: Histogram::milliseconds(Duration::from_micros(500), 14),
                pauses: Histogram::milliseconds(millis(1), 13),
                totals: Histogram::milliseconds(millis(100), 14),
                revisions: Counter::default(),
                last: Gauge::default(),
            },
            leases: Leases {
                granted: Counter::default(),
                revoked: Counter::default(),
                renewed: Counter::default(),
                expired: Counter::default(),
                ttls: Histogram::whole(1, 24),
                receive_failures: Counter::default(),
            },
            watches: Watching::default(),
            peers: Peers::default(),
        }
    }
}

impl Metrics {
    /// Promotions that failed here, by what was answered.
    #[must_use]
    pub fn promotion_failures(&self) -> Vec<(String, u64)> {
        let failed = lock(&self.promotions_failed);
        failed.iter().map(|(reason, count)| (reason.clone(), *count)).collect()
    }

    /// Alarms that are on or were since the start: member and kind.
    #[must_use]
    pub fn alarms(&self) -> BTreeSet<(u64, i32)> {
        lock(&self.alarms).clone()
    }

    /// Remembers the alarms that are on.
    pub(crate) fn alarmed(&self, alarms: &[AlarmMember]) {
        let on = alarms.iter().map(|alarm| (alarm.member_id, alarm.alarm));
        lock(&self.alarms).extend(on);
    }

    /// Counts a promotion that failed.
    pub(crate) fn promotion_failed(&self, reason: String) {
        *lock(&self.promotions_failed).entry(reason).or_default() += 1;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is whole whoever panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
