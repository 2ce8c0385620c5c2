//! What a cluster must be: keys with all their past, leases and the keys on them, as plainly as it
//! can be written. It applies each log entry once, when the first member knows that it is
//! committed, and remembers what that had to be answered.
//!
//! What it is not: the production state machine in other words. It keeps every revision in a list
//! and scans; what it has in common with `apply` is etcd's rules alone.

use super::txn;
use api::Error;
use api::etcdserverpb::{
    CompactionResponse, DeleteRangeRequest, DeleteRangeResponse, InternalRaftRequest,
    LeaseGrantResponse, LeaseRevokeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
    ResponseHeader,
};
use api::mvccpb::KeyValue;
use apply::Reply;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What a request comes to.
pub(crate) type Outcome = Result<Reply, Error>;

/// What happened to a key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Happened {
    pub(crate) tombstone: bool,
    /// As put; key and revision of a deletion.
    pub(crate) kv: KeyValue,
    /// What the key had before the revision.
    pub(crate) previous: Option<KeyValue>,
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    /// Each key's values with the revisions that gave them; `None` from a deletion on.
    keys: BTreeMap<Bytes, Vec<(i64, Option<KeyValue>)>>,
    /// What happened in each revision.
    pub(crate) events: BTreeMap<i64, Vec<Happened>>,
    /// Seconds each lease was granted.
    pub(crate) leases: BTreeMap<i64, i64>,
    attached: BTreeMap<Bytes, i64>,
    min_ttl: i64,
    /// Changes of the transaction under way.
    changing: Vec<(Bytes, Option<KeyValue>)>,
}

impl Model {
    pub(crate) fn new(min_ttl: i64) -> Self {
        Self {
            revision: 1,
            compacted: -1,
            keys: BTreeMap::new(),
            events: BTreeMap::new(),
            leases: BTreeMap::new(),
            attached: BTreeMap::new(),
            min_ttl,
            changing: Vec::new(),
        }
    }

    /// Applies what one entry asks for.
    pub(crate) fn apply(&mut self, request: &InternalRaftRequest) -> Outcome {
        let outcome = self.route(request);
        if self.changing.is_empty() {
            return outcome;
        }
        let (before, revision) = (self.revision, self.revision + 1);
        self.revision = revision;
        let mut events = Vec::new();
        for (key, kv) in std::mem::take(&mut self.changing) {
            let previous = self.at(&key, before).cloned();
            match kv.as_ref().map(|kv| kv.lease).filter(|id| self.leases.contains_key(id)) {
                Some(lease) => self.attached.insert(key.clone(), lease),
                None => self.attached.remove(&key),
            };
            let deleted = KeyValue { key: key.clone(), mod_revision: revision, ..<_>::default() };
            let tombstone = kv.is_none();
            events.push(Happened { tombstone, kv: kv.clone().unwrap_or(deleted), previous });
            self.keys.entry(key).or_default().push((revision, kv));
        }
        self.events.insert(revision, events);
        outcome
    }

    fn route(&mut self, request: &InternalRaftRequest) -> Outcome {
        if let Some(put) = &request.put {
            self.check_put(put)?;
            return Ok(Reply::Put(self.put(put)));
        }
        if let Some(delete) = &request.delete_range {
            return Ok(Reply::DeleteRange(self.delete(delete)));
        }
        if let Some(txn) = &request.txn {
            return txn::apply(self, txn).map(Reply::Txn);
        }
        if let Some(compaction) = &request.compaction {
            let revision = compaction.revision;
            if revision <= self.compacted {
                return Err(Error::Compacted);
            }
            if revision > self.revision {
                return Err(Error::FutureRev);
            }
            self.compacted = revision;
            return Ok(Reply::Compaction(CompactionResponse { header: self.header() }));
        }
        if let Some(grant) = &request.lease_grant {
            if self.leases.contains_key(&grant.id) {
                return Err(Error::LeaseExist);
            }
            let ttl = grant.ttl.max(self.min_ttl);
            self.leases.insert(grant.id, ttl);
            let (header, error) = (self.header(), String::new());
            return Ok(Reply::LeaseGrant(LeaseGrantResponse { header, id: grant.id, ttl, error }));
        }
        if let Some(revoke) = &request.lease_revoke {
            self.leases.remove(&revoke.id).ok_or(Error::LeaseNotFound)?;
            let on_it = self.attached.iter().filter(|(_, lease)| **lease == revoke.id);
            let keys: Vec<Bytes> = on_it.map(|(key, _)| key.clone()).collect();
            self.changing.extend(keys.into_iter().map(|key| (key, None)));
            return Ok(Reply::LeaseRevoke(LeaseRevokeResponse { header: self.header() }));
        }
        Ok(Reply::Done)
    }

    pub(crate) fn check_put(&self, put: &PutRequest) -> Result<(), Error> {
        if put.lease != 0 && !self.leases.contains_key(&put.lease) {
            return Err(Error::LeaseNotFound);
        }
        Ok(())
    }

    /// The revision as of the changes so far.
    pub(crate) fn revision_now(&self) -> i64 {
        self.revision + i64::from(!self.changing.is_empty())
    }

    pub(crate) fn header(&self) -> Option<ResponseHeader> {
        header(self.revision_now())
    }

    pub(crate) fn put(&mut self, put: &PutRequest) -> PutResponse {
        let before = self.now(&put.key).cloned();
        let main = self.revision + 1;
        let (create_revision, version) =
            before.as_ref().map_or((main, 1), |kv| (kv.create_revision, kv.version + 1));
        let kv = KeyValue {
            key: put.key.clone(),
            value: put.value.clone(),
            lease: put.lease,
            mod_revision: main,
            create_revision,
            version,
        };
        self.changing.push((put.key.clone(), Some(kv)));
        PutResponse { header: self.header(), prev_kv: before.filter(|_| put.prev_kv) }
    }

    pub(crate) fn delete(&mut self, delete: &DeleteRangeRequest) -> DeleteRangeResponse {
        let dying = self.range_now(&delete.key, &delete.range_end);
        let deleted = i64::try_from(dying.len()).expect("a few");
        self.changing.extend(dying.iter().map(|kv| (kv.key.clone(), None)));
        let prev_kvs = if delete.prev_kv { dying } else { Vec::new() };
        DeleteRangeResponse { header: self.header(), deleted, prev_kvs }
    }

    /// The key as of the changes so far.
    pub(crate) fn now(&self, key: &[u8]) -> Option<&KeyValue> {
        match self.changing.iter().rev().find(|(its, _)| its[..] == *key) {
            Some((_, kv)) => kv.as_ref(),
            None => self.at(key, self.revision),
        }
    }

    fn range_now(&self, key: &[u8], end: &[u8]) -> Vec<KeyValue> {
        let names: BTreeSet<&Bytes> =
            self.keys.keys().chain(self.changing.iter().map(|(key, _)| key)).collect();
        let inside = names.into_iter().filter(|its| is_inside(its, key, end));
        inside.filter_map(|key| self.now(key).cloned()).collect()
    }

    /// The key as of a revision.
    pub(crate) fn at(&self, key: &[u8], revision: i64) -> Option<&KeyValue> {
        let past = self.keys.get(key)?;
        past.iter().rev().find(|(main, _)| *main <= revision)?.1.as_ref()
    }

    /// Everything in a range as of a revision.
    pub(crate) fn range_at(&self, key: &[u8], end: &[u8], revision: i64) -> Vec<KeyValue> {
        let inside = self.keys.keys().filter(|its| is_inside(its, key, end));
        inside.filter_map(|key| self.at(key, revision).cloned()).collect()
    }

    /// What a range is answered within a transaction.
    pub(crate) fn range(&self, request: &RangeRequest) -> RangeResponse {
        let all = if request.revision > 0 {
            self.range_at(&request.key, &request.range_end, request.revision)
        } else {
            self.range_now(&request.key, &request.range_end)
        };
        answer(request, all, self.revision_now())
    }

    /// What happened in revisions from `from` on to keys of a range, in the order of revisions.
    pub(crate) fn history<'a>(
        &'a self,
        (key, end): (&'a [u8], &'a [u8]),
        from: i64,
    ) -> impl Iterator<Item = (i64, Vec<&'a Happened>)> {
        self.events.range(from..).map(move |(revision, events)| {
            let inside = events.iter().filter(|event| is_inside(&event.kv.key, key, end));
            (*revision, inside.collect())
        })
    }
}

/// What a range over `all` is answered at a revision.
pub(crate) fn answer(
    request: &RangeRequest,
    mut all: Vec<KeyValue>,
    revision: i64,
) -> RangeResponse {
    let count = i64::try_from(all.len()).expect("a few");
    let limit = usize::try_from(request.limit).unwrap_or_default();
    let more = limit > 0 && all.len() > limit;
    if more {
        all.truncate(limit);
    }
    RangeResponse { header: header(revision), kvs: all, more, count }
}

pub(crate) fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}

/// Whether a range as requests say it holds `its`.
pub(crate) fn is_inside(its: &[u8], key: &[u8], end: &[u8]) -> bool {
    match end {
        [] => its == key,
        [0] => its >= key,
        end => key <= its && its < end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::etcdserverpb::{LeaseGrantRequest, LeaseRevokeRequest};

    fn put(key: &'static str, lease: i64) -> InternalRaftRequest {
        let put = PutRequest { key: key.into(), value: "v".into(), lease, ..<_>::default() };
        InternalRaftRequest { put: Some(put), ..<_>::default() }
    }

    #[test]
    fn a_lease_takes_its_keys_and_the_past_stays() {
        let mut model = Model::new(1);
        assert_eq!(model.apply(&put("a", 7)), Err(Error::LeaseNotFound));
        let lease_grant = Some(LeaseGrantRequest { id: 7, ttl: 3 });
        model.apply(&InternalRaftRequest { lease_grant, ..<_>::default() }).expect("a new one");
        for (key, lease) in [("b", 7), ("a", 7), ("c", 0)] {
            model.apply(&put(key, lease)).expect("it can be put");
        }
        let lease_revoke = Some(LeaseRevokeRequest { id: 7 });
        model.apply(&InternalRaftRequest { lease_revoke, ..<_>::default() }).expect("it is there");
        let keys = |revision| -> Vec<Bytes> {
            model.range_at(b"\0", b"\0", revision).into_iter().map(|kv| kv.key).collect()
        };
        assert_eq!(keys(5), ["c"]);
        assert_eq!(keys(4), ["a", "b", "c"]);
        let gone: Vec<_> = model.events[&5].iter().map(|event| &event.kv.key).collect();
        assert_eq!(gone, ["a", "b"]);
    }
}
