//! From one configuration to the next (raft section 6, thesis chapter 4).
//!
//! A [`Changer`] borrows the tracker, works on a copy and gives back a new configuration with its
//! progress, or an error; it never leaves something half changed.

mod restore;

pub use restore::restore;

use crate::quorum::MajorityConfig;
use crate::tracker::{Config, Progress, ProgressMap, ProgressTracker};
use raftpb::{ConfChangeSingle, ConfChangeType, ConfStateMismatch};

/// A change that the present configuration does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// A joint configuration must be left before another is entered.
    #[error("config is already joint")]
    AlreadyJoint,
    /// There is nobody yet who could agree to a joint configuration.
    #[error("can't make a zero-voter config joint")]
    NoVoters,
    /// There is no joint configuration to leave.
    #[error("can't leave a non-joint config")]
    NotJoint,
    /// In a joint configuration, the only change is to leave it.
    #[error("can't apply simple config change in joint config")]
    SimpleInJoint,
    /// Majorities of sets that differ by more than one voter need not overlap.
    #[error("more than one voter changed without entering joint config")]
    TooManyVotersChanged,
    /// Nobody would be left to decide anything.
    #[error("removed all voters")]
    RemovedAllVoters,
    /// A stored configuration that contradicts itself: an id in two roles, or twice in one, or
    /// joint in part only.
    #[error("no cluster can have this configuration: {0}")]
    Contradiction(Box<ConfStateMismatch>),
    /// A kind of change that this version does not know, and so cannot carry out.
    #[error("unexpected conf type {number}")]
    UnknownType {
        /// The number it has in the message.
        number: i32,
    },
}

/// Computes the configuration that follows.
#[derive(Debug, Clone, Copy)]
pub struct Changer<'a> {
    /// The configuration to start from, with its progress.
    pub tracker: &'a ProgressTracker,
    /// The last index of the log, from which a new member is first probed.
    pub last_index: u64,
}

/// A configuration and the progress of exactly its members.
pub type Changed = (Config, ProgressMap);

impl Changer<'_> {
    /// Enters the joint configuration of the present voters (outgoing) and the present voters
    /// with `changes` (incoming).
    ///
    /// # Errors
    /// If the configuration is joint already or has no voters, or none would be left.
    pub fn enter_joint(
        &self,
        auto_leave: bool,
        changes: &[ConfChangeSingle],
    ) -> Result<Changed, ChangeError> {
        let (mut config, mut progress) = self.copy();
        if config.is_joint() {
            return Err(ChangeError::AlreadyJoint);
        }
        if config.voters.incoming.is_empty() {
            return Err(ChangeError::NoVoters);
        }
        config.voters.outgoing = config.voters.incoming.clone();
        self.apply(&mut config, &mut progress, changes)?;
        config.auto_leave = auto_leave;
        Ok(checked(config, progress))
    }

    /// Leaves the joint configuration: the incoming voters decide alone, outgoing voters that are
    /// to be learners become learners, the other outgoing ones are members no more.
    ///
    /// # Errors
    /// If the configuration is not joint.
    pub fn leave_joint(&self) -> Result<Changed, ChangeError> {
        let (mut config, mut progress) = self.copy();
        if !config.is_joint() {
            return Err(ChangeError::NotJoint);
        }
        for id in std::mem::take(&mut config.learners_next) {
            config.learners.insert(id);
            if let Some(member) = progress.get_mut(&id) {
                member.is_learner = true;
            }
        }
        let outgoing = std::mem::take(&mut config.voters.outgoing);
        for id in outgoing.iter() {
            if !config.voters.incoming.contains(id) && !config.learners.contains(&id) {
                progress.remove(&id);
            }
        }
        config.auto_leave = false;
        Ok(checked(config, progress))
    }

    /// Makes changes of which at most one concerns the set of voters.
    ///
    /// # Errors
    /// If the configuration is joint, more than one voter would change, or none would be left.
    pub fn simple(&self, changes: &[ConfChangeSingle]) -> Result<Changed, ChangeError> {
        let (mut config, mut progress) = self.copy();
        if config.is_joint() {
            return Err(ChangeError::SimpleInJoint);
        }
        self.apply(&mut config, &mut progress, changes)?;
        if differences(&self.tracker.config.voters.incoming, &config.voters.incoming) > 1 {
            return Err(ChangeError::TooManyVotersChanged);
        }
        Ok(checked(config, progress))
    }

    fn copy(&self) -> Changed {
        checked(self.tracker.config.clone(), self.tracker.progress.clone())
    }

    fn apply(
        &self,
        config: &mut Config,
        progress: &mut ProgressMap,
        changes: &[ConfChangeSingle],
    ) -> Result<(), ChangeError> {
        for change in changes {
            let id = change.node_id();
            // An application that finds a change pointless at apply time sets its node id to 0.
            if id == 0 {
                continue;
            }
            // The accessor would make a voter of whatever it does not know.
            let number = change.r#type.unwrap_or_default();
            match ConfChangeType::try_from(number) {
                Ok(ConfChangeType::ConfChangeAddNode) => self.make_voter(config, progress, id),
                Ok(ConfChangeType::ConfChangeAddLearnerNode) => {
                    self.make_learner(config, progress, id);
                }
                Ok(ConfChangeType::ConfChangeRemoveNode) => remove(config, progress, id),
                Ok(ConfChangeType::ConfChangeUpdateNode) => {}
                Err(_) => return Err(ChangeError::UnknownType { number }),
            }
        }
        if config.voters.incoming.is_empty() {
            return Err(ChangeError::RemovedAllVoters);
        }
        Ok(())
    }

    fn make_voter(&self, config: &mut Config, progress: &mut ProgressMap, id: u64) {
        let member = progress.entry(id).or_insert_with(|| self.new_progress(false));
        member.is_learner = false;
        config.learners.remove(&id);
        config.learners_next.remove(&id);
        config.voters.incoming.insert(id);
    }

    fn make_learner(&self, config: &mut Config, progress: &mut ProgressMap, id: u64) {
        let Some(member) = progress.get(&id) else {
            config.learners.insert(id);
            progress.insert(id, self.new_progress(true));
            return;
        };
        if member.is_learner {
            return;
        }
        let mut member = member.clone();
        remove(config, progress, id);
        // While it votes in the outgoing half it is no learner yet.
        if config.voters.outgoing.contains(id) {
            config.learners_next.insert(id);
        } else {
            member.is_learner = true;
            config.learners.insert(id);
        }
        progress.insert(id, member);
    }

    fn new_progress(&self, is_learner: bool) -> Progress {
        // Probing starts at the end of the log; the member's rejection will say where it is. It
        // counts as active, or a leader that checks its quorum might step down before the new
        // member had a chance to be heard.
        let next = self.last_index.max(1);
        let progress = Progress::new(next, self.tracker.new_inflights(), is_learner);
        Progress { recent_active: true, ..progress }
    }
}

fn remove(config: &mut Config, progress: &mut ProgressMap, id: u64) {
    if !progress.contains_key(&id) {
        return;
    }
    config.voters.incoming.remove(id);
    config.learners.remove(&id);
    config.learners_next.remove(&id);
    // An outgoing voter is still needed for commits.
    if !config.voters.outgoing.contains(id) {
        progress.remove(&id);
    }
}

/// How many voters are in one set only.
fn differences(left: &MajorityConfig, right: &MajorityConfig) -> usize {
    left.iter().filter(|id| !right.contains(*id)).count()
        + right.iter().filter(|id| !left.contains(*id)).count()
}

/// Checks the invariants of [`Config`]. A violation is this module's own fault.
fn checked(config: Config, progress: ProgressMap) -> Changed {
    let voters = config.voters.ids();
    for id in voters.iter().chain(&config.learners).chain(&config.learners_next) {
        assert!(progress.contains_key(id), "member {id} has no progress");
    }
    for id in &config.learners_next {
        assert!(config.voters.outgoing.contains(*id), "{id} is in LearnersNext, but not outgoing");
        assert!(!progress[id].is_learner, "{id} is in LearnersNext, but a learner already");
    }
    for id in &config.learners {
        assert!(!voters.contains(id), "{id} is both learner and voter");
        assert!(progress[id].is_learner, "{id} is in Learners, but not marked as learner");
    }
    if !config.is_joint() {
        assert!(config.learners_next.is_empty(), "LearnersNext without a joint configuration");
        assert!(!config.auto_leave, "AutoLeave without a joint configuration");
    }
    (config, progress)
}

#[cfg(test)]
mod tests;
