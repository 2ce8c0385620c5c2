//! etcd's client API: messages, services, errors, versions and limits, as of v3.7.1.
//!
//! Floor 0: nothing of ours is below it. Messages and services are generated from `proto/` by
//! `cargo xtask codegen` and committed; [`Error`] is the one table of what clients are told.
//!
//! Invariants:
//! - field numbers and types are etcd's; names are ours where prost would spell them oddly, and
//!   then `json_name` has etcd's;
//! - byte fields are `bytes::Bytes`: what arrives in a frame travels to the log without a copy.

mod error;
pub mod version;

#[rustfmt::skip]
#[allow(
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]
mod generated {
    pub mod mvccpb {
        include!("generated/mvccpb.rs");
    }
    pub mod authpb {
        include!("generated/authpb.rs");
    }
    pub mod membershippb {
        include!("generated/membershippb.rs");
    }
    pub mod etcdserverpb {
        include!("generated/etcdserverpb.rs");
    }
    pub mod leasepb {
        include!("generated/leasepb.rs");
    }
    pub mod v3lockpb {
        include!("generated/v3lockpb.rs");
    }
    pub mod v3electionpb {
        include!("generated/v3electionpb.rs");
    }
    pub mod healthpb {
        include!("generated/grpc.health.v1.rs");
    }
}

pub use error::{Code, Error};
pub use generated::{
    authpb, etcdserverpb, healthpb, leasepb, membershippb, mvccpb, v3electionpb, v3lockpb,
};
