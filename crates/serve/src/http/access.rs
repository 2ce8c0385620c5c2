//! Which hosts HTTP clients may ask for, and from which origins browsers may come.
//!
//! Source: etcd `server/embed/serve.go` (`accessController`), `server_access_control.go`.

use super::error;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use std::collections::BTreeSet;

/// The rules. An empty set, or one with `*`, allows all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Names of hosts that may be asked for without TLS.
    pub hosts: BTreeSet<String>,
    /// Origins that browsers may come from.
    pub origins: BTreeSet<String>,
}

impl Access {
    /// A page of a stranger could make a browser ask a name of its own that leads here.
    pub(super) fn refuse_host(&self, request: &Parts) -> Option<Response> {
        if allows_all(&self.hosts) {
            return None;
        }
        let asked = request.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let of_uri = request.uri.authority().map(|authority| authority.as_str());
        let host = host_name(of_uri.or(asked).unwrap_or_default());
        if self.hosts.contains(host) {
            return None;
        }
        tracing::warn!(host, "rejecting HTTP request to prevent DNS rebinding attacks");
        // Compat: etcd's words, with its name.
        let text = format!(
            "\netcd received your request, but the Host header was unrecognized.\n\n\
             To fix this, choose one of the following options:\n\
             - Enable TLS, then any HTTPS request will be allowed.\n\
             - Add the hostname you want to use to the whitelist in settings.\n\
             \x20 - e.g. etcd --host-whitelist {host:?}\n\n\
             This requirement has been added to help prevent \"DNS Rebinding\" attacks \
             (CVE-2018-5702).\n"
        );
        Some(error(StatusCode::MISDIRECTED_REQUEST, &text))
    }

    /// What browsers are told of the origin that they name.
    pub(super) fn allowed_origin(&self, request: &Parts) -> Option<HeaderValue> {
        if allows_all(&self.origins) {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = request.headers.get(header::ORIGIN)?;
        let allowed = origin.to_str().is_ok_and(|origin| self.origins.contains(origin));
        allowed.then(|| origin.clone())
    }
}

fn allows_all(set: &BTreeSet<String>) -> bool {
    set.is_empty() || set.contains("*")
}

pub(super) fn add_cors(headers: &mut HeaderMap, origin: HeaderValue) {
    let methods = HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE");
    let names = HeaderValue::from_static("accept, content-type, authorization");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
}

/// The name without its port; all of what is no name and port (Go's `net.SplitHostPort`).
fn host_name(host: &str) -> &str {
    let split = match host.strip_prefix('[') {
        Some(inner) => inner.split_once("]:"),
        None => host.split_once(':').filter(|(_, port)| !port.contains(':')),
    };
    split.map_or(host, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::host_name;

    #[test]
    fn names_of_hosts() {
        let check = |host: &str, want: &str| assert_eq!(host_name(host), want);
        check("a.example", "a.example");
        check("a.example:80", "a.example");
        check("[::1]:80", "::1");
        check("[::1]", "[::1]");
        check("a:b:c", "a:b:c");
        check("", "");
    }
}
