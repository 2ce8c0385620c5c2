//! A store in memory with as much of etcd as the services use.

use super::{Kv, Watch, is_delete};
use api::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest, LeaseGrantResponse, PutResponse,
    RangeRequest, RangeResponse, ResponseHeader, ResponseOp, TxnRequest, TxnResponse,
    WatchResponse, compare, range_request, request_op, response_op,
};
use api::mvccpb::{Event, KeyValue, event::EventType};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::watch;
use tonic::Status;

/// The id of the first lease that is made without one.
pub const FIRST_LEASE: i64 = 1000;

#[derive(Clone, Debug)]
pub struct Fake(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Goes up with each change that a watch should look at.
    changed: watch::Sender<u64>,
    /// How many watches have found nothing to give, in all.
    waits: watch::Sender<usize>,
}

#[derive(Debug)]
struct State {
    revision: i64,
    keys: BTreeMap<Bytes, KeyValue>,
    log: Vec<(i64, Event)>,
    leases: BTreeSet<i64>,
    granted: Vec<LeaseGrantRequest>,
    /// What ends all watches, if they are to end.
    end: Option<WatchResponse>,
    broken: Option<Status>,
}

impl Fake {
    pub fn new(leases: &[i64]) -> Self {
        let state = State {
            revision: 1,
            keys: BTreeMap::new(),
            log: Vec::new(),
            leases: leases.iter().copied().collect(),
            granted: Vec::new(),
            end: None,
            broken: None,
        };
        let (changed, waits) = (watch::Sender::new(0), watch::Sender::new(0));
        Self(Arc::new(Inner { state: Mutex::new(state), changed, waits }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap()
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.state());
        self.0.changed.send_modify(|count| *count += 1);
        result
    }

    pub fn revision(&self) -> i64 {
        self.state().revision
    }

    pub fn keys(&self) -> Vec<String> {
        let state = self.state();
        state.keys.keys().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
    }

    pub fn granted(&self) -> Vec<LeaseGrantRequest> {
        self.state().granted.clone()
    }

    pub fn put(&self, key: &str, value: &str, lease: i64) {
        let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
        self.change(|state| {
            state.revision += 1;
            state.put(bytes(key), bytes(value), lease);
        });
    }

    pub fn revoke(&self, lease: i64) {
        self.change(|state| {
            state.leases.remove(&lease);
            let of_lease = state.keys.values().filter(|kv| kv.lease == lease);
            let keys: Vec<Bytes> = of_lease.map(|kv| kv.key.clone()).collect();
            state.revision += i64::from(!keys.is_empty());
            keys.into_iter().for_each(|key| state.delete(key));
        });
    }

    /// Gives this to all watches, and then ends them.
    pub fn end_watches(&self, response: WatchResponse) {
        self.change(|state| state.end = Some(response));
    }

    /// Fails all requests.
    pub fn break_down(&self, status: Status) {
        self.change(|state| state.broken = Some(status));
    }

    /// Until watches have had to wait so often.
    pub async fn waited(&self, count: usize) {
        let mut waits = self.0.waits.subscribe();
        waits.wait_for(|waits| *waits >= count).await.unwrap();
    }
}

impl State {
    fn working(&self) -> Result<(), Status> {
        self.broken.clone().map_or(Ok(()), Err)
    }

    fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.revision, raft_term: 2, ..Default::default() })
    }

    fn put(&mut self, key: Bytes, value: Bytes, lease: i64) {
        let old = self.keys.get(&key);
        let kv = KeyValue {
            key: key.clone(),
            create_revision: old.map_or(self.revision, |old| old.create_revision),
            mod_revision: self.revision,
            version: old.map_or(0, |old| old.version) + 1,
            value,
            lease,
        };
        let event = Event { r#type: EventType::Put.into(), kv: Some(kv.clone()), prev_kv: None };
        self.log.push((self.revision, event));
        self.keys.insert(key, kv);
    }

    fn delete(&mut self, key: Bytes) {
        self.keys.remove(&key);
        let kv = KeyValue { key, mod_revision: self.revision, ..KeyValue::default() };
        let event = Event { r#type: EventType::Delete.into(), kv: Some(kv), prev_kv: None };
        self.log.push((self.revision, event));
    }

    fn range(&self, request: &RangeRequest) -> RangeResponse {
        let max = match request.max_create_revision {
            0 => i64::MAX,
            max => max,
        };
        let matches = |kv: &&KeyValue| {
            within(&kv.key, &request.key, &request.range_end) && kv.create_revision <= max
        };
        let mut kvs: Vec<KeyValue> = self.keys.values().filter(matches).cloned().collect();
        if request.sort_target() == range_request::SortTarget::Create {
            kvs.sort_by_key(|kv| kv.create_revision);
        }
        if request.sort_order() == range_request::SortOrder::Descend {
            kvs.reverse();
        }
        let count = kvs.len().try_into().unwrap();
        if request.limit > 0 {
            kvs.truncate(request.limit.try_into().unwrap());
        }
        RangeResponse { header: self.header(), kvs, count, ..RangeResponse::default() }
    }
}

fn within(key: &[u8], from: &[u8], to: &[u8]) -> bool {
    if to.is_empty() { key == from } else { (from..to).contains(&key) }
}

impl Kv for Fake {
    type Watch = FakeWatch;

    async fn txn(&self, request: TxnRequest) -> Result<TxnResponse, Status> {
        self.change(|state| {
            state.working()?;
            let holds = |compare: &api::etcdserverpb::Compare| {
                let created = state.keys.get(&compare.key).map_or(0, |kv| kv.create_revision);
                compare.target_union == Some(compare::TargetUnion::CreateRevision(created))
            };
            let succeeded = request.compare.iter().all(holds);
            let ops = if succeeded { request.success } else { request.failure };
            let requests: Vec<_> = ops.into_iter().map(|op| op.request.unwrap()).collect();
            let writes = |request: &_| !matches!(request, request_op::Request::RequestRange(_));
            if requests.iter().any(writes) {
                state.revision += 1;
            }
            let mut responses = Vec::new();
            for request in requests {
                let response = match request {
                    request_op::Request::RequestPut(put) => {
                        if !state.leases.contains(&put.lease) {
                            state.revision -= 1;
                            return Err(api::Error::LeaseNotFound.into());
                        }
                        state.put(put.key, put.value, put.lease);
                        response_op::Response::ResponsePut(PutResponse::default())
                    }
                    request_op::Request::RequestDeleteRange(delete) => {
                        state.delete(delete.key);
                        response_op::Response::ResponseDeleteRange(DeleteRangeResponse::default())
                    }
                    request_op::Request::RequestRange(range) => {
                        response_op::Response::ResponseRange(state.range(&range))
                    }
                    request_op::Request::RequestTxn(_) => unreachable!("not used here"),
                };
                responses.push(ResponseOp { response: Some(response) });
            }
            Ok(TxnResponse { header: state.header(), succeeded, responses })
        })
    }

    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        let state = self.state();
        state.working()?;
        Ok(state.range(&request))
    }

    async fn delete_range(
        &self,
        request: DeleteRangeRequest,
    ) -> Result<DeleteRangeResponse, Status> {
        self.change(|state| {
            state.working()?;
            if request.key.is_empty() {
                return Err(api::Error::EmptyKey.into());
            }
            let there = state.keys.contains_key(&request.key);
            if there {
                state.revision += 1;
                state.delete(request.key);
            }
            let (header, deleted) = (state.header(), there.into());
            Ok(DeleteRangeResponse { header, deleted, ..DeleteRangeResponse::default() })
        })
    }

    async fn lease_grant(&self, request: LeaseGrantRequest) -> Result<LeaseGrantResponse, Status> {
        self.change(|state| {
            state.working()?;
            let id = FIRST_LEASE + i64::try_from(state.granted.len()).unwrap();
            state.granted.push(request);
            state.leases.insert(id);
            Ok(LeaseGrantResponse { id, ttl: request.ttl, ..LeaseGrantResponse::default() })
        })
    }

    fn watch(&self, key: Bytes, range_end: Bytes, start_revision: i64) -> FakeWatch {
        let changed = self.0.changed.subscribe();
        FakeWatch {
            fake: self.clone(),
            key,
            range_end,
            next: start_revision,
            changed,
            ended: false,
        }
    }
}

#[derive(Debug)]
pub struct FakeWatch {
    fake: Fake,
    key: Bytes,
    range_end: Bytes,
    next: i64,
    changed: watch::Receiver<u64>,
    ended: bool,
}

impl FakeWatch {
    fn look(&mut self) -> Option<WatchResponse> {
        let state = self.fake.state();
        if let Some(end) = &state.end {
            self.ended = true;
            return Some(end.clone());
        }
        let new = state.log.iter().filter(|(revision, event)| {
            let key = &event.kv.as_ref().unwrap().key;
            *revision >= self.next && within(key, &self.key, &self.range_end)
        });
        let events: Vec<Event> = new.map(|(_, event)| event.clone()).collect();
        self.next = state.revision + 1;
        let header = state.header();
        (!events.is_empty()).then(|| WatchResponse { header, events, ..WatchResponse::default() })
    }
}

impl Watch for FakeWatch {
    async fn next(&mut self) -> Option<WatchResponse> {
        while !self.ended {
            self.changed.mark_unchanged();
            if let Some(response) = self.look() {
                return Some(response);
            }
            self.fake.0.waits.send_modify(|waits| *waits += 1);
            self.changed.changed().await.ok()?;
        }
        None
    }
}

/// What a client sees of an error: code and text.
pub fn seen(error: super::Error) -> (api::Code, String) {
    let status = Status::from(error);
    (status.code(), status.message().to_owned())
}

#[test]
fn the_fake_deletes() {
    let fake = Fake::new(&[7]);
    fake.put("k", "v", 7);
    fake.revoke(7);
    assert!(is_delete(&fake.state().log[1].1));
    assert_eq!((fake.keys(), fake.revision()), (vec![], 3));
}
