//! Versions that the protocol asks for. They are etcd's, and say what this server takes itself for.

/// The server's version, as etcd's.
pub const VERSION: &str = "3.7.1";
/// Major and minor of it: what client and server call the version of the API.
pub const API_VERSION: &str = "3.7";
/// The lowest cluster version that this server can be a member of.
pub const MIN_CLUSTER_VERSION: &str = "3.0.0";
/// Our own version, shown beside etcd's and never in its place.
pub const QUORATE_VERSION: &str = env!("CARGO_PKG_VERSION");
