//! A server as its users have it: a process with two ports and a folder, known by what it answers.
//!
//! [`Program`] is which one: ours, or the real etcd that stands beside it as the judge. [`Server`]
//! is one that runs, [`Cluster`] are several that form one, [`Run`] is one whose command line is
//! tried; [`Witness`] is a client that has to be served whatever happens to it; [`Rng`] makes its
//! tests' choices. What it is not: a way into a server. All tests built on this crate run on any
//! program with etcd's flags.

mod cluster;
mod files;
mod fill;
mod program;
pub mod proxy;
mod rng;
mod run;
mod server;
pub mod wire;
mod witness;

pub use cluster::{Cluster, MemberFault, status};
pub use files::raise_open_files;
pub use fill::fill;
pub use program::{Program, subject};
pub use rng::Rng;
pub use run::Run;
pub use server::{Options, Server, free_address};
pub use witness::{Latencies, Witness};

use std::time::Duration;

/// How long something may take that happens within seconds when all is well: machines with other
/// work to do take their time.
pub const PATIENCE: Duration = Duration::from_secs(60);
