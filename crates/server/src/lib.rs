//! A member of a cluster, to be started inside any program.
//!
//! Floor 5: no gRPC and no HTTP types. [`Server::start`] opens the directory, starts the threads
//! and gives the handle that all requests go through; `serve` puts the client API over it. One
//! put is a straight walk: `propose.rs`, `driver.rs`, the log and apply threads (`threads.rs`,
//! `apply_loop.rs`), and back through `waiters.rs`.
//!
//! Invariants:
//! - what is acknowledged is in the log of a quorum, durably;
//! - a failed disk ends the member, and tells whoever started it through [`Server::ended`];
//! - every thread and task is joined by [`Server::stop`].

mod apply_loop;
mod assemble;
mod bootstrap;
mod compactor;
mod config;
pub mod describe;
mod downgrade;
mod driver;
mod duration;
mod error;
mod forward;
mod headers;
mod ids;
mod image;
mod install;
mod join;
mod leases;
mod link;
mod members;
pub mod metrics;
#[cfg(feature = "planted-bugs")]
pub mod planted;
#[cfg(not(feature = "planted-bugs"))]
mod planted;
mod propose;
mod raft_status;
mod read;
mod requests;
mod shared;
mod snapshot;
#[doc(hidden)]
pub mod stages;
mod start;
mod store_loop;
mod tasks;
mod threads;
mod versions;
mod waiters;
mod watches;

pub use compactor::AutoCompaction;
pub use config::Config;
pub use duration::go_duration;
pub use error::{Error, Fatal};
pub use headers::Headers;
pub use image::ImageStream;
pub use leases::LeaseTimes;
pub use members::NOT_A_LEARNER;
pub use requests::Status;
pub use start::Server;
pub use waiters::{Answer, Told, Waiter};
pub use watches::{
    WatchCommands, WatchEvent, WatchEvents, WatchHandle, WatchItem, WatchOptions, WatchOutbox,
    WatchStage, WatchStream,
};
