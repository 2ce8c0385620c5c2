//! Keys with history: revisions, transactions, compaction, hashes and watches.
//!
//! Floor 3. It keeps the index of keys in memory and the records in `backend`, and knows neither
//! leases nor users: whoever applies hands the [`Changes`] of a transaction to those who care.

mod changes;
pub mod index;

pub use changes::{Change, Changes};
