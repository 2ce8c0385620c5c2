//! How many connections there may be, so that no number of them takes the files that a member
//! needs itself: a log that cannot open its next file is the end of it.
//!
//! Source: etcd `embed/serve.go`, `embed/etcd.go: configureClientListeners`.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Files that a member keeps for itself (etcd `reservedInternalFDNum`).
const OWN_FILES: u64 = 150;

/// Clients that are served whatever the limit: with fewer there is no point.
const CLIENTS_MIN: u64 = 64;

/// Asks the system for as many open files as it allows this process, as Go's programs do.
pub fn raise_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let raised = Rlimit { current: maximum, maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
    }
}

/// Room for clients' connections, on all ports together. Clones share it.
#[derive(Debug, Clone)]
pub struct ClientRoom(Arc<Semaphore>);

impl ClientRoom {
    /// What the limit of open files leaves for clients.
    #[must_use]
    pub fn of_open_files() -> Self {
        // No limit is none that could be reached.
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let clients = usize::try_from(clients(files)).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(clients.min(Semaphore::MAX_PERMITS))))
    }

    /// Waits for room for one connection; it is free again when this is dropped.
    pub(crate) async fn enter(&self) -> OwnedSemaphorePermit {
        let room = Arc::clone(&self.0);
        room.acquire_owned().await.expect("the semaphore is never closed")
    }
}

fn clients(files: u64) -> u64 {
    let others = OWN_FILES + peer::CONNECTIONS_MAX as u64;
    // Where files are few, half is for clients.
    files.saturating_sub(others).max(files / 2).max(CLIENTS_MIN)
}

#[cfg(test)]
mod tests {
    use super::clients;

    #[test]
    fn clients_get_what_is_left() {
        assert_eq!(clients(20_000), 20_000 - 150 - 512);
        assert_eq!(clients(1024), 512);
        assert_eq!(clients(u64::MAX), u64::MAX - 150 - 512);
        assert_eq!(clients(10), 64);
    }
}
