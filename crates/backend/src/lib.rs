//! The store under mvcc: revisions in the order they were written, in segment files.
//!
//! Floor 2. It owns the directory of segments (`docs/formats/segment.md`) and nothing in it is
//! needed for durability: the write-ahead log is what survives a crash, and this is a checkpoint
//! written behind it. Start at [`Store`], the side that appends; [`open`] makes all four parts:
//!
//! ```text
//!   apply ---> Store ------ frames -----> overlay ---> Flusher ---> segment files
//!               | small buckets              \             ^            |    ^
//!               |                             \            | durable    |    | rewrites
//!               `- locations -> index -> Reader ------ reads -----------'   Compactor
//! ```
//! Invariants:
//! - a frame is all or nothing: after a crash the store is what some commit left, and at least
//!   what was synced;
//! - nothing is written to a file before the write-ahead log has its index durably;
//! - a [`Location`] stays good for as long as its record is live, whoever moves it;
//! - every record is checked by its CRC-32C wherever it is read.
//!
//! What it is not: an index (mvcc keeps one in memory, built from [`Restored`]), a cache (the
//! system's page cache is one), or a thread ([`Flusher`] and [`Compactor`] are stages).

mod bucket;
mod compact;
mod error;
mod flush;
mod footer;
mod frame;
mod kv;
mod open;
mod pin;
mod read;
mod record;
mod records;
mod restore;
mod revision;
mod segment;
mod shared;
mod store;

pub use bucket::{Bucket, Buckets};
pub use compact::{Compactor, Live, Step};
pub use error::{Error, Result};
pub use flush::{Flusher, SYNC_BYTES, SYNC_PERIOD, SYNC_RECORDS, WRITE_BYTES, WRITE_PERIOD};
pub use kv::KeyValue;
pub use open::{Opened, Options, SEGMENT_BYTES, open};
pub use pin::{Pin, PinScan};
pub use read::{Reader, Record};
pub use record::Location;
pub use records::{FOUND_BYTES, Records};
pub use restore::{Restored, RestoredRevision};
pub use revision::{Revision, RevisionKey};
pub use shared::Usage;
pub use store::Store;
