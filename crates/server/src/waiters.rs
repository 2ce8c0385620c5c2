//! Who waits for which request to be applied.
//!
//! Any task registers before it proposes; the apply stage completes what it applied. A waiter
//! that gave up has taken itself out: [`Waiting`] does it when dropped.

use crate::Error;
use apply::Reply;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// What a request comes to.
pub(crate) type Answer = Result<Reply, Error>;

/// The registry. Requests are looked up and never listed, so that no order can show.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    by_id: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
}

/// A request that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    id: u64,
    waiters: Arc<Waiters>,
    pub(crate) answer: oneshot::Receiver<Answer>,
}

impl Waiters {
    pub(crate) fn register(self: &Arc<Self>, id: u64) -> Waiting {
        let (sender, answer) = oneshot::channel();
        self.lock().insert(id, sender);
        Waiting { id, waiters: Arc::clone(self), answer }
    }

    /// Whether somebody here waits for the request: if not, its reply need not be made.
    pub(crate) fn waits(&self, id: u64) -> bool {
        self.lock().contains_key(&id)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn complete(&self, id: u64, answer: Answer) {
        let waiter = self.lock().remove(&id);
        if let Some(waiter) = waiter {
            // One that has gone meanwhile wants no answer.
            let _ = waiter.send(answer);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        // The map is whole between any two operations on it.
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.waiters.lock().remove(&self.id);
    }
}
