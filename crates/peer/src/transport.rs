//! Sends this member's messages to the others, and serves theirs.
//!
//! Sending never waits: a message is put into a bounded queue, or dropped and reported. Each
//! member of the cluster is a peer, with streams both ways, a pipeline and a prober; one that is
//! only known from its requests is a remote, which is answered by pipeline until it is known.

use crate::handler::LARGE_AT_ONCE;
use crate::local::Local;
use crate::member::{Member, lock};
use crate::pipeline::{PIPELINE_MESSAGES_MAX, run_pipeline};
use crate::seam::{Raft, SnapshotBody, SnapshotOutcome};
use crate::settings::Settings;
use crate::stream::{Attached, StreamKind, StreamQueue, read_streams, stream_queue};
use crate::url::PeerUrl;
use crate::{probe, receive, snapshot};
use raftpb::{Message, MessageType};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

/// The near end of the peer protocol. Clones share everything.
#[derive(Clone)]
pub struct Transport {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) local: Arc<Local>,
    pub(crate) raft: Arc<dyn Raft>,
    pub(crate) settings: Settings,
    runtime: Handle,
    links: Mutex<Links>,
    /// One permit for each large message being read.
    pub(crate) large: Semaphore,
}

#[derive(Default)]
struct Links {
    peers: BTreeMap<u64, Peer>,
    remotes: BTreeMap<u64, Remote>,
    /// Tasks of peers that are gone, to be joined at the end.
    leaving: JoinSet<()>,
    stopped: bool,
}

struct Peer {
    member: Arc<Member>,
    appends: StreamQueue,
    messages: StreamQueue,
    pipeline: mpsc::Sender<Message>,
    tasks: JoinSet<()>,
}

struct Remote {
    member: Arc<Member>,
    pipeline: mpsc::Sender<Message>,
    tasks: JoinSet<()>,
}

/// Remotes kept, at most: whoever knows the cluster's id can become one.
const REMOTES_MAX: usize = 256;

impl Transport {
    /// A transport without peers.
    ///
    /// # Panics
    /// If called outside of a tokio runtime, on which all its tasks run.
    pub fn new(local: Local, raft: Arc<dyn Raft>, settings: Settings) -> Transport {
        let shared = Shared {
            local: Arc::new(local),
            raft,
            settings,
            runtime: Handle::current(),
            links: Mutex::default(),
            large: Semaphore::new(LARGE_AT_ONCE),
        };
        Transport { shared: Arc::new(shared) }
    }

    /// Queues messages for their members. Those to nobody, to a storage thread or to an unknown
    /// member are dropped; those for which there is no room are dropped and reported.
    pub fn send(&self, messages: Vec<Message>) {
        let links = lock(&self.shared.links);
        for message in messages {
            let to = message.to();
            if let Some(peer) = links.peers.get(&to) {
                peer.send(message);
            } else if let Some(remote) = links.remotes.get(&to) {
                if let Err(error) = remote.pipeline.try_send(message) {
                    remote.member.drop_message(&error.into_inner());
                }
            } else if to != 0 {
                debug!(to, "dropped a message to an unknown member");
            }
        }
    }

    /// Sends a snapshot's message and bytes, and reports to raft how that ended.
    pub fn send_snapshot(&self, message: Message, body: SnapshotBody) {
        let mut links = lock(&self.shared.links);
        let to = message.to();
        match links.peers.get_mut(&to) {
            Some(peer) => {
                while peer.tasks.try_join_next().is_some() {}
                let sending = snapshot::send_snapshot(peer.member.clone(), message, body);
                peer.tasks.spawn_on(sending, &self.shared.runtime);
            }
            None => {
                drop(links);
                self.shared.raft.report_unreachable(to);
                self.shared.raft.report_snapshot(to, SnapshotOutcome::Failed);
            }
        }
    }

    /// Starts to talk to a member of the cluster, or learns where it is now.
    pub fn add_peer(&self, id: u64, urls: Vec<PeerUrl>) {
        let mut links = lock(&self.shared.links);
        if links.stopped {
            return;
        }
        if let Some(peer) = links.peers.get(&id) {
            peer.member.update_urls(urls);
            return;
        }
        info!(peer = format_args!("{id:x}"), "starting peer");
        if let Some(remote) = links.remotes.remove(&id) {
            links.leave(remote.tasks, &self.shared.runtime);
        }
        links.peers.insert(id, self.shared.start_peer(id, urls));
    }

    /// Learns where a member is that is not, or not yet, known to be of the cluster.
    pub fn add_remote(&self, id: u64, urls: Vec<PeerUrl>) {
        let mut links = lock(&self.shared.links);
        let known = links.peers.contains_key(&id) || links.remotes.contains_key(&id);
        if links.stopped || known || urls.is_empty() || id == self.shared.local.id {
            return;
        }
        if links.remotes.len() >= REMOTES_MAX {
            warn!(peer = format_args!("{id:x}"), "too many unknown members; ignored another");
            return;
        }
        info!(peer = format_args!("{id:x}"), "added remote");
        links.remotes.insert(id, self.shared.start_remote(id, urls));
    }

    /// Stops to talk to a member.
    pub fn remove_peer(&self, id: u64) {
        let mut links = lock(&self.shared.links);
        if let Some(peer) = links.peers.remove(&id) {
            info!(peer = format_args!("{id:x}"), "stopped peer");
            links.leave(peer.tasks, &self.shared.runtime);
        }
        if let Some(remote) = links.remotes.remove(&id) {
            links.leave(remote.tasks, &self.shared.runtime);
        }
    }

    /// Stops to talk to everybody.
    pub fn remove_all_peers(&self) {
        let mut links = lock(&self.shared.links);
        let links = &mut *links;
        let peers = std::mem::take(&mut links.peers).into_values().map(|peer| peer.tasks);
        let remotes = std::mem::take(&mut links.remotes).into_values().map(|remote| remote.tasks);
        for tasks in peers.chain(remotes).collect::<Vec<_>>() {
            links.leave(tasks, &self.shared.runtime);
        }
    }

    /// Since when a member answers; `None` if it does not, or is unknown.
    pub fn active_since(&self, id: u64) -> Option<SystemTime> {
        lock(&self.shared.links).peers.get(&id)?.member.active_since()
    }

    /// Each peer, and whether it answers.
    pub fn peers(&self) -> Vec<(u64, bool)> {
        let links = lock(&self.shared.links);
        let peers = links.peers.iter();
        peers.map(|(id, peer)| (*id, peer.member.active_since().is_some())).collect()
    }

    /// How many peers answer.
    pub fn active_peers(&self) -> usize {
        let links = lock(&self.shared.links);
        links.peers.values().filter(|peer| peer.member.active_since().is_some()).count()
    }

    /// How many messages to a member were dropped.
    pub fn dropped(&self, id: u64) -> u64 {
        lock(&self.shared.links).peers.get(&id).map_or(0, |peer| peer.member.dropped())
    }

    /// Whether both of a peer's streams from here are being read by it.
    pub fn streams_attached(&self, id: u64) -> bool {
        let links = lock(&self.shared.links);
        links
            .peers
            .get(&id)
            .is_some_and(|peer| peer.appends.is_attached() && peer.messages.is_attached())
    }

    /// Stops everything and waits for all tasks to end. Nothing is sent or served afterwards.
    pub async fn stop(&self) {
        lock(&self.shared.links).stopped = true;
        self.remove_all_peers();
        let mut leaving = std::mem::take(&mut lock(&self.shared.links).leaving);
        // These only wait for tasks that were told to end.
        while leaving.join_next().await.is_some() {}
    }
}

impl Links {
    fn leave(&mut self, mut tasks: JoinSet<()>, runtime: &Handle) {
        tasks.abort_all();
        while self.leaving.try_join_next().is_some() {}
        // Aborted tasks end at their next step; this one sees to it that they are joined.
        self.leaving.spawn_on(async move { tasks.shutdown().await }, runtime);
    }
}

impl Peer {
    fn send(&self, message: Message) {
        let kind = message.r#type();
        // A snapshot may be large; a stream would be held up by it.
        let queue = if kind == MessageType::MsgSnap {
            &self.pipeline
        } else if kind == MessageType::MsgApp && self.appends.is_attached() {
            self.appends.messages()
        } else if self.messages.is_attached() {
            self.messages.messages()
        } else {
            &self.pipeline
        };
        if let Err(error) = queue.try_send(message) {
            self.member.drop_message(&error.into_inner());
        }
    }
}

impl Shared {
    fn new_member(&self, id: u64, urls: Vec<PeerUrl>) -> Arc<Member> {
        let (local, raft) = (self.local.clone(), self.raft.clone());
        Arc::new(Member::new(id, urls, local, raft, self.settings.clone()))
    }

    fn start_peer(&self, id: u64, urls: Vec<PeerUrl>) -> Peer {
        let member = self.new_member(id, urls);
        let mut tasks = JoinSet::new();
        let (pipeline, pipeline_rx) = mpsc::channel(PIPELINE_MESSAGES_MAX);
        let (appends, write_appends) = stream_queue(member.clone(), StreamKind::Append);
        let (messages, write_messages) = stream_queue(member.clone(), StreamKind::Message);
        let (receiver, process_messages, process_proposals) = receive::receiver(&member);
        let on = &self.runtime;
        tasks.spawn_on(run_pipeline(member.clone(), pipeline_rx), on);
        tasks.spawn_on(write_appends, on);
        tasks.spawn_on(write_messages, on);
        tasks.spawn_on(process_messages, on);
        tasks.spawn_on(process_proposals, on);
        for kind in [StreamKind::Append, StreamKind::Message] {
            tasks.spawn_on(read_streams(member.clone(), kind, receiver.clone()), on);
        }
        tasks.spawn_on(probe::probe(member.clone()), on);
        Peer { member, appends, messages, pipeline, tasks }
    }

    fn start_remote(&self, id: u64, urls: Vec<PeerUrl>) -> Remote {
        let member = self.new_member(id, urls);
        let mut tasks = JoinSet::new();
        let (pipeline, queue) = mpsc::channel(PIPELINE_MESSAGES_MAX);
        let posting = run_pipeline(member.clone(), queue);
        tasks.spawn_on(posting, &self.runtime);
        Remote { member, pipeline, tasks }
    }

    /// A peer as seen from here.
    pub(crate) fn member(&self, id: u64) -> Option<Arc<Member>> {
        Some(Arc::clone(&lock(&self.links).peers.get(&id)?.member))
    }

    pub(crate) fn is_peer(&self, id: u64) -> bool {
        lock(&self.links).peers.contains_key(&id)
    }

    /// Starts to write a peer's stream to `connection`. Returns false if there is no such peer.
    pub(crate) async fn attach(&self, id: u64, kind: StreamKind, connection: Attached) -> bool {
        let queue = {
            let links = lock(&self.links);
            let Some(peer) = links.peers.get(&id) else { return false };
            match kind {
                StreamKind::Append => peer.appends.clone(),
                StreamKind::Message => peer.messages.clone(),
            }
        };
        queue.attach(connection).await
    }
}
