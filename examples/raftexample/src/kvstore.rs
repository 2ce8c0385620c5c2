//! The store: a map of what has been committed, and the way into the log for what shall be.
//!
//! The map changes in one place only, `read_commits`, in the order of the log; so the maps of all
//! nodes go through the same states. A snapshot is the whole map as one JSON object.
//!
//! Compat: upstream's snapshot is a JSON object of strings. A value that is not UTF-8 could not
//! be such a string, so it is an array of bytes here; all others read and write as upstream's.

use crate::gob::Kv;
use anyhow::{Context, Result};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::RwLock;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info};
use wal::snap::Snapshotter;

/// What raft tells the store, in log order.
pub enum Commit {
    /// Proposals that were committed.
    Entries {
        /// Each proposal's bytes.
        data: Vec<Bytes>,
        /// Told once all of them are in the map.
        applied: oneshot::Sender<()>,
    },
    /// A snapshot from another node was saved to disk: load it in place of the map.
    LoadSnapshot,
}

/// Capacity of the commit channel, in batches. A few let raft go on while the store applies;
/// a store that falls behind holds raft back rather than fill the memory.
pub const COMMITS_MAX: usize = 16;

/// The committed map of one node.
pub struct KvStore {
    propose_c: mpsc::Sender<Bytes>,
    map: RwLock<BTreeMap<String, Bytes>>,
    snapshotter: Snapshotter,
}

impl KvStore {
    /// A store that holds the newest snapshot on disk, if there is one.
    ///
    /// # Errors
    /// If a snapshot is there and cannot be read.
    pub fn new(snapshotter: Snapshotter, propose_c: mpsc::Sender<Bytes>) -> Result<KvStore> {
        let store = KvStore { propose_c, map: RwLock::default(), snapshotter };
        store.load_snapshot()?;
        Ok(store)
    }

    /// The committed value of `key`, as far as this node knows.
    pub fn lookup(&self, key: &str) -> Option<Bytes> {
        self.map.read().expect("no writer panics").get(key).cloned()
    }

    /// Sends "`key` shall hold `val`" on its way into the log. Waits while raft is busy or has no
    /// leader and the channel is full.
    ///
    /// # Errors
    /// If the node is shutting down.
    pub async fn propose(&self, key: String, val: Bytes) -> Result<(), mpsc::error::SendError<Bytes>> {
        debug!(key, bytes = val.len(), "propose: into the propose channel");
        self.propose_c.send(Kv { key, val }.encode()).await
    }

    /// Applies commits until raft closes the channel. Runs on a thread of its own.
    ///
    /// # Errors
    /// If an entry cannot be decoded or a snapshot cannot be loaded. The log is then not one that
    /// this program wrote, and going on would make this map differ from the others.
    pub fn read_commits(&self, mut commit_c: mpsc::Receiver<Commit>) -> Result<()> {
        while let Some(commit) = commit_c.blocking_recv() {
            match commit {
                Commit::Entries { data, applied } => {
                    self.apply(&data)?;
                    // Nobody waits unless a snapshot is due.
                    let _ = applied.send(());
                }
                Commit::LoadSnapshot => self.load_snapshot()?,
            }
        }
        Ok(())
    }

    /// The whole map, for a snapshot.
    ///
    /// # Errors
    /// If the map cannot be written as JSON.
    pub fn get_snapshot(&self) -> Result<Vec<u8>> {
        let map = self.map.read().expect("no writer panics");
        let image: BTreeMap<&str, ValueRef<'_>> =
            map.iter().map(|(key, value)| (key.as_str(), ValueRef::of(value))).collect();
        serde_json::to_vec(&image).context("writing the snapshot")
    }

    fn apply(&self, data: &[Bytes]) -> Result<()> {
        let changes = data.iter().map(Kv::decode).collect::<Result<Vec<_>, _>>()?;
        let mut map = self.map.write().expect("no writer panics");
        for Kv { key, val } in changes {
            debug!(key, bytes = val.len(), "apply: into the map");
            map.insert(key, val);
        }
        Ok(())
    }

    fn load_snapshot(&self) -> Result<()> {
        let Some(snapshot) = self.snapshotter.load().context("loading the newest snapshot")? else {
            return Ok(());
        };
        let metadata = snapshot.metadata.clone().unwrap_or_default();
        info!(term = metadata.term(), index = metadata.index(), "loading snapshot");
        let image: BTreeMap<String, Value> =
            serde_json::from_slice(snapshot.data()).context("reading the snapshot's JSON")?;
        let map = image.into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
        *self.map.write().expect("no writer panics") = map;
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum ValueRef<'a> {
    Text(&'a str),
    Bytes(&'a [u8]),
}

impl<'a> ValueRef<'a> {
    fn of(value: &'a [u8]) -> ValueRef<'a> {
        std::str::from_utf8(value).map_or(ValueRef::Bytes(value), ValueRef::Text)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Bytes(Vec<u8>),
}

impl Value {
    fn into_bytes(self) -> Bytes {
        match self {
            Value::Text(text) => Bytes::from(text),
            Value::Bytes(bytes) => Bytes::from(bytes),
        }
    }
}
