//! What a write transaction changed: for leases, and for watchers.
//!
//! Invariants:
//! - all changes of one transaction have its main revision, and their subs count from 0;
//! - a transaction without changes has no `Changes` and no revision.

use backend::{Location, Revision};
use bytes::Bytes;

/// Everything one transaction changed, in order. Shared, never copied: `Arc<Changes>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// The transaction's main revision.
    pub revision: i64,
    /// At least one.
    pub list: Vec<Change>,
}

/// One key put or deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Bytes,
    /// Main and sub.
    pub revision: Revision,
    /// Whether the key was deleted.
    pub tombstone: bool,
    /// The `mvccpb.KeyValue` that watchers are sent, encoded: as stored for a put; key and
    /// mod_revision for a deletion.
    pub record: Bytes,
    /// How often the key was put since it was created, with this put; 0 for a deletion.
    pub version: i64,
    /// The lease the put names; 0 for none and for a deletion.
    pub lease: i64,
    /// Where the record before this one lies, if the key was live in the revision before the
    /// transaction's. Watchers with prev_kv read it.
    pub previous: Option<Location>,
}
