//! For which names and addresses a certificate is good, and whether a client comes from one of
//! them.
//!
//! Source: Go's `crypto/x509/verify.go: VerifyHostname`, etcd's `transport/listener_tls.go:
//! checkCertSAN`. The texts are theirs: they are found in logs.

use crate::certificate::Certificate;
use std::net::IpAddr;

/// Whether a certificate is good for a host: an address, or a name.
pub(crate) fn verify_host(certificate: &Certificate, host: &str) -> Result<(), String> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let address = bare.parse::<IpAddr>().ok().map(|address| address.to_canonical());
    if let Some(address) = address {
        if certificate.ip_addresses.contains(&address) {
            return Ok(());
        }
    } else if certificate.dns_names.iter().any(|pattern| matches(pattern, host)) {
        return Ok(());
    }
    Err(not_valid(certificate, bare, address.is_some()))
}

fn not_valid(certificate: &Certificate, host: &str, is_address: bool) -> String {
    let Certificate { dns_names, ip_addresses, .. } = certificate;
    if is_address && ip_addresses.is_empty() {
        return format!(
            "x509: cannot validate certificate for {host} because it doesn't contain any IP SANs"
        );
    }
    let valid = if is_address {
        ip_addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>().join(", ")
    } else {
        dns_names.join(", ")
    };
    if valid.is_empty() {
        format!("x509: certificate is not valid for any names, but wanted to match {host}")
    } else {
        format!("x509: certificate is valid for {valid}, not {host}")
    }
}

/// Whether a name of a certificate, maybe with a wildcard as its first label, is a host's.
fn matches(pattern: &str, host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let well_formed = |name: &str| !name.is_empty() && name.split('.').all(|part| !part.is_empty());
    if !well_formed(pattern) || !well_formed(host) {
        return false;
    }
    match pattern.strip_prefix("*.") {
        Some(base) => {
            host.split_once('.').is_some_and(|(_, behind)| behind.eq_ignore_ascii_case(base))
        }
        None => pattern.eq_ignore_ascii_case(host),
    }
}

/// Whether a client comes from where its certificate says it may.
pub(crate) async fn verify_origin(certificate: &Certificate, from: IpAddr) -> Result<(), String> {
    let from = from.to_canonical();
    let Certificate { dns_names, ip_addresses, .. } = certificate;
    if ip_addresses.is_empty() && dns_names.is_empty() {
        return Ok(());
    }
    if !ip_addresses.is_empty() {
        match verify_host(certificate, &from.to_string()) {
            Err(why) if dns_names.is_empty() => return Err(why),
            Err(_) => {}
            Ok(()) => return Ok(()),
        }
    }
    let (wildcards, names): (Vec<_>, Vec<_>) =
        dns_names.iter().partition(|name| name.starts_with("*."));
    // Asking for names first: that is mostly in a file, and addresses of names mostly are known.
    let mut failed = String::new();
    for name in &names {
        match tokio::net::lookup_host((name.as_str(), 0)).await {
            Ok(found) => {
                let mut found = found.map(|found| found.ip().to_canonical());
                if found.any(|found| found == from) {
                    return Ok(());
                }
            }
            Err(error) => failed = format!(" ({error})"),
        }
    }
    let looked_up = tokio::task::spawn_blocking(move || dns_lookup::lookup_addr(&from)).await;
    match looked_up {
        Ok(Ok(found)) => {
            let found = found.trim_end_matches('.');
            let below = |wildcard: &&&String| found.ends_with(&wildcard[1..]);
            if wildcards.iter().any(|name| below(&name)) || names.iter().any(|name| *name == found)
            {
                return Ok(());
            }
        }
        Ok(Err(error)) => failed = format!(" ({error})"),
        // The server is ending.
        Err(_) => {}
    }
    let quoted: Vec<_> = dns_names.iter().map(|name| format!("{name:?}")).collect();
    let quoted = quoted.join(" ");
    Err(format!("tls: \"{from}\" does not match any of DNSNames [{quoted}]{failed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_one_label() {
        for (pattern, host, want) in [
            ("a.example.com", "A.example.com", true),
            ("a.example.com", "a.example.com.", true),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "a.b.example.com", false),
            ("*.example.com", "example.com", false),
            ("a.*.com", "a.example.com", false),
            ("", "", false),
        ] {
            assert_eq!(matches(pattern, host), want, "{pattern} for {host}");
        }
    }
}
