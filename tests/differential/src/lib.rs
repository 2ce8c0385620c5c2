//! The real etcd as the judge: one random program goes to it and to the server under test, in
//! step, and every answer is compared field by field.
//!
//! [`generate`](generator::generate) makes programs of [`Step`]s, [`Pair::run`] runs one on two
//! servers, [`shrink`](shrink::shrink) makes one that shows a difference small, and
//! [`text`] writes it down so that it can be run again. [`KEPT`](kept::KEPT) lists what may differ
//! and why; nothing else is passed over. [`Load`] sends programs to one server alone.
//!
//! What it is not: a model. It knows nothing of what is right, and a mistake that both servers
//! make is not found here.

pub mod generator;
pub mod kept;
mod load;
mod pair;
mod requests;
mod revisions;
pub mod shrink;
mod side;
pub mod text;
mod watches;

pub use load::Load;
pub use pair::{Difference, Pair, Tally};
pub use requests::{Request, Response};
pub use revisions::{ME, NOW};

use api::etcdserverpb::{LeaseKeepAliveRequest, RangeRequest, WatchRequest};
use api::v3electionpb::LeaderRequest;

/// One thing that both servers are asked, in the same moment of their lives.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A request with one answer.
    Unary(Request),
    /// A list in pieces.
    RangeStream(RangeRequest),
    /// One heartbeat of a lease, on a stream of its own.
    KeepAlive(LeaseKeepAliveRequest),
    /// The first answer of an observer.
    Observe(LeaderRequest),
    /// A word on one of the watch streams; the first one opens it.
    Watch(u8, WatchRequest),
    /// The end of a watch stream.
    Close(u8),
    /// Waits until both servers have told their watchers everything, and compares what they told.
    Settle,
}
