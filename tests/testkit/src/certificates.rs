//! Certificates for tests: authorities, and what they sign.

pub use rcgen;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose as Purpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, RevokedCertParams, SerialNumber, SignatureAlgorithm, date_time_ymd,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Somebody who signs certificates.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
    /// The certificate's serial.
    pub serial: u64,
}

static SERIAL: AtomicU64 = AtomicU64::new(0x1000);

impl Authority {
    /// One whose own certificate nobody else signed.
    ///
    /// # Panics
    /// Never: what it is made of is sound.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::with(authority_params(name), &PKCS_ECDSA_P256_SHA256)
    }

    /// The same, of any make.
    ///
    /// # Panics
    /// If it cannot be made of this.
    #[must_use]
    pub fn with(params: CertificateParams, algorithm: &'static SignatureAlgorithm) -> Self {
        let key = KeyPair::generate_for(algorithm).expect("a key can be made");
        let issuer = CertifiedIssuer::self_signed(params, key);
        Self { issuer: issuer.expect("what it is made of is sound") }
    }

    /// One whose certificate this one signed.
    ///
    /// # Panics
    /// If it cannot be made of this.
    #[must_use]
    pub fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key can be made");
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer);
        Self { issuer: issuer.expect("what it is made of is sound") }
    }

    /// Its certificate, in PEM.
    #[must_use]
    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// Its certificate, in DER.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        self.issuer.der()
    }

    /// What signs.
    #[must_use]
    pub fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// A certificate for a common name, and for names and addresses, that servers and clients can
    /// show.
    ///
    /// # Panics
    /// If a name is none.
    #[must_use]
    pub fn sign(&self, common_name: &str, names: &[&str]) -> Pair {
        self.sign_with(params(common_name, names), &PKCS_ECDSA_P256_SHA256)
    }

    /// The same, of any make.
    ///
    /// # Panics
    /// If it cannot be made of this.
    #[must_use]
    pub fn sign_with(
        &self,
        mut params: CertificateParams,
        algorithm: &'static SignatureAlgorithm,
    ) -> Pair {
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate_for(algorithm).expect("a key can be made");
        let signed = params.signed_by(&key, &self.issuer).expect("what it is made of is sound");
        Pair { cert: signed.pem(), key: key.serialize_pem(), serial }
    }

    /// A list of revoked certificates, in DER.
    ///
    /// # Panics
    /// Never: it can be signed.
    #[must_use]
    pub fn revoke(&self, serials: &[u64]) -> Vec<u8> {
        let at = date_time_ymd(2024, 1, 1);
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: at,
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: at,
            next_update: date_time_ymd(2090, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let signed = list.signed_by(&self.issuer).expect("a list can be signed");
        signed.der().to_vec()
    }
}

impl Pair {
    /// Writes both into a folder, as `<name>.crt` and `<name>.key`; tells where they are.
    ///
    /// # Panics
    /// If they cannot be written.
    #[must_use]
    pub fn write(&self, folder: &Path, name: &str) -> (PathBuf, PathBuf) {
        let (cert, key) = (folder.join(format!("{name}.crt")), folder.join(format!("{name}.key")));
        std::fs::write(&cert, &self.cert).expect("a certificate can be written");
        std::fs::write(&key, &self.key).expect("a key can be written");
        (cert, key)
    }
}

/// What an authority's certificate is made of.
#[must_use]
pub fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name, &[]);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.extended_key_usages.clear();
    params
}

/// What a certificate is made of, that servers and clients can show.
///
/// # Panics
/// If a name is none.
#[must_use]
pub fn params(common_name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    let mut params = CertificateParams::new(names).expect("names and addresses");
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.extended_key_usages = vec![Purpose::ServerAuth, Purpose::ClientAuth];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2090, 1, 1);
    params
}
