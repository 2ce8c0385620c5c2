//! Keys with history: revisions, transactions, compaction, hashes and watches.
//!
//! Floor 3. It keeps the index of keys in memory and the records in `backend`, and knows neither
//! leases nor users: whoever applies hands the [`Changes`] of a transaction to those who care.
//! Start at [`Mvcc`], the side that writes, and [`View`], the side that reads; [`restore`] makes
//! both:
//!
//! ```text
//!   apply --> Mvcc --begin--> Txn --- records ---> backend::Store
//!              |  index (own root)                      |
//!              | publish: one swap of a root            | commit
//!              v                                        v
//!            Views --latest--> View --- locations -> backend::Reader
//! ```
//! Invariants:
//! - the same entries make the same state: no clock, no chance, no order of a hash map;
//! - readers see whole batches, in order, and never wait for more than the swap of a root;
//! - nothing is dropped that a read at the compact revision or above needs.

mod changes;
mod compact;
mod error;
mod hash;
pub mod index;
mod order;
mod parts;
mod past;
#[cfg(feature = "planted-bugs")]
pub mod planted;
#[cfg(not(feature = "planted-bugs"))]
mod planted;
mod range;
mod read;
mod restore;
mod store;
mod stream;
mod txn;
mod view;

pub use changes::{Change, Changes};
pub use compact::{Budget, Progress};
pub use error::{Error, Result};
pub use hash::KeyHash;
pub use index::KeyRange;
pub use parts::RangeParts;
pub use past::{Past, PastChange};
pub use range::{Bounded, Needs, RangeQuery, RangeResult, Scope, SortOrder, SortTarget};
pub use read::{Meta, Read};
pub use restore::{Started, restore};
pub use store::Mvcc;
pub use stream::{Chunk, ChunkEnd, RangeStream};
pub use txn::Txn;
pub use view::{Judge, View, Views};
