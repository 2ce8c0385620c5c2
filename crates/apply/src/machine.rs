//! The state machine: what it holds, and one batch of entries.

use crate::kv::Failure;
use crate::planted::{self, Bug};
use crate::{Alarms, Image, Op, Operations, Reply};
use api::etcdserverpb::InternalRaftRequest;
use backend::{Buckets, Opened, Reader, Store};
use bytes::Bytes;
use lease::Lessor;
use member::Cluster;
use mvcc::{Changes, Mvcc, Views};
use prost::Message as _;
use raftpb::{ConfChange, Entry};
use std::sync::Arc;

/// What is decided outside of the log. What changes more than replies must be the same on all
/// members, as in etcd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Seconds a lease lives at least: equal on all members.
    pub min_lease_ttl: i64,
    /// Learners there may be: equal on all members.
    pub max_learners: usize,
    /// Whether remaining times of leases are stored: equal on all members.
    pub persist_checkpoints: bool,
    /// Bytes the store may take before writes are told that there is no room; local.
    pub quota_bytes: Option<u64>,
}

/// What happened to a lease, for whoever counts its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as what it is about")]
pub enum LeaseEvent {
    Granted(lease::Lease),
    Revoked { id: i64 },
    Checkpointed { id: i64, remaining: i64 },
}

/// What an entry that changes members comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfOutcome {
    /// The request's id.
    pub id: u64,
    /// Why it changes nothing, if so.
    pub refused: Option<member::Rejected>,
    /// What raft is to put in force.
    pub change: Option<ConfChange>,
}

/// Why a member cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The store failed.
    #[error("store")]
    Store(#[from] mvcc::Error),
    /// No member writes such an entry.
    #[error("log entry {index}: {reason}")]
    Entry {
        /// Its index.
        index: u64,
        /// What is wrong.
        reason: String,
    },
}

/// Why a store holds no state to go on from.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The keys.
    #[error(transparent)]
    Keys(#[from] mvcc::Error),
    /// The leases.
    #[error(transparent)]
    Leases(#[from] lease::Error),
    /// The members.
    #[error(transparent)]
    Members(#[from] member::Error),
}

/// What one request came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The request's id; 0 for an entry without one.
    pub id: u64,
    /// What it asks for.
    pub op: Op,
    /// Its reply, or why it was refused.
    pub reply: Result<Reply, api::Error>,
}

/// All replicated state of a member.
#[derive(Debug)]
pub struct StateMachine {
    pub(crate) settings: Settings,
    pub(crate) store: Store,
    pub(crate) mvcc: Mvcc,
    pub(crate) lessor: Lessor,
    pub(crate) cluster: Cluster,
    pub(crate) alarms: Alarms,
    pub(crate) reader: Reader,
    pub(crate) changes: Vec<Arc<Changes>>,
    pub(crate) lease_events: Vec<LeaseEvent>,
    /// Set when a reply said that there is no room.
    pub(crate) no_space: bool,
    /// What was done to the keys since the start.
    pub(crate) operations: Operations,
}

impl StateMachine {
    /// The state that a store holds.
    ///
    /// # Errors
    /// The store's.
    pub fn restore(opened: Opened, settings: Settings) -> Result<Restored, RestoreError> {
        let Opened { store, reader, flusher, compactor, restored } = opened;
        let started = mvcc::restore(restored, reader.clone(), store.buckets())?;
        let lessor = load_leases(store.buckets(), settings, started.leases)?;
        let (mvcc, views) = (started.mvcc, started.views);
        let cluster = Cluster::load(store.buckets())?;
        let alarms = Alarms::load(store.buckets());
        let machine = Self {
            settings,
            store,
            mvcc,
            lessor,
            cluster,
            alarms,
            reader: reader.clone(),
            changes: Vec::new(),
            lease_events: Vec::new(),
            no_space: false,
            operations: Operations::default(),
        };
        Ok(Restored { machine, views, reader, flusher, compactor })
    }

    /// Goes on from the state that another store holds, as after a snapshot from a peer. Readers
    /// find it in the views they have; what is under way for the old state is forgotten.
    ///
    /// # Errors
    /// The store's; the member must end then.
    pub fn replace(&mut self, opened: Opened) -> Result<Replaced, RestoreError> {
        let Opened { store, reader, flusher, compactor, restored } = opened;
        let leases = self.mvcc.replace(restored, reader.clone(), store.buckets())?;
        self.lessor = load_leases(store.buckets(), self.settings, leases)?;
        self.cluster = Cluster::load(store.buckets())?;
        self.alarms = Alarms::load(store.buckets());
        (self.store, self.reader) = (store, reader.clone());
        (self.changes, self.lease_events) = (Vec::new(), Vec::new());
        Ok(Replaced { reader, flusher, compactor })
    }

    /// The state as it is now, between two batches.
    #[must_use]
    pub fn image(&self) -> Image {
        Image {
            judge: self.mvcc.views().judge(),
            pin: self.reader.pin(),
            buckets: self.store.buckets().clone(),
            index: self.store.consistent_index(),
            term: self.store.term(),
            storage_version: self.cluster.storage_version(),
        }
    }

    /// Applies a normal entry. `waits` is asked whether somebody here waits for a request.
    ///
    /// # Errors
    /// [`ApplyError`], after which the member must end.
    pub fn apply(
        &mut self,
        entry: &Entry,
        waits: impl Fn(u64) -> bool,
    ) -> Result<Option<Applied>, ApplyError> {
        let data = entry.data.clone().unwrap_or_default();
        if data.is_empty() || entry.index() <= self.store.consistent_index() {
            return Ok(None);
        }
        let broken = |reason: String| ApplyError::Entry { index: entry.index(), reason };
        let request =
            InternalRaftRequest::decode(data).map_err(|error| broken(error.to_string()))?;
        let id = match &request.header {
            Some(header) => header.id,
            None => request.id,
        };
        let reply = match self.dispatch(&request, || waits(id)) {
            Ok(reply) => Ok(reply),
            Err(Failure::Refused(error)) => Err(error),
            Err(Failure::Store(error)) => return Err(error.into()),
            Err(Failure::Cluster(error)) => return Err(broken(error.to_string())),
            Err(Failure::Unknown) => {
                let reason = "an operation that this version does not apply".to_owned();
                return Err(broken(reason));
            }
        };
        Ok(Some(Applied { id, op: Op::of(&request), reply }))
    }

    /// Ends a batch: all of it is one frame of the store, and readers see it.
    pub fn commit(&mut self, index: u64, term: u64) {
        if index > self.store.consistent_index() {
            if planted::is(Bug::IndexApartFromFrame) {
                self.store.commit(self.store.consistent_index(), self.store.term());
            }
            self.store.commit(index, term);
            self.mvcc.publish();
        }
    }

    /// Makes what was noted since the last batch visible, at its index.
    pub fn commit_again(&mut self, term: u64) {
        self.store.commit(self.store.consistent_index(), term.max(self.store.term()));
        self.mvcc.publish();
    }

    /// What the batch changed, in order.
    pub fn take_changes(&mut self) -> Vec<Arc<Changes>> {
        std::mem::take(&mut self.changes)
    }

    /// What happened to leases in the batch, in order.
    pub fn take_lease_events(&mut self) -> Vec<LeaseEvent> {
        std::mem::take(&mut self.lease_events)
    }

    /// Whether a reply of the batch said that there is no room: then the alarm is due.
    pub fn take_no_space(&mut self) -> bool {
        std::mem::take(&mut self.no_space)
    }

    /// What was done to the keys since the start, as etcd counts it.
    #[must_use]
    pub fn operations(&self) -> Operations {
        self.operations
    }

    /// The index of the last entry committed to the store.
    #[must_use]
    pub fn consistent_index(&self) -> u64 {
        self.store.consistent_index()
    }

    /// The term of that entry.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.store.term()
    }

    /// The keys.
    #[must_use]
    pub fn mvcc(&self) -> &Mvcc {
        &self.mvcc
    }

    /// The keys and the store under them, for the steps of a compaction.
    pub fn mvcc_and_store(&mut self) -> (&mut Mvcc, &mut Store) {
        (&mut self.mvcc, &mut self.store)
    }

    /// The leases.
    #[must_use]
    pub fn lessor(&self) -> &Lessor {
        &self.lessor
    }

    /// The members.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The alarms.
    #[must_use]
    pub fn alarms(&self) -> &Alarms {
        &self.alarms
    }

    /// Bytes the store takes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.reader.file_bytes()
    }
}

fn load_leases(
    buckets: &Buckets,
    settings: Settings,
    keys: Vec<(Bytes, i64)>,
) -> Result<Lessor, RestoreError> {
    let (lessor, orphans) = Lessor::load(buckets, settings.min_lease_ttl, keys)?;
    if !orphans.is_empty() {
        tracing::warn!(keys = orphans.len(), "keys name leases that are not there");
    }
    Ok(lessor)
}

/// The other sides of a store that a state machine goes on with.
#[derive(Debug)]
pub struct Replaced {
    /// For readers of records.
    pub reader: Reader,
    /// For the store's thread.
    pub flusher: backend::Flusher,
    /// For the store's thread.
    pub compactor: backend::Compactor,
}

/// A state machine with the other sides of its store.
#[derive(Debug)]
pub struct Restored {
    /// For the apply stage.
    pub machine: StateMachine,
    /// For readers of keys.
    pub views: Views,
    /// For readers of records.
    pub reader: Reader,
    /// For the store's thread.
    pub flusher: backend::Flusher,
    /// For the store's thread.
    pub compactor: backend::Compactor,
}
