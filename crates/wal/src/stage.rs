//! Group commit: all appends that wait become one write and one sync.
//!
//! [`WalStage`] is the plain stage, without thread or clock: its owner gives it requests and
//! takes the acks. [`spawn`] is the shell that runs one on a thread of its own. While one sync
//! runs, requests gather; the next step takes them all, so that the slower the disk, the larger
//! the groups.
//!
//! Invariants: acks leave in the order of the requests, and none before what it stands for is as
//! durable as was asked; after a failure none leaves at all.

use crate::planted::{self, Bug};
use crate::{Result, Wal};
use crossbeam_channel::{Receiver, Sender, bounded};
use raftpb::{Entry, HardState};
use std::thread::JoinHandle;

/// A request to append.
#[derive(Clone, Debug, PartialEq)]
pub struct Append<T> {
    /// The hard state to save; all zero for none.
    pub hard_state: HardState,
    /// Entries, saved before the hard state.
    pub entries: Vec<Entry>,
    /// Asks for a sync where the log's own rule would not.
    pub must_sync: bool,
    /// Comes back when the request is done.
    pub token: T,
}

/// The stage that owns the log.
#[derive(Debug)]
pub struct WalStage {
    wal: Wal,
}

impl WalStage {
    /// A stage over an open log.
    #[must_use]
    pub fn new(wal: Wal) -> Self {
        Self { wal }
    }

    /// Takes all of `inbox`, writes and, if any asks for it, syncs once; then gives the tokens
    /// to `outbox` in order.
    ///
    /// # Errors
    /// The log's; they are final, and the process should end.
    pub fn step<T>(&mut self, inbox: &mut Vec<Append<T>>, outbox: &mut Vec<T>) -> Result<()> {
        if inbox.is_empty() {
            return Ok(());
        }
        let mut sync = false;
        for append in inbox.iter() {
            match self.wal.stage(&append.hard_state, &append.entries) {
                Ok(must_sync) => sync |= must_sync | append.must_sync,
                // Requests before it are staged and could be staged again: no way on from here.
                Err(error) => return Err(self.wal.give_up(error)),
            }
        }
        self.wal.commit(sync && !planted::is(Bug::AcknowledgesBeforeSync))?;
        outbox.extend(inbox.drain(..).map(|append| append.token));
        Ok(())
    }

    /// Does what no request should have to wait for: preallocates the next segment.
    ///
    /// # Errors
    /// As [`WalStage::step`].
    pub fn idle(&mut self) -> Result<()> {
        if self.wal.wants_segment() { self.wal.prepare_segment() } else { Ok(()) }
    }

    /// The log.
    pub fn wal_mut(&mut self) -> &mut Wal {
        &mut self.wal
    }

    /// The log, when the stage has ended.
    #[must_use]
    pub fn into_wal(self) -> Wal {
        self.wal
    }
}

/// Requests the shell's channel holds: above what one sync on a slow disk gathers, so that a
/// full channel means the disk is behind, and the sender should wait.
pub const QUEUE_MAX: usize = 4096;

/// Runs a stage on a thread named `wal`. Each finished group goes to `acked`, on that thread.
/// The thread ends when all senders are gone, and gives the stage back, or the error that ended
/// it: then the channel closes, and later requests are not taken.
///
/// # Panics
/// If the system cannot start a thread.
pub fn spawn<T: Send + 'static>(
    mut stage: WalStage,
    mut acked: impl FnMut(&mut Vec<T>) + Send + 'static,
) -> (Sender<Append<T>>, JoinHandle<Result<WalStage>>) {
    let (wal_requests, requests): (_, Receiver<Append<T>>) = bounded(QUEUE_MAX);
    let run = move || {
        let (mut inbox, mut outbox) = (Vec::new(), Vec::new());
        while let Ok(first) = requests.recv() {
            inbox.push(first);
            inbox.extend(requests.try_iter().take(QUEUE_MAX));
            stage.step(&mut inbox, &mut outbox)?;
            acked(&mut outbox);
            outbox.clear();
            if requests.is_empty() {
                stage.idle()?;
            }
        }
        Ok(stage)
    };
    let thread = std::thread::Builder::new().name("wal".to_owned()).spawn(run);
    (wal_requests, thread.expect("the system can start a thread"))
}
