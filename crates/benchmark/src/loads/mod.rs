//! The sub-commands, a file each: their requests, what they check of the answers, what they print.

pub(crate) mod beside_writes;
pub(crate) mod k8s;
pub(crate) mod lease;
pub(crate) mod lease_storm;
pub(crate) mod list;
pub(crate) mod process;
pub(crate) mod put;
pub(crate) mod range;
pub(crate) mod txn;
pub(crate) mod watch;
pub(crate) mod watch_latency;
pub(crate) mod watchers;
