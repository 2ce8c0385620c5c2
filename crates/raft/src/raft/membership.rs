//! Proposals, and the changes of membership among them (raft section 6, thesis chapter 4).
//!
//! A change is in force once it is applied. At most one is under way: a leader takes no second
//! one before the first is applied, and puts an empty entry in its place.

use super::Raft;
use crate::Error;
use crate::confchange::{ChangeError, Changed, Changer};
use crate::ready::StateType;
use crate::storage::Storage;
use prost::Message as _;
use raftpb::{ConfChange, ConfChangeV2, ConfState, Entry, EntryType, MembershipChange};
use tracing::{debug, info};

impl<S: Storage> Raft<S> {
    /// Takes proposals into this leader's log.
    pub(super) fn propose(&mut self, mut entries: Vec<Entry>) -> Result<(), Error> {
        if entries.is_empty() {
            return Err(Error::Malformed { what: "a proposal without entries" });
        }
        // A leader that was removed, or hands over, takes no more.
        if !self.tracker.progress.contains_key(&self.id) || self.lead_transferee.is_some() {
            return Err(Error::ProposalDropped);
        }
        let pending_before = self.pending_conf_index;
        let first = self.log.last_index() + 1;
        for (entry, index) in entries.iter_mut().zip(first..) {
            let Some(change) = decode_change(entry)? else { continue };
            match self.refuse_change(&change) {
                Some(reason) if !self.config.disable_conf_change_validation => {
                    info!(id = self.id, ?change, reason, "put an empty entry for a change");
                    let normal = Some(EntryType::EntryNormal.into());
                    *entry = Entry { r#type: normal, ..Entry::default() };
                }
                _ => self.pending_conf_index = index,
            }
        }
        if !self.append_entries(entries) {
            // Changes that did not get into the log block no others.
            self.pending_conf_index = pending_before;
            return Err(Error::ProposalDropped);
        }
        self.broadcast_append();
        Ok(())
    }

    /// Why a change may not be proposed now, as far as this leader can tell.
    fn refuse_change(&self, change: &ConfChangeV2) -> Option<&'static str> {
        let joint = self.tracker.config.is_joint();
        let leave = change.changes.is_empty();
        if self.pending_conf_index > self.log.applied {
            Some("another change may be under way")
        } else if joint && !leave {
            Some("the joint configuration must be left first")
        } else if !joint && leave {
            Some("there is no joint configuration to leave")
        } else {
            None
        }
    }

    /// Proposes to leave the joint configuration that is in force now.
    pub(super) fn propose_auto_leave(&mut self) {
        let leave = Entry { r#type: Some(EntryType::EntryConfChangeV2.into()), ..Entry::default() };
        match self.propose(vec![leave]) {
            Ok(()) => info!(id = self.id, "leaving the joint configuration"),
            // Tried again when the next entries are applied.
            Err(error) => debug!(id = self.id, %error, "cannot leave the joint configuration yet"),
        }
    }

    pub(crate) fn apply_conf_change(
        &mut self,
        change: &ConfChangeV2,
    ) -> Result<ConfState, ChangeError> {
        let changer = Changer { tracker: &self.tracker, last_index: self.log.last_index() };
        let changed = if change.leave_joint() {
            changer.leave_joint()
        } else if let Some(auto_leave) = change.enter_joint() {
            changer.enter_joint(auto_leave, &change.changes)
        } else {
            changer.simple(&change.changes)
        };
        Ok(self.switch_to_config(changed?))
    }

    /// Puts a configuration in force.
    pub(super) fn switch_to_config(&mut self, (config, progress): Changed) -> ConfState {
        self.tracker.config = config;
        self.tracker.progress = progress;
        info!(id = self.id, config = %self.tracker.config, "switched to configuration");
        let conf_state = self.tracker.conf_state();
        let own = self.tracker.progress.get(&self.id);
        self.is_learner = own.is_some_and(|own| own.is_learner);
        if self.state != StateType::Leader {
            return conf_state;
        }
        if own.is_none() || self.is_learner {
            // Without the option it leads on until another is elected, as thesis section 4.2.2
            // has it; it then counts itself in no quorum.
            if self.config.step_down_on_removal {
                self.become_follower(self.term, crate::NONE);
            }
            return conf_state;
        }
        // The quorum may have become smaller.
        if self.maybe_commit() {
            self.release_pending_reads();
            self.broadcast_append();
        } else {
            // A new member shall be sent what it lacks without waiting for a heartbeat.
            self.broadcast_entries();
        }
        if self.lead_transferee.is_some_and(|id| !self.tracker.config.voters.contains(id)) {
            self.lead_transferee = None;
        }
        conf_state
    }
}

/// The membership change an entry holds, if it is one. Nobody could apply one that does not
/// decode, so it must not get into the log.
fn decode_change(entry: &Entry) -> Result<Option<ConfChangeV2>, Error> {
    let malformed = Error::Malformed { what: "a membership change that does not decode" };
    match EntryType::try_from(entry.r#type.unwrap_or_default()) {
        Ok(EntryType::EntryNormal) => Ok(None),
        Ok(EntryType::EntryConfChange) => match ConfChange::decode(entry.data()) {
            Ok(change) => Ok(Some(change.to_v2())),
            Err(_) => Err(malformed),
        },
        Ok(EntryType::EntryConfChangeV2) => match ConfChangeV2::decode(entry.data()) {
            Ok(change) => Ok(Some(change)),
            Err(_) => Err(malformed),
        },
        Err(_) => Err(Error::Malformed { what: "an entry of an unknown type" }),
    }
}
