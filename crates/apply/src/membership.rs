//! Changes of members, and what members say of themselves.

use crate::machine::{ApplyError, ConfOutcome, StateMachine};
use api::membershippb::{
    ClusterMemberAttrSetRequest, ClusterVersionSetRequest, DowngradeInfoSetRequest,
};
use backend::Bucket;
use member::{Downgrade, Version};
use prost::Message as _;
use raftpb::{ConfChange, Entry};

/// Where raft's configuration is noted. Nobody reads it here: it is for exports to be etcd's.
const CONF_STATE_KEY: &[u8] = b"confState";

impl StateMachine {
    /// Applies an entry that changes members. Whatever comes out, raft must be told: of the
    /// change, or that there was none.
    ///
    /// # Errors
    /// [`ApplyError::Entry`] for what no member writes; every member ends at it.
    pub fn apply_change(&mut self, entry: &Entry) -> Result<ConfOutcome, ApplyError> {
        let broken = |reason: String| ApplyError::Entry { index: entry.index(), reason };
        let change = ConfChange::decode(entry.data()).map_err(|error| broken(error.to_string()))?;
        let id = change.id();
        if entry.index() <= self.store.consistent_index() {
            return Ok(ConfOutcome { id, refused: None, change: Some(change) });
        }
        match self.cluster.validate(&change, self.settings.max_learners) {
            Ok(valid) => {
                self.cluster.apply(&mut self.store, valid);
                let conf_state = member::conf_state_json(&self.cluster.conf_state());
                self.store.set(Bucket::Meta, CONF_STATE_KEY, conf_state.as_bytes());
                Ok(ConfOutcome { id, refused: None, change: Some(change) })
            }
            Err(member::Error::Rejected(refused)) => {
                Ok(ConfOutcome { id, refused: Some(refused), change: None })
            }
            Err(error) => Err(broken(error.to_string())),
        }
    }

    pub(crate) fn set_attributes(
        &mut self,
        request: &ClusterMemberAttrSetRequest,
    ) -> Result<(), member::Error> {
        let attributes = request.member_attributes.clone().unwrap_or_default();
        let (name, client_urls) = (attributes.name, attributes.client_urls);
        let id = request.member_id;
        self.cluster.set_attributes(&mut self.store, id, name, client_urls).map(drop)
    }

    pub(crate) fn set_version(
        &mut self,
        request: &ClusterVersionSetRequest,
    ) -> Result<(), member::Error> {
        let version = Version::parse(&request.ver)?;
        self.cluster.set_version(&mut self.store, version)
    }

    pub(crate) fn set_downgrade(
        &mut self,
        request: &DowngradeInfoSetRequest,
    ) -> Result<(), member::Error> {
        let target = request.enabled.then(|| Version::parse(&request.ver)).transpose()?;
        self.cluster.set_downgrade(&mut self.store, Downgrade { target });
        Ok(())
    }
}
