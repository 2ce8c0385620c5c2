//! The names of a member's own numbers, a file for each part of it.

mod clients;
mod peers;
mod store;
mod unused;

use super::RUNTIME;
use super::text::{Family, Page};
use api::etcdserverpb::AlarmType;
use api::version::VERSION;
use apply::Op;
use server::Server;
use server::metrics::{ByOp, Counter, Histogram, Metrics, Outcomes};

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
    store::disk(page, metrics);
    store::keys(page, server, metrics);
    clients::watches(page, metrics);
    clients::leases(page, metrics);
    peers::peers(page, server, metrics);
    unused::unused(page);
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

fn one(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}

#[allow(clippy::cast_precision_loss, reason = "what is shown is a float")]
fn float(number: u64) -> f64 {
    number as f64
}

#[allow(clippy::cast_precision_loss, reason = "what is shown is a float")]
fn signed(number: i64) -> f64 {
    number as f64
}
