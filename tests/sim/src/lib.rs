//! Whole clusters in one thread, on a simulated clock, network and disks.
//!
//! The code is the production code: raft, the log and its stage, snapshot files, the store behind
//! them, the file layer with its disk in memory. One seed decides everything, so that a failure replays. After every
//! step the properties in `invariants` are judged; at the end all faults stop, and the cluster
//! must get on. Start at [`run`]; `world.rs` has the events, `driver.rs` what a server's threads
//! do. That world ends at the log and the store; [`servers`] has whole members in it.
//!
//! What it is not: a model of threads. A storage thread's step happens at one moment, which the
//! seed draws; races inside a stage are its own tests' matter.

mod client;
mod coverage;
mod disk;
mod driver;
mod durable;
mod faults;
mod healing;
mod invariants;
mod kv;
mod network;
mod node;
mod oracle;
mod plan;
mod rng;
mod seeds;
pub mod servers;
mod store;
mod trace;
mod world;

pub use coverage::{Counters, Coverage, Point};
pub use oracle::Violation;
pub use seeds::{Failure, Summary, run, run_all};
pub use world::Outcome;
