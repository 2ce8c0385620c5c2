//! The client API of a member: gRPC, HTTP, TLS, flags.
//!
//! Floor 6: gRPC and HTTP types stop here. `grpc/` has a file for each service.

mod budget;
pub mod concurrency;
pub mod config;
pub mod edge;
pub mod grpc;
pub mod http;
pub mod log;
pub mod metrics;
pub mod peer_port;
mod slow;
