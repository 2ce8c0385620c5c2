//! What a member is told at its start. Already checked: strings that people type are `serve`'s.

use crate::AutoCompaction;
use member::InitialCluster;
use net::TlsOptions;
use std::path::PathBuf;
use std::time::Duration;

/// How a member is run. [`Config::default`] is etcd's, for one member that listens nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Its name, by which the initial cluster knows it.
    pub name: String,
    /// Where all its files are.
    pub data_dir: PathBuf,
    /// Where its log is, if not under `data_dir`.
    pub wal_dir: Option<PathBuf>,
    /// Name and peer URLs of each member of a new cluster.
    pub initial_cluster: InitialCluster,
    /// What tells clusters with the same URLs apart.
    pub initial_cluster_token: String,
    /// Whether it starts a cluster rather than join one; of no effect once it has a log.
    pub new_cluster: bool,
    /// Where others find it, at its start.
    pub advertise_peer_urls: Vec<String>,
    /// How other members are dialled where their URLs ask for TLS.
    pub peer_tls: TlsOptions,
    /// After so long a silence a stream from another member is given up.
    pub raft_read_timeout: Duration,
    /// After so long a write one to another member is.
    pub raft_write_timeout: Duration,
    /// Where clients find it.
    pub advertise_client_urls: Vec<String>,
    /// The time of a tick.
    pub heartbeat_interval: Duration,
    /// Ticks of an election timeout.
    pub election_ticks: u32,
    /// Whether a member that starts among others that answer waits less for a leader to be heard
    /// of, before it stands for election.
    pub initial_election_tick_advance: bool,
    /// Whether a member asks if it could win before it starts an election.
    pub pre_vote: bool,
    /// Entries applied between two snapshots.
    pub snapshot_count: u64,
    /// Entries kept behind a snapshot for slow followers.
    pub snapshot_catch_up_entries: u64,
    /// Snapshot files kept.
    pub max_snapshots: usize,
    /// Log files kept.
    pub max_wals: usize,
    /// Bytes the store may take; `None` for no limit.
    pub quota_bytes: Option<u64>,
    /// Bytes of a request, at most.
    pub max_request_bytes: usize,
    /// Operations of a transaction, at most.
    pub max_txn_ops: usize,
    /// Learners there may be.
    pub max_learners: usize,
    /// Whether to refuse changes of members that could cost the quorum.
    pub strict_reconfig_check: bool,
    /// Whether to skip every sync: a crash of the machine then loses what was acknowledged.
    pub unsafe_no_fsync: bool,
    /// Keys a compaction looks at before it pauses.
    pub compaction_batch: usize,
    /// How long it pauses.
    pub compaction_pause: Duration,
    /// What is kept when the leader compacts by itself; `None` if it does not.
    pub auto_compaction: Option<AutoCompaction>,
    /// The longest that what was applied waits for a sync of the store's files. No promise
    /// depends on it: the log has it all.
    pub store_sync_period: Duration,
    /// Records that do not wait so long.
    pub store_sync_records: u64,
    /// Bytes above which a member that starts would defragment its store; `None` for never.
    pub defragment_at_start: Option<u64>,
    /// How often watchers that asked for it are told of progress.
    pub watch_progress_interval: Duration,
    /// An entry, or a read, that takes longer is logged.
    pub warning_apply: Duration,
    /// A request that takes longer is logged.
    pub warning_request: Duration,
}

impl Config {
    /// How long a request may take inside: 5 s of queueing, computing and disk, and two election
    /// timeouts.
    #[must_use]
    pub fn request_timeout(&self) -> Duration {
        Duration::from_secs(5) + 2 * self.election_timeout()
    }

    /// An election timeout.
    #[must_use]
    pub fn election_timeout(&self) -> Duration {
        self.heartbeat_interval * self.election_ticks
    }

    /// Seconds a lease lives at least: one and a half election timeouts, in whole seconds.
    #[must_use]
    pub fn min_lease_ttl(&self) -> i64 {
        lease::min_ttl(self.election_ticks, self.heartbeat_interval)
    }
}

impl Default for Config {
    fn default() -> Self {
        let url = || vec!["http://localhost:2380".to_owned()];
        Self {
            name: "default".to_owned(),
            data_dir: "default.etcd".into(),
            wal_dir: None,
            initial_cluster: InitialCluster { urls: [("default".to_owned(), url())].into() },
            initial_cluster_token: "etcd-cluster".to_owned(),
            new_cluster: true,
            advertise_peer_urls: url(),
            peer_tls: TlsOptions::default(),
            raft_read_timeout: peer::TIMEOUT_MIN,
            raft_write_timeout: peer::TIMEOUT_MIN,
            advertise_client_urls: vec!["http://localhost:2379".to_owned()],
            heartbeat_interval: Duration::from_millis(100),
            election_ticks: 10,
            initial_election_tick_advance: true,
            pre_vote: true,
            snapshot_count: 10_000,
            snapshot_catch_up_entries: 5_000,
            max_snapshots: 5,
            max_wals: 5,
            quota_bytes: Some(2 << 30),
            max_request_bytes: 3 << 19,
            max_txn_ops: 128,
            max_learners: 1,
            strict_reconfig_check: true,
            unsafe_no_fsync: false,
            compaction_batch: 1000,
            compaction_pause: Duration::from_millis(10),
            auto_compaction: None,
            store_sync_period: Duration::from_millis(100),
            store_sync_records: 10_000,
            defragment_at_start: None,
            watch_progress_interval: Duration::from_secs(600),
            warning_apply: Duration::from_millis(100),
            warning_request: Duration::from_millis(300),
        }
    }
}
