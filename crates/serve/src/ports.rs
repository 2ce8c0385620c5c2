//! The ports of a server, opened before its member starts: whoever cannot listen shall not touch
//! the data.
//!
//! Source: etcd `server/embed/etcd.go: configurePeerListeners, configureClientListeners`.

use crate::config::{Checked, Tls, Url};
use net::{
    Acceptor, Endpoint, Error, Listener, Place, Security, SocketOptions, TlsOptions, self_signed,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What is listened on.
#[derive(Debug)]
pub struct Ports {
    /// Other members.
    pub peers: Vec<Listener>,
    /// Clients.
    pub clients: Vec<ClientPort>,
    /// Clients that speak HTTP, if they have ports of their own.
    pub https: Vec<ClientPort>,
    /// Whoever asks for metrics and health, with the URLs as given.
    pub metrics: Vec<(Listener, String)>,
    /// How other members are dialled: as given, or with the certificate that was made.
    pub peer_tls: TlsOptions,
    /// The same for clients' ports, as far as they are secured.
    pub client_tls: TlsOptions,
}

/// A port for clients.
#[derive(Debug)]
pub struct ClientPort {
    /// The port.
    pub listener: Listener,
    /// Where it is.
    pub address: String,
    insecure: bool,
    secure: bool,
}

impl Ports {
    /// Listens on all URLs; makes certificates if it is to.
    ///
    /// # Errors
    /// [`Error`]: a place is taken, or a file is of no use.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub async fn open(checked: &Checked) -> Result<Ports, Error> {
        let tls = &checked.tls;
        tracing::info!(
            listen_peer_urls = ?checked.peer_urls.iter().map(|url| &url.text).collect::<Vec<_>>(),
            "configuring peer listeners"
        );
        let peer_tls = peer_options(tls, &checked.config.data_dir, &checked.peer_urls)?;
        let mut peers = Vec::new();
        let peer_acceptor = acceptor(&peer_tls, Endpoint::Peer, &checked.peer_urls)?;
        for url in &checked.peer_urls {
            let security = match &peer_acceptor {
                Some(acceptor) if url.address.secure => Security::Tls(Arc::clone(acceptor)),
                _ => Security::Plain,
            };
            peers.push(Listener::bind(&url.address.place, tls.sockets, security).await?);
        }
        tracing::info!(
            listen_client_urls = ?checked.client_urls.iter().map(|url| &url.text).collect::<Vec<_>>(),
            "configuring client listeners"
        );
        let client_urls = [&checked.client_urls[..], &checked.http_urls].concat();
        let client_tls = client_options(tls, &checked.config.data_dir, &client_urls)?;
        let all = [&client_urls[..], &checked.metrics_urls].concat();
        let acceptor = acceptor(&client_tls, Endpoint::Client, &all)?;
        let clients = client_ports(&checked.client_urls, &acceptor, tls.sockets).await?;
        let https = client_ports(&checked.http_urls, &acceptor, tls.sockets).await?;
        let mut metrics = Vec::new();
        for url in &checked.metrics_urls {
            let security = match &acceptor {
                Some(acceptor) if url.address.secure => Security::Tls(Arc::clone(acceptor)),
                _ => Security::Plain,
            };
            let listener = Listener::bind(&url.address.place, tls.sockets, security).await?;
            metrics.push((listener, url.text.clone()));
        }
        Ok(Ports { peers, clients, https, metrics, peer_tls, client_tls })
    }
}

/// Listens for clients. One place may be listed twice, with and without TLS.
async fn client_ports(
    urls: &[Url],
    acceptor: &Option<Arc<Acceptor>>,
    sockets: SocketOptions,
) -> Result<Vec<ClientPort>, Error> {
    let mut places: BTreeMap<&Place, (bool, bool)> = BTreeMap::new();
    for url in urls {
        let (insecure, secure) = places.entry(&url.address.place).or_default();
        *insecure |= !url.address.secure;
        *secure |= url.address.secure;
    }
    let mut ports = Vec::new();
    for (place, (insecure, secure)) in places {
        let security = match acceptor {
            Some(acceptor) if insecure && secure => Security::Either(Arc::clone(acceptor)),
            Some(acceptor) if secure => Security::Tls(Arc::clone(acceptor)),
            _ => Security::Plain,
        };
        let listener = Listener::bind(place, sockets, security).await?;
        let address = listener.local_address().unwrap_or_default();
        ports.push(ClientPort { listener, address, insecure, secure });
    }
    Ok(ports)
}

impl ClientPort {
    /// Says in the log that it is served.
    pub fn announce(&self, traffic: &str) {
        let address = &self.address;
        if self.insecure {
            tracing::info!(
                traffic,
                address,
                "serving client traffic insecurely; this is strongly discouraged!"
            );
        }
        if self.secure {
            tracing::info!(traffic, address, "serving client traffic securely");
        }
    }
}

/// Reads the files, if any URL needs them.
fn acceptor(
    options: &TlsOptions,
    endpoint: Endpoint,
    urls: &[Url],
) -> Result<Option<Arc<Acceptor>>, Error> {
    let needed = urls.iter().any(|url| url.address.secure);
    needed.then(|| Acceptor::new(options, endpoint).map(Arc::new)).transpose()
}

fn peer_options(tls: &Tls, data_dir: &Path, urls: &[Url]) -> Result<TlsOptions, Error> {
    let options = match (tls.peer_auto, tls.peer.is_empty()) {
        (true, true) => {
            made(&tls.peer, tls.self_signed_years, &data_dir.join("fixtures/peer"), urls)?
        }
        (true, false) => {
            tracing::warn!("ignoring peer auto TLS since certs given");
            tls.peer.clone()
        }
        (false, _) => tls.peer.clone(),
    };
    if !options.is_empty() {
        let (tls_info, cipher_suites) = (describe(&options), options.cipher_suites.join(","));
        tracing::info!(tls_info, cipher_suites, "starting with peer TLS");
    }
    for Url { text: peer_url, .. } in urls.iter().filter(|url| url.text.starts_with("http:")) {
        if !options.is_empty() {
            tracing::warn!(
                peer_url,
                "scheme is HTTP while key and cert files are present; ignoring key and cert files"
            );
        }
        if options.client_cert_auth {
            tracing::warn!(
                peer_url,
                "scheme is HTTP while --peer-client-cert-auth is enabled; ignoring client cert auth for this URL"
            );
        }
    }
    Ok(options)
}

fn client_options(tls: &Tls, data_dir: &Path, urls: &[Url]) -> Result<TlsOptions, Error> {
    let options = match (tls.client_auto, tls.client.is_empty()) {
        (true, true) => {
            made(&tls.client, tls.self_signed_years, &data_dir.join("fixtures/client"), urls)?
        }
        (true, false) => {
            tracing::warn!("ignoring client auto TLS since certs given");
            tls.client.clone()
        }
        (false, _) => tls.client.clone(),
    };
    for Url { text: client_url, .. } in urls.iter().filter(|url| !url.address.secure) {
        if !options.is_empty() {
            tracing::warn!(
                client_url,
                "scheme is http or unix while key and cert files are present; ignoring key and cert files"
            );
        }
        if options.client_cert_auth {
            tracing::warn!(
                client_url,
                "scheme is http or unix while --client-cert-auth is enabled; ignoring client cert auth for this URL"
            );
        }
    }
    if !options.is_empty() {
        let (tls_info, cipher_suites) = (describe(&options), options.cipher_suites.join(","));
        tracing::info!(tls_info, cipher_suites, "starting with client TLS");
    }
    Ok(options)
}

/// Options with a certificate of the server's own making. Compat: as in etcd, of what was given
/// beside only suites and versions count.
fn made(given: &TlsOptions, years: u32, folder: &Path, urls: &[Url]) -> Result<TlsOptions, Error> {
    let hosts: Vec<_> = urls.iter().map(|url| url.address.authority().to_owned()).collect();
    Ok(TlsOptions {
        cipher_suites: given.cipher_suites.clone(),
        min_version: given.min_version,
        max_version: given.max_version,
        ..self_signed(folder, &hosts, years)?
    })
}

/// As etcd logs it.
fn describe(options: &TlsOptions) -> String {
    let path = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    };
    format!(
        "cert = {}, key = {}, client-cert={}, client-key={}, trusted-ca = {}, client-cert-auth = {}, crl-file = {}",
        path(&options.cert_file),
        path(&options.key_file),
        path(&options.client_cert_file),
        path(&options.client_key_file),
        path(&options.trusted_ca_file),
        options.client_cert_auth,
        path(&options.crl_file)
    )
}
