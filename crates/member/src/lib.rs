//! Who the members of a cluster are, as all of them agree.
//!
//! Floor 3. [`Cluster`] is replicated state: it changes by applied entries alone, and lives in the
//! buckets `members`, `members_removed`, `cluster` and, for raft's configuration, `meta`.
//! [`initial`] makes the members of a new cluster out of what each of them is told.

mod cluster;
mod initial;
mod json;
mod v2;
mod version;

pub use cluster::{Cluster, Error};
pub use initial::{InitialCluster, InitialError};
pub use json::{ChangeContext, Member};
pub use version::Version;
