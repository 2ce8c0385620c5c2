//! `/metrics`: the member's numbers by the names of etcd's.
//!
//! `server` counts, this says what the numbers are called; gauges that can be computed are
//! computed when somebody asks. Names, kinds, help, labels and buckets are those of etcd 3.7.1; a
//! test compares all of them with it. What the features count that are not built yet is 0, as it
//! is in an etcd that does not use them.
//!
//! Source: the files `metrics.go` of etcd's server.

pub(crate) mod counted;
mod names;
mod process;
mod requests;
pub(crate) mod tally;
mod text;

pub(crate) use process::Process;
pub use requests::{Method, RequestMetrics, VersionId};

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use server::Server;
use server::metrics::{Counter, Gauge};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use text::Page;

/// Compat: what stands where etcd names the version of Go.
const RUNTIME: &str = "none, this is Rust";

/// What is counted where a member is served, and the page of all.
#[derive(Debug)]
pub struct Metrics {
    /// gRPC.
    pub requests: Arc<RequestMetrics>,
    well: Counter,
    unwell: Counter,
    checks: Mutex<BTreeMap<(&'static str, &'static str), Checked>>,
    scrapes: Counter,
    scrapes_now: Gauge,
}

/// How one check of health went.
#[derive(Debug, Default, Clone, Copy)]
struct Checked {
    well_last: bool,
    well: u64,
    unwell: u64,
}

impl Metrics {
    /// Numbers of nothing; `extensive` to time every request of gRPC.
    #[must_use]
    pub fn new(extensive: bool) -> Self {
        Self {
            requests: Arc::new(RequestMetrics::new(extensive)),
            well: Counter::default(),
            unwell: Counter::default(),
            checks: Mutex::default(),
            scrapes: Counter::default(),
            scrapes_now: Gauge::default(),
        }
    }

    /// Somebody asked for `/health`.
    pub(crate) fn health(&self, well: bool) {
        if well { self.well.inc() } else { self.unwell.inc() }
    }

    /// A check of health was made.
    pub(crate) fn checked(&self, kind: &'static str, name: &'static str, well: bool) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = checks.entry((kind, name)).or_default();
        checked.well_last = well;
        if well { checked.well += 1 } else { checked.unwell += 1 }
    }

    /// The page.
    pub(crate) async fn answer(&self, server: &Server) -> Response {
        self.scrapes_now.add(1);
        let process = tokio::task::spawn_blocking(Process::read).await.unwrap_or_default();
        let mut page = Page::default();
        names::render(&mut page, server);
        process::render(&mut page, &process);
        self.requests.render(&mut page);
        self.render(&mut page);
        self.scrapes.inc();
        self.scrapes_now.add(-1);
        let mut response = Response::new(Body::from(page.finish()));
        // Compat: as Go's library names the format.
        let kind = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        response
    }

    #[allow(clippy::cast_precision_loss, reason = "what is shown is a float")]
    fn render(&self, page: &mut Page) {
        page.counter(
            "etcd_server_health_success",
            "The total number of successful health checks",
            self.well.get(),
        );
        page.counter(
            "etcd_server_health_failures",
            "The total number of failed health checks",
            self.unwell.get(),
        );
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let help = "The result of each kind of healthcheck.";
        page.family("etcd_server_healthcheck", "gauge", help, |family| {
            for ((kind, name), checked) in &checks {
                let well = if checked.well_last { 1.0 } else { 0.0 };
                family.sample(&[("name", name), ("type", kind)], well);
            }
        });
        let help = "The total number of each kind of healthcheck.";
        page.family("etcd_server_healthchecks_total", "counter", help, |family| {
            for ((kind, name), checked) in &checks {
                for (status, count) in [("success", checked.well), ("error", checked.unwell)] {
                    if count > 0 {
                        let labels = [("name", *name), ("status", status), ("type", *kind)];
                        family.sample(&labels, count as f64);
                    }
                }
            }
        });
        // Compat: the one that is being served is counted once it is done.
        let help = "Total number of scrapes by HTTP status code.";
        page.family("promhttp_metric_handler_requests_total", "counter", help, |family| {
            for (code, count) in [("200", self.scrapes.get()), ("500", 0), ("503", 0)] {
                family.sample(&[("code", code)], count as f64);
            }
        });
        let help = "Current number of scrapes being served.";
        let now = self.scrapes_now.get() as f64;
        page.gauge("promhttp_metric_handler_requests_in_flight", help, now);
    }
}
