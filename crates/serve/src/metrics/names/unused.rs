//! Names of what an etcd counts that has nothing to do here: its other store, bbolt's work, its
//! proxy; and of what is not built yet.

use crate::metrics::text::Page;
use server::metrics::Histogram;

/// What has nothing to count here: what is not built yet, and what this store does not do.
pub(super) fn unused(page: &mut Page) {
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
