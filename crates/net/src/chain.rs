//! From a certificate to one that is trusted.
//!
//! The rules are those of Go's `crypto/x509/verify.go`, which differ from the web's: a
//! certificate that is itself on the list of trusted ones is good, also if it is an authority's
//! (etcd's `--auto-tls` makes such), authorities need not be of version 3, and one shown may be an
//! authority's too. Weak algorithms are out, as the provider of cryptography does not have them.
//!
//! Invariant: the work for one chain is bounded, whatever the other side sends.

use crate::Error;
use crate::certificate::{Certificate, read_pem};
use rustls::CertificateError;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, UnixTime};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

/// What a certificate is shown for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// By a server.
    Server,
    /// By a client.
    Client,
}

/// Certificates that are trusted.
#[derive(Debug)]
pub(crate) enum Roots {
    /// Those of a file.
    Listed(Vec<Certificate>),
    /// The system's, which are read once one is needed.
    System,
}

/// Signatures checked for one chain, at most (Go's number).
const SIGNATURES_MAX: u32 = 100;

impl Roots {
    /// Reads a file of certificates in PEM.
    pub(crate) fn read(path: &Path) -> Result<Roots, Error> {
        let read = std::fs::read(path);
        let text = read.map_err(|source| Error::File { path: path.to_owned(), source })?;
        Ok(Roots::Listed(read_pem(path, &text)?))
    }

    pub(crate) fn certificates(&self) -> &[Certificate] {
        match self {
            Roots::Listed(certificates) => certificates,
            Roots::System => {
                static SYSTEM: OnceLock<Vec<Certificate>> = OnceLock::new();
                SYSTEM.get_or_init(|| {
                    let found = rustls_native_certs::load_native_certs().certs;
                    found.iter().filter_map(|der| Certificate::parse(der).ok()).collect()
                })
            }
        }
    }
}

/// Looks for a chain from what was shown to a root.
pub(crate) struct Search<'c> {
    roots: &'c [Certificate],
    others: Vec<Certificate>,
    algorithms: WebPkiSupportedAlgorithms,
    purpose: Purpose,
    now: UnixTime,
}

impl<'c> Search<'c> {
    /// A search among `roots` and what else was shown.
    pub(crate) fn new(
        roots: &'c Roots,
        others: &[CertificateDer<'_>],
        algorithms: WebPkiSupportedAlgorithms,
        purpose: Purpose,
        now: UnixTime,
    ) -> Result<Search<'c>, CertificateError> {
        let others = others.iter().map(|der| Certificate::parse(der)).collect::<Result<_, _>>()?;
        Ok(Search { roots: roots.certificates(), others, algorithms, purpose, now })
    }

    /// Looks for a chain from a certificate that [`valid`] has found good. What is told if there is
    /// none is what was wrong with the last one that was tried.
    pub(crate) fn run(&self, leaf: &Certificate) -> Result<(), CertificateError> {
        if self.roots.iter().any(|root| root.der == leaf.der) {
            return self.finish(&[leaf]);
        }
        self.extend(&mut vec![leaf], &mut 0)
    }

    fn extend<'s>(
        &'s self,
        chain: &mut Vec<&'s Certificate>,
        signatures: &mut u32,
    ) -> Result<(), CertificateError> {
        let mut reason = CertificateError::UnknownIssuer;
        let issuer = &chain.last().expect("a chain has a leaf").issuer;
        let roots = self.roots.iter().map(|root| (root, true));
        let others = self.others.iter().map(|other| (other, false));
        for (parent, is_root) in roots.chain(others) {
            if parent.subject != *issuer || chain.iter().any(|link| link.is_same_entity(parent)) {
                continue;
            }
            *signatures += 1;
            if *signatures > SIGNATURES_MAX {
                return Err(CertificateError::UnknownIssuer);
            }
            if let Err(why) = self.check_parent(chain, parent, is_root) {
                reason = why;
                continue;
            }
            chain.push(parent);
            let found = if is_root { self.finish(chain) } else { self.extend(chain, signatures) };
            chain.pop();
            match found {
                Ok(()) => return Ok(()),
                Err(why) => reason = why,
            }
        }
        Err(reason)
    }

    /// Whether `parent` may have signed the end of the chain, and did.
    fn check_parent(
        &self,
        chain: &[&Certificate],
        parent: &Certificate,
        is_root: bool,
    ) -> Result<(), CertificateError> {
        let is_authority = match parent.authority {
            Some((is_authority, _)) => is_authority,
            None => is_root && !parent.is_v3,
        };
        if !is_authority || !parent.may_sign {
            return Err(CertificateError::UnknownIssuer);
        }
        let child = chain.last().expect("a chain has a leaf");
        self.check_signature(child, parent)?;
        valid(parent, self.now)?;
        if let Some((_, Some(below_max))) = parent.authority
            && chain.len() - 1 > below_max as usize
        {
            return Err(CertificateError::UnknownIssuer);
        }
        match &parent.constraints {
            Some(names) if !chain.iter().all(|link| names.allow(link)) => {
                Err(CertificateError::UnknownIssuer)
            }
            _ => Ok(()),
        }
    }

    fn check_signature(
        &self,
        child: &Certificate,
        parent: &Certificate,
    ) -> Result<(), CertificateError> {
        let possible = self.algorithms.all.iter().filter(|algorithm| {
            algorithm.signature_alg_id().as_ref() == child.signature_algorithm
                && algorithm.public_key_alg_id().as_ref() == parent.key_algorithm
        });
        let mut signed = possible.map(|algorithm| {
            algorithm.verify_signature(&parent.key, &child.signed, &child.signature)
        });
        // Compat: to Go, too, a wrong signature means that the true authority is not known.
        if signed.any(|signed| signed.is_ok()) {
            Ok(())
        } else {
            Err(CertificateError::UnknownIssuer)
        }
    }

    /// Judges a whole chain: every link must be good for the purpose.
    fn finish(&self, chain: &[&Certificate]) -> Result<(), CertificateError> {
        let fits = |link: &&Certificate| match (link.purposes, self.purpose) {
            (None, _) => true,
            (Some(purposes), Purpose::Server) => purposes.server,
            (Some(purposes), Purpose::Client) => purposes.client,
        };
        if chain.iter().all(fits) { Ok(()) } else { Err(CertificateError::InvalidPurpose) }
    }
}

/// Whether a certificate by itself is good now.
pub(crate) fn valid(certificate: &Certificate, now: UnixTime) -> Result<(), CertificateError> {
    if certificate.unhandled_critical {
        return Err(CertificateError::UnhandledCriticalExtension);
    }
    let at = |seconds: i64| {
        let seconds = u64::try_from(seconds).unwrap_or_default();
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    };
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if seconds < certificate.not_before {
        let not_before = at(certificate.not_before);
        return Err(CertificateError::NotValidYetContext { time: now, not_before });
    }
    if seconds > certificate.not_after {
        let not_after = at(certificate.not_after);
        return Err(CertificateError::ExpiredContext { time: now, not_after });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{PKCS_ECDSA_P256_SHA256, SigningKey};
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::pki_types::pem::PemObject as _;
    use testkit::certificates::{Authority, authority_params, params};

    fn der(pem: &str) -> Vec<u8> {
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate").to_vec()
    }

    fn found(
        leaf: &[u8],
        others: &[Vec<u8>],
        root: &[u8],
        purpose: Purpose,
    ) -> Result<(), CertificateError> {
        let roots = Roots::Listed(vec![Certificate::parse(root)?]);
        let others: Vec<_> = others.iter().map(|der| CertificateDer::from(&**der)).collect();
        let algorithms = default_provider().signature_verification_algorithms;
        let search = Search::new(&roots, &others, algorithms, purpose, UnixTime::now())?;
        search.run(&Certificate::parse(leaf)?)
    }

    /// An element of DER.
    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let [high, low] = u16::try_from(content.len()).expect("a short one").to_be_bytes();
        [&[tag, 0x82, high, low], content].concat()
    }

    /// The same certificate in version 1, that is without extensions, signed anew.
    fn in_version_1(der: &[u8], key: &impl SigningKey) -> Vec<u8> {
        let parsed = Certificate::parse(der).expect("a certificate");
        let algorithm = element(0x30, &parsed.signature_algorithm);
        // Head of the element, then the version, which is always five bytes.
        let head = if parsed.signed[1] == 0x82 { 4 } else { 3 };
        let fields = &parsed.signed[head + 5..];
        let key_at = fields.windows(parsed.public_key_info.len());
        let key_at = key_at.into_iter().position(|window| window == parsed.public_key_info);
        let end = key_at.expect("it has a key") + parsed.public_key_info.len();
        let signed = element(0x30, &fields[..end]);
        let signature = [&[0], &*key.sign(&signed).expect("it signs")].concat();
        let whole = [signed, algorithm, element(0x03, &signature)].concat();
        element(0x30, &whole)
    }

    #[test]
    fn what_go_takes_and_the_web_does_not() {
        let root = Authority::new("root");
        let leaf = der(&root.sign("leaf", &[]).cert);
        assert_eq!(found(&leaf, &[], root.der(), Purpose::Client), Ok(()));
        let old = in_version_1(&leaf, root.issuer().key());
        assert!(!Certificate::parse(&old).expect("a certificate").is_v3);
        assert_eq!(found(&old, &[], root.der(), Purpose::Client), Ok(()));
        let old_root = in_version_1(root.der(), root.issuer().key());
        assert_eq!(found(&leaf, &[], &old_root, Purpose::Client), Ok(()));

        // One that could be an authority as well, and one that is trusted by itself.
        let authority = root.below(authority_params("authority"));
        assert_eq!(found(authority.der(), &[], root.der(), Purpose::Server), Ok(()));
        assert_eq!(found(&leaf, &[], &leaf, Purpose::Server), Ok(()));

        // In between a certificate must say that it is an authority's.
        let below = der(&authority.sign("below", &[]).cert);
        let shown = [authority.der().to_vec()];
        assert_eq!(found(&below, &shown, root.der(), Purpose::Client), Ok(()));
        let old = [in_version_1(authority.der(), root.issuer().key())];
        let unknown = Err(CertificateError::UnknownIssuer);
        assert_eq!(found(&below, &old, root.der(), Purpose::Client), unknown);
    }

    #[test]
    fn signatures_and_the_work_they_make() {
        let root = Authority::new("root");
        let unknown = Err(CertificateError::UnknownIssuer);
        let mut leaf = der(&root.sign("leaf", &[]).cert);
        let end = leaf.len() - 1;
        leaf[end] ^= 1;
        assert_eq!(found(&leaf, &[], root.der(), Purpose::Client), unknown);

        // Authorities of one name, each of which might have signed the next.
        let many: Vec<_> = (0..150).map(|_| Authority::new("one")).collect();
        let shown: Vec<_> = many.iter().map(|one| one.der().to_vec()).collect();
        let leaf = der(&many[149].sign("leaf", &[]).cert);
        assert_eq!(found(&leaf, &shown, root.der(), Purpose::Client), unknown);
    }

    #[test]
    fn demands_that_nobody_here_knows() {
        let root = Authority::new("root");
        let mut strange = params("strange", &[]);
        let mut demand = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
        let plain = demand.clone();
        demand.set_criticality(true);
        strange.custom_extensions = vec![demand];
        let of = |params| {
            let der = der(&root.sign_with(params, &PKCS_ECDSA_P256_SHA256).cert);
            valid(&Certificate::parse(&der).expect("a certificate"), UnixTime::now())
        };
        assert_eq!(of(strange), Err(CertificateError::UnhandledCriticalExtension));
        let mut harmless = params("harmless", &[]);
        harmless.custom_extensions = vec![plain];
        assert_eq!(of(harmless), Ok(()));
    }
}
