//! The README's tour as data, and a client program walking it.
//!
//! `tour.txt` holds the stops. What they print is compared between two servers, so there is no
//! expected output here that could grow old: it is what the real etcd gives the same client.
//! Ids, addresses and durations are masked.

mod mask;
mod walk;

pub use mask::mask;
pub use walk::{Stop, stops, walk};
