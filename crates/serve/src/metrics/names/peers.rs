//! Names of what goes between members.

use super::{float, one, signed};
use crate::metrics::text::{Family, Page};
use server::Server;
use server::metrics::{Counter, Histogram, Metrics, PeerNumbers};
use std::sync::Arc;

pub(super) fn peers(page: &mut Page, server: &Server, metrics: &Metrics) {
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
