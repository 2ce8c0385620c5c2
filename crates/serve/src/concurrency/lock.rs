//! A mutex by name: the oldest key under `<name>/` has it.

use super::{Error, Gone, Kv};
use super::{created_at, get, get_first, op, prefix, ranged, revision, session, session_key};
use super::{malformed, wait_for_deletes};
use api::etcdserverpb::request_op::Request;
use api::etcdserverpb::{DeleteRangeRequest, PutRequest, ResponseHeader, TxnRequest};
use api::v3lockpb::{LockRequest, LockResponse, UnlockRequest, UnlockResponse};
use bytes::Bytes;
use std::future::Future;
use std::pin::pin;

/// Waits for the mutex, and gives the key whose existence is holding it. For a lease that has it,
/// or waits for it already, it is the same key again.
///
/// `gone` comes when the client does not wait any longer; the wait then ends and the key is
/// deleted.
///
/// # Errors
/// [`Error::SessionExpired`], [`Error::Gone`], [`Error::LostWatch`], and the store's.
pub async fn lock<K: Kv>(
    kv: &K,
    request: LockRequest,
    gone: impl Future<Output = Gone> + Send,
) -> Result<LockResponse, Error> {
    let lease = session(kv, request.lease).await?;
    let prefix = prefix(&request.name);
    let key = session_key(&prefix, lease);
    let (header, created, is_first) = take_place(kv, &prefix, &key, lease).await?;
    if is_first {
        return Ok(LockResponse { header, key });
    }
    match wait(kv, &prefix, &key, created, gone).await {
        Ok(header) => Ok(LockResponse { header, key }),
        Err(error) => {
            if !matches!(error, Error::SessionExpired) {
                // What made the wait fail is what the client is told, also if this fails too.
                let request = DeleteRangeRequest { key, ..DeleteRangeRequest::default() };
                drop(kv.delete_range(request).await);
            }
            Err(error)
        }
    }
}

/// Gives the mutex back: a plain deletion of the key that [`lock`] gave.
///
/// # Errors
/// The store's.
pub async fn unlock<K: Kv>(kv: &K, request: UnlockRequest) -> Result<UnlockResponse, Error> {
    let request = DeleteRangeRequest { key: request.key, ..DeleteRangeRequest::default() };
    Ok(UnlockResponse { header: kv.delete_range(request).await?.header })
}

/// Puts the key unless it is there; gives the revision that created it, and whether it is the
/// oldest.
async fn take_place<K: Kv>(
    kv: &K,
    prefix: &[u8],
    key: &Bytes,
    lease: i64,
) -> Result<(Option<ResponseHeader>, i64, bool), Error> {
    let put = PutRequest { key: key.clone(), lease, ..PutRequest::default() };
    // The one that has the mutex comes with it, so that a free one takes one round.
    let owner = op(Request::RequestRange(get_first(prefix)));
    let request = TxnRequest {
        compare: vec![created_at(key.clone(), 0)],
        success: vec![op(Request::RequestPut(put)), owner.clone()],
        failure: vec![op(Request::RequestRange(get(key.clone()))), owner],
    };
    let response = kv.txn(request).await?;
    let created = if response.succeeded {
        revision(response.header)
    } else {
        ranged(&response, 0)?.first().ok_or_else(malformed)?.create_revision
    };
    let owner = ranged(&response, 1)?.first();
    let is_first = owner.is_none_or(|owner| owner.create_revision == created);
    Ok((response.header, created, is_first))
}

async fn wait<K: Kv>(
    kv: &K,
    prefix: &[u8],
    key: &Bytes,
    created: i64,
    gone: impl Future<Output = Gone> + Send,
) -> Result<Option<ResponseHeader>, Error> {
    wait_for_deletes(kv, prefix, created - 1, &mut pin!(gone)).await?;
    // The lease may have been revoked during the wait, and the place with it.
    let response = kv.range(get(key.clone())).await?;
    if response.kvs.is_empty() { Err(Error::SessionExpired) } else { Ok(response.header) }
}

#[cfg(test)]
mod tests;
