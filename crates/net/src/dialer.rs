//! A client's side: connections to other members.

use crate::files::PairFiles;
use crate::reason::in_go_words;
use crate::stream::Socket;
use crate::verify::Verifier;
use crate::{Address, Error, Place, Stream, TlsOptions};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// A handshake may take so long (as in etcd's transport).
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Who vanished without a word is looked for after so long.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Dials addresses, within TLS where they ask for it. Clones share everything.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    tls: Option<TlsClient>,
}

#[derive(Clone)]
struct TlsClient(TlsConnector);

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsClient")
    }
}

impl Dialer {
    /// Dials plain addresses only.
    #[must_use]
    pub fn plain() -> Dialer {
        Dialer::default()
    }

    /// Reads the files that the options name.
    ///
    /// # Errors
    /// [`Error`], if they cannot be used.
    pub fn new(options: &TlsOptions) -> Result<Dialer, Error> {
        options.check()?;
        let provider = Arc::new(options.provider()?);
        let algorithms = provider.signature_verification_algorithms;
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(&options.versions());
        let builder = builder.map_err(|error| Error::Options(error.to_string()))?;
        let verifier = Arc::new(Verifier::new(options, algorithms)?);
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match options.is_empty() {
            true => builder.with_no_client_auth(),
            false => {
                PairFiles::open(options.server_pair()?, Arc::clone(&provider))?;
                let pair = PairFiles::open(options.client_pair()?, provider)?;
                builder.with_client_cert_resolver(Arc::new(pair))
            }
        };
        // No protocol is named: a Go member would choose h2, and then not speak it.
        config.resumption = Resumption::disabled();
        Ok(Dialer { tls: Some(TlsClient(TlsConnector::from(Arc::new(config)))) })
    }

    /// Connects, within `patience` and the time that a handshake may take.
    ///
    /// # Errors
    /// If nobody is there, or somebody else is.
    pub async fn connect(&self, address: &Address, patience: Duration) -> io::Result<Stream> {
        let connected = timeout(patience, connect(&address.place)).await;
        let socket = connected.map_err(|_| late("connecting", patience))??;
        if !address.secure {
            return Ok(Stream::plain(socket));
        }
        let Some(TlsClient(connector)) = &self.tls else {
            return Err(io::Error::other(format!(
                "{address} asks for TLS, and there is none here"
            )));
        };
        let name = ServerName::try_from(address.host().to_owned());
        let name = name.map_err(|_| {
            io::Error::other(format!("{address} names no host that a certificate can be for"))
        })?;
        let handshake = timeout(HANDSHAKE_MAX, connector.connect(name, socket)).await;
        let stream = handshake.map_err(|_| late("the handshake", HANDSHAKE_MAX))?;
        Ok(Stream::tls(stream.map_err(in_go_words)?, None))
    }
}

async fn connect(place: &Place) -> io::Result<Socket> {
    match place {
        Place::Tcp(authority) => {
            let stream = TcpStream::connect(authority).await?;
            stream.set_nodelay(true)?;
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(KEEPALIVE);
            SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
            Ok(Socket::Tcp(stream))
        }
        Place::Unix(path) => Ok(Socket::Unix(UnixStream::connect(path).await?)),
    }
}

fn late(what: &str, patience: Duration) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("{what} took longer than {patience:?}"))
}
