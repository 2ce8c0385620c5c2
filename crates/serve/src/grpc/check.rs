//! The shape of requests: what is refused before anybody is asked (etcd `v3rpc/key.go`).

use api::Error;
use api::etcdserverpb::range_request::{SortOrder, SortTarget};
use api::etcdserverpb::request_op::Request;
use api::etcdserverpb::{DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest};
use bytes::Bytes;
use std::collections::BTreeSet;
use tonic::Status;

pub(crate) fn range(request: &RangeRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    let known = SortOrder::try_from(request.sort_order).is_ok()
        && SortTarget::try_from(request.sort_target).is_ok();
    if known { Ok(()) } else { Err(Error::InvalidSortOption) }
}

pub(crate) fn range_stream(request: &RangeRequest) -> Result<(), Status> {
    range(request)?;
    let key_order =
        request.sort_target() == SortTarget::Key && request.sort_order() == SortOrder::Ascend;
    if request.sort_order() != SortOrder::None && !key_order {
        return Err(Status::unimplemented("RangeStream does not support custom sort orders"));
    }
    let filters = [
        request.min_mod_revision,
        request.max_mod_revision,
        request.min_create_revision,
        request.max_create_revision,
    ];
    if filters != [0; 4] {
        return Err(Status::unimplemented("RangeStream does not support revision filters"));
    }
    Ok(())
}

pub(crate) fn put(request: &PutRequest) -> Result<(), Error> {
    if request.key.is_empty() {
        return Err(Error::EmptyKey);
    }
    if request.ignore_value && !request.value.is_empty() {
        return Err(Error::ValueProvided);
    }
    if request.ignore_lease && request.lease != 0 {
        return Err(Error::LeaseProvided);
    }
    Ok(())
}

pub(crate) fn delete_range(request: &DeleteRangeRequest) -> Result<(), Error> {
    if request.key.is_empty() { Err(Error::EmptyKey) } else { Ok(()) }
}

pub(crate) fn txn(request: &TxnRequest, ops_max: usize) -> Result<(), Error> {
    shape(request, ops_max)?;
    // Behind the check of the shape, so that there are not too many to compare.
    overlaps(&request.success)?;
    overlaps(&request.failure)?;
    keeps_deleted(&request.success, &mut Vec::new())?;
    keeps_deleted(&request.failure, &mut Vec::new())
}

/// Refuses a put that keeps the value or lease of a key deleted before it, by a deletion of all
/// from some key on, which [`overlaps`] lets through: applying it ends every Go member.
fn keeps_deleted(ops: &[RequestOp], deleted_from: &mut Vec<Bytes>) -> Result<(), Error> {
    for op in ops {
        match &op.request {
            Some(Request::RequestDeleteRange(delete)) if delete.range_end[..] == [0] => {
                deleted_from.push(delete.key.clone());
            }
            Some(Request::RequestPut(put))
                if (put.ignore_value || put.ignore_lease)
                    && deleted_from.iter().any(|from| *from <= put.key) =>
            {
                return Err(Error::DuplicateKey);
            }
            Some(Request::RequestTxn(nested)) => {
                let before = deleted_from.clone();
                keeps_deleted(&nested.success, deleted_from)?;
                let mut otherwise = before;
                keeps_deleted(&nested.failure, &mut otherwise)?;
                deleted_from.append(&mut otherwise);
            }
            _ => {}
        }
    }
    Ok(())
}

fn shape(request: &TxnRequest, ops_max: usize) -> Result<(), Error> {
    let ops = request.compare.len().max(request.success.len()).max(request.failure.len());
    // Compat: a nested transaction gets what its parent's level leaves.
    let left = ops_max.checked_sub(ops).ok_or(Error::TooManyOps)?;
    if request.compare.iter().any(|compare| compare.key.is_empty()) {
        return Err(Error::EmptyKey);
    }
    for op in request.success.iter().chain(&request.failure) {
        match &op.request {
            Some(Request::RequestRange(request)) => range(request)?,
            Some(Request::RequestPut(request)) => put(request)?,
            Some(Request::RequestDeleteRange(request)) => delete_range(request)?,
            Some(Request::RequestTxn(request)) => shape(request, left)?,
            None => return Err(Error::KeyNotFound),
        }
    }
    Ok(())
}

/// What a list of operations may write.
#[derive(Default)]
struct Writes {
    puts: BTreeSet<Bytes>,
    /// Compat: compared as they are written, so that a deletion of all from a key on (end 0)
    /// overlaps with nothing.
    deletes: Vec<(Bytes, Bytes)>,
}

impl Writes {
    fn deletes(&self, key: &[u8]) -> bool {
        self.deletes.iter().any(|(from, end)| {
            if end.is_empty() { from == key } else { from[..] <= *key && *key < end[..] }
        })
    }

    fn put(&mut self, key: &Bytes) -> Result<(), Error> {
        if self.deletes(key) || !self.puts.insert(key.clone()) {
            return Err(Error::DuplicateKey);
        }
        Ok(())
    }
}

/// Refuses two puts of a key, and a put of a key that is deleted, unless only one of them can
/// happen.
fn overlaps(ops: &[RequestOp]) -> Result<Writes, Error> {
    let mut writes = Writes::default();
    for op in ops {
        if let Some(Request::RequestDeleteRange(delete)) = &op.request {
            writes.deletes.push((delete.key.clone(), delete.range_end.clone()));
        }
    }
    for op in ops {
        let Some(Request::RequestTxn(nested)) = &op.request else { continue };
        let (success, failure) = (overlaps(&nested.success)?, overlaps(&nested.failure)?);
        for key in &success.puts {
            writes.put(key)?;
        }
        for key in &failure.puts {
            // A put in both branches happens once.
            if writes.deletes(key) {
                return Err(Error::DuplicateKey);
            }
            if !success.puts.contains(key) {
                writes.put(key)?;
            }
        }
        writes.deletes.extend(success.deletes);
        writes.deletes.extend(failure.deletes);
    }
    for op in ops {
        if let Some(Request::RequestPut(put)) = &op.request {
            writes.put(&put.key)?;
        }
    }
    Ok(writes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put_op(key: &'static str) -> RequestOp {
        let put = PutRequest { key: key.into(), ..PutRequest::default() };
        RequestOp { request: Some(Request::RequestPut(put)) }
    }

    fn delete_op(key: &'static str, range_end: &'static str) -> RequestOp {
        let delete = DeleteRangeRequest {
            key: key.into(),
            range_end: range_end.into(),
            ..DeleteRangeRequest::default()
        };
        RequestOp { request: Some(Request::RequestDeleteRange(delete)) }
    }

    fn txn_op(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
        let txn = TxnRequest { success, failure, ..TxnRequest::default() };
        RequestOp { request: Some(Request::RequestTxn(txn)) }
    }

    #[test]
    fn puts_and_deletions_that_overlap() {
        let check = |success: Vec<RequestOp>, fine: bool| {
            let request = TxnRequest { success: success.clone(), ..TxnRequest::default() };
            let want = if fine { Ok(()) } else { Err(Error::DuplicateKey) };
            assert_eq!(txn(&request, 128), want, "{success:?}");
        };
        check(vec![put_op("a"), put_op("b")], true);
        check(vec![put_op("a"), put_op("a")], false);
        check(vec![put_op("a"), delete_op("a", "")], false);
        check(vec![put_op("b"), delete_op("a", "c")], false);
        check(vec![put_op("c"), delete_op("a", "c")], true);
        check(vec![put_op("c"), delete_op("a", "\0")], true);
        check(vec![delete_op("a", "c"), delete_op("b", "")], true);
        check(vec![txn_op(vec![put_op("a")], vec![put_op("a")])], true);
        check(vec![txn_op(vec![put_op("a")], vec![]), put_op("a")], false);
        check(vec![txn_op(vec![delete_op("a", "")], vec![]), put_op("a")], false);
        check(vec![txn_op(vec![put_op("a")], vec![]), delete_op("a", "")], false);
        let keep = |key: &'static str| {
            let put = PutRequest { key: key.into(), ignore_value: true, ..Default::default() };
            RequestOp { request: Some(Request::RequestPut(put)) }
        };
        check(vec![delete_op("b", "\0"), keep("b")], false);
        check(vec![txn_op(vec![], vec![delete_op("b", "\0")]), keep("c")], false);
        check(vec![keep("b"), delete_op("b", "\0")], true);
        check(vec![delete_op("b", "\0"), keep("a")], true);
        let two = vec![txn_op(vec![put_op("a")], vec![]), txn_op(vec![], vec![put_op("a")])];
        check(two, false);
    }

    #[test]
    fn levels_share_the_number_of_operations() {
        let leaf = || (0..2).map(|_| delete_op("a", "")).collect::<Vec<_>>();
        let request = TxnRequest { success: vec![txn_op(leaf(), vec![])], ..TxnRequest::default() };
        assert_eq!(txn(&request, 3), Ok(()));
        assert_eq!(txn(&request, 2), Err(Error::TooManyOps));
        let empty = TxnRequest { failure: vec![RequestOp::default()], ..TxnRequest::default() };
        assert_eq!(txn(&empty, 3), Err(Error::KeyNotFound));
    }
}
