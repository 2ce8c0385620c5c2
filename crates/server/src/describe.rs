//! Requests as text, for log lines about what took long.
//!
//! Invariant: no value of a key and no password is in it, only how large values are.
//!
//! Source: etcd `api/etcdserverpb/raft_internal_stringer.go`, `server/etcdserver/txn/util.go`.

use crate::go_duration;
use api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use api::etcdserverpb::request_op::Request;
use api::etcdserverpb::{
    Compare, DeleteRangeRequest, InternalRaftRequest, PutRequest, RangeRequest, RequestOp,
    TxnRequest,
};
use apply::{Op, Reply};
use prost::Message as _;
use std::time::Duration;

/// A log line about what took longer than it should.
pub fn took_too_long(
    took: Duration,
    expected: Duration,
    prefix: &str,
    request: &str,
    response: &str,
    error: Option<&str>,
) {
    let (took, expected_duration) = (go_duration(took), go_duration(expected));
    // A line without an error has no such key.
    match error {
        Some(error) => tracing::warn!(
            took,
            expected_duration,
            prefix,
            request,
            response,
            error,
            "apply request took too long"
        ),
        None => tracing::warn!(
            took,
            expected_duration,
            prefix,
            request,
            response,
            "apply request took too long"
        ),
    }
}

/// The payload of an entry.
#[must_use]
pub fn entry(data: &[u8]) -> String {
    match InternalRaftRequest::decode(data) {
        Ok(decoded) => request(&decoded),
        // Whoever applies it says what is wrong with it.
        Err(_) => String::new(),
    }
}

fn request(request: &InternalRaftRequest) -> String {
    let id = request.header.as_ref().map_or(request.id, |header| header.id);
    let what = if let Some(request) = &request.put {
        format!("put:<{}>", put(request))
    } else if let Some(request) = &request.txn {
        format!("txn:<{}>", txn(request))
    } else if let Some(request) = &request.range {
        format!("range:<{}>", range(request))
    } else if let Some(request) = &request.delete_range {
        format!("delete_range:<{}>", delete_range(request))
    } else if let Some(request) = &request.compaction {
        format!("compaction:<revision:{} physical:{}>", request.revision, request.physical)
    } else if let Some(grant) = &request.lease_grant {
        format!("lease_grant:<ttl:{}-second id:{:016x}>", grant.ttl, grant.id)
    } else if let Some(revoke) = &request.lease_revoke {
        format!("lease_revoke:<id:{:016x}>", revoke.id)
    } else {
        format!("{}:<>", Op::of(request).name())
    };
    format!("header:<ID:{id}> {what}")
}

/// What is said of a reply: how large it is.
pub(crate) fn reply(reply: &Reply) -> String {
    let bytes = match reply {
        Reply::Range(reply) => reply.encoded_len(),
        Reply::Put(reply) => reply.encoded_len(),
        Reply::DeleteRange(reply) => reply.encoded_len(),
        Reply::Txn(reply) => reply.encoded_len(),
        Reply::Compaction(reply) => reply.encoded_len(),
        Reply::LeaseGrant(reply) => reply.encoded_len(),
        Reply::LeaseRevoke(reply) => reply.encoded_len(),
        Reply::Alarm(reply) => reply.encoded_len(),
        Reply::Done => return String::new(),
    };
    format!("size:{bytes}")
}

/// Fields as `name:value`; those that are left out by protobuf are left out here.
#[derive(Default)]
struct Fields(Vec<String>);

impl Fields {
    fn bytes(mut self, name: &str, bytes: &[u8]) -> Self {
        if !bytes.is_empty() {
            self.0.push(format!("{name}:\"{}\"", bytes.escape_ascii()));
        }
        self
    }

    fn number(mut self, name: &str, number: i64) -> Self {
        if number != 0 {
            self.0.push(format!("{name}:{number}"));
        }
        self
    }

    fn switch(mut self, name: &str, on: bool) -> Self {
        if on {
            self.0.push(format!("{name}:true"));
        }
        self
    }

    fn text(self) -> String {
        self.0.join(" ")
    }
}

/// A put without its value.
#[must_use]
pub fn put(put: &PutRequest) -> String {
    Fields::default()
        .bytes("key", &put.key)
        .number("value_size", size(put.value.len()))
        .number("lease", put.lease)
        .switch("prev_kv", put.prev_kv)
        .switch("ignore_value", put.ignore_value)
        .switch("ignore_lease", put.ignore_lease)
        .text()
}

/// A range.
#[must_use]
pub fn range(range: &RangeRequest) -> String {
    Fields::default()
        .bytes("key", &range.key)
        .bytes("range_end", &range.range_end)
        .number("limit", range.limit)
        .number("revision", range.revision)
        .number("sort_order", range.sort_order.into())
        .number("sort_target", range.sort_target.into())
        .switch("serializable", range.serializable)
        .switch("keys_only", range.keys_only)
        .switch("count_only", range.count_only)
        .text()
}

/// A deletion.
#[must_use]
pub fn delete_range(delete: &DeleteRangeRequest) -> String {
    Fields::default()
        .bytes("key", &delete.key)
        .bytes("range_end", &delete.range_end)
        .switch("prev_kv", delete.prev_kv)
        .text()
}

/// A transaction without its values.
#[must_use]
pub fn txn(txn: &TxnRequest) -> String {
    let compares: Vec<String> = txn.compare.iter().map(compare).collect();
    let ops = |ops: &[RequestOp]| ops.iter().map(op).collect::<Vec<_>>().join(" ");
    format!(
        "compare:<{}> success:<{}> failure:<{}>",
        compares.join(" "),
        ops(&txn.success),
        ops(&txn.failure)
    )
}

fn op(op: &RequestOp) -> String {
    match &op.request {
        Some(Request::RequestPut(request)) => format!("request_put:<{}>", put(request)),
        Some(Request::RequestTxn(request)) => format!("request_txn:<{}>", txn(request)),
        Some(Request::RequestRange(request)) => format!("request_range:<{}>", range(request)),
        Some(Request::RequestDeleteRange(request)) => {
            format!("request_delete_range:<{}>", delete_range(request))
        }
        None => String::new(),
    }
}

fn compare(compare: &Compare) -> String {
    let name = |number: i32, name: Option<&'static str>| {
        name.map_or_else(|| number.to_string(), str::to_owned)
    };
    let result = CompareResult::try_from(compare.result).ok().map(|known| known.as_str_name());
    let target = CompareTarget::try_from(compare.target).ok().map(|known| known.as_str_name());
    let fields = Fields(vec![
        format!("result:{}", name(compare.result, result)),
        format!("target:{}", name(compare.target, target)),
    ]);
    let fields = fields.bytes("key", &compare.key).bytes("range_end", &compare.range_end);
    match &compare.target_union {
        Some(TargetUnion::Value(value)) => fields.number("value_size", size(value.len())),
        Some(TargetUnion::Version(number)) => fields.number("version", *number),
        Some(TargetUnion::CreateRevision(number)) => fields.number("create_revision", *number),
        Some(TargetUnion::ModRevision(number)) => fields.number("mod_revision", *number),
        Some(TargetUnion::Lease(number)) => fields.number("lease", *number),
        None => fields,
    }
    .text()
}

fn size(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_told() {
        let put_request = PutRequest {
            key: "a\n".into(),
            value: "secret".into(),
            lease: 7,
            ..PutRequest::default()
        };
        let inner = RequestOp { request: Some(Request::RequestPut(put_request)) };
        let value = Compare {
            key: "k".into(),
            target: CompareTarget::Value as i32,
            target_union: Some(TargetUnion::Value("secret".into())),
            ..Compare::default()
        };
        let request = TxnRequest { compare: vec![value], success: vec![inner], failure: vec![] };
        assert_eq!(
            txn(&request),
            "compare:<result:EQUAL target:VALUE key:\"k\" value_size:6> \
             success:<request_put:<key:\"a\\n\" value_size:6 lease:7>> failure:<>"
        );
    }
}
