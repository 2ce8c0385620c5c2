//! What one connection counts of its fast calls.
//!
//! Invariants: only the connection's task writes, so that no number is added to by two at once:
//! to count is a load and a store, and no cache line goes to and fro. Whoever asks reads all
//! connections' numbers; a connection that goes leaves its own behind.

use super::requests::{FAST, Method, RequestMetrics, VersionId};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use tonic::Code;

/// A number that one task writes.
#[derive(Debug, Default)]
struct Own(AtomicU64);

impl Own {
    fn add(&self, more: u64) {
        self.0.store(self.get() + more, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// One connection's numbers.
#[derive(Debug, Default)]
pub(super) struct Tally {
    methods: [OwnCalls; FAST],
    received_bytes: Own,
    sent_bytes: Own,
    /// Place of the version its client tells, and one more; 0 before it told one.
    version: AtomicU64,
    /// Requests of this version.
    unary: Own,
    stream: Own,
}

#[derive(Debug, Default)]
struct OwnCalls {
    started: Own,
    received: Own,
    sent: Own,
    ok: Own,
}

/// One method's numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Calls {
    pub started: u64,
    /// Messages of streams.
    pub received: u64,
    pub sent: u64,
    /// Calls that ended well.
    pub ok: u64,
}

/// The numbers of many connections.
#[derive(Debug, Clone, Default)]
pub(super) struct Totals {
    pub methods: [Calls; FAST],
    pub received_bytes: u64,
    pub sent_bytes: u64,
    /// Unary requests and streams, by the version of their clients.
    versions: Vec<[u64; 2]>,
}

impl Totals {
    pub(super) fn add(&mut self, tally: &Tally) {
        for (sum, own) in self.methods.iter_mut().zip(&tally.methods) {
            sum.started += own.started.get();
            sum.received += own.received.get();
            sum.sent += own.sent.get();
            sum.ok += own.ok.get();
        }
        self.received_bytes += tally.received_bytes.get();
        self.sent_bytes += tally.sent_bytes.get();
        let version = usize::try_from(tally.version.load(Ordering::Relaxed)).unwrap_or_default();
        let Some(at) = version.checked_sub(1) else { return };
        if self.versions.len() <= at {
            self.versions.resize(at + 1, [0; 2]);
        }
        self.versions[at][0] += tally.unary.get();
        self.versions[at][1] += tally.stream.get();
    }

    /// Unary requests and streams of clients of a version.
    pub(super) fn by_version(&self, version: VersionId) -> [u64; 2] {
        self.versions.get(version.0).copied().unwrap_or_default()
    }
}

/// The side of a connection that counts.
#[derive(Debug)]
pub(crate) struct Counts {
    metrics: Arc<RequestMetrics>,
    tally: Arc<Tally>,
    number: u64,
    /// What its client said last of its version.
    version: Option<(Option<Box<[u8]>>, VersionId)>,
}

/// A call that is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counting {
    method: Method,
    /// If calls are timed.
    began: Option<Instant>,
}

impl Counts {
    pub(crate) fn new(metrics: Arc<RequestMetrics>) -> Self {
        let (number, tally) = metrics.enter();
        Self { metrics, tally, number, version: None }
    }

    /// The version that a client tells. It is the same for all requests of most clients.
    pub(crate) fn version(&mut self, told: Option<&[u8]>) -> VersionId {
        if let Some((last, version)) = &self.version
            && last.as_deref() == told
        {
            return *version;
        }
        let name = told.map(String::from_utf8_lossy);
        let version = self.metrics.version(name.as_deref());
        self.version = Some((told.map(Box::from), version));
        version
    }

    /// A request came, whether or not it starts.
    pub(crate) fn came(&self, method: Method, version: VersionId) {
        let (tally, place) = (&self.tally, version.0 as u64 + 1);
        match tally.version.load(Ordering::Relaxed) {
            0 => tally.version.store(place, Ordering::Relaxed),
            its if its == place => {}
            // A connection for several clients.
            _ => return self.metrics.came(method, version),
        }
        if method.is_unary() { tally.unary.add(1) } else { tally.stream.add(1) }
    }

    /// Its call starts.
    pub(crate) fn started(&self, method: Method) -> Counting {
        self.tally.methods[method.place()].started.add(1);
        Counting { method, began: self.metrics.times().then(Instant::now) }
    }

    /// A message of a client came. That of a unary call counts as one when it starts.
    pub(crate) fn received(&self, method: Method, bytes: usize) {
        self.tally.received_bytes.add(bytes as u64);
        if !method.is_unary() {
            self.tally.methods[method.place()].received.add(1);
        }
    }

    /// The client of a stream says no more. Compat: that counts as a message.
    pub(crate) fn received_all(&self, method: Method) {
        self.tally.methods[method.place()].received.add(1);
    }

    /// A message goes out. That of a unary call counts as one when it ends.
    pub(crate) fn sent(&self, method: Method, bytes: usize) {
        self.tally.sent_bytes.add(bytes as u64);
        if !method.is_unary() {
            self.tally.methods[method.place()].sent.add(1);
        }
    }

    /// A call is over.
    pub(crate) fn finished(&self, Counting { method, began }: Counting, code: Code) {
        if code == Code::Ok && began.is_none() {
            self.tally.methods[method.place()].ok.add(1);
        } else {
            self.metrics.finished(method, code, began);
        }
    }
}

impl Drop for Counts {
    fn drop(&mut self) {
        self.metrics.leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::text::Page;

    fn lines(metrics: &RequestMetrics, wanted: &[&str]) -> Vec<String> {
        let mut page = Page::default();
        metrics.render(&mut page);
        let text = page.finish();
        let shown = |line: &&str| wanted.iter().any(|wanted| line.starts_with(wanted));
        text.lines().filter(shown).map(str::to_owned).collect()
    }

    #[test]
    fn connections_count_together_and_leave_their_numbers_behind() {
        let metrics = Arc::new(RequestMetrics::new(false));
        let (mut one, mut other) =
            (Counts::new(Arc::clone(&metrics)), Counts::new(Arc::clone(&metrics)));
        let version = one.version(Some(b"3.7"));
        for code in [Code::Ok, Code::Ok, Code::Cancelled] {
            one.came(Method::PUT, version);
            one.received(Method::PUT, 10);
            let call = one.started(Method::PUT);
            one.sent(Method::PUT, 3);
            one.finished(call, code);
        }
        let unknown = other.version(None);
        other.came(Method::WATCH, unknown);
        let watch = other.started(Method::WATCH);
        other.received(Method::WATCH, 1);
        other.received_all(Method::WATCH);
        other.sent(Method::WATCH, 7);
        // Another client on the same connection.
        let version = other.version(Some(b"3.7"));
        other.came(Method::PUT, version);
        let wanted = [
            r#"grpc_server_started_total{grpc_method="Put""#,
            r#"grpc_server_msg_sent_total{grpc_method="Put""#,
            r#"grpc_server_msg_received_total{grpc_method="Watch",grpc_service="e"#,
            r#"grpc_server_msg_sent_total{grpc_method="Watch",grpc_service="e"#,
            r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Put""#,
            r#"grpc_server_handled_total{grpc_code="Canceled",grpc_method="Put""#,
            "etcd_server_client_requests_total{",
            "etcd_network_client_grpc_received_bytes_total ",
            "etcd_network_client_grpc_sent_bytes_total ",
        ];
        let want = [
            "etcd_network_client_grpc_received_bytes_total 31",
            "etcd_network_client_grpc_sent_bytes_total 16",
            r#"etcd_server_client_requests_total{client_api_version="3.7",type="unary"} 4"#,
            r#"etcd_server_client_requests_total{client_api_version="unknown",type="stream"} 1"#,
            r#"grpc_server_handled_total{grpc_code="Canceled",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1"#,
            r#"grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 2"#,
            r#"grpc_server_msg_received_total{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 2"#,
            r#"grpc_server_msg_sent_total{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 3"#,
            r#"grpc_server_msg_sent_total{grpc_method="Watch",grpc_service="etcdserverpb.Watch",grpc_type="bidi_stream"} 1"#,
            r#"grpc_server_started_total{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 3"#,
        ];
        assert_eq!(lines(&metrics, &wanted), want);
        drop(one);
        assert_eq!(lines(&metrics, &wanted), want);
        other.finished(watch, Code::Ok);
        drop(other);
        assert_eq!(lines(&metrics, &wanted), want);
    }
}
