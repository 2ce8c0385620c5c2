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
use raftpb::Snapshot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::RwLock;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info};

/// What raft tells the store, in log order.
pub enum Commit {
    /// Proposals that were committed.
    Entries {
        /// Each proposal's bytes.
        data: Vec<Bytes>,
        /// Told once all of them are in the map.
        applied: oneshot::Sender<()>,
    },
    /// A snapshot from another node, saved to disk: it takes the place of the map.
    Snapshot(Snapshot),
}

/// Capacity of the commit channel, in batches. A few let raft go on while the store applies;
/// a store that falls behind holds raft back rather than fill the memory.
pub const COMMITS_MAX: usize = 16;

/// The committed map of one node.
pub struct KvStore {
    propose_c: mpsc::Sender<Bytes>,
    map: RwLock<BTreeMap<String, Bytes>>,
}

impl KvStore {
    /// An empty store, whose proposals go into `propose_c`.
    pub fn new(propose_c: mpsc::Sender<Bytes>) -> KvStore {
        KvStore { propose_c, map: RwLock::default() }
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
    pub async fn propose(
        &self,
        key: String,
        val: Bytes,
    ) -> Result<(), mpsc::error::SendError<Bytes>> {
        debug!(key, bytes = val.len(), "propose: into the propose channel");
        self.propose_c.send(Kv { key, val }.encode()).await
    }

    /// Applies commits until raft closes the channel. Runs on a thread of its own.
    ///
    /// # Errors
    /// If an entry or a snapshot cannot be read. The log is then not one that
    /// this program wrote, and going on would make this map differ from the others.
    pub fn read_commits(&self, mut commit_c: mpsc::Receiver<Commit>) -> Result<()> {
        while let Some(commit) = commit_c.blocking_recv() {
            match commit {
                Commit::Entries { data, applied } => {
                    self.apply(&data)?;
                    // Nobody waits unless a snapshot is due.
                    let _ = applied.send(());
                }
                Commit::Snapshot(snapshot) => self.recover_from_snapshot(&snapshot)?,
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

    /// Replaces the map by a snapshot's.
    ///
    /// # Errors
    /// If the snapshot's data is not a map as [`Self::get_snapshot`] writes it.
    pub fn recover_from_snapshot(&self, snapshot: &Snapshot) -> Result<()> {
        info!(term = snapshot.term(), index = snapshot.index(), "loading snapshot");
        let image: BTreeMap<String, Value> =
            serde_json::from_slice(snapshot.data()).context("reading the snapshot's JSON")?;
        let map = image.into_iter().map(|(key, value)| (key, value.into_bytes())).collect();
        *self.map.write().expect("no writer panics") = map;
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_holds_every_value_whatever_its_bytes() {
        let (propose_c, _proposals) = mpsc::channel(1);
        let store = KvStore::new(propose_c.clone());
        let kv = |key: &str, val: &'static [u8]| {
            Kv { key: key.into(), val: Bytes::from_static(val) }.encode()
        };
        store.apply(&[kv("/a", b"text"), kv("/b", b"\xff\x00"), kv("/c", b"")]).expect("valid");
        let data = store.get_snapshot().expect("a snapshot");
        let want = r#"{"/a":"text","/b":[255,0],"/c":""}"#;
        assert_eq!(std::str::from_utf8(&data), Ok(want));
        let other = KvStore::new(propose_c);
        let snapshot = Snapshot { data: Some(data.into()), metadata: None };
        other.recover_from_snapshot(&snapshot).expect("its own");
        assert_eq!(other.lookup("/b").as_deref(), Some(&b"\xff\x00"[..]));
        assert_eq!(*other.map.read().expect("alive"), *store.map.read().expect("alive"));
    }
}
