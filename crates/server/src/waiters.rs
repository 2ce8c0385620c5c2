//! Who waits for what: for a request to be applied, or a read to be confirmed.
//!
//! Any thread registers before it asks; whoever did what was asked completes it. Each waiter is
//! called exactly once: with what it came to, with a timeout, or because the member stops. It is
//! called on the thread that did the work, which others wait for: it hands on and never waits.

use crate::Error;
use crate::metrics::Metrics;
use apply::{Op, Reply};
use bytes::Bytes;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a request comes to.
pub type Answer = Result<Reply, Error>;

/// What a waiter is told.
#[derive(Debug)]
pub struct Told {
    /// What the request came to.
    pub answer: Answer,
    /// How long that took.
    pub took: Duration,
    /// The encoded `InternalRaftRequest`; empty for a read, and for what was refused at once.
    pub data: Bytes,
}

impl Told {
    /// Of a request that did not get anywhere.
    pub(crate) fn at_once(answer: Answer) -> Self {
        Self { answer, took: Duration::ZERO, data: Bytes::new() }
    }
}

/// Is told what a request came to.
pub type Waiter = Box<dyn FnOnce(Told) + Send>;

/// What is waited for.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    /// A request of this kind in the log, encoded.
    Entry(Op, Bytes),
    /// A change of members.
    Change,
    /// That a read is of the present.
    Read,
}

/// The registry. Requests are looked up and never listed, so that no order can show.
pub(crate) struct Waiters {
    state: Mutex<State>,
    metrics: Arc<Metrics>,
}

struct Waiting {
    asked: Asked,
    /// On the member's clock.
    began: Duration,
    waiter: Waiter,
}

#[derive(Default)]
struct State {
    by_id: FxHashMap<u64, Waiting>,
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
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self { state: Mutex::default(), metrics }
    }

    /// Registers a waiter, to be told of a timeout `patience` after `now`. If the member stops it
    /// is told at once; whether it waits.
    pub(crate) fn register(
        &self,
        id: u64,
        asked: Asked,
        (now, patience): (Duration, Duration),
        waiter: Waiter,
    ) -> bool {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            waiter(Told::at_once(Err(api::Error::Stopped.into())));
            return false;
        }
        state.by_id.insert(id, Waiting { asked, began: now, waiter });
        state.deadlines.push_back((now + patience, id));
        true
    }

    /// How many wait for a request in the log.
    pub(crate) fn pending(&self) -> usize {
        let state = self.lock();
        state.by_id.values().filter(|waiting| matches!(waiting.asked, Asked::Entry(..))).count()
    }

    /// Whether somebody here waits for the request: if not, its reply need not be made.
    pub(crate) fn waits(&self, id: u64) -> bool {
        self.lock().by_id.contains_key(&id)
    }

    /// Tells those who wait for these; answers nobody waits for any more are dropped. The clock is
    /// looked at once for all of them, and not at all if there are none.
    pub(crate) fn complete(
        &self,
        now: impl FnOnce() -> Duration,
        answers: impl IntoIterator<Item = (u64, Answer)>,
    ) {
        let mut answers = answers.into_iter().peekable();
        if answers.peek().is_none() {
            return;
        }
        let mut state = self.lock();
        let told: Vec<(Waiting, Answer)> =
            answers.filter_map(|(id, answer)| Some((state.by_id.remove(&id)?, answer))).collect();
        drop(state);
        let now = now();
        told.into_iter().for_each(|(waiting, answer)| self.tell(waiting, now, answer));
    }

    /// Tells those whose time is over. Whether a read was among them.
    pub(crate) fn expire(&self, now: Duration) -> bool {
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
        let reads = late.iter().any(|waiting| matches!(waiting.asked, Asked::Read));
        let timeout = || Err(api::Error::Timeout.into());
        late.into_iter().for_each(|waiting| self.tell(waiting, now, timeout()));
        reads
    }

    /// Tells all, and all who come, that the member stops.
    pub(crate) fn close(&self, now: Duration) {
        let mut state = self.lock();
        state.closed = true;
        state.deadlines.clear();
        let waiting = std::mem::take(&mut state.by_id);
        drop(state);
        let stopped = || Err(api::Error::Stopped.into());
        waiting.into_values().for_each(|waiting| self.tell(waiting, now, stopped()));
    }

    fn tell(&self, waiting: Waiting, now: Duration, answer: Answer) {
        let Waiting { asked, began, waiter } = waiting;
        let took = now.saturating_sub(began);
        let data = match asked {
            Asked::Entry(op, data) => {
                let dropped = matches!(
                    answer,
                    Err(Error::Api(api::Error::TooManyRequests) | Error::Other(_))
                );
                if dropped || matches!(answer, Err(Error::Api(api::Error::Timeout))) {
                    self.metrics.proposals_failed.inc();
                }
                // Compat: what got into the log counts as a success, whatever it came to.
                self.metrics.requests.of(op).took(!dropped, took);
                data
            }
            Asked::Change | Asked::Read => Bytes::new(),
        };
        waiter(Told { answer, took, data });
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
        let waiter = Box::new(move |its: Told| told.send(its.answer).expect("the test listens"));
        let asked = Asked::Entry(Op::Put, Bytes::new());
        waiters.register(id, asked, (Duration::ZERO, Duration::from_secs(deadline)), waiter);
        answer
    }

    #[test]
    fn each_is_told_once() {
        let metrics = Arc::<Metrics>::default();
        let waiters = Waiters::new(Arc::clone(&metrics));
        let (first, second) = (register(&waiters, 1, 7), register(&waiters, 2, 8));
        let third = register(&waiters, 3, 9);
        assert!(waiters.waits(1));
        let at = |seconds| move || Duration::from_secs(seconds);
        assert_eq!(waiters.pending(), 3);
        waiters.complete(at(1), [(1, Ok(Reply::Done)), (77, Ok(Reply::Done))]);
        assert_eq!(first.try_recv().expect("told").expect("answered"), Reply::Done);
        assert!(!waiters.waits(1));
        waiters.expire(Duration::from_secs(7));
        assert!(second.try_recv().is_err(), "its time is not over");
        waiters.expire(Duration::from_secs(8));
        let late = second.try_recv().expect("told").expect_err("late");
        assert!(matches!(late, Error::Api(api::Error::Timeout)));
        waiters.complete(at(8), [(2, Ok(Reply::Done))]);
        waiters.close(Duration::from_secs(8));
        let stopped = third.try_recv().expect("told").expect_err("stopped");
        assert!(matches!(stopped, Error::Api(api::Error::Stopped)));
        let fourth = register(&waiters, 4, 9);
        let stopped = fourth.try_recv().expect("told").expect_err("stopped");
        assert!(matches!(stopped, Error::Api(api::Error::Stopped)));
        // Compat: only what never got into the log is a failure of the request.
        let requests = metrics.requests.of(Op::Put);
        let (good, bad) = (requests.good.read(), requests.bad.read());
        assert_eq!((good.count, good.sum, bad.count), (3, 1.0 + 8.0 + 8.0, 0));
        assert_eq!(metrics.proposals_failed.get(), 1);
    }
}
