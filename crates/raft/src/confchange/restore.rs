//! A configuration rebuilt from what a snapshot says of it.

use raftpb::{ConfChangeSingle, ConfChangeType, ConfState};

use super::{Changer, Error};
use crate::tracker::{Config, ProgressMap};

/// Rebuilds the configuration `state` on top of the empty one in `changer.tracker`.
///
/// It goes the way a live group could have come: the outgoing voters one by one, then a joint
/// change that removes them and adds everybody `state` names. So each check of the [`Changer`]
/// holds for configurations read from disk or from the network, too. Taking
/// `voters=(1 2 3) learners=(5) outgoing=(1 2 4 6) learners_next=(4)`:
///
/// ```text
/// v1 v2 v4 v6                                  (1 2 4 6)
/// joint: r1 r2 r4 r6  v1 v2 v3  l5  l4         (1 2 3)&&(1 2 4 6) learners=(5) learners_next=(4)
/// ```
///
/// # Errors
/// If `state` describes no sound configuration.
pub fn restore(changer: Changer<'_>, state: &ConfState) -> Result<(Config, ProgressMap), Error> {
    let mut tracker = changer.tracker.clone();
    let joint = !state.voters_outgoing.is_empty();
    let incoming = incoming_changes(state);
    let outgoing = changes(ConfChangeType::ConfChangeAddNode, &state.voters_outgoing);
    for change in if joint { outgoing.collect() } else { incoming.clone() } {
        let step = Changer { tracker: &tracker, last_index: changer.last_index };
        (tracker.config, tracker.progress) = step.simple(&[change])?;
    }
    if joint {
        let step = Changer { tracker: &tracker, last_index: changer.last_index };
        return step.enter_joint(state.auto_leave(), &incoming);
    }
    Ok((tracker.config, tracker.progress))
}

/// What leads from the outgoing voters, if any, to everybody `state` names.
fn incoming_changes(state: &ConfState) -> Vec<ConfChangeSingle> {
    changes(ConfChangeType::ConfChangeRemoveNode, &state.voters_outgoing)
        .chain(changes(ConfChangeType::ConfChangeAddNode, &state.voters))
        .chain(changes(ConfChangeType::ConfChangeAddLearnerNode, &state.learners))
        .chain(changes(ConfChangeType::ConfChangeAddLearnerNode, &state.learners_next))
        .collect()
}

fn changes(kind: ConfChangeType, ids: &[u64]) -> impl Iterator<Item = ConfChangeSingle> + '_ {
    ids.iter().map(move |&id| ConfChangeSingle { r#type: Some(kind.into()), node_id: Some(id) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tracker::ProgressTracker;

    fn check_round_trip(state: &ConfState) {
        let mut tracker = ProgressTracker::new(20, 0);
        let changer = Changer { tracker: &tracker, last_index: 10 };
        (tracker.config, tracker.progress) = restore(changer, state).unwrap();
        state.equivalent(&tracker.conf_state()).unwrap();
        tracker.conf_state().equivalent(state).unwrap();
    }

    #[test]
    fn restores_what_live_groups_can_be() {
        check_round_trip(&ConfState::default());
        check_round_trip(&ConfState { voters: vec![3, 1, 2], ..ConfState::default() });
        check_round_trip(&ConfState {
            voters: vec![1, 2, 3],
            learners: vec![5],
            voters_outgoing: vec![1, 2, 4, 6],
            learners_next: vec![4],
            auto_leave: None,
        });
    }

    #[test]
    fn refuses_learners_without_voters() {
        let tracker = ProgressTracker::new(20, 0);
        let changer = Changer { tracker: &tracker, last_index: 10 };
        let state = ConfState { learners: vec![1], ..ConfState::default() };
        assert_eq!(restore(changer, &state), Err(Error::RemovedAllVoters));
    }

    prop_compose! {
        /// Sound states: roles do not overlap, staged learners are outgoing voters only.
        fn conf_states()(
            ids in Just((1..=20_u64).collect::<Vec<_>>()).prop_shuffle(),
            voters in 1..6_usize,
            learners in 0..5_usize,
            removed in 0..3_usize,
            retained in 0..6_usize,
            staged in 0..3_usize,
            auto_leave: bool,
        ) -> ConfState {
            let (voters, rest) = ids.split_at(voters);
            let (learners, rest) = rest.split_at(learners);
            let removed = &rest[..removed];
            let retained = &voters[..retained.min(voters.len())];
            let voters_outgoing = [retained, removed].concat();
            ConfState {
                voters: voters.to_vec(),
                learners: learners.to_vec(),
                learners_next: removed[..staged.min(removed.len())].to_vec(),
                auto_leave: Some(auto_leave && !voters_outgoing.is_empty()),
                voters_outgoing,
            }
        }
    }

    proptest! {
        #[test]
        fn restores_any_sound_state(state in conf_states()) {
            check_round_trip(&state);
        }
    }
}
