//! Transactions in the model: compares, then the checks of all operations, then the operations.

use super::model::{Model, header};
use api::Error;
use api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use api::etcdserverpb::request_op::Request;
use api::etcdserverpb::response_op::Response;
use api::etcdserverpb::{Compare, ResponseOp, TxnRequest, TxnResponse};
use api::mvccpb::KeyValue;
use std::cmp::Ordering;

/// Applies a transaction of single-key compares, puts, deletions and ranges.
pub(crate) fn apply(model: &mut Model, txn: &TxnRequest) -> Result<TxnResponse, Error> {
    let succeeded = txn
        .compare
        .iter()
        .all(|compare| holds(compare, model.now(&compare.key).unwrap_or(&KeyValue::default())));
    let ops = if succeeded { &txn.success } else { &txn.failure };
    for op in ops {
        match &op.request {
            Some(Request::RequestPut(put)) => model.check_put(put)?,
            Some(Request::RequestRange(range)) if range.revision > model.revision => {
                return Err(Error::FutureRev);
            }
            Some(Request::RequestRange(range))
                if range.revision != 0 && range.revision < model.compacted =>
            {
                return Err(Error::Compacted);
            }
            _ => {}
        }
    }
    let mut responses = Vec::new();
    for op in ops {
        let response = match &op.request {
            Some(Request::RequestPut(put)) => Response::ResponsePut(model.put(put)),
            Some(Request::RequestDeleteRange(delete)) => {
                Response::ResponseDeleteRange(model.delete(delete))
            }
            Some(Request::RequestRange(range)) => Response::ResponseRange(model.range(range)),
            Some(Request::RequestTxn(_)) | None => continue,
        };
        responses.push(ResponseOp { response: Some(response) });
    }
    Ok(TxnResponse { header: header(model.revision_now()), succeeded, responses })
}

/// Whether a compare holds; clients compare no values of keys that may be absent.
fn holds(compare: &Compare, kv: &KeyValue) -> bool {
    let order = match (&compare.target_union, compare.target()) {
        (Some(TargetUnion::Version(version)), CompareTarget::Version) => kv.version.cmp(version),
        (Some(TargetUnion::CreateRevision(revision)), CompareTarget::Create) => {
            kv.create_revision.cmp(revision)
        }
        (Some(TargetUnion::ModRevision(revision)), CompareTarget::Mod) => {
            kv.mod_revision.cmp(revision)
        }
        (Some(TargetUnion::Lease(lease)), CompareTarget::Lease) => kv.lease.cmp(lease),
        (Some(TargetUnion::Value(value)), CompareTarget::Value) if !kv.key.is_empty() => {
            kv.value.cmp(value)
        }
        // A value equals nothing where there is none.
        _ => return false,
    };
    match compare.result() {
        CompareResult::Equal => order == Ordering::Equal,
        CompareResult::NotEqual => order != Ordering::Equal,
        CompareResult::Greater => order == Ordering::Greater,
        CompareResult::Less => order == Ordering::Less,
    }
}
