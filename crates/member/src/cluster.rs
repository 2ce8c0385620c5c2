//! The replicated part: members, those removed, the cluster's version and downgrade. One owner,
//! the apply stage (etcd `server/etcdserver/api/membership/cluster.go`,
//! `server/storage/schema/membership.go`).
//!
//! A membership change goes through in two steps: [`Cluster::validate`] reads and judges it
//! without changing anything, raft is told, and [`Cluster::apply`] does it.

use crate::json::{Fields, push_string, read_object, take_value};
use crate::parse_id;
use crate::{Context, Error, Member, Rejected, SERVER_VERSION, Version, format_id, parse_context};
use backend::{Bucket, Buckets, Store};
use bytes::Bytes;
use raftpb::{ConfChange, ConfChangeType, ConfState};
use serde::de::MapAccess;
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, BTreeSet};

/// Who is in the cluster, and in which version it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cluster {
    members: BTreeMap<u64, Member>,
    removed: BTreeSet<u64>,
    version: Option<Version>,
    downgrade: Downgrade,
}

/// Whether the cluster is to be downgraded, and to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Downgrade {
    /// The cluster version to reach; `None` while there is no downgrade.
    pub target: Option<Version>,
}

/// A membership change that was read and found valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A new member, voter or learner.
    Add(Member),
    /// A learner gets its vote.
    Promote(u64),
    /// A member goes.
    Remove(u64),
    /// A member has other peer URLs. Nothing else of it can be changed so.
    Update {
        /// Whose.
        id: u64,
        /// All of the new ones.
        peer_urls: Vec<String>,
    },
}

/// The first version that notes the version of the stored state.
const FIRST_STORAGE_VERSION: Version = Version { major: 3, minor: 6, patch: 0 };

const VERSION_KEY: &str = "clusterVersion";
const DOWNGRADE_KEY: &str = "downgrade";
const VALIDATED: &str = "a change is applied to the members it was validated against";

impl Cluster {
    /// What a store holds.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::ClusterTooNew`].
    pub fn load(buckets: &Buckets) -> Result<Self, Error> {
        let mut cluster = Self::default();
        for (key, value) in buckets.bucket(Bucket::Members) {
            let id = stored_id(Bucket::Members, key)?;
            let mut member = Member::from_json(value)
                .map_err(|error| corrupt(Bucket::Members, key, error.to_string()))?;
            // Go fills the members from their keys, and what is in the value goes first.
            if member.id == 0 {
                member.id = id;
            }
            if member.id != id {
                let reason = format!("has the member {}", format_id(member.id));
                return Err(corrupt(Bucket::Members, key, reason));
            }
            cluster.members.insert(id, member);
        }
        for key in buckets.bucket(Bucket::MembersRemoved).keys() {
            cluster.removed.insert(stored_id(Bucket::MembersRemoved, key)?);
        }
        let stored = |name: &'static str| {
            let value = buckets.get(Bucket::Cluster, name.as_bytes());
            value.map(|value| (Bytes::from(name), String::from_utf8_lossy(value)))
        };
        if let Some((key, text)) = stored(VERSION_KEY) {
            let version = Version::parse(&text)
                .map_err(|error| corrupt(Bucket::Cluster, &key, error.to_string()))?;
            cluster.version = Some(known(version)?);
        }
        if let Some((key, text)) = stored(DOWNGRADE_KEY) {
            cluster.downgrade = Downgrade::from_json(&text)
                .map_err(|reason| corrupt(Bucket::Cluster, &key, reason))?;
        }
        Ok(cluster)
    }

    /// All members, by id.
    pub fn members(&self) -> impl ExactSizeIterator<Item = &Member> {
        self.members.values()
    }

    /// A member.
    #[must_use]
    pub fn member(&self, id: u64) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Members with a vote, by id.
    pub fn voters(&self) -> impl Iterator<Item = &Member> {
        self.members().filter(|member| !member.is_learner)
    }

    /// The ids that were members' and will not be again, ascending.
    pub fn removed(&self) -> impl Iterator<Item = u64> {
        self.removed.iter().copied()
    }

    /// Whether this was a member's id and will not be again.
    #[must_use]
    pub fn is_removed(&self, id: u64) -> bool {
        self.removed.contains(&id)
    }

    /// The cluster's version; `None` until a leader has decided on one.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.version
    }

    /// The version of the stored state: it follows the cluster's, so that a member of the version
    /// before can take the state over in a downgrade. `None` before 3.6, which did not note it;
    /// this server's own while the cluster has not decided (etcd `UpdateStorageVersionIfNeeded`).
    #[must_use]
    pub fn storage_version(&self) -> Option<Version> {
        let cluster = self.version.unwrap_or(SERVER_VERSION).major_minor();
        (cluster >= FIRST_STORAGE_VERSION).then_some(cluster)
    }

    /// Whether the cluster is to be downgraded.
    #[must_use]
    pub fn downgrade(&self) -> Downgrade {
        self.downgrade
    }

    /// The configuration that raft starts with again. It is made of the members and nothing
    /// else, since changes are of one member each and no joint configuration is ever in force.
    #[must_use]
    pub fn conf_state(&self) -> ConfState {
        let ids = |learner: bool| {
            let of_kind = self.members().filter(|member| member.is_learner == learner);
            of_kind.map(|member| member.id).collect()
        };
        let (voters, learners) = (ids(false), ids(true));
        ConfState { voters, learners, auto_leave: Some(false), ..ConfState::default() }
    }

    /// Reads and judges a membership change; at most `max_learners` members may be learners
    /// after one is added as such.
    ///
    /// Compat: a learner counts as such if both the change and its context say so.
    ///
    /// # Errors
    /// [`Error::Rejected`] for a change that raft should be told as one of node 0, and all
    /// others for one that must not be in the log.
    pub fn validate(&self, change: &ConfChange, max_learners: usize) -> Result<Change, Error> {
        let id = change.node_id();
        let number = change.r#type.unwrap_or_default();
        let kind = ConfChangeType::try_from(number).map_err(|_| Error::UnknownType(number))?;
        if self.is_removed(id) {
            return Err(Rejected::IdRemoved.into());
        }
        let present = self.member(id);
        match kind {
            ConfChangeType::ConfChangeAddNode | ConfChangeType::ConfChangeAddLearnerNode => {
                let Context { member, is_promote } = read(change)?;
                if is_promote {
                    let present = present.ok_or(Rejected::IdNotFound)?;
                    if !present.is_learner {
                        return Err(Rejected::NotLearner.into());
                    }
                    return same_id(id, &member).map(|()| Change::Promote(id));
                }
                if present.is_some() {
                    return Err(Rejected::IdExists.into());
                }
                self.urls_are_free(id, &member.peer_urls)?;
                let learner = ConfChangeType::ConfChangeAddLearnerNode;
                if member.is_learner && kind == learner && self.learners() >= max_learners {
                    return Err(Rejected::TooManyLearners.into());
                }
                same_id(id, &member).map(|()| Change::Add(member))
            }
            ConfChangeType::ConfChangeRemoveNode => {
                present.ok_or(Rejected::IdNotFound)?;
                Ok(Change::Remove(id))
            }
            ConfChangeType::ConfChangeUpdateNode => {
                present.ok_or(Rejected::IdNotFound)?;
                let Context { member, .. } = read(change)?;
                self.urls_are_free(id, &member.peer_urls)?;
                same_id(id, &member)?;
                Ok(Change::Update { id, peer_urls: member.peer_urls })
            }
        }
    }

    /// Does what [`Cluster::validate`] gave.
    ///
    /// # Panics
    /// If the member it is about is gone: other changes were applied in between.
    pub fn apply(&mut self, store: &mut Store, change: Change) {
        match change {
            Change::Add(member) => {
                save(store, &member);
                self.members.insert(member.id, member);
            }
            Change::Promote(id) => {
                let member = self.members.get_mut(&id).expect(VALIDATED);
                member.is_learner = false;
                save(store, member);
            }
            Change::Remove(id) => {
                self.members.remove(&id).expect(VALIDATED);
                self.removed.insert(id);
                let key = format_id(id);
                store.delete(Bucket::Members, key.as_bytes());
                store.set(Bucket::MembersRemoved, key.as_bytes(), b"removed");
            }
            Change::Update { id, peer_urls } => {
                let member = self.members.get_mut(&id).expect(VALIDATED);
                member.peer_urls = peer_urls;
                save(store, member);
            }
        }
    }

    /// A member has started and says its name and where it listens for clients. It makes no
    /// difference if the member was removed meanwhile; gives whether it did make one.
    ///
    /// # Errors
    /// [`Error::UnknownMember`].
    pub fn set_attributes(
        &mut self,
        store: &mut Store,
        id: u64,
        name: String,
        client_urls: Vec<String>,
    ) -> Result<bool, Error> {
        let Some(member) = self.members.get_mut(&id) else {
            let known = self.removed.contains(&id);
            return if known { Ok(false) } else { Err(Error::UnknownMember(id)) };
        };
        member.name = name;
        member.client_urls = client_urls;
        save(store, member);
        Ok(true)
    }

    /// The leader has decided on the cluster's version.
    ///
    /// # Errors
    /// [`Error::ClusterTooNew`], and nothing has changed: this server must stop.
    pub fn set_version(&mut self, store: &mut Store, version: Version) -> Result<(), Error> {
        self.version = Some(known(version)?);
        store.set(Bucket::Cluster, VERSION_KEY.as_bytes(), version.to_string().as_bytes());
        Ok(())
    }

    /// A downgrade begins or is over.
    pub fn set_downgrade(&mut self, store: &mut Store, downgrade: Downgrade) {
        self.downgrade = downgrade;
        store.set(Bucket::Cluster, DOWNGRADE_KEY.as_bytes(), downgrade.to_json().as_bytes());
    }

    /// Whether, with one voter more, enough have started for a quorum. A proposer's check.
    ///
    /// Compat: one that runs alone may always get a second, as when it was restored from a
    /// backup.
    #[must_use]
    pub fn ready_to_add_voter(&self) -> bool {
        let (voters, started) = self.count_voters(None);
        (started, voters) == (1, 1) || started >= quorum(voters + 1)
    }

    /// Whether, without this voter, enough have started for a quorum. A proposer's check.
    #[must_use]
    pub fn ready_to_remove_voter(&self, id: u64) -> bool {
        let (voters, started) = self.count_voters(Some(id));
        started >= quorum(voters)
    }

    /// Whether, with one learner turned voter, enough have started for a quorum. A proposer's
    /// check.
    #[must_use]
    pub fn ready_to_promote(&self) -> bool {
        let (voters, started) = self.count_voters(None);
        started + 1 >= quorum(voters + 1)
    }

    /// Voters, and how many of them have ever started.
    fn count_voters(&self, without: Option<u64>) -> (usize, usize) {
        let counted = self.voters().filter(|member| Some(member.id) != without);
        counted.fold((0, 0), |(voters, started), member| {
            (voters + 1, started + usize::from(member.is_started()))
        })
    }

    fn learners(&self) -> usize {
        self.members().filter(|member| member.is_learner).count()
    }

    /// Whether no other member than `id` has one of these peer URLs.
    fn urls_are_free(&self, id: u64, urls: &[String]) -> Result<(), Rejected> {
        let mut others = self.members().filter(|member| member.id != id);
        let taken = others.any(|other| other.peer_urls.iter().any(|url| urls.contains(url)));
        if taken { Err(Rejected::PeerUrlExists) } else { Ok(()) }
    }
}

impl Downgrade {
    /// As JSON, in Go's bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::from("{\"target-version\":");
        push_string(&mut out, &self.target.map(|target| target.to_string()).unwrap_or_default());
        out + &format!(",\"enabled\":{}}}", self.target.is_some())
    }

    fn from_json(json: &str) -> Result<Self, String> {
        let stored: StoredDowngrade =
            serde_json::from_str(json).map_err(|error| error.to_string())?;
        if !stored.enabled {
            return Ok(Self::default());
        }
        let target = Version::parse(&stored.target).map_err(|error| error.to_string())?;
        Ok(Self { target: Some(target) })
    }
}

#[derive(Default)]
struct StoredDowngrade {
    target: String,
    enabled: bool,
}

impl<'de> Deserialize<'de> for StoredDowngrade {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_object(deserializer)
    }
}

impl<'de> Fields<'de> for StoredDowngrade {
    fn take<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        match name {
            "target-version" => take_value(map, &mut self.target),
            "enabled" => take_value(map, &mut self.enabled),
            _ => Ok(false),
        }
    }
}

fn read(change: &ConfChange) -> Result<Context, Error> {
    parse_context(change.context.as_deref().unwrap_or_default())
}

fn same_id(node_id: u64, member: &Member) -> Result<(), Error> {
    if member.id == node_id {
        return Ok(());
    }
    Err(Error::IdMismatch { node_id, context_id: member.id })
}

/// A cluster version that this server can be in.
fn known(cluster: Version) -> Result<Version, Error> {
    let server = SERVER_VERSION;
    if cluster > server.major_minor() {
        return Err(Error::ClusterTooNew { cluster, server });
    }
    Ok(cluster)
}

fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

fn stored_id(bucket: Bucket, key: &Bytes) -> Result<u64, Error> {
    let id = std::str::from_utf8(key).ok().and_then(parse_id);
    id.ok_or_else(|| corrupt(bucket, key, "is no member id".to_owned()))
}

fn corrupt(bucket: Bucket, key: &Bytes, reason: String) -> Error {
    Error::Corrupt { bucket: bucket.name(), key: key.clone(), reason }
}

fn save(store: &mut Store, member: &Member) {
    let key = format_id(member.id);
    store.set(Bucket::Members, key.as_bytes(), member.to_json().as_bytes());
}

#[cfg(test)]
mod tests;
