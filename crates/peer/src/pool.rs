//! Short requests to one member, on connections that are kept for further ones.
//!
//! Not for streams and snapshots, which have connections of their own (`request.rs`). Invariant: a
//! connection that is kept has no request under way, and nothing of an answer left to read.

use crate::member::{Member, lock};
use crate::request::{AbortOnDrop, dial, told};
use crate::url::PeerUrl;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper::header::{HOST, HeaderValue};
use hyper::{Request, Response};
use std::sync::Mutex;

/// Connections kept to one member, at most: as many as there are requests at once.
const IDLE_MAX: usize = 8;

/// Bytes of an answer that only says how it went, at most.
const ANSWER_BYTES_MAX: usize = 1024;

/// Connections to one member.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Connection>>,
}

struct Connection {
    url: PeerUrl,
    sender: SendRequest<Full<Bytes>>,
    driver: AbortOnDrop,
}

impl Pool {
    /// Sends a request to `url`, and reads the whole answer, which is short. The error is for
    /// people.
    pub(crate) async fn ask(
        &self,
        member: &Member,
        url: &PeerUrl,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, String> {
        self.ask_much(member, url, request, ANSWER_BYTES_MAX).await
    }

    /// The same, for an answer of `bytes_max` at most.
    pub(crate) async fn ask_much(
        &self,
        member: &Member,
        url: &PeerUrl,
        mut request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<Response<Bytes>, String> {
        let host = HeaderValue::from_str(url.host_header()).map_err(|error| error.to_string())?;
        request.headers_mut().insert(HOST, host);
        // One that was kept may be closed at the other end meanwhile; then the request comes back.
        while let Some(mut connection) = self.take(url) {
            match connection.sender.try_send_request(request).await {
                Ok(response) => return self.finish(connection, response, bytes_max).await,
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(told(&error.into_error())),
                },
            }
        }
        let dialled = dial(&member.settings, url).await;
        let (mut sender, driver) = dialled.map_err(|error| told(&error))?;
        let response = sender.send_request(request).await.map_err(|error| told(&error))?;
        self.finish(Connection { url: url.clone(), sender, driver }, response, bytes_max).await
    }

    async fn finish(
        &self,
        mut connection: Connection,
        response: Response<hyper::body::Incoming>,
        bytes_max: usize,
    ) -> Result<Response<Bytes>, String> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, bytes_max).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        if connection.sender.ready().await.is_ok() {
            let mut idle = lock(&self.idle);
            if idle.len() < IDLE_MAX {
                idle.push(connection);
            }
        }
        Ok(Response::from_parts(head, body))
    }

    /// One that is kept to `url`; those to other URLs are of no more use.
    fn take(&self, url: &PeerUrl) -> Option<Connection> {
        let mut idle = lock(&self.idle);
        idle.retain(|kept| {
            kept.url == *url && !kept.sender.is_closed() && !kept.driver.has_ended()
        });
        idle.pop()
    }
}
