//! The sub-commands, a file each: their requests, what they check of the answers, what they print.

pub(crate) mod k8s;
pub(crate) mod lease;
pub(crate) mod put;
pub(crate) mod range;
pub(crate) mod txn;
