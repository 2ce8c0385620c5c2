//! Configuration changes of both generations, and the short strings they are written as.
//!
//! The first generation carries one change; the second carries several and says how the joint
//! state is to be left. A leader thinks in the second, but etcd's members put only the first
//! into their logs.

use std::borrow::Cow;

use bytes::Bytes;
use prost::Message as _;

use crate::{
    ConfChange, ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, EntryType,
};

/// A configuration change of either generation.
pub trait ConfChangeI {
    /// The change in the second generation's form.
    fn as_v2(&self) -> Cow<'_, ConfChangeV2>;

    /// The change itself if it is of the first generation.
    fn as_v1(&self) -> Option<&ConfChange>;

    /// The entry that carries the change: its type and its data.
    fn to_entry_data(&self) -> (EntryType, Bytes) {
        match self.as_v1() {
            Some(v1) => (EntryType::EntryConfChange, v1.encode_to_vec().into()),
            None => (EntryType::EntryConfChangeV2, self.as_v2().encode_to_vec().into()),
        }
    }
}

impl ConfChangeI for ConfChange {
    fn as_v2(&self) -> Cow<'_, ConfChangeV2> {
        // The number is passed on as it is: an unknown one is for whoever applies it to refuse.
        let number = self.r#type.unwrap_or_default();
        let change = ConfChangeSingle { r#type: Some(number), node_id: Some(self.node_id()) };
        Cow::Owned(ConfChangeV2 {
            transition: None,
            changes: vec![change],
            context: self.context.clone(),
        })
    }

    fn as_v1(&self) -> Option<&ConfChange> {
        Some(self)
    }
}

impl ConfChangeI for ConfChangeV2 {
    fn as_v2(&self) -> Cow<'_, ConfChangeV2> {
        Cow::Borrowed(self)
    }

    fn as_v1(&self) -> Option<&ConfChange> {
        None
    }
}

impl ConfChangeV2 {
    /// Whether the change goes through a joint configuration, and if so, whether that is left
    /// automatically. It does if there is more than one change, or if asked to.
    ///
    /// Some groups of changes could do without, depending on what they meet; the joint way is
    /// always right. An unknown transition, from a version to come, counts as joint and left
    /// automatically (etcd panics on it).
    pub fn enter_joint(&self) -> Option<bool> {
        let transition = self.transition.unwrap_or_default();
        let joint = transition != ConfChangeTransition::Auto as i32 || self.changes.len() > 1;
        joint.then_some(transition != ConfChangeTransition::JointExplicit as i32)
    }

    /// Whether this is the change that leaves a joint configuration: nothing but a context.
    pub fn leave_joint(&self) -> bool {
        self.transition.unwrap_or_default() == ConfChangeTransition::Auto as i32
            && self.changes.is_empty()
    }
}

/// Why a string is no list of changes. The first two texts are etcd's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseConfChangeError {
    /// A word too short to hold an id.
    #[error("unknown token {0}")]
    TooShort(String),
    /// A word with another first letter than `v`, `l`, `r` and `u`.
    #[error("unknown input: {0}")]
    UnknownKind(String),
    /// What follows the letter is no decimal 64-bit number.
    #[error("no member id in {0:?}")]
    BadId(String),
}

/// Parses changes separated by one blank: `v1` makes 1 a voter, `l1` a learner, `r1` removes
/// and `u1` updates it. The empty string is the empty list.
///
/// # Errors
/// Names the first word that is none of these.
pub fn parse_conf_changes(text: &str) -> Result<Vec<ConfChangeSingle>, ParseConfChangeError> {
    match text.trim() {
        "" => Ok(Vec::new()),
        text => text.split(' ').map(parse_conf_change).collect(),
    }
}

fn parse_conf_change(word: &str) -> Result<ConfChangeSingle, ParseConfChangeError> {
    let (Some(kind), true) = (word.chars().next(), word.len() >= 2) else {
        return Err(ParseConfChangeError::TooShort(word.to_owned()));
    };
    let number = match kind {
        'v' => ConfChangeType::ConfChangeAddNode,
        'l' => ConfChangeType::ConfChangeAddLearnerNode,
        'r' => ConfChangeType::ConfChangeRemoveNode,
        'u' => ConfChangeType::ConfChangeUpdateNode,
        _ => return Err(ParseConfChangeError::UnknownKind(word.to_owned())),
    };
    match word[1..].parse() {
        Ok(id) => Ok(ConfChangeSingle { r#type: Some(number.into()), node_id: Some(id) }),
        Err(_) => Err(ParseConfChangeError::BadId(word.to_owned())),
    }
}

/// Prints changes as [`parse_conf_changes`] reads them; `unknown1` for an unknown type.
pub fn conf_changes_to_string(changes: &[ConfChangeSingle]) -> String {
    let word = |change: &ConfChangeSingle| {
        let kind = match ConfChangeType::try_from(change.r#type.unwrap_or_default()) {
            Ok(ConfChangeType::ConfChangeAddNode) => "v",
            Ok(ConfChangeType::ConfChangeAddLearnerNode) => "l",
            Ok(ConfChangeType::ConfChangeRemoveNode) => "r",
            Ok(ConfChangeType::ConfChangeUpdateNode) => "u",
            Err(_) => "unknown",
        };
        format!("{kind}{}", change.node_id())
    };
    changes.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_round_trip() {
        for text in ["", "v1", "v1 l2 r3 u4", "r18446744073709551615"] {
            assert_eq!(conf_changes_to_string(&parse_conf_changes(text).unwrap()), text);
        }
        let unknown = ConfChangeSingle { r#type: Some(9), node_id: Some(5) };
        assert_eq!(conf_changes_to_string(&[unknown]), "unknown5");
    }

    #[test]
    fn bad_strings_are_named() {
        let refused = |text| parse_conf_changes(text).unwrap_err().to_string();
        assert_eq!(refused("v1 v"), "unknown token v");
        assert_eq!(refused("v1  v2"), "unknown token ");
        assert_eq!(refused("v1 x2"), "unknown input: x2");
        assert_eq!(refused("v-1"), "no member id in \"v-1\"");
    }

    #[test]
    fn several_changes_or_a_wish_make_it_joint() {
        let change = |transition: Option<i32>, changes: &str| ConfChangeV2 {
            transition,
            changes: parse_conf_changes(changes).unwrap(),
            context: None,
        };
        let implicit = Some(ConfChangeTransition::JointImplicit as i32);
        let explicit = Some(ConfChangeTransition::JointExplicit as i32);
        assert_eq!(change(None, "v1").enter_joint(), None);
        assert_eq!(change(None, "v1 v2").enter_joint(), Some(true));
        assert_eq!(change(implicit, "v1").enter_joint(), Some(true));
        assert_eq!(change(explicit, "v1").enter_joint(), Some(false));
        assert_eq!(change(Some(77), "v1").enter_joint(), Some(true));
        assert!(change(Some(0), "").leave_joint());
        assert!(!change(explicit, "").leave_joint());
        assert!(!change(None, "v1").leave_joint());
    }

    #[test]
    fn a_v1_change_stays_one_on_the_wire() {
        let v1 = ConfChange {
            id: Some(7),
            r#type: Some(ConfChangeType::ConfChangeRemoveNode as i32),
            node_id: Some(3),
            context: Some(Bytes::from_static(b"why")),
        };
        assert_eq!(v1.to_entry_data().0, EntryType::EntryConfChange);
        let v2 = v1.as_v2().into_owned();
        assert_eq!(conf_changes_to_string(&v2.changes), "r3");
        assert_eq!(v2.context, v1.context);
        let (kind, data) = v2.to_entry_data();
        assert_eq!(kind, EntryType::EntryConfChangeV2);
        assert_eq!(ConfChangeV2::decode(data), Ok(v2));
        assert!(ConfChangeV2::default().to_entry_data().1.is_empty(), "what leaves a joint state");
    }
}
