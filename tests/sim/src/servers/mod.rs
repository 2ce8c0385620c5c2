//! The whole server below the edge: members with all their stages, on simulated clock, network and
//! disks; clients and watchers whose histories are judged.
//!
//! The members are the production ones (`server::stages`): raft, log, state machine, store,
//! watches, leases, snapshots as databases. The world decides which stage of which member does its
//! next step, and when. Beside them a plain model (`model.rs`) applies the log as it is committed:
//! every answer, every event of a watch and every member's state is compared with it. Start at
//! [`run`]; `world.rs` has the events.
//!
//! What it is not: races inside a stage, and what is above the edge: connections, and the checks of
//! requests there.

mod answers;
mod clients;
mod coverage;
mod faults;
mod healing;
mod history;
mod leases;
mod links;
mod member;
mod model;
mod plan;
mod requests;
mod txn;
mod watchers;
mod watches;
mod world;

use crate::seeds::{Summary, run_all_in, run_in};
use crate::world::Outcome;
pub use coverage::{Coverage, Point};
use std::ops::Range;

/// Runs one seed, with a trace if asked. A panic anywhere in it is a violation too.
#[must_use]
pub fn run(seed: u64, traced: bool) -> Outcome<Coverage> {
    run_in::<world::World>(seed, traced)
}

/// Runs the seeds of a range until one fails.
#[must_use]
pub fn run_all(seeds: Range<u64>) -> Summary<Coverage> {
    run_all_in::<world::World>(seeds)
}
