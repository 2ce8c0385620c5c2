//! The receiver's loop: messages into raft, raft's work to the disk and to the peers.
//!
//! Invariant: at most [`APPENDS_MAX`] appends are with the storage thread, so that neither its
//! channel nor the one back is ever full, and nobody waits for the other in a circle.

use super::link::{Link, Listener, lock};
use super::{Status, TICK, digest, parse_urls};
use anyhow::{Context, Result, anyhow, bail, ensure};
use peer::Transport;
use prost::Message as _;
use raft::{LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, MemoryStorage, RawNode};
use raftpb::{ConfChange, ConfChangeType, Entry, EntryType, MembershipChange, Message, Snapshot};
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info};

/// Appends handed to the storage thread and not done yet, at most.
pub(super) const APPENDS_MAX: usize = 64;

/// Messages taken at once, at most: what arrives together is synced together.
const BATCH_MAX: usize = 512;

/// The loop's state.
pub(super) struct Driver {
    id: u64,
    node: RawNode<MemoryStorage>,
    transport: Transport,
    link: Arc<Link>,
    appends: mpsc::Sender<Message>,
    done: mpsc::Receiver<Message>,
    appends_out: usize,
    status: Status,
    shown: watch::Sender<Status>,
}

impl Driver {
    /// A driver over what storage holds, with `snapshot` at its beginning.
    pub(super) fn new(
        id: u64,
        node: RawNode<MemoryStorage>,
        snapshot: Snapshot,
        transport: Transport,
        link: Arc<Link>,
        appends: mpsc::Sender<Message>,
        done: mpsc::Receiver<Message>,
        shown: watch::Sender<Status>,
    ) -> Driver {
        let status = Status::default();
        let mut driver =
            Driver { id, node, transport, link, appends, done, appends_out: 0, status, shown };
        driver.start_from(&snapshot);
        driver.show();
        driver
    }

    /// Serves the peer port and runs the loop until it is told to stop.
    pub(super) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Message>,
        listener: Listener,
        mut stop: watch::Receiver<bool>,
    ) -> Result<()> {
        let transport = self.transport.clone();
        let serving = tokio::spawn(async move { transport.serve(listener, peer::NoOthers).await });
        let result = self.drive(&mut inbox, &mut stop).await;
        // Whoever still hands over messages is told that nobody takes them.
        inbox.close();
        self.transport.stop().await;
        if result.is_err() {
            // Only `stop` ends it otherwise.
            serving.abort();
            return result;
        }
        serving.await.context("serving peers")??;
        result
    }

    async fn drive(
        &mut self,
        inbox: &mut mpsc::Receiver<Message>,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<()> {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let link = self.link.clone();
        loop {
            let room = self.appends_out < APPENDS_MAX;
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
                _ = ticker.tick() => self.node.tick(),
                Some(message) = inbox.recv(), if room => self.step(message),
                finished = self.done.recv() => {
                    self.finish_append(finished.context("the storage thread has ended")?)?;
                }
                () = link.removed.notified() => {
                    info!("a peer says that this member was removed");
                    self.status.removed = true;
                }
            }
            for _ in 0..BATCH_MAX {
                let Ok(message) = inbox.try_recv() else { break };
                self.step(message);
            }
            while self.appends_out < APPENDS_MAX && self.node.has_ready() {
                self.process_ready()?;
            }
            self.show();
        }
    }

    fn step(&mut self, message: Message) {
        let (kind, from) = (message.r#type(), message.from());
        if let Err(error) = self.node.step(message) {
            debug!(?kind, from, %error, "raft refused a message");
        }
    }

    fn process_ready(&mut self) -> Result<()> {
        let mut to_peers = Vec::new();
        for message in self.node.ready().messages {
            match message.to() {
                LOCAL_APPEND_THREAD => {
                    self.appends_out += 1;
                    let sent = self.appends.try_send(message);
                    sent.map_err(|_| anyhow!("the storage thread takes no more"))?;
                }
                LOCAL_APPLY_THREAD => {
                    for entry in &message.entries {
                        self.apply(entry)?;
                    }
                    self.deliver(message.responses);
                }
                _ => to_peers.push(message),
            }
        }
        self.transport.send(to_peers);
        Ok(())
    }

    /// What was appended is durable: raft may read it, and its promises may leave.
    fn finish_append(&mut self, message: Message) -> Result<()> {
        self.appends_out -= 1;
        if let Some(snapshot) = message.snapshot {
            self.status.snapshots += 1;
            self.start_from(&snapshot);
            info!(index = snapshot.index(), "took in a snapshot");
            self.node.storage_mut().apply_snapshot(snapshot)?;
        }
        self.node.storage_mut().append(&message.entries);
        self.deliver(message.responses);
        Ok(())
    }

    fn deliver(&mut self, responses: Vec<Message>) {
        let (own, others) = responses.into_iter().partition(|m: &Message| m.to() == self.id);
        self.transport.send(others);
        let own: Vec<Message> = own;
        own.into_iter().for_each(|message| self.step(message));
    }

    /// Counts anew from a snapshot on.
    fn start_from(&mut self, snapshot: &Snapshot) {
        let conf_state = snapshot.metadata.clone().unwrap_or_default().conf_state;
        let conf_state = conf_state.unwrap_or_default();
        (self.status.voters, self.status.learners) = (conf_state.voters, conf_state.learners);
        (self.status.snapshot, self.status.applied) = (snapshot.index(), snapshot.index());
        (self.status.entries, self.status.digest) = (0, 0);
    }

    fn apply(&mut self, entry: &Entry) -> Result<()> {
        let index = entry.index();
        ensure!(index == self.status.applied + 1, "entry {index} after {}", self.status.applied);
        match entry.r#type() {
            EntryType::EntryNormal => {}
            EntryType::EntryConfChange => self.apply_conf_change(entry.data())?,
            EntryType::EntryConfChangeV2 => bail!("entry {index} is one that etcd never makes"),
        }
        self.status.applied = index;
        self.status.entries += 1;
        self.status.digest = digest(self.status.digest, entry.data.as_ref());
        Ok(())
    }

    fn apply_conf_change(&mut self, data: &[u8]) -> Result<()> {
        let change = ConfChange::decode(data).context("reading a membership change")?;
        let id = change.node_id();
        let conf_state = self.node.apply_conf_change(&change.to_v2())?;
        info!(id = format_args!("{id:x}"), ?conf_state, "membership changed");
        (self.status.voters, self.status.learners) = (conf_state.voters, conf_state.learners);
        if id == self.id {
            return Ok(());
        }
        if change.r#type() == ConfChangeType::ConfChangeRemoveNode {
            lock(&self.link.removed_ids).insert(id);
            self.transport.remove_peer(id);
        } else if let Some(urls) = urls_in(change.context())? {
            self.transport.add_peer(id, parse_urls(&urls)?);
        }
        Ok(())
    }

    fn show(&mut self) {
        let basic = self.node.basic_status();
        self.status.term = basic.hard_state.term();
        self.status.commit = basic.hard_state.commit();
        self.status.lead = basic.soft_state.lead;
        if *self.shown.borrow() != self.status {
            self.shown.send_replace(self.status.clone());
        }
    }
}

/// The peer URLs in a change's context, the member as JSON; a promotion has none.
fn urls_in(context: &[u8]) -> Result<Option<Vec<String>>> {
    let member: Value = serde_json::from_slice(context).context("reading a member")?;
    Ok(serde_json::from_value(member["peerURLs"].clone())?)
}
