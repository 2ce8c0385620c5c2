//! The client API of a member: gRPC, HTTP, TLS, flags.
//!
//! Floor 6: gRPC and HTTP types stop here. A request comes through `edge.rs` and
//! `connection.rs`; `calls/` has those that are many, `grpc/` a file for each service.

mod budget;
mod calls;
pub mod concurrency;
pub mod config;
mod connection;
pub mod edge;
mod go_words;
mod grpc;
pub mod http;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod peer_port;
pub mod ports;
mod slow;

pub use connection::{Api, Client};
