//! How long reads and requests take, and log lines about those that take long.
//!
//! Invariant: what is fast costs a look at the clock or two; text is made for what is slow only.
//!
//! Source: etcd `server/etcdserver/api/v3rpc/interceptor.go`, `server/etcdserver/v3_server.go`.

use crate::budget::{Connection, Origin};
use crate::log;
use apply::{Op, Operations};
use server::Server;
use server::describe;
use std::time::{Duration, Instant, SystemTime};

/// One read outside of the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadTimer {
    began: Instant,
    /// When it was known that the state is new enough.
    agreed: Option<Instant>,
}

/// How long a read took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Took {
    /// As a whole.
    pub whole: Duration,
    /// The reading alone; none if it did not come to that.
    pub reading: Option<Duration>,
}

impl ReadTimer {
    pub(crate) fn start() -> Self {
        Self { began: Instant::now(), agreed: None }
    }

    /// The state is new enough, after a wait for that or not; now it is read.
    pub(crate) fn agreed(&mut self, waited: bool) {
        self.agreed = Some(if waited { Instant::now() } else { self.began });
    }

    pub(crate) fn took(self) -> Took {
        let now = Instant::now();
        Took { whole: now - self.began, reading: self.agreed.map(|agreed| now - agreed) }
    }
}

/// Counts a range.
pub(crate) fn range(server: &Server, took: Took, good: bool) {
    let metrics = server.metrics();
    if let Some(reading) = took.reading {
        metrics.ranges.took(good, reading);
        metrics.read.ranges.inc();
    }
    metrics.requests.of(Op::Range).took(good, took.whole);
}

/// Counts a transaction that only read.
pub(crate) fn read_only_txn(server: &Server, done: &Operations, good: bool, took: Duration) {
    let metrics = server.metrics();
    metrics.read.add(done);
    metrics.read_only_txns.took(good, took);
}

/// Logs a read that took long. `said` is made only then: the request and the response.
pub(crate) fn log_read(
    server: &Server,
    took: Duration,
    prefix: &str,
    error: Option<&str>,
    said: impl FnOnce() -> (String, String),
) {
    let expected = server.config().warning_apply;
    if took > expected {
        server.metrics().slow_applies.inc();
        let (request, response) = said();
        describe::took_too_long(took, expected, prefix, &request, &response, error);
    }
}

/// What is logged of a request that took long.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub request_count: i64,
    pub request_size: i64,
    pub response_count: i64,
    pub response_size: i64,
    pub content: String,
}

impl Stats {
    /// Compat: of all requests but those for keys nothing is said.
    pub(crate) const UNKNOWN: Stats = Stats {
        request_count: -1,
        request_size: -1,
        response_count: -1,
        response_size: -1,
        content: String::new(),
    };
}

/// What the log line of a slow request says of it besides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slow {
    /// Without the first slash.
    method: &'static str,
    /// A request that takes longer is logged.
    expected: Duration,
    origin: Origin,
}

impl Slow {
    pub(crate) fn new(method: &'static str, expected: Duration, connection: &Connection) -> Self {
        Self { method, expected, origin: connection.origin() }
    }

    /// Logs a request if it took long. `stats` are made only then.
    pub(crate) fn log(self, took: Duration, stats: impl FnOnce() -> Stats) {
        if took <= self.expected {
            return;
        }
        let remote = match self.origin {
            // It is a part of another request.
            Origin::Inside => return,
            Origin::Socket => "@".to_owned(),
            Origin::Address(address) => address.to_string(),
        };
        let stats = stats();
        let start = SystemTime::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH);
        tracing::warn!(
            "start time" = log::timestamp_of(start),
            "time spent" = server::go_duration(took),
            remote,
            "response type" = format!("/{}", self.method),
            "request count" = stats.request_count,
            "request size" = stats.request_size,
            "response count" = stats.response_count,
            "response size" = stats.response_size,
            "request content" = stats.content,
            "request stats"
        );
    }
}
