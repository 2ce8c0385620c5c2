//! Names of what the disk and the keys do.

use super::{float, signed};
use crate::metrics::text::Page;
use mvcc::{KeyRange, Read as _};
use server::Server;
use server::metrics::{Counter, Histogram, Metrics};

pub(super) fn disk(page: &mut Page, metrics: &Metrics) {
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

pub(super) fn keys(page: &mut Page, server: &Server, metrics: &Metrics) {
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
