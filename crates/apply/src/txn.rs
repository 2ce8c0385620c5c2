//! Transactions: compare, check, then execute (etcd `server/etcdserver/txn/txn.go`).
//!
//! Invariants:
//! - all compares, those of nested transactions too, see the state before the transaction; which
//!   branches are taken is known before anything is written;
//! - what the taken branches could be refused for is checked on that state before anything is
//!   written. Execution itself cannot be refused.

use crate::convert::{decode_record, range_query, range_response};
use crate::kv::{self, Failure};
use crate::op::Operations;
use crate::reply::header;
use api::Error;
use api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use api::etcdserverpb::request_op::Request;
use api::etcdserverpb::response_op::Response;
use api::etcdserverpb::{Compare, RequestOp, ResponseOp, TxnRequest, TxnResponse};
use api::mvccpb::KeyValue;
use lease::Lessor;
use mvcc::{Bounded, RangeQuery, Read, Txn, View};
use std::cmp::Ordering;

/// Whether no branch can write, so that the transaction need not go through the log.
#[must_use]
pub fn is_read_only(txn: &TxnRequest) -> bool {
    // Compat: a nested transaction counts as writing, whatever it holds.
    let reads = |op: &RequestOp| matches!(op.request, Some(Request::RequestRange(_)));
    txn.success.iter().all(reads) && txn.failure.iter().all(reads)
}

/// Which branch each transaction takes, in the order in which they are met.
type Path = Vec<bool>;

/// Applies a transaction. `skip_ranges` leaves ranges without results, if nobody waits for them.
pub(crate) fn apply(
    txn: &mut Txn<'_>,
    lessor: &Lessor,
    request: &TxnRequest,
    skip_ranges: bool,
    total: &mut Operations,
) -> Result<TxnResponse, Failure> {
    let (mut path, mut seen, mut done) =
        (Path::new(), Operations::default(), Operations::default());
    let chosen = choose(txn, request, &mut path, &mut seen);
    let checked = chosen.and_then(|()| {
        check(txn, Some((txn, lessor)), request, &mut path.iter().copied(), &mut seen)
    });
    total.end(seen);
    checked?;
    let mut response = execute(txn, request, &mut path.iter().copied(), skip_ranges, &mut done)?;
    total.end(done);
    response.header = header(txn.revision());
    Ok(response)
}

/// Answers a transaction that only reads ([`is_read_only`]), from a reader's view; `total` counts
/// what it did.
///
/// # Errors
/// [`mvcc::Error`]; operations that write are passed over.
pub fn read(
    view: &View,
    request: &TxnRequest,
    total: &mut Operations,
) -> Result<TxnResponse, mvcc::Error> {
    let (mut path, mut done) = (Path::new(), Operations::default());
    let mut answer = || -> Result<TxnResponse, Failure> {
        choose(view, request, &mut path, &mut done)?;
        check(view, None, request, &mut path.iter().copied(), &mut done)?;
        let succeeded = path[0];
        let mut responses = Vec::new();
        for op in branch(request, succeeded) {
            let response = match &op.request {
                Some(Request::RequestRange(range)) => {
                    done.ranges += 1;
                    let result = view.range(&range_query(range))?;
                    Some(Response::ResponseRange(range_response(result)))
                }
                _ => None,
            };
            responses.push(ResponseOp { response });
        }
        Ok(TxnResponse { header: header(view.revision()), succeeded, responses })
    };
    let answered = answer();
    total.end(done);
    answered.map_err(|failure| match failure {
        Failure::Refused(Error::FutureRev) => mvcc::Error::FutureRev,
        Failure::Refused(_) | Failure::Unknown | Failure::Cluster(_) => mvcc::Error::Compacted,
        Failure::Store(error) => error,
    })
}

/// Bytes that the answers of a transaction's ranges take, about, and at most as things are; 0 if
/// it has none of many keys.
#[must_use]
pub fn answer_bytes(view: &View, request: &TxnRequest) -> u64 {
    let branch = |ops: &[RequestOp]| {
        let bytes = ops.iter().map(|op| match &op.request {
            Some(Request::RequestRange(range))
                if ops.len() > FEW || !range.range_end.is_empty() =>
            {
                range_bytes(view, &range_query(range))
            }
            Some(Request::RequestDeleteRange(delete)) if delete.prev_kv => {
                let (key, range_end) = (delete.key.clone(), delete.range_end.clone());
                range_bytes(view, &RangeQuery { key, range_end, ..RangeQuery::default() })
            }
            Some(Request::RequestTxn(nested)) => answer_bytes(view, nested),
            _ => 0,
        });
        bytes.sum::<u64>()
    };
    branch(&request.success).max(branch(&request.failure))
}

/// Reads of so many single keys are not looked at.
const FEW: usize = 4;

/// Bytes that the answer of a range takes, about. One that cannot be answered takes none.
#[must_use]
pub fn range_bytes(view: &View, query: &RangeQuery) -> u64 {
    match view.range_within(query, 0) {
        Ok(Bounded::Needs(needs)) => needs.whole,
        Ok(Bounded::Answer(_)) | Err(_) => 0,
    }
}

fn choose(
    txn: &impl Read,
    request: &TxnRequest,
    path: &mut Path,
    seen: &mut Operations,
) -> Result<(), Failure> {
    let mut succeeded = true;
    for compare in &request.compare {
        seen.ranges += 1;
        if !holds(txn, compare)? {
            succeeded = false;
            break;
        }
    }
    path.push(succeeded);
    for op in branch(request, succeeded) {
        if let Some(Request::RequestTxn(nested)) = &op.request {
            choose(txn, nested, path, seen)?;
        }
    }
    Ok(())
}

fn branch(request: &TxnRequest, succeeded: bool) -> &[RequestOp] {
    if succeeded { &request.success } else { &request.failure }
}

/// Whether a compare holds for all keys of its range.
fn holds(txn: &impl Read, compare: &Compare) -> Result<bool, Failure> {
    let (key, range_end) = (compare.key.clone(), compare.range_end.clone());
    let found = txn.range(&RangeQuery { key, range_end, ..RangeQuery::default() })?;
    if found.records.is_empty() {
        // Compat: an absent value equals nothing, not even by NOT_EQUAL; all else is 0.
        let value = compare.target == CompareTarget::Value as i32;
        return Ok(!value && one_holds(compare, &KeyValue::default()));
    }
    Ok(found.records.into_iter().all(|record| one_holds(compare, &decode_record(record))))
}

fn one_holds(compare: &Compare, kv: &KeyValue) -> bool {
    let union = compare.target_union.as_ref();
    // A union of another kind than the target counts as none.
    let number = |kind: fn(&TargetUnion) -> Option<i64>| union.and_then(kind).unwrap_or_default();
    let target = CompareTarget::try_from(compare.target);
    let order = match target {
        Ok(CompareTarget::Value) => {
            let wanted = match union {
                Some(TargetUnion::Value(value)) => &value[..],
                _ => &[],
            };
            kv.value[..].cmp(wanted)
        }
        Ok(CompareTarget::Version) => kv.version.cmp(&number(|union| match union {
            TargetUnion::Version(version) => Some(*version),
            _ => None,
        })),
        Ok(CompareTarget::Create) => kv.create_revision.cmp(&number(|union| match union {
            TargetUnion::CreateRevision(revision) => Some(*revision),
            _ => None,
        })),
        Ok(CompareTarget::Mod) => kv.mod_revision.cmp(&number(|union| match union {
            TargetUnion::ModRevision(revision) => Some(*revision),
            _ => None,
        })),
        Ok(CompareTarget::Lease) => kv.lease.cmp(&number(|union| match union {
            TargetUnion::Lease(lease) => Some(*lease),
            _ => None,
        })),
        // Compat: an unknown target compares as equal.
        Err(_) => Ordering::Equal,
    };
    match CompareResult::try_from(compare.result) {
        Ok(CompareResult::Equal) => order == Ordering::Equal,
        Ok(CompareResult::NotEqual) => order != Ordering::Equal,
        Ok(CompareResult::Greater) => order == Ordering::Greater,
        Ok(CompareResult::Less) => order == Ordering::Less,
        // Compat: an unknown result always holds.
        Err(_) => true,
    }
}

/// `puts` is what puts are checked against; without it there are none.
fn check(
    txn: &impl Read,
    puts: Option<(&Txn<'_>, &Lessor)>,
    request: &TxnRequest,
    path: &mut impl Iterator<Item = bool>,
    seen: &mut Operations,
) -> Result<(), Failure> {
    for op in branch(request, path.next().unwrap_or_default()) {
        match &op.request {
            Some(Request::RequestRange(range)) => {
                let revision = range.revision;
                if revision > txn.revision() {
                    return Err(Error::FutureRev.into());
                }
                // Compat: a negative revision is one that was compacted, if any was.
                if revision != 0 && revision < txn.compact_revision() {
                    return Err(Error::Compacted.into());
                }
            }
            Some(Request::RequestPut(put)) => {
                if let Some((txn, lessor)) = puts {
                    kv::check_put(txn, lessor, put, seen)?;
                }
            }
            Some(Request::RequestTxn(nested)) => check(txn, puts, nested, path, seen)?,
            Some(Request::RequestDeleteRange(_)) | None => {}
        }
    }
    Ok(())
}

fn execute(
    txn: &mut Txn<'_>,
    request: &TxnRequest,
    path: &mut impl Iterator<Item = bool>,
    skip_ranges: bool,
    done: &mut Operations,
) -> Result<TxnResponse, Failure> {
    let succeeded = path.next().unwrap_or_default();
    let mut responses = Vec::new();
    for op in branch(request, succeeded) {
        let response = match &op.request {
            Some(Request::RequestRange(_)) if skip_ranges => None,
            Some(Request::RequestRange(range)) => {
                done.ranges += 1;
                Some(Response::ResponseRange(kv::range(txn, range)?))
            }
            Some(Request::RequestPut(put)) => {
                done.ranges += u64::from(kv::looks_before(put));
                Some(Response::ResponsePut(kv::put(txn, put, done)?))
            }
            Some(Request::RequestDeleteRange(delete)) => {
                Some(Response::ResponseDeleteRange(kv::delete_range(txn, delete, done)?))
            }
            Some(Request::RequestTxn(nested)) => {
                let mut response = execute(txn, nested, path, skip_ranges, done)?;
                // Compat: the header of a nested transaction is there and empty.
                response.header = header(0);
                Some(Response::ResponseTxn(response))
            }
            None => None,
        };
        responses.push(ResponseOp { response });
    }
    Ok(TxnResponse { header: None, succeeded, responses })
}
