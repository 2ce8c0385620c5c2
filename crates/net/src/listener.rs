//! Listening: TCP or a unix socket, plain, within TLS, or either.
//!
//! A connection that was accepted is an [`Incoming`] first. Opening it may take a handshake, which
//! belongs into the connection's own task: who dawdles holds up nobody else.

use crate::acceptor::{Acceptor, Rejected};
use crate::stream::Socket;
use crate::{Error, Place, Stream};
use rustix::net::{RecvFlags, recv};
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::{TcpListener, TcpSocket, UnixListener, lookup_host};
use tokio::time::timeout;

/// A handshake may take so long (etcd's `tlsHandshakeTimeout`), and so may the first byte where
/// that decides whether there is one.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// A client that was rejected has so long to hear of it.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// Bytes it may send meanwhile.
const LINGER_BYTES_MAX: u64 = 64 << 10;

/// Who vanished without a word is looked for after so long, and then each time that much later.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Connections that wait to be accepted, at most; the system may allow fewer.
const BACKLOG: u32 = 4096;

/// The first byte of TLS: a record that is a handshake's.
const TLS_HANDSHAKE: u8 = 0x16;

/// Whose port it is: logs tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// Clients'.
    Client,
    /// Other members'.
    Peer,
}

/// How connections are secured.
#[derive(Debug, Clone)]
pub enum Security {
    /// Not at all.
    Plain,
    /// By TLS.
    Tls(Arc<Acceptor>),
    /// By TLS if the client begins with it. Compat: etcd does so where one port is listed both as
    /// `http` and as `https`.
    Either(Arc<Acceptor>),
}

/// Options of TCP sockets that are listened on. That an address can be listened on which was in
/// use a moment ago (`SO_REUSEADDR`) is none: as in Go it always can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// Whether others may listen on the same port.
    pub reuse_port: bool,
}

/// A place that is listened on. A unix socket's file goes away with it.
#[derive(Debug)]
pub struct Listener {
    listening: Listening,
    security: Security,
}

#[derive(Debug)]
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener, PathBuf),
}

/// A connection that was accepted, and is to be opened.
#[derive(Debug)]
pub struct Incoming {
    socket: Socket,
    from: Option<SocketAddr>,
    security: Security,
}

impl Listener {
    /// Listens on a place.
    ///
    /// # Errors
    /// [`Error::Listen`].
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn bind(
        place: &Place,
        options: SocketOptions,
        security: Security,
    ) -> Result<Listener, Error> {
        let listening = match place {
            Place::Tcp(authority) => bind_tcp(authority, options).await.map(Listening::Tcp),
            Place::Unix(path) => {
                bind_unix(path).map(|socket| Listening::Unix(socket, path.clone()))
            }
        };
        let shown = || match place {
            Place::Tcp(authority) => format!("tcp {authority}"),
            Place::Unix(path) => format!("unix {}", path.display()),
        };
        let listening = listening.map_err(|source| Error::Listen { place: shown(), source })?;
        Ok(Listener { listening, security })
    }

    /// Where it listens: host and port, or the path of a socket.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn local_address(&self) -> io::Result<String> {
        match &self.listening {
            Listening::Tcp(listener) => Ok(listener.local_addr()?.to_string()),
            Listening::Unix(_, path) => Ok(path.display().to_string()),
        }
    }

    /// Waits for the next connection.
    ///
    /// # Errors
    /// If the system cannot give one now; it may later.
    pub async fn accept(&self) -> io::Result<Incoming> {
        let security = self.security.clone();
        match &self.listening {
            Listening::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
                let set = SockRef::from(&stream).set_tcp_keepalive(&keepalive);
                if let Err(error) = set.and_then(|()| stream.set_nodelay(true)) {
                    tracing::debug!(%error, "cannot set options of a connection");
                }
                Ok(Incoming { socket: Socket::Tcp(stream), from: Some(from), security })
            }
            Listening::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(Incoming { socket: Socket::Unix(stream), from: None, security })
            }
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Listening::Unix(_, path) = &self.listening {
            // Somebody may have removed it.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl From<tokio::net::TcpStream> for Incoming {
    /// A plain connection, accepted elsewhere.
    fn from(stream: tokio::net::TcpStream) -> Incoming {
        let from = stream.peer_addr().ok();
        Incoming { socket: Socket::Tcp(stream), from, security: Security::Plain }
    }
}

impl Incoming {
    /// Opens it: the handshake, if there is one.
    ///
    /// # Errors
    /// If it was rejected, or nothing came; who was rejected and why has been logged.
    pub async fn open(self) -> io::Result<Stream> {
        let acceptor = match &self.security {
            Security::Plain => return Ok(Stream::plain(self.socket)),
            Security::Tls(acceptor) => Arc::clone(acceptor),
            Security::Either(acceptor) => {
                let acceptor = Arc::clone(acceptor);
                let first = timeout(HANDSHAKE_MAX, self.socket.first_byte()).await;
                match first.map_err(|_| io::ErrorKind::TimedOut)?? {
                    Some(TLS_HANDSHAKE) => acceptor,
                    Some(_) => return Ok(Stream::plain(self.socket)),
                    None => return Err(io::ErrorKind::UnexpectedEof.into()),
                }
            }
        };
        let from = self.from;
        let handshake = acceptor.accept(self.socket, from.map(|from| from.ip()));
        let rejected = match timeout(HANDSHAKE_MAX, handshake).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(rejected)) => rejected,
            Err(_) => Rejected {
                error: io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long"),
                server_name: String::new(),
                certificate: None,
                socket: None,
            },
        };
        log(&rejected, from, acceptor.endpoint());
        if let Some(socket) = rejected.socket {
            // If it takes longer, the client is not listening.
            let _ = timeout(LINGER_MAX, linger(socket)).await;
        }
        Err(rejected.error)
    }

    /// Where it comes from; `None` on a unix socket.
    #[must_use]
    pub fn remote_address(&self) -> Option<SocketAddr> {
        self.from
    }
}

impl Socket {
    /// The first byte that comes, which is left where it is; `None` if none does.
    async fn first_byte(&self) -> io::Result<Option<u8>> {
        let mut byte = [0];
        let (read, _) = match self {
            Socket::Tcp(stream) => {
                let peek = || Ok(recv(stream, &mut byte, RecvFlags::PEEK)?);
                stream.async_io(Interest::READABLE, peek).await?
            }
            Socket::Unix(stream) => {
                let peek = || Ok(recv(stream, &mut byte, RecvFlags::PEEK)?);
                stream.async_io(Interest::READABLE, peek).await?
            }
        };
        Ok((read == 1).then_some(byte[0]))
    }
}

async fn bind_tcp(authority: &str, options: SocketOptions) -> io::Result<TcpListener> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "no such host");
    for address in lookup_host(authority).await? {
        let socket = match address.ip() {
            IpAddr::V4(_) => TcpSocket::new_v4()?,
            IpAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.set_reuseport(options.reuse_port)?;
        match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Compat: as etcd does, a file that is in the way is removed: one is left behind by a crash.
fn bind_unix(path: &std::path::Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    UnixListener::bind(path)
}

/// Closes a connection so that what was sent arrives: to close it while something is unread would
/// take back what the other side has not read yet.
async fn linger(mut socket: Socket) -> io::Result<()> {
    socket.shutdown().await?;
    tokio::io::copy(&mut socket.take(LINGER_BYTES_MAX), &mut tokio::io::sink()).await?;
    Ok(())
}

fn log(rejected: &Rejected, from: Option<SocketAddr>, endpoint: Endpoint) {
    let Rejected { error, server_name, certificate, .. } = rejected;
    let remote_addr = from.map_or_else(|| "@".to_owned(), |from| from.to_string());
    // Whoever only looks if the port is open would fill the log.
    if error.kind() == io::ErrorKind::UnexpectedEof {
        tracing::debug!(remote_addr, server_name, %error, "rejected connection");
        return;
    }
    let ip_addresses = certificate.as_ref().map(|leaf| format!("{:?}", leaf.ip_addresses));
    let dns_names = certificate.as_ref().map(|leaf| format!("{:?}", leaf.dns_names));
    match endpoint {
        Endpoint::Client => tracing::warn!(
            remote_addr, server_name, ip_addresses, dns_names, %error,
            "rejected connection on client endpoint"
        ),
        Endpoint::Peer => tracing::warn!(
            remote_addr, server_name, ip_addresses, dns_names, %error,
            "rejected connection on peer endpoint"
        ),
    }
}
