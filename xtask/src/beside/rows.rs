//! What is compared: the loads, and what they must come to.
//!
//! The lines are those of `cargo xtask evidence`. A load is the load tool's command line; seconds,
//! rate, endpoint and the server's process are added to it.

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
    /// Makes the load open: its rate is so much of the throughput that etcd reaches closed.
    pub rate_share: Option<f64>,
    /// Whether the empty server can answer it.
    pub has_ceiling: bool,
    pub figures: &'static [Figure],
}

/// One figure of a load.
#[derive(Debug)]
pub struct Figure {
    pub title: &'static str,
    /// Where the load tool's JSON has it.
    pub at: &'static str,
    /// What it is divided by to be shown.
    pub unit: f64,
    /// What the ratio, ours by theirs, must be.
    pub must: Option<Must>,
}

#[derive(Clone, Copy, Debug)]
pub enum Must {
    AtMost(f64),
}

/// Runs that find out how much etcd can do.
pub const PEAKS: usize = 3;

/// Before anything is measured.
pub const WARMUP_SECONDS: u32 = 1;

const MIB: f64 = 1_048_576.0;

const fn cpu(must: f64) -> Figure {
    let must = Some(Must::AtMost(must));
    Figure { title: "server CPU, us an operation", at: "/cost/server_cpu_us", unit: 1.0, must }
}

const fn shown(title: &'static str, at: &'static str, unit: f64) -> Figure {
    Figure { title, at, unit, must: None }
}

const THROUGHPUT: Figure = shown("operations a second", "/reports/0/per_second", 1.0);
const P50: Figure = shown("p50, ms", "/reports/0/latency_us/p50", 1e3);
const P99: Figure = shown("p99, ms", "/reports/0/latency_us/p99", 1e3);
const P999: Figure = shown("p99.9, ms", "/reports/0/latency_us/p999", 1e3);
const CLIENT: Figure = shown("client CPU, us an operation", "/cost/client_cpu_us", 1.0);
const WRITTEN: Figure = shown("bytes written an operation", "/cost/server_written", 1.0);
const ANON: Figure = shown("anonymous memory at most, MiB", "/cost/server_anon/1", MIB);
const PEAK: Figure = shown("all memory at most, MiB", "/cost/server_peak", MIB);
const CPU: Figure = shown("server CPU, us an operation", "/cost/server_cpu_us", 1.0);

const fn must(figure: &Figure, must: Must) -> Figure {
    Figure { title: figure.title, at: figure.at, unit: figure.unit, must: Some(must) }
}

/// 10,000 keys, for what reads.
const KEYS: &str = "put --batch 100 --total 10000 --sequential-keys --key-space-size 10000 \
                    --val-size 256 --conns 1 --clients 1";

/// Every row, by line.
pub const ROWS: &[Row] = &[
    Row {
        line: "5.1",
        name: "put",
        title: "put of 256 bytes, 500 clients on 100 connections",
        prepare: &[],
        load: "put --conns 100 --clients 500 --key-space-size 100000 --val-size 256",
        rate_share: None,
        has_ceiling: true,
        figures: &[cpu(0.35), THROUGHPUT, P50, P99, P999, WRITTEN, ANON, PEAK, CLIENT],
    },
    Row {
        line: "5.1",
        name: "k8s-txn",
        title: "compare of the revision, put of 256 bytes or range, 500 clients on 100 connections",
        prepare: &[],
        load: "k8s --lists 0 --leases 0 --no-watch --objects 10000 --val-size 256 \
               --conns 100 --clients 500",
        rate_share: None,
        has_ceiling: true,
        figures: &[cpu(0.35), THROUGHPUT, P50, P99, P999, WRITTEN, ANON, PEAK, CLIENT],
    },
    Row {
        line: "5.1",
        name: "range-linearizable",
        title: "linearizable range of one of 10,000 keys, 500 clients on 100 connections",
        prepare: &[KEYS],
        load: "range --consistency l --key-space-size 10000 --conns 100 --clients 500",
        rate_share: None,
        has_ceiling: true,
        figures: &[cpu(0.4), THROUGHPUT, P50, P99, P999, ANON, PEAK, CLIENT],
    },
    Row {
        line: "5.1",
        name: "range-serializable",
        title: "serializable range of one of 10,000 keys, 500 clients on 100 connections",
        prepare: &[KEYS],
        load: "range --consistency s --key-space-size 10000 --conns 100 --clients 500",
        rate_share: None,
        has_ceiling: true,
        figures: &[cpu(0.5), THROUGHPUT, P50, P99, P999, ANON, PEAK, CLIENT],
    },
    Row {
        line: "5.1",
        name: "keepalive",
        title: "a lease renewed on a stream of its own each time, as upstream's tool does, \
                500 clients on 100 connections",
        prepare: &[],
        load: "lease-keepalive --conns 100 --clients 500",
        rate_share: None,
        has_ceiling: true,
        figures: &[cpu(0.4), THROUGHPUT, P50, P99, P999, ANON, PEAK, CLIENT],
    },
    Row {
        line: "5.1",
        name: "keepalive-stream",
        title: "a lease renewed on the client's open stream, as clients do, \
                500 clients on 100 connections",
        prepare: &[],
        load: "lease-keepalive --stream --conns 100 --clients 500",
        rate_share: None,
        has_ceiling: true,
        figures: &[cpu(0.4), THROUGHPUT, P50, P99, P999, ANON, PEAK, CLIENT],
    },
    Row {
        line: "5.1",
        name: "k8s",
        title: "the mix of an API server, with watches, lists and leases, \
                500 clients on 100 connections",
        prepare: &[],
        load: "k8s --conns 100 --clients 500",
        rate_share: None,
        has_ceiling: false,
        figures: &[CPU, THROUGHPUT, P50, P99, P999, WRITTEN, ANON, PEAK, CLIENT],
    },
    Row {
        line: "5.2",
        name: "put-half",
        title: "put of 256 bytes at half of etcd's peak, open loop on 100 connections",
        prepare: &[],
        load: "put --conns 100 --clients 500 --key-space-size 100000 --val-size 256",
        rate_share: Some(0.5),
        has_ceiling: false,
        figures: &[must(&P99, Must::AtMost(0.5)), P50, P999, THROUGHPUT, CPU, CLIENT],
    },
    Row {
        line: "5.2",
        name: "range-half",
        title: "linearizable range at half of etcd's peak, open loop on 100 connections",
        prepare: &[KEYS],
        load: "range --consistency l --key-space-size 10000 --conns 100 --clients 500",
        rate_share: Some(0.5),
        has_ceiling: false,
        figures: &[must(&P99, Must::AtMost(0.5)), P50, P999, THROUGHPUT, CPU, CLIENT],
    },
    Row {
        line: "5.2",
        name: "put-one",
        title: "put of 256 bytes, one client and nobody else",
        prepare: &[],
        load: "put --conns 1 --clients 1 --key-space-size 100000 --val-size 256",
        rate_share: None,
        has_ceiling: false,
        figures: &[must(&P50, Must::AtMost(0.9)), P99, P999, THROUGHPUT, CPU, CLIENT],
    },
];

#[cfg(test)]
mod tests {
    use super::ROWS;

    #[test]
    fn names_differ_and_lines_are_in_order() {
        assert!(ROWS.windows(2).all(|pair| pair[0].line <= pair[1].line));
        for (number, row) in ROWS.iter().enumerate() {
            assert!(ROWS[..number].iter().all(|other| other.name != row.name), "{}", row.name);
            assert!(!row.figures.is_empty(), "{}", row.name);
        }
    }
}
