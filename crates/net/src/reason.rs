//! What went wrong with a connection, in the words of Go's `crypto/tls` and `crypto/x509`: logs of
//! members and the tests of etcd's users know them.

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error, InvalidMessage};
use std::io;

/// An error of input or output, with Go's words if TLS is the reason.
pub(crate) fn in_go_words(error: io::Error) -> io::Error {
    match tls(&error).map(text) {
        Some(text) => io::Error::new(error.kind(), text),
        None => error,
    }
}

/// rustls's error within another.
pub(crate) fn tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Go's words.
fn text(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => format!("remote error: tls: {}", alert_text(*alert)),
        Error::InvalidCertificate(why) => certificate_text(why),
        Error::NoCertificatesPresented => "tls: client didn't provide a certificate".to_owned(),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "tls: first record does not look like a TLS handshake".to_owned()
        }
        Error::PeerIncompatible(why) => format!("tls: incompatible peer: {why:?}"),
        other => format!("tls: {other}"),
    }
}

fn certificate_text(error: &CertificateError) -> String {
    let unverified = |text: &str| format!("tls: failed to verify certificate: x509: {text}");
    match error {
        // Of the lists of those who may pass; a name that was dialled comes with its context.
        CertificateError::NotValidForName => "client certificate authentication failed".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let host = expected.to_str();
            if presented.is_empty() && host.parse::<std::net::IpAddr>().is_ok() {
                return unverified(&format!(
                    "cannot validate certificate for {host} because it doesn't contain any IP SANs"
                ));
            }
            if presented.is_empty() {
                return unverified(&format!(
                    "certificate is not valid for any names, but wanted to match {host}"
                ));
            }
            let valid = presented.join(", ");
            unverified(&format!("certificate is valid for {valid}, not {host}"))
        }
        CertificateError::UnknownIssuer => unverified("certificate signed by unknown authority"),
        CertificateError::ExpiredContext { time, not_after } => unverified(&format!(
            "certificate has expired or is not yet valid: current time {} is after {}",
            rfc3339(*time),
            rfc3339(*not_after)
        )),
        CertificateError::NotValidYetContext { time, not_before } => unverified(&format!(
            "certificate has expired or is not yet valid: current time {} is before {}",
            rfc3339(*time),
            rfc3339(*not_before)
        )),
        CertificateError::InvalidPurpose => {
            unverified("certificate specifies an incompatible key usage")
        }
        CertificateError::UnhandledCriticalExtension => unverified("unhandled critical extension"),
        CertificateError::BadEncoding => {
            "tls: failed to parse certificate: x509: malformed certificate".to_owned()
        }
        CertificateError::BadSignature => {
            "tls: invalid signature by the certificate's key".to_owned()
        }
        other => format!("tls: {other}"),
    }
}

/// A moment in UTC, to the second.
fn rfc3339(time: UnixTime) -> String {
    let timestamp = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let moment = x509_parser::time::ASN1Time::from_timestamp(timestamp);
    let Ok(moment) = moment.map(|moment| moment.to_datetime()) else {
        return format!("{timestamp} s since 1970");
    };
    let (date, time) = (moment.date(), moment.time());
    format!("{date}T{:02}:{:02}:{:02}Z", time.hour(), time.minute(), time.second())
}

/// Go's names of alerts (RFC 8446, 6).
fn alert_text(alert: AlertDescription) -> String {
    let text = match alert {
        AlertDescription::CloseNotify => "close notify",
        AlertDescription::UnexpectedMessage => "unexpected message",
        AlertDescription::BadRecordMac => "bad record MAC",
        AlertDescription::RecordOverflow => "record overflow",
        AlertDescription::HandshakeFailure => "handshake failure",
        AlertDescription::BadCertificate => "bad certificate",
        AlertDescription::UnsupportedCertificate => "unsupported certificate",
        AlertDescription::CertificateRevoked => "revoked certificate",
        AlertDescription::CertificateExpired => "expired certificate",
        AlertDescription::CertificateUnknown => "unknown certificate",
        AlertDescription::IllegalParameter => "illegal parameter",
        AlertDescription::UnknownCA => "unknown certificate authority",
        AlertDescription::AccessDenied => "access denied",
        AlertDescription::DecodeError => "error decoding message",
        AlertDescription::DecryptError => "error decrypting message",
        AlertDescription::ProtocolVersion => "protocol version not supported",
        AlertDescription::InsufficientSecurity => "insufficient security level",
        AlertDescription::InternalError => "internal error",
        AlertDescription::InappropriateFallback => "inappropriate fallback",
        AlertDescription::UserCanceled => "user canceled",
        AlertDescription::NoRenegotiation => "no renegotiation",
        AlertDescription::MissingExtension => "missing extension",
        AlertDescription::UnsupportedExtension => "unsupported extension",
        AlertDescription::UnrecognisedName => "unrecognized name",
        AlertDescription::CertificateRequired => "certificate required",
        AlertDescription::NoApplicationProtocol => "no application protocol",
        other => return format!("alert({})", u8::from(other)),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn moments_and_alerts_as_go_writes_them() {
        let at = UnixTime::since_unix_epoch(Duration::from_secs(1_767_366_245));
        assert_eq!(rfc3339(at), "2026-01-02T15:04:05Z");
        let alert = io::Error::other(Error::AlertReceived(AlertDescription::BadCertificate));
        assert_eq!(in_go_words(alert).to_string(), "remote error: tls: bad certificate");
        let other = in_go_words(io::Error::other("broken"));
        assert_eq!(other.to_string(), "broken");
    }
}
