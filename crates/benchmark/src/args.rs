//! The command line: upstream's sub-commands with its flags and defaults, and ours.
//!
//! Of upstream's flags those for TLS and users are missing, and `--auto-sync-interval`; of its
//! sub-commands `stm` and `mvcc`. They are refused like any unknown word.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Parser)]
#[command(name = "quorate-benchmark", version, about = "Puts load on an etcd and measures it")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) load: Load,
}

/// Flags of every sub-command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// gRPC endpoints
    #[arg(long, global = true, value_delimiter = ',', default_value = "127.0.0.1:2379")]
    pub(crate) endpoints: Vec<String>,
    /// Total number of gRPC connections
    #[arg(long, global = true, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) conns: usize,
    /// Total number of gRPC clients
    #[arg(long, global = true, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) clients: usize,
    /// Use full floating point precision
    #[arg(long, global = true)]
    pub(crate) precise: bool,
    /// Sample requests for every second
    #[arg(long, global = true)]
    pub(crate) sample: bool,
    /// Dial timeout for client connections; 0 waits for ten seconds
    #[arg(long, global = true, default_value = "0s", value_parser = duration)]
    pub(crate) dial_timeout: Duration,
    /// Write a report for perfdash into $ARTIFACTS
    #[arg(long, global = true)]
    pub(crate) report_perfdash: bool,
    /// Measure for so long, in place of a total (ours)
    #[arg(long, global = true, value_parser = duration)]
    pub(crate) seconds: Option<Duration>,
    /// Load for so long before it is measured (ours)
    #[arg(long, global = true, default_value = "0s", value_parser = duration)]
    pub(crate) warmup: Duration,
    /// The server's process, whose processor time, memory and writes are measured too (ours)
    #[arg(long, global = true)]
    pub(crate) server_pid: Option<u32>,
    /// Write all figures as JSON to this file (ours)
    #[arg(long, global = true)]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Load {
    /// Benchmark put
    Put(Put),
    /// Benchmark range
    Range(Range),
    /// Benchmark txn-put
    TxnPut(TxnPut),
    /// Benchmark a mixed load of txn-put and txn-range
    TxnMixed(TxnMixed),
    /// Benchmark lease keepalive
    LeaseKeepalive(LeaseKeepalive),
    /// Benchmark watch: many watchers, then puts
    Watch(Watch),
    /// Benchmark watch latency: from a put's answer to its events
    WatchLatency(WatchLatency),
    /// Benchmark watch with get: reads while watchers catch up
    WatchGet(WatchGet),
    /// Load as an API server of Kubernetes puts it on (ours)
    K8s(K8s),
    /// Lists of everything below a prefix (ours)
    List(List),
    /// Many leases that run out in the same second (ours)
    LeaseStorm(LeaseStorm),
    /// Everybody watches the same (ours)
    WatchFanout(WatchFanout),
    /// Linearizable reads beside writes (ours)
    ReadUnderWrite(ReadUnderWrite),
    /// Puts beside a compaction of everything up to now (ours)
    CompactUnderLoad(CompactUnderLoad),
    /// From a server's start to its first answer (ours)
    Restart(Restart),
    /// What a server takes that nobody asks anything (ours)
    Idle(Idle),
    /// A server that answers and does nothing: what gRPC alone costs (ours)
    EmptyServer(EmptyServer),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Put {
    /// Key size of put request
    #[arg(long, default_value_t = 8)]
    pub(crate) key_size: usize,
    /// Value size of put request
    #[arg(long, default_value_t = 8)]
    pub(crate) val_size: usize,
    /// Puts per second, at fixed times (0: as fast as they are answered)
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
    /// Total number of put requests
    #[arg(long, default_value_t = 10_000)]
    pub(crate) total: u64,
    /// Maximum possible keys
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) key_space_size: u64,
    /// Use sequential keys
    #[arg(long)]
    pub(crate) sequential_keys: bool,
    /// Prefix for keys
    #[arg(long, default_value = "")]
    pub(crate) prefix: String,
    /// Interval to compact the database
    #[arg(long, default_value = "0s", value_parser = duration)]
    pub(crate) compact_interval: Duration,
    /// Delta between current revision and compact revision
    #[arg(long, default_value_t = 1000)]
    pub(crate) compact_index_delta: i64,
    /// Check hashkv
    #[arg(long)]
    pub(crate) check_hashkv: bool,
    /// Put so many keys in each transaction, to fill a store (ours; 1: no transactions)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) batch: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Range {
    /// The key; with --prefix it may be left out
    pub(crate) key: Option<String>,
    /// The end of the range
    pub(crate) end: Option<String>,
    /// Requests per second, at fixed times (0: as fast as they are answered)
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
    /// Total number of range requests
    #[arg(long, default_value_t = 10_000)]
    pub(crate) total: u64,
    /// Linearizable or serializable
    #[arg(long, value_enum, default_value_t = Consistency::L)]
    pub(crate) consistency: Consistency,
    /// Maximum number of results (0 is no limit)
    #[arg(long, default_value_t = 0)]
    pub(crate) limit: i64,
    /// Only return the count of keys
    #[arg(long, conflicts_with = "keys_only")]
    pub(crate) count_only: bool,
    /// Only return the keys
    #[arg(long)]
    pub(crate) keys_only: bool,
    /// Use RangeStream instead of unary Range
    #[arg(long, conflicts_with = "paginate")]
    pub(crate) stream: bool,
    /// Use paginated unary range with 10k-key pages
    #[arg(long, conflicts_with = "limit")]
    pub(crate) paginate: bool,
    /// Range over all keys with the given key as prefix
    #[arg(long)]
    pub(crate) prefix: bool,
    /// Read one of so many keys that `put` has written, at random, with the given key as their
    /// prefix (ours; 0: the given key)
    #[arg(long, default_value_t = 0, conflicts_with_all = ["prefix", "end"])]
    pub(crate) key_space_size: u64,
    /// Size of those keys (ours)
    #[arg(long, default_value_t = 8)]
    pub(crate) key_size: usize,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TxnPut {
    /// Key size of txn put
    #[arg(long, default_value_t = 8)]
    pub(crate) key_size: usize,
    /// Value size of txn put
    #[arg(long, default_value_t = 8)]
    pub(crate) val_size: usize,
    /// Number of puts per txn
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) txn_ops: u64,
    /// Txns per second, at fixed times (0: as fast as they are answered)
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
    /// Total number of txn requests
    #[arg(long, default_value_t = 10_000)]
    pub(crate) total: u64,
    /// Maximum possible keys
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) key_space_size: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TxnMixed {
    /// Key size of mixed txn
    #[arg(long, default_value_t = 8)]
    pub(crate) key_size: usize,
    /// Value size of mixed txn
    #[arg(long, default_value_t = 8)]
    pub(crate) val_size: usize,
    /// Txns per second, at fixed times (0: as fast as they are answered)
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
    /// Total number of txn requests
    #[arg(long, default_value_t = 10_000)]
    pub(crate) total: u64,
    /// End of the range that is read; by default all keys, up to the limit
    #[arg(long, default_value = "")]
    pub(crate) end_key: String,
    /// Read operation range result limit
    #[arg(long, default_value_t = 1000)]
    pub(crate) limit: i64,
    /// Maximum possible keys
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) key_space_size: u64,
    /// Linearizable or serializable
    #[arg(long, value_enum, default_value_t = Consistency::L)]
    pub(crate) consistency: Consistency,
    /// Read/write ops ratio
    #[arg(long, default_value_t = 1.0)]
    pub(crate) rw_ratio: f64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LeaseKeepalive {
    /// Total number of lease keepalive requests
    #[arg(long, default_value_t = 10_000)]
    pub(crate) total: u64,
    /// Renew on one stream of each client that stays open, as clients' own loops do (ours)
    #[arg(long)]
    pub(crate) stream: bool,
    /// Renewals per second, at fixed times (0: as fast as they are answered) (ours)
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct K8s {
    /// Objects, which are there before it is measured
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) objects: u64,
    /// Kinds of objects: prefixes of keys, each with a watch of its own
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) kinds: u64,
    /// Size of an object
    #[arg(long, default_value_t = 1024)]
    pub(crate) val_size: usize,
    /// Of a hundred operations, how many list a kind in pages of 500; the others are updates
    #[arg(long, default_value_t = 1.0)]
    pub(crate) lists: f64,
    /// Of a hundred operations, how many put an event with a lease of its own
    #[arg(long, default_value_t = 1.0)]
    pub(crate) leases: f64,
    /// Of a hundred updates, how many are of an object that was changed meanwhile
    #[arg(long, default_value_t = 1.0)]
    pub(crate) conflicts: f64,
    /// Nobody watches
    #[arg(long)]
    pub(crate) no_watch: bool,
    /// Operations per second, at fixed times (0: as fast as they are answered)
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
    /// Total number of operations
    #[arg(long, default_value_t = 10_000)]
    pub(crate) total: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Watch {
    /// Total watch streams
    #[arg(long, default_value_t = 10, value_parser = at_least_one)]
    pub(crate) streams: usize,
    /// Total watchers per stream
    #[arg(long, default_value_t = 100, value_parser = at_least_one)]
    pub(crate) watch_per_stream: usize,
    /// Total number of keys to be watched
    #[arg(long, default_value_t = 1)]
    pub(crate) watched_key_total: u64,
    /// Puts per second, at fixed times (0: as fast as they are answered)
    #[arg(long, default_value_t = 0.0)]
    pub(crate) put_rate: f64,
    /// Number of put requests
    #[arg(long, default_value_t = 1000)]
    pub(crate) put_total: u64,
    /// Key size of watch request
    #[arg(long, default_value_t = 32)]
    pub(crate) key_size: usize,
    /// Maximum possible keys
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) key_space_size: u64,
    /// Use sequential keys
    #[arg(long)]
    pub(crate) sequential_keys: bool,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct WatchLatency {
    /// Total watch streams
    #[arg(long, default_value_t = 10, value_parser = at_least_one)]
    pub(crate) streams: usize,
    /// Total watchers per stream
    #[arg(long, default_value_t = 10, value_parser = at_least_one)]
    pub(crate) watchers_per_stream: usize,
    /// PrevKV enabled on watch requests
    #[arg(long)]
    pub(crate) prevkv: bool,
    /// Total number of put requests
    #[arg(long, default_value_t = 1000)]
    pub(crate) put_total: u64,
    /// Puts per second, at fixed times (0: as fast as they are answered)
    #[arg(long, default_value_t = 100.0)]
    pub(crate) put_rate: f64,
    /// Key size of watch response
    #[arg(long, default_value_t = 32)]
    pub(crate) key_size: usize,
    /// Value size of watch response
    #[arg(long, default_value_t = 32)]
    pub(crate) val_size: usize,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct WatchGet {
    /// Total number of watchers
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one)]
    pub(crate) watchers: usize,
    /// Total number of watcher streams
    #[arg(long, default_value_t = 1, value_parser = at_least_one)]
    pub(crate) streams: usize,
    /// Number of events per watcher
    #[arg(long, default_value_t = 8)]
    pub(crate) events: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct List {
    /// Keys below the prefix
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) keys: u64,
    /// Size of each value
    #[arg(long, default_value_t = 1024)]
    pub(crate) val_size: usize,
    /// The prefix
    #[arg(long, default_value = "list/")]
    pub(crate) prefix: String,
    /// The keys are there already, as many as --keys says
    #[arg(long)]
    pub(crate) no_fill: bool,
    /// Maximum number of keys of a list; all are counted (0 is no limit)
    #[arg(long, default_value_t = 0)]
    pub(crate) limit: i64,
    /// Linearizable or serializable
    #[arg(long, value_enum, default_value_t = Consistency::L)]
    pub(crate) consistency: Consistency,
    /// Lists per second, at fixed times (0: as fast as they are answered)
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
    /// Total number of lists
    #[arg(long, default_value_t = 100)]
    pub(crate) total: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct LeaseStorm {
    /// Leases
    #[arg(long, default_value_t = 100_000)]
    pub(crate) leases: u64,
    /// When they run out, from the start; they must be granted until then
    #[arg(long, default_value = "20s", value_parser = duration)]
    pub(crate) after: Duration,
    /// How long nothing may happen before the rest is given up
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub(crate) patience: Duration,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct WatchFanout {
    /// Watchers
    #[arg(long, default_value_t = 1000, value_parser = at_least_one)]
    pub(crate) watchers: usize,
    /// Streams that they share
    #[arg(long, default_value_t = 10, value_parser = at_least_one)]
    pub(crate) streams: usize,
    /// They watch a prefix with 1,000 keys in place of one key
    #[arg(long)]
    pub(crate) prefix: bool,
    /// Size of each value; 8 bytes at least, which are the time
    #[arg(long, default_value_t = 256)]
    pub(crate) val_size: usize,
    /// Puts per second, at fixed times (0: as fast as they are answered)
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
    /// Total number of puts
    #[arg(long, default_value_t = 1000)]
    pub(crate) total: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ReadUnderWrite {
    /// Reads per second, at fixed times; the clients write as fast as they are answered
    #[arg(long, default_value_t = 100.0)]
    pub(crate) rate: f64,
    /// Size of each value
    #[arg(long, default_value_t = 256)]
    pub(crate) val_size: usize,
    /// Total number of reads
    #[arg(long, default_value_t = 1000)]
    pub(crate) total: u64,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CompactUnderLoad {
    /// Puts per second, at fixed times
    #[arg(long, default_value_t = 1000.0)]
    pub(crate) rate: f64,
    /// Key size of the puts
    #[arg(long, default_value_t = 8)]
    pub(crate) key_size: usize,
    /// Maximum possible keys of the puts
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) key_space_size: u64,
    /// Size of each value
    #[arg(long, default_value_t = 256)]
    pub(crate) val_size: usize,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Restart {
    /// The key that is read
    #[arg(long, default_value = "foo")]
    pub(crate) key: String,
    /// The key must be there
    #[arg(long)]
    pub(crate) expect_key: bool,
    /// Read the last of so many keys that `put --sequential-keys` has written, in place of --key;
    /// it must be there (0: --key)
    #[arg(long, default_value_t = 0)]
    pub(crate) filled: u64,
    /// How long it may take
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub(crate) patience: Duration,
    /// The server's program and flags, behind `--`
    #[arg(last = true, required = true)]
    pub(crate) server: Vec<String>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct Idle {}

#[derive(Clone, Debug, Args)]
pub(crate) struct EmptyServer {
    /// Where to listen; port 0 takes a free one, which is printed
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: std::net::SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Consistency {
    /// Linearizable
    L,
    /// Serializable
    S,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    let number: usize = text.parse().map_err(|_| "not a number".to_owned())?;
    if number == 0 { Err("at least one is needed".to_owned()) } else { Ok(number) }
}

/// A duration as Go writes it (`1m30s`, `250ms`); a plain number is seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string());
    }
    let (mut rest, mut sum) = (text, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| format!("{text} is no duration"))?;
        rest = &rest[digits..];
        let unit = UNITS.iter().find(|(unit, _)| {
            rest.starts_with(unit) && !rest[unit.len()..].starts_with(char::is_alphabetic)
        });
        let (unit, seconds) = unit.ok_or_else(|| format!("{text} is no duration"))?;
        rest = &rest[unit.len()..];
        sum += number * seconds;
    }
    Duration::try_from_secs_f64(sum).map_err(|error| error.to_string())
}

const UNITS: [(&str, f64); 6] =
    [("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_go_s() {
        assert_eq!(duration("1m30s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        for bad in ["5x", "s", "1mm", "-1"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
