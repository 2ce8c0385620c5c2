//! Puts, ranges, deletes and transactions, with every option and many mistakes.

use super::{Generator, LEASES, NO_LEASE};
use crate::{NOW, Request, Step};
use api::etcdserverpb::compare::TargetUnion;
use api::etcdserverpb::request_op::Request as Op;
use api::etcdserverpb::{
    Compare, DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use bytes::Bytes;

/// etcd's limit of a request's size, and of what a message may have beyond it.
const REQUEST_MAX: usize = 1_572_864;
const RECEIVE_MAX: usize = REQUEST_MAX + 512 * 1024;

/// Operations that a transaction may have.
const TXN_OPS_MAX: usize = 128;

impl Generator {
    pub(super) fn put(&mut self) {
        let request = self.put_request();
        self.push(Request::Put(request));
    }

    pub(super) fn range(&mut self) {
        let request = self.range_request();
        self.push(Request::Range(request));
    }

    pub(super) fn range_stream(&mut self) {
        let mut request = self.range_request();
        // Else nearly all would be refused.
        if !self.rng.one_in(10) {
            (request.sort_order, request.sort_target) = (0, 0);
            (request.min_mod_revision, request.max_mod_revision) = (0, 0);
            (request.min_create_revision, request.max_create_revision) = (0, 0);
        }
        self.program.push(Step::RangeStream(request));
    }

    pub(super) fn delete(&mut self) {
        let request = self.delete_request();
        self.push(Request::DeleteRange(request));
    }

    pub(super) fn txn(&mut self) {
        let mut request = self.txn_request(3);
        let is_txn = |op: &RequestOp| matches!(op.request, Some(Op::RequestTxn(_)));
        let nests = request.success.iter().chain(&request.failure).any(is_txn);
        if deletes(&request, nests) {
            part(&mut request);
        }
        self.push(Request::Txn(request));
    }

    /// Something large: values on both sides of the limits, many operations, many keys.
    pub(super) fn large(&mut self) {
        match self.rng.below(8) {
            0..3 => {
                let beyond = self.rng.pick(&[-300_000, -1000, -200, 200, 1000, 300_000]);
                self.put_of(REQUEST_MAX.saturating_add_signed(beyond));
            }
            3 => self.put_of(RECEIVE_MAX + 1000),
            4 => self.put_of(100_000),
            5 => {
                let ops = self.rng.pick(&[TXN_OPS_MAX, TXN_OPS_MAX + 1]);
                let compare = vec![Compare { key: self.key(), ..Compare::default() }; ops];
                let request = TxnRequest { compare, ..TxnRequest::default() };
                self.push(Request::Txn(request));
            }
            _ => self.many(),
        }
    }

    fn put_of(&mut self, bytes: usize) {
        let key = Bytes::from_static(b"~large");
        let value = Bytes::from(vec![b'x'; bytes]);
        self.push(Request::Put(PutRequest { key: key.clone(), value, ..PutRequest::default() }));
        self.push(Request::Range(RangeRequest { key: key.clone(), ..RangeRequest::default() }));
        self.push(Request::DeleteRange(DeleteRangeRequest { key, ..Default::default() }));
    }

    /// Many keys in few transactions, listed in pieces, deleted at once.
    fn many(&mut self) {
        let count = self.rng.between(30, 300);
        let bytes = self.rng.pick(&[0, 10, 3000]);
        let all = (Bytes::from_static(b"~many/"), Bytes::from_static(b"~many0"));
        let keys: Vec<Bytes> = (0..count).map(|i| Bytes::from(format!("~many/{i:04}"))).collect();
        for keys in keys.chunks(TXN_OPS_MAX) {
            let value = Bytes::from(vec![b'm'; bytes]);
            let put = |key: &Bytes| {
                let (key, value) = (key.clone(), value.clone());
                let put = PutRequest { key, value, ..PutRequest::default() };
                RequestOp { request: Some(Op::RequestPut(put)) }
            };
            let success = keys.iter().map(put).collect();
            self.push(Request::Txn(TxnRequest { success, ..TxnRequest::default() }));
        }
        let (key, range_end) = all.clone();
        let limit = self.rng.pick(&[0, 0, 10, 11, 25]);
        let list = RangeRequest { key, range_end, limit, ..RangeRequest::default() };
        self.program.push(Step::RangeStream(list.clone()));
        self.push(Request::Range(list));
        let (key, range_end) = all;
        let prev_kv = self.rng.one_in(2);
        self.push(Request::DeleteRange(DeleteRangeRequest { key, range_end, prev_kv }));
    }

    fn value(&mut self) -> Bytes {
        match self.rng.below(50) {
            0..4 => Bytes::new(),
            4..30 => Bytes::from(self.rng.between(0, 5).to_string()),
            30..48 => Bytes::from(format!("value {}", self.rng.next_u64())),
            48 => Bytes::from_static(b"\0\xff\x80"),
            _ => Bytes::from(vec![b'v'; self.rng.below(5000)]),
        }
    }

    fn put_request(&mut self) -> PutRequest {
        let ignore_value = self.rng.one_in(15);
        let ignore_lease = self.rng.one_in(15);
        let value = if ignore_value && !self.rng.one_in(6) { Bytes::new() } else { self.value() };
        let attaches = if ignore_lease { self.rng.one_in(6) } else { self.rng.one_in(5) };
        let lease = if attaches { self.granted() } else { 0 };
        let (key, prev_kv) = (self.key(), self.rng.one_in(3));
        PutRequest { key, value, lease, prev_kv, ignore_value, ignore_lease }
    }

    fn range_request(&mut self) -> RangeRequest {
        let key = self.key();
        let mut range_end = self.end(&key);
        let key = if self.rng.one_in(6) {
            range_end = Bytes::from_static(b"\0");
            Bytes::from_static(b"\0")
        } else {
            key
        };
        let sorts = self.rng.one_in(3);
        let mut bound = |likely: usize| if self.rng.one_in(likely) { self.past() } else { 0 };
        let bounds = [bound(15), bound(15), bound(15), bound(15)];
        let revision = bound(3);
        let enumerated = if self.rng.one_in(60) { 9 } else { 4 };
        RangeRequest {
            key,
            range_end,
            limit: if self.rng.one_in(3) { self.rng.between(-1, 6) } else { 0 },
            revision,
            sort_order: if sorts { self.enumerated(0, 2) } else { 0 },
            sort_target: if sorts { self.enumerated(0, enumerated) } else { 0 },
            serializable: self.rng.one_in(3),
            keys_only: self.rng.one_in(6),
            count_only: self.rng.one_in(8),
            min_mod_revision: bounds[0],
            max_mod_revision: bounds[1],
            min_create_revision: bounds[2],
            max_create_revision: bounds[3],
        }
    }

    fn delete_request(&mut self) -> DeleteRangeRequest {
        let key = self.key();
        let range_end = self.end(&key);
        DeleteRangeRequest { key, range_end, prev_kv: self.rng.one_in(2) }
    }

    /// `depth` levels may be nested.
    fn txn_request(&mut self, depth: usize) -> TxnRequest {
        let compare = (0..self.rng.below(4)).map(|_| self.compare()).collect();
        // Without writes it takes another path.
        let reads = self.rng.one_in(4);
        let mut branch = || {
            let count = self.rng.below(5);
            (0..count).map(|_| self.op(depth, reads)).collect()
        };
        TxnRequest { compare, success: branch(), failure: branch() }
    }

    fn op(&mut self, depth: usize, reads: bool) -> RequestOp {
        let request = match self.rng.below(20) {
            _ if reads => Some(Op::RequestRange(self.range_request())),
            0..6 => Some(Op::RequestRange(self.range_request())),
            6..13 => Some(Op::RequestPut(self.put_request())),
            13..16 => Some(Op::RequestDeleteRange(self.delete_request())),
            16..19 if depth > 1 => Some(Op::RequestTxn(self.txn_request(depth - 1))),
            19 if self.rng.one_in(6) => None,
            _ => Some(Op::RequestPut(self.put_request())),
        };
        RequestOp { request }
    }

    /// The number of an enumeration's value.
    fn enumerated(&mut self, low: i64, high: i64) -> i32 {
        i32::try_from(self.rng.between(low, high)).expect("enumerations are small")
    }

    fn compare(&mut self) -> Compare {
        let mut target = self.enumerated(0, 4);
        let near = NOW - self.rng.between(0, 40);
        let target_union = match target {
            _ if self.rng.one_in(12) => None,
            0 => Some(TargetUnion::Version(self.rng.between(0, 3))),
            1 => Some(TargetUnion::CreateRevision(self.rng.pick(&[0, near]))),
            2 => Some(TargetUnion::ModRevision(self.rng.pick(&[0, near]))),
            3 => Some(TargetUnion::Value(self.value())),
            _ => Some(TargetUnion::Lease(self.rng.pick(&[0, LEASES[0], LEASES[1], NO_LEASE]))),
        };
        // A union that does not fit its target.
        if self.rng.one_in(25) {
            target = self.enumerated(0, 4);
        }
        let result = self.enumerated(0, 3);
        let key = self.key();
        let range_end = if self.rng.one_in(4) { self.end(&key) } else { Bytes::new() };
        Compare { result, target, key, target_union, range_end }
    }
}

/// Whether a transaction deletes, at any depth; if it is not `nested`, only open ranges count.
fn deletes(txn: &TxnRequest, nested: bool) -> bool {
    txn.success.iter().chain(&txn.failure).any(|op| match &op.request {
        Some(Op::RequestDeleteRange(delete)) => nested || &delete.range_end[..] == b"\0",
        Some(Op::RequestTxn(txn)) => deletes(txn, nested),
        _ => false,
    })
}

/// Parts what a transaction puts from what it deletes.
///
/// Compat: there are two ways in which a transaction that does both to one key breaks etcd 3.7.1,
/// for good. It looks whether there is a key to keep the value of before it runs the
/// transaction, and panics if that was deleted in it first. And compaction at the very revision of
/// the transaction keeps the deletion and drops what was put after it; to read that key is fatal.
/// Most that do both are refused as duplicates, and those stay as they are; etcd's look at
/// duplicates overlooks open ranges, and nested deletions before puts.
fn part(txn: &mut TxnRequest) {
    for op in txn.success.iter_mut().chain(&mut txn.failure) {
        match &mut op.request {
            Some(Op::RequestPut(put)) => put.key = Bytes::from([&put.key[..], b"+"].concat()),
            Some(Op::RequestDeleteRange(delete)) => delete.range_end.clear(),
            Some(Op::RequestTxn(txn)) => part(txn),
            _ => {}
        }
    }
}
