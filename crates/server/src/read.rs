//! Reads: of the present, agreed with a quorum, or of what this member has.

use crate::driver::Input;
use crate::propose::send;
use crate::{Error, Server, describe};
use mvcc::View;
use std::sync::atomic::Ordering;
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
                self.read_timed_out();
                Err(api::Error::Timeout.into())
            }
            _ = stopping.wait_for(|stopping| *stopping) => Err(api::Error::Stopped.into()),
        }
    }

    /// Of all that wait for one round and give up together, one counts and is logged.
    fn read_timed_out(&self) {
        let (shared, timeout) = (&self.shared, self.shared.config.request_timeout());
        let now = u64::try_from(shared.now().as_millis()).unwrap_or(u64::MAX);
        let last = shared.read_timed_out.load(Ordering::Relaxed);
        let again = u128::from(now - last.min(now)) < timeout.as_millis() && last > 0;
        let swapped = shared.read_timed_out.compare_exchange(
            last,
            now.max(1),
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
        if !again && swapped.is_ok() {
            shared.metrics.reads_slow.inc();
            tracing::warn!(
                timeout = describe::duration(timeout),
                "timed out waiting for read index response (local node might have slow network)"
            );
        }
    }

    /// The keys as this member has them now.
    #[must_use]
    pub fn view(&self) -> View {
        self.shared.views.latest()
    }
}
