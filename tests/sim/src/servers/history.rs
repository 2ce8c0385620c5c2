//! The log as the members agree on it, and what each request in it comes to by the model.
//!
//! It is the order of all writes: each write's answer is the model's at its place, and its place
//! lies behind everything that was acknowledged before it was asked. A write whose client heard
//! nothing is in it once or not at all. A linearizable read fits in if it says what the model says
//! at its revision, and that is no older than what was acknowledged before it was asked.

use super::model::{Model, Outcome};
use crate::rng::mix;
use api::etcdserverpb::InternalRaftRequest;
use api::mvccpb::KeyValue;
use mvcc::{RangeQuery, Read as _};
use prost::Message as _;
use raftpb::{Entry, EntryType};
use server::stages::Member;
use std::collections::BTreeMap;

#[derive(Debug)]
pub(crate) struct History {
    pub(crate) model: Model,
    /// A hash of each entry, from index 1 on.
    entries: Vec<u64>,
    /// What the state is after each entry, from none on.
    states: Vec<State>,
    /// Requests on their way, by id, and what was acknowledged before each.
    submitted: BTreeMap<u64, (InternalRaftRequest, u64)>,
    /// What each came to, and where.
    pub(crate) outcomes: BTreeMap<u64, (u64, Outcome)>,
    /// The last index that somebody was told of.
    pub(crate) floor: u64,
    index_of: BTreeMap<i64, u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    revision: i64,
    compacted: i64,
    /// A hash of all leases.
    leases: u64,
}

/// What a new entry is.
#[derive(Debug)]
pub(crate) struct Learned {
    pub(crate) index: u64,
    pub(crate) id: u64,
    pub(crate) request: InternalRaftRequest,
    pub(crate) outcome: Outcome,
    /// Events of it.
    pub(crate) events: usize,
}

impl History {
    pub(crate) fn new(min_ttl: i64) -> Self {
        let model = Model::new(min_ttl);
        let state = State { revision: model.revision, compacted: model.compacted, leases: 0 };
        Self {
            model,
            entries: Vec::new(),
            states: vec![state],
            submitted: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            floor: 0,
            index_of: BTreeMap::from([(1, 0)]),
        }
    }

    /// A member was asked to put this into the log.
    pub(crate) fn submitted(&mut self, id: u64, request: InternalRaftRequest) {
        self.submitted.insert(id, (request, self.floor));
    }

    /// A member knows that this entry is committed.
    pub(crate) fn committed(&mut self, entry: &Entry) -> Result<Option<Learned>, String> {
        let (index, hash) = (entry.index(), hash_entry(entry));
        let at = usize::try_from(index).expect("an index") - 1;
        if let Some(known) = self.entries.get(at) {
            let same = *known == hash;
            return same.then_some(None).ok_or_else(|| format!("another entry at {index}"));
        }
        if at > self.entries.len() {
            return Err(format!("entry {index} behind {}", self.entries.len()));
        }
        self.entries.push(hash);
        let learned = self.learn(index, entry)?;
        let leases = self.model.leases.iter();
        let leases = leases.fold(0, |hash, (id, ttl)| hash_lease(hash, *id, *ttl));
        let Model { revision, compacted, .. } = self.model;
        self.states.push(State { revision, compacted, leases });
        self.index_of.entry(revision).or_insert(index);
        Ok(learned)
    }

    fn learn(&mut self, index: u64, entry: &Entry) -> Result<Option<Learned>, String> {
        if entry.r#type() != EntryType::EntryNormal || entry.data().is_empty() {
            return Ok(None);
        }
        let request = InternalRaftRequest::decode(entry.data());
        let request = request.map_err(|error| format!("entry {index}: {error}"))?;
        let id = request.header.as_ref().map_or(0, |header| header.id);
        if let Some((asked, floor)) = self.submitted.get(&id) {
            let same = InternalRaftRequest { header: None, ..request.clone() } == *asked;
            if !same {
                return Err(format!("entry {index} is not what was asked: {asked:?}"));
            }
            if index <= *floor {
                return Err(format!("entry {index} was asked for after {floor} was acknowledged"));
            }
        }
        let before = self.model.revision;
        let outcome = self.model.apply(&request);
        if self.outcomes.insert(id, (index, outcome.clone())).is_some() && id != 0 {
            return Err(format!("request {id:x} is in the log again, at {index}"));
        }
        let events = (before != self.model.revision)
            .then(|| self.model.events.get(&self.model.revision).map_or(0, Vec::len));
        let events = events.unwrap_or_default();
        Ok(Some(Learned { index, id, request, outcome, events }))
    }

    /// The index of the last entry that is known to be committed.
    pub(crate) fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Somebody was told of this entry.
    pub(crate) fn acknowledged(&mut self, index: u64) {
        self.floor = self.floor.max(index);
    }

    /// The revision once all up to an index is applied.
    pub(crate) fn revision_at(&self, index: u64) -> i64 {
        let at = usize::try_from(index).expect("an index");
        self.states.get(at).map_or(i64::MAX, |state| state.revision)
    }

    /// The entry that made a revision.
    pub(crate) fn index_of(&self, revision: i64) -> u64 {
        self.index_of.get(&revision).copied().unwrap_or(u64::MAX)
    }

    /// Whether a member that applied all up to `index` shows what the model says.
    pub(crate) fn compare_state(&self, index: u64, member: &Member) -> Result<(), String> {
        let at = usize::try_from(index).expect("an index");
        let Some(state) = self.states.get(at) else {
            return Err(format!("applied {index} and only {} is committed", self.last()));
        };
        let view = member.view();
        let leases = member.with_machine(|machine| {
            let list = machine.lessor().list();
            let mut leases: Vec<(i64, i64)> = list.map(|lease| (lease.id, lease.ttl)).collect();
            leases.sort_unstable();
            leases.into_iter().fold(0, |hash, (id, ttl)| hash_lease(hash, id, ttl))
        });
        let (revision, compacted) = (view.revision(), view.compact_revision());
        let found = State { revision, compacted, leases };
        if found != *state {
            return Err(format!("at {index} it is at {found:?} for {state:?}"));
        }
        let kvs = all(&view).map_err(|error| format!("at {index}: {error}"))?;
        let wanted = self.model.range_at(b"\0", b"\0", revision);
        if kvs != wanted {
            return Err(format!("at {index}, revision {revision}: {kvs:?} for {wanted:?}"));
        }
        Ok(())
    }
}

/// All keys of a view.
fn all(view: &mvcc::View) -> Result<Vec<KeyValue>, mvcc::Error> {
    let query = RangeQuery { key: "\0".into(), range_end: "\0".into(), ..RangeQuery::default() };
    let found = view.range(&query)?;
    Ok(found.records.into_iter().map(apply::decode_record).collect())
}

fn hash_lease(hash: u64, id: i64, ttl: i64) -> u64 {
    mix(hash ^ mix(id.cast_unsigned()) ^ ttl.cast_unsigned())
}

fn hash_entry(entry: &Entry) -> u64 {
    let mut hash = mix(entry.term() ^ mix(entry.r#type() as u64));
    for chunk in entry.data().chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = mix(hash ^ u64::from_le_bytes(word));
    }
    mix(hash ^ entry.data().len() as u64)
}
