//! Who waits for what: for a request to be applied, or a read to be confirmed.
//!
//! Any thread registers before it asks; whoever did what was asked completes it. Each waiter is
//! called exactly once: with what it came to, with a timeout, or because the member stops. It is
//! called on the thread that did the work, which others wait for: it hands on and never waits.

use crate::Error;
use apply::Reply;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a request comes to.
pub type Answer = Result<Reply, Error>;

/// Is told what a request came to.
pub type Waiter = Box<dyn FnOnce(Answer) + Send>;

/// The registry. Requests are looked up and never listed, so that no order can show.
#[derive(Default)]
pub(crate) struct Waiters {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    by_id: FxHashMap<u64, Waiter>,
    /// When each may be told that it took too long, ascending: all may take as long. Those that
    /// were told already are passed over.
    deadlines: VecDeque<(Duration, u64)>,
    closed: bool,
}

impl std::fmt::Debug for Waiters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiters").field("waiting", &self.lock().by_id.len()).finish()
    }
}

impl Waiters {
    /// Registers a waiter, to be told of a timeout at `deadline` on the member's clock. If the
    /// member stops it is told at once; whether it waits.
    pub(crate) fn register(&self, id: u64, deadline: Duration, waiter: Waiter) -> bool {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            waiter(Err(api::Error::Stopped.into()));
            return false;
        }
        state.by_id.insert(id, waiter);
        state.deadlines.push_back((deadline, id));
        true
    }

    /// Whether somebody here waits for the request: if not, its reply need not be made.
    pub(crate) fn waits(&self, id: u64) -> bool {
        self.lock().by_id.contains_key(&id)
    }

    /// Tells those who wait for these; answers nobody waits for any more are dropped.
    pub(crate) fn complete(&self, answers: impl IntoIterator<Item = (u64, Answer)>) {
        let mut answers = answers.into_iter().peekable();
        if answers.peek().is_none() {
            return;
        }
        let mut state = self.lock();
        let told: Vec<(Waiter, Answer)> =
            answers.filter_map(|(id, answer)| Some((state.by_id.remove(&id)?, answer))).collect();
        drop(state);
        told.into_iter().for_each(|(waiter, answer)| waiter(answer));
    }

    /// Tells those whose time is over.
    pub(crate) fn expire(&self, now: Duration) {
        let mut state = self.lock();
        let mut late = Vec::new();
        while let Some(&(deadline, id)) = state.deadlines.front() {
            // What was answered needs no deadline, however far it is.
            let Some(waiter) = state.by_id.get(&id).is_none_or(|_| deadline <= now).then_some(id)
            else {
                break;
            };
            state.deadlines.pop_front();
            late.extend(state.by_id.remove(&waiter));
        }
        drop(state);
        late.into_iter().for_each(|waiter| waiter(Err(api::Error::Timeout.into())));
    }

    /// Tells all, and all who come, that the member stops.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.deadlines.clear();
        let waiting = std::mem::take(&mut state.by_id);
        drop(state);
        waiting.into_values().for_each(|waiter| waiter(Err(api::Error::Stopped.into())));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is whole between any two operations on it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, sync_channel};

    fn register(waiters: &Waiters, id: u64, deadline: u64) -> Receiver<Answer> {
        let (told, answer) = sync_channel(1);
        let waiter = Box::new(move |answer| told.send(answer).expect("the test listens"));
        waiters.register(id, Duration::from_secs(deadline), waiter);
        answer
    }

    #[test]
    fn each_is_told_once() {
        let waiters = Waiters::default();
        let (first, second) = (register(&waiters, 1, 7), register(&waiters, 2, 8));
        let third = register(&waiters, 3, 9);
        assert!(waiters.waits(1));
        waiters.complete([(1, Ok(Reply::Done)), (77, Ok(Reply::Done))]);
        assert_eq!(first.try_recv().expect("told").expect("answered"), Reply::Done);
        assert!(!waiters.waits(1));
        waiters.expire(Duration::from_secs(7));
        assert!(second.try_recv().is_err(), "its time is not over");
        waiters.expire(Duration::from_secs(8));
        let late = second.try_recv().expect("told").expect_err("late");
        assert!(matches!(late, Error::Api(api::Error::Timeout)));
        waiters.complete([(2, Ok(Reply::Done))]);
        waiters.close();
        let stopped = third.try_recv().expect("told").expect_err("stopped");
        assert!(matches!(stopped, Error::Api(api::Error::Stopped)));
        let fourth = register(&waiters, 4, 9);
        let stopped = fourth.try_recv().expect("told").expect_err("stopped");
        assert!(matches!(stopped, Error::Api(api::Error::Stopped)));
    }
}
