//! The raft node: an event loop between proposals, log, peers and commits.
//!
//! ```text
//!  propose channel --+
//!  conf changes -----+-> RawNode -> Ready: 1. snapshot and entries to the log, synced
//!  peers' messages --+      ^              2. messages to the peers
//!  ticks ------------+      |              3. committed entries to the commit channel
//!                           +- advance --- 4. now and then, a snapshot of the store
//! ```
//!
//! The order is what makes it safe: nothing is sent or applied that the log does not hold. An
//! error of the disk ends the node; it never goes on with what may be lost.

use crate::kvstore::{Commit, KvStore};
use crate::link::{Link, lock};
use crate::listener::StoppableListener;
use ::raft::{Config, MemoryStorage, Peer, RawNode, Ready, SnapshotStatus, StorageError};
use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use peer::{Local, PeerUrl, Settings, SnapshotOutcome, Transport};
use prost::Message as _;
use raftpb::{
    ConfChange, ConfChangeType, ConfState, Entry, EntryType, HardState, MembershipChange, Message,
    MessageType, Snapshot,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{debug, error, info, warn};
use vfs::{Fs, OsFs};
use wal::Wal;
use wal::snap::Snapshotter;

/// What a node is told at its start.
#[derive(Debug)]
pub struct NodeConfig {
    /// Its id: its place in `cluster`, from 1.
    pub id: u64,
    /// Where each node listens for the others.
    pub cluster: Vec<PeerUrl>,
    /// Whether the cluster exists already.
    pub join: bool,
    /// Seeds the election timeouts.
    pub seed: u64,
}

/// A tick of raft's time.
const TICK: Duration = Duration::from_millis(100);
const ELECTION_TICKS: u32 = 10;
/// Entries applied between two snapshots, at least.
const SNAPSHOT_COUNT: u64 = 10_000;
/// Entries kept behind a snapshot, so that a follower a little behind needs none.
const CATCH_UP_ENTRIES: u64 = 10_000;
/// Log segments and snapshots kept, as in etcd.
const FILES_KEPT: usize = 5;
/// Compat: the id of upstream's example cluster.
const CLUSTER_ID: u64 = 0x1000;
/// Messages from peers on their way into raft, at most; then peers wait.
const INBOX_MAX: usize = 4096;
/// Taken from a channel in one go, at most: what is proposed together is synced together.
const BATCH_MAX: usize = 1024;
/// The same in bytes, for it may have to be forwarded in one message.
const BATCH_BYTES_MAX: usize = 1 << 20;

/// One node.
pub struct RaftNode {
    id: u64,
    node: RawNode<MemoryStorage>,
    wal: Wal,
    fs: Arc<dyn Fs>,
    wal_dir: PathBuf,
    snapshotter: Snapshotter,
    store: Arc<KvStore>,
    transport: Transport,
    link: Arc<Link>,
    proposals: mpsc::Receiver<Bytes>,
    conf_changes: mpsc::Receiver<ConfChange>,
    inbox: mpsc::Receiver<Message>,
    commit_c: mpsc::Sender<Commit>,
    /// Proposals that raft could not take yet. They go before any others.
    held: Vec<Bytes>,
    conf_change_count: u64,
    conf_state: watch::Sender<ConfState>,
    snapshot_index: u64,
    applied_index: u64,
    own_url: PeerUrl,
    /// Set once this node was removed: ticks until it stops.
    leaving: Option<u32>,
}

/// What others may know of the node.
#[derive(Clone)]
pub struct RaftView(watch::Receiver<ConfState>);

impl RaftView {
    /// Whether `id` is the one voter there is.
    pub fn is_only_voter(&self, id: u64) -> bool {
        self.0.borrow().voters == [id]
    }
}

impl RaftNode {
    /// Reads snapshot and log, brings the store to where the snapshot stands, and prepares the
    /// node. It does nothing until [`Self::serve_channels`].
    ///
    /// # Errors
    /// If snapshot or log cannot be read.
    pub fn start(
        config: NodeConfig,
        store: Arc<KvStore>,
        proposals: mpsc::Receiver<Bytes>,
        conf_changes: mpsc::Receiver<ConfChange>,
        commit_c: mpsc::Sender<Commit>,
    ) -> Result<RaftNode> {
        let NodeConfig { id, cluster, join, seed } = config;
        let fs: Arc<dyn Fs> = Arc::new(OsFs);
        let wal_dir = PathBuf::from(format!("raftexample-{id}"));
        let snap_dir = PathBuf::from(format!("raftexample-{id}-snap"));
        fs.create_dir_all(&snap_dir)?;
        let snapshotter = Snapshotter::new(fs.clone(), &snap_dir);
        let old_wal = wal::exists(&*fs, &wal_dir)?;
        let (wal, storage, snapshot) = replay_wal(&fs, &wal_dir, &snapshotter)?;
        if let Some(snapshot) = &snapshot {
            store.recover_from_snapshot(snapshot)?;
        }
        let raft_config = Config {
            id,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: 1,
            max_size_per_msg: 1 << 20,
            max_inflight_msgs: 256,
            max_uncommitted_entries_size: 1 << 30,
            check_quorum: false,
            pre_vote: false,
            seed,
            ..Config::default()
        };
        let mut node = RawNode::new(raft_config, storage)?;
        if !old_wal && !join {
            let peers = (1..=cluster.len() as u64).map(|id| Peer { id, context: None });
            node.bootstrap(&peers.collect::<Vec<_>>())?;
        }
        let metadata = snapshot.and_then(|snapshot| snapshot.metadata).unwrap_or_default();
        let conf_state = metadata.conf_state.clone().unwrap_or_default();
        let own_url = cluster[usize::try_from(id - 1)?].clone();
        let (inbox_tx, inbox) = mpsc::channel(INBOX_MAX);
        let link = Arc::new(Link::new(inbox_tx));
        let local = Local { id, cluster_id: CLUSTER_ID, urls: vec![own_url.clone()] };
        let transport = Transport::new(local, link.clone(), Settings::plain(TICK * ELECTION_TICKS));
        for (id_of_url, url) in (1..).zip(cluster) {
            // A snapshot knows who was removed since the command line was written.
            let gone = metadata.index() > 0 && !is_member(&conf_state, id_of_url);
            if id_of_url != id && !gone {
                transport.add_peer(id_of_url, vec![url]);
            }
        }
        Ok(RaftNode {
            id,
            node,
            wal,
            fs,
            wal_dir,
            snapshotter,
            store,
            transport,
            link,
            proposals,
            conf_changes,
            inbox,
            commit_c,
            held: Vec::new(),
            conf_change_count: 0,
            conf_state: watch::Sender::new(conf_state),
            snapshot_index: metadata.index(),
            applied_index: metadata.index(),
            own_url,
            leaving: None,
        })
    }

    /// What others may know of the node.
    pub fn view(&self) -> RaftView {
        RaftView(self.conf_state.subscribe())
    }

    /// Serves the peer port and runs the event loop, until the node is removed from the cluster
    /// or fails.
    ///
    /// # Errors
    /// If the disk, the peer port or the store fails.
    pub async fn serve_channels(mut self) -> Result<()> {
        let (stop, stopped) = watch::channel(false);
        let listener = StoppableListener::bind(self.own_url.authority(), stopped)
            .await
            .with_context(|| format!("cannot listen for peers on {}", self.own_url))?;
        info!(id = self.id, url = %self.own_url, "listening for peers");
        let transport = self.transport.clone();
        let mut serving =
            tokio::spawn(async move { transport.serve(listener, peer::NoOthers).await });
        let result = tokio::select! {
            result = self.event_loop() => result,
            served = &mut serving => Err(anyhow!("the peer port failed: {served:?}")),
        };
        self.transport.stop().await;
        stop.send_replace(true);
        if !serving.is_finished() {
            serving.await.context("serving peers")??;
        }
        result
    }

    async fn event_loop(&mut self) -> Result<()> {
        let mut ticker = tokio::time::interval(TICK);
        // After a stall, one tick: a burst of them would look like silence of the leader.
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Without a leader nothing can be proposed; the channels fill, and clients wait.
            let has_leader = self.node.basic_status().soft_state.lead != ::raft::NONE;
            let can_propose = has_leader && self.held.is_empty();
            tokio::select! {
                _ = ticker.tick() => {
                    self.node.tick();
                    self.leaving = self.leaving.map(|ticks| ticks - 1);
                    if self.leaving == Some(0) {
                        return Ok(());
                    }
                }
                Some(message) = self.inbox.recv() => self.step(message),
                Some(proposal) = self.proposals.recv(), if can_propose => self.held.push(proposal),
                Some(change) = self.conf_changes.recv(), if can_propose => {
                    self.propose_conf_change(change);
                }
                () = self.link.reported.notified() => self.take_reports(),
                () = self.link.removed.notified() => {
                    info!("a peer says that this node was removed from the cluster; shutting down");
                    return Ok(());
                }
            }
            self.take_waiting();
            if has_leader {
                self.propose_held();
            }
            while self.node.has_ready() {
                self.process_ready().await?;
            }
        }
    }

    /// Takes what else is waiting, so that one sync serves it all.
    fn take_waiting(&mut self) {
        for _ in 0..BATCH_MAX {
            let Ok(message) = self.inbox.try_recv() else { break };
            self.step(message);
        }
        let mut bytes: usize = self.held.iter().map(Bytes::len).sum();
        // Only on top of what was taken above: without a leader nothing is.
        while !self.held.is_empty() && self.held.len() < BATCH_MAX && bytes < BATCH_BYTES_MAX {
            let Ok(proposal) = self.proposals.try_recv() else { break };
            bytes += proposal.len();
            self.held.push(proposal);
        }
    }

    fn propose_held(&mut self) {
        if self.held.is_empty() {
            return;
        }
        debug!(count = self.held.len(), "raft: proposing");
        match self.node.propose_all(self.held.iter().cloned()) {
            Ok(()) => self.held.clear(),
            Err(error) => debug!(%error, "raft: proposals wait"),
        }
    }

    fn propose_conf_change(&mut self, mut change: ConfChange) {
        self.conf_change_count += 1;
        change.id = Some(self.conf_change_count);
        if let Err(error) = self.node.propose_conf_change(&change) {
            // As with a PUT, the client was promised nothing.
            warn!(%error, ?change, "a membership change was dropped");
        }
    }

    fn step(&mut self, message: Message) {
        let (kind, from) = (message.r#type(), message.from());
        if let Err(error) = self.node.step(message) {
            debug!(?kind, from, %error, "raft: refused a message");
        }
    }

    fn take_reports(&mut self) {
        let reports = std::mem::take(&mut *lock(&self.link.reports));
        for id in reports.unreachable {
            self.node.report_unreachable(id);
        }
        for (id, outcome) in reports.snapshots {
            let status = match outcome {
                SnapshotOutcome::Finished => SnapshotStatus::Finish,
                SnapshotOutcome::Failed => SnapshotStatus::Failure,
            };
            self.node.report_snapshot(id, status);
        }
    }

    /// Does what raft wants done, in the order that keeps it safe.
    async fn process_ready(&mut self) -> Result<()> {
        let ready = self.node.ready();
        debug!(
            entries = ready.entries.len(),
            messages = ready.messages.len(),
            committed = ready.committed_entries.len(),
            "ready"
        );
        self.save(&ready)?;
        if let Some(snapshot) = ready.snapshot {
            self.publish_snapshot(snapshot).await?;
        }
        self.node.storage_mut().append(&ready.entries);
        self.transport.send(self.process_messages(ready.messages));
        let applied = self.publish_entries(ready.committed_entries).await?;
        self.maybe_trigger_snapshot(applied).await?;
        self.node.advance();
        Ok(())
    }

    /// Makes durable what this node is about to promise. A snapshot goes before the entries that
    /// follow it.
    fn save(&mut self, ready: &Ready) -> Result<()> {
        let hard_state = ready.hard_state.unwrap_or_default();
        if let Some(snapshot) = &ready.snapshot {
            self.save_snapshot(snapshot)?;
            // The record counts only with a hard state that commits it, and the answer to the
            // leader says that both are here. It goes before the entries: were it lost and they
            // not, they would follow a gap, and the log could not be read.
            let commits_it = HardState { commit: Some(snapshot.index()), ..hard_state };
            self.wal.save(&commits_it, &[]).context("writing the log")?;
            self.wal.sync().context("syncing the log")?;
        }
        self.wal.save(&hard_state, &ready.entries).context("writing the log")?;
        if let Some(last) = ready.entries.last() {
            debug!(index = last.index(), entries = ready.entries.len(), "wal: saved and synced");
        }
        Ok(())
    }

    /// The file first: a record without its file cannot be started from, a file without its
    /// record is merely left over.
    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<()> {
        self.snapshotter.save_snap(snapshot).context("writing a snapshot")?;
        let metadata = snapshot.metadata.clone().unwrap_or_default();
        let record = raftpb::wal::Snapshot {
            index: metadata.index,
            term: metadata.term,
            conf_state: metadata.conf_state,
        };
        self.wal.save_snapshot(&record).context("writing a snapshot's record")?;
        self.wal.release_lock_to(snapshot.index());
        Ok(())
    }

    async fn publish_snapshot(&mut self, snapshot: Snapshot) -> Result<()> {
        let index = snapshot.index();
        info!(index, applied = self.applied_index, "publishing a received snapshot");
        anyhow::ensure!(
            index > self.applied_index,
            "snapshot index {index} is not above the applied index {}",
            self.applied_index
        );
        self.node.storage_mut().apply_snapshot(snapshot.clone())?;
        let metadata = snapshot.metadata.clone().unwrap_or_default();
        self.conf_state.send_replace(metadata.conf_state.unwrap_or_default());
        (self.snapshot_index, self.applied_index) = (index, index);
        self.commit(Commit::Snapshot(snapshot)).await
    }

    /// A snapshot to be sent is given the configuration in force now: members that came after it
    /// was made must be in it, or the receiver would not know them.
    fn process_messages(&self, mut messages: Vec<Message>) -> Vec<Message> {
        for message in &mut messages {
            if message.r#type() == MessageType::MsgSnap
                && let Some(metadata) =
                    message.snapshot.as_mut().and_then(|snapshot| snapshot.metadata.as_mut())
            {
                metadata.conf_state = Some(self.conf_state.borrow().clone());
            }
        }
        messages
    }

    /// Puts committed entries on the commit channel. Gives back what will tell that they are
    /// applied.
    async fn publish_entries(
        &mut self,
        entries: Vec<Entry>,
    ) -> Result<Option<oneshot::Receiver<()>>> {
        let mut data = Vec::new();
        for entry in entries {
            // Entries up to a snapshot may come again after a restart.
            if entry.index() <= self.applied_index {
                continue;
            }
            self.applied_index = entry.index();
            if entry.r#type() == EntryType::EntryNormal {
                // An empty entry is a new leader's.
                data.extend(entry.data.filter(|data| !data.is_empty()));
            } else {
                self.apply_conf_change(entry.data())?;
            }
        }
        if data.is_empty() {
            return Ok(None);
        }
        debug!(index = self.applied_index, proposals = data.len(), "commit: to the store");
        let (applied, wait) = oneshot::channel();
        self.commit(Commit::Entries { data, applied }).await?;
        Ok(Some(wait))
    }

    async fn commit(&self, commit: Commit) -> Result<()> {
        self.commit_c.send(commit).await.map_err(|_| anyhow!("the store has stopped"))
    }

    fn apply_conf_change(&mut self, data: &[u8]) -> Result<()> {
        let mut change = ConfChange::decode(data).context("reading a membership change")?;
        let id = change.node_id();
        let remove = change.r#type() == ConfChangeType::ConfChangeRemoveNode;
        if remove && self.conf_state.borrow().voters == [id] {
            // Two removals may have been proposed at once. All nodes see the same configuration
            // here, so all ignore the same one.
            error!(id, "ignored the removal of the only node");
            change.node_id = Some(::raft::NONE);
        }
        let conf_state = self.node.apply_conf_change(&change.to_v2())?;
        info!(?conf_state, "membership changed");
        self.conf_state.send_replace(conf_state);
        if change.node_id() == ::raft::NONE {
            return Ok(());
        }
        if !remove {
            lock(&self.link.removed_ids).remove(&id);
            let url = std::str::from_utf8(change.context()).ok().filter(|url| !url.is_empty());
            if let Some(url) = url
                && id != self.id
            {
                self.transport.add_peer(id, vec![PeerUrl::parse_plain(url)?]);
            }
        } else if id == self.id {
            info!("this node was removed from the cluster; shutting down");
            // Not at once: if it leads, the others learn from it alone that it may go, and cannot
            // elect another before that.
            self.leaving.get_or_insert(ELECTION_TICKS);
        } else {
            lock(&self.link.removed_ids).insert(id);
            self.transport.remove_peer(id);
        }
        Ok(())
    }

    /// Now and then, lets a snapshot of the store stand for the log up to here.
    async fn maybe_trigger_snapshot(
        &mut self,
        applied: Option<oneshot::Receiver<()>>,
    ) -> Result<()> {
        if self.applied_index - self.snapshot_index <= SNAPSHOT_COUNT {
            return Ok(());
        }
        // The store must have applied all that the snapshot is to stand for.
        if let Some(applied) = applied {
            applied.await.map_err(|_| anyhow!("the store has stopped"))?;
        }
        let index = self.applied_index;
        info!(index, last = self.snapshot_index, "taking a snapshot");
        let data = self.store.get_snapshot()?;
        let conf_state = Some(self.conf_state.borrow().clone());
        let snapshot = self.node.storage_mut().create_snapshot(index, conf_state, data.into())?;
        self.save_snapshot(&snapshot)?;
        let compact_index = index.saturating_sub(CATCH_UP_ENTRIES).max(1);
        match self.node.storage_mut().compact(compact_index) {
            Ok(()) => info!(index = compact_index, "compacted the log in memory"),
            Err(StorageError::Compacted) => {}
            Err(error) => return Err(error.into()),
        }
        self.snapshot_index = index;
        wal::purge(&*self.fs, &self.wal_dir, FILES_KEPT).context("purging the log")?;
        self.snapshotter.purge(FILES_KEPT).context("purging snapshots")
    }
}

/// Opens the log, made first if it is not there, at the newest snapshot that it knows of.
fn replay_wal(
    fs: &Arc<dyn Fs>,
    dir: &std::path::Path,
    snapshotter: &Snapshotter,
) -> Result<(Wal, MemoryStorage, Option<Snapshot>)> {
    let options = wal::Options::default();
    if !wal::exists(&**fs, dir)? {
        // Compat: upstream's example writes no metadata.
        Wal::create(fs.clone(), dir, &[], options).context("making the log")?;
    }
    let records = wal::valid_snapshot_entries(&**fs, dir).context("looking for snapshots")?;
    let snapshot = match snapshotter.load_newest_available(&records) {
        Ok(snapshot) => Some(snapshot),
        Err(wal::snap::Error::NoSnapshot { .. }) => None,
        Err(error) => return Err(error).context("loading a snapshot"),
    };
    let start = raftpb::wal::Snapshot {
        index: Some(snapshot.as_ref().map_or(0, Snapshot::index)),
        term: Some(snapshot.as_ref().map_or(0, Snapshot::term)),
        conf_state: None,
    };
    info!(term = start.term(), index = start.index(), "replaying the log from its snapshot");
    let opened = match Wal::open(fs.clone(), dir, &start, options) {
        Err(error @ wal::Error::Torn { .. }) => {
            warn!(%error, "repairing the end of the log");
            wal::repair(&**fs, dir).context("repairing the log")?;
            Wal::open(fs.clone(), dir, &start, options)
        }
        opened => opened,
    };
    let (wal, contents) = opened.context("reading the log")?;
    let mut storage = MemoryStorage::new();
    if let Some(snapshot) = &snapshot {
        storage.apply_snapshot(snapshot.clone())?;
    }
    storage.set_hard_state(contents.hard_state);
    storage.append(&contents.entries);
    Ok((wal, storage, snapshot))
}

fn is_member(conf_state: &ConfState, id: u64) -> bool {
    conf_state.voters.contains(&id) || conf_state.learners.contains(&id)
}
