//! Decisions of more than half of one set of voters.

use super::VoteResult;
use std::collections::BTreeSet;
use std::fmt::{self, Write};

/// A set of voters that decides by majority. The empty set agrees to everything: it is the half
/// of a joint configuration that is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MajorityConfig(BTreeSet<u64>);

impl MajorityConfig {
    /// Whether `id` is a voter.
    pub fn contains(&self, id: u64) -> bool {
        self.0.contains(&id)
    }

    /// The number of voters.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no voter.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The voters, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().copied()
    }

    /// Adds a voter.
    pub fn insert(&mut self, id: u64) {
        self.0.insert(id);
    }

    /// Removes a voter.
    pub fn remove(&mut self, id: u64) {
        self.0.remove(&id);
    }

    /// The highest index that a majority has acknowledged; `acked` gives a voter's, if it is
    /// known. An empty configuration has committed everything.
    pub fn committed_index(&self, acked: impl Fn(u64) -> Option<u64>) -> u64 {
        /// Clusters up to this size are decided without touching the heap.
        const ON_STACK: usize = 7;
        let voters = self.0.len();
        if voters == 0 {
            return u64::MAX;
        }
        let mut few = [0; ON_STACK];
        let mut many = Vec::new();
        let indexes = if voters <= ON_STACK {
            &mut few[..voters]
        } else {
            many.resize(voters, 0);
            &mut many[..]
        };
        for (slot, id) in indexes.iter_mut().zip(&self.0) {
            *slot = acked(*id).unwrap_or(0);
        }
        indexes.sort_unstable();
        // So many are allowed to be below it that the rest is a majority.
        indexes[voters - (voters / 2 + 1)]
    }

    /// The outcome of a vote; `vote` gives a voter's, once it is cast. An empty configuration
    /// wins.
    pub fn vote_result(&self, vote: impl Fn(u64) -> Option<bool>) -> VoteResult {
        let (mut yes, mut missing) = (0, 0);
        for id in &self.0 {
            match vote(*id) {
                Some(true) => yes += 1,
                Some(false) => {}
                None => missing += 1,
            }
        }
        let quorum = self.0.len() / 2 + 1;
        if self.0.is_empty() || yes >= quorum {
            VoteResult::Won
        } else if yes + missing >= quorum {
            VoteResult::Pending
        } else {
            VoteResult::Lost
        }
    }

    /// Draws the acknowledged indexes as bars, voters in order of id.
    pub fn describe(&self, acked: impl Fn(u64) -> Option<u64>) -> String {
        let voters = self.0.len();
        if voters == 0 {
            return "<empty majority quorum>".to_owned();
        }
        let mut sorted: Vec<(u64, Option<u64>)> = self.iter().map(|id| (id, acked(id))).collect();
        sorted.sort_by_key(|&(id, index)| (index.unwrap_or(0), id));
        let mut text = " ".repeat(voters) + "    idx\n";
        for id in self.iter() {
            let bar = bar_length(&sorted, id);
            match acked(id) {
                None => text.push_str(&("?".to_owned() + &" ".repeat(voters))),
                Some(_) => text.push_str(&("x".repeat(bar) + ">" + &" ".repeat(voters - bar))),
            }
            writeln!(text, " {:5}    (id={id:x})", acked(id).unwrap_or(0)).expect("a string");
        }
        text
    }
}

/// How many voters are strictly behind `id`.
fn bar_length(sorted: &[(u64, Option<u64>)], id: u64) -> usize {
    let index =
        sorted.iter().find(|(other, _)| *other == id).map_or(0, |(_, index)| index.unwrap_or(0));
    sorted.iter().position(|(_, other)| other.unwrap_or(0) == index).unwrap_or(0)
}

impl FromIterator<u64> for MajorityConfig {
    fn from_iter<I: IntoIterator<Item = u64>>(ids: I) -> Self {
        MajorityConfig(ids.into_iter().collect())
    }
}

impl fmt::Display for MajorityConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('(')?;
        for (i, id) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_char(' ')?;
            }
            write!(f, "{id:x}")?;
        }
        f.write_char(')')
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        /// By definition: the highest index that at least a majority reaches.
        #[test]
        fn committed_index_is_the_definition(acked in prop::collection::btree_map(1..12u64, 0..20u64, 0..9), silent in prop::collection::btree_set(1..12u64, 0..4)) {
            let config: MajorityConfig = acked.keys().chain(&silent).copied().collect();
            let acked: BTreeMap<_, _> = acked.into_iter().filter(|(id, _)| !silent.contains(id)).collect();
            let reached = |index: u64| config.iter().filter(|id| acked.get(id).copied().unwrap_or(0) >= index).count();
            let found = config.committed_index(|id| acked.get(&id).copied());
            if config.is_empty() {
                prop_assert_eq!(found, u64::MAX);
            } else {
                prop_assert!(reached(found) > config.len() / 2);
                prop_assert!(reached(found + 1) <= config.len() / 2);
            }
        }

        #[test]
        fn a_vote_is_decided_as_soon_as_it_cannot_turn(yes in 0..8u64, no in 0..8u64, missing in 0..8u64) {
            let config: MajorityConfig = (1..=yes + no + missing).collect();
            let result = config.vote_result(|id| (id <= yes + no).then_some(id <= yes));
            let half = config.len() as u64 / 2;
            let want = if config.is_empty() || yes > half { VoteResult::Won }
                else if yes + missing > half { VoteResult::Pending }
                else { VoteResult::Lost };
            prop_assert_eq!(result, want);
        }
    }
}
