//! How long reads and requests take, and log lines about those that take long.
//!
//! Invariant: what is fast costs a look at the clock or two; text is made for what is slow only.
//!
//! Source: etcd `server/etcdserver/api/v3rpc/interceptor.go`, `server/etcdserver/v3_server.go`.

use crate::budget::Connection;
use crate::log::timestamp;
use apply::{Op, Operations};
use server::Server;
use server::describe;
use std::time::{Duration, Instant, SystemTime};

/// One range outside of the log.
pub(crate) struct ReadTimer<'a> {
    server: &'a Server,
    began: Instant,
    /// When it was known that the state is new enough.
    agreed: Option<Instant>,
}

impl<'a> ReadTimer<'a> {
    pub(crate) fn start(server: &'a Server) -> Self {
        Self { server, began: Instant::now(), agreed: None }
    }

    /// The state is new enough; now it is read.
    pub(crate) fn agreed(&mut self) {
        self.agreed = Some(Instant::now());
    }

    /// It is answered; how long it took as a whole.
    pub(crate) fn finish(self, good: bool) -> Duration {
        let (now, metrics) = (Instant::now(), self.server.metrics());
        if let Some(agreed) = self.agreed {
            metrics.ranges.took(good, now - agreed);
            metrics.read.ranges.inc();
        }
        let took = now - self.began;
        metrics.requests.of(Op::Range).took(good, took);
        took
    }
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

/// Logs a request that took long. `stats` are made only then.
pub(crate) fn log_request(
    expected: Duration,
    connection: Option<&Connection>,
    method: &str,
    took: Duration,
    stats: impl FnOnce() -> Stats,
) {
    if took <= expected {
        return;
    }
    let stats = stats();
    let start = SystemTime::now().checked_sub(took).unwrap_or(SystemTime::UNIX_EPOCH);
    let remote = connection.and_then(Connection::remote);
    let remote = remote.map_or("No remote client info.".to_owned(), |address| address.to_string());
    tracing::warn!(
        "start time" = timestamp(start),
        "time spent" = describe::duration(took),
        remote,
        "response type" = format!("/{method}"),
        "request count" = stats.request_count,
        "request size" = stats.request_size,
        "response count" = stats.response_count,
        "response size" = stats.response_size,
        "request content" = stats.content,
        "request stats"
    );
}
