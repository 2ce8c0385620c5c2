//! Certificates and keys on disk, read anew for every handshake, as etcd does: what was renewed
//! counts for the next connection, without a restart.
//!
//! Reading two small files costs some microseconds; making a key of one costs more and is done only
//! if the bytes have changed.

use crate::Error;
use crate::certificate::read_pem;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A certificate and its key.
#[derive(Debug)]
pub(crate) struct PairFiles {
    cert: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    last: Mutex<Option<Pair>>,
}

#[derive(Debug)]
struct Pair {
    cert: Vec<u8>,
    key: Vec<u8>,
    made: Arc<CertifiedKey>,
}

impl PairFiles {
    /// Reads both for the first time: what cannot be used is told before anybody connects.
    pub(crate) fn open(
        (cert, key): (&Path, &Path),
        provider: Arc<CryptoProvider>,
    ) -> Result<PairFiles, Error> {
        let last = Mutex::default();
        let files = PairFiles { cert: cert.to_owned(), key: key.to_owned(), provider, last };
        files.load()?;
        Ok(files)
    }

    fn load(&self) -> Result<Arc<CertifiedKey>, Error> {
        let (cert, key) = (read(&self.cert)?, read(&self.key)?);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pair) = last.as_ref().filter(|pair| pair.cert == cert && pair.key == key) {
            return Ok(Arc::clone(&pair.made));
        }
        let made = Arc::new(self.make(&cert, &key)?);
        *last = Some(Pair { cert, key, made: Arc::clone(&made) });
        Ok(made)
    }

    fn make(&self, cert: &[u8], key: &[u8]) -> Result<CertifiedKey, Error> {
        let content = |reason: String| Error::Content { path: self.key.clone(), reason };
        let certificates = read_pem(&self.cert, cert)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| {
            content(format!("tls: failed to find any PEM data in key input ({error})"))
        })?;
        let key = self.provider.key_provider.load_private_key(key);
        let key =
            key.map_err(|error| content(format!("tls: failed to parse private key ({error})")))?;
        let leaf = certificates.first().map(|leaf| &leaf.public_key_info);
        if key.public_key().is_some_and(|public| leaf.is_some_and(|leaf| **leaf != *public)) {
            return Err(content("tls: private key does not match public key".to_owned()));
        }
        let chain = certificates.into_iter().map(|certificate| certificate.der).collect();
        Ok(CertifiedKey::new(chain, key))
    }

    /// The pair of now; what is wrong with it is logged, and the handshake fails.
    fn current(&self, side: &'static str) -> Option<Arc<CertifiedKey>> {
        match self.load() {
            Ok(pair) => Some(pair),
            Err(error) => {
                tracing::warn!(
                    cert_file = %self.cert.display(),
                    key_file = %self.key.display(),
                    error = &error as &dyn std::error::Error,
                    "failed to create {side} certificate"
                );
                None
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

impl ResolvesServerCert for PairFiles {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        // Compat: etcd calls it so on both ports.
        self.current("peer")
    }
}

impl ResolvesClientCert for PairFiles {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.current("client")
    }

    fn has_certs(&self) -> bool {
        true
    }
}
