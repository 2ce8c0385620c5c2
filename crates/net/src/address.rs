//! Where to listen or to dial, read from a URL: `http://host:port`, `https://host:port`,
//! `unix://path`, `unixs://path`.
//!
//! Compat: what follows `unix://` is the path of a socket, relative or absolute, also if it looks
//! like a host and a port. As in etcd, `unix:/path` is the same as `unix:///path`.

use std::fmt;
use std::path::PathBuf;

/// A place, and whether TLS is spoken there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Where.
    pub place: Place,
    /// Whether TLS is spoken.
    pub secure: bool,
}

/// Where something is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A host and a port, as in `127.0.0.1:2379`.
    Tcp(String),
    /// A unix socket.
    Unix(PathBuf),
}

/// A text that is no such URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url:?}: {fix}")]
pub struct AddressError {
    /// The text.
    pub url: String,
    /// What it must be.
    pub fix: &'static str,
}

impl Address {
    /// Reads a URL. A host is not looked at closely: whoever dials or listens finds out.
    ///
    /// # Errors
    /// [`AddressError`].
    pub fn parse(url: &str) -> Result<Address, AddressError> {
        let error = |fix| AddressError { url: url.to_owned(), fix };
        let schemes = "must start with http://, https://, unix:// or unixs://";
        let (scheme, rest) = url.split_once(':').ok_or_else(|| error(schemes))?;
        let (secure, unix) = match scheme {
            "http" => (false, false),
            "https" => (true, false),
            "unix" => (false, true),
            "unixs" => (true, true),
            _ => return Err(error(schemes)),
        };
        let behind = rest.strip_prefix("//");
        if unix {
            let path = behind.unwrap_or(rest);
            if path.is_empty() {
                return Err(error("must name a socket"));
            }
            return Ok(Address { place: Place::Unix(path.into()), secure });
        }
        let authority = behind.ok_or_else(|| error(schemes))?;
        if authority.contains(['/', '?', '#']) {
            return Err(error("must not have a path"));
        }
        if authority.contains('@') {
            return Err(error("must not hold a user name"));
        }
        let (host, port) =
            authority.rsplit_once(':').ok_or_else(|| error("must name both host and port"))?;
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || port.parse::<u16>().is_err() || (host.contains(':') && !bracketed) {
            return Err(error("must name both host and port"));
        }
        if host.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
            return Err(error("must name a host in ASCII"));
        }
        Ok(Address { place: Place::Tcp(authority.to_owned()), secure })
    }

    /// The host without its port, by which a server's certificate is judged: of a socket, its
    /// path without what looks like a port.
    #[must_use]
    pub fn host(&self) -> &str {
        let authority = self.authority();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
    }

    /// Host and port, or the path of a socket.
    #[must_use]
    pub fn authority(&self) -> &str {
        match &self.place {
            Place::Tcp(authority) => authority,
            // It was made of a string.
            Place::Unix(path) => path.to_str().unwrap_or_default(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (&self.place, self.secure) {
            (Place::Tcp(_), false) => "http",
            (Place::Tcp(_), true) => "https",
            (Place::Unix(_), false) => "unix",
            (Place::Unix(_), true) => "unixs",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_four_schemes() {
        let check = |url: &str, host: &str, secure| {
            let address = Address::parse(url).expect(url);
            assert_eq!((address.host(), address.secure), (host, secure), "{url}");
            assert_eq!(address.to_string(), url);
        };
        check("http://127.0.0.1:2380", "127.0.0.1", false);
        check("https://node-1.example:80", "node-1.example", true);
        check("https://[::1]:1", "::1", true);
        check("unix://localhost:20000", "localhost", false);
        check("unixs:///run/etcd.sock", "/run/etcd.sock", true);
        let short = Address::parse("unix:/run/etcd.sock").expect("as Go reads it");
        assert_eq!(short.place, Place::Unix("/run/etcd.sock".into()));
        for bad in [
            "",
            "foo",
            "127.0.0.1:1",
            "http://",
            "http://host",
            "http://:1",
            "http://h:1/path",
            "http://h:1/",
            "ftp://h:1",
            "http://h:port",
            "http://u@h:1",
            "http:h:1",
            "unix://",
            "http://::1:1",
            "http://h h:1",
        ] {
            Address::parse(bad).expect_err(bad);
        }
    }
}
