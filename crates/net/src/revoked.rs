//! Serials of certificates that are revoked: a CRL in DER, read anew for every connection.
//!
//! Compat: as in etcd, only serials count. Nobody looks at who signed the list, or until when it is
//! good.

use crate::Error;
use crate::certificate::Certificate;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

/// The list.
#[derive(Debug)]
pub(crate) struct Revoked {
    path: PathBuf,
    last: Mutex<(Vec<u8>, BTreeSet<Vec<u8>>)>,
}

impl Revoked {
    pub(crate) fn new(path: PathBuf) -> Revoked {
        Revoked { path, last: Mutex::default() }
    }

    /// Whether all certificates may pass; if not, or if there is no list, why.
    pub(crate) fn check(&self, certificates: &[Certificate]) -> Result<(), String> {
        let path = || self.path.clone();
        let read = std::fs::read(&self.path);
        let bytes = read.map_err(|source| Error::File { path: path(), source }.to_string())?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != bytes || bytes.is_empty() {
            let Ok((_, list)) = CertificateRevocationList::from_der(&bytes) else {
                let reason = "x509: malformed crl; it must be DER".to_owned();
                return Err(Error::Content { path: path(), reason }.to_string());
            };
            let serials = list.iter_revoked_certificates().map(|revoked| {
                let zeros = revoked.raw_serial().iter().take_while(|byte| **byte == 0).count();
                revoked.raw_serial().get(zeros..).unwrap_or_default().to_vec()
            });
            let serials = serials.collect();
            *last = (bytes, serials);
        }
        match certificates.iter().find(|certificate| last.1.contains(&certificate.serial)) {
            None => Ok(()),
            Some(Certificate { serial, .. }) => {
                let serial: String = serial.iter().map(|byte| format!("{byte:02x}")).collect();
                Err(format!("transport: certificate serial {serial} revoked"))
            }
        }
    }
}
