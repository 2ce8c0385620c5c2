//! The members that are, those that were, the cluster's version and its downgrade.
//!
//! Source: etcd server/etcdserver/api/membership/cluster.go.

use crate::json::{ChangeContext, Member, encode};
use crate::version::Version;
use backend::{Bucket, Buckets, Store};
use peer::identity::{format_id, parse_id};
use raftpb::{ConfChange, ConfChangeType, ConfState};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Why a change of membership changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The id was a member's that is gone; it never comes back.
    #[error("membership: ID removed")]
    IdRemoved,
    /// There is such a member already.
    #[error("membership: ID exists")]
    IdExists,
    /// There is no such member.
    #[error("membership: ID not found")]
    IdNotFound,
    /// A peer URL is another member's.
    #[error("membership: peerURL exists")]
    PeerUrlExists,
    /// It has a vote already.
    #[error("membership: can only promote a learner member")]
    MemberNotLearner,
    /// There are as many learners as there may be.
    #[error("membership: too many learner members in cluster")]
    TooManyLearners,
    /// No member can read it.
    #[error("membership: malformed change: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
}

/// The replicated state about members.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cluster {
    members: BTreeMap<u64, Member>,
    removed: BTreeSet<u64>,
    version: Option<Version>,
    downgrade: Option<String>,
}

const VERSION_KEY: &[u8] = b"clusterVersion";
const DOWNGRADE_KEY: &[u8] = b"downgrade";
const CONF_STATE_KEY: &[u8] = b"confState";

#[derive(Serialize, Deserialize)]
struct Downgrade {
    #[serde(rename = "target-version", default)]
    target_version: String,
    enabled: bool,
}

/// Raft's configuration as Go's JSON of it.
#[derive(Serialize)]
struct StoredConfState<'a> {
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    voters: &'a [u64],
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    learners: &'a [u64],
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    voters_outgoing: &'a [u64],
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    learners_next: &'a [u64],
    auto_leave: bool,
}

impl Cluster {
    /// What the buckets hold. What cannot be read is left out: members that wrote it cannot.
    #[must_use]
    pub fn load(buckets: &Buckets) -> Self {
        let member = |value: &[u8]| serde_json::from_slice::<Member>(value).ok();
        let members = buckets.bucket(Bucket::Members).values();
        let id = |key: &[u8]| parse_id(std::str::from_utf8(key).ok()?);
        let version = buckets.get(Bucket::Cluster, VERSION_KEY);
        let downgrade = buckets.get(Bucket::Cluster, DOWNGRADE_KEY);
        let downgrade: Option<Downgrade> =
            downgrade.and_then(|value| serde_json::from_slice(value).ok());
        Self {
            members: members.filter_map(|value| Some((member(value)?.id, member(value)?))).collect(),
            removed: buckets.bucket(Bucket::MembersRemoved).keys().filter_map(|k| id(k)).collect(),
            version: version.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok()),
            downgrade: downgrade.filter(|its| its.enabled).map(|its| its.target_version),
        }
    }

    /// The members, by ascending id.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    /// A member.
    #[must_use]
    pub fn member(&self, id: u64) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Whether the id was a member's that is gone.
    #[must_use]
    pub fn is_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// The ids of members that are gone, ascending.
    pub fn removed(&self) -> impl Iterator<Item = u64> {
        self.removed.iter().copied()
    }

    /// The cluster's version; `None` until it is decided.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// What the cluster is being downgraded to.
    #[must_use]
    pub fn downgrade(&self) -> Option<&str> {
        self.downgrade.as_deref()
    }

    /// Raft's configuration that these members make.
    #[must_use]
    pub fn conf_state(&self) -> ConfState {
        let ids = |learner: bool| {
            let of_kind = self.members.values().filter(move |its| its.is_learner == learner);
            of_kind.map(|member| member.id).collect()
        };
        ConfState {
            voters: ids(false),
            learners: ids(true),
            auto_leave: Some(false),
            ..ConfState::default()
        }
    }

    /// The members in the form that snapshots carry for older members.
    #[must_use]
    pub fn v2_snapshot(&self) -> String {
        crate::v2::snapshot(self)
    }

    /// Whether a change can be applied.
    ///
    /// # Errors
    /// [`Error`].
    pub fn validate(&self, change: &ConfChange, max_learners: usize) -> Result<(), Error> {
        let id = change.node_id();
        if self.removed.contains(&id) {
            return Err(Error::IdRemoved);
        }
        match change.r#type() {
            ConfChangeType::ConfChangeAddNode | ConfChangeType::ConfChangeAddLearnerNode => {
                let context = context(change)?;
                if context.is_promote {
                    return match self.members.get(&id) {
                        None => Err(Error::IdNotFound),
                        Some(member) if !member.is_learner => Err(Error::MemberNotLearner),
                        Some(_) => Ok(()),
                    };
                }
                if self.members.contains_key(&id) {
                    return Err(Error::IdExists);
                }
                self.check_urls(&context.member)?;
                let learners = self.members.values().filter(|member| member.is_learner).count();
                if context.member.is_learner && learners >= max_learners {
                    return Err(Error::TooManyLearners);
                }
                Ok(())
            }
            ConfChangeType::ConfChangeRemoveNode if self.members.contains_key(&id) => Ok(()),
            ConfChangeType::ConfChangeUpdateNode if self.members.contains_key(&id) => {
                self.check_urls(&context(change)?.member)
            }
            ConfChangeType::ConfChangeRemoveNode | ConfChangeType::ConfChangeUpdateNode => {
                Err(Error::IdNotFound)
            }
        }
    }

    /// No URL of the member may be another's.
    fn check_urls(&self, member: &Member) -> Result<(), Error> {
        let others = self.members.values().filter(|other| other.id != member.id);
        let mut theirs = others.flat_map(|other| &other.peer_urls);
        if theirs.any(|url| member.peer_urls.contains(url)) {
            return Err(Error::PeerUrlExists);
        }
        Ok(())
    }

    /// Applies a change that was validated.
    ///
    /// # Errors
    /// [`Error::Malformed`], which validation finds too.
    pub fn apply_change(&mut self, store: &mut Store, change: &ConfChange) -> Result<(), Error> {
        let id = change.node_id();
        match change.r#type() {
            ConfChangeType::ConfChangeAddNode | ConfChangeType::ConfChangeAddLearnerNode => {
                let context = context(change)?;
                let member = if context.is_promote {
                    let member = self.members.get(&id).cloned().ok_or(Error::IdNotFound)?;
                    Member { is_learner: false, ..member }
                } else {
                    context.member
                };
                self.save(store, member);
            }
            ConfChangeType::ConfChangeUpdateNode => {
                let peer_urls = context(change)?.member.peer_urls;
                let member = self.members.get(&id).cloned().ok_or(Error::IdNotFound)?;
                self.save(store, Member { peer_urls, ..member });
            }
            ConfChangeType::ConfChangeRemoveNode => {
                self.members.remove(&id);
                self.removed.insert(id);
                store.delete(Bucket::Members, format_id(id).as_bytes());
                store.set(Bucket::MembersRemoved, format_id(id).as_bytes(), b"removed");
            }
        }
        Ok(())
    }

    /// Notes what a member says of itself. Of one that is gone, nothing is noted.
    pub fn set_attributes(
        &mut self,
        store: &mut Store,
        id: u64,
        name: String,
        client_urls: Vec<String>,
    ) {
        if let Some(member) = self.members.get(&id).cloned() {
            self.save(store, Member { name, client_urls, ..member });
        }
    }

    /// Decides the cluster's version. One that is none is left alone: a Go member would end.
    pub fn set_version(&mut self, store: &mut Store, version: &str) {
        if let Ok(version) = version.parse::<Version>() {
            self.version = Some(version);
            store.set(Bucket::Cluster, VERSION_KEY, version.to_string().as_bytes());
        }
    }

    /// Begins a downgrade to a version, or ends the one that is.
    pub fn set_downgrade(&mut self, store: &mut Store, target: Option<String>) {
        let downgrade = Downgrade {
            target_version: target.clone().unwrap_or_default(),
            enabled: target.is_some(),
        };
        store.set(Bucket::Cluster, DOWNGRADE_KEY, encode(&downgrade).as_bytes());
        self.downgrade = target;
    }

    /// Notes raft's configuration beside the members.
    pub fn save_conf_state(&self, store: &mut Store, conf_state: &ConfState) {
        let stored = StoredConfState {
            voters: &conf_state.voters,
            learners: &conf_state.learners,
            voters_outgoing: &conf_state.voters_outgoing,
            learners_next: &conf_state.learners_next,
            auto_leave: conf_state.auto_leave(),
        };
        store.set(Bucket::Meta, CONF_STATE_KEY, encode(&stored).as_bytes());
    }

    fn save(&mut self, store: &mut Store, member: Member) {
        let key = format_id(member.id);
        store.set(Bucket::Members, key.as_bytes(), member.to_json().as_bytes());
        self.members.insert(member.id, member);
    }
}

/// The member a change is about.
fn context(change: &ConfChange) -> Result<ChangeContext, Error> {
    let malformed = |reason: String| Error::Malformed { reason };
    let context: ChangeContext = serde_json::from_slice(change.context())
        .map_err(|error| malformed(error.to_string()))?;
    if context.member.id != change.node_id() {
        let reason = format!(
            "it is about {:x} and carries {:x}",
            change.node_id(),
            context.member.id
        );
        return Err(malformed(reason));
    }
    Ok(context)
}

#[cfg(test)]
mod tests;
