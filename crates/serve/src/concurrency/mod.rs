//! Lock and Election: services made of ordinary requests to the store.
//!
//! Whoever wants a lock or to lead puts a key under the name's prefix, attached to a lease, and
//! waits until all keys there that are older are deleted. So the state is in the store alone, a
//! client that dies loses its place with its lease, and the functions here are plain code over
//! the trait [`Kv`] (etcd `server/etcdserver/api/{v3lock,v3election}`, `client/v3/concurrency`).
//!
//! Invariants:
//! - nothing is kept between calls;
//! - one that waits and is told that its client is gone deletes its key before it returns. So a
//!   call that may wait must be run to its end, and not dropped when the client is gone: that is
//!   what the argument `gone` is for.
//!
//! Compat: etcd serves these through a client of its own, whence the codes: an error that etcd's
//! clients know comes out with its text and code Unknown.

mod election;
mod lock;
#[cfg(test)]
mod testing;

pub use election::{Observer, campaign, leader, proclaim, resign};
pub use lock::{lock, unlock};

use api::etcdserverpb::{
    Compare, DeleteRangeRequest, DeleteRangeResponse, LeaseGrantRequest, LeaseGrantResponse,
    RangeRequest, RangeResponse, RequestOp, TxnRequest, TxnResponse, WatchResponse,
};
use api::etcdserverpb::{compare, range_request, request_op, response_op};
use api::{Code, mvccpb};
use bytes::Bytes;
use std::fmt::Write;
use std::future::Future;
use tonic::Status;

/// The store, as the caller of a service may use it: with the caller's identity, and checked as
/// the same request from outside would be.
pub trait Kv: Sync {
    /// A watch.
    type Watch: Watch;

    /// A transaction.
    fn txn(&self, request: TxnRequest) -> impl Future<Output = Result<TxnResponse, Status>> + Send;

    /// A linearizable range.
    fn range(
        &self,
        request: RangeRequest,
    ) -> impl Future<Output = Result<RangeResponse, Status>> + Send;

    /// A deletion.
    fn delete_range(
        &self,
        request: DeleteRangeRequest,
    ) -> impl Future<Output = Result<DeleteRangeResponse, Status>> + Send;

    /// A new lease.
    fn lease_grant(
        &self,
        request: LeaseGrantRequest,
    ) -> impl Future<Output = Result<LeaseGrantResponse, Status>> + Send;

    /// A watch of a key, or of a range if `range_end` is not empty, from `start_revision` on.
    fn watch(&self, key: Bytes, range_end: Bytes, start_revision: i64) -> Self::Watch;
}

/// An open watch; it ends when it is dropped.
pub trait Watch: Send {
    /// The next response; `None` once the watch has ended. May be dropped before it has come.
    fn next(&mut self) -> impl Future<Output = Option<WatchResponse>> + Send;
}

/// Why a client does not wait any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It took its request back, or its connection broke.
    Canceled,
    /// The time it gave is over.
    DeadlineExceeded,
}

/// What a service answers instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The leader's key is missing in the request.
    #[error("\"leader\" field must be provided")]
    MissingLeader,
    /// Nobody leads.
    #[error("election: no leader")]
    NoLeader,
    /// Another one leads by now.
    #[error("election: not leader")]
    NotLeader,
    /// The lease was revoked while its key waited for the lock.
    #[error("mutex: session is expired")]
    SessionExpired,
    /// The watch for another one's key ended.
    #[error("lost watcher waiting for delete")]
    LostWatch,
    /// The client did not wait; its key was taken back.
    #[error("{}", match .0 {
        Gone::Canceled => "context canceled",
        Gone::DeadlineExceeded => "context deadline exceeded",
    })]
    Gone(Gone),
    /// The store refused.
    #[error("{}", .0.message())]
    Store(Box<Status>),
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::Store(Box::new(status))
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Gone(Gone::Canceled) => Code::Cancelled,
            Error::Gone(Gone::DeadlineExceeded) => Code::DeadlineExceeded,
            Error::Store(status) if !is_known(status.message()) => status.code(),
            _ => Code::Unknown,
        };
        Status::new(code, error.to_string())
    }
}

/// Whether a text is one of those that etcd's clients turn into errors of their own.
fn is_known(text: &str) -> bool {
    api::Error::ALL.iter().any(|known| known.text() == text)
}

/// Seconds that a lease has which was made because the request named none. Nobody keeps it alive.
const SESSION_TTL: i64 = 60;

/// The lease to work under: the one in the request, or a new one for 0.
async fn session<K: Kv>(kv: &K, lease: i64) -> Result<i64, Error> {
    if lease != 0 {
        return Ok(lease);
    }
    let request = LeaseGrantRequest { ttl: SESSION_TTL, id: 0 };
    Ok(kv.lease_grant(request).await?.id)
}

/// All keys of a lock or an election begin so.
fn prefix(name: &[u8]) -> Bytes {
    [name, b"/"].concat().into()
}

/// Behind the last key with this prefix.
fn prefix_end(prefix: &[u8]) -> Bytes {
    let (_, name) = prefix.split_last().expect("a prefix ends with a slash");
    // The byte after the slash.
    [name, b"0"].concat().into()
}

/// The key of a lease under a prefix. Compat: an id that is negative as Go writes it.
fn session_key(prefix: &[u8], lease: i64) -> Bytes {
    let mut id = String::from(if lease < 0 { "-" } else { "" });
    write!(id, "{:x}", lease.unsigned_abs()).expect("a string takes any text");
    [prefix, id.as_bytes()].concat().into()
}

fn get(key: Bytes) -> RangeRequest {
    RangeRequest { key, ..RangeRequest::default() }
}

/// The oldest key with a prefix.
fn get_first(prefix: &[u8]) -> RangeRequest {
    RangeRequest {
        key: Bytes::copy_from_slice(prefix),
        range_end: prefix_end(prefix),
        limit: 1,
        sort_order: range_request::SortOrder::Ascend.into(),
        sort_target: range_request::SortTarget::Create.into(),
        ..RangeRequest::default()
    }
}

/// The youngest key with a prefix among those created up to a revision.
fn get_last(prefix: &[u8], max_create_revision: i64) -> RangeRequest {
    let sort_order = range_request::SortOrder::Descend.into();
    RangeRequest { sort_order, max_create_revision, ..get_first(prefix) }
}

/// Holds if the key was created at a revision; 0 if there is no such key.
fn created_at(key: Bytes, revision: i64) -> Compare {
    Compare {
        result: compare::CompareResult::Equal.into(),
        target: compare::CompareTarget::Create.into(),
        key,
        range_end: Bytes::new(),
        target_union: Some(compare::TargetUnion::CreateRevision(revision)),
    }
}

fn op(request: request_op::Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

/// The keys that the range at a place of a transaction found.
fn ranged(response: &TxnResponse, place: usize) -> Result<&[mvccpb::KeyValue], Error> {
    let op = response.responses.get(place).and_then(|op| op.response.as_ref());
    let Some(response_op::Response::ResponseRange(range)) = op else { return Err(malformed()) };
    Ok(&range.kvs)
}

/// The store answered another request than it was asked: its bug, and no reason to die.
fn malformed() -> Error {
    Status::internal("the store's answer does not fit the request").into()
}

fn revision(header: Option<api::etcdserverpb::ResponseHeader>) -> i64 {
    header.unwrap_or_default().revision
}

/// Waits until all keys with a prefix are deleted that were created up to a revision. It waits
/// for the youngest of them first, as it is this one's deletion that most often ends the wait:
/// so one key's deletion wakes one who waits.
async fn wait_for_deletes<K: Kv>(
    kv: &K,
    prefix: &[u8],
    max_create_revision: i64,
    gone: &mut (impl Future<Output = Gone> + Send + Unpin),
) -> Result<(), Error> {
    loop {
        let response = kv.range(get_last(prefix, max_create_revision)).await?;
        let Some(last) = response.kvs.first() else { return Ok(()) };
        let watch = kv.watch(last.key.clone(), Bytes::new(), revision(response.header));
        tokio::select! {
            biased;
            deleted = wait_for_delete(watch) => deleted?,
            reason = &mut *gone => return Err(Error::Gone(reason)),
        }
    }
}

async fn wait_for_delete(mut watch: impl Watch) -> Result<(), Error> {
    while let Some(response) = watch.next().await {
        if response.events.iter().any(is_delete) {
            return Ok(());
        }
        if let Some(error) = watch_error(&response) {
            return Err(error);
        }
    }
    Err(Error::LostWatch)
}

fn is_delete(event: &mvccpb::Event) -> bool {
    event.r#type() == mvccpb::event::EventType::Delete
}

/// Why a response ends its watch, if it does.
fn watch_error(response: &WatchResponse) -> Option<Error> {
    let status = if response.compact_revision != 0 {
        api::Error::Compacted.into()
    } else if !response.canceled {
        return None;
    } else if response.cancel_reason.is_empty() {
        api::Error::FutureRev.into()
    } else {
        Status::failed_precondition(response.cancel_reason.clone())
    };
    Some(status.into())
}
