//! The configuration in force is the one as of the last entry applied (etcd-io/raft takes changes
//! at their application, not when they are appended), for a snapshot the snapshot's.

use super::{Verdict, View, hold};

/// Compares raft's members with those the node's application knows.
pub(crate) fn observe(view: &View<'_>) -> Verdict {
    if view.restoring {
        return Ok(());
    }
    let conf = view.conf_state;
    let mut members = 0;
    let mut stranger = None;
    view.raw.with_progress(|id, progress| {
        members += 1;
        let voter = conf.voters.contains(&id) || conf.voters_outgoing.contains(&id);
        let as_applied = if progress.is_learner { conf.learners.contains(&id) } else { voter };
        if !as_applied {
            stranger = Some(id);
        }
    });
    let outgoing = conf.voters_outgoing.iter().filter(|id| !conf.voters.contains(id)).count();
    let known = conf.voters.len() + conf.learners.len() + outgoing;
    hold!(
        stranger.is_none() && members == known,
        "{} has {members} members in force (of no such part: {stranger:?}), applied are {conf:?}",
        view.id
    );
    Ok(())
}
