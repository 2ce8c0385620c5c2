//! Connections to peers, and one request on a connection of its own: streams and snapshots, which
//! last.

use crate::member::Member;
use crate::settings::Settings;
use crate::url::PeerUrl;
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::error::Error;
use tokio::task::JoinHandle;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The connection was not made.
    #[error("connecting failed: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection broke.
    #[error("the request failed")]
    Http(#[from] hyper::Error),
}

/// A response, and the task that drives its connection. The connection lives as long as this.
pub(crate) struct Exchange {
    pub(crate) response: Response<Incoming>,
    _connection: AbortOnDrop,
}

/// A task that drives a connection; it ends with this.
pub(crate) struct AbortOnDrop(JoinHandle<()>);

impl AbortOnDrop {
    pub(crate) fn has_ended(&self) -> bool {
        self.0.is_finished()
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects to `url`.
pub(crate) async fn dial<B>(
    settings: &Settings,
    url: &PeerUrl,
) -> Result<(SendRequest<B>, AbortOnDrop), RequestError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let stream = settings.dialer.connect(url.address(), settings.dial_timeout).await?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(async move {
        // Whoever waits for the response, or reads its body, learns of the error there.
        let _ = connection.await;
    });
    Ok((sender, AbortOnDrop(connection)))
}

/// Connects to `url` and sends `request` there.
pub(crate) async fn send<B>(
    member: &Member,
    url: &PeerUrl,
    request: Request<B>,
) -> Result<Exchange, RequestError>
where
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (mut sender, connection) = dial(&member.settings, url).await?;
    let response = sender.send_request(request).await?;
    Ok(Exchange { response, _connection: connection })
}

/// An error and what caused it, in one line.
pub(crate) fn told(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let why = error.to_string();
        if !text.contains(&why) {
            text = format!("{text}: {why}");
        }
        cause = error.source();
    }
    text
}
