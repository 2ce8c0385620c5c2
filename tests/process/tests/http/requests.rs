//! Requests that both servers get: some of everything.

use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::lease_client::LeaseClient;
use api::etcdserverpb::maintenance_client::MaintenanceClient;
use api::etcdserverpb::request_op::Request as Op;
use api::etcdserverpb::watch_client::WatchClient;
use api::etcdserverpb::watch_request::RequestUnion;
use api::etcdserverpb::{
    CompactionRequest, Compare, DeleteRangeRequest, LeaseGrantRequest, LeaseKeepAliveRequest,
    LeaseRevokeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
    WatchRequest,
};
use bytes::Bytes;
use quorate_process::Server;

pub fn put(key: &'static str, value: &'static str) -> PutRequest {
    PutRequest { key: key.into(), value: value.into(), ..PutRequest::default() }
}

fn range(key: &'static str, range_end: &'static str) -> RangeRequest {
    RangeRequest { key: key.into(), range_end: range_end.into(), ..RangeRequest::default() }
}

fn op(request: Op) -> RequestOp {
    RequestOp { request: Some(request) }
}

/// Some of everything, and some that is refused. One after the other: all numbers are certain.
pub async fn requests(server: &Server) {
    let mut kv = KvClient::new(server.channel());
    for (key, value) in [("a", "1"), ("a", "22"), ("b", "secret"), ("c", ""), ("a", "4")] {
        kv.put(put(key, value)).await.expect("a put");
    }
    kv.put(PutRequest { prev_kv: true, ..put("b", "5") }).await.expect("a put");
    kv.put(PutRequest { ignore_value: true, ..put("b", "") }).await.expect("a put");
    kv.put(PutRequest { ignore_lease: true, ..put("no", "") }).await.expect_err("no such key");
    kv.put(PutRequest { lease: 5, ..put("d", "") }).await.expect_err("no such lease");
    kv.put(put("", "")).await.expect_err("no key");
    kv.range(range("a", "")).await.expect("a range");
    kv.range(RangeRequest { serializable: true, ..range("a", "z") }).await.expect("a range");
    kv.range(RangeRequest { revision: 99, ..range("a", "z") }).await.expect_err("the future");
    // Whoever tells its version is counted by it.
    let mut told = tonic::Request::new(put("a", "5"));
    told.metadata_mut().insert("client-api-version", "3.6".parse().expect("a value"));
    told.metadata_mut().insert("hasleader", "true".parse().expect("a value"));
    kv.put(told).await.expect("a put");
    let delete = |key: &'static str, prev_kv| DeleteRangeRequest {
        key: key.into(),
        prev_kv,
        ..DeleteRangeRequest::default()
    };
    kv.delete_range(delete("c", false)).await.expect("a deletion");
    kv.delete_range(delete("c", true)).await.expect("a deletion");
    let compare = Compare { key: "a".into(), ..Compare::default() };
    let txn = TxnRequest {
        compare: vec![compare.clone(), compare],
        success: vec![op(Op::RequestPut(put("x", "1")))],
        failure: vec![
            op(Op::RequestPut(PutRequest { prev_kv: true, ..put("y", "2") })),
            op(Op::RequestRange(range("a", "z"))),
            op(Op::RequestDeleteRange(delete("b", true))),
        ],
    };
    kv.txn(txn).await.expect("a transaction");
    let reads = vec![op(Op::RequestRange(range("a", ""))), op(Op::RequestRange(range("y", "")))];
    kv.txn(TxnRequest { success: reads, ..TxnRequest::default() }).await.expect("a transaction");
    let mut lease = LeaseClient::new(server.channel());
    for id in [77, 78] {
        lease.lease_grant(LeaseGrantRequest { id, ttl: 600 }).await.expect("a lease");
    }
    lease.lease_grant(LeaseGrantRequest { id: 77, ttl: 600 }).await.expect_err("it is there");
    for key in ["l1", "l2"] {
        kv.put(PutRequest { lease: 78, ..put(key, "v") }).await.expect("a put");
    }
    lease.lease_revoke(LeaseRevokeRequest { id: 78 }).await.expect("a revocation");
    lease.lease_revoke(LeaseRevokeRequest { id: 79 }).await.expect_err("no such lease");
    keep_alive(server).await;
    watch(server).await;
    let compaction = CompactionRequest { revision: 8, physical: true };
    kv.compact(compaction).await.expect("a compaction");
    kv.compact(compaction).await.expect_err("it is done");
    let mut maintenance = MaintenanceClient::new(server.channel());
    let hash = api::etcdserverpb::HashKvRequest::default();
    maintenance.hash_kv(hash).await.expect("a hash");
    maintenance.status(api::etcdserverpb::StatusRequest {}).await.expect("a status");
}

/// Renews a lease that is there and one that is not, and says that this was all.
async fn keep_alive(server: &Server) {
    let requests = [77, 80, 77].map(|id| LeaseKeepAliveRequest { id });
    let stream = LeaseClient::new(server.channel())
        .lease_keep_alive(futures_util::stream::iter(requests))
        .await
        .expect("a stream");
    let mut stream = stream.into_inner();
    let mut times = Vec::new();
    while let Some(renewed) = stream.message().await.expect("an answer") {
        times.push(renewed.ttl);
    }
    assert_eq!(times, [600, 0, 600]);
}

/// Watches from the beginning, is told of all, and goes.
async fn watch(server: &Server) {
    let create = WatchCreateRequest {
        key: Bytes::from_static(b"a"),
        start_revision: 2,
        ..WatchCreateRequest::default()
    };
    let request_union = Some(RequestUnion::CreateRequest(create));
    let requests = futures_util::stream::iter([WatchRequest { request_union }]);
    // It says no more, and stays.
    let requests = futures_util::StreamExt::chain(requests, futures_util::stream::pending());
    let mut stream =
        WatchClient::new(server.channel()).watch(requests).await.expect("a watch").into_inner();
    let mut events = 0;
    while events < 4 {
        let response = stream.message().await.expect("an answer").expect("another one");
        events += response.events.len();
    }
}
