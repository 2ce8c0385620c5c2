//! From strings to values, once. Order and texts are etcd's where it looks at the same things.
//!
//! Source: etcd `server/embed/config.go` (`Validate`), `config_logging.go`.

use super::gates::Gates;
use super::go;
use super::parse::Raw;
use super::tls::{Tls, tls};
use crate::http::Access;
use member::{InitialCluster, parse_urls};
use net::{Address, Place, TlsOptions};
use server::{AutoCompaction, Config};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

/// Everything the server is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// For the member.
    pub config: Config,
    /// Where clients are listened to.
    pub client_urls: Vec<Url>,
    /// Where HTTP clients are listened to; if there are any, the others get gRPC alone.
    pub http_urls: Vec<Url>,
    /// Where metrics and health are told besides.
    pub metrics_urls: Vec<Url>,
    /// Whether every request of gRPC is timed.
    pub extensive_metrics: bool,
    /// Which hosts HTTP clients may ask for, and from where browsers may come.
    pub access: Access,
    /// Where members are listened to.
    pub peer_urls: Vec<Url>,
    /// How either is secured.
    pub tls: Tls,
    /// Which features are on.
    pub gates: Gates,
    /// For the client port.
    pub http2: Http2Limits,
    /// Whether all memory is to stay in RAM.
    pub lock_memory: bool,
}

/// What a client's connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http2Limits {
    /// Requests at once; `u32::MAX` for as many as it likes.
    pub max_concurrent_streams: u32,
    /// How long a client waits between two of its pings, at least.
    pub keepalive_min_time: Duration,
    /// How long nothing may come from a client before it is asked whether it is there.
    pub keepalive_interval: Duration,
    /// How long the answer may take.
    pub keepalive_timeout: Duration,
}

/// A URL to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// As given.
    pub text: String,
    /// Where that is.
    pub address: Address,
}

/// A flag whose value does not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ConfigError {
    /// The flag.
    pub name: &'static str,
    /// What is wrong, and what would not be.
    pub text: String,
    /// When etcd finds it.
    pub found: Found,
}

/// When etcd finds what is wrong: the exit code and the line differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Before there is a log.
    BeforeLog,
    /// When it looks at its flags.
    Verifying,
    /// When it starts.
    Starting,
}

/// The quota if none is given (etcd `storage/quota.go`).
const QUOTA_BYTES: u64 = 2 << 30;

/// Above this an election would take too long to be of use (etcd `maxElectionMs`).
const ELECTION_MILLIS_MAX: u64 = 50_000;

/// The shortest time between two notices of progress (etcd `minWatchProgressInterval`).
const PROGRESS_MIN: Duration = Duration::from_millis(100);

/// What grpc-go does about pings if it is told nothing, and the shortest silence after which it asks
/// (its `internal/transport/defaults.go`, `internal/internal.go`).
const KEEPALIVE: Duration = Duration::from_secs(2 * 60 * 60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
const KEEPALIVE_MIN: Duration = Duration::from_secs(1);
const PING_INTERVAL_MIN: Duration = Duration::from_secs(5 * 60);

/// etcd's default, which stands for the member alone whatever it is called.
const INITIAL_CLUSTER: &str = "default=http://localhost:2380";

/// Makes values of strings.
///
/// # Errors
/// [`ConfigError`].
pub fn check(raw: &Raw) -> Result<Checked, ConfigError> {
    let name = raw.get("name").to_owned();
    // Compat: no discovery, no fallback from it.
    if raw.get("discovery-fallback") == "proxy" {
        let text =
            "v2 proxy is deprecated, and --discovery-fallback can't be configured as \"proxy\"";
        return Err(etcds("discovery-fallback", text));
    }
    let peer_urls = listen(raw, "listen-peer-urls")?;
    let client_urls = listen(raw, "listen-client-urls")?;
    let advertise_peer_urls = urls(raw, "initial-advertise-peer-urls")?;
    let advertise_client_urls = urls(raw, "advertise-client-urls")?;
    check_hosts("initial-advertise-peer-urls", &advertise_peer_urls, "\"host:port\"")?;
    let forms =
        "in the format \"host:port\", \"unix:/path/to/socket\" or \"unixs:/path/to/socket\"";
    check_hosts("advertise-client-urls", &advertise_client_urls, forms)?;
    let new_cluster = match raw.get("initial-cluster-state") {
        "new" | "" => true,
        "existing" => false,
        other => {
            let text = format!("unexpected clusterState {other:?}");
            return Err(etcds("initial-cluster-state", &text));
        }
    };
    let (heartbeat, election) = times(raw)?;
    let is_told = raw.has("advertise-client-urls") || raw.file().is_some();
    if raw.has("listen-client-urls") && !is_told {
        let text =
            "--advertise-client-urls is required when --listen-client-urls is set explicitly";
        return Err(etcds("advertise-client-urls", text));
    }
    let auto_compaction = auto_compaction(raw)?;
    let gates = Gates::parse(raw.get("feature-gates")).and_then(|gates| {
        gates.check()?;
        Ok(gates)
    });
    let gates = gates.map_err(|text| etcds("feature-gates", &text))?;
    let config = Config {
        data_dir: data_dir(raw).into(),
        wal_dir: Some(raw.get("wal-dir")).filter(|dir| !dir.is_empty()).map(Into::into),
        initial_cluster: initial_cluster(raw, &advertise_peer_urls)?,
        initial_cluster_token: raw.get("initial-cluster-token").to_owned(),
        new_cluster,
        advertise_peer_urls,
        // That of the ports once they are open: a certificate may have to be made.
        peer_tls: TlsOptions::default(),
        raft_read_timeout: at_least_default(raw, "raft-read-timeout")?,
        raft_write_timeout: at_least_default(raw, "raft-write-timeout")?,
        advertise_client_urls,
        heartbeat_interval: Duration::from_millis(heartbeat),
        election_ticks: narrow("election-timeout", election / heartbeat)?,
        initial_election_tick_advance: raw.get("initial-election-tick-advance") == "true",
        pre_vote: raw.get("pre-vote") == "true",
        snapshot_count: number(raw, "snapshot-count")?,
        snapshot_catch_up_entries: number(raw, "snapshot-catchup-entries")?,
        max_snapshots: kept(raw, "max-snapshots")?,
        max_wals: kept(raw, "max-wals")?,
        quota_bytes: quota(raw)?,
        max_request_bytes: narrow("max-request-bytes", number(raw, "max-request-bytes")?)?,
        max_txn_ops: narrow("max-txn-ops", number(raw, "max-txn-ops")?)?,
        max_learners: narrow("max-learners", number(raw, "max-learners")?)?,
        strict_reconfig_check: raw.get("strict-reconfig-check") == "true",
        unsafe_no_fsync: raw.get("unsafe-no-fsync") == "true",
        compaction_batch: match number(raw, "compaction-batch-limit")? {
            0 => 1000,
            keys => narrow("compaction-batch-limit", keys)?,
        },
        compaction_pause: or(duration(raw, "compaction-sleep-interval")?, 10),
        auto_compaction,
        store_sync_period: or(duration(raw, "backend-batch-interval")?, 100),
        store_sync_records: match number(raw, "backend-batch-limit")? {
            0 => 10_000,
            records => records,
        },
        defragment_at_start: match number(raw, "bootstrap-defrag-threshold-megabytes")? {
            0 => None,
            megabytes => Some(megabytes.saturating_mul(1 << 20)),
        },
        watch_progress_interval: progress(raw)?,
        warning_apply: duration(raw, "warning-apply-duration")?,
        warning_request: duration(raw, "warning-unary-request-duration")?,
        name,
    };
    let http_urls = optional(raw, "listen-client-http-urls")?;
    if let Some(url) =
        http_urls.iter().find(|url| client_urls.iter().any(|its| its.address == url.address))
    {
        // Compat: etcd's words.
        let reason = format!(
            "cannot bind both --listen-client-urls and --listen-client-http-urls on the same url {}",
            url.text
        );
        return Err(error("listen-client-http-urls", &reason));
    }
    Ok(Checked {
        config,
        tls: tls(raw, &[&client_urls[..], &http_urls].concat(), &peer_urls)?,
        client_urls,
        http_urls,
        metrics_urls: optional(raw, "listen-metrics-urls")?,
        extensive_metrics: match raw.get("metrics") {
            "basic" => false,
            "extensive" => true,
            _ => return Err(error("metrics", "must be basic or extensive")),
        },
        access: Access { hosts: set(raw.get("host-whitelist")), origins: origins(raw)? },
        peer_urls,
        gates,
        http2: http2_limits(raw)?,
        lock_memory: raw.get("memory-mlock") == "true",
    })
}

/// Compat: what is not above zero leaves the default of grpc-go in force, which for a client's pings
/// is another one than etcd's; nothing at all is no limit of requests.
fn http2_limits(raw: &Raw) -> Result<Http2Limits, ConfigError> {
    let streams = "max-concurrent-streams";
    let above_zero = |name| -> Result<Option<Duration>, ConfigError> {
        let nanos = u64::try_from(nanos(raw, name)?).ok();
        Ok(nanos.filter(|nanos| *nanos > 0).map(Duration::from_nanos))
    };
    let interval = above_zero("grpc-keepalive-interval")?;
    let timeout = above_zero("grpc-keepalive-timeout")?;
    let (interval, timeout) = interval.zip(timeout).unwrap_or((KEEPALIVE, KEEPALIVE_TIMEOUT));
    Ok(Http2Limits {
        max_concurrent_streams: match narrow(streams, number(raw, streams)?)? {
            0 => u32::MAX,
            at_once => at_once,
        },
        keepalive_min_time: above_zero("grpc-keepalive-min-time")?.unwrap_or(PING_INTERVAL_MIN),
        keepalive_interval: interval.max(KEEPALIVE_MIN),
        keepalive_timeout: timeout,
    })
}

/// Where all files are.
fn data_dir(raw: &Raw) -> String {
    match raw.get("data-dir") {
        "" => format!("{}.etcd", raw.get("name")),
        dir => dir.to_owned(),
    }
}

fn times(raw: &Raw) -> Result<(u64, u64), ConfigError> {
    let heartbeat = number(raw, "heartbeat-interval")?;
    let election = number(raw, "election-timeout")?;
    for (name, millis) in [("heartbeat-interval", heartbeat), ("election-timeout", election)] {
        if millis == 0 {
            return Err(etcds(name, &format!("--{name} must be >0 (set to 0ms)")));
        }
    }
    if election < heartbeat.saturating_mul(5) {
        let text = format!(
            "--election-timeout[{election}ms] should be at least as 5 times as \
             --heartbeat-interval[{heartbeat}ms]"
        );
        return Err(etcds("election-timeout", &text));
    }
    if election > ELECTION_MILLIS_MAX {
        let text = format!(
            "--election-timeout[{election}ms] is too long, and should be set less than \
             {ELECTION_MILLIS_MAX}ms"
        );
        return Err(etcds("election-timeout", &text));
    }
    Ok((heartbeat, election))
}

fn initial_cluster(raw: &Raw, advertised: &[String]) -> Result<InitialCluster, ConfigError> {
    let name = raw.get("name");
    let text = match raw.get("initial-cluster") {
        "" => INITIAL_CLUSTER,
        text => text,
    };
    // Compat: the default is that of the default name, and only that.
    if name != "default" && text == INITIAL_CLUSTER {
        return Ok(InitialCluster { urls: [(name.to_owned(), advertised.to_vec())].into() });
    }
    InitialCluster::parse(text).map_err(|wrong| {
        starting("initial-cluster", &format!("error setting up initial cluster: {wrong}"))
    })
}

fn auto_compaction(raw: &Raw) -> Result<Option<AutoCompaction>, ConfigError> {
    let (mode, retention) = ("auto-compaction-mode", "auto-compaction-retention");
    let by_revision = match raw.get(mode) {
        "periodic" => false,
        "revision" => true,
        "" => return Err(etcds(mode, "undefined auto-compaction-mode")),
        other => return Err(etcds(mode, &format!("unknown auto-compaction-mode {other:?}"))),
    };
    let text = raw.get(retention);
    let text = if text.is_empty() { "0" } else { text };
    // A bare number is one of hours, or of revisions. Compat: revisions may be written as a
    // duration, of which the nanoseconds count.
    let kept = match text.parse::<i64>() {
        Ok(number) if number >= 0 && by_revision => number,
        Ok(number) if number >= 0 => number.saturating_mul(3_600_000_000_000),
        _ => go::parse_duration(text).ok_or_else(|| {
            let why = why_no_duration(text);
            starting(retention, &format!("error parsing CompactionRetention: time: {why}"))
        })?,
    };
    match u64::try_from(kept) {
        Ok(0) => Ok(None),
        Ok(_) if by_revision => Ok(Some(AutoCompaction::Revision(kept))),
        Ok(nanos) => Ok(Some(AutoCompaction::Periodic(Duration::from_nanos(nanos)))),
        Err(_) => Err(error(retention, "must not be below zero")),
    }
}

/// Go's words for a text that is no duration.
fn why_no_duration(text: &str) -> String {
    let digits = text.trim_start_matches(['+', '-']);
    let is_number = !digits.is_empty() && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    if is_number {
        format!("missing unit in duration {text:?}")
    } else {
        format!("invalid duration {text:?}")
    }
}

fn check_hosts(name: &'static str, urls: &[String], forms: &str) -> Result<(), ConfigError> {
    let without = |url: &&String| {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        rest.is_some_and(|rest| rest.starts_with(':'))
    };
    match urls.iter().find(without) {
        None => Ok(()),
        Some(url) => {
            let all = urls.join(",");
            let text = format!("--{name} {all:?} must be {forms} (unexpected empty host ({url}))");
            Err(etcds(name, &text))
        }
    }
}

/// What etcd says in the same words.
pub(super) fn etcds(name: &'static str, text: &str) -> ConfigError {
    ConfigError { name, text: text.to_owned(), found: Found::Verifying }
}

/// The same of what etcd finds only when it starts.
pub(super) fn starting(name: &'static str, text: &str) -> ConfigError {
    ConfigError { found: Found::Starting, ..etcds(name, text) }
}

pub(super) fn error(name: &'static str, reason: &str) -> ConfigError {
    etcds(name, &format!("--{name}: {reason}"))
}

pub(super) fn number(raw: &Raw, name: &'static str) -> Result<u64, ConfigError> {
    let text = raw.get(name);
    text.parse().map_err(|_| error(name, &format!("{text:?} is no number from 0 up")))
}

pub(super) fn narrow<T: TryFrom<u64>>(name: &'static str, number: u64) -> Result<T, ConfigError> {
    T::try_from(number).map_err(|_| error(name, &format!("{number} is too much")))
}

/// Files kept; 0 keeps all.
fn kept(raw: &Raw, name: &'static str) -> Result<usize, ConfigError> {
    let files: usize = narrow(name, number(raw, name)?)?;
    Ok(if files == 0 { usize::MAX } else { files })
}

/// 0 is the default, less is no quota.
fn quota(raw: &Raw) -> Result<Option<u64>, ConfigError> {
    let name = "quota-backend-bytes";
    let text = raw.get(name);
    let bytes: i64 = text.parse().map_err(|_| error(name, &format!("{text:?} is no number")))?;
    Ok(match u64::try_from(bytes) {
        Ok(0) => Some(QUOTA_BYTES),
        Ok(bytes) => Some(bytes),
        Err(_) => None,
    })
}

fn progress(raw: &Raw) -> Result<Duration, ConfigError> {
    let interval = duration(raw, "watch-progress-notify-interval")?;
    if interval.is_zero() || interval >= PROGRESS_MIN {
        return Ok(or(interval, 600_000));
    }
    // Compat: said and mended, not refused.
    tracing::warn!(
        min_watch_progress_notify_interval = "100ms",
        "adjusting watch progress notify interval to minimum period"
    );
    Ok(PROGRESS_MIN)
}

fn or(duration: Duration, millis: u64) -> Duration {
    if duration.is_zero() { Duration::from_millis(millis) } else { duration }
}

/// Compat: less than the default is taken for the default, as etcd does, and told.
fn at_least_default(raw: &Raw, name: &'static str) -> Result<Duration, ConfigError> {
    let timeout = Duration::from_nanos(u64::try_from(nanos(raw, name)?).unwrap_or(0));
    if timeout < peer::TIMEOUT_MIN {
        tracing::info!("{name} increased to minimum value: {:?}", peer::TIMEOUT_MIN);
    }
    Ok(timeout.max(peer::TIMEOUT_MIN))
}

fn duration(raw: &Raw, name: &'static str) -> Result<Duration, ConfigError> {
    u64::try_from(nanos(raw, name)?)
        .map(Duration::from_nanos)
        .map_err(|_| error(name, &format!("{} is below zero", raw.get(name))))
}

fn nanos(raw: &Raw, name: &'static str) -> Result<i64, ConfigError> {
    let text = raw.get(name);
    go::parse_duration(text)
        .ok_or_else(|| error(name, &format!("{text:?} is no duration like 10m, 1.5s or 100ms")))
}

fn urls(raw: &Raw, name: &'static str) -> Result<Vec<String>, ConfigError> {
    parse_urls(raw.get(name).split(',')).map_err(|wrong| error(name, &wrong.to_string()))
}

/// Where to listen besides, if anywhere.
fn optional(raw: &Raw, name: &'static str) -> Result<Vec<Url>, ConfigError> {
    if raw.get(name).is_empty() { Ok(Vec::new()) } else { listen(raw, name) }
}

fn set(text: &str) -> BTreeSet<String> {
    text.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect()
}

/// Compat: URLs with host and port, as etcd takes them, though browsers leave out usual ports.
fn origins(raw: &Raw) -> Result<BTreeSet<String>, ConfigError> {
    match raw.get("cors") {
        "" => Ok(BTreeSet::new()),
        "*" => Ok(set("*")),
        _ => Ok(urls(raw, "cors")?.into_iter().collect()),
    }
}

fn listen(raw: &Raw, name: &'static str) -> Result<Vec<Url>, ConfigError> {
    let mut all = Vec::new();
    for text in urls(raw, name)? {
        let mut address = Address::parse(&text).map_err(|wrong| error(name, &wrong.to_string()))?;
        if let Place::Tcp(authority) = &mut address.place {
            if let Some(port) = authority.strip_prefix("localhost:") {
                *authority = format!("127.0.0.1:{port}");
            } else if authority.parse::<SocketAddr>().is_err() {
                // Compat: a name would be resolved by every member in its own way.
                return Err(etcds(name, &format!("expected IP in URL for binding ({text})")));
            }
        }
        all.push(Url { text, address });
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
