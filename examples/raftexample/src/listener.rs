//! The peer port: a listener that keeps idle connections honest and can be told to stop.

use std::io;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::warn;

/// Accepts connections until it is told to stop.
pub struct StoppableListener {
    listener: TcpListener,
    stop: watch::Receiver<bool>,
}

/// A peer that vanished without a word is noticed after about this long without traffic.
const KEEPALIVE: Duration = Duration::from_secs(180);

impl StoppableListener {
    /// Listens on `address`, a host and port, until `stop` turns true.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub async fn bind(address: &str, stop: watch::Receiver<bool>) -> io::Result<StoppableListener> {
        Ok(StoppableListener { listener: TcpListener::bind(address).await?, stop })
    }
}

impl peer::Accept for StoppableListener {
    async fn accept(&mut self) -> io::Result<Option<peer::Incoming>> {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = self.stop.wait_for(|stop| *stop) => return Ok(None),
            };
            match accepted {
                Ok((stream, _)) => {
                    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
                    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                    return Ok(Some(stream.into()));
                }
                // The peer was gone before it was accepted: its affair, not this node's.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {
                    warn!(%error, "a connection ended before it was accepted");
                }
                Err(error) => return Err(error),
            }
        }
    }
}
