//! From strings to values, once; errors name the flag.

use super::parse::Raw;
use super::tls::{Tls, tls};
use crate::http::Access;
use member::{InitialCluster, parse_urls};
use net::{Address, Place, TlsOptions};
use server::Config;
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
    /// What is logged, and all that is worse: `debug`, `info`, `warn` or `error`.
    pub log_level: String,
    /// How.
    pub log_format: LogFormat,
}

/// A URL to listen on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// As given.
    pub text: String,
    /// Where that is.
    pub address: Address,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// An object a line.
    Json,
    /// For people.
    Console,
}

/// A flag whose value does not work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("--{name}: {reason}")]
pub struct ConfigError {
    /// The flag.
    pub name: &'static str,
    /// What is wrong, and what would not be.
    pub reason: String,
}

/// The quota if none is given (etcd `storage/quota.go`).
const QUOTA_BYTES: u64 = 2 << 30;

/// Above this an election would take too long to be of use (etcd `maxElectionMs`).
const ELECTION_MILLIS_MAX: u64 = 50_000;

/// Makes values of strings.
///
/// # Errors
/// [`ConfigError`].
pub fn check(raw: &Raw) -> Result<Checked, ConfigError> {
    let name = raw.get("name").to_owned();
    let advertise_peer_urls = urls(raw, "initial-advertise-peer-urls")?;
    let client_urls = listen(raw, "listen-client-urls")?;
    let peer_urls = listen(raw, "listen-peer-urls")?;
    if raw.has("listen-client-urls") && !raw.has("advertise-client-urls") {
        // Compat: etcd's words.
        return Err(error(
            "advertise-client-urls",
            "--advertise-client-urls is required when --listen-client-urls is set explicitly",
        ));
    }
    let heartbeat = number(raw, "heartbeat-interval")?;
    let election = number(raw, "election-timeout")?;
    if heartbeat == 0 {
        return Err(error("heartbeat-interval", "must be above 0 (milliseconds)"));
    }
    if election < 5 * heartbeat {
        let reason = format!("must be at least five heartbeats, here {} ms", 5 * heartbeat);
        return Err(error("election-timeout", &reason));
    }
    if election > ELECTION_MILLIS_MAX {
        let reason = format!("must be {ELECTION_MILLIS_MAX} ms at most");
        return Err(error("election-timeout", &reason));
    }
    let initial_cluster = match raw.get("initial-cluster") {
        "" => InitialCluster { urls: [(name.clone(), advertise_peer_urls.clone())].into() },
        text => InitialCluster::parse(text)
            .map_err(|wrong| error("initial-cluster", &wrong.to_string()))?,
    };
    let data_dir = match raw.get("data-dir") {
        "" => format!("{name}.etcd"),
        dir => dir.to_owned(),
    };
    let config = Config {
        data_dir: data_dir.into(),
        wal_dir: Some(raw.get("wal-dir")).filter(|dir| !dir.is_empty()).map(Into::into),
        initial_cluster,
        initial_cluster_token: raw.get("initial-cluster-token").to_owned(),
        new_cluster: match raw.get("initial-cluster-state") {
            "new" => true,
            "existing" => false,
            _ => return Err(error("initial-cluster-state", "must be new or existing")),
        },
        advertise_peer_urls,
        // That of the ports once they are open: a certificate may have to be made.
        peer_tls: TlsOptions::default(),
        raft_read_timeout: at_least_default(raw, "raft-read-timeout")?,
        raft_write_timeout: at_least_default(raw, "raft-write-timeout")?,
        advertise_client_urls: urls(raw, "advertise-client-urls")?,
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
        watch_progress_interval: progress(raw)?,
        warning_apply: duration(raw, "warning-apply-duration")?,
        warning_request: duration(raw, "warning-unary-request-duration")?,
        name,
    };
    let logger = raw.get("logger");
    if logger != "zap" {
        return Err(error("logger", "zap is the only one; see --log-format"));
    }
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
        log_level: match raw.get("log-level") {
            level @ ("debug" | "info" | "warn" | "error") => level.to_owned(),
            "dpanic" | "panic" | "fatal" => "error".to_owned(),
            _ => {
                return Err(error("log-level", "must be debug, info, warn, error, panic or fatal"));
            }
        },
        log_format: match raw.get("log-format") {
            "json" => LogFormat::Json,
            "console" => LogFormat::Console,
            _ => return Err(error("log-format", "must be json or console")),
        },
    })
}

pub(super) fn error(name: &'static str, reason: &str) -> ConfigError {
    ConfigError { name, reason: reason.to_owned() }
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
    let name = "watch-progress-notify-interval";
    let interval = duration(raw, name)?;
    if !interval.is_zero() && interval < Duration::from_millis(100) {
        return Err(error(name, "must be at least 100ms"));
    }
    Ok(or(interval, 600_000))
}

fn or(duration: Duration, millis: u64) -> Duration {
    if duration.is_zero() { Duration::from_millis(millis) } else { duration }
}

/// Compat: less than the default is taken for the default, as etcd does, and told.
fn at_least_default(raw: &Raw, name: &'static str) -> Result<Duration, ConfigError> {
    let timeout = duration(raw, name)?;
    if timeout < peer::TIMEOUT_MIN {
        tracing::info!("{name} increased to minimum value: {:?}", peer::TIMEOUT_MIN);
    }
    Ok(timeout.max(peer::TIMEOUT_MIN))
}

/// A duration as Go writes it: `1h2m3.5s`, `100ms`, `0`.
fn duration(raw: &Raw, name: &'static str) -> Result<Duration, ConfigError> {
    let text = raw.get(name);
    parse_duration(text)
        .ok_or_else(|| error(name, &format!("{text:?} is no duration like 10m, 1.5s or 100ms")))
}

fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    let mut sum = Duration::ZERO;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| c != '.' && !c.is_ascii_digit())?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum += Duration::try_from_secs_f64(number * seconds).ok()?;
        rest = &rest[unit..];
    }
    Some(sum)
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
                let reason = format!("expected IP in URL for binding ({text})");
                return Err(error(name, &reason));
            }
        }
        all.push(Url { text, address });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Asked, parse};

    fn checked(line: &str) -> Result<Checked, ConfigError> {
        let args = line.split_whitespace().map(str::to_owned);
        match parse(args, []).expect("flags of the table") {
            Asked::Run(raw) => check(&raw),
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn defaults_are_a_member_alone() {
        let checked = checked("").expect("defaults work");
        assert_eq!(checked.config, Config::default());
        assert_eq!(checked.client_urls[0].address.authority(), "127.0.0.1:2379");
        assert_eq!((checked.http_urls.len(), checked.metrics_urls.len()), (0, 0));
        assert_eq!(checked.access, Access { hosts: set("*"), origins: set("*") });
    }

    #[test]
    fn http_is_told_where_and_for_whom() {
        let line = "--listen-client-http-urls=http://127.0.0.1:1 --metrics=extensive \
                    --listen-metrics-urls=http://127.0.0.1:2,http://localhost:3 \
                    --host-whitelist=a.example,b.example --cors=http://a.example:80 \
                    --warning-apply-duration=1s --warning-unary-request-duration=1us";
        let checked = checked(line).expect("all works");
        let addresses = |urls: &[Url]| -> Vec<_> {
            urls.iter().map(|url| url.address.authority().to_owned()).collect()
        };
        assert_eq!(addresses(&checked.http_urls), ["127.0.0.1:1"]);
        assert_eq!(addresses(&checked.metrics_urls), ["127.0.0.1:2", "127.0.0.1:3"]);
        assert!(checked.extensive_metrics);
        assert_eq!(checked.access.hosts, set("a.example,b.example"));
        assert_eq!(checked.access.origins, set("http://a.example:80"));
        assert_eq!(checked.config.warning_apply, Duration::from_secs(1));
        assert_eq!(checked.config.warning_request, Duration::from_micros(1));
    }

    #[test]
    fn timeouts_between_members_are_never_below_the_default() {
        let config =
            checked("--raft-read-timeout=1s --raft-write-timeout=7s").expect("both").config;
        assert_eq!(config.raft_read_timeout, Duration::from_secs(5));
        assert_eq!(config.raft_write_timeout, Duration::from_secs(7));
    }

    #[test]
    fn values_that_do_not_work_are_named() {
        let check = |line: &str, want: &str| {
            assert_eq!(checked(line).map_err(|error| error.name), Err(want), "{line}");
        };
        check("--election-timeout=400", "election-timeout");
        check("--election-timeout=50001", "election-timeout");
        check("--heartbeat-interval=0", "heartbeat-interval");
        check("--listen-client-urls=http://127.0.0.1:1", "advertise-client-urls");
        check("--listen-peer-urls=https://example.com:1", "listen-peer-urls");
        check("--listen-peer-urls=http://example.com:1", "listen-peer-urls");
        check("--initial-cluster=a=b", "initial-cluster");
        check("--initial-cluster-state=old", "initial-cluster-state");
        check("--watch-progress-notify-interval=10ms", "watch-progress-notify-interval");
        check("--compaction-sleep-interval=ten", "compaction-sleep-interval");
        check("--max-txn-ops=-1", "max-txn-ops");
        check("--raft-read-timeout=soon", "raft-read-timeout");
        check("--log-level=loud", "log-level");
        check("--metrics=some", "metrics");
        check("--listen-metrics-urls=http://example.com:1", "listen-metrics-urls");
        check("--listen-client-http-urls=http://localhost:2379", "listen-client-http-urls");
        check("--cors=a.example", "cors");
        check("--warning-apply-duration=1", "warning-apply-duration");
        check("--warning-unary-request-duration=x", "warning-unary-request-duration");
    }

    #[test]
    fn go_durations() {
        let check = |text: &str, millis: Option<u64>| {
            assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text}");
        };
        check("0", Some(0));
        check("0s", Some(0));
        check("100ms", Some(100));
        check("1h0m1.5s", Some(3_601_500));
        check("", None);
        check("10", None);
        check("1x", None);
    }
}
