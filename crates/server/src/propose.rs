//! Requests that go through the log.
//!
//! A request is refused before it enters the log if applying lags too far behind, if it is too
//! large, or if the member stops; from then on it may be applied whatever its client is told.

use crate::driver::Input;
use crate::shared::Shared;
use crate::waiters::{Answer, Asked, Told, Waiter};
use crate::{Error, Server};
use api::etcdserverpb::{InternalRaftRequest, RequestHeader};
use apply::{Op, Reply};
use bytes::Bytes;
use crossbeam_channel::TrySendError;
use prost::Message as _;
use std::time::Duration;
use tokio::sync::oneshot;

/// Entries that may be committed and not applied; with more, new requests are refused.
const APPLY_LAG_MAX: u64 = 5000;

impl Server {
    /// Puts a request into the log and waits until it is applied here.
    ///
    /// # Errors
    /// What applying it came to; [`api::Error::TooManyRequests`], `RequestTooLarge`, `Timeout`,
    /// `Stopped`.
    pub async fn propose(&self, request: InternalRaftRequest) -> Result<Reply, Error> {
        let (waiter, answer) = waiter();
        self.submit(request, waiter);
        answered(answer).await
    }

    /// The same of what only a leader may ask for: others refuse it, and nobody passes it on.
    pub(crate) async fn propose_as_leader(
        &self,
        request: InternalRaftRequest,
    ) -> Result<Reply, Error> {
        let (waiter, answer) = waiter();
        self.shared.submit_as_leader(request, waiter);
        answered(answer).await
    }

    /// [`Server::propose`] for those who do not wait: the waiter is told what it came to, maybe at
    /// once.
    pub fn submit(&self, request: InternalRaftRequest, waiter: Waiter) {
        self.shared.submit(request, waiter);
    }

    /// Hands an input to the driver without waiting.
    pub(crate) fn tell(&self, input: Input) -> Result<(), Error> {
        self.shared.tell(input)
    }

    pub(crate) async fn wait_for(
        &self,
        id: u64,
        asked: Asked,
        input: Input,
    ) -> Result<Reply, Error> {
        let (waiter, answer) = waiter();
        self.shared.register(id, asked, input, waiter);
        answered(answer).await
    }

    /// Waits until it is sure that this member led after this call.
    pub(crate) async fn still_leads(&self) -> Result<(), Error> {
        let (waiter, answer) = waiter();
        self.shared.confirm_lead(waiter);
        answered(answer).await.map(drop)
    }
}

impl Shared {
    /// [`Server::submit`]; the request's id, or 0 if it was refused at once.
    pub(crate) fn submit(&self, request: InternalRaftRequest, waiter: Waiter) -> u64 {
        self.submit_with(request, waiter, |id, data| Input::Propose { id, data })
    }

    /// [`Server::propose_as_leader`].
    pub(crate) fn submit_as_leader(&self, request: InternalRaftRequest, waiter: Waiter) -> u64 {
        self.submit_with(request, waiter, |id, data| Input::ProposeAsLeader { id, data })
    }

    fn submit_with(
        &self,
        mut request: InternalRaftRequest,
        waiter: Waiter,
        input: impl FnOnce(u64, Bytes) -> Input,
    ) -> u64 {
        if self.committed() > self.applied_index() + APPLY_LAG_MAX {
            waiter(Told::at_once(Err(api::Error::TooManyRequests.into())));
            return 0;
        }
        let (id, op) = (self.ids.next(), Op::of(&request));
        request.header = Some(RequestHeader { id, ..RequestHeader::default() });
        let data = Bytes::from(request.encode_to_vec());
        if data.len() > self.config.max_request_bytes {
            // Compat: counts as a success, as what got into the log does.
            self.metrics.requests.of(op).took(true, Duration::ZERO);
            let answer = Err(api::Error::RequestTooLarge.into());
            waiter(Told { data, ..Told::at_once(answer) });
            return 0;
        }
        self.register(id, Asked::Entry(op, data.clone()), input(id, data), waiter);
        id
    }

    /// Hands an input to the driver, whose outcome the waiter is told.
    pub(crate) fn register(&self, id: u64, asked: Asked, input: Input, waiter: Waiter) {
        let times = (self.now(), self.config.request_timeout());
        if self.waiters.register(id, asked, times, waiter)
            && let Err(error) = self.tell(input)
        {
            self.waiters.complete(|| self.now(), [(id, Err(error))]);
        }
    }

    fn tell(&self, input: Input) -> Result<(), Error> {
        self.inbox.try_send(input).map_err(|error| match error {
            TrySendError::Full(_) => api::Error::TooManyRequests.into(),
            TrySendError::Disconnected(_) => api::Error::Stopped.into(),
        })
    }
}

/// A waiter for a task.
fn waiter() -> (Waiter, oneshot::Receiver<Answer>) {
    let (told, answer) = oneshot::channel();
    // A task that has gone meanwhile wants no answer.
    (Box::new(move |its| drop(told.send(its.answer))), answer)
}

async fn answered(answer: oneshot::Receiver<Answer>) -> Answer {
    answer.await.unwrap_or(Err(api::Error::Stopped.into()))
}
