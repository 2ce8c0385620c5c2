//! What people say about TLS on one kind of port: files, and who may pass.
//!
//! Plain data; nothing is read before a listener or a dialler is made of it. Texts of errors are
//! those of etcd's `client/pkg/transport` and `client/pkg/tlsutil`.

use crate::Error;
use rustls::SupportedCipherSuite;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider};
use rustls::version::{TLS12, TLS13};
use std::path::{Path, PathBuf};

/// TLS of the client ports or of the peer ports. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// The certificate shown by a server, and by a client that has no other.
    pub cert_file: Option<PathBuf>,
    /// Its key.
    pub key_file: Option<PathBuf>,
    /// The certificate shown by a client.
    pub client_cert_file: Option<PathBuf>,
    /// Its key.
    pub client_key_file: Option<PathBuf>,
    /// Who signs the certificates of the other side; the system's list if `None`. Naming it makes
    /// a server ask for certificates.
    pub trusted_ca_file: Option<PathBuf>,
    /// Whether a server asks clients for certificates.
    pub client_cert_auth: bool,
    /// Serials of certificates that a server refuses, as a CRL in DER.
    pub crl_file: Option<PathBuf>,
    /// Common names, one of which the other side must have; any if empty.
    pub allowed_cns: Vec<String>,
    /// Names, one of which the other side's certificate must be good for; any if empty.
    pub allowed_hostnames: Vec<String>,
    /// Whether a client may come from an address that its certificate does not name. Only peer
    /// ports look.
    pub skip_client_san_verify: bool,
    /// Go's names of the suites of TLS 1.2 that are spoken; all if empty.
    pub cipher_suites: Vec<String>,
    /// The lowest version spoken.
    pub min_version: Version,
    /// The highest; `None` is the newest there is.
    pub max_version: Option<Version>,
    /// Whether the certificate was made by this server itself: nobody signed it, so a client
    /// cannot verify others like it.
    pub self_signed: bool,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl Version {
    /// Reads what flags call it.
    ///
    /// # Errors
    /// etcd's text, if it is no version.
    pub fn parse(text: &str) -> Result<Option<Version>, String> {
        match text {
            "" => Ok(None),
            "TLS1.2" => Ok(Some(Version::Tls12)),
            "TLS1.3" => Ok(Some(Version::Tls13)),
            _ => Err(format!("unexpected TLS version {text:?} (must be one of: TLS1.2, TLS1.3)")),
        }
    }
}

impl TlsOptions {
    /// Whether there is neither certificate nor key: then there is no TLS.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cert_file.is_none() && self.key_file.is_none()
    }

    /// Whether a server asks clients for certificates.
    #[must_use]
    pub fn asks_clients(&self) -> bool {
        self.trusted_ca_file.is_some() || self.client_cert_auth
    }

    /// Certificate and key of a server.
    pub(crate) fn server_pair(&self) -> Result<(&Path, &Path), Error> {
        match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => Ok((cert, key)),
            (cert, key) => Err(Error::Options(format!(
                "KeyFile and CertFile must both be present[key: {}, cert: {}]",
                shown(key.as_deref()),
                shown(cert.as_deref())
            ))),
        }
    }

    /// Certificate and key of a client.
    pub(crate) fn client_pair(&self) -> Result<(&Path, &Path), Error> {
        match (&self.client_cert_file, &self.client_key_file) {
            (Some(cert), Some(key)) => Ok((cert, key)),
            (None, None) => self.server_pair(),
            (_, key) => Err(Error::Options(format!(
                "ClientKeyFile and ClientCertFile must both be present or both absent: key: {}, cert: {}]",
                shown(key.as_deref()),
                shown(self.client_cert_file.as_deref())
            ))),
        }
    }

    /// Checks what can be checked without reading files.
    ///
    /// # Errors
    /// [`Error::Options`].
    pub fn check(&self) -> Result<(), Error> {
        if !self.is_empty() {
            self.server_pair()?;
            self.client_pair()?;
        }
        if !self.allowed_cns.is_empty() && !self.allowed_hostnames.is_empty() {
            return Err(Error::Options(format!(
                "AllowedCNs and AllowedHostnames are mutually exclusive (cns={}, hostnames={})",
                quoted(&self.allowed_cns),
                quoted(&self.allowed_hostnames)
            )));
        }
        self.provider().map(drop)
    }

    /// What rustls works with: the suites that were asked for.
    pub(crate) fn provider(&self) -> Result<CryptoProvider, Error> {
        let mut provider = default_provider();
        if self.cipher_suites.is_empty() {
            return Ok(provider);
        }
        let mut spoken = Vec::new();
        for name in &self.cipher_suites {
            match suite(name) {
                Suite::Spoken(suite) => spoken.push(suite),
                Suite::Always => {}
                Suite::Retired => tracing::warn!(
                    cipher_suite = name,
                    "left out a cipher suite that is not safe enough to be spoken here"
                ),
                Suite::Unknown => {
                    return Err(Error::Options(format!("unexpected TLS cipher suite {name:?}")));
                }
            }
        }
        let speaks_13 = self.max_version != Some(Version::Tls12);
        if spoken.is_empty() && !speaks_13 {
            let known = known_suites().join(", ");
            let listed = self.cipher_suites.join(", ");
            let reason = format!("none of the cipher suites {listed} is spoken here: {known} are");
            return Err(Error::Options(reason));
        }
        // Compat: as in Go, those of TLS 1.3 are always spoken.
        provider.cipher_suites.retain(|suite| suite.tls13().is_some() || spoken.contains(suite));
        Ok(provider)
    }

    /// The versions that are spoken.
    pub(crate) fn versions(&self) -> Vec<&'static rustls::SupportedProtocolVersion> {
        match (self.min_version, self.max_version) {
            (Version::Tls13, _) => vec![&TLS13],
            (Version::Tls12, Some(Version::Tls12)) => vec![&TLS12],
            (Version::Tls12, _) => vec![&TLS13, &TLS12],
        }
    }
}

fn shown(path: Option<&Path>) -> String {
    path.map(|path| path.display().to_string()).unwrap_or_default()
}

/// A list as Go prints it with `%q`.
fn quoted(list: &[String]) -> String {
    let each: Vec<_> = list.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", each.join(" "))
}

enum Suite {
    /// It can be chosen.
    Spoken(SupportedCipherSuite),
    /// One of TLS 1.3, which cannot be chosen.
    Always,
    /// One that Go knows and nobody should use.
    Retired,
    Unknown,
}

fn suite(name: &str) -> Suite {
    let same = |(of, _): &&(&str, _)| *of == name;
    match SPOKEN.iter().find(same) {
        Some((_, suite)) => Suite::Spoken(*suite),
        None if OF_13.contains(&name) => Suite::Always,
        None if RETIRED.contains(&name) => Suite::Retired,
        None => Suite::Unknown,
    }
}

/// The suites of TLS 1.2 that can be chosen.
#[must_use]
pub fn known_suites() -> Vec<&'static str> {
    SPOKEN.iter().map(|(name, _)| *name).collect()
}

/// Compat: the two without a hash at their ends are etcd's own names.
const SPOKEN: [(&str, SupportedCipherSuite); 8] = {
    use cipher_suite as has;
    [
        ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", has::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
        ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", has::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
        (
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            has::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ),
        (
            "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
            has::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
        ),
        ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", has::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
        ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", has::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
        (
            "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
            has::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ),
        ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", has::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ]
};

const OF_13: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// Those that Go knows and rustls has not: without forward secrecy, or with CBC or RC4.
const RETIRED: [&str; 15] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_go_together_is_said_in_etcds_words() {
        let check = |options: TlsOptions, want: &str| {
            let told = options.check().expect_err(want).to_string();
            assert!(told.contains(want), "{told}");
        };
        let cert = || Some(PathBuf::from("c"));
        let both = TlsOptions { cert_file: cert(), key_file: cert(), ..TlsOptions::default() };
        both.check().expect("a certificate and its key");
        TlsOptions::default().check().expect("no TLS");
        check(
            TlsOptions { cert_file: cert(), ..TlsOptions::default() },
            "KeyFile and CertFile must both be present[key: , cert: c]",
        );
        check(
            TlsOptions { client_cert_file: cert(), ..both.clone() },
            "ClientKeyFile and ClientCertFile must both be present or both absent: key: , cert: c]",
        );
        check(
            TlsOptions {
                allowed_cns: vec!["a".into(), "b".into()],
                allowed_hostnames: vec!["h".into()],
                ..both.clone()
            },
            "AllowedCNs and AllowedHostnames are mutually exclusive (cns=[\"a\" \"b\"], hostnames=[\"h\"])",
        );
        check(
            TlsOptions { cipher_suites: vec!["TLS_NONE".into()], ..both.clone() },
            "unexpected TLS cipher suite \"TLS_NONE\"",
        );
        check(
            TlsOptions {
                cipher_suites: vec!["TLS_RSA_WITH_AES_128_CBC_SHA".into()],
                max_version: Some(Version::Tls12),
                ..both
            },
            "none of the cipher suites",
        );
    }

    #[test]
    fn versions() {
        assert_eq!(Version::parse("TLS1.3"), Ok(Some(Version::Tls13)));
        assert_eq!(Version::parse(""), Ok(None));
        let text = "unexpected TLS version \"TLS1.1\" (must be one of: TLS1.2, TLS1.3)";
        assert_eq!(Version::parse("TLS1.1"), Err(text.to_owned()));
    }
}
