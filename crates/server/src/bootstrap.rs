//! What a member starts from: its directory, or nothing.
//!
//! ```text
//! <data-dir>/member/wal/    the log               (etcd's bytes)
//! <data-dir>/member/snap/   *.snap                (etcd's bytes)
//! <data-dir>/member/store/  segments              (ours; docs/formats/segment.md)
//! ```
//! Invariants:
//! - the log decides who the member is; flags count only while there is no log;
//! - the store may lag behind the log, from which the rest is applied again; one that has lost
//!   entries which the log no longer has is refused, not guessed at.

use crate::join::Joining;
use crate::metrics::{Metrics, Part, measured};
use crate::{Config, Fatal, install};
use apply::{Restored, Settings, StateMachine};
use member::Member;
use prost::Message as _;
use raft::{MemoryStorage, Peer, RawNode};
use raftpb::wal::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::{info, warn};
use vfs::Fs;
use wal::Wal;
use wal::snap::Snapshotter;
use wal::stage::WalStage;

/// A member about to run.
pub(crate) struct Booted {
    pub id: u64,
    pub cluster_id: u64,
    pub raw: RawNode<MemoryStorage>,
    pub wal: WalStage,
    pub snapshotter: Snapshotter,
    pub dirs: Dirs,
    pub restored: Restored,
    /// Members that it can talk to before the log has told it of them.
    pub remotes: Vec<Member>,
    /// Index of the snapshot that the log begins with.
    pub snapshot_index: u64,
    /// Index of the last entry that is durable.
    pub durable: u64,
}

/// The directories of a member, and how files are kept in them.
#[derive(Debug, Clone)]
pub(crate) struct Dirs {
    /// The log's.
    pub fs: Arc<dyn Fs>,
    pub store_fs: Arc<dyn Fs>,
    /// Of snapshots and received databases.
    pub snap_fs: Arc<dyn Fs>,
    pub wal: PathBuf,
    pub snap: PathBuf,
    pub store: PathBuf,
    /// A store that is about to take its place.
    pub new_store: PathBuf,
    /// One whose place was taken.
    pub old_store: PathBuf,
    pub wal_options: wal::Options,
    pub store_options: backend::Options,
}

impl Dirs {
    /// Those of a member on the machine's disk.
    pub(crate) fn new(config: &Config, metrics: &Arc<Metrics>) -> Self {
        let member = config.data_dir.join("member");
        Self {
            fs: measured(metrics, Part::Log),
            store_fs: measured(metrics, Part::Store),
            snap_fs: measured(metrics, Part::Snapshots),
            wal: config.wal_dir.clone().unwrap_or_else(|| member.join("wal")),
            snap: member.join("snap"),
            store: member.join("store"),
            new_store: member.join("store.new"),
            old_store: member.join("store.old"),
            wal_options: wal::Options { sync: !config.unsafe_no_fsync, ..wal::Options::default() },
            store_options: backend::Options::default(),
        }
    }
}

/// Whether a member was here before.
pub(crate) fn has_log(dirs: &Dirs) -> Result<bool, Fatal> {
    Ok(wal::exists(&*dirs.fs, &dirs.wal)?)
}

/// Opens a member's directories, or makes them; `joins` is who it then joins, if it does.
pub(crate) fn boot(config: &Config, dirs: Dirs, joins: Option<Joining>) -> Result<Booted, Fatal> {
    for dir in [&dirs.snap, &dirs.store] {
        let failed = |source| Fatal::Disk { path: dir.clone(), source };
        dirs.fs.create_dir_all(dir).map_err(failed)?;
    }
    let snapshotter = Snapshotter::new(Arc::clone(&dirs.snap_fs), &dirs.snap);
    snapshotter.remove_leftovers()?;
    let known = has_log(&dirs)?;
    let disk = Disk { dirs, snapshotter };
    if known {
        return restart(config, disk);
    }
    match joins {
        Some(joining) => join(config, disk, &joining),
        None => begin(config, disk),
    }
}

struct Disk {
    dirs: Dirs,
    snapshotter: Snapshotter,
}

fn restore(config: &Config, opened: backend::Opened) -> Result<Restored, Fatal> {
    let settings = Settings {
        min_lease_ttl: config.min_lease_ttl(),
        max_learners: config.max_learners,
        persist_checkpoints: true,
        quota_bytes: config.quota_bytes,
    };
    let restored = StateMachine::restore(opened, settings)?;
    if let Some(threshold) = config.defragment_at_start {
        let usage = restored.reader.usage();
        // Compat: looked for by name. There is nothing to do whatever the threshold is: space
        // comes back by itself, a segment at a time.
        info!(
            current_db_size_bytes = usage.file_bytes,
            current_db_size_in_use_bytes = usage.in_use_bytes().min(usage.file_bytes),
            bootstrap_defrag_threshold_bytes = threshold,
            "Skipping defragmentation"
        );
    }
    Ok(restored)
}

/// A member of a new cluster.
fn begin(config: &Config, disk: Disk) -> Result<Booted, Fatal> {
    let Disk { dirs, snapshotter } = disk;
    let invalid = |reason: String| Fatal::Config { field: "initial-cluster", reason };
    if config.initial_cluster.has_duplicate_url() {
        return Err(invalid(format!(
            "initial cluster {} has duplicate url",
            config.initial_cluster
        )));
    }
    let members = config.initial_cluster.members(&config.initial_cluster_token);
    let members = members.map_err(|error| invalid(error.to_string()))?;
    let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
    let cluster_id = member::cluster_id(&ids);
    let member = members.iter().find(|member| member.name == config.name).ok_or_else(|| {
        invalid(format!(
            "couldn't find local name {:?} in the initial cluster configuration",
            config.name
        ))
    })?;
    let mut advertised = config.advertise_peer_urls.clone();
    advertised.sort();
    if advertised != member.peer_urls {
        return Err(Fatal::Config {
            field: "initial-advertise-peer-urls",
            reason: mismatch(&config.name, &member.peer_urls, &advertised),
        });
    }
    let restored = restore(config, install::open(&dirs)?)?;
    let metadata = Metadata { node_id: Some(member.id), cluster_id: Some(cluster_id) };
    let wal = create_log(&dirs, &metadata)?;
    let mut raw = RawNode::new(raft_config(config, member.id, 0), MemoryStorage::new())?;
    let peer = |member: &Member| Peer { id: member.id, context: Some(member.to_json().into()) };
    let peers: Vec<Peer> = members.iter().map(peer).collect();
    raw.bootstrap(&peers).map_err(|error| invalid(error.to_string()))?;
    info!(cluster_id = member::format_id(cluster_id), "starting a new cluster");
    Ok(Booted {
        id: member.id,
        cluster_id,
        raw,
        wal: WalStage::new(wal),
        snapshotter,
        dirs,
        restored,
        remotes: Vec::new(),
        snapshot_index: 0,
        durable: 0,
    })
}

/// How listed and advertised URLs differ. Compat: etcd's words, up to what its resolver says.
fn mismatch(name: &str, listed: &[String], advertised: &[String]) -> String {
    let missing: Vec<_> = listed.iter().filter(|url| !advertised.contains(url)).collect();
    if missing.is_empty() {
        let missing: Vec<_> = advertised.iter().filter(|url| !listed.contains(url)).collect();
        let missing = missing.into_iter().map(String::as_str).collect::<Vec<_>>().join(",");
        let own: Vec<_> = advertised.iter().map(|url| format!("{name}={url}")).collect();
        return format!(
            "--initial-advertise-peer-urls has {missing} but missing from --initial-cluster={}",
            own.join(",")
        );
    }
    let missing: Vec<_> = missing.into_iter().map(|url| format!("{name}={url}")).collect();
    format!(
        "--initial-cluster has {} but missing from --initial-advertise-peer-urls={}",
        missing.join(","),
        advertised.join(",")
    )
}

/// A new member of a cluster that is there: its log is empty, and others fill it.
fn join(config: &Config, disk: Disk, joining: &Joining) -> Result<Booted, Fatal> {
    let Disk { dirs, snapshotter } = disk;
    let &Joining { id, cluster_id, .. } = joining;
    let restored = restore(config, install::open(&dirs)?)?;
    let metadata = Metadata { node_id: Some(id), cluster_id: Some(cluster_id) };
    let wal = create_log(&dirs, &metadata)?;
    let raw = RawNode::new(raft_config(config, id, 0), MemoryStorage::new())?;
    info!(
        member_id = member::format_id(id),
        cluster_id = member::format_id(cluster_id),
        "joining an existing cluster"
    );
    Ok(Booted {
        id,
        cluster_id,
        raw,
        wal: WalStage::new(wal),
        snapshotter,
        dirs,
        restored,
        remotes: joining.others(),
        snapshot_index: 0,
        durable: 0,
    })
}

/// A member that was here before.
fn restart(config: &Config, disk: Disk) -> Result<Booted, Fatal> {
    let Disk { dirs, snapshotter } = disk;
    let records = wal::valid_snapshot_entries(&*dirs.fs, &dirs.wal)?;
    let mut storage = MemoryStorage::new();
    // The log begins where the newest snapshot ends whose file is sound.
    let mut start = raftpb::wal::Snapshot::default();
    match snapshotter.load_newest_available(&records) {
        Ok(snapshot) => {
            let found = (snapshot.index(), snapshot.term());
            let record = records.iter().find(|record| (record.index(), record.term()) == found);
            start = record.cloned().unwrap_or_default();
            let applied = storage.apply_snapshot(snapshot);
            applied.map_err(|error| lost(&dirs.wal, &error.to_string()))?;
        }
        Err(wal::snap::Error::NoSnapshot { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let open = || Wal::open(Arc::clone(&dirs.fs), &dirs.wal, &start, dirs.wal_options);
    let opened = match open() {
        Err(error @ wal::Error::Torn { .. }) => {
            warn!(%error, "repairing the end of the log");
            wal::repair(&*dirs.fs, &dirs.wal)?;
            open()
        }
        opened => opened,
    };
    let (wal, contents) = opened?;
    let store = install::finish(&dirs, &snapshotter, (start.index(), start.term()))?;
    let restored = restore(config, store)?;
    if restored.machine.consistent_index() < start.index() {
        let reason = format!(
            "it ends at entry {} and the log begins after entry {}",
            restored.machine.consistent_index(),
            start.index()
        );
        return Err(lost(&dirs.store, &reason));
    }
    storage.set_hard_state(contents.hard_state);
    storage.append(&contents.entries);
    let durable = wal.last_index();
    let metadata = Metadata::decode(contents.metadata.clone())
        .map_err(|error| lost(&dirs.wal, &error.to_string()))?;
    let id = metadata.node_id();
    let raw = RawNode::new(raft_config(config, id, start.index()), storage)?;
    info!(
        cluster_id = member::format_id(metadata.cluster_id()),
        local_member_id = member::format_id(id),
        commit_index = contents.hard_state.commit(),
        "restarting local member"
    );
    Ok(Booted {
        id,
        cluster_id: metadata.cluster_id(),
        raw,
        wal: WalStage::new(wal),
        snapshotter,
        dirs,
        restored,
        remotes: Vec::new(),
        snapshot_index: start.index(),
        durable,
    })
}

fn create_log(dirs: &Dirs, metadata: &Metadata) -> Result<Wal, Fatal> {
    let fs = Arc::clone(&dirs.fs);
    Ok(Wal::create(fs, &dirs.wal, &metadata.encode_to_vec(), dirs.wal_options)?)
}

fn lost(path: &Path, reason: &str) -> Fatal {
    Fatal::Lost { path: path.to_owned(), reason: reason.to_owned() }
}

fn raft_config(config: &Config, id: u64, applied: u64) -> raft::Config {
    raft::Config {
        id,
        election_tick: config.election_ticks,
        heartbeat_tick: 1,
        applied,
        async_storage_writes: true,
        apply_unstable: true,
        max_size_per_msg: 512 << 10,
        max_inflight_msgs: 512,
        check_quorum: true,
        pre_vote: config.pre_vote,
        seed: id,
        ..raft::Config::default()
    }
}
