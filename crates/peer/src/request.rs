//! One request to a peer on a connection of its own: streams and snapshots, which last.

use crate::member::Member;
use crate::url::PeerUrl;
use bytes::Bytes;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::error::Error;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The connection was not made in time.
    #[error("connecting took longer than {0:?}")]
    Timeout(std::time::Duration),
    /// The connection was not made.
    #[error("connecting failed: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection broke.
    #[error("the request failed: {0}")]
    Http(#[from] hyper::Error),
}

/// A response, and the task that drives its connection. The connection lives as long as this.
pub(crate) struct Exchange {
    pub(crate) response: Response<Incoming>,
    connection: JoinHandle<()>,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.abort();
    }
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
    let limit = member.dial_timeout;
    let stream = timeout(limit, TcpStream::connect(url.authority()))
        .await
        .map_err(|_| RequestError::Timeout(limit))??;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(async move {
        // Whoever waits for the response, or reads its body, learns of the error there.
        let _ = connection.await;
    });
    match sender.send_request(request).await {
        Ok(response) => Ok(Exchange { response, connection }),
        Err(error) => {
            connection.abort();
            Err(error.into())
        }
    }
}
