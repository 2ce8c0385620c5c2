//! Reads: of the present, agreed with a quorum, or of what this member has.

use crate::driver::Input;
use crate::propose::send;
use crate::{Error, Server};
use mvcc::View;
use tokio::sync::oneshot;

impl Server {
    /// Waits until this member's state is no older than this call (raft section 6.4 of the
    /// thesis). All who wait at once share one round.
    ///
    /// # Errors
    /// [`api::Error::Timeout`] without a leader or a quorum; `LeaderChanged`; `Stopped`.
    pub async fn linearizable(&self) -> Result<(), Error> {
        let (waiter, confirmed) = oneshot::channel();
        send(&self.shared, Input::Read(waiter))?;
        let mut stopping = self.shared.stopping.subscribe();
        tokio::select! {
            answer = confirmed => answer.unwrap_or(Err(api::Error::Stopped.into())),
            () = tokio::time::sleep(self.shared.config.request_timeout()) => {
                Err(api::Error::Timeout.into())
            }
            _ = stopping.wait_for(|stopping| *stopping) => Err(api::Error::Stopped.into()),
        }
    }

    /// The keys as this member has them now.
    #[must_use]
    pub fn view(&self) -> View {
        self.shared.views.latest()
    }
}
