//! One member in this process: what it is asked, and what is left after a restart.

use api::etcdserverpb::{
    AlarmRequest, AlarmType, CompactionRequest, DeleteRangeRequest, InternalRaftRequest,
    LeaseGrantRequest, PutRequest, TxnRequest, alarm_request::AlarmAction,
};
use apply::Reply;
use mvcc::{RangeQuery, Read as _};
use quorate_server::{Config, Error, Fatal, Server};
use std::path::Path;
use std::time::Duration;

fn config(dir: &Path) -> Config {
    Config {
        data_dir: dir.to_owned(),
        heartbeat_interval: Duration::from_millis(20),
        ..Config::default()
    }
}

async fn start(config: &Config) -> Server {
    let server = Server::start(config.clone()).await.expect("it starts");
    assert!(server.ready().await);
    server
}

fn put(key: &str, value: &str) -> InternalRaftRequest {
    let put = PutRequest {
        key: key.as_bytes().to_vec().into(),
        value: value.as_bytes().to_vec().into(),
        ..PutRequest::default()
    };
    InternalRaftRequest { put: Some(put), ..InternalRaftRequest::default() }
}

/// Keys and values that a linearizable read of everything finds.
async fn all(server: &Server) -> Vec<(String, String)> {
    server.linearizable().await.expect("it leads");
    let query = RangeQuery { key: "\0".into(), range_end: "\0".into(), ..RangeQuery::default() };
    let found = server.view().range(&query).expect("the present can be read");
    let text = |bytes: &bytes::Bytes| String::from_utf8_lossy(bytes).into_owned();
    let kvs = found.records.into_iter().map(apply::decode_record);
    kvs.map(|kv| (text(&kv.key), text(&kv.value))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_put_is_there_after_restarts_and_log_snapshots() {
    let dir = tempfile::tempdir().expect("a place for files");
    let config = Config {
        snapshot_count: 20,
        snapshot_catch_up_entries: 5,
        max_snapshots: 2,
        ..config(dir.path())
    };
    let mut want = Vec::new();
    for life in 0..4 {
        let server = start(&config).await;
        assert_eq!(all(&server).await, want, "in life {life}");
        for n in 0..70 {
            let (key, value) = (format!("k{life}-{n:02}"), format!("v{n}"));
            server.propose(put(&key, &value)).await.expect("it leads");
            want.push((key, value));
        }
        assert_eq!(all(&server).await, want);
        server.stop().await;
        let stopped = server.propose(put("late", "x")).await;
        assert_eq!(stopped, Err(Error::Api(api::Error::Stopped)));
    }
    // Whenever it was stopped, the next life removes what that one left.
    let server = start(&config).await;
    let snaps = || {
        let names = std::fs::read_dir(dir.path().join("member/snap")).expect("it is there");
        let names = names.map(|entry| entry.expect("readable").file_name());
        names.filter(|name| name.to_string_lossy().ends_with(".snap")).count()
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while snaps() != 2 {
        assert!(std::time::Instant::now() < deadline, "{} are there, not two", snaps());
        tokio::task::yield_now().await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_takes_its_keys_with_it() {
    let dir = tempfile::tempdir().expect("a place for files");
    let config = config(dir.path());
    let server = start(&config).await;
    let grant = LeaseGrantRequest { id: 7, ttl: 1 };
    let lease_grant = Some(grant);
    let granted = server
        .propose(InternalRaftRequest { lease_grant, ..Default::default() })
        .await
        .expect("it leads");
    assert!(matches!(granted, Reply::LeaseGrant(granted) if granted.ttl == 1));
    let mut leased = put("leased", "x");
    leased.put.as_mut().expect("a put").lease = 7;
    server.propose(leased).await.expect("the lease is there");
    server.propose(put("other", "y")).await.expect("it leads");
    assert_eq!(server.lease_renew(7).await, Ok(1));
    let times = server.lease_times(7, true).await.expect("it leads").expect("it is there");
    assert_eq!(times.keys, ["leased"]);
    while !server.leases().await.expect("it runs").is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(all(&server).await, [("other".to_owned(), "y".to_owned())]);
    assert_eq!(server.lease_times(7, true).await, Ok(None));
    let gone = server.lease_renew(7).await;
    assert_eq!(gone, Err(Error::Api(api::Error::LeaseNotFound)));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_space_stops_puts_until_the_alarm_is_off() {
    let dir = tempfile::tempdir().expect("a place for files");
    let config = Config { quota_bytes: Some(64 << 10), ..config(dir.path()) };
    let server = start(&config).await;
    let big = "x".repeat(8 << 10);
    let refused = loop {
        if let Err(error) = server.propose(put("k", &big)).await {
            break error;
        }
        // The quota is of what is in files.
        tokio::task::yield_now().await;
    };
    assert_eq!(refused, Error::Api(api::Error::NoSpace));
    while server.alarms().is_empty() {
        tokio::task::yield_now().await;
    }
    let empty_txn = InternalRaftRequest { txn: Some(TxnRequest::default()), ..Default::default() };
    server.propose(empty_txn).await.expect("it writes nothing");
    let small = server.propose(put("k", "")).await;
    assert_eq!(small, Err(Error::Api(api::Error::NoSpace)));
    let delete = DeleteRangeRequest { key: "k".into(), ..Default::default() };
    let delete = InternalRaftRequest { delete_range: Some(delete), ..Default::default() };
    server.propose(delete).await.expect("deletions go on");
    let alarm = AlarmRequest {
        action: AlarmAction::Deactivate as i32,
        member_id: server.id(),
        alarm: AlarmType::Nospace as i32,
    };
    server
        .propose(InternalRaftRequest { alarm: Some(alarm), ..Default::default() })
        .await
        .expect("alarms go on");
    assert!(server.alarms().is_empty());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_compaction_is_done_when_it_says_so_and_survives_a_restart() {
    let dir = tempfile::tempdir().expect("a place for files");
    let config = config(dir.path());
    let server = start(&config).await;
    for n in 0..50 {
        server.propose(put("k", &n.to_string())).await.expect("it leads");
    }
    let request = CompactionRequest { revision: 40, physical: true };
    let done = server.compact(request).await.expect("there is such a revision");
    assert_eq!(done.header.expect("filled").revision, 51);
    let again = server.compact(request).await;
    assert_eq!(again, Err(Error::Api(api::Error::Compacted)));
    let future = server.compact(CompactionRequest { revision: 99, physical: false }).await;
    assert_eq!(future, Err(Error::Api(api::Error::FutureRev)));
    let hash = server.view().hash_by_revision(0).expect("the present");
    server.stop().await;
    let server = start(&config).await;
    let old = RangeQuery { key: "k".into(), revision: 39, ..RangeQuery::default() };
    assert!(matches!(server.view().range(&old), Err(mvcc::Error::Compacted)));
    assert_eq!(server.view().hash_by_revision(0).expect("the present"), hash);
    server.stop().await;
}

#[tokio::test]
async fn requests_that_are_too_large_are_refused_before_the_log() {
    let dir = tempfile::tempdir().expect("a place for files");
    let config = Config { max_request_bytes: 1000, ..config(dir.path()) };
    let server = start(&config).await;
    let index = server.status().committed;
    let refused = server.propose(put("k", &"x".repeat(1000))).await;
    assert_eq!(refused, Err(Error::Api(api::Error::RequestTooLarge)));
    assert_eq!(server.status().committed, index);
    server.stop().await;
}

#[tokio::test]
async fn a_wrong_start_says_which_flag_is_wrong() {
    let dir = tempfile::tempdir().expect("a place for files");
    let config = Config { name: "other".to_owned(), ..config(dir.path()) };
    let error = Server::start(config).await.expect_err("nobody of this name");
    assert!(matches!(error, Fatal::Config { field: "initial-cluster", .. }), "{error}");
    let etcds = "couldn't find local name \"other\" in the initial cluster configuration";
    assert_eq!(error.to_string(), etcds);
}
