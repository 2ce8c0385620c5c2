//! Who is in the cluster: members, the cluster's version, and what may change about them.
//!
//! Floor 3. [`Cluster`] is the replicated part, changed by applied entries alone and kept in the
//! buckets `members`, `members_removed` and `cluster`; [`InitialCluster`] is what a new cluster
//! begins with. Everything here ends up in the log or on disk of Go members too, so the bytes
//! are theirs: ids, JSON, the first entries, the dump in a snapshot.
//!
//! Invariants:
//! - what a change comes to depends on the buckets and the change alone, so that every member
//!   accepts and refuses the same ones;
//! - the id of a member that was removed is never used again;
//! - what is in memory is what the buckets hold.
//!
//! What it is not: it asks nobody over the network and proposes nothing.

mod cluster;
mod error;
mod initial;
mod json;
mod member;
mod v2store;
mod version;

pub use cluster::{Change, Cluster, Downgrade};
pub use error::{Error, Rejected, UrlError};
pub use initial::{InitialCluster, bootstrap_entries, parse_urls};
pub use member::{
    Context, Member, conf_state_json, members_json, parse_context, parse_members, promote_context,
};
pub use peer::identity::{cluster_id, format_id, member_id, parse_id};
pub use v2store::v2_store_json;
pub use version::{
    InvalidDowngradeTarget, MIN_VERSION, SERVER_VERSION, Version, decide_cluster_version,
    min_server_version,
};
