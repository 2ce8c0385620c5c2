//! The change of a configuration, checked before anything takes effect.
//!
//! Invariants of every configuration taken or returned: see `verify`. An error leaves the
//! tracker as it was, since it is only read.

use raftpb::{ConfChangeSingle, ConfChangeType};

use crate::tracker::{Config, Inflights, Progress, ProgressMap, ProgressTracker};

/// Why a change was refused. The texts are those of etcd's `confchange`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A joint change is under way already.
    #[error("config is already joint")]
    AlreadyJoint,
    /// A group without voters has no majority that could agree to a joint change.
    #[error("can't make a zero-voter config joint")]
    NoVotersToJoin,
    /// There is no joint change to leave.
    #[error("can't leave a non-joint config")]
    NotJoint,
    /// Only leaving is possible during a joint change.
    #[error("can't apply simple config change in joint config")]
    SimpleInJoint,
    /// Two voters at once need a joint change, or there could be two majorities.
    #[error("more than one voter changed without entering joint config")]
    TooManyVotersChanged,
    /// Nobody would be left to decide anything.
    #[error("removed all voters")]
    RemovedAllVoters,
    /// A type of change that this version does not know.
    #[error("unexpected conf type {number}")]
    UnexpectedType {
        /// The number found in the message.
        number: i32,
    },
    /// A member without progress.
    #[error("no progress for {id}")]
    NoProgress {
        /// The member.
        id: u64,
    },
    /// A staged learner that nothing keeps from being a learner now.
    #[error("{id} is in LearnersNext, but not Voters[1]")]
    StagedButNotOutgoing {
        /// The member.
        id: u64,
    },
    /// A staged learner that is one already.
    #[error("{id} is in LearnersNext, but is already marked as learner")]
    StagedButMarked {
        /// The member.
        id: u64,
    },
    /// A learner that is a voter, too; `half` is 0 for incoming and 1 for outgoing.
    #[error("{id} is in Learners and Voters[{half}]")]
    LearnerVotes {
        /// The member.
        id: u64,
        /// Which half of the voters it is in.
        half: u8,
    },
    /// A learner whose progress does not say so.
    #[error("{id} is in Learners, but is not marked as learner")]
    LearnerNotMarked {
        /// The member.
        id: u64,
    },
    /// Only a joint configuration can be left by itself.
    #[error("AutoLeave must be false when not joint")]
    AutoLeaveNotJoint,
}

/// A configuration and the progress of its members: what a change results in.
type Changed = (Config, ProgressMap);

/// Computes changes of the configuration a tracker holds.
#[derive(Clone, Copy, Debug)]
pub struct Changer<'a> {
    /// The active configuration and progress; never changed here.
    pub tracker: &'a ProgressTracker,
    /// The last index of the local log, where probing of a new member starts.
    pub last_index: u64,
}

impl Changer<'_> {
    /// Applies changes that, taken together, move at most one voter.
    ///
    /// # Errors
    /// If they move more, if a joint change is under way, or if no voter would be left.
    pub fn simple(&self, changes: &[ConfChangeSingle]) -> Result<Changed, Error> {
        let (mut config, mut progress) = self.verified_copy()?;
        if config.voters.is_joint() {
            return Err(Error::SimpleInJoint);
        }
        self.apply(&mut config, &mut progress, changes)?;
        if self.tracker.config.voters.incoming.differences(&config.voters.incoming) > 1 {
            return Err(Error::TooManyVotersChanged);
        }
        verified(config, progress)
    }

    /// Makes the configuration joint: the voters as they are become the outgoing half, and the
    /// changes are applied to the incoming one, from `(1 2 3)` to, say, `(1 2 4)&&(1 2 3)`.
    ///
    /// # Errors
    /// If a joint change is under way, or if there is no voter before or after.
    pub fn enter_joint(
        &self,
        auto_leave: bool,
        changes: &[ConfChangeSingle],
    ) -> Result<Changed, Error> {
        let (mut config, mut progress) = self.verified_copy()?;
        if config.voters.is_joint() {
            return Err(Error::AlreadyJoint);
        }
        if config.voters.incoming.is_empty() {
            return Err(Error::NoVotersToJoin);
        }
        config.voters.outgoing = config.voters.incoming.clone();
        self.apply(&mut config, &mut progress, changes)?;
        config.auto_leave = auto_leave;
        verified(config, progress)
    }

    /// Ends a joint change: the incoming voters decide alone, staged learners become learners,
    /// and members that are in neither role any more are forgotten.
    ///
    /// # Errors
    /// If no joint change is under way.
    pub fn leave_joint(&self) -> Result<Changed, Error> {
        let (mut config, mut progress) = self.verified_copy()?;
        if !config.voters.is_joint() {
            return Err(Error::NotJoint);
        }
        for id in std::mem::take(&mut config.learners_next) {
            let staged = progress.get_mut(&id).ok_or(Error::NoProgress { id })?;
            staged.is_learner = true;
            config.learners.insert(id);
        }
        for id in std::mem::take(&mut config.voters.outgoing).iter() {
            if !config.voters.contains(id) && !config.learners.contains(&id) {
                progress.remove(&id);
            }
        }
        config.auto_leave = false;
        verified(config, progress)
    }

    /// Applies changes to the incoming half; the outgoing one stays as it is.
    fn apply(
        &self,
        config: &mut Config,
        progress: &mut ProgressMap,
        changes: &[ConfChangeSingle],
    ) -> Result<(), Error> {
        for change in changes {
            let id = change.node_id();
            if id == 0 {
                // Compat: etcd zeroes the id of a committed change it decides not to carry out.
                continue;
            }
            let number = change.r#type.unwrap_or_default();
            match ConfChangeType::try_from(number) {
                Ok(ConfChangeType::ConfChangeAddNode) => self.make_voter(config, progress, id),
                Ok(ConfChangeType::ConfChangeAddLearnerNode) => {
                    self.make_learner(config, progress, id);
                }
                Ok(ConfChangeType::ConfChangeRemoveNode) => remove(config, progress, id),
                Ok(ConfChangeType::ConfChangeUpdateNode) => {}
                Err(_) => return Err(Error::UnexpectedType { number }),
            }
        }
        if config.voters.incoming.is_empty() {
            return Err(Error::RemovedAllVoters);
        }
        Ok(())
    }

    /// Adds a voter, or promotes a learner.
    fn make_voter(&self, config: &mut Config, progress: &mut ProgressMap, id: u64) {
        progress.entry(id).or_insert_with(|| self.new_progress()).is_learner = false;
        config.learners.remove(&id);
        config.learners_next.remove(&id);
        config.voters.incoming.insert(id);
    }

    /// Adds a learner, demotes a voter, or stages the demotion of one that still votes in the
    /// outgoing half.
    fn make_learner(&self, config: &mut Config, progress: &mut ProgressMap, id: u64) {
        let outgoing = config.voters.outgoing.contains(id);
        let member = progress.entry(id).or_insert_with(|| self.new_progress());
        if member.is_learner {
            return;
        }
        config.voters.incoming.remove(id);
        if outgoing {
            config.learners_next.insert(id);
        } else {
            member.is_learner = true;
            config.learners.insert(id);
        }
    }

    /// The progress a member starts with.
    ///
    /// Probing from the last index on is hopeful, and costs one rejection where the member is
    /// empty. It counts as active, or the next check of the quorum could depose a leader before
    /// the new member had a chance to answer.
    fn new_progress(&self) -> Progress {
        let inflights = Inflights::new(self.tracker.max_inflight, self.tracker.max_inflight_bytes);
        let mut progress = Progress::new(self.last_index.max(1), inflights);
        progress.recent_active = true;
        progress
    }

    fn verified_copy(&self) -> Result<Changed, Error> {
        verified(self.tracker.config.clone(), self.tracker.progress.clone())
    }
}

/// Removes a voter or learner. Its progress stays while it votes in the outgoing half.
fn remove(config: &mut Config, progress: &mut ProgressMap, id: u64) {
    config.voters.incoming.remove(id);
    config.learners.remove(&id);
    config.learners_next.remove(&id);
    if !config.voters.outgoing.contains(id) {
        progress.remove(&id);
    }
}

fn verified(config: Config, progress: ProgressMap) -> Result<Changed, Error> {
    verify(&config, &progress)?;
    Ok((config, progress))
}

/// Checks what holds for every configuration, the empty one included, which is where each
/// group starts.
fn verify(config: &Config, progress: &ProgressMap) -> Result<(), Error> {
    let voters = config.voters.ids();
    let staged = config.learners_next.iter().copied();
    for id in voters.iter().chain(config.learners.iter().copied()).chain(staged) {
        if !progress.contains_key(&id) {
            return Err(Error::NoProgress { id });
        }
    }
    for &id in &config.learners_next {
        if !config.voters.outgoing.contains(id) {
            return Err(Error::StagedButNotOutgoing { id });
        }
        if progress[&id].is_learner {
            return Err(Error::StagedButMarked { id });
        }
    }
    for &id in &config.learners {
        for (half, voters) in [(1, &config.voters.outgoing), (0, &config.voters.incoming)] {
            if voters.contains(id) {
                return Err(Error::LearnerVotes { id, half });
            }
        }
        if !progress[&id].is_learner {
            return Err(Error::LearnerNotMarked { id });
        }
    }
    if config.auto_leave && !config.voters.is_joint() {
        return Err(Error::AutoLeaveNotJoint);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raftpb::parse_conf_changes;

    use super::*;

    fn tracker(changes: &str) -> ProgressTracker {
        let mut tracker = ProgressTracker::new(10, 0);
        for change in parse_conf_changes(changes).unwrap() {
            let changed = Changer { tracker: &tracker, last_index: 9 }.simple(&[change]).unwrap();
            (tracker.config, tracker.progress) = changed;
        }
        tracker
    }

    fn check_refused(tracker: &ProgressTracker, text: &str) {
        let refused = Changer { tracker, last_index: 9 }.simple(&[]).unwrap_err();
        assert_eq!(refused.to_string(), text);
    }

    #[test]
    fn broken_configurations_are_refused_by_name() {
        let sound = tracker("v1 v2 l3");
        let broken = |change: fn(&mut ProgressTracker)| {
            let mut tracker = sound.clone();
            change(&mut tracker);
            tracker
        };
        check_refused(&broken(|t| drop(t.progress.remove(&3))), "no progress for 3");
        check_refused(
            &broken(|t| assert!(t.config.learners_next.insert(2))),
            "2 is in LearnersNext, but not Voters[1]",
        );
        check_refused(
            &broken(|t| {
                t.config.voters.outgoing.insert(2);
                t.config.learners_next.insert(2);
                t.progress.get_mut(&2).unwrap().is_learner = true;
            }),
            "2 is in LearnersNext, but is already marked as learner",
        );
        check_refused(
            &broken(|t| assert!(t.config.voters.outgoing.insert(3))),
            "3 is in Learners and Voters[1]",
        );
        check_refused(
            &broken(|t| assert!(t.config.learners.insert(2))),
            "2 is in Learners and Voters[0]",
        );
        check_refused(
            &broken(|t| t.progress.get_mut(&3).unwrap().is_learner = false),
            "3 is in Learners, but is not marked as learner",
        );
        check_refused(
            &broken(|t| t.config.auto_leave = true),
            "AutoLeave must be false when not joint",
        );
    }

    #[test]
    fn unknown_types_are_refused_and_zeroed_ids_ignored() {
        let tracker = tracker("v1");
        let changer = Changer { tracker: &tracker, last_index: 9 };
        let change = |id| ConfChangeSingle { r#type: Some(77), node_id: Some(id) };
        assert_eq!(changer.simple(&[change(2)]), Err(Error::UnexpectedType { number: 77 }));
        assert_eq!(changer.simple(&[change(0)]).unwrap().0, tracker.config);
    }

    /// One step of a random life: a kind of step and changes `(type, id)`.
    fn steps() -> impl Strategy<Value = Vec<(u8, Vec<(i32, u64)>)>> {
        let changes = prop::collection::vec((0..4, 0..7_u64), 0..4);
        prop::collection::vec((0..4_u8, changes), 0..40)
    }

    proptest! {
        #[test]
        fn any_sequence_of_changes_keeps_the_invariants(steps in steps()) {
            let mut tracker = tracker("v1");
            for (kind, changes) in steps {
                let changes: Vec<_> = changes
                    .into_iter()
                    .map(|(number, id)| ConfChangeSingle { r#type: Some(number), node_id: Some(id) })
                    .collect();
                let changer = Changer { tracker: &tracker, last_index: 9 };
                let changed = match kind {
                    0 => changer.leave_joint(),
                    1 => changer.simple(&changes),
                    auto_leave => changer.enter_joint(auto_leave == 2, &changes),
                };
                let Ok((config, progress)) = changed else { continue };
                verify(&config, &progress).unwrap();
                let mut members = config.voters.ids();
                for id in config.learners.iter().chain(&config.learners_next) {
                    members.insert(*id);
                }
                prop_assert!(members.iter().eq(progress.keys().copied()), "nobody else tracked");
                prop_assert!(!config.voters.incoming.is_empty());
                (tracker.config, tracker.progress) = (config, progress);
            }
        }
    }
}
