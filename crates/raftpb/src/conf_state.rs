//! Comparing configurations: two of them are the same whatever the order of their ids.

use crate::ConfState;

/// Two configurations that differ, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfStateMismatch {
    /// The field that differs.
    pub field: &'static str,
    /// The first configuration, ids ascending.
    pub left: ConfState,
    /// The second configuration, ids ascending.
    pub right: ConfState,
}

impl std::fmt::Display for ConfStateMismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "configurations differ in {}: {:?} and {:?}", self.field, self.left, self.right)
    }
}

impl std::error::Error for ConfStateMismatch {}

impl ConfState {
    /// Checks that both name the same configuration.
    ///
    /// # Errors
    /// Names the first field that differs.
    pub fn equivalent(&self, other: &ConfState) -> Result<(), Box<ConfStateMismatch>> {
        let (left, right) = (self.sorted(), other.sorted());
        let fields = [
            ("voters", left.voters == right.voters),
            ("learners", left.learners == right.learners),
            ("voters_outgoing", left.voters_outgoing == right.voters_outgoing),
            ("learners_next", left.learners_next == right.learners_next),
            ("auto_leave", left.auto_leave() == right.auto_leave()),
        ];
        match fields.into_iter().find(|(_, same)| !same) {
            Some((field, _)) => Err(Box::new(ConfStateMismatch { field, left, right })),
            None => Ok(()),
        }
    }

    fn sorted(&self) -> ConfState {
        let mut sorted = self.clone();
        sorted.voters.sort_unstable();
        sorted.learners.sort_unstable();
        sorted.voters_outgoing.sort_unstable();
        sorted.learners_next.sort_unstable();
        sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_absence_make_no_difference_but_members_do() {
        let one = ConfState { voters: vec![1, 2, 3], learners: vec![5, 4], ..ConfState::default() };
        let same = ConfState {
            voters: vec![3, 1, 2],
            learners: vec![4, 5],
            auto_leave: Some(false),
            ..ConfState::default()
        };
        assert_eq!(one.equivalent(&same), Ok(()));
        let other = ConfState { learners_next: vec![1], ..one.clone() };
        assert_eq!(one.equivalent(&other).expect_err("differs").field, "learners_next");
    }
}
