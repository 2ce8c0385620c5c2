//! A server's side of TLS: the handshake, and what etcd checks behind it.

use crate::certificate::Certificate;
use crate::files::PairFiles;
use crate::names::verify_origin;
use crate::reason::in_go_words;
use crate::revoked::Revoked;
use crate::stream::Socket;
use crate::verify::Verifier;
use crate::{ClientCertificate, Endpoint, Error, Stream, TlsOptions};
use rustls::ServerConfig;
use rustls::server::{Acceptor as Hello, NoServerSessionStorage, WebPkiClientVerifier};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::LazyConfigAcceptor;

/// Accepts TLS on one kind of port.
#[derive(Debug)]
pub struct Acceptor {
    config: Arc<ServerConfig>,
    revoked: Option<Revoked>,
    checks_origin: bool,
    endpoint: Endpoint,
}

/// Why a connection was rejected, and what is known of whose it was.
#[derive(Debug)]
pub(crate) struct Rejected {
    pub(crate) error: io::Error,
    /// The name that it asked for; empty if none.
    pub(crate) server_name: String,
    /// Its certificate, if that was good by itself.
    pub(crate) certificate: Option<Box<Certificate>>,
    /// What is left of the connection: the client is still to hear why.
    pub(crate) socket: Option<Socket>,
}

impl Acceptor {
    /// Reads the files that the options name.
    ///
    /// # Errors
    /// [`Error`], if they cannot be used.
    pub fn new(options: &TlsOptions, endpoint: Endpoint) -> Result<Acceptor, Error> {
        options.check()?;
        let provider = Arc::new(options.provider()?);
        let algorithms = provider.signature_verification_algorithms;
        let pair = PairFiles::open(options.server_pair()?, Arc::clone(&provider))?;
        if options.client_cert_file.is_some() {
            PairFiles::open(options.client_pair()?, Arc::clone(&provider))?;
        }
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&options.versions());
        let builder = builder.map_err(|error| Error::Options(error.to_string()))?;
        let builder = match options.asks_clients() {
            true => {
                let verifier = Arc::new(Verifier::new(options, algorithms)?);
                builder.with_client_cert_verifier(verifier)
            }
            false => builder.with_client_cert_verifier(WebPkiClientVerifier::no_client_auth()),
        };
        let mut config = builder.with_cert_resolver(Arc::new(pair));
        // Compat: etcd's peer port takes HTTP/1.1 only, though it says h2.
        config.alpn_protocols = match endpoint {
            Endpoint::Client => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            Endpoint::Peer => vec![b"http/1.1".to_vec()],
        };
        // Clients of etcd keep their connections and resume none; and one who was revoked must
        // not come back on a ticket.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Acceptor {
            config: Arc::new(config),
            revoked: options.crl_file.clone().map(Revoked::new),
            checks_origin: endpoint == Endpoint::Peer && !options.skip_client_san_verify,
            endpoint,
        })
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// Does the handshake with whoever comes `from` an address, if there are addresses.
    pub(crate) async fn accept(
        &self,
        socket: Socket,
        from: Option<IpAddr>,
    ) -> Result<Stream, Rejected> {
        let rejected = |error: io::Error| Rejected {
            error: in_go_words(error),
            server_name: String::new(),
            certificate: None,
            socket: None,
        };
        let mut starting = LazyConfigAcceptor::new(Hello::default(), socket);
        let hello = match (&mut starting).await {
            Ok(hello) => hello,
            Err(error) => {
                let socket = starting.take_io();
                return Err(Rejected { socket, ..rejected(error) });
            }
        };
        let server_name = hello.client_hello().server_name().unwrap_or_default().to_owned();
        let accepted = hello.into_stream(Arc::clone(&self.config)).into_fallible().await;
        let mut stream = match accepted {
            Ok(stream) => stream,
            Err((error, socket)) => {
                return Err(Rejected { server_name, socket: Some(socket), ..rejected(error) });
            }
        };
        let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
        // The verifier has read them before.
        let shown: Vec<_> = shown.iter().filter_map(|der| Certificate::parse(der).ok()).collect();
        let judged = self.judge(&shown, from).await;
        let certificate = shown.into_iter().next();
        match judged {
            Ok(()) => {
                let told = certificate
                    .map(|leaf| ClientCertificate { common_name: leaf.common_name.into() });
                Ok(Stream::tls(stream, told))
            }
            Err(why) => {
                // Whatever becomes of it, the connection ends.
                let _ = stream.shutdown().await;
                Err(Rejected {
                    error: io::Error::other(why),
                    server_name,
                    certificate: certificate.map(Box::new),
                    socket: Some(stream.into_inner().0),
                })
            }
        }
    }

    /// Compat: as in etcd the handshake is over by then, so a client that is refused here is cut
    /// off without an alert.
    async fn judge(&self, shown: &[Certificate], from: Option<IpAddr>) -> Result<(), String> {
        let Some(leaf) = shown.first() else { return Ok(()) };
        if self.checks_origin
            && let Some(from) = from
        {
            verify_origin(leaf, from).await?;
        }
        self.revoked.as_ref().map_or(Ok(()), |revoked| revoked.check(shown))
    }
}
