//! Random sequences of changes keep the invariants, and every configuration they reach can be
//! rebuilt from its message form.

use super::*;
use proptest::prelude::*;
use raftpb::ConfState;

fn changes() -> impl Strategy<Value = Vec<ConfChangeSingle>> {
    let change = (0..3i32, 1..6u64).prop_map(|(kind, id)| {
        // Kinds: add voter, remove, add learner.
        let kind = [0, 1, 3][usize::try_from(kind).expect("small")];
        ConfChangeSingle { r#type: Some(kind), node_id: Some(id) }
    });
    prop::collection::vec(change, 0..4)
}

proptest! {
    #[test]
    fn any_walk_keeps_the_invariants_and_restores(
        steps in prop::collection::vec((0..3u8, any::<bool>(), changes()), 1..20),
    ) {
        let mut tracker = ProgressTracker::new(16, 0);
        let first = ConfChangeSingle { r#type: Some(0), node_id: Some(1) };
        let changer = Changer { tracker: &tracker, last_index: 10 };
        let (config, progress) = changer.simple(&[first]).expect("a first voter");
        (tracker.config, tracker.progress) = (config, progress);
        for (kind, auto_leave, changes) in steps {
            // The invariants are asserted inside; a refused change changes nothing.
            let changer = Changer { tracker: &tracker, last_index: 10 };
            let changed = match kind {
                0 => changer.simple(&changes),
                1 => changer.enter_joint(auto_leave, &changes),
                _ => changer.leave_joint(),
            };
            let Ok((config, progress)) = changed else { continue };
            (tracker.config, tracker.progress) = (config, progress);
            let state = tracker.conf_state();
            let mut restored = ProgressTracker::new(16, 0);
            let (config, progress) = restore(&restored, 10, &state).expect("a reached configuration");
            prop_assert_eq!(&config, &tracker.config);
            prop_assert!(progress.keys().eq(tracker.progress.keys()));
            (restored.config, restored.progress) = (config, progress);
            prop_assert_eq!(restored.conf_state(), state);
        }
    }
}

#[test]
fn an_unknown_kind_is_refused_and_an_id_of_zero_passed_over() {
    let mut tracker = ProgressTracker::new(16, 0);
    let change = |number, id| ConfChangeSingle { r#type: Some(number), node_id: Some(id) };
    let changer = Changer { tracker: &tracker, last_index: 10 };
    let (config, progress) = changer.simple(&[change(0, 1)]).expect("a first voter");
    (tracker.config, tracker.progress) = (config, progress);
    let changer = Changer { tracker: &tracker, last_index: 10 };
    let refused = changer.simple(&[change(77, 2)]).expect_err("nobody knows kind 77");
    assert_eq!(refused.to_string(), "unexpected conf type 77");
    let (config, _) = changer.simple(&[change(77, 0)]).expect("nothing to carry out");
    assert_eq!(config, tracker.config);
}

#[test]
fn a_state_that_contradicts_itself_is_not_restored() {
    let empty = ProgressTracker::new(16, 0);
    let restored = |state: &ConfState| restore(&empty, 10, state).map(|(config, _)| config);
    let sound = ConfState { voters: vec![2, 1], learners: vec![3], ..ConfState::default() };
    restored(&sound).expect("a sound state, in whatever order");
    let two_roles = ConfState { learners: vec![2], ..sound.clone() };
    let twice = ConfState { voters: vec![1, 2, 1], ..sound.clone() };
    let not_joint = ConfState { auto_leave: Some(true), ..sound.clone() };
    let staged_without_outgoing = ConfState { learners_next: vec![2], ..sound };
    for state in [two_roles, twice, not_joint, staged_without_outgoing] {
        let refused = restored(&state).expect_err("no cluster has it");
        assert!(matches!(refused, ChangeError::Contradiction(_)), "{state:?}: {refused}");
    }
}
