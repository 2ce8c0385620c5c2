//! The write-ahead log and the snapshot files, in etcd's bytes.
//!
//! Floor 1. Owns on disk the directories `member/wal` and, but for the database,
//! `member/snap`. It knows raft's messages and files, not raft. A real etcd opens what this
//! writes and the other way round; `docs/formats/wal.md` and `docs/formats/snap.md` draw both
//! and list where this reader is stricter. Start at [`Wal`].
//!
//! A member starts so: [`valid_snapshot_entries`], take the last, [`Wal::open`] at it; on
//! [`Error::Torn`], [`repair`] and open once more.

mod error;
#[cfg(feature = "planted-bugs")]
pub mod planted;
#[cfg(not(feature = "planted-bugs"))]
mod planted;
mod read;
mod record;
mod repair;
mod replay;
mod scan;
mod segment;
pub mod snap;
pub mod stage;
mod wal;
mod wire;

pub use error::{Error, Result};
pub use read::{exists, purge, read_all, valid_snapshot_entries, verify};
pub use repair::{Repair, repair};
pub use replay::Contents;
pub use wal::{Options, SEGMENT_BYTES, Wal};
