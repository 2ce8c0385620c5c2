//! Peer URLs: where a member listens for the others.

use net::{Address, AddressError, Place};

/// A checked peer URL: `http://host:port` or `https://host:port`, nothing behind it, or
/// `unix://path` or `unixs://path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerUrl {
    address: Address,
}

/// A text that is no peer URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("peer URL {0}")]
pub struct UrlError(#[from] AddressError);

impl PeerUrl {
    /// Checks a URL.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(url: &str) -> Result<PeerUrl, UrlError> {
        Ok(PeerUrl { address: Address::parse(url)? })
    }

    /// Checks a URL for a member that speaks neither TLS nor over unix sockets.
    ///
    /// # Errors
    /// As above.
    pub fn parse_plain(url: &str) -> Result<PeerUrl, UrlError> {
        let parsed = PeerUrl::parse(url)?;
        match parsed.address {
            Address { place: Place::Tcp(_), secure: false } => Ok(parsed),
            _ => {
                Err(AddressError { url: url.to_owned(), fix: "must start with http:// here" }
                    .into())
            }
        }
    }

    /// Where to dial, and how.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Host and port, as in `127.0.0.1:2380`; of a socket its path.
    pub fn authority(&self) -> &str {
        self.address.authority()
    }

    /// What a request's `Host` says.
    pub(crate) fn host_header(&self) -> &str {
        match &self.address.place {
            Place::Tcp(authority) => authority,
            Place::Unix(_) => "localhost",
        }
    }
}

impl std::fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
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

    /// All, the one in use first.
    pub(crate) fn all(&self) -> Vec<PeerUrl> {
        let (behind, from) = self.urls.split_at(self.picked);
        [from, behind].concat()
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
    fn only_a_place_makes_a_peer_url() {
        for good in [
            "http://127.0.0.1:2380",
            "http://[::1]:1",
            "https://node-1.example:80",
            "unix://localhost:1",
        ] {
            assert_eq!(PeerUrl::parse(good).expect(good).to_string(), good);
        }
        PeerUrl::parse_plain("http://h:1").expect("plain");
        PeerUrl::parse_plain("https://h:1").expect_err("TLS");
        for bad in [
            "",
            "foo",
            "127.0.0.1:2380",
            "http://",
            "http://host",
            "http://:1",
            "http://h:1/path",
            "http://h:1/",
            "https://h:1/path",
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
        assert_eq!(picker.all(), [url(2), url(1)]);
        picker.unreachable(&url(2));
        assert_eq!(picker.pick(), Some(url(1)));
    }
}
