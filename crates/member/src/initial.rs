//! What a new cluster begins with: the flag that lists its members, and its first entries.

use crate::{Error, Member, UrlError};
use bytes::Bytes;
use prost::Message;
use raftpb::{ConfChange, ConfChangeType, Entry, EntryType};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// The members that a cluster is to begin with: peer URLs by name.
///
/// Written `name=url,name=url2,other=url3` (etcd `client/pkg/types/urlsmap.go`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitialCluster {
    /// Each one's URLs in ascending order.
    pub urls: BTreeMap<String, Vec<String>>,
}

impl InitialCluster {
    /// Reads the flag. A name may come more than once, and empty items are skipped.
    ///
    /// # Errors
    /// Each [`UrlError`].
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let mut given: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for item in text.split(',').filter(|item| !item.is_empty()) {
            let (name, url) = item.split_once('=').unwrap_or((item, ""));
            given.entry(name.to_owned()).or_default().push(url);
        }
        let mut urls = BTreeMap::new();
        for (name, list) in given {
            urls.insert(name, parse_urls(list)?);
        }
        Ok(Self { urls })
    }

    /// Whether two members, or one twice, have the same URL: no cluster can begin so.
    #[must_use]
    pub fn has_duplicate_url(&self) -> bool {
        let mut seen = BTreeSet::new();
        !self.urls.values().flatten().all(|url| seen.insert(url))
    }

    /// The members, by id.
    ///
    /// # Errors
    /// [`Error::SameId`], [`Error::IdZero`].
    pub fn members(&self, token: &str) -> Result<Vec<Member>, Error> {
        let mut members = BTreeMap::new();
        for (name, urls) in &self.urls {
            let member = Member::new(name, urls.clone(), token, None);
            let id = member.id;
            if members.insert(id, member).is_some() {
                return Err(Error::SameId(id));
            }
            if id == 0 {
                return Err(Error::IdZero);
            }
        }
        Ok(members.into_values().collect())
    }
}

impl fmt::Display for InitialCluster {
    /// As the flag has it, in order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |(name, urls): (&String, &Vec<String>)| -> Vec<String> {
            urls.iter().map(|url| format!("{name}={url}")).collect()
        };
        let mut all: Vec<String> = self.urls.iter().flat_map(of).collect();
        all.sort_unstable();
        f.write_str(&all.join(","))
    }
}

/// The first entries of a new cluster, a membership change for each member, by id. All are
/// committed from the start, in term 1, and each member writes them for itself: raft never
/// compares them, so that they must not differ (etcd `server/etcdserver/bootstrap.go`).
#[must_use]
pub fn bootstrap_entries(members: &[Member]) -> Vec<Entry> {
    let mut members: Vec<&Member> = members.iter().collect();
    members.sort_by_key(|member| member.id);
    let entry = |(index, member): (u64, &Member)| {
        let change = ConfChange {
            id: None,
            r#type: Some(ConfChangeType::ConfChangeAddNode.into()),
            node_id: Some(member.id),
            context: Some(Bytes::from(member.to_json())),
        };
        Entry {
            r#type: Some(EntryType::EntryConfChange.into()),
            term: Some(1),
            index: Some(index),
            data: Some(change.encode_to_vec().into()),
        }
    };
    (1..).zip(members).map(entry).collect()
}

/// Reads a list of URLs and puts it into order (etcd `client/pkg/types/urls.go`). Spaces around
/// each are dropped.
///
/// # Errors
/// Each [`UrlError`].
pub fn parse_urls<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Vec<String>, UrlError> {
    let mut urls =
        texts.into_iter().map(|text| parse_url(text.trim())).collect::<Result<Vec<_>, _>>()?;
    if urls.is_empty() {
        return Err(UrlError::None);
    }
    urls.sort_unstable();
    Ok(urls)
}

fn parse_url(text: &str) -> Result<String, UrlError> {
    let url = || text.to_owned();
    let parse = |reason| UrlError::Parse { url: url(), reason };
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err(parse("invalid character in URL"));
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(|| UrlError::Scheme { url: url() })?;
    // Go writes the scheme in lower case, and ids are made of what it writes.
    let scheme = scheme.to_ascii_lowercase();
    match &*scheme {
        "http" | "https" => {}
        "unix" | "unixs" => return Ok(format!("{scheme}://{rest}")),
        _ => return Err(UrlError::Scheme { url: url() }),
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, behind) = rest.split_at(end);
    let host_port = authority.rsplit_once('@').map_or(authority, |(_, host_port)| host_port);
    let (host, port) =
        host_port.rsplit_once(':').ok_or_else(|| UrlError::HostPort { url: url() })?;
    let bracketed = host.strip_prefix('[').is_some_and(|host| host.ends_with(']'));
    if !bracketed && host.contains([':', '[', ']']) || host_port.ends_with(']') {
        return Err(UrlError::HostPort { url: url() });
    }
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(parse("invalid port after host"));
    }
    if behind.starts_with('/') {
        return Err(UrlError::Path { url: url() });
    }
    Ok(format!("{scheme}://{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use raftpb::MembershipChange;

    #[test]
    fn the_flag_names_members_and_their_urls() {
        let text = ",b=http://h:2,a=HTTP://h:4, a= http://[::1]:3 ,,b=unix://localhost:1";
        // A name is taken with the spaces around it, as etcd does.
        let initial = InitialCluster::parse(text).expect("a list");
        let urls: Vec<_> =
            initial.urls.iter().map(|(name, urls)| (&**name, urls.join(","))).collect();
        let expected = [
            (" a", "http://[::1]:3".to_owned()),
            ("a", "http://h:4".to_owned()),
            ("b", "http://h:2,unix://localhost:1".to_owned()),
        ];
        assert_eq!(urls, expected);
        assert!(!initial.has_duplicate_url());
        assert_eq!(InitialCluster::parse(""), Ok(InitialCluster::default()));
        let twice = InitialCluster::parse("a=http://h:1,b=http://h:1").expect("a list");
        assert!(twice.has_duplicate_url());
        let id = Member::new("", vec!["http://h:1".to_owned()], "t", None).id;
        assert_eq!(twice.members("t"), Err(Error::SameId(id)));
    }

    #[test]
    fn what_is_wrong_with_a_url_is_said_in_etcds_words() {
        let path = "URL must not contain a path: ";
        let scheme = "URL scheme must be http, https, unix, or unixs: ";
        let host = "URL address does not have the form \"host:port\": ";
        for (url, text) in [
            ("http://h:1/", path),
            ("http://h:1/x?y", path),
            ("", scheme),
            ("h:1", scheme),
            ("ftp://h:1", scheme),
            ("http://h", host),
            ("http://", host),
            ("http://a:b:1", host),
            ("http://[::1]", host),
        ] {
            let error = parse_urls([url]).expect_err(url);
            assert_eq!(error.to_string(), format!("{text}{url}"));
        }
        for url in ["http://h:x", "http://h h:1", "http://h:1\n2"] {
            let error = parse_urls([url]).expect_err(url);
            assert!(matches!(error, UrlError::Parse { .. }), "{error}");
        }
        assert_eq!(parse_urls([]), Err(UrlError::None));
        assert_eq!(InitialCluster::parse("name"), Err(UrlError::Scheme { url: String::new() }));
        let some = parse_urls(["http://u@h:1?q", "https://h:"]).expect("odd and good");
        assert_eq!(some, ["http://u@h:1?q", "https://h:"]);
    }

    /// The first entry of a log that etcd 3.7.1 wrote.
    #[test]
    fn the_first_entries_are_etcds() {
        let initial = InitialCluster::parse("a<b>&c=http://127.0.0.1:23801").expect("a list");
        let members = initial.members("etcd-cluster").expect("one member");
        let entries = bootstrap_entries(&members);
        let context = r#"{"id":13668033151171901709,"peerURLs":["http://127.0.0.1:23801"],"name":"a\u003cb\u003e\u0026c"}"#;
        let mut data = b"\x10\x00\x18\x8d\xf2\xf4\x8e\xc1\xf7\xa6\xd7\xbd\x01\x22".to_vec();
        data.push(u8::try_from(context.len()).expect("short"));
        data.extend(context.as_bytes());
        assert_eq!(entries.len(), 1);
        assert_eq!(entries[0].data.as_deref(), Some(&*data));
        assert_eq!((entries[0].index(), entries[0].term()), (1, 1));
        assert_eq!(entries[0].r#type(), EntryType::EntryConfChange);
    }

    #[test]
    fn entries_come_by_id_and_not_by_name() {
        let text = "a=http://h:1,b=http://h:2,c=http://h:3,d=http://h:4";
        let initial = InitialCluster::parse(text).expect("a list");
        let mut members = initial.members("token").expect("four members");
        assert!(members.is_sorted_by_key(|member| member.id));
        assert!(!members.is_sorted_by_key(|member| member.name.clone()), "or the test says little");
        let entries = bootstrap_entries(&members);
        members.reverse();
        assert_eq!(bootstrap_entries(&members), entries);
        for (index, entry) in (1..).zip(&entries) {
            let change =
                ConfChange::decode(entry.data.clone().unwrap_or_default()).expect("a change");
            assert_eq!((entry.index(), change.to_entry().0), (index, entry.r#type()));
        }
    }
}
