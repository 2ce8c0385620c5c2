//! The replicated state machine: log entries in, stored bytes, replies and changes out.
//!
//! Floor 4, and the only crate that touches several stores: keys (`mvcc`), leases (`lease`),
//! members (`member`) and alarms share one [`backend::Store`], so that all an entry changes is
//! one frame with its index. Start at [`StateMachine::apply`].
//!
//! Invariants (etcd-formats section 8):
//! - same entries, same stored bytes: no clock, no chance, no unordered map, no lock. What is
//!   local to a member (its quota, whether somebody waits for a reply) changes replies only;
//! - an entry at or below the consistent index changes nothing again;
//! - a request that is refused has changed nothing.
//!
//! Source: etcd server/etcdserver/apply and server/etcdserver/txn.

mod alarm;
mod convert;
mod dispatch;
mod gate;
mod image;
mod kv;
mod lessor;
mod machine;
mod membership;
mod op;
#[cfg(feature = "planted-bugs")]
pub mod planted;
#[cfg(not(feature = "planted-bugs"))]
mod planted;
mod reply;
mod txn;

pub use alarm::Alarms;
pub use convert::{decode_record, range_query, range_response};
pub use gate::{GRANT_COST, put_cost, txn_cost, writes_keys};
pub use image::{Image, ImageError, import};
pub use machine::{
    Applied, ApplyError, ConfOutcome, LeaseEvent, Replaced, RestoreError, Restored, Settings,
    StateMachine,
};
pub use op::{Op, Operations};
pub use reply::Reply;
pub use txn::{answer_bytes, is_read_only, range_bytes, read};
