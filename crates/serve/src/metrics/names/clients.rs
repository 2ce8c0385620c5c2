//! Names of what watches and leases do.

use super::{float, signed};
use crate::metrics::text::Page;
use server::metrics::Metrics;

pub(super) fn watches(page: &mut Page, metrics: &Metrics) {
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
    ];
    for (name, help, gauge) in gauges {
        page.gauge(name, help, signed(gauge.get()));
    }
    page.gauge(
        "etcd_debugging_mvcc_pending_events_total",
        "Total number of pending events to be sent.",
        float(watches.pending()),
    );
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
            for (api, failures) in [
                ("lease-keepalive", metrics.leases.receive_failures.get()),
                ("watch", watches.receive_failures.get()),
            ] {
                if failures > 0 {
                    family.sample(&[("API", api), ("Type", "receive")], float(failures));
                }
            }
        },
    );
}

pub(super) fn leases(page: &mut Page, metrics: &Metrics) {
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
