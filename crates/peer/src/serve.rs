//! Serves the peer port: the peer protocol, and what else a server has there.

use crate::handler::{ResponseBody, not_found};
use crate::seam::BoxFuture;
use crate::transport::Transport;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// Connections to the peer port at once, at most; more are closed. A member has less than ten to
/// each other one, so that this guards against strangers only.
pub const CONNECTIONS_MAX: usize = 512;

/// Connections from peers.
pub trait Accept {
    /// The next connection; `None` once no more are taken.
    fn accept(&mut self) -> impl Future<Output = io::Result<Option<net::Incoming>>> + Send;
}

/// Answers requests for other paths than the peer protocol's; `None` if there is nothing there.
pub trait Others: Clone + Send + Sync + 'static {
    /// Answers one.
    fn answer(&self, request: Request<Incoming>) -> BoxFuture<'_, Option<Response<ResponseBody>>>;
}

/// Nothing but the peer protocol.
#[derive(Debug, Clone, Copy)]
pub struct NoOthers;

impl Others for NoOthers {
    fn answer(&self, _: Request<Incoming>) -> BoxFuture<'_, Option<Response<ResponseBody>>> {
        Box::pin(std::future::ready(None))
    }
}

impl Transport {
    /// Serves connections until there are no more, then closes them all.
    ///
    /// # Errors
    /// If accepting fails.
    pub async fn serve(&self, mut listener: impl Accept, others: impl Others) -> io::Result<()> {
        let mut connections = JoinSet::new();
        while let Some(incoming) = listener.accept().await? {
            while connections.try_join_next().is_some() {}
            if connections.len() >= CONNECTIONS_MAX {
                warn!("closed a connection: there are {CONNECTIONS_MAX} to the peer port");
                continue;
            }
            connections.spawn(serve_connection(self.clone(), others.clone(), incoming));
        }
        connections.shutdown().await;
        Ok(())
    }
}

async fn serve_connection(transport: Transport, others: impl Others, incoming: net::Incoming) {
    let Ok(stream) = incoming.open().await else { return };
    let read_timeout = transport.shared.settings.read_timeout;
    let service = service_fn(|request| {
        let (transport, others) = (transport.clone(), others.clone());
        async move {
            let request = match transport.handle(request).await {
                Ok(response) => return Ok::<_, Infallible>(response),
                Err(other) => *other,
            };
            Ok(match others.answer(request).await {
                Some(mut response) => {
                    transport.shared.local.response_headers(response.headers_mut());
                    response
                }
                None => not_found(&transport.shared),
            })
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(read_timeout)
        // Compat: scripts look for headers as Go spells them.
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.await {
        debug!(%error, "a peer's connection ended");
    }
}
