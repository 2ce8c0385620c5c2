//! Requests that go through the log.
//!
//! A request is refused before it enters the log if applying lags too far behind, if it is too
//! large, or if the member stops; from then on it may be applied whatever its client is told.

use crate::driver::Input;
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

    /// The same for those who do not wait: the waiter is told what it came to, maybe at once.
    pub fn submit(&self, mut request: InternalRaftRequest, waiter: Waiter) {
        let shared = &self.shared;
        if shared.committed() > shared.applied_index() + APPLY_LAG_MAX {
            return waiter(Told::at_once(Err(api::Error::TooManyRequests.into())));
        }
        let (id, op) = (shared.ids.next(), Op::of(&request));
        request.header = Some(RequestHeader { id, ..RequestHeader::default() });
        let data = Bytes::from(request.encode_to_vec());
        if data.len() > shared.config.max_request_bytes {
            // Compat: counts as a success, as what got into the log does.
            shared.metrics.requests.of(op).took(true, Duration::ZERO);
            let answer = Err(api::Error::RequestTooLarge.into());
            return waiter(Told { data, ..Told::at_once(answer) });
        }
        let asked = Asked::Entry(op, data.clone());
        self.register(id, asked, Input::Propose { id, data }, waiter);
    }

    /// Hands an input to the driver, whose outcome the waiter is told.
    pub(crate) fn register(&self, id: u64, asked: Asked, input: Input, waiter: Waiter) {
        let shared = &self.shared;
        let times = (shared.now(), shared.config.request_timeout());
        if shared.waiters.register(id, asked, times, waiter)
            && let Err(error) = self.tell(input)
        {
            shared.waiters.complete(|| shared.now(), [(id, Err(error))]);
        }
    }

    /// Hands an input to the driver without waiting.
    pub(crate) fn tell(&self, input: Input) -> Result<(), Error> {
        self.shared.inbox.try_send(input).map_err(|error| match error {
            TrySendError::Full(_) => api::Error::TooManyRequests.into(),
            TrySendError::Disconnected(_) => api::Error::Stopped.into(),
        })
    }

    pub(crate) async fn wait_for(
        &self,
        id: u64,
        asked: Asked,
        input: Input,
    ) -> Result<Reply, Error> {
        let (waiter, answer) = waiter();
        self.register(id, asked, input, waiter);
        answered(answer).await
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
