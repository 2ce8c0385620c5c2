//! Puts, deletions and ranges on one transaction of the store.

use crate::convert::{decode_record, range_query, range_response};
use crate::op::Operations;
use crate::reply::header;
use api::Error;
use api::etcdserverpb::{
    DeleteRangeRequest, DeleteRangeResponse, PutRequest, PutResponse, RangeRequest, RangeResponse,
};
use api::mvccpb::KeyValue;
use lease::Lessor;
use mvcc::{RangeQuery, Read, Txn};

/// What reading a key in a transaction can come to besides an answer: the client's fault, or the
/// disk's, which ends the process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error(transparent)]
    Refused(#[from] Error),
    #[error(transparent)]
    Store(mvcc::Error),
    /// No operation that is known.
    #[error("unknown operation")]
    Unknown,
    /// What no member may go on after.
    #[error(transparent)]
    Cluster(#[from] member::Error),
}

impl From<mvcc::Error> for Failure {
    fn from(error: mvcc::Error) -> Self {
        match error {
            mvcc::Error::Compacted => Self::Refused(Error::Compacted),
            mvcc::Error::FutureRev => Self::Refused(Error::FutureRev),
            error => Self::Store(error),
        }
    }
}

pub(crate) fn range(txn: &Txn<'_>, request: &RangeRequest) -> Result<RangeResponse, Failure> {
    Ok(range_response(txn.range(&range_query(request))?))
}

/// Refuses a put that names a lease that is not there, or keeps what a key that is not there has.
pub(crate) fn check_put(
    txn: &Txn<'_>,
    lessor: &Lessor,
    put: &PutRequest,
    done: &mut Operations,
) -> Result<(), Failure> {
    if put.lease != 0 && !lessor.contains(put.lease) {
        return Err(Error::LeaseNotFound.into());
    }
    done.ranges += u64::from(looks_before(put));
    if (put.ignore_value || put.ignore_lease) && previous(txn, put)?.is_none() {
        return Err(Error::KeyNotFound.into());
    }
    Ok(())
}

/// Whether a put reads what its key had.
pub(crate) fn looks_before(put: &PutRequest) -> bool {
    put.ignore_value || put.ignore_lease || put.prev_kv
}

/// A put that was checked.
pub(crate) fn put(
    txn: &mut Txn<'_>,
    request: &PutRequest,
    done: &mut Operations,
) -> Result<PutResponse, Failure> {
    let before = if looks_before(request) { previous(txn, request)? } else { None };
    let (mut value, mut lease) = (&request.value, request.lease);
    if let Some(before) = &before {
        // Compat: within a transaction the key may have gone since it was checked; etcd's
        // members then end. Proposers refuse such transactions.
        value = if request.ignore_value { &before.value } else { value };
        lease = if request.ignore_lease { before.lease } else { lease };
    }
    done.put(request, value.len());
    let revision = txn.put(request.key.clone(), value, lease);
    let prev_kv = before.filter(|_| request.prev_kv);
    Ok(PutResponse { header: header(revision), prev_kv })
}

fn previous(txn: &Txn<'_>, put: &PutRequest) -> Result<Option<KeyValue>, Failure> {
    Ok(txn.get(&put.key)?.map(decode_record))
}

pub(crate) fn delete_range(
    txn: &mut Txn<'_>,
    request: &DeleteRangeRequest,
    done: &mut Operations,
) -> Result<DeleteRangeResponse, Failure> {
    let mut prev_kvs = Vec::new();
    done.ranges += u64::from(request.prev_kv);
    done.deletes += 1;
    if request.prev_kv {
        let (key, range_end) = (request.key.clone(), request.range_end.clone());
        let before = txn.range(&RangeQuery { key, range_end, ..RangeQuery::default() })?;
        prev_kvs = before.records.into_iter().map(decode_record).collect();
    }
    let deleted = txn.delete_range(&request.key, &request.range_end);
    // A transaction's revision counts once something changed.
    Ok(DeleteRangeResponse { header: header(txn.revision()), deleted, prev_kvs })
}
