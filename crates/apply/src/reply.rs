//! What an applied request is answered. Headers hold the revision only; whoever answers adds the
//! rest.

use api::etcdserverpb::{
    AlarmResponse, CompactionResponse, DeleteRangeResponse, LeaseGrantResponse,
    LeaseRevokeResponse, PutResponse, RangeResponse, ResponseHeader, TxnResponse,
};

/// The reply to one request.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "each is named as its request")]
pub enum Reply {
    Range(RangeResponse),
    Put(PutResponse),
    DeleteRange(DeleteRangeResponse),
    Txn(TxnResponse),
    Compaction(CompactionResponse),
    LeaseGrant(LeaseGrantResponse),
    LeaseRevoke(LeaseRevokeResponse),
    Alarm(AlarmResponse),
    /// To what only members ask for: checkpoints, versions, attributes, membership.
    Done,
}

pub(crate) fn header(revision: i64) -> Option<ResponseHeader> {
    Some(ResponseHeader { revision, ..ResponseHeader::default() })
}
