//! Requests that go through the log.
//!
//! A request is refused before it enters the log if applying lags too far behind, if it is too
//! large, or if the member stops; from then on it may be applied whatever its client is told.

use crate::driver::Input;
use crate::shared::Shared;
use crate::{Error, Server};
use api::etcdserverpb::{InternalRaftRequest, RequestHeader};
use apply::{Op, Reply};
use bytes::Bytes;
use crossbeam_channel::TrySendError;
use prost::Message as _;
use std::time::{Duration, Instant};

/// Entries that may be committed and not applied; with more, new requests are refused.
const APPLY_LAG_MAX: u64 = 5000;

/// A request that went through the log, or was refused on the way.
#[derive(Debug)]
pub struct Proposed {
    /// What it came to.
    pub reply: Result<Reply, Error>,
    /// How long that took.
    pub took: Duration,
    /// The encoded `InternalRaftRequest`; empty if it was refused at once.
    pub data: Bytes,
}

impl Server {
    /// Puts a request into the log and waits until it is applied here.
    ///
    /// # Errors
    /// What applying it came to; [`api::Error::TooManyRequests`], `RequestTooLarge`, `Timeout`,
    /// `Stopped`.
    pub async fn propose(&self, request: InternalRaftRequest) -> Result<Reply, Error> {
        self.propose_timed(request).await.reply
    }

    /// The same, with what a log line of it needs.
    pub async fn propose_timed(&self, mut request: InternalRaftRequest) -> Proposed {
        let shared = &self.shared;
        if shared.committed() > shared.applied_index() + APPLY_LAG_MAX {
            let reply = Err(api::Error::TooManyRequests.into());
            return Proposed { reply, took: Duration::ZERO, data: Bytes::new() };
        }
        let (began, op) = (Instant::now(), Op::of(&request));
        let id = shared.ids.next();
        request.header = Some(RequestHeader { id, ..RequestHeader::default() });
        let data = Bytes::from(request.encode_to_vec());
        let reply = if data.len() > shared.config.max_request_bytes {
            Err(api::Error::RequestTooLarge.into())
        } else {
            self.wait_for(id, Input::Propose { id, data: data.clone() }).await
        };
        let took = began.elapsed();
        let dropped =
            matches!(reply, Err(Error::Api(api::Error::TooManyRequests) | Error::Other(_)));
        if dropped || matches!(reply, Err(Error::Api(api::Error::Timeout))) {
            shared.metrics.proposals_failed.inc();
        }
        // Compat: what got into the log counts as a success, whatever it came to.
        shared.metrics.requests.of(op).took(!dropped, took);
        Proposed { reply, took, data }
    }

    pub(crate) async fn wait_for(&self, id: u64, input: Input) -> Result<Reply, Error> {
        let shared = &self.shared;
        let mut waiting = shared.waiters.register(id);
        send(shared, input)?;
        let mut stopping = shared.stopping.subscribe();
        tokio::select! {
            answer = &mut waiting.answer => answer.unwrap_or(Err(api::Error::Stopped.into())),
            () = tokio::time::sleep(shared.config.request_timeout()) => {
                Err(api::Error::Timeout.into())
            }
            _ = stopping.wait_for(|stopping| *stopping) => Err(api::Error::Stopped.into()),
        }
    }
}

/// Hands an input to the driver without waiting.
pub(crate) fn send(shared: &Shared, input: Input) -> Result<(), Error> {
    shared.inbox.try_send(input).map_err(|error| match error {
        TrySendError::Full(_) => api::Error::TooManyRequests.into(),
        TrySendError::Disconnected(_) => api::Error::Stopped.into(),
    })
}
