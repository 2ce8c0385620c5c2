//! What a member says of itself in every request and answer, and whether it can talk to another.
//!
//! Source: etcd rafthttp/{http,util}.go. Compat: a Go dialler crashes on a version header that is
//! no semantic version, so the versions here are constants.

use crate::identity::format_id;
use crate::url::PeerUrl;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// The server version told to peers: that of the etcd this member stands in for.
pub const SERVER_VERSION: &str = "3.7.1";
/// The oldest cluster version this member can work in.
pub const MIN_CLUSTER_VERSION: &str = "3.0.0";

pub(crate) const SERVER_FROM: HeaderName = HeaderName::from_static("x-server-from");
pub(crate) const SERVER_VERSION_HEADER: HeaderName = HeaderName::from_static("x-server-version");
const MIN_CLUSTER_VERSION_HEADER: HeaderName = HeaderName::from_static("x-min-cluster-version");
pub(crate) const CLUSTER_ID: HeaderName = HeaderName::from_static("x-etcd-cluster-id");
pub(crate) const PEER_URLS: HeaderName = HeaderName::from_static("x-peerurls");
pub(crate) const RAFT_TO: HeaderName = HeaderName::from_static("x-raft-to");

/// The body of a 412 that tells of versions too far apart.
pub(crate) const INCOMPATIBLE_VERSION: &str = "incompatible version";
/// The body of a 412 that tells of another cluster.
pub(crate) const CLUSTER_ID_MISMATCH: &str = "cluster ID mismatch";

/// Who this member is.
#[derive(Debug, Clone)]
pub struct Local {
    /// Its id.
    pub id: u64,
    /// Its cluster's id.
    pub cluster_id: u64,
    /// Where it can be reached, as told to others.
    pub urls: Vec<PeerUrl>,
}

impl Local {
    /// The headers of every request to a peer.
    pub(crate) fn request_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(SERVER_FROM, value(&format_id(self.id)));
        headers.insert(SERVER_VERSION_HEADER, HeaderValue::from_static(SERVER_VERSION));
        headers.insert(MIN_CLUSTER_VERSION_HEADER, HeaderValue::from_static(MIN_CLUSTER_VERSION));
        headers.insert(CLUSTER_ID, value(&format_id(self.cluster_id)));
        if !self.urls.is_empty() {
            let urls: Vec<String> = self.urls.iter().map(PeerUrl::to_string).collect();
            headers.insert(PEER_URLS, value(&urls.join(",")));
        }
        headers
    }

    /// The headers of every answer.
    pub(crate) fn response_headers(&self, headers: &mut HeaderMap) {
        headers.insert(SERVER_VERSION_HEADER, HeaderValue::from_static(SERVER_VERSION));
        headers.insert(CLUSTER_ID, value(&format_id(self.cluster_id)));
    }

    /// Why a request with these headers cannot be served: the text of a 412.
    pub(crate) fn incompatibility(&self, headers: &HeaderMap) -> Option<&'static str> {
        let server = major_minor(headers, &SERVER_VERSION_HEADER);
        let min_cluster = major_minor(headers, &MIN_CLUSTER_VERSION_HEADER);
        let (Some(server), Some(min_cluster)) = (server, min_cluster) else {
            return Some(INCOMPATIBLE_VERSION);
        };
        if server < parse_version(MIN_CLUSTER_VERSION)?
            || min_cluster > parse_version(SERVER_VERSION)?
        {
            return Some(INCOMPATIBLE_VERSION);
        }
        let same = headers
            .get(CLUSTER_ID)
            .is_some_and(|id| id.as_bytes() == format_id(self.cluster_id).as_bytes());
        (!same).then_some(CLUSTER_ID_MISMATCH)
    }
}

/// Major and minor of a version header. A missing one stands for 2.0.0, before there were any;
/// `None` is one that is no version.
fn major_minor(headers: &HeaderMap, name: &HeaderName) -> Option<(u64, u64)> {
    match headers.get(name) {
        None => Some((2, 0)),
        Some(value) => parse_version(value.to_str().ok()?),
    }
}

/// Major and minor of `MAJOR.MINOR.PATCH`, with anything behind a `-` or `+`.
fn parse_version(text: &str) -> Option<(u64, u64)> {
    let core = text.split(['-', '+']).next()?;
    let mut parts = core.split('.').map(|part| part.parse::<u64>().ok());
    let (major, minor, _patch) = (parts.next()??, parts.next()??, parts.next()??);
    parts.next().is_none().then_some((major, minor))
}

/// Whether the server that answered serves these streams: from 3.0 on.
pub(crate) fn serves_streams(headers: &HeaderMap) -> bool {
    major_minor(headers, &SERVER_VERSION_HEADER).is_some_and(|version| version >= (3, 0))
}

fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("ids and checked URLs are visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_cluster_decide_by_major_and_minor() {
        let local = Local { id: 1, cluster_id: 0x1000, urls: Vec::new() };
        let check = |server: Option<&str>, min: Option<&str>, cluster: &str| {
            let mut headers = HeaderMap::new();
            if let Some(server) = server {
                headers.insert(SERVER_VERSION_HEADER, value(server));
            }
            if let Some(min) = min {
                headers.insert(MIN_CLUSTER_VERSION_HEADER, value(min));
            }
            headers.insert(CLUSTER_ID, value(cluster));
            local.incompatibility(&headers)
        };
        assert_eq!(check(Some("3.7.1"), Some("3.0.0"), "1000"), None);
        assert_eq!(check(Some("3.0.0"), Some("3.7.99"), "1000"), None);
        assert_eq!(check(Some("3.8.0-alpha.1+git"), Some("3.0.0"), "1000"), None);
        assert_eq!(check(Some("2.3.8"), Some("2.1.0"), "1000"), Some(INCOMPATIBLE_VERSION));
        assert_eq!(check(None, None, "1000"), Some(INCOMPATIBLE_VERSION));
        assert_eq!(check(Some("4.0.0"), Some("3.8.0"), "1000"), Some(INCOMPATIBLE_VERSION));
        assert_eq!(check(Some("seven"), Some("3.0.0"), "1000"), Some(INCOMPATIBLE_VERSION));
        assert_eq!(check(Some("3.7.1"), Some("3.0.0"), "2000"), Some(CLUSTER_ID_MISMATCH));
        assert_eq!(check(Some("3.7.1"), Some("3.0.0"), "01000"), Some(CLUSTER_ID_MISMATCH));
    }
}
