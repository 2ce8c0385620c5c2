//! The edge: what clients are served, over gRPC and HTTP.
//!
//! Floor 6. It decodes, checks and answers; what a request does to the state is decided below.

pub mod concurrency;
