//! Messages of the raft protocol, of write-ahead log records and of snapshot files.
//!
//! Floor 0: nothing of ours is below it, and it knows no I/O, gRPC or server type. The bytes
//! are those of etcd-io/raft v3.7: proto2 presence (`None` is absent and reads as zero),
//! unpacked repeated scalars, fields in ascending number.
//!
//! The message types are generated from `proto/` by `cargo xtask codegen` and committed;
//! everything else in the crate is what messages can tell about themselves.

mod conf_change;
mod conf_state;
mod message;

#[rustfmt::skip]
#[allow(missing_docs, clippy::all, reason = "generated code")]
mod generated {
    pub mod raftpb {
        include!("generated/raftpb.rs");
    }
    pub mod walpb {
        include!("generated/walpb.rs");
    }
    pub mod snappb {
        include!("generated/snappb.rs");
    }
}

pub use conf_change::{MembershipChange, ParseChangeError, changes_to_string, parse_changes};
pub use conf_state::ConfStateMismatch;
pub use generated::raftpb::*;

/// Messages inside write-ahead log records.
pub mod wal {
    pub use crate::generated::walpb::{Metadata, Record, Snapshot};
}

/// The envelope of a snapshot file.
pub mod snap {
    pub use crate::generated::snappb::Snapshot;
}
