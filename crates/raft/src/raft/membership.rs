//! Proposals, and the changes of membership among them (raft section 6, thesis chapter 4).
//!
//! A change is in force once it is applied. At most one is under way: a leader takes no second
//! one before the first is applied, and puts an empty entry in its place.

use super::Raft;
use crate::Error;
use crate::confchange::{ChangeError, Changed, Changer};
use crate::planted::{self, Bug};
use crate::ready::StateType;
use crate::storage::Storage;
use prost::Message as _;
use raftpb::{
    ConfChange, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType,
    MembershipChange,
};
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
        // All are looked at before anything is noted: a refusal changes nothing.
        let changes = entries.iter().map(decode_change).collect::<Result<Vec<_>, _>>()?;
        let pending_before = self.pending_conf_index;
        let first = self.log.last_index() + 1;
        let mut early = None;
        for ((entry, change), index) in entries.iter_mut().zip(changes).zip(first..) {
            let Some(change) = change else { continue };
            match self.refuse_change(&change) {
                Some(reason) if !self.config.disable_conf_change_validation => {
                    info!(id = self.id, ?change, reason, "put an empty entry for a change");
                    let normal = Some(EntryType::EntryNormal.into());
                    *entry = Entry { r#type: normal, ..Entry::default() };
                }
                _ => {
                    self.pending_conf_index = index;
                    early = planted::is(Bug::ConfigurationAtAppend).then_some(change);
                }
            }
        }
        if !self.append_entries(entries) {
            // Changes that did not get into the log block no others.
            self.pending_conf_index = pending_before;
            return Err(Error::ProposalDropped);
        }
        if let Some(changed) = early.and_then(|change| self.changed_by(&change).ok()) {
            self.switch_to_config(changed);
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
        } else if self.changed_by(change).is_err() {
            // Upstream lets it into the log, and every node dies of applying it.
            Some("it cannot be applied")
        } else {
            None
        }
    }

    /// The configuration that follows the present one by a change.
    fn changed_by(&self, change: &ConfChangeV2) -> Result<Changed, ChangeError> {
        let changer = Changer { tracker: &self.tracker, last_index: self.log.last_index() };
        if change.leave_joint() {
            changer.leave_joint()
        } else if let Some(auto_leave) = change.enter_joint() {
            changer.enter_joint(auto_leave, &change.changes)
        } else {
            changer.simple(&change.changes)
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
        // A snapshot came while older entries were being applied: its configuration, already in
        // force, has this change in it.
        if self.log.unstable.snapshot.is_some() {
            return Ok(self.tracker.conf_state());
        }
        let changed = self.changed_by(change)?;
        Ok(self.switch_to_config(changed))
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
/// decode, or that asks for what this version does not know, so it must not get into the log.
fn decode_change(entry: &Entry) -> Result<Option<ConfChangeV2>, Error> {
    let malformed = Error::Malformed { what: "a membership change that does not decode" };
    let change = match EntryType::try_from(entry.r#type.unwrap_or_default()) {
        Ok(EntryType::EntryNormal) => return Ok(None),
        Ok(EntryType::EntryConfChange) => match ConfChange::decode(entry.data()) {
            Ok(change) => change.to_v2(),
            Err(_) => return Err(malformed),
        },
        Ok(EntryType::EntryConfChangeV2) => match ConfChangeV2::decode(entry.data()) {
            Ok(change) => change,
            Err(_) => return Err(malformed),
        },
        Err(_) => return Err(Error::Malformed { what: "an entry of an unknown type" }),
    };
    let mut kinds = change.changes.iter().map(|change| change.r#type.unwrap_or_default());
    let transition = change.transition.unwrap_or_default();
    if !kinds.all(ConfChangeType::is_valid) || !ConfChangeTransition::is_valid(transition) {
        return Err(Error::Malformed { what: "a membership change of an unknown kind" });
    }
    Ok(Some(change))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, MemoryStorage, NONE, RawNode};
    use raftpb::{ConfChangeSingle, Snapshot, SnapshotMetadata};

    /// The leader of a group of one.
    fn leader() -> RawNode<MemoryStorage> {
        let conf_state = Some(ConfState { voters: vec![1], ..ConfState::default() });
        let metadata = Some(SnapshotMetadata { conf_state, index: Some(2), term: Some(1) });
        let mut storage = MemoryStorage::new();
        storage.apply_snapshot(Snapshot { data: None, metadata }).expect("the first snapshot");
        let mut node = RawNode::new(Config { id: 1, ..Config::default() }, storage)
            .expect("a configuration that works");
        node.campaign().expect("the only voter may campaign");
        while node.has_ready() {
            let ready = node.ready();
            node.storage_mut().append(&ready.entries);
            node.advance();
        }
        assert_ne!(node.basic_status().soft_state.lead, NONE);
        node
    }

    #[test]
    fn changes_of_unknown_kinds_do_not_get_into_the_log() {
        let mut node = leader();
        let last = node.last_index();
        let change = |number| ConfChangeSingle { r#type: Some(number), node_id: Some(2) };
        let unknown_type = ConfChange { r#type: Some(4), node_id: Some(2), ..Default::default() };
        let unknown_part =
            ConfChangeV2 { changes: vec![change(0), change(77)], ..Default::default() };
        let unknown_transition =
            ConfChangeV2 { transition: Some(3), changes: vec![change(0)], ..Default::default() };
        let refused = Err(Error::Malformed { what: "a membership change of an unknown kind" });
        assert_eq!(node.propose_conf_change(&unknown_type), refused);
        assert_eq!(node.propose_conf_change(&unknown_part), refused);
        assert_eq!(node.propose_conf_change(&unknown_transition), refused);
        // Neither does what is proposed along with them, and it leaves no trace.
        let entry = |change: &ConfChangeV2| {
            let (kind, data) = change.to_entry();
            Entry { r#type: Some(kind.into()), data: Some(data), ..Entry::default() }
        };
        let known = ConfChangeV2 { changes: vec![change(0)], ..Default::default() };
        let proposal = raftpb::Message {
            r#type: Some(raftpb::MessageType::MsgProp.into()),
            from: Some(1),
            entries: vec![entry(&known), entry(&unknown_part)],
            ..Default::default()
        };
        assert_eq!(node.step(proposal), refused);
        assert_eq!(node.last_index(), last);
        node.propose_conf_change(&known).expect("a second voter");
        assert_eq!(node.last_index(), last + 1);
        let kind = node.all_entries().last().map(Entry::r#type);
        assert_eq!(kind, Some(EntryType::EntryConfChangeV2), "no empty entry in its place");
    }
}
