//! Reads: of the present, agreed with a quorum, or of what this member has.

use crate::driver::Input;
use crate::shared::Shared;
use crate::waiters::{Asked, Told, Waiter};
use crate::{Error, Server};
use apply::Reply;
use mvcc::View;
use std::sync::atomic::Ordering;

impl Server {
    /// Waits until this member's state is no older than this call (raft section 6.4 of the
    /// thesis). All who wait at once share one round.
    ///
    /// # Errors
    /// [`api::Error::Timeout`] without a leader or a quorum; `LeaderChanged`; `Stopped`.
    pub async fn linearizable(&self) -> Result<(), Error> {
        if self.decides_alone() {
            return Ok(());
        }
        let id = self.shared.ids.next();
        self.wait_for(id, Asked::Read, Input::Read(id)).await.map(drop)
    }

    /// The same for those who do not wait: the waiter is told once it is so, maybe at once.
    pub fn confirm(&self, waiter: Waiter) {
        self.shared.confirm(waiter);
    }

    /// Whether what this member has applied is the present: all that was acknowledged was
    /// acknowledged here, and is visible.
    #[must_use]
    pub fn decides_alone(&self) -> bool {
        self.shared.decides_alone()
    }

    /// The revision of what this member has applied.
    #[must_use]
    pub fn revision(&self) -> i64 {
        self.shared.views.revision()
    }

    /// Whether there is a leader, as far as this member knows.
    #[must_use]
    pub fn has_leader(&self) -> bool {
        *self.shared.lead.borrow() != 0
    }

    /// The keys as this member has them now.
    #[must_use]
    pub fn view(&self) -> View {
        self.shared.views.latest()
    }
}

impl Shared {
    /// [`Server::confirm`].
    pub(crate) fn confirm(&self, waiter: Waiter) {
        if self.decides_alone() {
            return waiter(Told::at_once(Ok(Reply::Done)));
        }
        let id = self.ids.next();
        self.register(id, Asked::Read, Input::Read(id), waiter);
    }

    fn decides_alone(&self) -> bool {
        self.raft.decides_alone.load(Ordering::Acquire)
    }
}
