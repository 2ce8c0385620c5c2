//! A node: a disk that survives, and a process that does not.
//!
//! The process drives raft as a server would: with one thread that stores, sends, applies and
//! advances, or with raft's storage threads, whose work waits here until the world lets it
//! happen.

use crate::disk::{Disk, DiskError};
use crate::durable::{Durable, Id, Work};
use crate::kv::Kv;
use crate::plan::{ELECTION_TICKS, Millis, Mode, Plan};
use crate::store::{Held, Store};
use raft::{Config, ConfigError, MemoryStorage, Peer, RawNode, ReadOnlyOption, Ready};
use raftpb::{ConfState, Entry, HardState, Message, Snapshot, SnapshotMetadata};
use std::collections::{BTreeSet, VecDeque};
use vfs::MemFs;

pub(crate) struct Node {
    pub(crate) fs: MemFs,
    /// The store's disk.
    pub(crate) store_fs: MemFs,
    pub(crate) life: Life,
    /// Lives so far: an event of an earlier one is void.
    pub(crate) lives: u64,
    /// Members the cluster begins with; 0 for a node that joins.
    pub(crate) founders: u64,
    /// Work that may or may not have reached the disk when the process ended.
    pub(crate) on_its_way: Vec<Work>,
    /// Whether a bit was turned over since the last start.
    pub(crate) flipped: bool,
    pub(crate) stalled_until: Millis,
}

pub(crate) enum Life {
    Up(Box<Process>),
    /// Will be started again.
    Down,
    /// Left the cluster.
    Gone,
    /// Its disk cannot be read any more.
    Lost,
}

impl Node {
    pub(crate) fn new(founders: u64) -> Self {
        Self {
            fs: MemFs::new(),
            store_fs: MemFs::new(),
            life: Life::Down,
            lives: 0,
            founders,
            on_its_way: Vec::new(),
            flipped: false,
            stalled_until: 0,
        }
    }

    pub(crate) fn process(&self) -> Option<&Process> {
        match &self.life {
            Life::Up(process) => Some(process),
            Life::Down | Life::Gone | Life::Lost => None,
        }
    }
}

/// What lives between a start and a crash.
pub(crate) struct Process {
    pub(crate) raw: RawNode<MemoryStorage>,
    pub(crate) disk: Disk,
    pub(crate) store: Store,
    pub(crate) kv: Kv,
    /// As of the last entry applied.
    pub(crate) conf_state: ConfState,
    pub(crate) snapshot_index: u64,
    /// Work for the log that waits, and what the disk is at.
    pub(crate) queue: Vec<Work>,
    pub(crate) writing: Vec<Work>,
    pub(crate) apply_queue: VecDeque<Message>,
    pub(crate) applying: bool,
    /// The one thread's present work; what arrives meanwhile waits.
    pub(crate) pending: Option<Ready>,
    pub(crate) inbox: Vec<Message>,
    /// Proposals whose clients wait here, as (client, operation).
    pub(crate) writes: BTreeSet<(u64, u64)>,
    /// Reads that wait for an index to be applied: (index, client, operation).
    pub(crate) reads: Vec<(u64, u64, u64)>,
    pub(crate) seen_commit: u64,
    /// Snapshots from a leader that raft took and the disk does not have yet.
    pub(crate) snapshots_under_way: u64,
    /// Raft took a snapshot, and was not asked since what it wants.
    pub(crate) stepped_snapshot: bool,
}

/// What a process found as it started.
pub(crate) struct Start {
    pub(crate) process: Process,
    pub(crate) durable: Durable,
    pub(crate) entries: Vec<Entry>,
    pub(crate) torn: bool,
    /// What the store held, and the commit index that the log knows.
    pub(crate) held: Held,
    pub(crate) commit: u64,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Store(#[from] backend::Error),
    #[error(transparent)]
    Raft(#[from] ConfigError),
    #[error("a snapshot holds no state")]
    State,
}

impl Process {
    pub(crate) fn start(
        id: u64,
        (fs, store_fs): (&MemFs, &MemFs),
        founders: u64,
        plan: &Plan,
        seed: u64,
    ) -> Result<Start, StartError> {
        let (disk, found) = Disk::open(fs, plan.segment_bytes, plan.segments_kept)?;
        let hard_state = found.contents.hard_state;
        let entries = found.contents.entries;
        let metadata = found.snapshot.as_ref().and_then(|s| s.metadata.clone()).unwrap_or_default();
        let (store, held) = Store::open(store_fs, metadata.index())?;
        let mut storage = MemoryStorage::new();
        let mut kv = Kv::default();
        if let Some(snapshot) = found.snapshot {
            kv = Kv::decode(snapshot.index(), snapshot.data()).ok_or(StartError::State)?;
            storage.apply_snapshot(snapshot).map_err(ConfigError::from)?;
        }
        storage.set_hard_state(hard_state);
        storage.append(&entries);
        let mut raw = RawNode::new(config(id, kv.applied, plan, seed), storage)?;
        if founders > 0 && hard_state.is_empty() && raw.last_index() == 0 {
            // Nothing was promised yet, so it may be done again after a crash.
            let peers: Vec<Peer> = (1..=founders).map(|id| Peer { id, context: None }).collect();
            raw.bootstrap(&peers).expect("an empty log");
        }
        let id_of = Id { index: metadata.index(), term: metadata.term() };
        let durable = Durable::found(&hard_state, id_of, &entries);
        let conf_state = metadata.conf_state.unwrap_or_default();
        let process = Self {
            seen_commit: hard_state.commit(),
            snapshot_index: kv.applied,
            raw,
            disk,
            store,
            kv,
            conf_state,
            queue: Vec::new(),
            writing: Vec::new(),
            apply_queue: VecDeque::new(),
            applying: false,
            pending: None,
            inbox: Vec::new(),
            writes: BTreeSet::new(),
            reads: Vec::new(),
            snapshots_under_way: 0,
            stepped_snapshot: false,
        };
        let commit = hard_state.commit();
        Ok(Start { process, durable, entries, torn: found.torn, held, commit })
    }

    /// Whether raft took a snapshot that the disk does not have yet.
    pub(crate) fn restoring(&self) -> bool {
        self.stepped_snapshot || self.snapshots_under_way > 0
    }

    /// The state as of now, as a snapshot.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        let index = self.kv.applied;
        let metadata = SnapshotMetadata {
            conf_state: Some(self.conf_state.clone()),
            index: Some(index),
            term: Some(self.raw.term(index)?),
        };
        Some(Snapshot { data: Some(self.kv.encode()), metadata: Some(metadata) })
    }

    pub(crate) fn is_member(&self, id: u64) -> bool {
        let conf = &self.conf_state;
        [&conf.voters, &conf.learners, &conf.voters_outgoing].iter().any(|set| set.contains(&id))
    }
}

/// Work for the log, from the message in which raft hands it out.
pub(crate) fn work_of(message: Message) -> Work {
    let hard_state = message.term.map(|term| HardState {
        term: Some(term),
        vote: message.vote,
        commit: message.commit,
    });
    Work {
        snapshot: message.snapshot,
        own: false,
        entries: message.entries,
        hard_state: hard_state.unwrap_or_default(),
        responses: message.responses,
    }
}

fn config(id: u64, applied: u64, plan: &Plan, seed: u64) -> Config {
    let lease = plan.lease_reads;
    Config {
        id,
        election_tick: ELECTION_TICKS,
        heartbeat_tick: 2,
        applied,
        async_storage_writes: plan.mode != Mode::Plain,
        apply_unstable: plan.mode == Mode::ApplyUnstable,
        max_size_per_msg: plan.max_size_per_msg,
        max_committed_size_per_ready: plan.max_committed_size,
        max_inflight_msgs: plan.max_inflight,
        check_quorum: plan.check_quorum,
        pre_vote: plan.pre_vote,
        read_only_option: if lease { ReadOnlyOption::LeaseBased } else { ReadOnlyOption::Safe },
        seed,
        ..Config::default()
    }
}
