//! Who members are: ids computed from URLs, and their text form.
//!
//! An id is written in lower-case hexadecimal without leading zeros, in headers and paths alike.
//! Source: etcd client/pkg/types/id.go, server/etcdserver/api/membership/{member,cluster}.go.

use sha1::{Digest, Sha1};

/// A member's id: the first 8 bytes of SHA-1 over its peer URLs in ascending order, the cluster
/// token, and for a member added at run time the Unix time in seconds as decimal text (the token
/// is then empty).
pub fn member_id(peer_urls: &[&str], cluster_token: &str, unix_seconds: Option<u64>) -> u64 {
    let mut urls = peer_urls.to_vec();
    urls.sort_unstable();
    let mut hash = Sha1::new();
    urls.iter().for_each(|url| hash.update(url));
    hash.update(cluster_token);
    if let Some(seconds) = unix_seconds {
        hash.update(seconds.to_string());
    }
    first_8_bytes(hash)
}

/// A cluster's id: the first 8 bytes of SHA-1 over its first members' ids in ascending order, each
/// as 8 bytes big endian. It never changes afterwards.
pub fn cluster_id(member_ids: &[u64]) -> u64 {
    let mut ids = member_ids.to_vec();
    ids.sort_unstable();
    let mut hash = Sha1::new();
    ids.iter().for_each(|id| hash.update(id.to_be_bytes()));
    first_8_bytes(hash)
}

fn first_8_bytes(hash: Sha1) -> u64 {
    let digest = hash.finalize();
    digest.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
}

/// An id as text.
pub fn format_id(id: u64) -> String {
    format!("{id:x}")
}

/// Reads an id from text; leading zeros and upper case are taken too, as Go takes them.
pub fn parse_id(text: &str) -> Option<u64> {
    // `from_str_radix` would also take a sign.
    if text.starts_with('+') { None } else { u64::from_str_radix(text, 16).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ids that a Go member computed.
    #[test]
    fn ids_are_those_of_etcd() {
        let first = member_id(&["http://127.0.0.1:23801"], "etcd-cluster", None);
        assert_eq!(format_id(first), "bdae9bbc11dd390d");
        assert_eq!(format_id(cluster_id(&[first])), "d1cfaf999eb97a2a");
        let second = parse_id("02943212f5e2cf73").expect("an id");
        assert_eq!(format_id(second), "2943212f5e2cf73");
        assert_eq!(format_id(cluster_id(&[first, second])), "ad2a858118c9a1f3");
        assert_eq!(cluster_id(&[second, first]), cluster_id(&[first, second]));
    }

    #[test]
    fn the_order_of_urls_makes_no_difference_but_the_time_does() {
        let urls = ["http://b:1", "http://a:1"];
        assert_eq!(member_id(&urls, "", None), member_id(&[urls[1], urls[0]], "", None));
        assert_ne!(member_id(&urls, "", Some(1)), member_id(&urls, "", Some(2)));
        for bad in ["", "+1", "-1", "xyz", "10000000000000000"] {
            assert_eq!(parse_id(bad), None, "{bad}");
        }
    }
}
