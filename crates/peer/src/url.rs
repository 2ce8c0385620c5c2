//! Peer URLs: where a member listens for the others.

use hyper::Uri;

/// A checked peer URL: `http://host:port`, nothing behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerUrl {
    authority: String,
}

/// A text that is no peer URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("peer URL {url:?}: {fix}")]
pub struct UrlError {
    /// The text.
    pub url: String,
    /// What it must be.
    pub fix: &'static str,
}

impl PeerUrl {
    /// Checks a URL.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(url: &str) -> Result<PeerUrl, UrlError> {
        let error = |fix| UrlError { url: url.to_owned(), fix };
        let uri: Uri = url.parse().map_err(|_| error("must be http://host:port"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(error("https needs TLS, which peers do not speak yet")),
            Some("unix" | "unixs") => return Err(error("unix sockets are not served yet")),
            _ => return Err(error("must start with http://")),
        }
        let authority = uri.authority().ok_or_else(|| error("must name host and port"))?;
        if authority.as_str().contains('@') {
            return Err(error("must not hold a user name"));
        }
        if authority.host().is_empty() || authority.port_u16().is_none() {
            return Err(error("must name both host and port"));
        }
        if uri.path() != "/" || uri.query().is_some() || url.ends_with('/') {
            return Err(error("must not have a path"));
        }
        Ok(PeerUrl { authority: authority.as_str().to_owned() })
    }

    /// Host and port, as in `127.0.0.1:2380`.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// The URL of `path` there.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("http://{}{path}", self.authority)
    }
}

impl std::fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

/// A member's URLs, of which one is in use until it fails.
#[derive(Debug)]
pub(crate) struct UrlPicker {
    urls: Vec<PeerUrl>,
    picked: usize,
}

impl UrlPicker {
    pub(crate) fn new(urls: Vec<PeerUrl>) -> UrlPicker {
        UrlPicker { urls, picked: 0 }
    }

    /// The URL in use; `None` if there are none.
    pub(crate) fn pick(&self) -> Option<PeerUrl> {
        self.urls.get(self.picked).cloned()
    }

    /// Goes on to the next URL, if `failed` is still the one in use.
    pub(crate) fn unreachable(&mut self, failed: &PeerUrl) {
        if self.urls.get(self.picked) == Some(failed) {
            self.picked = (self.picked + 1) % self.urls.len();
        }
    }

    pub(crate) fn update(&mut self, urls: Vec<PeerUrl>) {
        *self = UrlPicker::new(urls);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_host_and_port_make_a_peer_url() {
        for good in ["http://127.0.0.1:2380", "http://[::1]:1", "http://node-1.example:80"] {
            assert_eq!(PeerUrl::parse(good).expect(good).to_string(), good);
        }
        for bad in [
            "",
            "foo",
            "127.0.0.1:2380",
            "http://",
            "http://host",
            "http://:1",
            "http://h:1/path",
            "http://h:1/",
            "https://h:1",
            "ftp://h:1",
            "http://h:port",
            "http://u@h:1",
        ] {
            PeerUrl::parse(bad).expect_err(bad);
        }
    }

    #[test]
    fn a_failed_url_gives_way_once() {
        let url = |port| PeerUrl::parse(&format!("http://h:{port}")).expect("a URL");
        let mut picker = UrlPicker::new(vec![url(1), url(2)]);
        picker.unreachable(&url(1));
        picker.unreachable(&url(1)); // two users of the same URL found it dead
        assert_eq!(picker.pick(), Some(url(2)));
        picker.unreachable(&url(2));
        assert_eq!(picker.pick(), Some(url(1)));
    }
}
