//! What is asked and said on watch streams, before it is messages.

use bytes::Bytes;
use std::sync::{Arc, OnceLock};

/// What a watcher asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WatchOptions {
    /// 0 for the hub to choose.
    pub watch_id: i64,
    /// The key, or the first one.
    pub key: Bytes,
    /// As in ranges: nothing, a zero byte, or the key behind the last.
    pub range_end: Bytes,
    /// The first revision to be told of; 0 for what comes.
    pub start_revision: i64,
    /// Leave out puts.
    pub no_put: bool,
    /// Leave out deletions.
    pub no_delete: bool,
    /// With each event, what the key had before.
    pub prev_kv: bool,
    /// Be told from time to time that nothing happened.
    pub progress_notify: bool,
    /// Whether what is told at once may be told in pieces.
    pub fragment: bool,
}

/// Something that happened to a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchEvent {
    /// Whether it was deleted.
    pub tombstone: bool,
    /// The encoded `mvccpb.KeyValue`: as stored, or key and revision of a deletion.
    pub record: Bytes,
    /// The one before, if asked for, if there was one, and if it was not compacted.
    pub previous: Option<Bytes>,
}

/// Events that are told together, shared by all who are told the same.
#[derive(Debug, Default)]
pub struct WatchEvents {
    list: Vec<WatchEvent>,
    encoded: OnceLock<Bytes>,
}

impl WatchEvents {
    /// These events.
    #[must_use]
    pub fn new(list: Vec<WatchEvent>) -> Arc<Self> {
        Arc::new(Self { list, encoded: OnceLock::new() })
    }

    /// The events, at least one.
    #[must_use]
    pub fn list(&self) -> &[WatchEvent] {
        &self.list
    }

    /// What `encode` makes of them, made once for all who are told.
    pub fn encoded(&self, encode: impl FnOnce(&[WatchEvent]) -> Bytes) -> Bytes {
        self.encoded.get_or_init(|| encode(&self.list)).clone()
    }

    /// Bytes of the records in them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let bytes = self.list.iter().map(|event| {
            event.record.len() + event.previous.as_ref().map_or(0, |previous| previous.len())
        });
        bytes.sum()
    }
}

/// What is said on a stream.
#[derive(Debug, Clone)]
pub enum WatchItem {
    /// A watcher was made.
    Created {
        /// Its id.
        watch_id: i64,
        /// The present revision.
        revision: i64,
    },
    /// A watcher was not made.
    Refused {
        /// The present revision.
        revision: i64,
        /// Why.
        reason: &'static str,
    },
    /// Events of a watcher.
    Events {
        /// Its id.
        watch_id: i64,
        /// The revision of the events, or the present one for those of the past.
        revision: i64,
        /// What happened.
        events: Arc<WatchEvents>,
        /// Whether they may be told in pieces.
        fragment: bool,
    },
    /// A watcher is gone.
    Canceled {
        /// Its id.
        watch_id: i64,
        /// The present revision; 0 if it is gone for what was compacted.
        revision: i64,
        /// The compact revision, if that is why; else 0.
        compact_revision: i64,
    },
    /// Nothing happened up to here, to the watcher or, with -1, to all of the stream.
    Progress {
        /// The watcher's id.
        watch_id: i64,
        /// The present revision.
        revision: i64,
    },
}

impl WatchItem {
    /// How many events it has.
    #[must_use]
    pub fn events(&self) -> usize {
        if let Self::Events { events, .. } = self { events.list().len() } else { 0 }
    }

    /// Bytes of the records in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        if let Self::Events { events, .. } = self { events.bytes() } else { 0 }
    }
}

/// Where a stream's items go.
pub trait WatchOutbox: Send {
    /// Whether an item would find room now.
    fn has_room(&self) -> bool;

    /// Takes the item and never waits; gives it back if there is no room.
    ///
    /// # Errors
    /// The item.
    fn try_send(&mut self, item: WatchItem) -> Result<(), WatchItem>;
}
