//! The names of a member's own numbers, in the order of etcd's packages.

use super::RUNTIME;
use super::text::{Family, Page};
use api::etcdserverpb::AlarmType;
use api::version::VERSION;
use apply::Op;
use mvcc::{KeyRange, Read as _};
use server::Server;
use server::metrics::{ByOp, Counter, Histogram, Metrics, Outcomes, PeerNumbers};
use std::sync::Arc;

/// The gates of etcd's features, with what they are here. None can be set yet.
const FEATURES: [(&str, &str, f64); 11] = [
    ("AllAlpha", "ALPHA", 0.0),
    ("AllBeta", "BETA", 0.0),
    ("CompactHashCheck", "ALPHA", 0.0),
    ("FastLeaseKeepAlive", "BETA", 1.0),
    ("InitialCorruptCheck", "ALPHA", 0.0),
    ("LeaseCheckpoint", "ALPHA", 0.0),
    ("LeaseCheckpointPersist", "ALPHA", 0.0),
    ("PriorityRequest", "ALPHA", 0.0),
    ("SetMemberLocalAddr", "ALPHA", 0.0),
    ("StopGRPCServiceOnDefrag", "ALPHA", 0.0),
    ("TxnModeWriteWithSharedBuffer", "BETA", 1.0),
];

pub(super) fn render(page: &mut Page, server: &Server) {
    let metrics = server.metrics();
    members(page, server, metrics);
    raft(page, server, metrics);
    disk(page, metrics);
    keys(page, server, metrics);
    watches(page, metrics);
    leases(page, metrics);
    peers(page, server, metrics);
    unused(page);
}

fn one(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}

fn members(page: &mut Page, server: &Server, metrics: &Metrics) {
    let (cluster, status) = (server.cluster(), server.status());
    page.family(
        "etcd_cluster_version",
        "gauge",
        "Which version is running. 1 for 'cluster_version' label with current cluster version",
        |family| {
            if let Some(version) = cluster.version() {
                let text = version.to_string();
                // Major and minor.
                let short = text.rsplit_once('.').map_or(&*text, |(short, _)| short);
                family.sample(&[("cluster_version", short)], 1.0);
            }
        },
    );
    page.family(
        "etcd_server_version",
        "gauge",
        "Which version is running. 1 for 'server_version' label with current version.",
        |family| family.sample(&[("server_version", VERSION)], 1.0),
    );
    page.family(
        "etcd_server_go_version",
        "gauge",
        "Which Go version server is running with. 1 for 'server_go_version' label with current version.",
        |family| family.sample(&[("server_go_version", RUNTIME)], 1.0),
    );
    page.family(
        "etcd_server_id",
        "gauge",
        "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.",
        |family| family.sample(&[("server_id", &member::format_id(server.id()))], 1.0),
    );
    page.family(
        "etcd_server_feature_enabled",
        "gauge",
        "Whether or not a feature is enabled. 1 is enabled, 0 is not.",
        |family| {
            for (name, stage, enabled) in FEATURES {
                family.sample(&[("name", name), ("stage", stage)], enabled);
            }
        },
    );
    page.gauge(
        "etcd_server_is_learner",
        "Whether or not this member is a learner. 1 if is, 0 otherwise.",
        one(status.is_learner),
    );
    page.counter(
        "etcd_server_learner_promote_successes",
        "The total number of successful learner promotions while this member is leader.",
        metrics.promotions.get(),
    );
    page.family(
        "etcd_server_learner_promote_failures",
        "counter",
        "The total number of failed learner promotions (likely learner not ready) while this member is leader.",
        |family| {
            for (reason, count) in metrics.promotion_failures() {
                family.sample(&[("Reason", &reason)], float(count));
            }
        },
    );
    page.family(
        "etcd_debugging_server_alarms",
        "gauge",
        "Alarms for every member in cluster. 1 for 'server_id' label with current ID. 2 for 'alarm_type' label with type of this alarm",
        |family| {
            let alarms = server.alarms();
            // Compat: one that is off again is shown as 0.
            for (member, kind) in metrics.alarms() {
                let on = alarms.iter().any(|its| (its.member_id, its.alarm) == (member, kind));
                let name = AlarmType::try_from(kind).map(|kind| kind.as_str_name());
                let (name, id) = (name.unwrap_or("UNKNOWN"), member::format_id(member));
                family.sample(&[("alarm_type", name), ("server_id", &id)], one(on));
            }
        },
    );
}

fn raft(page: &mut Page, server: &Server, metrics: &Metrics) {
    let status = server.status();
    page.gauge(
        "etcd_server_has_leader",
        "Whether or not a leader exists. 1 is existence, 0 is not.",
        one(status.lead != 0),
    );
    page.gauge(
        "etcd_server_is_leader",
        "Whether or not this member is a leader. 1 if is, 0 otherwise.",
        one(server.leads()),
    );
    let counters: [(_, _, &Counter); 6] = [
        (
            "etcd_server_leader_changes_seen_total",
            "The number of leader changes seen.",
            &metrics.leader_changes,
        ),
        (
            "etcd_server_heartbeat_send_failures_total",
            "The total number of leader heartbeat send failures (likely overloaded from slow disk).",
            &metrics.late_heartbeats,
        ),
        (
            "etcd_server_proposals_failed_total",
            "The total number of failed proposals seen.",
            &metrics.proposals_failed,
        ),
        (
            "etcd_server_slow_apply_total",
            "The total number of slow apply requests (likely overloaded from slow disk).",
            &metrics.slow_applies,
        ),
        (
            "etcd_server_slow_read_indexes_total",
            "The total number of pending read indexes not in sync with leader's or timed out read index requests.",
            &metrics.reads_slow,
        ),
        (
            "etcd_server_read_indexes_failed_total",
            "The total number of failed read indexes seen.",
            &metrics.reads_failed,
        ),
    ];
    for (name, help, counter) in counters {
        page.counter(name, help, counter.get());
    }
    page.gauge(
        "etcd_server_proposals_committed_total",
        "The total number of consensus proposals committed.",
        float(status.committed),
    );
    page.gauge(
        "etcd_server_proposals_applied_total",
        "The total number of consensus proposals applied.",
        float(status.applied),
    );
    page.gauge(
        "etcd_server_proposals_pending",
        "The current number of pending proposals to commit.",
        float(server.pending() as u64),
    );
    page.gauge(
        "etcd_server_snapshot_apply_in_progress_total",
        "1 if the server is applying the incoming snapshot. 0 if none.",
        signed(metrics.snapshot_applying.get()),
    );
    page.family(
        "etcd_server_apply_duration_seconds",
        "histogram",
        "The latency distributions of v2 apply called by backend.",
        |family| by_op(family, "op", &metrics.applies, Some("v3")),
    );
    page.family(
        "etcd_server_range_duration_seconds",
        "histogram",
        "The latency distributions of txn.Range",
        |family| {
            outcomes(&metrics.ranges, |success, histogram| {
                family.histogram(&[("success", success)], histogram);
            });
        },
    );
    page.family(
        "etcd_server_request_duration_seconds",
        "histogram",
        "Response latency distribution in seconds for each type.",
        |family| {
            by_op(family, "type", &metrics.requests, None);
            outcomes(&metrics.read_only_txns, |success, histogram| {
                family.histogram(&[("success", success), ("type", "ReadonlyTxn")], histogram);
            });
        },
    );
}

/// Those that were observed.
fn by_op(family: &mut Family, label: &str, all: &ByOp, version: Option<&str>) {
    for op in Op::ALL {
        outcomes(all.of(*op), |success, histogram| {
            let mut labels = vec![(label, op.name()), ("success", success)];
            labels.extend(version.map(|version| ("version", version)));
            labels.sort_unstable();
            family.histogram(&labels, histogram);
        });
    }
}

fn outcomes(outcomes: &Outcomes, mut show: impl FnMut(&str, &Histogram)) {
    for (success, histogram) in [("true", &outcomes.good), ("false", &outcomes.bad)] {
        if histogram.read().count > 0 {
            show(success, histogram);
        }
    }
}

fn disk(page: &mut Page, metrics: &Metrics) {
    let histograms: [(_, _, &Histogram); 12] = [
        (
            "etcd_disk_wal_fsync_duration_seconds",
            "The latency distributions of fsync called by WAL.",
            &metrics.log.syncs,
        ),
        (
            "etcd_disk_wal_write_duration_seconds",
            "The latency distributions of write called by WAL.",
            &metrics.log.writes,
        ),
        (
            "etcd_disk_backend_commit_duration_seconds",
            "The latency distributions of commit called by backend.",
            &metrics.store.syncs,
        ),
        (
            "etcd_debugging_disk_backend_commit_write_duration_seconds",
            "The latency distributions of commit.write called by bboltdb backend.",
            &metrics.store.writes,
        ),
        (
            "etcd_disk_backend_snapshot_duration_seconds",
            "The latency distribution of backend snapshots.",
            &metrics.images,
        ),
        (
            "etcd_snap_fsync_duration_seconds",
            "The latency distributions of fsync called by snap.",
            &metrics.snapshots.syncs,
        ),
        (
            "etcd_snap_db_fsync_duration_seconds",
            "The latency distributions of fsyncing .snap.db file",
            &metrics.databases.syncs,
        ),
        (
            "etcd_snap_db_save_total_duration_seconds",
            "The total latency distributions of v3 snapshot save",
            &metrics.database_saves,
        ),
        (
            "etcd_debugging_snap_save_total_duration_seconds",
            "The total latency distributions of save called by snapshot.",
            &metrics.snapshot_saves,
        ),
        (
            "etcd_debugging_snap_save_marshalling_duration_seconds",
            "The marshalling cost distributions of save called by snapshot.",
            &metrics.snapshot_encodes,
        ),
        (
            "etcd_mvcc_hash_rev_duration_seconds",
            "The latency distribution of storage hash by revision operation.",
            &metrics.hashes,
        ),
        (
            "etcd_mvcc_hash_duration_seconds",
            "The latency distribution of storage hash operation.",
            &metrics.whole_hashes,
        ),
    ];
    for (name, help, histogram) in histograms {
        page.histogram(name, help, histogram);
    }
    page.gauge(
        "etcd_disk_wal_write_bytes_total",
        "Total number of bytes written in WAL.",
        float(metrics.log.written_bytes.get()),
    );
}

fn keys(page: &mut Page, server: &Server, metrics: &Metrics) {
    let (view, status) = (server.view(), server.status());
    let both = |applied: &Counter, read: &Counter| applied.get() + read.get();
    let (applied, read) = (&metrics.applied, &metrics.read);
    let counters = [
        (
            "etcd_mvcc_range_total",
            "Total number of ranges seen by this member.",
            both(&applied.ranges, &read.ranges),
        ),
        ("etcd_mvcc_put_total", "Total number of puts seen by this member.", applied.puts.get()),
        (
            "etcd_mvcc_delete_total",
            "Total number of deletes seen by this member.",
            applied.deletes.get(),
        ),
        (
            "etcd_mvcc_txn_total",
            "Total number of txns seen by this member.",
            both(&applied.txns, &read.txns),
        ),
        (
            "etcd_debugging_mvcc_db_compaction_keys_total",
            "Total number of db keys compacted.",
            metrics.compactions.revisions.get(),
        ),
    ];
    for (name, help, number) in counters {
        page.counter(name, help, number);
    }
    let quota = server.config().quota_bytes.map_or(-1.0, float);
    let gauges = [
        (
            "etcd_mvcc_db_total_size_in_bytes",
            "Total size of the underlying database physically allocated in bytes.",
            float(status.size_bytes),
        ),
        (
            "etcd_mvcc_db_total_size_in_use_in_bytes",
            "Total size of the underlying database logically in use in bytes.",
            float(status.in_use_bytes),
        ),
        (
            "etcd_mvcc_db_open_read_transactions",
            "The number of currently open read transactions",
            signed(metrics.images_open.get()),
        ),
        ("etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes.", quota),
        (
            "etcd_debugging_mvcc_current_revision",
            "The current revision of store.",
            signed(view.revision()),
        ),
        (
            "etcd_debugging_mvcc_compact_revision",
            "The revision of the last compaction in store.",
            signed(view.compact_revision()),
        ),
        (
            "etcd_debugging_mvcc_keys_total",
            "Total number of keys.",
            signed(view.count(KeyRange::From(b""))),
        ),
        (
            "etcd_debugging_mvcc_total_put_size_in_bytes",
            "The total size of put kv pairs seen by this member.",
            float(applied.put_bytes.get()),
        ),
        (
            "etcd_debugging_mvcc_db_compaction_last",
            "The unix time of the last db compaction. Resets to 0 on start.",
            signed(metrics.compactions.last.get()),
        ),
    ];
    for (name, help, number) in gauges {
        page.gauge(name, help, number);
    }
    page.histogram(
        "etcd_debugging_mvcc_index_compaction_pause_duration_milliseconds",
        "Bucketed histogram of index compaction pause duration.",
        &metrics.compactions.pauses_max,
    );
    page.histogram(
        "etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
        "Bucketed histogram of db compaction pause duration.",
        &metrics.compactions.pauses,
    );
    page.histogram(
        "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
        "Bucketed histogram of db compaction total duration.",
        &metrics.compactions.totals,
    );
}

fn watches(page: &mut Page, metrics: &Metrics) {
    let watches = &metrics.watches;
    let gauges = [
        (
            "etcd_debugging_mvcc_watch_stream_total",
            "Total number of watch streams.",
            &watches.streams,
        ),
        ("etcd_debugging_mvcc_watcher_total", "Total number of watchers.", &watches.watchers),
        (
            "etcd_debugging_mvcc_slow_watcher_total",
            "Total number of unsynced slow watchers.",
            &watches.behind,
        ),
        (
            "etcd_debugging_mvcc_pending_events_total",
            "Total number of pending events to be sent.",
            &watches.pending,
        ),
    ];
    for (name, help, gauge) in gauges {
        page.gauge(name, help, signed(gauge.get()));
    }
    page.counter(
        "etcd_debugging_mvcc_events_total",
        "Total number of events sent by this member.",
        watches.events.get(),
    );
    let histograms = [
        (
            "etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds",
            "The total duration in seconds of running through the send loop watch stream response all events.",
            &watches.event_sends,
        ),
        (
            "etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds",
            "The average duration in seconds of running through the send loop watch stream response, per event.",
            &watches.event_sends_each,
        ),
        (
            "etcd_debugging_server_watch_send_loop_control_stream_duration_seconds",
            "The total duration in seconds of running through the send loop control stream response.",
            &watches.control_sends,
        ),
        (
            "etcd_debugging_server_watch_send_loop_progress_duration_seconds",
            "The total duration in seconds of running through the progress loop control stream response.",
            &watches.progress_sends,
        ),
    ];
    for (name, help, histogram) in histograms {
        page.histogram(name, help, histogram);
    }
    page.family(
        "etcd_network_server_stream_failures_total",
        "counter",
        "The total number of stream failures from the local server.",
        |family| {
            let failures = watches.receive_failures.get();
            if failures > 0 {
                family.sample(&[("API", "watch"), ("Type", "receive")], float(failures));
            }
        },
    );
}

fn leases(page: &mut Page, metrics: &Metrics) {
    let leases = &metrics.leases;
    let counters = [
        (
            "etcd_debugging_lease_granted_total",
            "The total number of granted leases.",
            &leases.granted,
        ),
        (
            "etcd_debugging_lease_revoked_total",
            "The total number of revoked leases.",
            &leases.revoked,
        ),
        (
            "etcd_debugging_lease_renewed_total",
            "The number of renewed leases seen by the leader.",
            &leases.renewed,
        ),
        (
            "etcd_debugging_server_lease_expired_total",
            "The total number of expired leases.",
            &leases.expired,
        ),
    ];
    for (name, help, counter) in counters {
        page.counter(name, help, counter.get());
    }
    page.histogram(
        "etcd_debugging_lease_ttl_total",
        "Bucketed histogram of lease TTLs.",
        &leases.ttls,
    );
}

fn peers(page: &mut Page, server: &Server, metrics: &Metrics) {
    let local = member::format_id(server.id());
    page.family(
        "etcd_network_known_peers",
        "gauge",
        "The current number of known peers.",
        |family| {
            for member in server.cluster().members() {
                let remote = member::format_id(member.id);
                family.sample(&[("Local", &local), ("Remote", &remote)], 1.0);
            }
        },
    );
    page.family(
        "etcd_network_active_peers",
        "gauge",
        "The current number of active peer connections.",
        |family| {
            for (id, active) in server.peers() {
                let remote = member::format_id(id);
                family.sample(&[("Local", &local), ("Remote", &remote)], one(active));
            }
        },
    );
    let all = metrics.peers.all();
    page.family(
        "etcd_network_disconnected_peers_total",
        "counter",
        "The total number of disconnected peers.",
        |family| {
            for (id, numbers) in &all {
                let (remote, lost) = (member::format_id(*id), numbers.lost.get());
                if lost > 0 {
                    family.sample(&[("Local", &local), ("Remote", &remote)], float(lost));
                }
            }
        },
    );
    peer_counters(page, &all);
    peer_snapshots(page, &all);
    page.family(
        "etcd_network_peer_round_trip_time_seconds",
        "histogram",
        "Round-Trip-Time histogram between peers",
        |family| peer_histogram(family, "To", &all, |numbers| &numbers.round_trips),
    );
}

type Peers = [(u64, Arc<PeerNumbers>)];

fn peer_counters(page: &mut Page, all: &Peers) {
    type Count = fn(&PeerNumbers) -> &Counter;
    let counters: [(_, _, _, Count); 8] = [
        (
            "etcd_network_peer_sent_bytes_total",
            "The total number of bytes sent to peers.",
            "To",
            |numbers| &numbers.sent_bytes,
        ),
        (
            "etcd_network_peer_received_bytes_total",
            "The total number of bytes received from peers.",
            "From",
            |numbers| &numbers.received_bytes,
        ),
        (
            "etcd_network_peer_sent_failures_total",
            "The total number of send failures from peers.",
            "To",
            |numbers| &numbers.send_failures,
        ),
        (
            "etcd_network_peer_received_failures_total",
            "The total number of receive failures from peers.",
            "From",
            |numbers| &numbers.receive_failures,
        ),
        (
            "etcd_network_snapshot_send_success",
            "Total number of successful snapshot sends",
            "To",
            |numbers| &numbers.snapshots_sent,
        ),
        (
            "etcd_network_snapshot_send_failures",
            "Total number of snapshot send failures",
            "To",
            |numbers| &numbers.snapshot_send_failures,
        ),
        (
            "etcd_network_snapshot_receive_success",
            "Total number of successful snapshot receives",
            "From",
            |numbers| &numbers.snapshots_received,
        ),
        (
            "etcd_network_snapshot_receive_failures",
            "Total number of snapshot receive failures",
            "From",
            |numbers| &numbers.snapshot_receive_failures,
        ),
    ];
    for (name, help, label, count) in counters {
        page.family(name, "counter", help, |family| {
            for (id, numbers) in all {
                let count = count(numbers).get();
                if count > 0 {
                    family.sample(&[(label, &member::format_id(*id))], float(count));
                }
            }
        });
    }
}

fn peer_snapshots(page: &mut Page, all: &Peers) {
    // Compat: shown once there was one.
    let sends =
        |numbers: &PeerNumbers| numbers.snapshots_sent.get() + numbers.snapshot_send_failures.get();
    let receives = |numbers: &PeerNumbers| {
        numbers.snapshots_received.get() + numbers.snapshot_receive_failures.get()
    };
    page.family(
        "etcd_network_snapshot_send_inflights_total",
        "gauge",
        "Total number of inflight snapshot sends",
        |family| {
            for (id, numbers) in all {
                let now = numbers.snapshots_being_sent.get();
                if now > 0 || sends(numbers) > 0 {
                    family.sample(&[("To", &member::format_id(*id))], signed(now));
                }
            }
        },
    );
    page.family(
        "etcd_network_snapshot_receive_inflights_total",
        "gauge",
        "Total number of inflight snapshot receives",
        |family| {
            for (id, numbers) in all {
                let now = numbers.snapshots_being_received.get();
                if now > 0 || receives(numbers) > 0 {
                    family.sample(&[("From", &member::format_id(*id))], signed(now));
                }
            }
        },
    );
    page.family(
        "etcd_network_snapshot_send_total_duration_seconds",
        "histogram",
        "Total latency distributions of v3 snapshot sends",
        |family| peer_histogram(family, "To", all, |numbers| &numbers.snapshot_sends),
    );
    page.family(
        "etcd_network_snapshot_receive_total_duration_seconds",
        "histogram",
        "Total latency distributions of v3 snapshot receives",
        |family| peer_histogram(family, "From", all, |numbers| &numbers.snapshot_receives),
    );
}

fn peer_histogram(
    family: &mut Family,
    label: &str,
    all: &Peers,
    of: impl Fn(&PeerNumbers) -> &Histogram,
) {
    for (id, numbers) in all {
        if of(numbers).read().count > 0 {
            family.histogram(&[(label, &member::format_id(*id))], of(numbers));
        }
    }
}

/// What has nothing to count here: what is not built yet, and what this store does not do.
fn unused(page: &mut Page) {
    let gauges = [
        // Compat: 1 until users are made.
        ("etcd_debugging_auth_revision", "The current revision of auth store.", 1.0),
        ("etcd_debugging_store_watchers", "Count of currently active watchers.", 0.0),
        (
            "etcd_disk_defrag_inflight",
            "Whether or not defrag is active on the member. 1 means active, 0 means not.",
            0.0,
        ),
        ("etcd_grpc_proxy_cache_hits_total", "Total number of cache hits", 0.0),
        ("etcd_grpc_proxy_cache_keys_total", "Total number of keys/ranges cached", 0.0),
        ("etcd_grpc_proxy_cache_misses_total", "Total number of cache misses", 0.0),
        (
            "etcd_grpc_proxy_watchers_coalescing_total",
            "Total number of current watchers coalescing",
            0.0,
        ),
    ];
    for (name, help, number) in gauges {
        page.gauge(name, help, number);
    }
    let counters = [
        ("etcd_debugging_store_expires_total", "Total number of expired keys."),
        (
            "etcd_debugging_store_watch_requests_total",
            "Total number of incoming watch requests (new or reestablished).",
        ),
        ("etcd_grpc_proxy_events_coalescing_total", "Total number of events coalescing"),
    ];
    for (name, help) in counters {
        page.counter(name, help, 0);
    }
    let millis = std::time::Duration::from_millis;
    let histograms = [
        (
            "etcd_debugging_disk_backend_commit_rebalance_duration_seconds",
            "The latency distributions of commit.rebalance called by bboltdb backend.",
            Histogram::seconds(millis(1), 14),
        ),
        (
            "etcd_debugging_disk_backend_commit_spill_duration_seconds",
            "The latency distributions of commit.spill called by bboltdb backend.",
            Histogram::seconds(millis(1), 14),
        ),
        (
            "etcd_disk_backend_defrag_duration_seconds",
            "The latency distribution of backend defragmentation.",
            Histogram::seconds(millis(100), 13),
        ),
    ];
    for (name, help, histogram) in &histograms {
        page.histogram(name, help, histogram);
    }
}

#[allow(clippy::cast_precision_loss, reason = "what is shown is a float")]
fn float(number: u64) -> f64 {
    number as f64
}

#[allow(clippy::cast_precision_loss, reason = "what is shown is a float")]
fn signed(number: i64) -> f64 {
    number as f64
}
