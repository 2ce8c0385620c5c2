//! Joining a cluster that is there: its members are asked who they are, and the flags must say
//! the same.
//!
//! Source: etcd `server/etcdserver/cluster_util.go`, `api/membership/cluster.go:
//! ValidateClusterAndAssignIDs`.

use crate::{Config, Fatal};
use member::{InitialCluster, Member, Version};
use net::Dialer;
use peer::PeerUrl;
use std::time::Duration;

/// How long a member is waited for.
const ASK_MAX: Duration = Duration::from_secs(10);

/// Bytes of an answer, at most.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Who this member is to be in the cluster it joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Joining {
    pub id: u64,
    pub cluster_id: u64,
    members: Vec<Member>,
}

impl Joining {
    /// Asks the other members of the initial cluster, and compares.
    ///
    /// # Errors
    /// [`Fatal::Config`]: nobody answers, or the flags name other members than there are.
    pub(crate) async fn ask(config: &Config, dialer: &Dialer) -> Result<Joining, Fatal> {
        let others = config.initial_cluster.urls.iter().filter(|(name, _)| **name != config.name);
        let mut refused = Vec::new();
        for url in others.flat_map(|(_, urls)| urls) {
            match ask(dialer, url).await {
                Ok((cluster_id, members)) => {
                    let version = cluster_version(dialer, url).await;
                    return Self::match_up(config, cluster_id, members, version.as_deref());
                }
                Err(reason) => {
                    tracing::warn!(%url, reason, "failed to get the members from a peer");
                    refused.push(format!("{url}: {reason}"));
                }
            }
        }
        Err(invalid(format!(
            "cannot fetch cluster info from peer urls: could not retrieve cluster information from the given URLs ({})",
            refused.join("; ")
        )))
    }

    fn match_up(
        config: &Config,
        cluster_id: u64,
        members: Vec<Member>,
        version: Option<&str>,
    ) -> Result<Joining, Fatal> {
        let ours = member::SERVER_VERSION.major_minor();
        let theirs = version.and_then(|text| Version::parse(text).ok());
        if let Some(theirs) = theirs.filter(|theirs| theirs.major_minor() > ours) {
            let reason = format!(
                "incompatible with current running cluster: it is in version {theirs}, and this server is {ours}"
            );
            return Err(Fatal::Config { field: "initial-cluster-state", reason });
        }
        let ids = same_members(&config.initial_cluster, &members)?;
        let own = ids.iter().find(|(name, _)| *name == config.name);
        let &(_, id) = own.ok_or_else(|| {
            invalid(format!(
                "couldn't find local name {:?} in the initial cluster configuration",
                config.name
            ))
        })?;
        Ok(Joining { id, cluster_id, members })
    }

    /// The members but this one.
    pub(crate) fn others(&self) -> Vec<Member> {
        self.members.iter().filter(|member| member.id != self.id).cloned().collect()
    }
}

/// The ids of the members that the flags name, found by their peer URLs: names are not known
/// before a member has started.
fn same_members<'a>(
    initial: &'a InitialCluster,
    members: &[Member],
) -> Result<Vec<(&'a str, u64)>, Fatal> {
    if initial.urls.len() != members.len() {
        return Err(invalid(format!(
            "error validating peerURLs: member count is unequal: {} are listed and the cluster has {}; list every member of `etcdctl member list`",
            initial.urls.len(),
            members.len()
        )));
    }
    let found = initial.urls.iter().map(|(name, urls)| {
        let same = members.iter().find(|member| {
            let mut theirs = member.peer_urls.clone();
            theirs.sort_unstable();
            theirs == *urls
        });
        let unmatched = || {
            invalid(format!(
                "error validating peerURLs: unmatched member while checking PeerURLs: {name}={} is no member's",
                urls.join(",")
            ))
        };
        Ok((&**name, same.ok_or_else(unmatched)?.id))
    });
    found.collect()
}

/// Members and cluster id, as one member tells them.
async fn ask(dialer: &Dialer, url: &str) -> Result<(u64, Vec<Member>), String> {
    let peer = PeerUrl::parse(url).map_err(|error| error.to_string())?;
    let answer = peer::get(dialer, &peer, "/members", ASK_MAX, ANSWER_BYTES_MAX).await;
    let answer = answer.map_err(|error| error.to_string())?;
    let cluster_id = answer.cluster_id.ok_or("it does not tell its cluster's id")?;
    let members = member::parse_members(&answer.body).map_err(|error| error.to_string())?;
    if members.is_empty() {
        return Err("it knows no members yet".to_owned());
    }
    Ok((cluster_id, members))
}

/// The cluster's version, if it has one and a member tells it.
async fn cluster_version(dialer: &Dialer, url: &str) -> Option<String> {
    let peer = PeerUrl::parse(url).ok()?;
    let answer = peer::get(dialer, &peer, "/version", ASK_MAX, ANSWER_BYTES_MAX).await.ok()?;
    let told = String::from_utf8(answer.body.to_vec()).ok()?;
    // {"etcdserver":"3.7.1","etcdcluster":"3.7.0","storage":"3.7.0"}
    let (_, behind) = told.split_once("\"etcdcluster\":\"")?;
    behind.split_once('"').map(|(version, _)| version.to_owned())
}

fn invalid(reason: String) -> Fatal {
    Fatal::Config { field: "initial-cluster", reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, url: &str) -> Member {
        Member { id, ..Member::new("", vec![url.to_owned()], "", None) }
    }

    #[test]
    fn members_are_matched_by_their_urls() {
        let initial = InitialCluster::parse("a=http://h:1,b=http://h:2").unwrap();
        let members = [member(7, "http://h:2"), member(5, "http://h:1")];
        assert_eq!(same_members(&initial, &members).unwrap(), [("a", 5), ("b", 7)]);
        let too_few = same_members(&initial, &members[..1]).unwrap_err().to_string();
        assert!(too_few.contains("member count is unequal"), "{too_few}");
        let others = [member(7, "http://h:2"), member(5, "http://h:3")];
        let unmatched = same_members(&initial, &others).unwrap_err().to_string();
        assert!(unmatched.contains("unmatched member while checking PeerURLs"), "{unmatched}");
    }
}
