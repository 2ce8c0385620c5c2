//! A certificate as far as verifying needs it, and reading them from PEM.
//!
//! Not a parser: that is `x509-parser`'s. Here is what Go's library would refuse while parsing and
//! what it would note for later.

use crate::Error;
use crate::constraints::NameConstraints;
use rustls::CertificateError;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::net::IpAddr;
use std::path::Path;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};

/// A certificate.
#[derive(Debug)]
pub(crate) struct Certificate {
    /// All of it.
    pub(crate) der: CertificateDer<'static>,
    /// What is signed.
    pub(crate) signed: Vec<u8>,
    /// By which algorithm: the inside of its identifier.
    pub(crate) signature_algorithm: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    /// The whole key, as `SubjectPublicKeyInfo`.
    pub(crate) public_key_info: Vec<u8>,
    /// The inside of its algorithm's identifier.
    pub(crate) key_algorithm: Vec<u8>,
    /// Its bits.
    pub(crate) key: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    /// The last common name of the subject; empty if there is none.
    pub(crate) common_name: String,
    /// Without leading zeros.
    pub(crate) serial: Vec<u8>,
    /// Seconds since 1970.
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    pub(crate) is_v3: bool,
    /// Basic constraints: whether it is a CA's, and how many of those may be below it.
    pub(crate) authority: Option<(bool, Option<u32>)>,
    /// Whether its usage, if told, includes to sign others.
    pub(crate) may_sign: bool,
    /// For what its key may be used; `None` if for all.
    pub(crate) purposes: Option<Purposes>,
    pub(crate) dns_names: Vec<String>,
    pub(crate) ip_addresses: Vec<IpAddr>,
    /// Whether it has names of other kinds.
    pub(crate) has_other_names: bool,
    pub(crate) constraints: Option<NameConstraints>,
    /// Whether it demands something that is not known here.
    pub(crate) unhandled_critical: bool,
}

/// For what a key may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Purposes {
    pub(crate) server: bool,
    pub(crate) client: bool,
}

impl Certificate {
    /// Reads one.
    pub(crate) fn parse(der: &[u8]) -> Result<Certificate, CertificateError> {
        let bad = CertificateError::BadEncoding;
        let (rest, parsed) = X509Certificate::from_der(der).map_err(|_| bad.clone())?;
        let tbs = &parsed.tbs_certificate;
        if !rest.is_empty() || tbs.signature != parsed.signature_algorithm {
            return Err(bad);
        }
        // The identifiers of algorithms are needed as they stand there.
        let (content, _) = element(der).ok_or(bad.clone())?;
        let (_, behind) = element(content).ok_or(bad.clone())?;
        let (signature_algorithm, _) = element(behind).ok_or(bad.clone())?;
        let (key_info, _) = element(tbs.subject_pki.raw).ok_or(bad.clone())?;
        let (key_algorithm, _) = element(key_info).ok_or(bad.clone())?;
        let common_names = tbs.subject.iter_common_name();
        let common_name = common_names.last().and_then(|name| name.as_str().ok());
        let serial = parsed.raw_serial();
        let zeros = serial.iter().take_while(|byte| **byte == 0).count();
        let mut certificate = Certificate {
            der: CertificateDer::from(der.to_vec()),
            signed: tbs.as_ref().to_vec(),
            signature_algorithm: signature_algorithm.to_vec(),
            signature: parsed.signature_value.data.to_vec(),
            public_key_info: tbs.subject_pki.raw.to_vec(),
            key_algorithm: key_algorithm.to_vec(),
            key: tbs.subject_pki.subject_public_key.data.to_vec(),
            subject: tbs.subject.as_raw().to_vec(),
            issuer: tbs.issuer.as_raw().to_vec(),
            common_name: common_name.unwrap_or_default().to_owned(),
            serial: serial.get(zeros..).unwrap_or_default().to_vec(),
            not_before: tbs.validity.not_before.timestamp(),
            not_after: tbs.validity.not_after.timestamp(),
            is_v3: parsed.version() == X509Version::V3,
            authority: None,
            may_sign: true,
            purposes: None,
            dns_names: Vec::new(),
            ip_addresses: Vec::new(),
            has_other_names: false,
            constraints: None,
            unhandled_critical: false,
        };
        // Two of a kind could be read in two ways.
        tbs.extensions_map().map_err(|_| bad.clone())?;
        for extension in parsed.extensions() {
            let handled = certificate.note(extension.parsed_extension()).ok_or(bad.clone())?;
            certificate.unhandled_critical |= extension.critical && !handled;
        }
        Ok(certificate)
    }

    /// Notes what an extension says. Tells whether all of it is heeded; `None` if it is malformed.
    fn note(&mut self, extension: &ParsedExtension<'_>) -> Option<bool> {
        Some(match extension {
            ParsedExtension::ParseError { .. } => return None,
            ParsedExtension::BasicConstraints(told) => {
                self.authority = Some((told.ca, told.path_len_constraint));
                true
            }
            ParsedExtension::KeyUsage(told) => {
                self.may_sign = told.key_cert_sign();
                true
            }
            ParsedExtension::ExtendedKeyUsage(told) => {
                self.purposes = purposes(told);
                true
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                for name in &names.general_names {
                    match name {
                        GeneralName::DNSName(name) => self.dns_names.push((*name).to_owned()),
                        GeneralName::IPAddress(bytes) => self.ip_addresses.push(ip(bytes)?),
                        GeneralName::Invalid(..) => return None,
                        _ => self.has_other_names = true,
                    }
                }
                true
            }
            ParsedExtension::NameConstraints(told) => {
                let (constraints, complete) = NameConstraints::of(told)?;
                self.constraints = Some(constraints);
                complete
            }
            ParsedExtension::AuthorityKeyIdentifier(_)
            | ParsedExtension::SubjectKeyIdentifier(_)
            | ParsedExtension::CRLDistributionPoints(_)
            | ParsedExtension::CertificatePolicies(_) => true,
            _ => false,
        })
    }

    /// Whether both stand for the same name and key.
    pub(crate) fn is_same_entity(&self, other: &Certificate) -> bool {
        self.subject == other.subject
            && self.public_key_info == other.public_key_info
            && self.dns_names == other.dns_names
            && self.ip_addresses == other.ip_addresses
    }
}

fn purposes(told: &ExtendedKeyUsage<'_>) -> Option<Purposes> {
    let told_any = told.any;
    (!told_any).then_some(Purposes { server: told.server_auth, client: told.client_auth })
}

pub(crate) fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(bytes.into());
    }
    // Compat: to Go an IPv4 address in IPv6's clothes is the IPv4 address.
    <[u8; 16]>::try_from(bytes).ok().map(|bytes| IpAddr::from(bytes).to_canonical())
}

/// The inside of the first element of DER, and what is behind it.
fn element(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[_, first], rest) = input.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// The certificates of a PEM text.
pub(crate) fn read_pem(path: &Path, text: &[u8]) -> Result<Vec<Certificate>, Error> {
    let content = |reason: String| Error::Content { path: path.to_owned(), reason };
    let mut certificates = Vec::new();
    for der in CertificateDer::pem_slice_iter(text) {
        let der = der.map_err(|error| content(error.to_string()))?;
        let parsed = Certificate::parse(&der);
        certificates.push(parsed.map_err(|_| content("x509: malformed certificate".to_owned()))?);
    }
    if certificates.is_empty() {
        let reason = "tls: failed to find any PEM data in certificate input";
        return Err(content(reason.to_owned()));
    }
    Ok(certificates)
}
