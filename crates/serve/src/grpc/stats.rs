//! What log lines of slow requests for keys say of a request and its answer: how many, how large,
//! and no value.
//!
//! Source: etcd `server/etcdserver/api/v3rpc/interceptor.go`.

use crate::grpc::kv::Extent;
use crate::slow::Stats;
use api::etcdserverpb::{
    DeleteRangeResponse, InternalRaftRequest, PutResponse, RangeRequest, TxnRequest, TxnResponse,
};
use bytes::Bytes;
use prost::Message;
use server::describe;

/// Of a put, by what went into the log.
pub(super) fn put(data: &Bytes, response: Option<&PutResponse>) -> Stats {
    let Some(put) = asked(data).put else { return Stats::default() };
    Stats {
        request_count: 1,
        request_size: size(&put),
        response_count: 0,
        response_size: response.map_or(0, size),
        content: describe::put(&put),
    }
}

/// Of a deletion, by what went into the log.
pub(super) fn delete_range(data: &Bytes, response: Option<&DeleteRangeResponse>) -> Stats {
    let Some(delete) = asked(data).delete_range else { return Stats::default() };
    Stats {
        request_count: 0,
        request_size: size(&delete),
        response_count: response.map_or(0, |response| response.deleted),
        response_size: response.map_or(0, size),
        content: describe::delete_range(&delete),
    }
}

/// Of a range.
pub(super) fn range(request: &RangeRequest, answer: Option<Extent>) -> Stats {
    Stats {
        request_count: 0,
        request_size: size(request),
        response_count: answer.as_ref().map_or(0, |answer| answer.count),
        response_size: answer.map_or(0, |answer| number(answer.bytes)),
        content: describe::range(request),
    }
}

/// Of a transaction, by what went into the log.
pub(super) fn logged_txn(data: &Bytes, response: Option<&TxnResponse>) -> Stats {
    txn(&asked(data).txn.unwrap_or_default(), response)
}

/// Of a transaction: of the branch that was taken.
pub(super) fn txn(txn: &TxnRequest, response: Option<&TxnResponse>) -> Stats {
    let Some(response) = response else { return Stats::default() };
    let taken = if response.succeeded { &txn.success } else { &txn.failure };
    Stats {
        request_count: number(taken.len()),
        request_size: taken.iter().map(size).sum(),
        response_count: 0,
        response_size: size(response),
        content: describe::txn(txn),
    }
}

/// What was put into the log; nothing for a request that was refused before.
fn asked(data: &Bytes) -> InternalRaftRequest {
    InternalRaftRequest::decode(data.clone()).unwrap_or_default()
}

fn size(message: &impl Message) -> i64 {
    number(message.encoded_len())
}

fn number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
