//! What clients ask, drawn at random: few keys, so that they meet.

use super::clients::Op;
use super::world::World;
use crate::rng::Rng;
use api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use api::etcdserverpb::request_op::Request;
use api::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, InternalRaftRequest, LeaseGrantRequest,
    LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest,
};
use bytes::Bytes;

impl World {
    pub(crate) fn draw_op(&mut self, client: usize) -> Op {
        let seq = self.clients[client].seq + 1;
        let write = |request| Op::Write(Box::new(request));
        match self.rng.below(100) {
            0..=33 => {
                let put = self.draw_put(client, seq);
                write(InternalRaftRequest { put: Some(put), ..<_>::default() })
            }
            34..=40 => {
                let delete = self.draw_delete();
                write(InternalRaftRequest { delete_range: Some(delete), ..<_>::default() })
            }
            41..=53 => {
                let txn = self.draw_txn(client, seq);
                write(InternalRaftRequest { txn: Some(txn), ..<_>::default() })
            }
            54..=57 => {
                self.leases.ids += 1;
                let grant =
                    LeaseGrantRequest { id: 0x1ea5e + self.leases.ids, ttl: self.draw_ttl() };
                write(InternalRaftRequest { lease_grant: Some(grant), ..<_>::default() })
            }
            58..=59 => {
                let revoke = LeaseRevokeRequest { id: self.draw_lease().unwrap_or(1) };
                write(InternalRaftRequest { lease_revoke: Some(revoke), ..<_>::default() })
            }
            60..=61 => {
                let revision = self.draw_past();
                let compaction = CompactionRequest { revision, physical: false };
                write(InternalRaftRequest { compaction: Some(compaction), ..<_>::default() })
            }
            62..=71 => match self.draw_lease() {
                Some(id) => Op::Renew(id),
                None => Op::Read(self.draw_range(false)),
            },
            72..=85 => Op::Read(self.draw_range(false)),
            _ => {
                let past = self.rng.coin();
                let range = self.draw_range(past);
                let held = self.rng.per_mille(300);
                let hold = if held { self.rng.between(1, 400) } else { 0 };
                Op::Serializable(range, hold)
            }
        }
    }

    fn draw_ttl(&mut self) -> i64 {
        self.rng.pick(&[1, 1, 2, 3])
    }

    /// A lease that was granted and may be there.
    fn draw_lease(&mut self) -> Option<i64> {
        let there: Vec<i64> = self.history.model.leases.keys().copied().collect();
        (!there.is_empty()).then(|| self.rng.pick(&there))
    }

    fn key(&mut self) -> Bytes {
        name(self.rng.below(self.plan.keys))
    }

    /// One key, some, or all; as key and end.
    fn draw_keys(&mut self) -> (Bytes, Bytes) {
        draw_keys(&mut self.rng, self.plan.keys)
    }

    /// A revision, most likely one that is there.
    fn draw_past(&mut self) -> i64 {
        let revision = self.history.model.revision;
        let back = self.rng.pick(&[0, 3, 10, 30]).min(revision.cast_unsigned());
        let past = revision - self.rng.below(back + 1).cast_signed();
        past + i64::from(self.rng.per_mille(30)) * 3
    }

    fn draw_put(&mut self, client: usize, seq: u64) -> PutRequest {
        let padding = usize::try_from(self.rng.below(self.plan.padding_max + 1)).expect("a few");
        let value = format!("{client}.{seq}{:padding$}", "").into();
        let key = self.key();
        let lease = if self.rng.per_mille(250) { self.draw_lease() } else { None };
        let prev_kv = self.rng.coin();
        PutRequest { key, value, lease: lease.unwrap_or_default(), prev_kv, ..<_>::default() }
    }

    fn draw_delete(&mut self) -> DeleteRangeRequest {
        let (key, range_end) = self.draw_keys();
        DeleteRangeRequest { key, range_end, prev_kv: self.rng.coin() }
    }

    fn draw_range(&mut self, past: bool) -> RangeRequest {
        let (key, range_end) = self.draw_keys();
        let revision = if past { self.draw_past() } else { 0 };
        let limit = if self.rng.per_mille(200) { 2 } else { 0 };
        RangeRequest { key, range_end, revision, limit, ..<_>::default() }
    }

    fn draw_txn(&mut self, client: usize, seq: u64) -> TxnRequest {
        let key = self.key();
        let known = self.history.model.now(&key).cloned().unwrap_or_default();
        let (target, union) = match self.rng.below(4) {
            0 => (CompareTarget::Version, TargetUnion::Version(known.version)),
            1 => (CompareTarget::Create, TargetUnion::CreateRevision(known.create_revision)),
            2 => (CompareTarget::Mod, TargetUnion::ModRevision(known.mod_revision)),
            _ => (CompareTarget::Value, TargetUnion::Value(known.value)),
        };
        let result = self.rng.pick(&[
            CompareResult::Equal,
            CompareResult::Equal,
            CompareResult::NotEqual,
            CompareResult::Greater,
        ]);
        let compare = Compare {
            result: result as i32,
            target: target as i32,
            key,
            range_end: Bytes::new(),
            target_union: Some(union),
        };
        let success = self.draw_branch(client, seq);
        let failure = self.draw_branch(client, seq);
        TxnRequest { compare: vec![compare], success, failure }
    }

    /// Operations of which none writes what another has written.
    fn draw_branch(&mut self, client: usize, seq: u64) -> Vec<RequestOp> {
        let (mut ops, mut taken) = (Vec::new(), Vec::new());
        for _ in 0..self.rng.below(4) {
            let request = match self.rng.below(4) {
                0 | 1 => {
                    let put = self.draw_put(client, seq);
                    if taken.contains(&put.key) {
                        continue;
                    }
                    taken.push(put.key.clone());
                    Request::RequestPut(put)
                }
                2 => {
                    let (key, prev_kv) = (self.key(), self.rng.coin());
                    if taken.contains(&key) {
                        continue;
                    }
                    taken.push(key.clone());
                    let range_end = Bytes::new();
                    Request::RequestDeleteRange(DeleteRangeRequest { key, range_end, prev_kv })
                }
                _ => {
                    let past = self.rng.per_mille(200);
                    Request::RequestRange(self.draw_range(past))
                }
            };
            ops.push(RequestOp { request: Some(request) });
        }
        ops
    }
}

fn name(n: u64) -> Bytes {
    format!("k{n:02}").into()
}

/// One key of so many, some, or all; as key and end.
pub(crate) fn draw_keys(rng: &mut Rng, keys: u64) -> (Bytes, Bytes) {
    let from = rng.below(keys);
    match rng.below(10) {
        0..=4 => (name(from), Bytes::new()),
        5..=7 => (name(from), name(from + rng.between(1, 4))),
        _ => (Bytes::from_static(b"\0"), Bytes::from_static(b"\0")),
    }
}
