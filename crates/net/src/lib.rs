//! Listeners and connections of a member: TCP, unix sockets, and TLS on top of both, by etcd's
//! rules.
//!
//! Floor 1. TLS types stop here: above, a connection is a [`Stream`]. What people type are
//! [`Address`] and [`TlsOptions`]; a [`Listener`] and a [`Dialer`] are what becomes of them.
//!
//! The handshake is rustls's. Who may pass is decided here (`verify.rs`, `chain.rs`): as Go decides,
//! so that certificates which work with etcd work with us. Files of certificates, keys and
//! revocations are read anew at every handshake: what is renewed on disk counts at once.
//!
//! First function to read: [`Incoming::open`].

mod acceptor;
mod address;
mod certificate;
mod chain;
mod constraints;
mod dialer;
mod error;
mod files;
mod listener;
mod names;
mod options;
mod reason;
mod revoked;
mod self_signed;
mod stream;
mod verify;

pub use acceptor::Acceptor;
pub use address::{Address, AddressError, Place};
pub use dialer::Dialer;
pub use error::Error;
pub use listener::{Endpoint, Incoming, Listener, Security, SocketOptions};
pub use options::{TlsOptions, Version, known_suites};
pub use self_signed::self_signed;
pub use stream::{ClientCertificate, Stream};
