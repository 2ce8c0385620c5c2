//! What clients ask for over gRPC: counts by method and code, messages, bytes, durations.
//!
//! Whoever serves gRPC feeds it: [`RequestMetrics::started`], [`RequestMetrics::received`],
//! [`RequestMetrics::sent`], [`RequestMetrics::finished`], once or more for each request. Calls
//! that are many are counted by their connection for itself (`tally`), and added when somebody
//! asks. What it is not: a layer of any server.
//!
//! Invariants: no lock and no allocation for a request; clients cannot make it grow.
//!
//! Source: Go's `grpc-ecosystem/go-grpc-middleware/providers/prometheus`; etcd
//! `server/etcdserver/api/v3rpc/{codec,metrics}.go`.

use super::tally::{Tally, Totals};
use super::text::Page;
use server::metrics::{Counter, Histogram};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tonic::Code;

/// How a method is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Unary,
    ServerStream,
    BothStream,
}

use Kind::{BothStream, ServerStream, Unary};

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Unary => "unary",
            ServerStream => "server_stream",
            BothStream => "bidi_stream",
        }
    }
}

/// A method that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method(usize);

/// Path without the first slash, and how it is called; those that connections count first.
const METHODS: [(&str, Kind); 52] = [
    ("etcdserverpb.KV/Put", Unary),
    ("etcdserverpb.KV/Range", Unary),
    ("etcdserverpb.KV/Txn", Unary),
    ("etcdserverpb.KV/DeleteRange", Unary),
    ("etcdserverpb.Watch/Watch", BothStream),
    ("etcdserverpb.Lease/LeaseKeepAlive", BothStream),
    ("etcdserverpb.KV/Compact", Unary),
    ("etcdserverpb.KV/RangeStream", ServerStream),
    ("etcdserverpb.Lease/LeaseGrant", Unary),
    ("etcdserverpb.Lease/LeaseRevoke", Unary),
    ("etcdserverpb.Lease/LeaseTimeToLive", Unary),
    ("etcdserverpb.Lease/LeaseLeases", Unary),
    ("etcdserverpb.Maintenance/Status", Unary),
    ("etcdserverpb.Maintenance/Alarm", Unary),
    ("etcdserverpb.Maintenance/Defragment", Unary),
    ("etcdserverpb.Maintenance/Hash", Unary),
    ("etcdserverpb.Maintenance/HashKV", Unary),
    ("etcdserverpb.Maintenance/MoveLeader", Unary),
    ("etcdserverpb.Maintenance/Downgrade", Unary),
    ("etcdserverpb.Maintenance/Snapshot", ServerStream),
    ("etcdserverpb.Cluster/MemberList", Unary),
    ("etcdserverpb.Cluster/MemberAdd", Unary),
    ("etcdserverpb.Cluster/MemberRemove", Unary),
    ("etcdserverpb.Cluster/MemberUpdate", Unary),
    ("etcdserverpb.Cluster/MemberPromote", Unary),
    ("etcdserverpb.Auth/Authenticate", Unary),
    ("etcdserverpb.Auth/AuthEnable", Unary),
    ("etcdserverpb.Auth/AuthDisable", Unary),
    ("etcdserverpb.Auth/AuthStatus", Unary),
    ("etcdserverpb.Auth/UserAdd", Unary),
    ("etcdserverpb.Auth/UserGet", Unary),
    ("etcdserverpb.Auth/UserList", Unary),
    ("etcdserverpb.Auth/UserDelete", Unary),
    ("etcdserverpb.Auth/UserChangePassword", Unary),
    ("etcdserverpb.Auth/UserGrantRole", Unary),
    ("etcdserverpb.Auth/UserRevokeRole", Unary),
    ("etcdserverpb.Auth/RoleAdd", Unary),
    ("etcdserverpb.Auth/RoleGet", Unary),
    ("etcdserverpb.Auth/RoleList", Unary),
    ("etcdserverpb.Auth/RoleDelete", Unary),
    ("etcdserverpb.Auth/RoleGrantPermission", Unary),
    ("etcdserverpb.Auth/RoleRevokePermission", Unary),
    ("grpc.health.v1.Health/Check", Unary),
    ("grpc.health.v1.Health/List", Unary),
    ("grpc.health.v1.Health/Watch", ServerStream),
    // Compat: the following are shown once they were asked for.
    ("v3lockpb.Lock/Lock", Unary),
    ("v3lockpb.Lock/Unlock", Unary),
    ("v3electionpb.Election/Campaign", Unary),
    ("v3electionpb.Election/Proclaim", Unary),
    ("v3electionpb.Election/Leader", Unary),
    ("v3electionpb.Election/Observe", ServerStream),
    ("v3electionpb.Election/Resign", Unary),
];

/// Methods that are shown from the start.
const SHOWN: usize = 45;

/// All codes and their names, by number.
const CODES: [(Code, &str); 17] = [
    (Code::Ok, "OK"),
    (Code::Cancelled, "Canceled"),
    (Code::Unknown, "Unknown"),
    (Code::InvalidArgument, "InvalidArgument"),
    (Code::DeadlineExceeded, "DeadlineExceeded"),
    (Code::NotFound, "NotFound"),
    (Code::AlreadyExists, "AlreadyExists"),
    (Code::PermissionDenied, "PermissionDenied"),
    (Code::ResourceExhausted, "ResourceExhausted"),
    (Code::FailedPrecondition, "FailedPrecondition"),
    (Code::Aborted, "Aborted"),
    (Code::OutOfRange, "OutOfRange"),
    (Code::Unimplemented, "Unimplemented"),
    (Code::Internal, "Internal"),
    (Code::Unavailable, "Unavailable"),
    (Code::DataLoss, "DataLoss"),
    (Code::Unauthenticated, "Unauthenticated"),
];

/// Methods whose calls are counted by their connections: the first ones.
pub(super) const FAST: usize = 6;

/// Versions of clients told apart, at most; what comes then counts as `unknown`.
const VERSIONS_MAX: usize = 64;

/// The version of a client that tells none.
const UNKNOWN: &str = "unknown";

impl Method {
    /// The methods whose calls are counted by their connections.
    pub const PUT: Method = Method(0);
    /// As above.
    pub const RANGE: Method = Method(1);
    /// As above.
    pub const TXN: Method = Method(2);
    /// As above.
    pub const DELETE_RANGE: Method = Method(3);
    /// As above.
    pub const WATCH: Method = Method(4);
    /// As above.
    pub const LEASE_KEEP_ALIVE: Method = Method(5);

    /// Its place among those that connections count.
    pub(super) fn place(self) -> usize {
        self.0
    }

    /// The method at a path, `/package.Service/Method`.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        METHODS.iter().position(|(known, _)| *known == path).map(Method)
    }

    /// Its service and name, with a slash between.
    #[must_use]
    pub fn name(self) -> &'static str {
        METHODS[self.0].0
    }

    /// Whether a stream of messages comes.
    #[must_use]
    pub fn reads_on(self) -> bool {
        METHODS[self.0].1 == BothStream
    }

    /// Whether it takes one message and gives one.
    #[must_use]
    pub fn is_unary(self) -> bool {
        METHODS[self.0].1 == Unary
    }

    /// Whether a member without a vote serves it.
    #[must_use]
    pub fn serves_learners(self) -> bool {
        matches!(
            self.name(),
            "etcdserverpb.Maintenance/Status" | "etcdserverpb.Maintenance/Snapshot"
        )
    }
}

/// A version of clients' API, by its place among those that were told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionId(pub(super) usize);

/// The numbers. Any thread.
#[derive(Debug)]
pub struct RequestMetrics {
    methods: Vec<Numbers>,
    received_bytes: Counter,
    sent_bytes: Counter,
    versions: Vec<Version>,
    tallies: Mutex<Tallies>,
}

/// What connections counted.
#[derive(Debug, Default)]
struct Tallies {
    /// Of those that are there, by their numbers.
    open: BTreeMap<u64, Arc<Tally>>,
    next: u64,
    /// Of those that were.
    gone: Totals,
}

#[derive(Debug)]
struct Numbers {
    started: Counter,
    received: Counter,
    sent: Counter,
    handled: [Counter; CODES.len()],
    /// How long, if that is asked for.
    handling: Option<Histogram>,
}

#[derive(Debug, Default)]
struct Version {
    name: OnceLock<Box<str>>,
    unary: Counter,
    stream: Counter,
}

impl RequestMetrics {
    /// Numbers of nothing; `extensive` to time every request.
    #[must_use]
    pub fn new(extensive: bool) -> Self {
        let numbers = |_| Numbers {
            started: Counter::default(),
            received: Counter::default(),
            sent: Counter::default(),
            handled: std::array::from_fn(|_| Counter::default()),
            handling: extensive.then(default_buckets),
        };
        let versions: Vec<Version> = (0..VERSIONS_MAX).map(|_| Version::default()).collect();
        // The last resort of those for whom there is no room.
        let unknown = versions[0].name.set(UNKNOWN.into());
        debug_assert!(unknown.is_ok(), "it is new");
        Self {
            methods: (0..METHODS.len()).map(numbers).collect(),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            versions,
            tallies: Mutex::default(),
        }
    }

    /// A connection came, which counts its calls in this.
    pub(super) fn enter(&self) -> (u64, Arc<Tally>) {
        let mut tallies = self.tallies();
        let (number, tally) = (tallies.next, Arc::<Tally>::default());
        tallies.next += 1;
        tallies.open.insert(number, Arc::clone(&tally));
        (number, tally)
    }

    /// It is gone.
    pub(super) fn leave(&self, number: u64) {
        let mut tallies = self.tallies();
        if let Some(tally) = tallies.open.remove(&number) {
            tallies.gone.add(&tally);
        }
    }

    fn tallies(&self) -> MutexGuard<'_, Tallies> {
        // What is in it is whole whoever panicked.
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request came, from a client of this API version.
    pub fn started(&self, method: Method, client_api_version: Option<&str>) {
        self.methods[method.0].started.inc();
        self.came(method, self.version(client_api_version));
    }

    /// A request came from a client of this version, started or not.
    pub(super) fn came(&self, method: Method, version: VersionId) {
        let version = &self.versions[version.0];
        if method.is_unary() { version.unary.inc() } else { version.stream.inc() }
    }

    /// The version that a client tells, if it tells one.
    #[must_use]
    pub fn version(&self, name: Option<&str>) -> VersionId {
        let name = name.unwrap_or(UNKNOWN);
        let same = |version: &Version| **version.name.get_or_init(|| name.into()) == *name;
        VersionId(self.versions.iter().position(same).unwrap_or_default())
    }

    /// Messages of a request came, of so many bytes without their frames.
    pub fn received(&self, method: Method, messages: u64, bytes: u64) {
        self.methods[method.0].received.add(messages);
        self.received_bytes.add(bytes);
    }

    /// Messages of an answer went out.
    pub fn sent(&self, method: Method, messages: u64, bytes: u64) {
        self.methods[method.0].sent.add(messages);
        self.sent_bytes.add(bytes);
    }

    /// A request was answered. `began` is needed only of [`RequestMetrics::times`].
    pub fn finished(&self, method: Method, code: Code, began: Option<Instant>) {
        let numbers = &self.methods[method.0];
        numbers.handled[code as usize].inc();
        if let (Some(handling), Some(began)) = (&numbers.handling, began) {
            handling.took(began.elapsed());
        }
    }

    /// Whether every request is timed.
    #[must_use]
    pub fn times(&self) -> bool {
        self.methods[0].handling.is_some()
    }

    /// What connections counted, until now.
    fn totals(&self) -> Totals {
        let tallies = self.tallies();
        let mut totals = tallies.gone.clone();
        tallies.open.values().for_each(|tally| totals.add(tally));
        totals
    }

    #[allow(clippy::cast_precision_loss, reason = "what is shown is a float")]
    pub(super) fn render(&self, page: &mut Page) {
        let totals = self.totals();
        page.counter(
            "etcd_network_client_grpc_received_bytes_total",
            "The total number of bytes received from grpc clients.",
            self.received_bytes.get() + totals.received_bytes,
        );
        page.counter(
            "etcd_network_client_grpc_sent_bytes_total",
            "The total number of bytes sent to grpc clients.",
            self.sent_bytes.get() + totals.sent_bytes,
        );
        page.family(
            "etcd_server_client_requests_total",
            "counter",
            "The total number of client requests per client version.",
            |family| {
                for (at, version) in self.versions.iter().enumerate() {
                    let Some(name) = version.name.get() else { continue };
                    let [unary, stream] = totals.by_version(VersionId(at));
                    let counts = [
                        ("stream", version.stream.get() + stream),
                        ("unary", version.unary.get() + unary),
                    ];
                    for (kind, count) in counts.into_iter().filter(|(_, count)| *count > 0) {
                        let labels = [("client_api_version", &**name), ("type", kind)];
                        family.sample(&labels, count as f64);
                    }
                }
            },
        );
        type Count = fn(&Shown<'_>) -> u64;
        let counters: [(&'static str, &str, Count); 3] = [
            ("grpc_server_started_total", "Total number of RPCs started on the server.", |shown| {
                shown.started
            }),
            (
                "grpc_server_msg_received_total",
                "Total number of RPC stream messages received on the server.",
                |shown| shown.received,
            ),
            (
                "grpc_server_msg_sent_total",
                "Total number of gRPC stream messages sent by the server.",
                |shown| shown.sent,
            ),
        ];
        let shown = self.shown(&totals);
        for (name, help, count) in counters {
            page.family(name, "counter", help, |family| {
                for shown in &shown {
                    family.sample(&shown.labels, count(shown) as f64);
                }
            });
        }
        let help =
            "Total number of RPCs completed on the server, regardless of success or failure.";
        page.family("grpc_server_handled_total", "counter", help, |family| {
            for shown in &shown {
                for ((_, code), count) in CODES.iter().zip(shown.handled) {
                    let [method, service, kind] = shown.labels;
                    let labels = [("grpc_code", *code), method, service, kind];
                    family.sample(&labels, count as f64);
                }
            }
        });
        let help = "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.";
        page.family("grpc_server_handling_seconds", "histogram", help, |family| {
            for shown in &shown {
                if let Some(handling) = shown.handling {
                    family.histogram(&shown.labels, handling);
                }
            }
        });
    }

    /// The methods to be shown.
    fn shown(&self, totals: &Totals) -> Vec<Shown<'_>> {
        let mut all = Vec::new();
        for (at, ((path, kind), numbers)) in METHODS.iter().zip(&self.methods).enumerate() {
            let fast = totals.methods.get(at).copied().unwrap_or_default();
            let mut handled = numbers.handled.each_ref().map(Counter::get);
            handled[0] += fast.ok;
            let started = numbers.started.get() + fast.started;
            if at >= SHOWN && started == 0 {
                continue;
            }
            let (service, method) = path.split_once('/').expect("a path has a service");
            // Compat: one call is one message each way, however it ends.
            let unary = *kind == Unary && at < FAST;
            all.push(Shown {
                labels: [
                    ("grpc_method", method),
                    ("grpc_service", service),
                    ("grpc_type", kind.name()),
                ],
                started,
                received: if unary { started } else { numbers.received.get() + fast.received },
                sent: if unary { handled.iter().sum() } else { numbers.sent.get() + fast.sent },
                handled,
                handling: numbers.handling.as_ref(),
            });
        }
        all
    }
}

/// One method's numbers, from wherever they were counted.
struct Shown<'a> {
    labels: [(&'static str, &'static str); 3],
    started: u64,
    received: u64,
    sent: u64,
    handled: [u64; CODES.len()],
    handling: Option<&'a Histogram>,
}

/// Compat: the buckets that Prometheus' client has if it is given none.
fn default_buckets() -> Histogram {
    let millis = [5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000];
    Histogram::seconds_up_to(&millis.map(Duration::from_millis))
}
