//! A certificate made by the server itself, for `--auto-tls` and `--peer-auto-tls`: what is sent is
//! encrypted, and nobody is known.
//!
//! Source: etcd `client/pkg/transport/listener.go: SelfCert`. Compat: `cert.pem` and `key.pem`
//! are found again at the next start, also those that etcd made, and etcd finds ours.

use crate::{Error, TlsOptions};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P521_SHA512, SanType,
};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The certificate in `folder`, which is made for `hosts` (each a host and a port) if there is
/// none; it is good for that many years.
///
/// # Errors
/// [`Error`]: no files can be made there, or they would be good for no time.
pub fn self_signed(folder: &Path, hosts: &[String], years: u32) -> Result<TlsOptions, Error> {
    if years == 0 {
        let reason = "selfSignedCertValidity is invalid,it should be greater than 0";
        return Err(Error::Options(reason.to_owned()));
    }
    let folder = std::path::absolute(folder)
        .map_err(|source| Error::File { path: folder.to_owned(), source })?;
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    if !cert.exists() || !key.exists() {
        let file = |path: &PathBuf, source: io::Error| Error::File { path: path.clone(), source };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&folder);
        made.map_err(|source| file(&folder, source))?;
        let (cert_text, key_text) = make(hosts, years)
            .map_err(|error| Error::Options(format!("cannot generate cert: {error}")))?;
        write(&cert, &cert_text, 0o644).map_err(|source| file(&cert, source))?;
        tracing::info!(path = %cert.display(), "created cert file");
        write(&key, &key_text, 0o600).map_err(|source| file(&key, source))?;
        tracing::info!(path = %key.display(), "created key file");
    }
    Ok(TlsOptions {
        cert_file: Some(cert.clone()),
        key_file: Some(key.clone()),
        client_cert_file: Some(cert),
        client_key_file: Some(key),
        self_signed: true,
        ..TlsOptions::default()
    })
}

fn make(hosts: &[String], years: u32) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "etcd");
    let now = SystemTime::now();
    params.not_before = now.into();
    params.not_after = (now + years * YEAR).into();
    tracing::warn!(
        certificate_validity_bound_not_after = %params.not_after,
        "automatically generate certificates"
    );
    params.key_usages = vec![
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::CrlSign,
    ];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Compat: etcd's is an authority's, so that clients can be told to trust it.
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    for host in hosts {
        let host = host.rsplit_once(':').map_or(&**host, |(host, _)| host);
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        match host.parse::<IpAddr>() {
            Ok(address) => params.subject_alt_names.push(SanType::IpAddress(address)),
            // A socket's path is no name.
            Err(_) if host.is_empty() || host.contains('/') => {}
            Err(_) => params.subject_alt_names.push(SanType::DnsName(host.try_into()?)),
        }
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512)?;
    let cert = params.self_signed(&key)?;
    Ok((cert.pem(), key.serialize_pem()))
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
