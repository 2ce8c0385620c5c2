//! A member, and its JSON: in contexts of membership changes, in the bucket `members`, in the
//! answer of `/members` (etcd `server/etcdserver/api/membership/member.go`).

use crate::json::{Fields, push_list, push_string, push_strings, read_object};
use crate::json::{take_strings, take_value};
use crate::{Error, member_id};
use bytes::Bytes;
use raftpb::ConfState;
use serde::de::MapAccess;
use serde::{Deserialize, Deserializer};
use std::fmt::Write;

/// A member of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Never 0.
    pub id: u64,
    /// Where it listens for the others.
    pub peer_urls: Vec<String>,
    /// Whether it has no vote yet.
    pub is_learner: bool,
    /// Empty until it was there for the first time, unless the cluster began with it.
    pub name: String,
    /// Where it listens for clients; empty until it was there for the first time.
    pub client_urls: Vec<String>,
}

/// The context of a membership change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// The member; of a promotion only the id.
    pub member: Member,
    /// Whether the member is a learner that gets a vote. Promoting and adding are the same to
    /// raft, and this tells them apart.
    pub is_promote: bool,
}

const WRITES: &str = "a string takes any text";

impl Member {
    /// A member with the id that follows from its peer URLs and the cluster's token or, for a
    /// member that is added to a running cluster, from the seconds of Unix time and no token.
    #[must_use]
    pub fn new(name: &str, peer_urls: Vec<String>, token: &str, unix_seconds: Option<u64>) -> Self {
        let urls: Vec<&str> = peer_urls.iter().map(String::as_str).collect();
        let id = member_id(&urls, token, unix_seconds);
        let name = name.to_owned();
        Self { id, peer_urls, name, ..Self::default() }
    }

    /// Whether it was ever there: a member's name is published when it starts.
    #[must_use]
    pub fn is_started(&self) -> bool {
        !self.name.is_empty()
    }

    /// As JSON, in Go's bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = String::new();
        self.push_json(&mut out, "");
        out
    }

    /// Reads a member.
    ///
    /// # Errors
    /// [`Error::BadContext`].
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        parse_context(json).map(|context| context.member)
    }

    /// `{"peerURLs":[...],"isLearner":true}`
    pub(crate) fn raft_attributes_json(&self) -> String {
        let mut out = String::from("{");
        self.push_raft_attributes(&mut out);
        out + "}"
    }

    /// `{"name":"...","clientURLs":[...]}`
    pub(crate) fn attributes_json(&self) -> String {
        let mut out = String::new();
        self.push_attributes(&mut out);
        // Each field is written for an object that has others before it.
        format!("{{{}}}", out.strip_prefix(',').unwrap_or(&out))
    }

    fn push_json(&self, out: &mut String, more: &str) {
        write!(out, "{{\"id\":{},", self.id).expect(WRITES);
        self.push_raft_attributes(out);
        self.push_attributes(out);
        out.push_str(more);
        out.push('}');
    }

    fn push_raft_attributes(&self, out: &mut String) {
        out.push_str("\"peerURLs\":");
        push_strings(out, &self.peer_urls);
        if self.is_learner {
            out.push_str(",\"isLearner\":true");
        }
    }

    fn push_attributes(&self, out: &mut String) {
        if !self.name.is_empty() {
            out.push_str(",\"name\":");
            push_string(out, &self.name);
        }
        if !self.client_urls.is_empty() {
            out.push_str(",\"clientURLs\":");
            push_strings(out, &self.client_urls);
        }
    }
}

/// The context of the change that gives a learner its vote.
#[must_use]
pub fn promote_context(id: u64) -> Bytes {
    let mut out = String::new();
    Member { id, ..Member::default() }.push_json(&mut out, ",\"isPromote\":true");
    out.into()
}

/// Reads the context of a membership change; the other contexts are [`Member::to_json`].
///
/// # Errors
/// [`Error::BadContext`].
pub fn parse_context(json: &[u8]) -> Result<Context, Error> {
    // Go takes bytes that are not UTF-8 for the replacement character.
    serde_json::from_str(&String::from_utf8_lossy(json))
        .map_err(|error| Error::BadContext { reason: error.to_string() })
}

/// The answer of `/members`: all of them, and a newline.
#[must_use]
pub fn members_json<'a>(members: impl IntoIterator<Item = &'a Member>) -> String {
    let mut members = members.into_iter().peekable();
    if members.peek().is_none() {
        return "null\n".to_owned();
    }
    let mut out = String::new();
    push_list(&mut out, members, |out, member| member.push_json(out, ""));
    out + "\n"
}

/// Reads the answer of `/members`.
///
/// # Errors
/// [`Error::BadContext`].
pub fn parse_members(json: &[u8]) -> Result<Vec<Member>, Error> {
    let members: Option<Vec<Context>> = serde_json::from_str(&String::from_utf8_lossy(json))
        .map_err(|error| Error::BadContext { reason: error.to_string() })?;
    Ok(members.unwrap_or_default().into_iter().map(|context| context.member).collect())
}

/// raft's configuration as the entry `confState` of bucket `meta` has it.
#[must_use]
pub fn conf_state_json(state: &ConfState) -> String {
    let lists = [
        ("voters", &state.voters),
        ("learners", &state.learners),
        ("voters_outgoing", &state.voters_outgoing),
        ("learners_next", &state.learners_next),
    ];
    let mut out = String::from("{");
    for (name, ids) in lists.into_iter().filter(|(_, ids)| !ids.is_empty()) {
        write!(out, "\"{name}\":").expect(WRITES);
        push_list(&mut out, ids, |out, id| write!(out, "{id}").expect(WRITES));
        out.push(',');
    }
    write!(out, "\"auto_leave\":{}}}", state.auto_leave()).expect(WRITES);
    out
}

impl<'de> Deserialize<'de> for Context {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        read_object(deserializer)
    }
}

impl<'de> Fields<'de> for Context {
    fn take<A: MapAccess<'de>>(&mut self, name: &str, map: &mut A) -> Result<bool, A::Error> {
        let member = &mut self.member;
        match name {
            "id" => take_value(map, &mut member.id),
            "peerurls" => take_strings(map, &mut member.peer_urls),
            "islearner" => take_value(map, &mut member.is_learner),
            "name" => take_value(map, &mut member.name),
            "clienturls" => take_strings(map, &mut member.client_urls),
            "ispromote" => take_value(map, &mut self.is_promote),
            _ => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests;
