//! A member as JSON: in changes of membership, in the store, and on `/members`.
//!
//! Compat: the bytes are those of Go's encoder, for members compare and hash them: keys in this
//! order, empty ones left out, `null` for a list that never was, and `<`, `>`, `&` escaped.

use serde::{Deserialize, Serialize};

/// A member.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Member {
    /// Its id; never 0, never used again.
    pub id: u64,
    /// Where other members find it.
    #[serde(rename = "peerURLs", with = "null_if_empty")]
    pub peer_urls: Vec<String>,
    /// Whether it has no vote yet.
    #[serde(rename = "isLearner", skip_serializing_if = "std::ops::Not::not")]
    pub is_learner: bool,
    /// Its name; empty until it has started.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where clients find it.
    #[serde(rename = "clientURLs", skip_serializing_if = "Vec::is_empty")]
    pub client_urls: Vec<String>,
}

/// What a change of membership carries: the member, and whether it is one to be given a vote.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ChangeContext {
    /// The member.
    #[serde(flatten)]
    pub member: Member,
    /// Whether it is promoted; then only its id counts.
    #[serde(rename = "isPromote", skip_serializing_if = "std::ops::Not::not")]
    pub is_promote: bool,
}

impl Member {
    /// As stored.
    #[must_use]
    pub fn to_json(&self) -> String {
        encode(self)
    }
}

impl ChangeContext {
    /// As in the log.
    #[must_use]
    pub fn to_json(&self) -> String {
        encode(self)
    }
}

/// JSON as Go writes it.
pub(crate) fn encode(value: &impl Serialize) -> String {
    let text = serde_json::to_string(value).expect("plain data encodes");
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        // Within JSON these are in strings only.
        match char {
            '<' => escaped.push_str("\\u003c"),
            '>' => escaped.push_str("\\u003e"),
            '&' => escaped.push_str("\\u0026"),
            '\u{2028}' => escaped.push_str("\\u2028"),
            '\u{2029}' => escaped.push_str("\\u2029"),
            other => escaped.push(other),
        }
    }
    escaped
}

mod null_if_empty {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(urls: &[String], to: S) -> Result<S::Ok, S::Error> {
        (!urls.is_empty()).then_some(urls).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
        Option::<Vec<String>>::deserialize(from).map(Option::unwrap_or_default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_go() {
        let member = Member {
            id: u64::MAX,
            peer_urls: vec!["http://a:2380?x=1&y=<2>".to_owned()],
            is_learner: true,
            name: "n".to_owned(),
            client_urls: vec!["http://a:2379".to_owned()],
        };
        assert_eq!(
            member.to_json(),
            r#"{"id":18446744073709551615,"peerURLs":["http://a:2380?x=1\u0026y=\u003c2\u003e"],"isLearner":true,"name":"n","clientURLs":["http://a:2379"]}"#
        );
        let promote =
            ChangeContext { member: Member { id: 7, ..Member::default() }, is_promote: true };
        assert_eq!(promote.to_json(), r#"{"id":7,"peerURLs":null,"isPromote":true}"#);
        let back: ChangeContext = serde_json::from_str(&promote.to_json()).expect("ours");
        assert_eq!(back, promote);
        let back: Member = serde_json::from_str(&member.to_json()).expect("ours");
        assert_eq!(back, member);
    }
}
