//! The flags of TLS, of both kinds of ports.
//!
//! Texts of errors are etcd's (`embed/config.go: Validate`, `embed/etcd.go`,
//! `client/pkg/transport`). Files are not read here.

use super::check::{ConfigError, Url, etcds, narrow, number, starting};
use super::parse::Raw;
use net::{SocketOptions, TlsOptions, Version};
use std::path::PathBuf;

/// How ports are secured, and what their sockets are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Of the client ports.
    pub client: TlsOptions,
    /// Of the peer ports, and of connections to other members.
    pub peer: TlsOptions,
    /// Whether the server makes itself a certificate for clients, if none is given.
    pub client_auto: bool,
    /// The same for members.
    pub peer_auto: bool,
    /// Years that such a certificate is good for.
    pub self_signed_years: u32,
    /// Of all ports.
    pub sockets: SocketOptions,
}

/// Reads and checks them.
pub(super) fn tls(raw: &Raw, client_urls: &[Url], peer_urls: &[Url]) -> Result<Tls, ConfigError> {
    let (min_version, max_version) = versions(raw)?;
    let cipher_suites = list(raw, "cipher-suites");
    if min_version == Version::Tls13 && !cipher_suites.is_empty() {
        let reason = "cipher suites cannot be configured when only TLS1.3 is enabled";
        return Err(etcds("cipher-suites", reason));
    }
    let path = |name| Some(raw.get(name)).filter(|path| !path.is_empty()).map(PathBuf::from);
    let on = |name| raw.get(name) == "true";
    let common = TlsOptions { cipher_suites, min_version, max_version, ..TlsOptions::default() };
    common.check().map_err(|wrong| starting("cipher-suites", &wrong.to_string()))?;
    let client = TlsOptions {
        cert_file: path("cert-file"),
        key_file: path("key-file"),
        client_cert_file: path("client-cert-file"),
        client_key_file: path("client-key-file"),
        trusted_ca_file: path("trusted-ca-file"),
        client_cert_auth: on("client-cert-auth"),
        crl_file: path("client-crl-file"),
        allowed_cns: raw.client_allowed_cns(),
        allowed_hostnames: list(raw, "client-cert-allowed-hostname"),
        ..common.clone()
    };
    let peer = TlsOptions {
        cert_file: path("peer-cert-file"),
        key_file: path("peer-key-file"),
        client_cert_file: path("peer-client-cert-file"),
        client_key_file: path("peer-client-key-file"),
        trusted_ca_file: path("peer-trusted-ca-file"),
        client_cert_auth: on("peer-client-cert-auth"),
        crl_file: path("peer-crl-file"),
        allowed_cns: list(raw, "peer-cert-allowed-cn"),
        allowed_hostnames: list(raw, "peer-cert-allowed-hostname"),
        skip_client_san_verify: on("peer-skip-client-san-verification"),
        ..common
    };
    let (client_auto, peer_auto) = (on("auto-tls"), on("peer-auto-tls"));
    for url in client_urls.iter().filter(|url| url.address.secure) {
        if client.is_empty() && !client_auto {
            let reason = format!(
                "TLS key/cert (--cert-file, --key-file) must be provided for client url {} with HTTPS scheme",
                url.text
            );
            return Err(starting("listen-client-urls", &reason));
        }
        client.check().map_err(|wrong| starting("cert-file", &wrong.to_string()))?;
    }
    for url in peer_urls.iter().filter(|url| url.address.secure) {
        if peer.is_empty() && !peer_auto {
            let reason = format!(
                "cannot listen on TLS for {}: KeyFile and CertFile are not presented",
                url.address.authority()
            );
            return Err(starting("listen-peer-urls", &reason));
        }
    }
    // Other members are dialled with it also if nothing is listened on.
    peer.check().map_err(|wrong| starting("peer-cert-file", &wrong.to_string()))?;
    Ok(Tls {
        client,
        peer,
        client_auto,
        peer_auto,
        self_signed_years: self_signed_years(raw)?,
        sockets: SocketOptions { reuse_port: on("socket-reuse-port") },
    })
}

fn self_signed_years(raw: &Raw) -> Result<u32, ConfigError> {
    let name = "self-signed-cert-validity";
    match (narrow(name, number(raw, name)?)?, raw.file()) {
        // Compat: in a file, none is one.
        (0, Some(_)) => Ok(1),
        (years, _) => Ok(years),
    }
}

fn versions(raw: &Raw) -> Result<(Version, Option<Version>), ConfigError> {
    let version = |name| Version::parse(raw.get(name)).map_err(|reason| etcds(name, &reason));
    let (min, max) = (version("tls-min-version")?, version("tls-max-version")?);
    let min = min.unwrap_or_default();
    if max.is_some_and(|max| min > max) {
        let reason = format!(
            "min version ({}) is greater than max version ({})",
            raw.get("tls-min-version"),
            raw.get("tls-max-version")
        );
        return Err(etcds("tls-min-version", &reason));
    }
    Ok((min, max))
}

fn list(raw: &Raw, name: &str) -> Vec<String> {
    let items = raw.get(name).split(',').filter(|item| !item.is_empty());
    items.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::{Asked, Checked, ConfigError, check, parse};
    use net::Version;

    const SECURE: &str = "--listen-client-urls=https://127.0.0.1:1 --advertise-client-urls=https://127.0.0.1:1 --listen-peer-urls=https://127.0.0.1:2";

    fn checked(line: &str) -> Result<Checked, ConfigError> {
        let args = line.split_whitespace().map(str::to_owned);
        match parse(args, []).expect("flags of the table") {
            Asked::Run(raw) => check(&raw),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn values_that_work() {
        let files = "--cert-file=c --key-file k --peer-cert-file pc --peer-key-file pk \
                     --peer-client-cert-file=ic --peer-client-key-file=ik --trusted-ca-file=a \
                     --peer-trusted-ca-file=b --client-cert-auth --peer-client-cert-auth \
                     --client-crl-file=r --peer-crl-file=s --peer-cert-allowed-cn=x,y \
                     --peer-skip-client-san-verification --socket-reuse-port \
                     --socket-reuse-address --client-cert-allowed-hostname=h \
                     --cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 \
                     --tls-max-version=TLS1.3 --self-signed-cert-validity=3";
        let tls = checked(&format!("{SECURE} {files}")).expect("good values").tls;
        assert_eq!(tls.client.cert_file, Some("c".into()));
        assert_eq!(tls.client.allowed_hostnames, ["h"]);
        assert_eq!(tls.client.crl_file, Some("r".into()));
        assert_eq!(tls.peer.client_key_file, Some("ik".into()));
        assert_eq!(tls.peer.allowed_cns, ["x", "y"]);
        assert_eq!(tls.peer.max_version, Some(Version::Tls13));
        assert!(tls.client.client_cert_auth && tls.peer.client_cert_auth);
        assert!(tls.peer.skip_client_san_verify && tls.sockets.reuse_port);
        assert_eq!(tls.self_signed_years, 3);
        let auto = checked(&format!("{SECURE} --auto-tls --peer-auto-tls")).expect("no files");
        assert!(auto.tls.client_auto && auto.tls.peer_auto);
        // Compat: what has no use for plain URLs is no error.
        checked("--key-file=k").expect("a key alone, and no TLS");
    }

    #[test]
    fn values_that_do_not_are_told_in_etcds_words() {
        let check = |line: &str, want: &str| {
            let told = checked(line).expect_err(line).to_string();
            assert!(told.contains(want), "{line}: {told}");
        };
        check(
            SECURE,
            "(--cert-file, --key-file) must be provided for client url https://127.0.0.1:1",
        );
        check(
            &format!("{SECURE} --auto-tls"),
            "cannot listen on TLS for 127.0.0.1:2: KeyFile and CertFile are not presented",
        );
        check(
            &format!("{SECURE} --peer-auto-tls --key-file=k"),
            "KeyFile and CertFile must both be present[key: k, cert: ]",
        );
        check("--peer-key-file=k", "KeyFile and CertFile must both be present");
        check(
            "--peer-cert-file=c --peer-key-file=k --peer-cert-allowed-cn=a --peer-cert-allowed-hostname=b",
            "AllowedCNs and AllowedHostnames are mutually exclusive",
        );
        check("--cipher-suites=NONE", "unexpected TLS cipher suite \"NONE\"");
        check("--tls-min-version=TLS1.0", "unexpected TLS version \"TLS1.0\"");
        check("--tls-max-version=3", "unexpected TLS version \"3\"");
        check(
            "--tls-min-version=TLS1.3 --tls-max-version=TLS1.2",
            "min version (TLS1.3) is greater than max version (TLS1.2)",
        );
        check(
            "--tls-min-version=TLS1.3 --cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
            "cipher suites cannot be configured when only TLS1.3 is enabled",
        );
    }
}
