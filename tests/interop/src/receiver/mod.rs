//! A member of ours in a cluster of real ones: raft, log, snapshot files and peer protocol, without
//! a store.
//!
//! It joins as etcd does (bootstrap.go, `/members` of the others), takes the database that a
//! leader sends, keeps its directory in etcd's layout, acknowledges what is durable and votes. What
//! a store would apply it only notes: how many entries, and a checksum over them. It reads no
//! request in them; only membership changes mean something to it.
//!
//! It never leads: its election timeout is out of reach and it is deaf to a leader who hands
//! over, since nobody behind it could answer clients.
//!
//! ```text
//!   peers -> link -> driver -> storage thread (log, snapshot files)
//!              peers <- driver <-+
//! ```

mod driver;
mod link;
mod storage;

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use driver::Driver;
use link::{Link, Listener};
use peer::{Local, PeerUrl, Settings, Transport};
use raft::{MemoryStorage, RawNode};
use raftpb::wal::Metadata;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use storage::Disk;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use wal::snap::Snapshotter;

/// What a receiver is told at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its directory, in etcd's layout.
    pub data_dir: PathBuf,
    /// Where others are told to reach it; the cluster knows it by this.
    pub advertise_url: String,
    /// Where other members can be asked who there is.
    pub seeds: Vec<String>,
}

/// How a receiver is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Its term.
    pub term: u64,
    /// The leader it follows, or 0.
    pub lead: u64,
    /// Index of the last entry known to be committed.
    pub commit: u64,
    /// Index of the last entry applied.
    pub applied: u64,
    /// Index of the snapshot that the rest follows; 0 for none.
    pub snapshot: u64,
    /// Snapshots taken in since it was started.
    pub snapshots: u64,
    /// Entries applied since that snapshot, whatever their kind.
    pub entries: u64,
    /// CRC-32C over the data of those entries.
    pub digest: u32,
    /// Who votes.
    pub voters: Vec<u64>,
    /// Who learns.
    pub learners: Vec<u64>,
    /// Set when another member says that this one was removed.
    pub removed: bool,
}

/// A running receiver.
#[derive(Debug)]
pub struct Receiver {
    id: u64,
    cluster_id: u64,
    address: SocketAddr,
    status: watch::Receiver<Status>,
    transport: Shown,
    stop: watch::Sender<bool>,
    driver: tokio::task::JoinHandle<Result<()>>,
    storage: JoinHandle<Result<()>>,
    runtime: Runtime,
}

/// A tick of raft's time, as in etcd.
const TICK: Duration = Duration::from_millis(100);

/// etcd's election timeout, which decides how long to wait for a connection.
const ELECTION_TIMEOUT: Duration = Duration::from_secs(1);

/// Ticks until an election of its own: more than a test lives.
const NEVER_TICKS: u32 = 1 << 30;

/// Messages from peers on their way into raft, at most; then peers wait.
const INBOX_MAX: usize = 4096;

impl Receiver {
    /// Joins the cluster, or goes on with what its directory holds.
    ///
    /// # Errors
    /// If no seed answers, the cluster does not know it, or its directory cannot be used.
    pub fn start(config: &Config) -> Result<Receiver> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build()?;
        let cluster = ask_members(&config.seeds)?;
        let disk = Disk::open(&config.data_dir, || {
            let id = cluster.id_at(&config.advertise_url)?;
            Ok(Metadata { node_id: Some(id), cluster_id: Some(cluster.id) })
        })?;
        let Disk { stage, storage, snapshotter, metadata } = disk;
        let (id, cluster_id) = (metadata.node_id(), metadata.cluster_id());
        ensure!(cluster_id == cluster.id, "the directory is another cluster's");
        let snapshot = storage_snapshot(&storage);
        let node = RawNode::new(raft_config(id), storage)?;

        let _in_runtime = runtime.enter();
        let (inbox_tx, inbox) = mpsc::channel(INBOX_MAX);
        let link = Arc::new(Link::new(inbox_tx, snapshotter.clone()));
        let urls = vec![PeerUrl::parse(&config.advertise_url)?];
        let local = Local { id, cluster_id, urls };
        let transport = Transport::new(local, link.clone(), Settings::plain(ELECTION_TIMEOUT));
        for (member, urls) in &cluster.members {
            if *member != id {
                // A Go member does both: who is not in the configuration yet is answered too.
                transport.add_remote(*member, parse_urls(urls)?);
                transport.add_peer(*member, parse_urls(urls)?);
            }
        }
        let (_, snap_dir) = member_dirs(&config.data_dir);
        let (appends, requests) = mpsc::channel(driver::APPENDS_MAX);
        let (done_tx, done) = mpsc::channel(driver::APPENDS_MAX);
        let storage = std::thread::Builder::new().name("storage".to_owned());
        let storage = storage
            .spawn(move || storage::run(stage, &snapshotter, &snap_dir, requests, &done_tx))?;
        let (stop, stopped) = watch::channel(false);
        let (status_tx, status) = watch::channel(Status::default());
        let driver =
            Driver::new(id, node, snapshot, transport.clone(), link, appends, done, status_tx);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let listener = Listener { listener, stop: stopped.clone() };
        let driver = runtime.spawn(driver.run(inbox, listener, stopped));
        let transport = Shown(transport);
        Ok(Receiver { id, cluster_id, address, status, transport, stop, driver, storage, runtime })
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The cluster's id.
    #[must_use]
    pub fn cluster_id(&self) -> u64 {
        self.cluster_id
    }

    /// Where it listens for peers.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// Whether it still runs; if not, [`Self::stop`] says why.
    #[must_use]
    pub fn runs(&self) -> bool {
        !self.driver.is_finished() && !self.storage.is_finished()
    }

    /// The near end of its links to the others.
    #[must_use]
    pub fn transport(&self) -> &Transport {
        &self.transport.0
    }

    /// Stops it; all that it acknowledged is on disk.
    ///
    /// # Errors
    /// What had ended it before.
    pub fn stop(self) -> Result<()> {
        self.stop.send_replace(true);
        let driven = self.runtime.block_on(self.driver).context("the driver")?;
        // With the driver its channel is gone, and the thread ends.
        let stored = self.storage.join().map_err(|_| anyhow!("the storage thread panicked"))?;
        stored.context("storage").and(driven)
    }
}

/// So that [`Receiver`] can be shown.
struct Shown(Transport);

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Transport")
    }
}

fn raft_config(id: u64) -> raft::Config {
    raft::Config {
        id,
        election_tick: NEVER_TICKS,
        async_storage_writes: true,
        // With it, this member would refuse its vote for as long as it believes in a leader: for
        // an election timeout, which is never over here.
        check_quorum: false,
        ..raft::Config::default()
    }
}

fn storage_snapshot(storage: &MemoryStorage) -> raftpb::Snapshot {
    raft::Storage::snapshot(storage).unwrap_or_default()
}

/// Who there is, as a member tells.
#[derive(Debug)]
struct Members {
    id: u64,
    members: BTreeMap<u64, Vec<String>>,
}

impl Members {
    /// The id of the member with this peer URL.
    fn id_at(&self, url: &str) -> Result<u64> {
        let is_at = |urls: &Vec<String>| urls.iter().any(|its| its == url);
        let found = self.members.iter().find(|(_, urls)| is_at(urls));
        found.map(|(id, _)| *id).with_context(|| format!("the cluster knows no member at {url}"))
    }
}

/// Asks one after the other who the members are; the first good answer counts.
fn ask_members(seeds: &[String]) -> Result<Members> {
    let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10)));
    let agent: ureq::Agent = config.build().into();
    let ask = |seed: &String| -> Result<Members> {
        let mut answer = agent.get(&format!("{seed}/members")).call()?;
        let id = answer.headers().get("x-etcd-cluster-id").context("no cluster id")?;
        let id = u64::from_str_radix(id.to_str()?, 16)?;
        let list: Vec<Value> = answer.body_mut().read_json()?;
        let mut members = BTreeMap::new();
        for member in list {
            let urls = serde_json::from_value(member["peerURLs"].clone())?;
            members.insert(member["id"].as_u64().context("a member without id")?, urls);
        }
        Ok(Members { id, members })
    };
    let mut last = anyhow!("there are no seeds");
    for seed in seeds {
        match ask(seed) {
            Ok(members) => return Ok(members),
            Err(error) => last = error.context(format!("asking {seed}")),
        }
    }
    Err(last)
}

fn parse_urls(urls: &[String]) -> Result<Vec<PeerUrl>> {
    Ok(urls.iter().map(|url| PeerUrl::parse(url)).collect::<Result<_, _>>()?)
}

/// Adds an entry to a checksum.
fn digest(so_far: u32, data: Option<&Bytes>) -> u32 {
    crc32c::crc32c_append(so_far, data.map(Bytes::as_ref).unwrap_or_default())
}

/// The checksum that a receiver has when it applied these entries, in order, to compare with.
#[must_use]
pub fn digest_of<'a>(entries: impl IntoIterator<Item = &'a raftpb::Entry>) -> u32 {
    entries.into_iter().fold(0, |sum, entry| digest(sum, entry.data.as_ref()))
}

fn member_dirs(data_dir: &Path) -> (PathBuf, PathBuf) {
    (data_dir.join("member/wal"), data_dir.join("member/snap"))
}

fn open_snapshotter(dir: &Path) -> Result<Snapshotter> {
    let fs: Arc<dyn vfs::Fs> = Arc::new(vfs::OsFs);
    fs.create_dir_all(dir)?;
    let snapshotter = Snapshotter::new(fs, dir);
    snapshotter.remove_leftovers()?;
    Ok(snapshotter)
}
