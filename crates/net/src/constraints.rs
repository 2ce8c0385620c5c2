//! Name constraints: for which names an authority may speak. DNS names and IP addresses are
//! heeded; a constraint on names of another kind rules out every certificate with such names.
//!
//! Source: RFC 5280, 4.2.1.10; Go's `crypto/x509/verify.go`.

use crate::certificate::Certificate;
use std::net::IpAddr;
use x509_parser::extensions::{self as parsed, GeneralName, GeneralSubtree};

/// What an authority may and may not name.
#[derive(Debug, Default)]
pub(crate) struct NameConstraints {
    permitted: Names,
    excluded: Names,
    /// Whether there are constraints on other kinds of names.
    on_others: bool,
}

#[derive(Debug, Default)]
struct Names {
    domains: Vec<String>,
    networks: Vec<(IpAddr, IpAddr)>,
}

impl NameConstraints {
    /// Reads them, and tells whether all can be heeded; `None` if they are malformed.
    pub(crate) fn of(told: &parsed::NameConstraints<'_>) -> Option<(NameConstraints, bool)> {
        let mut constraints = NameConstraints::default();
        let mut complete = true;
        let lists = [
            (&told.permitted_subtrees, &mut constraints.permitted),
            (&told.excluded_subtrees, &mut constraints.excluded),
        ];
        for (list, names) in lists {
            for GeneralSubtree { base } in list.iter().flatten() {
                match base {
                    GeneralName::DNSName(domain) => names.domains.push((*domain).to_owned()),
                    GeneralName::IPAddress(bytes) => names.networks.push(network(bytes)?),
                    GeneralName::RFC822Name(_) | GeneralName::URI(_) => {
                        constraints.on_others = true;
                    }
                    GeneralName::Invalid(..) => return None,
                    _ => complete = false,
                }
            }
        }
        Some((constraints, complete))
    }

    /// Whether the authority may speak for a certificate's names.
    pub(crate) fn allow(&self, certificate: &Certificate) -> bool {
        let Names { domains, networks } = &self.permitted;
        let domain_allowed = |name: &String| {
            (domains.is_empty() || domains.iter().any(|domain| within(name, domain)))
                && !self.excluded.domains.iter().any(|domain| touches(name, domain))
        };
        let address_allowed = |address: &IpAddr| {
            (networks.is_empty() || networks.iter().any(|network| holds(*network, *address)))
                && !self.excluded.networks.iter().any(|network| holds(*network, *address))
        };
        certificate.dns_names.iter().all(domain_allowed)
            && certificate.ip_addresses.iter().all(address_allowed)
            && !(self.on_others && certificate.has_other_names)
    }
}

/// An address and a mask, one behind the other.
fn network(bytes: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match bytes.len() {
        8 => {
            let four = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
            Some((four(&bytes[..4])?, four(&bytes[4..])?))
        }
        32 => {
            let sixteen = |bytes: &[u8]| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from);
            Some((sixteen(&bytes[..16])?, sixteen(&bytes[16..])?))
        }
        _ => None,
    }
}

fn holds((network, mask): (IpAddr, IpAddr), address: IpAddr) -> bool {
    match (network, mask, address) {
        (IpAddr::V4(network), IpAddr::V4(mask), IpAddr::V4(address)) => {
            network & mask == address & mask
        }
        (IpAddr::V6(network), IpAddr::V6(mask), IpAddr::V6(address)) => {
            network & mask == address & mask
        }
        _ => false,
    }
}

/// Whether a name is the domain or below it. One that starts with a dot is what is below only.
fn within(name: &str, domain: &str) -> bool {
    let (name, domain) = (name.to_ascii_lowercase(), domain.to_ascii_lowercase());
    match domain.strip_prefix('.') {
        Some(_) => name.ends_with(&domain),
        None if domain.is_empty() || name == domain => true,
        None => name.strip_suffix(&domain).is_some_and(|below| below.ends_with('.')),
    }
}

/// The same, also if only some of the names that a wildcard stands for are.
fn touches(name: &str, domain: &str) -> bool {
    let below = |base: &str| {
        domain
            .trim_start_matches('.')
            .split_once('.')
            .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(base))
    };
    within(name, domain) || name.strip_prefix("*.").is_some_and(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_and_what_is_below_them() {
        for (name, domain, want) in [
            ("a.example.com", "example.com", true),
            ("example.com", "example.com", true),
            ("EXAMPLE.com", "example.COM", true),
            ("badexample.com", "example.com", false),
            ("example.com", ".example.com", false),
            ("a.example.com", ".example.com", true),
            ("anything", "", true),
        ] {
            assert_eq!(within(name, domain), want, "{name} in {domain}");
        }
        assert!(touches("*.example.com", "a.example.com"));
        assert!(!touches("*.example.com", "a.b.example.com"));
    }

    #[test]
    fn networks() {
        let net = network(&[10, 1, 0, 0, 255, 255, 0, 0]).expect("eight bytes");
        assert!(holds(net, [10, 1, 2, 3].into()));
        assert!(!holds(net, [10, 2, 2, 3].into()));
        assert_eq!(network(&[1, 2, 3]), None);
    }
}
