//! etcd's peer protocol ("rafthttp"): how the members of a cluster exchange raft messages and
//! snapshots, over HTTP/1.1.
//!
//! Floor 2. It knows raft's messages and nothing of raft itself: the member it works for is the
//! trait [`Raft`]. The bytes and the rules are those of Go members; `docs/formats/peer.md` draws
//! them.
//!
//! First function to read: [`Transport::send`], then [`Transport::handle`].

mod ask;
pub mod codec;
mod get;
mod handler;
pub mod identity;
mod local;
mod member;
mod pipeline;
mod pool;
mod probe;
mod receive;
mod request;
mod seam;
mod serve;
mod settings;
mod snapshot;
mod stream;
mod transfer;
mod transport;
mod url;

pub use ask::{AskError, Question, Reply};
pub use get::{Answer, GetError, get};
pub use handler::ResponseBody;
pub use local::{Local, MIN_CLUSTER_VERSION, SERVER_VERSION};
pub use net::Incoming;
pub use seam::{BoxFuture, ProcessError, Raft, SnapshotBody, SnapshotOutcome, Traffic};
pub use serve::{Accept, CONNECTIONS_MAX, NoOthers, Others};
pub use settings::{Settings, TIMEOUT_MIN};
pub use transport::Transport;
pub use url::{PeerUrl, UrlError};
