//! The real etcd beside us, for tests: its processes, a cluster of them behind a proxy that makes
//! faults, and a member of ours in that cluster.
//!
//! [`Member`] is one real process. [`Cluster`] is several, each reached by the others through a
//! [`Proxy`] of its own. [`Receiver`] is a member of ours of raft, log and peer protocol, without
//! a store: it takes part in a cluster of real members, and notes what it would apply.

mod cluster;
mod gateway;
pub mod hash;
mod logs;
mod member;
mod receiver;
pub mod release;
pub mod store;
mod wait;

pub use cluster::Cluster;
pub use gateway::{Answer, Gateway, Pairs, Refused};
pub use logs::{Log, read_log};
pub use member::{Launch, Member, VERSIONS, etcd_home, etcd_home_of, versions};
pub use process::proxy::{Count, Endpoint, Fault, Proxy, Rule};
pub use receiver::{Config, Receiver, Status, digest_of};
pub use wait::{PATIENCE, pause, until};
