//! Changes of members, and what members say of themselves.

use crate::machine::{ApplyError, ConfOutcome, StateMachine};
use api::membershippb::{ClusterMemberAttrSetRequest, DowngradeInfoSetRequest};
use prost::Message as _;
use raftpb::{ConfChange, ConfState, Entry};

impl StateMachine {
    /// Applies an entry that changes members. Whatever comes out, raft must be told: of the
    /// change, or that there was none.
    ///
    /// # Errors
    /// [`ApplyError::Entry`] for what no member writes; every member ends at it.
    pub fn apply_change(&mut self, entry: &Entry) -> Result<ConfOutcome, ApplyError> {
        let broken = |reason: String| ApplyError::Entry { index: entry.index(), reason };
        let change = ConfChange::decode(entry.data().as_ref())
            .map_err(|error| broken(error.to_string()))?;
        if entry.index() <= self.store.consistent_index() {
            return Ok(ConfOutcome { id: change.id(), refused: None, change: Some(change) });
        }
        let id = change.id();
        let checked = self.cluster.validate(&change, self.settings.max_learners);
        match checked {
            Ok(()) => {
                self.cluster
                    .apply_change(&mut self.store, &change)
                    .map_err(|error| broken(error.to_string()))?;
                Ok(ConfOutcome { id, refused: None, change: Some(change) })
            }
            Err(refused) => Ok(ConfOutcome { id, refused: Some(refused), change: None }),
        }
    }

    /// Notes raft's configuration after a change.
    pub fn set_conf_state(&mut self, conf_state: &ConfState) {
        self.cluster.save_conf_state(&mut self.store, conf_state);
    }

    pub(crate) fn set_attributes(&mut self, request: &ClusterMemberAttrSetRequest) {
        let attributes = request.member_attributes.clone().unwrap_or_default();
        self.cluster.set_attributes(
            &mut self.store,
            request.member_id,
            attributes.name,
            attributes.client_urls,
        );
    }

    pub(crate) fn set_downgrade(&mut self, request: &DowngradeInfoSetRequest) {
        let target = request.enabled.then(|| request.ver.clone());
        self.cluster.set_downgrade(&mut self.store, target);
    }
}
