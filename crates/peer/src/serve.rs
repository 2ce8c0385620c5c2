//! Serves the peer port where nothing else is served on it. A server with other paths there
//! calls [`Transport::handle`] from its own.

use crate::handler::not_found;
use crate::stream::SILENCE_MAX;
use crate::transport::Transport;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tracing::debug;

/// Connections from peers.
pub trait Accept {
    /// The next connection; `None` once no more are taken.
    fn accept(&mut self) -> impl Future<Output = io::Result<Option<TcpStream>>> + Send;
}

impl Transport {
    /// Serves connections until there are no more, then closes them all.
    ///
    /// # Errors
    /// If accepting fails.
    pub async fn serve(&self, mut listener: impl Accept) -> io::Result<()> {
        let mut connections = JoinSet::new();
        while let Some(stream) = listener.accept().await? {
            while connections.try_join_next().is_some() {}
            connections.spawn(serve_connection(self.clone(), stream));
        }
        connections.shutdown().await;
        Ok(())
    }
}

async fn serve_connection(transport: Transport, stream: TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "cannot set TCP_NODELAY");
    }
    let service = service_fn(|request| {
        let transport = transport.clone();
        async move {
            let response = transport.handle(request).await;
            Ok::<_, Infallible>(response.unwrap_or_else(|_| not_found(&transport.shared)))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(SILENCE_MAX)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = serving.await {
        debug!(%error, "a peer's connection ended");
    }
}
