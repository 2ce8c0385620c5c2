//! Which values are taken, and what is said of others.

use super::*;
use crate::config::{Asked, parse};

fn raw(line: &str) -> Raw {
    match parse(line.split_whitespace().map(str::to_owned), []).expect("flags of the table") {
        Asked::Run(raw) => raw,
        other => panic!("{line}: {other:?}"),
    }
}

fn checked(line: &str) -> Result<Checked, ConfigError> {
    check(&raw(line))
}

fn config(line: &str) -> Config {
    checked(line).unwrap_or_else(|error| panic!("{line}: {error}")).config
}

#[test]
fn defaults_are_a_member_alone() {
    let checked = checked("").expect("defaults work");
    assert_eq!(checked.config, Config::default());
    assert_eq!(checked.client_urls[0].address.authority(), "127.0.0.1:2379");
    assert!(!checked.lock_memory);
    assert_eq!((checked.http_urls.len(), checked.metrics_urls.len()), (0, 0));
    assert_eq!(checked.access, Access { hosts: set("*"), origins: set("*") });
    assert!(check(&raw("--memory-mlock")).expect("it works").lock_memory);
}

#[test]
fn limits_of_connections() {
    let of = |line: &str| {
        let limits = checked(line).unwrap_or_else(|error| panic!("{line}: {error}")).http2;
        let times =
            [limits.keepalive_min_time, limits.keepalive_interval, limits.keepalive_timeout];
        (limits.max_concurrent_streams, times.map(|time| time.as_millis()))
    };
    assert_eq!(of(""), (u32::MAX, [5_000, 7_200_000, 20_000]));
    let line = "--max-concurrent-streams=7 --grpc-keepalive-min-time=1ms \
                --grpc-keepalive-interval=3s --grpc-keepalive-timeout=4ms";
    assert_eq!(of(line), (7, [1, 3_000, 4]));
    let none = "--max-concurrent-streams=0 --grpc-keepalive-min-time=0 \
                --grpc-keepalive-interval=3s --grpc-keepalive-timeout=-1s";
    assert_eq!(of(none), (u32::MAX, [300_000, 7_200_000, 20_000]));
    assert_eq!(of("--grpc-keepalive-interval=1ms").1[1], 1_000);
}

#[test]
fn http_is_told_where_and_for_whom() {
    let line = "--listen-client-http-urls=http://127.0.0.1:1 --metrics=extensive \
                --listen-metrics-urls=http://127.0.0.1:2,http://localhost:3 \
                --host-whitelist=a.example,b.example --cors=http://a.example:80 \
                --warning-apply-duration=1s --warning-unary-request-duration=1us";
    let checked = checked(line).expect("all works");
    let addresses = |urls: &[Url]| -> Vec<_> {
        urls.iter().map(|url| url.address.authority().to_owned()).collect()
    };
    assert_eq!(addresses(&checked.http_urls), ["127.0.0.1:1"]);
    assert_eq!(addresses(&checked.metrics_urls), ["127.0.0.1:2", "127.0.0.1:3"]);
    assert!(checked.extensive_metrics);
    assert_eq!(checked.access.hosts, set("a.example,b.example"));
    assert_eq!(checked.access.origins, set("http://a.example:80"));
    assert_eq!(checked.config.warning_apply, Duration::from_secs(1));
    assert_eq!(checked.config.warning_request, Duration::from_micros(1));
}

#[test]
fn timeouts_between_members_are_never_below_the_default() {
    let config = checked("--raft-read-timeout=-1s --raft-write-timeout=7s").expect("both").config;
    assert_eq!(config.raft_read_timeout, Duration::from_secs(5));
    assert_eq!(config.raft_write_timeout, Duration::from_secs(7));
}

#[test]
fn values_that_do_not_work_are_named() {
    let check = |line: &str, want: &str| {
        assert_eq!(checked(line).map_err(|error| error.name), Err(want), "{line}");
    };
    check("--election-timeout=400", "election-timeout");
    check("--election-timeout=50001", "election-timeout");
    check("--heartbeat-interval=0", "heartbeat-interval");
    check("--listen-client-urls=http://127.0.0.1:1", "advertise-client-urls");
    check("--listen-peer-urls=https://example.com:1", "listen-peer-urls");
    check("--listen-peer-urls=http://example.com:1", "listen-peer-urls");
    check("--initial-cluster=a=b", "initial-cluster");
    check("--initial-advertise-peer-urls=http://:1", "initial-advertise-peer-urls");
    check("--advertise-client-urls=http://:1", "advertise-client-urls");
    check("--compaction-sleep-interval=-1s", "compaction-sleep-interval");
    check("--compaction-batch-limit=-1", "compaction-batch-limit");
    check("--max-learners=-1", "max-learners");
    check("--auto-compaction-mode=x", "auto-compaction-mode");
    check("--auto-compaction-retention=x", "auto-compaction-retention");
    check("--auto-compaction-retention=-1h", "auto-compaction-retention");
    check("--feature-gates=LeaseCheckpoint=true", "feature-gates");
    check("--discovery-fallback=proxy", "discovery-fallback");
    check("--metrics=some", "metrics");
    check("--listen-metrics-urls=http://example.com:1", "listen-metrics-urls");
    check("--listen-client-http-urls=http://localhost:2379", "listen-client-http-urls");
    check("--cors=a.example", "cors");
}

#[test]
fn every_row_is_read() {
    let default = Config::default();
    let check = |line: &str, change: &dyn Fn(&mut Config)| {
        let mut want = default.clone();
        change(&mut want);
        assert_eq!(config(line), want, "{line}");
    };
    let millis = Duration::from_millis;
    check("--data-dir=d", &|c| c.data_dir = "d".into());
    check("--wal-dir=w", &|c| c.wal_dir = Some("w".into()));
    check("--snapshot-count=7", &|c| c.snapshot_count = 7);
    check("--snapshot-catchup-entries=7", &|c| c.snapshot_catch_up_entries = 7);
    check("--heartbeat-interval=50", &|c| {
        (c.heartbeat_interval, c.election_ticks) = (millis(50), 20);
    });
    check("--election-timeout=500", &|c| c.election_ticks = 5);
    check("--initial-election-tick-advance=false", &|c| {
        c.initial_election_tick_advance = false;
    });
    check("--max-snapshots=0", &|c| c.max_snapshots = usize::MAX);
    check("--max-wals=3", &|c| c.max_wals = 3);
    check("--quota-backend-bytes=5", &|c| c.quota_bytes = Some(5));
    check("--quota-backend-bytes=-1", &|c| c.quota_bytes = None);
    check("--backend-batch-interval=1s", &|c| c.store_sync_period = millis(1000));
    check("--backend-batch-limit=5", &|c| c.store_sync_records = 5);
    check("--max-txn-ops=5", &|c| c.max_txn_ops = 5);
    check("--max-request-bytes=5", &|c| c.max_request_bytes = 5);
    check("--initial-cluster-state=existing", &|c| c.new_cluster = false);
    check("--initial-cluster-token=t", &|c| c.initial_cluster_token = "t".into());
    check("--advertise-client-urls=http://a:1", &|c| {
        c.advertise_client_urls = vec!["http://a:1".into()];
    });
    check("--strict-reconfig-check=false", &|c| c.strict_reconfig_check = false);
    check("--pre-vote=false", &|c| c.pre_vote = false);
    check("--max-learners=2", &|c| c.max_learners = 2);
    check("--compaction-batch-limit=5", &|c| c.compaction_batch = 5);
    check("--compaction-sleep-interval=5ms", &|c| c.compaction_pause = millis(5));
    check("--watch-progress-notify-interval=1s", &|c| c.watch_progress_interval = millis(1000));
    check("--watch-progress-notify-interval=1ms", &|c| c.watch_progress_interval = millis(100));
    check("--bootstrap-defrag-threshold-megabytes=2", &|c| {
        c.defragment_at_start = Some(2 << 20);
    });
    check("--unsafe-no-fsync", &|c| c.unsafe_no_fsync = true);
    check("--auto-compaction-mode=revision --auto-compaction-retention=9", &|c| {
        c.auto_compaction = Some(AutoCompaction::Revision(9));
    });
    check("--auto-compaction-retention=2", &|c| {
        c.auto_compaction = Some(AutoCompaction::Periodic(millis(7_200_000)));
    });
    check("--auto-compaction-retention=5m", &|c| {
        c.auto_compaction = Some(AutoCompaction::Periodic(millis(300_000)));
    });
    check("--v2-deprecation=gone --logger=zap --feature-gates=AllAlpha=false", &|_| {});
}

#[test]
fn a_member_alone_is_in_its_initial_cluster() {
    let urls = |line: &str| config(line).initial_cluster.urls;
    let of = |name: &str, url: &str| [(name.to_owned(), vec![url.to_owned()])].into();
    assert_eq!(urls(""), of("default", "http://localhost:2380"));
    let line = "--name=m --initial-advertise-peer-urls=http://a:1";
    assert_eq!(urls(line), of("m", "http://a:1"));
    // Compat: the default name keeps the default list.
    let line = "--initial-advertise-peer-urls=http://a:1";
    assert_eq!(urls(line), of("default", "http://localhost:2380"));
    assert_eq!(urls("--name=m --initial-cluster=x=http://b:2"), of("x", "http://b:2"));
}
