//! The log lines of a start and a stop, with etcd's texts and fields: people, charts and tests
//! wait for them.
//!
//! Source: etcd `server/etcdmain/etcd.go`, `server/embed/etcd.go`, `pkg/osutil`.

use serde_json::{Value, json};
use serve::config::{Checked, Raw, Url};
use serve::log::{self, Severity};
use server::Server;
use tokio::signal::unix::SignalKind;

/// Compat: there is a field for it.
pub const GO_VERSION: &str = "none, this is Rust";

/// What stands where etcd has its commit.
pub fn git_sha() -> String {
    format!("quorate {}", api::version::QUORATE_VERSION)
}

/// What Go calls the processor.
pub fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// What is noteworthy of the flags.
pub fn flags(raw: &Raw, args: &[String]) {
    if raw.get("listen-client-http-urls").is_empty() {
        tracing::warn!(
            "Running http and grpc server on single port. This is not recommended for production."
        );
    }
    if raw.get("name") == "default" {
        tracing::warn!(
            name = "default",
            "it isn't recommended to use default name, please set a value for --name. Note that \
             etcd might run into issue when multiple members have the same default name"
        );
    }
    if let Some(path) = raw.file() {
        tracing::info!(
            path,
            "loaded server configuration, other configuration command line flags and environment \
             variables will be ignored if provided"
        );
    }
    if raw.has("max-snapshots") {
        tracing::warn!("--max-snapshots is deprecated in 3.6 and will be decommissioned in 3.8.");
    }
    if raw.has("v2-deprecation") {
        tracing::warn!(
            "--v2-deprecation is deprecated and scheduled for removal in v3.8. The default value \
             is enforced, ignoring user input."
        );
    }
    tracing::info!(?args, "Running: ");
}

/// That the flags do not work.
pub fn refused(args: &[String], error: &str) {
    tracing::info!(?args, "Running: ");
    tracing::warn!(error, "failed to verify flags");
}

/// What is there to begin with.
pub fn beginning(raw: &Raw, checked: &Checked) {
    let folder = &checked.config.data_dir;
    let data_dir = folder.display().to_string();
    if raw.get("data-dir").is_empty() {
        tracing::warn!(data_dir, "'data-dir' was empty; using default");
    }
    let mut is_member = false;
    // One that is not there is made.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name() == "member" {
            is_member = true;
        } else {
            let filename = entry.file_name().to_string_lossy().into_owned();
            tracing::warn!(filename, data_dir, "found invalid file under data directory");
        }
    }
    if is_member {
        tracing::info!(data_dir, dir_type = "member", "server has already been initialized");
    } else {
        tracing::info!(data_dir, dir_type = "empty", "Initialize and start etcd server");
    }
}

/// The line that says what is in force.
pub struct Starting {
    fields: Vec<(&'static str, Value)>,
}

impl Starting {
    /// Looks at everything before the parts go where they are needed.
    pub fn new(raw: &Raw, checked: &Checked, is_initialized: bool) -> Self {
        let config = &checked.config;
        let text = |name: &'static str| json!(raw.get(name));
        let is_on = |name: &'static str| json!(raw.get(name) == "true");
        let number = |name: &'static str| json!(raw.get(name).parse::<i64>().unwrap_or_default());
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        let data_dir = config.data_dir.display().to_string();
        let duration = |duration| json!(server::go_duration(duration));
        let kept = match config.auto_compaction {
            None => std::time::Duration::ZERO,
            Some(server::AutoCompaction::Periodic(period)) => period,
            // Compat: revisions are logged as nanoseconds.
            Some(server::AutoCompaction::Revision(kept)) => {
                std::time::Duration::from_nanos(kept.unsigned_abs())
            }
        };
        // Compat: both count while there is no member only.
        let (initial_cluster, token) = match is_initialized {
            true => (String::new(), String::new()),
            false => (config.initial_cluster.to_string(), config.initial_cluster_token.clone()),
        };
        let quota = match number("quota-backend-bytes") {
            zero if zero == 0 => json!(2_i64 << 30),
            bytes => bytes,
        };
        let fields = vec![
            ("etcd-version", json!(api::version::VERSION)),
            ("git-sha", json!(git_sha())),
            ("go-version", json!(GO_VERSION)),
            ("go-os", json!(std::env::consts::OS)),
            ("go-arch", json!(go_arch())),
            ("max-cpu-set", json!(cpus)),
            ("max-cpu-available", json!(cpus)),
            ("member-initialized", json!(is_initialized)),
            ("name", json!(config.name)),
            ("data-dir", json!(data_dir)),
            ("wal-dir", text("wal-dir")),
            ("wal-dir-dedicated", text("wal-dir")),
            ("member-dir", json!(config.data_dir.join("member").display().to_string())),
            ("force-new-cluster", is_on("force-new-cluster")),
            ("heartbeat-interval", duration(config.heartbeat_interval)),
            ("election-timeout", duration(config.election_timeout())),
            ("initial-election-tick-advance", is_on("initial-election-tick-advance")),
            ("snapshot-count", json!(config.snapshot_count)),
            ("max-wals", number("max-wals")),
            ("max-snapshots", number("max-snapshots")),
            ("snapshot-catchup-entries", json!(config.snapshot_catch_up_entries)),
            ("initial-advertise-peer-urls", json!(config.advertise_peer_urls)),
            ("listen-peer-urls", texts(&checked.peer_urls)),
            ("advertise-client-urls", json!(config.advertise_client_urls)),
            ("listen-client-urls", texts(&checked.client_urls)),
            ("listen-metrics-urls", list(raw, "listen-metrics-urls")),
            ("local-address", json!("")),
            ("cors", list(raw, "cors")),
            ("host-whitelist", list(raw, "host-whitelist")),
            ("initial-cluster", json!(initial_cluster)),
            ("initial-cluster-state", json!(if config.new_cluster { "new" } else { "existing" })),
            ("initial-cluster-token", json!(token)),
            ("quota-backend-bytes", quota),
            ("max-request-bytes", json!(config.max_request_bytes)),
            ("max-concurrent-streams", number("max-concurrent-streams")),
            ("pre-vote", json!(config.pre_vote)),
            ("feature-gates", json!(checked.gates.to_string())),
            // Compat: the field is false whatever the gate of that name is.
            ("initial-corrupt-check", json!(false)),
            ("corrupt-check-time-interval", text("corrupt-check-time")),
            ("compact-check-time-interval", text("compact-hash-check-time")),
            ("auto-compaction-mode", text("auto-compaction-mode")),
            ("auto-compaction-retention", duration(kept)),
            ("auto-compaction-interval", duration(kept)),
            ("discovery-token", text("discovery-token")),
            ("discovery-endpoints", text("discovery-endpoints")),
            ("discovery-dial-timeout", text("discovery-dial-timeout")),
            ("discovery-request-timeout", text("discovery-request-timeout")),
            ("discovery-keepalive-time", text("discovery-keepalive-time")),
            ("discovery-keepalive-timeout", text("discovery-keepalive-timeout")),
            ("discovery-insecure-transport", is_on("discovery-insecure-transport")),
            ("discovery-insecure-skip-tls-verify", is_on("discovery-insecure-skip-tls-verify")),
            ("discovery-cert", text("discovery-cert")),
            ("discovery-key", text("discovery-key")),
            ("discovery-cacert", text("discovery-cacert")),
            ("discovery-user", text("discovery-user")),
            ("downgrade-check-interval", text("downgrade-check-time")),
            ("max-learners", json!(config.max_learners)),
            ("v2-deprecation", json!("write-only")),
        ];
        Self { fields }
    }

    /// Logs it.
    pub fn log(self) {
        log::write(Severity::Info, "starting an etcd server", self.fields);
    }
}

/// That there is a member, and where it is reached.
pub fn started(raw: &Raw, server: &Server, peer_urls: &[Url], client_urls: &[Url]) {
    let config = server.config();
    let id = json!(id_text(server.id()));
    let mut fields = vec![
        ("local-member-id", id.clone()),
        ("local-server-version", json!(api::version::VERSION)),
    ];
    match server.cluster().version() {
        Some(version) => {
            let version = format!("{}.{}", version.major, version.minor);
            fields.push(("cluster-id", json!(id_text(server.cluster_id()))));
            fields.push(("cluster-version", json!(version)));
        }
        None => fields.push(("cluster-version", json!("to_be_decided"))),
    }
    log::write(Severity::Info, "starting etcd server", fields);
    let fields = [
        ("local-member-id", id),
        ("initial-advertise-peer-urls", json!(config.advertise_peer_urls)),
        ("listen-peer-urls", texts(peer_urls)),
        ("advertise-client-urls", json!(config.advertise_client_urls)),
        ("listen-client-urls", texts(client_urls)),
        ("listen-metrics-urls", list(raw, "listen-metrics-urls")),
    ];
    log::write(Severity::Info, "now serving peer/client/metrics", fields);
}

fn list(raw: &Raw, name: &str) -> Value {
    match raw.get(name) {
        "" => json!([]),
        list => json!(list.split(',').collect::<Vec<_>>()),
    }
}

fn texts(urls: &[Url]) -> Value {
    json!(urls.iter().map(|url| &url.text).collect::<Vec<_>>())
}

/// That the server ends, and why.
pub fn closing(server: &Server, signal: Option<SignalKind>) {
    if let Some(signal) = signal {
        let name = if signal == SignalKind::interrupt() { "interrupt" } else { "terminated" };
        tracing::info!(signal = name, "received signal; shutting down");
    }
    log::write(Severity::Info, "closing etcd server", identity(server));
    let (id, lead) = (server.id(), server.status().lead);
    let is_alone = server.cluster().voters().count() <= 1;
    let message = if id != lead {
        "skipped leadership transfer; local server is not leader"
    } else if is_alone {
        "skipped leadership transfer for single voting member cluster"
    } else {
        return;
    };
    let fields = [
        ("local-member-id", json!(id_text(id))),
        ("current-leader-member-id", json!(id_text(lead))),
    ];
    log::write(Severity::Info, message, fields);
}

/// That it has ended.
pub fn closed(server: &Server, peer_addresses: &[String]) {
    for address in peer_addresses {
        tracing::info!(address, "stopped serving peer traffic");
    }
    log::write(Severity::Info, "closed etcd server", identity(server));
}

fn identity(server: &Server) -> Vec<(&'static str, Value)> {
    let config = server.config();
    vec![
        ("name", json!(config.name)),
        ("data-dir", json!(config.data_dir.display().to_string())),
        ("advertise-peer-urls", json!(config.advertise_peer_urls)),
        ("advertise-client-urls", json!(config.advertise_client_urls)),
    ]
}

fn id_text(id: u64) -> String {
    format!("{id:x}")
}
