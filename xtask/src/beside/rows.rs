//! What is compared: the loads, and what they must come to.
//!
//! The lines are those of `cargo xtask evidence`. A load is the load tool's command line; seconds,
//! rate, endpoint and the server's process are added to it.

use super::figures::{
    ANON, ANON_AFTER, CALLS, CORES, CPU, EVENTS, Figure, ONCE, OPEN, P50, P99, PEAK, WRITTEN, shown,
};

/// One load.
#[derive(Debug)]
pub struct Row {
    /// The must-show line that it belongs to.
    pub line: &'static str,
    pub name: &'static str,
    pub title: &'static str,
    /// Loads that come before, on the same server.
    pub prepare: &'static [&'static str],
    pub load: &'static str,
    pub way: Way,
    /// Makes the load open: its rate is so much of the highest that etcd keeps up with.
    pub rate_share: Option<f64>,
    /// Whether the empty server can answer it.
    pub has_ceiling: bool,
    /// What it is about.
    pub figures: &'static [Figure],
    /// What is shown beside that, each only if it is not there already.
    pub also: &'static [Figure],
}

/// How a load meets its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The server is there.
    Running,
    /// The same, every one of its syncs delayed.
    SlowDisk,
    /// The load tool starts it. What was prepared was prepared by one before it on the same folder,
    /// which was asked to stop, or killed.
    Started { killed: bool },
}

impl Row {
    /// Everything that is shown.
    pub fn shown(&self) -> impl Iterator<Item = &Figure> {
        let also = self.also.iter();
        let also = also.filter(|also| self.figures.iter().all(|figure| figure.at != also.at));
        self.figures.iter().chain(also)
    }
}

/// Before anything is measured.
pub const WARMUP_SECONDS: u32 = 1;

/// 10,000 keys, for what reads.
const KEYS: &str = "put --batch 100 --total 10000 --sequential-keys --key-space-size 10000 \
                    --val-size 256 --conns 1 --clients 1";

/// 1,000,000 keys, all below one prefix.
const MILLION_BELOW: &str = "put --batch 100 --total 1000000 --sequential-keys --prefix list/ \
                             --key-space-size 1000000 --val-size 256 --conns 4 --clients 16";

/// The same without the prefix.
const MILLION: &str = "put --batch 100 --total 1000000 --sequential-keys \
                       --key-space-size 1000000 --val-size 256 --conns 4 --clients 16";

/// 1,000,000 revisions of 10,000 keys: a compaction drops 99 of 100.
const REVISIONS: &str = "put --batch 100 --total 1000000 --sequential-keys \
                         --key-space-size 10000 --val-size 256 --conns 4 --clients 16";

/// What a row is if nothing else is said.
const ROW: Row = Row {
    line: "",
    name: "",
    title: "",
    prepare: &[],
    load: "",
    way: Way::Running,
    rate_share: None,
    has_ceiling: false,
    figures: &[],
    also: CALLS,
};

/// Every row, by line.
pub const ROWS: &[Row] = &[
    Row {
        line: "5.1",
        name: "put",
        title: "put of 256 bytes, 500 clients on 100 connections",
        load: "put --conns 100 --clients 500 --key-space-size 100000 --val-size 256",
        has_ceiling: true,
        figures: &[CPU.at_most(0.35)],
        ..ROW
    },
    Row {
        line: "5.1",
        name: "k8s-txn",
        title: "compare of the revision, put of 256 bytes or range, 500 clients on 100 connections",
        load: "k8s --lists 0 --leases 0 --no-watch --objects 10000 --val-size 256 \
               --conns 100 --clients 500",
        has_ceiling: true,
        figures: &[CPU.at_most(0.35)],
        ..ROW
    },
    Row {
        line: "5.1",
        name: "range-linearizable",
        title: "linearizable range of one of 10,000 keys, 500 clients on 100 connections",
        prepare: &[KEYS],
        load: "range --consistency l --key-space-size 10000 --conns 100 --clients 500",
        has_ceiling: true,
        figures: &[CPU.at_most(0.4)],
        ..ROW
    },
    Row {
        line: "5.1",
        name: "range-serializable",
        title: "serializable range of one of 10,000 keys, 500 clients on 100 connections",
        prepare: &[KEYS],
        load: "range --consistency s --key-space-size 10000 --conns 100 --clients 500",
        has_ceiling: true,
        figures: &[CPU.at_most(0.5)],
        ..ROW
    },
    Row {
        line: "5.1",
        name: "keepalive",
        title: "a lease renewed on a stream of its own each time, as upstream's tool does, \
                500 clients on 100 connections",
        load: "lease-keepalive --conns 100 --clients 500",
        has_ceiling: true,
        figures: &[CPU.at_most(0.4)],
        ..ROW
    },
    Row {
        line: "5.1",
        name: "keepalive-stream",
        title: "a lease renewed on the client's open stream, as clients do, \
                500 clients on 100 connections",
        load: "lease-keepalive --stream --conns 100 --clients 500",
        has_ceiling: true,
        figures: &[CPU.at_most(0.4)],
        ..ROW
    },
    Row {
        line: "5.1",
        name: "k8s",
        title: "the mix of an API server, with watches, lists and leases, \
                500 clients on 100 connections",
        load: "k8s --conns 100 --clients 500",
        ..ROW
    },
    Row {
        line: "5.2",
        name: "put-half",
        title: "put of 256 bytes at half of what etcd keeps up with, open loop on 100 connections",
        load: "put --conns 100 --clients 500 --key-space-size 100000 --val-size 256",
        rate_share: Some(0.5),
        figures: &[P99.at_most(0.5)],
        also: OPEN,
        ..ROW
    },
    Row {
        line: "5.2",
        name: "range-half",
        title: "linearizable range at half of what etcd keeps up with, open loop on 100 connections",
        prepare: &[KEYS],
        load: "range --consistency l --key-space-size 10000 --conns 100 --clients 500",
        rate_share: Some(0.5),
        figures: &[P99.at_most(0.5)],
        also: OPEN,
        ..ROW
    },
    Row {
        line: "5.2",
        name: "put-one",
        title: "put of 256 bytes, one client and nobody else",
        load: "put --conns 1 --clients 1 --key-space-size 100000 --val-size 256",
        figures: &[P50.at_most(0.9)],
        ..ROW
    },
    Row {
        line: "5.3",
        name: "list",
        title: "lists of 10,000 keys of 1 KiB, 10 clients on 10 connections",
        load: "list --keys 10000 --val-size 1024 --conns 10 --clients 10",
        figures: &[shown("MB a second", "/mb_per_second", 1.0).at_least(2.5), ANON.at_most(0.4)],
        ..ROW
    },
    Row {
        line: "5.3",
        name: "list-one",
        title: "the first of 1,000,000 keys and how many there are, one client",
        prepare: &[MILLION_BELOW],
        load: "list --no-fill --keys 1000000 --limit 1 --conns 1 --clients 1",
        figures: &[CPU.at_most(0.02), P50.at_most(0.02)],
        ..ROW
    },
    Row {
        line: "5.4",
        name: "watch-fanout",
        title: "100 puts of 256 bytes a second to 1,000 watchers of one key, 10 streams",
        load: "watch-fanout --watchers 1000 --streams 10 --rate 100 --conns 10",
        figures: &[CPU.called("server CPU, us an event").at_most(0.33)],
        also: EVENTS,
        ..ROW
    },
    Row {
        line: "5.4",
        name: "watch-streams",
        title: "100 puts of 256 bytes a second to 1,000 watchers of one key, a stream each, \
                100 connections",
        load: "watch-fanout --watchers 1000 --streams 1000 --rate 100 --conns 100",
        figures: &[CPU.called("server CPU, us an event").at_most(0.33)],
        also: EVENTS,
        ..ROW
    },
    Row {
        line: "5.4",
        name: "lease-storm",
        title: "100,000 leases with a key each that run out in one second",
        load: "lease-storm --leases 100000 --after 40s --conns 100 --clients 500",
        figures: &[shown("worst lateness, ms", "/reports/0/latency_us/max", 1e3).at_most(0.1)],
        ..ROW
    },
    Row {
        line: "5.5",
        name: "read-slow-disk",
        title: "100 linearizable reads a second while 10 clients write, every sync 120 ms late",
        load: "read-under-write --rate 100 --conns 10 --clients 10",
        way: Way::SlowDisk,
        figures: &[
            P99.at_most(0.02),
            shown("least latency of a put, ms", "/reports/1/latency_us/min", 1e3),
            shown("puts a second", "/reports/1/per_second", 1.0),
            shown("syncs, every one delayed", "/slow_disk/delayed", 1.0),
        ],
        ..ROW
    },
    Row {
        line: "5.5",
        name: "compaction",
        title: "1,000 puts of 256 bytes a second while 1,000,000 revisions are compacted",
        prepare: &[REVISIONS],
        load: "compact-under-load --rate 1000 --conns 10",
        figures: &[
            P99.at_most(0.3),
            shown("puts that were measured", "/reports/0/count", 1.0),
            shown("the compaction, ms", "/reports/1/latency_us/max", 1e3),
        ],
        ..ROW
    },
    Row {
        line: "5.6",
        name: "idle",
        title: "a server with no data that nobody asks anything",
        load: "idle",
        figures: &[ANON_AFTER.at_most(0.5), CORES],
        also: &[PEAK],
        ..ROW
    },
    Row {
        line: "5.6",
        name: "start",
        title: "from the start on an empty folder to the first linearizable read",
        load: "restart",
        way: Way::Started { killed: false },
        figures: &[shown("first answer, ms", "/seconds", 1e-3).at_most(0.2)],
        also: ONCE,
        ..ROW
    },
    Row {
        line: "5.6",
        name: "restart",
        title: "from the start on 1,000,000 keys to the first linearizable read of one, \
                after an orderly stop",
        prepare: &[MILLION],
        load: "restart --filled 1000000",
        way: Way::Started { killed: false },
        figures: &[shown("first answer, ms", "/seconds", 1e-3).at_most(0.2)],
        also: ONCE,
        ..ROW
    },
    Row {
        line: "5.6",
        name: "restart-killed",
        title: "from the start on 1,000,000 keys to the first linearizable read of one, \
                after kill -9",
        prepare: &[MILLION],
        load: "restart --filled 1000000",
        way: Way::Started { killed: true },
        figures: &[shown("first answer, ms", "/seconds", 1e-3).at_most(0.2)],
        also: ONCE,
        ..ROW
    },
    Row {
        line: "5.6",
        name: "written",
        title: "put of 256 bytes at half of what etcd keeps up with, as many a second on both",
        load: "put --conns 100 --clients 500 --key-space-size 100000 --val-size 256",
        rate_share: Some(0.5),
        figures: &[WRITTEN.at_most(1.0)],
        also: OPEN,
        ..ROW
    },
    Row {
        line: "5.6",
        name: "written-one",
        title: "put of 256 bytes, one client and nobody else",
        load: "put --conns 1 --clients 1 --key-space-size 100000 --val-size 256",
        figures: &[WRITTEN.at_most(1.0)],
        ..ROW
    },
];

#[cfg(test)]
mod tests {
    use super::{ROWS, Way};

    #[test]
    fn names_differ_and_lines_are_in_order() {
        assert!(ROWS.windows(2).all(|pair| pair[0].line <= pair[1].line));
        for (number, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..number].iter().all(|other| other.name != row.name), "{}", row.name);
            assert!(row.shown().count() > 0, "{}", row.name);
        }
    }

    #[test]
    fn no_figure_is_shown_twice() {
        for row in ROWS {
            let mut at: Vec<_> = row.shown().map(|figure| figure.at).collect();
            at.sort_unstable();
            assert!(at.windows(2).all(|pair| pair[0] != pair[1]), "{}", row.name);
        }
    }

    #[test]
    fn a_load_that_starts_its_server_has_no_rate() {
        let started = ROWS.iter().filter(|row| matches!(row.way, Way::Started { .. }));
        for row in started {
            assert!(row.rate_share.is_none() && !row.has_ceiling, "{}", row.name);
        }
    }
}
