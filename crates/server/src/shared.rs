//! What all parts of a member share: numbers that one writes and many read, and the ways in.

use crate::apply_loop::ApplyInput;
use crate::bootstrap::Dirs;
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::threads::Inbox;
use crate::waiters::Waiters;
use crate::{Config, Error};
use api::etcdserverpb::AlarmMember;
use crossbeam_channel::Sender;
use lease::Expiry;
use member::Cluster;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// What a member's parts share.
pub(crate) struct Shared {
    pub id: u64,
    pub cluster_id: u64,
    pub config: Config,
    pub dirs: Dirs,
    pub metrics: Arc<Metrics>,
    pub ids: Ids,
    pub waiters: Waiters,
    pub inbox: Inbox,
    pub apply: Sender<ApplyInput>,
    pub views: mvcc::Views,
    /// The store of now.
    pub reader: RwLock<backend::Reader>,
    pub raft: Arc<RaftNumbers>,
    /// Index of the last entry that is applied and visible.
    pub applied: watch::Sender<u64>,
    /// Index of the last snapshot that a leader sent, once it is installed.
    pub installed: AtomicU64,
    /// Who leads; 0 for nobody.
    pub lead: watch::Sender<u64>,
    /// Whether the member has said who it is, and so serves.
    pub published: watch::Sender<bool>,
    /// The revision whose compaction is complete.
    pub compacted: watch::Sender<i64>,
    /// The leader's clock of leases. The lock is held for one lookup at a time.
    pub expiry: Mutex<Expiry>,
    /// The members, as last applied.
    pub cluster: RwLock<Arc<Cluster>>,
    /// Whether this member has no vote, as last applied.
    pub learner: AtomicBool,
    /// The alarms, as last applied.
    pub alarms: RwLock<Arc<Vec<AlarmMember>>>,
    pub clock: Clock,
    /// Set once the member stops.
    pub stopping: watch::Sender<bool>,
}

/// Where a member's time comes from.
#[derive(Debug, Clone)]
pub(crate) enum Clock {
    /// The machine's clock, since the process started.
    Since(Instant),
    /// Whoever runs the member tells it the milliseconds.
    Told(Arc<AtomicU64>),
}

/// What the driver lets others know.
#[derive(Debug, Default)]
pub(crate) struct RaftNumbers {
    pub term: AtomicU64,
    pub committed: AtomicU64,
    pub last_index: AtomicU64,
    pub leads: AtomicBool,
    /// Whether this member alone decides, and has decided something in its term: then what it
    /// has applied is the present, and reads need ask nobody.
    pub decides_alone: AtomicBool,
}

impl Shared {
    /// Begins the member's end: nobody waits any longer.
    pub(crate) fn stop(&self) {
        self.stopping.send_replace(true);
        self.waiters.close(self.now());
    }

    pub(crate) fn applied_index(&self) -> u64 {
        *self.applied.borrow()
    }

    pub(crate) fn term(&self) -> u64 {
        self.raft.term.load(Ordering::Relaxed)
    }

    pub(crate) fn committed(&self) -> u64 {
        // The apply stage may be done before the driver's thread gets to tell.
        self.raft.committed.load(Ordering::Acquire).max(self.applied_index())
    }

    pub(crate) fn leads(&self) -> bool {
        self.raft.leads.load(Ordering::Acquire)
    }

    pub(crate) fn cluster(&self) -> Arc<Cluster> {
        Arc::clone(&self.cluster.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn alarms(&self) -> Arc<Vec<AlarmMember>> {
        Arc::clone(&self.alarms.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bytes of the store's files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.reader.read().unwrap_or_else(PoisonError::into_inner).file_bytes()
    }

    /// What the store takes.
    pub(crate) fn usage(&self) -> backend::Usage {
        self.reader.read().unwrap_or_else(PoisonError::into_inner).usage()
    }

    pub(crate) fn expiry(&self) -> MutexGuard<'_, Expiry> {
        self.expiry.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time on the member's clock.
    pub(crate) fn now(&self) -> Duration {
        match &self.clock {
            Clock::Since(started) => started.elapsed(),
            Clock::Told(millis) => Duration::from_millis(millis.load(Ordering::Relaxed)),
        }
    }

    /// Waits until an index is applied and visible.
    pub(crate) async fn wait_applied(&self, index: u64) -> Result<(), Error> {
        let mut applied = self.applied.subscribe();
        let waited = applied.wait_for(|applied| *applied >= index).await;
        waited.map(drop).map_err(|_| api::Error::Stopped.into())
    }
}
