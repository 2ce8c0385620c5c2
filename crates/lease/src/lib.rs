//! Leases: keys that go away with their owner.
//!
//! Floor 3. Two parts that do not know each other: [`Lessor`] is replicated and has no clock,
//! [`Expiry`] is the leader's clock and decides nothing by itself. A lease ends when an entry
//! that revokes it is applied, and then only.

mod expiry;
mod lessor;

pub use expiry::{Expiry, REVOKES_MAX};
pub use lessor::{Error, Lessor, TTL_MAX};
