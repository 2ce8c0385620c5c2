//! etcd's peer protocol ("rafthttp"): how the members of a cluster exchange raft messages and
//! snapshots, over HTTP/1.1.
//!
//! Floor 2. It knows raft's messages and nothing of raft itself: the member it works for is the
//! trait [`Raft`]. The bytes and the rules are those of Go members; `docs/formats/peer.md` draws
//! them.
//!
//! First function to read: [`Transport::send`], then [`Transport::handle`].

pub mod codec;
mod get;
mod handler;
pub mod identity;
mod local;
mod member;
mod pipeline;
mod probe;
mod receive;
mod request;
mod seam;
mod serve;
mod snapshot;
mod stream;
mod transport;
mod url;

pub use get::{Answer, GetError, get};
pub use handler::ResponseBody;
pub use local::{Local, MIN_CLUSTER_VERSION, SERVER_VERSION};
pub use seam::{BoxFuture, ProcessError, Raft, SnapshotBody, SnapshotOutcome, Traffic};
pub use serve::{Accept, NoOthers, Others};
pub use transport::Transport;
pub use url::{PeerUrl, UrlError};
