//! Terms are made by candidates, and never fall on a node, not even over a restart: whoever has a
//! term that nobody campaigned for took it from a question, which is what a pre-vote is.

use super::{Verdict, View, hold};
use raft::StateType;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Terms {
    known: BTreeSet<u64>,
    /// The highest term each node showed to others.
    shown: BTreeMap<u64, u64>,
}

impl Terms {
    /// The term of a cluster that begins.
    pub(crate) fn begin(&mut self) {
        self.known.extend([0, 1]);
    }

    pub(crate) fn observe(&mut self, view: &View<'_>) -> Verdict {
        let made_here = matches!(view.state, StateType::Candidate | StateType::Leader);
        if made_here {
            self.known.insert(view.term);
        }
        let (id, term) = (view.id, view.term);
        hold!(self.known.contains(&term), "{id} has term {term}, for which nobody campaigned");
        Ok(())
    }

    /// Notes a term told to others in the node's own name.
    pub(crate) fn sent(&mut self, node: u64, term: u64) {
        let shown = self.shown.entry(node).or_default();
        *shown = term.max(*shown);
    }

    /// Checks the term a node starts with.
    pub(crate) fn restarted(&self, node: u64, term: u64) -> Verdict {
        let shown = self.shown.get(&node).copied().unwrap_or_default();
        hold!(term >= shown, "{node} restarts in term {term} after it had answered in {shown}");
        Ok(())
    }
}
