//! How members are dialled, and how long they are waited for.

use net::Dialer;
use std::time::Duration;

/// What holds for all peers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long to wait for a connection.
    pub dial_timeout: Duration,
    /// After so long a silence a stream is given up, and a body that is being received.
    pub read_timeout: Duration,
    /// After so long a write a stream is given up.
    pub write_timeout: Duration,
    /// Makes the connections.
    pub dialer: Dialer,
}

/// Silences and writes that are shorter are never given up: streams say that they are alive every
/// third of it, and the other end may count on this (etcd's `DefaultConnReadTimeout`).
pub const TIMEOUT_MIN: Duration = Duration::from_secs(5);

impl Settings {
    /// Those of plain connections, of a cluster with an election timeout: connections are waited
    /// for a second longer.
    #[must_use]
    pub fn plain(election_timeout: Duration) -> Settings {
        Settings {
            dial_timeout: Duration::from_secs(1) + election_timeout,
            read_timeout: TIMEOUT_MIN,
            write_timeout: TIMEOUT_MIN,
            dialer: Dialer::plain(),
        }
    }
}
