//! Requests that go through the log.
//!
//! A request is refused before it enters the log if applying lags too far behind, if it is too
//! large, or if the member stops; from then on it may be applied whatever its client is told.

use crate::driver::Input;
use crate::shared::Shared;
use crate::{Error, Server};
use api::etcdserverpb::{InternalRaftRequest, RequestHeader};
use apply::Reply;
use crossbeam_channel::TrySendError;
use prost::Message as _;

/// Entries that may be committed and not applied; with more, new requests are refused.
const APPLY_LAG_MAX: u64 = 5000;

impl Server {
    /// Puts a request into the log and waits until it is applied here.
    ///
    /// # Errors
    /// What applying it came to; [`api::Error::TooManyRequests`], `RequestTooLarge`, `Timeout`,
    /// `Stopped`.
    pub async fn propose(&self, mut request: InternalRaftRequest) -> Result<Reply, Error> {
        let shared = &self.shared;
        if shared.committed() > shared.applied_index() + APPLY_LAG_MAX {
            return Err(api::Error::TooManyRequests.into());
        }
        let id = shared.ids.next();
        request.header = Some(RequestHeader { id, ..RequestHeader::default() });
        let data = request.encode_to_vec();
        if data.len() > shared.config.max_request_bytes {
            return Err(api::Error::RequestTooLarge.into());
        }
        self.wait_for(id, Input::Propose { id, data: data.into() }).await
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
