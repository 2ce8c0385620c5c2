//! A configuration rebuilt from the form in which snapshots and logs keep it.

use super::{ChangeError, Changed, Changer};
use crate::tracker::ProgressTracker;
use raftpb::{ConfChangeSingle, ConfChangeType, ConfState};

/// Rebuilds the configuration `state` in a tracker that has no members.
///
/// It is reached by the changes that a cluster could have made: first the outgoing voters one by
/// one, then the joint step to all the rest. So no second way to build a configuration exists.
///
/// # Errors
/// If no cluster can have had this configuration; [`ChangeError::Contradiction`] if it would have
/// become another one.
pub fn restore(
    empty: &ProgressTracker,
    last_index: u64,
    state: &ConfState,
) -> Result<Changed, ChangeError> {
    use ConfChangeType::{ConfChangeAddLearnerNode, ConfChangeAddNode, ConfChangeRemoveNode};
    let incoming: Vec<_> = changes(ConfChangeRemoveNode, &state.voters_outgoing)
        .chain(changes(ConfChangeAddNode, &state.voters))
        .chain(changes(ConfChangeAddLearnerNode, &state.learners))
        .chain(changes(ConfChangeAddLearnerNode, &state.learners_next))
        .collect();
    let mut tracker = empty.clone();
    let simple = |tracker: &mut ProgressTracker, change| {
        let changer = Changer { tracker, last_index };
        let (config, progress) = changer.simple(&[change])?;
        (tracker.config, tracker.progress) = (config, progress);
        Ok(())
    };
    if state.voters_outgoing.is_empty() {
        for change in incoming {
            simple(&mut tracker, change)?;
        }
    } else {
        for change in changes(ConfChangeAddNode, &state.voters_outgoing) {
            simple(&mut tracker, change)?;
        }
        let changer = Changer { tracker: &tracker, last_index };
        let (config, progress) = changer.enter_joint(state.auto_leave(), &incoming)?;
        (tracker.config, tracker.progress) = (config, progress);
    }
    // Changes make something sound of everything. If that is not what was asked for, members
    // that read the same state could come to count different quorums.
    tracker.conf_state().equivalent(state).map_err(ChangeError::Contradiction)?;
    Ok((tracker.config, tracker.progress))
}

fn changes(kind: ConfChangeType, ids: &[u64]) -> impl Iterator<Item = ConfChangeSingle> {
    ids.iter().map(move |id| ConfChangeSingle { r#type: Some(kind.into()), node_id: Some(*id) })
}
