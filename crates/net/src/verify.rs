//! The one verifier: of clients' certificates, and of servers'.
//!
//! What rustls asks of it, answered by `chain.rs` and `names.rs`. Which alert the other side is
//! sent follows from the error (`reason.rs` has their texts); the errors are chosen so that it is
//! the one that Go sends, as Go's members log it.

use crate::TlsOptions;
use crate::certificate::Certificate;
use crate::chain::{Purpose, Roots, Search, valid};
use crate::names::verify_host;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved,
    SignatureScheme,
};

/// Judges certificates of the other side.
#[derive(Debug)]
pub(crate) struct Verifier {
    roots: Roots,
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
    allowed: Allowed,
    /// Whether servers are taken for who they say they are.
    trusts_servers: bool,
}

/// Who may pass of those with a good certificate.
#[derive(Debug)]
enum Allowed {
    All,
    CommonNames(Vec<String>),
    Hosts(Vec<String>),
}

impl Verifier {
    pub(crate) fn new(
        options: &TlsOptions,
        algorithms: WebPkiSupportedAlgorithms,
    ) -> Result<Verifier, crate::Error> {
        let roots = match &options.trusted_ca_file {
            Some(path) => Roots::read(path)?,
            None => Roots::System,
        };
        let hints = match &roots {
            Roots::Listed(listed) => {
                listed.iter().map(|root| DistinguishedName::from(root.subject.clone())).collect()
            }
            Roots::System => Vec::new(),
        };
        let allowed = match (&*options.allowed_cns, &*options.allowed_hostnames) {
            ([], []) => Allowed::All,
            ([], hosts) => Allowed::Hosts(hosts.to_vec()),
            (names, _) => Allowed::CommonNames(names.to_vec()),
        };
        let trusts_servers = options.self_signed;
        Ok(Verifier { roots, hints, algorithms, allowed, trusts_servers })
    }

    fn verify(
        &self,
        shown: (&CertificateDer<'_>, &[CertificateDer<'_>]),
        purpose: Purpose,
        host: Option<&ServerName<'_>>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let leaf = Certificate::parse(shown.0)?;
        valid(&leaf, now)?;
        if let Some(host) = host {
            verify_host(&leaf, &host.to_str()).map_err(|_| {
                let presented = leaf.dns_names.iter().cloned();
                let addresses = leaf.ip_addresses.iter().map(ToString::to_string);
                CertificateError::NotValidForNameContext {
                    expected: host.to_owned(),
                    presented: match host {
                        ServerName::IpAddress(_) => addresses.collect(),
                        _ => presented.collect(),
                    },
                }
            })?;
        }
        Search::new(&self.roots, shown.1, self.algorithms, purpose, now)?.run(&leaf)?;
        let allowed = match &self.allowed {
            Allowed::All => true,
            Allowed::CommonNames(names) => names.contains(&leaf.common_name),
            Allowed::Hosts(hosts) => hosts.iter().any(|host| verify_host(&leaf, host).is_ok()),
        };
        if allowed { Ok(()) } else { Err(CertificateError::NotValidForName.into()) }
    }

    fn signature_12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let leaf = Certificate::parse(certificate)?;
        let mapped = self.algorithms.mapping.iter().find(|(of, _)| *of == signature.scheme);
        let (_, possible) =
            mapped.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        let mut signed = possible
            .iter()
            .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == leaf.key_algorithm)
            .map(|algorithm| algorithm.verify_signature(&leaf.key, message, signature.signature()));
        match signed.any(|signed| signed.is_ok()) {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(CertificateError::BadSignature.into()),
        }
    }

    fn signature_13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let leaf = Certificate::parse(certificate)?;
        let key = SubjectPublicKeyInfoDer::from(leaf.public_key_info);
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify((leaf, others), Purpose::Client, None, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature_12(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature_13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.trusts_servers {
            self.verify((leaf, others), Purpose::Server, Some(host), now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature_12(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature_13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
