//! The server's side of HTTP/2, made for gRPC at very low cost. Floor 0; it knows nothing of etcd.
//!
//! One task serves a connection ([`serve`]). A request takes one of two ways, by its head:
//!
//! - A **fast call** is told to a [`Handler`] inside that task, message by message, and answered
//!   from any thread through [`Answers`]. It costs no task, no timer, no header map and, once the
//!   connection is warm, no allocation; all that one read brings is handled together, and all
//!   answers that are ready leave in one write.
//! - **Everything else** is an `http::Request` with a streaming body for a [`Service`], in a task of
//!   its own.
//!
//! ```text
//!  serve.rs      one connection, its shutdown
//!  driver/       the task: transport, handler, service, outbox, timer
//!  answers.rs    the way of answers from other threads into the task
//!  respond.rs, body.rs     the way of a service's request and response
//!  connection/   the protocol: bytes in, events and bytes out, time as an argument
//!  hpack/, frame.rs, flow.rs, streams.rs     what it is made of
//!  head.rs, cut.rs, status.rs, deadline.rs   gRPC: heads, messages, ends, times
//! ```
//!
//! Begin to read with `serve.rs`. It deliberately has no client, no server push, no priorities, no
//! extended CONNECT, and no dynamic table for what it sends.

mod answers;
mod body;
mod buffer;
mod connection;
mod cut;
mod date;
mod deadline;
mod driver;
mod error;
mod flow;
mod frame;
mod handler;
mod head;
mod hpack;
mod options;
mod respond;
mod serve;
mod status;
mod streams;

pub use answers::Answers;
pub use body::{Body, BodyError};
pub use buffer::Buffer;
pub use driver::Service;
pub use error::{Error, Reason};
pub use handler::{Answer, Handler, NoFastCalls, Parts, Route};
pub use head::Head;
pub use options::Options;
pub use serve::serve;
pub use status::{Code, Status};
