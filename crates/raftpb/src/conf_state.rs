//! Whether two stored configurations mean the same.

use crate::ConfState;

/// The first difference found between two configurations, ids ascending.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfStateMismatch {
    /// One role is held by different members.
    #[error("configurations differ in {role}: {left:?} and {right:?}")]
    Members {
        /// The name of the field.
        role: &'static str,
        /// The ids of the first configuration.
        left: Vec<u64>,
        /// The ids of the second configuration.
        right: Vec<u64>,
    },
    /// Only one of them leaves its joint state by itself.
    #[error("configurations differ in auto_leave: {left} and {right}")]
    AutoLeave {
        /// As the first configuration has it.
        left: bool,
        /// As the second configuration has it.
        right: bool,
    },
}

impl ConfState {
    /// Compares without regard to the order of ids; an absent `auto_leave` is false.
    ///
    /// # Errors
    /// Names the first difference.
    pub fn equivalent(&self, other: &Self) -> Result<(), ConfStateMismatch> {
        let roles = [
            ("voters", &self.voters, &other.voters),
            ("learners", &self.learners, &other.learners),
            ("voters_outgoing", &self.voters_outgoing, &other.voters_outgoing),
            ("learners_next", &self.learners_next, &other.learners_next),
        ];
        for (role, left, right) in roles {
            let (left, right) = (sorted(left), sorted(right));
            if left != right {
                return Err(ConfStateMismatch::Members { role, left, right });
            }
        }
        let (left, right) = (self.auto_leave(), other.auto_leave());
        if left != right {
            return Err(ConfStateMismatch::AutoLeave { left, right });
        }
        Ok(())
    }
}

fn sorted(ids: &[u64]) -> Vec<u64> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_absence_do_not_matter() {
        let one = ConfState {
            voters: vec![3, 1, 2],
            voters_outgoing: vec![4, 1],
            auto_leave: Some(false),
            ..ConfState::default()
        };
        let other = ConfState {
            voters: vec![1, 2, 3],
            voters_outgoing: vec![1, 4],
            ..ConfState::default()
        };
        assert_eq!(one.equivalent(&other), Ok(()));
    }

    #[test]
    fn names_the_difference() {
        let one = ConfState { learners: vec![2, 1], ..ConfState::default() };
        let other = ConfState { learners: vec![1], ..ConfState::default() };
        let text = one.equivalent(&other).unwrap_err().to_string();
        assert_eq!(text, "configurations differ in learners: [1, 2] and [1]");
        let other = ConfState { auto_leave: Some(true), ..one.clone() };
        let text = one.equivalent(&other).unwrap_err().to_string();
        assert_eq!(text, "configurations differ in auto_leave: false and true");
    }
}
