//! What requests cost of the space quota, and which are refused while an alarm is on.
//!
//! Compat: costs are etcd's estimates (`storage/quota.go`): a put costs its key, its value and
//! 256 bytes; a transaction the dearer of its branches; a grant 64 bytes; all else nothing. A
//! transaction counts as writing if *any* branch could, taken or not.

use api::etcdserverpb::{
    InternalRaftRequest, PutRequest, RequestOp, TxnRequest, request_op::Request,
};

/// What a lease costs, in bytes.
pub const GRANT_COST: i64 = 64;

/// What the index and record of a key cost, in bytes.
const KEY_OVERHEAD: usize = 256;

/// What a put costs, in bytes.
#[must_use]
pub fn put_cost(put: &PutRequest) -> i64 {
    i64::try_from(KEY_OVERHEAD + put.key.len() + put.value.len()).unwrap_or(i64::MAX)
}

/// What a transaction costs, in bytes.
#[must_use]
pub fn txn_cost(txn: &TxnRequest) -> i64 {
    let branch = |ops: &[RequestOp]| {
        ops.iter().fold(0i64, |sum, op| match &op.request {
            Some(Request::RequestPut(put)) => sum.saturating_add(put_cost(put)),
            Some(Request::RequestTxn(txn)) => sum.saturating_add(txn_cost(txn)),
            _ => sum,
        })
    };
    branch(&txn.success).max(branch(&txn.failure))
}

/// Whether a NOSPACE alarm refuses the request.
pub(crate) fn needs_space(request: &InternalRaftRequest) -> bool {
    request.put.is_some()
        || request.lease_grant.is_some()
        || request.txn.as_ref().is_some_and(|txn| txn_cost(txn) > 0)
}

/// Whether a CORRUPT alarm refuses the request.
#[must_use]
pub fn writes_keys(request: &InternalRaftRequest) -> bool {
    request.put.is_some()
        || request.range.is_some()
        || request.delete_range.is_some()
        || request.txn.is_some()
        || request.compaction.is_some()
        || request.lease_grant.is_some()
        || request.lease_revoke.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_costs_its_dearer_branch() {
        let put = |value: &'static [u8]| RequestOp {
            request: Some(Request::RequestPut(PutRequest {
                key: "k".into(),
                value: value.into(),
                ..PutRequest::default()
            })),
        };
        let nested = RequestOp {
            request: Some(Request::RequestTxn(TxnRequest {
                failure: vec![put(b"12")],
                ..TxnRequest::default()
            })),
        };
        let txn = TxnRequest {
            success: vec![put(b"1")],
            failure: vec![nested, put(b"")],
            ..TxnRequest::default()
        };
        assert_eq!(txn_cost(&txn), 259 + 257);
        assert_eq!(txn_cost(&TxnRequest::default()), 0);
    }
}
