//! A set of voters that decides by majority.
//!
//! Invariant: ids are held in ascending order, so everything printed is the same on each member.

use std::collections::BTreeSet;
use std::fmt;
use std::iter;

use super::VoteResult;

/// Up to this many voters the committed index is found without allocating. Larger groups work,
/// they are rare and pay for one vector.
const VOTERS_ON_STACK: usize = 7;

/// Voters that decide by majority: more than half must agree.
///
/// The empty set agrees to everything (its committed index is `u64::MAX`, its elections are
/// won), so that a joint configuration with one empty half behaves as the other half alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MajorityConfig(BTreeSet<u64>);

impl MajorityConfig {
    /// Whether `id` votes here.
    pub fn contains(&self, id: u64) -> bool {
        self.0.contains(&id)
    }

    /// The number of voters.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody votes here.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The voters in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.0.iter().copied()
    }

    /// Adds a voter; false if it was there.
    pub fn insert(&mut self, id: u64) -> bool {
        self.0.insert(id)
    }

    /// Removes a voter; false if there was none.
    pub fn remove(&mut self, id: u64) -> bool {
        self.0.remove(&id)
    }

    /// How many ids are in exactly one of the two sets.
    pub fn differences(&self, other: &Self) -> usize {
        self.0.symmetric_difference(&other.0).count()
    }

    /// The largest index that a majority has acknowledged, where `acked` tells the index of one
    /// voter, or `None` if it is unknown (which counts as zero). `u64::MAX` without voters.
    pub fn committed_index(&self, acked: impl Fn(u64) -> Option<u64>) -> u64 {
        let voters = self.0.len();
        if voters == 0 {
            return u64::MAX;
        }
        let mut stack = [0; VOTERS_ON_STACK];
        let mut heap = Vec::new();
        let indexes = if voters <= VOTERS_ON_STACK {
            &mut stack[..voters]
        } else {
            heap.resize(voters, 0);
            &mut heap[..]
        };
        for (slot, id) in iter::zip(indexes.iter_mut(), self.iter()) {
            *slot = acked(id).unwrap_or(0);
        }
        indexes.sort_unstable();
        // Whoever stands at this place or to the right of it is a majority.
        indexes[voters - majority_of(voters)]
    }

    /// The outcome of an election, where `vote` tells how a voter voted, if it has.
    pub fn vote_result(&self, vote: impl Fn(u64) -> Option<bool>) -> VoteResult {
        if self.0.is_empty() {
            return VoteResult::Won;
        }
        let (mut yes, mut missing) = (0, 0);
        for id in self.iter() {
            match vote(id) {
                Some(true) => yes += 1,
                Some(false) => {}
                None => missing += 1,
            }
        }
        let quorum = majority_of(self.0.len());
        if yes >= quorum {
            VoteResult::Won
        } else if yes + missing >= quorum {
            VoteResult::Pending
        } else {
            VoteResult::Lost
        }
    }

    /// A chart for humans: a line per voter, its bar the longer the more voters are behind it.
    pub fn describe(&self, acked: impl Fn(u64) -> Option<u64>) -> String {
        if self.0.is_empty() {
            return "<empty majority quorum>".to_owned();
        }
        let width = self.0.len();
        let indexes: Vec<u64> = self.iter().map(|id| acked(id).unwrap_or(0)).collect();
        let mut chart = format!("{:width$}    idx\n", "");
        for (id, index) in iter::zip(self.iter(), &indexes) {
            let bar = match acked(id) {
                Some(_) => "x".repeat(indexes.iter().filter(|other| *other < index).count()) + ">",
                None => "?".to_owned(),
            };
            chart += &format!("{bar:<0$} {index:>5}    (id={id:x})\n", width + 1);
        }
        chart
    }
}

/// The smallest number that is more than half of `voters`.
fn majority_of(voters: usize) -> usize {
    voters / 2 + 1
}

impl FromIterator<u64> for MajorityConfig {
    fn from_iter<T: IntoIterator<Item = u64>>(ids: T) -> Self {
        Self(ids.into_iter().collect())
    }
}

/// `(1 2 a)`, ids in hex as everywhere in raft's output.
impl fmt::Display for MajorityConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_ids(f, &self.0)
    }
}

/// Writes `(1 2 a)`.
pub(crate) fn write_ids(f: &mut fmt::Formatter<'_>, ids: &BTreeSet<u64>) -> fmt::Result {
    f.write_str("(")?;
    for (place, id) in ids.iter().enumerate() {
        let space = if place > 0 { " " } else { "" };
        write!(f, "{space}{id:x}")?;
    }
    f.write_str(")")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The definition itself: the largest acknowledged index that a majority has reached.
    fn committed_by_definition(voters: &MajorityConfig, acked: &BTreeMap<u64, u64>) -> u64 {
        if voters.is_empty() {
            return u64::MAX;
        }
        let at = |id| acked.get(&id).copied().unwrap_or(0);
        let reached = |index| voters.iter().filter(|id| at(*id) >= index).count();
        let candidates = voters.iter().map(at).filter(|&index| reached(index) * 2 > voters.len());
        candidates.max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn committed_index_is_what_the_definition_says(
            voters in prop::collection::btree_set(0..16_u64, 0..12),
            acked in prop::collection::btree_map(0..16_u64, 0..9_u64, 0..14),
        ) {
            let voters: MajorityConfig = voters.into_iter().collect();
            let committed = voters.committed_index(|id| acked.get(&id).copied());
            prop_assert_eq!(committed, committed_by_definition(&voters, &acked));
        }

        #[test]
        fn a_vote_is_decided_once_no_missing_vote_can_turn_it(
            voters in prop::collection::btree_set(0..9_u64, 1..8),
            votes in prop::collection::btree_map(0..9_u64, any::<bool>(), 0..9),
        ) {
            let voters: MajorityConfig = voters.into_iter().collect();
            let if_missing = |vote| voters.vote_result(|id| votes.get(&id).copied().or(Some(vote)));
            let expected = match (if_missing(true), if_missing(false)) {
                (VoteResult::Won, VoteResult::Won) => VoteResult::Won,
                (VoteResult::Lost, VoteResult::Lost) => VoteResult::Lost,
                _ => VoteResult::Pending,
            };
            prop_assert_eq!(voters.vote_result(|id| votes.get(&id).copied()), expected);
        }
    }

    #[test]
    fn nobody_agrees_to_everything() {
        let nobody = MajorityConfig::default();
        assert_eq!(nobody.committed_index(|_| None), u64::MAX);
        assert_eq!(nobody.vote_result(|_| None), VoteResult::Won);
        assert_eq!(nobody.describe(|_| None), "<empty majority quorum>");
        assert_eq!(nobody.to_string(), "()");
    }

    #[test]
    fn chart_shows_unknown_voters_and_equal_bars() {
        let voters: MajorityConfig = [1, 2, 10].into_iter().collect();
        let acked = BTreeMap::from([(1, 7), (10, 7)]);
        let chart = voters.describe(|id| acked.get(&id).copied());
        assert_eq!(
            chart,
            "       idx\nx>       7    (id=1)\n?        0    (id=2)\nx>       7    (id=a)\n"
        );
        assert_eq!(voters.to_string(), "(1 2 a)");
    }
}
