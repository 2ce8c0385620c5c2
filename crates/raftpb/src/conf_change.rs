//! Membership changes: the two forms a log entry may carry, and what they mean.
//!
//! Version 1 changes one node. Version 2 changes any number, and by its transition says whether
//! to go through a joint configuration (raft section 6). Version 1 is the version 2 change of one
//! node, so raft itself deals in version 2 only.

use crate::{
    ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, EntryType,
};
use bytes::Bytes;
use prost::Message;
use std::fmt::Write;

/// A membership change of either version.
pub trait MembershipChange {
    /// The change as version 2.
    fn to_v2(&self) -> ConfChangeV2;
    /// The type and data of the log entry that carries this change.
    fn to_entry(&self) -> (EntryType, Bytes);
}

impl MembershipChange for ConfChange {
    fn to_v2(&self) -> ConfChangeV2 {
        ConfChangeV2 {
            transition: None,
            changes: vec![ConfChangeSingle {
                // An unknown number is passed on: whoever applies it refuses it.
                r#type: Some(self.r#type.unwrap_or_default()),
                node_id: Some(self.node_id()),
            }],
            context: self.context.clone(),
        }
    }

    fn to_entry(&self) -> (EntryType, Bytes) {
        (EntryType::EntryConfChange, self.encode_to_vec().into())
    }
}

impl MembershipChange for ConfChangeV2 {
    fn to_v2(&self) -> ConfChangeV2 {
        self.clone()
    }

    fn to_entry(&self) -> (EntryType, Bytes) {
        (EntryType::EntryConfChangeV2, self.encode_to_vec().into())
    }
}

impl ConfChangeV2 {
    /// Whether this change goes through a joint configuration, and if so whether raft leaves it
    /// by itself once the joint configuration is in force.
    ///
    /// An automatic transition needs no joint configuration for one change: any two majorities of
    /// sets that differ by one node overlap.
    pub fn enter_joint(&self) -> Option<bool> {
        let transition = self.transition();
        if transition == ConfChangeTransition::Auto && self.changes.len() <= 1 {
            return None;
        }
        Some(transition != ConfChangeTransition::JointExplicit)
    }

    /// Whether this is the empty change that leaves a joint configuration.
    pub fn leave_joint(&self) -> bool {
        self.transition() == ConfChangeTransition::Auto && self.changes.is_empty()
    }
}

/// A token that names no change, in a text such as `v1 l2 r3 u4`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseChangeError {
    /// The token as it stands in the text.
    pub token: String,
}

impl std::fmt::Display for ParseChangeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} is no change: want v, l, r or u and a node id, as in v1", self.token)
    }
}

impl std::error::Error for ParseChangeError {}

/// Reads changes from a text such as `v1 l2 r3 u4`: voter, learner, remove, update.
///
/// # Errors
/// Names the first token that is no change.
pub fn parse_changes(text: &str) -> Result<Vec<ConfChangeSingle>, ParseChangeError> {
    text.split_whitespace().map(parse_change).collect()
}

fn parse_change(token: &str) -> Result<ConfChangeSingle, ParseChangeError> {
    let error = || ParseChangeError { token: token.to_owned() };
    let kind = match token.as_bytes().first() {
        Some(b'v') => ConfChangeType::ConfChangeAddNode,
        Some(b'l') => ConfChangeType::ConfChangeAddLearnerNode,
        Some(b'r') => ConfChangeType::ConfChangeRemoveNode,
        Some(b'u') => ConfChangeType::ConfChangeUpdateNode,
        _ => return Err(error()),
    };
    let node_id: u64 = token[1..].parse().map_err(|_| error())?;
    Ok(ConfChangeSingle { r#type: Some(kind.into()), node_id: Some(node_id) })
}

/// Writes changes as [`parse_changes`] reads them.
pub fn changes_to_string(changes: &[ConfChangeSingle]) -> String {
    let mut text = String::new();
    for (i, change) in changes.iter().enumerate() {
        let letter = match ConfChangeType::try_from(change.r#type.unwrap_or_default()) {
            Ok(ConfChangeType::ConfChangeAddNode) => "v",
            Ok(ConfChangeType::ConfChangeAddLearnerNode) => "l",
            Ok(ConfChangeType::ConfChangeRemoveNode) => "r",
            Ok(ConfChangeType::ConfChangeUpdateNode) => "u",
            Err(_) => "unknown",
        };
        let space = if i > 0 { " " } else { "" };
        write!(text, "{space}{letter}{}", change.node_id()).expect("a string takes any text");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(transition: ConfChangeTransition, changes: &str) -> ConfChangeV2 {
        ConfChangeV2 {
            transition: Some(transition.into()),
            changes: parse_changes(changes).expect("changes of the test"),
            context: None,
        }
    }

    #[test]
    fn only_more_than_one_change_or_a_named_transition_is_joint() {
        use ConfChangeTransition::{Auto, JointExplicit, JointImplicit};
        assert_eq!(change(Auto, "").enter_joint(), None);
        assert_eq!(change(Auto, "v1").enter_joint(), None);
        assert_eq!(change(Auto, "v1 r2").enter_joint(), Some(true));
        assert_eq!(change(JointImplicit, "v1").enter_joint(), Some(true));
        assert_eq!(change(JointExplicit, "v1").enter_joint(), Some(false));
        assert!(change(Auto, "").leave_joint());
        assert!(!change(Auto, "v1").leave_joint());
        assert!(!change(JointExplicit, "").leave_joint());
    }

    #[test]
    fn changes_read_back_as_written() {
        let text = "v1 l2 r3 u18446744073709551615";
        assert_eq!(changes_to_string(&parse_changes(text).expect("valid")), text);
        for bad in ["v", "x1", "1", "v-1", "v1x"] {
            parse_changes(bad).expect_err(bad);
        }
    }
}
