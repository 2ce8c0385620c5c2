//! A server and a client that meet once, and what each says of it.

#![allow(dead_code, reason = "each test program uses a part")]

use quorate_net::{
    Acceptor, Address, Dialer, Endpoint, Listener, Place, Security, SocketOptions, TlsOptions,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use testkit::certificates::{Authority, Pair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub const PATIENCE: Duration = Duration::from_secs(20);

/// What became of a meeting.
#[derive(Debug)]
pub struct Met {
    /// The client's common name, as the server knows it; or why it was rejected.
    pub server: Result<Option<String>, String>,
    /// Whether the client was answered; or what it learned.
    pub client: Result<(), String>,
}

impl Met {
    pub fn well(&self) -> bool {
        self.server.is_ok() && self.client.is_ok()
    }

    /// The server rejected the client, with these words.
    pub fn rejected(&self, want: &str) {
        let told = self.server.as_ref().expect_err(want);
        assert!(told.contains(want), "{self:?}, wanted {want}");
        assert!(self.client.is_err(), "{self:?}");
    }

    /// The client turned away, with these words.
    pub fn refused(&self, want: &str) {
        let told = self.client.as_ref().expect_err(want);
        assert!(told.contains(want), "{self:?}, wanted {want}");
    }
}

/// A folder of certificates.
pub struct Files(pub TempDir);

impl Files {
    pub fn new() -> Files {
        Files(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Option<PathBuf> {
        let path = self.at(name);
        std::fs::write(&path, content).expect("a file can be written");
        Some(path)
    }

    /// Options that show a pair, and trust an authority.
    pub fn options(&self, name: &str, pair: &Pair, trusted: Option<&Authority>) -> TlsOptions {
        let (cert, key) = pair.write(self.0.path(), name);
        TlsOptions {
            cert_file: Some(cert),
            key_file: Some(key),
            trusted_ca_file: trusted.and_then(|ca| self.write(&format!("{name}-ca.crt"), ca.pem())),
            ..TlsOptions::default()
        }
    }

    /// Options of a client that shows nothing.
    pub fn trusting(&self, name: &str, ca: &Authority) -> TlsOptions {
        let trusted_ca_file = self.write(&format!("{name}-ca.crt"), ca.pem());
        TlsOptions { trusted_ca_file, ..TlsOptions::default() }
    }
}

pub async fn listen(options: &TlsOptions, endpoint: Endpoint) -> (Listener, String) {
    let acceptor = Acceptor::new(options, endpoint).expect("files that can be used");
    let security = Security::Tls(Arc::new(acceptor));
    let place = Place::Tcp("127.0.0.1:0".to_owned());
    let listener = Listener::bind(&place, SocketOptions::default(), security).await;
    let listener = listener.expect("a free port");
    let address = listener.local_address().expect("bound");
    let port = address.rsplit(':').next().expect("a port").to_owned();
    (listener, port)
}

/// A client dials `host`, which is this machine.
pub async fn meet_at(
    host: &str,
    server: &TlsOptions,
    client: &TlsOptions,
    endpoint: Endpoint,
) -> Met {
    let (listener, port) = listen(server, endpoint).await;
    meet_there(&listener, &format!("https://{host}:{port}"), client).await
}

pub async fn meet(server: &TlsOptions, client: &TlsOptions) -> Met {
    meet_at("127.0.0.1", server, client, Endpoint::Peer).await
}

pub async fn meet_there(listener: &Listener, url: &str, client: &TlsOptions) -> Met {
    let dialer = Dialer::new(client).expect("files that can be used");
    let address = Address::parse(url).expect("a URL");
    let serving = async {
        let incoming = listener.accept().await.expect("somebody comes");
        let mut stream = incoming.open().await.map_err(|error| error.to_string())?;
        let mut asked = [0; 4];
        stream.read_exact(&mut asked).await.map_err(|error| error.to_string())?;
        stream.write_all(&asked).await.map_err(|error| error.to_string())?;
        stream.shutdown().await.map_err(|error| error.to_string())?;
        let certificate = stream.client_certificate();
        Ok(certificate.map(|certificate| certificate.common_name.to_string()))
    };
    let asking = async {
        let asked = async {
            let mut stream = dialer.connect(&address, PATIENCE).await?;
            stream.write_all(b"ping").await?;
            let mut answer = [0; 4];
            stream.read_exact(&mut answer).await?;
            assert_eq!(&answer, b"ping");
            std::io::Result::Ok(())
        };
        asked.await.map_err(|error| error.to_string())
    };
    let (server, client) = tokio::join!(serving, asking);
    Met { server, client }
}

pub fn remove(path: &Path) {
    std::fs::remove_file(path).expect("it is there");
}
