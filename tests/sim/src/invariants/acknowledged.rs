//! Nothing acknowledged is lost: what a client was told is in the log that everybody applies, in
//! its place, for ever.

use super::{Verdict, hold, state_machine::StateMachine};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct Acknowledged {
    /// Index and hash of each entry whose proposer was told that it is in.
    entries: BTreeMap<u64, u64>,
}

impl Acknowledged {
    pub(crate) fn told(&mut self, index: u64, hash: u64) {
        self.entries.insert(index, hash);
    }

    /// Checks all of it against what the nodes applied, up to `index` on the one asked.
    pub(crate) fn all_in(&self, machine: &StateMachine, node: u64, index: u64) -> Verdict {
        for (at, hash) in &self.entries {
            hold!(
                *at <= index && machine.holds(*at, *hash),
                "{node} lost entry {at} that was told"
            );
        }
        Ok(())
    }
}
