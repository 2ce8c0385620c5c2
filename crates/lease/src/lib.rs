//! Leases: the replicated set, and the leader's clock over it.
//!
//! Floor 3. Two structs that share nothing but ids. [`Lessor`] is state: which leases there are
//! and which keys hang on them, the same on every member, changed by applied entries alone.
//! [`Expiry`] is one member's clock over those leases: it decides when the leader proposes to
//! revoke one, and answers renewals, none of which is replicated.
//!
//! Invariants:
//! - neither reads a clock, takes a lock or iterates in an order that differs between members;
//! - a lease goes away by an applied revocation only, never because time passed here;
//! - a key is attached to at most one lease, and both sides know it.
//!
//! What it is not: it deletes no keys (the caller does, through `mvcc`, in the commit in which
//! the lease goes) and proposes nothing.

mod expiry;
mod lessor;

pub use expiry::{
    CHECKPOINT_BATCH, CHECKPOINT_INTERVAL, Expiry, Options, REVOKE_BATCH, Refused, Remaining,
    Renewal,
};
pub use lessor::{Error, Lease, Lessor, MAX_TTL, min_ttl};
