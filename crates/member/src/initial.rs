//! The members of a new cluster, as each of them works them out for itself.
//!
//! Invariant: all that start from the same names, URLs and token come to the same ids and the
//! same first entries of the log, byte for byte; raft never compares them.

use crate::json::{ChangeContext, Member};
use peer::identity::{cluster_id, member_id};
use std::collections::BTreeMap;

/// Why a cluster cannot start so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InitialError {
    /// The member itself is not among them.
    #[error("couldn't find local name {name:?} in the initial cluster configuration")]
    NotListed {
        /// Its name.
        name: String,
    },
    /// A URL is a member's twice, or two members'.
    #[error("URL {url:?} is listed twice in the initial cluster")]
    DoubledUrl {
        /// The URL.
        url: String,
    },
    /// Two members come to one id.
    #[error("member exists with identical ID {id:x}")]
    SameId {
        /// The id.
        id: u64,
    },
}

/// The members of a new cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitialCluster {
    /// The cluster's id.
    pub id: u64,
    /// The members by id, named.
    pub members: BTreeMap<u64, Member>,
}

impl InitialCluster {
    /// Works out ids from names with their peer URLs and the cluster's token.
    ///
    /// # Errors
    /// [`InitialError`].
    pub fn new(names: &[(String, Vec<String>)], token: &str) -> Result<Self, InitialError> {
        let mut by_name: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        let mut seen = std::collections::BTreeSet::new();
        for (name, urls) in names {
            for url in urls {
                if !seen.insert(url) {
                    return Err(InitialError::DoubledUrl { url: url.clone() });
                }
                by_name.entry(name).or_default().push(url.clone());
            }
        }
        let mut members = BTreeMap::new();
        for (name, mut peer_urls) in by_name {
            peer_urls.sort();
            let urls: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
            let id = member_id(&urls, token, None);
            let member =
                Member { id, peer_urls: peer_urls.clone(), name: name.to_owned(), ..Member::default() };
            if members.insert(id, member).is_some() {
                return Err(InitialError::SameId { id });
            }
        }
        let ids: Vec<u64> = members.keys().copied().collect();
        Ok(Self { id: cluster_id(&ids), members })
    }

    /// The member of this name.
    ///
    /// # Errors
    /// [`InitialError::NotListed`].
    pub fn member(&self, name: &str) -> Result<&Member, InitialError> {
        let found = self.members.values().find(|member| member.name == name);
        found.ok_or_else(|| InitialError::NotListed { name: name.to_owned() })
    }

    /// What the first entries of the log carry, one for each member, by ascending id.
    pub fn contexts(&self) -> impl Iterator<Item = (u64, String)> {
        self.members.values().map(|member| {
            let context = ChangeContext { member: member.clone(), is_promote: false };
            (member.id, context.member.to_json())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_etcd() {
        let names = [("a".to_owned(), vec!["http://127.0.0.1:23801".to_owned()])];
        let cluster = InitialCluster::new(&names, "etcd-cluster").expect("well formed");
        assert_eq!(cluster.id, 0xd1cf_af99_9eb9_7a2a);
        assert_eq!(cluster.member("a").map(|member| member.id), Ok(0xbdae_9bbc_11dd_390d));
        let doubled = [names[0].clone(), ("b".to_owned(), names[0].1.clone())];
        assert!(InitialCluster::new(&doubled, "t").is_err());
        assert!(cluster.member("b").is_err());
    }
}
