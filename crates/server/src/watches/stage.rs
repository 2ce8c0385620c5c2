//! The stage that tells watchers, without its thread: for who measures what telling costs.

use super::hub::{Command, Hub};
use super::{WatchOptions, WatchOutbox};
use mvcc::{Changes, View};

/// Tells watchers of changes on the caller's thread. Servers have one behind a queue.
pub struct WatchStage(Hub<Box<dyn WatchOutbox>>);

impl WatchStage {
    /// A stage without watchers, of a store with this revision that was never compacted.
    #[must_use]
    pub fn new(revision: i64) -> Self {
        Self(Hub::new(revision, 0))
    }

    /// Opens a stream, whose items go to `outbox`.
    pub fn open(&mut self, stream: u64, outbox: Box<dyn WatchOutbox>) {
        self.0.open(stream, outbox);
    }

    /// Makes a watcher on a stream.
    pub fn create(&mut self, stream: u64, options: WatchOptions) {
        self.0.command(stream, Command::Create(options));
    }

    /// Tells of what a transaction changed.
    pub fn changed(&mut self, changes: &Changes, view: &View) {
        self.0.changed(changes, view);
    }
}

impl std::fmt::Debug for WatchStage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchStage").finish_non_exhaustive()
    }
}
