//! What a member serves beside gRPC, compared with the real etcd: each path with its status,
//! headers and body; metrics with their names, help, kinds, labels and buckets, and their values
//! after the same requests; what is logged of slow requests.

mod client;
mod page;
mod requests;

use api::etcdserverpb::alarm_request::AlarmAction;
use api::etcdserverpb::cluster_client::ClusterClient;
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::maintenance_client::MaintenanceClient;
use api::etcdserverpb::{AlarmRequest, AlarmType, MemberAddRequest};
use client::{Answer, ask, get, mask, send};
use page::Page;
use quorate_process::{Options, PATIENCE, Program, Server, free_address, subject};
use requests::{put, requests};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use testkit::figures;
use tokio::runtime::Runtime;

/// The judge and the server under test, with the same flags but for ports.
struct Pair {
    judge: Server,
    subject: Server,
}

impl Pair {
    /// `None` without the judge whose answers are ours to give.
    fn start(flags: impl Fn() -> Options) -> Option<Self> {
        let judge = Program::etcd("3.7.1")?;
        let judge = Server::start(&judge, flags());
        let pair = Self { judge, subject: Server::start(&subject(), flags()) };
        // etcd serves before its cluster and its store have decided their versions.
        soon(|| {
            let told = pair.both().map(|server| get(server.peer_address(), "/version"));
            if told[0] == told[1] { Ok(()) } else { Err(told.concat()) }
        });
        Some(pair)
    }

    fn both(&self) -> [&Server; 2] {
        [&self.judge, &self.subject]
    }

    /// Asks both, and wants the same answer.
    fn same(&self, asked: impl Fn(&Server) -> Answer) -> Answer {
        let [judge, subject] = self.both().map(|server| asked(server).masked(server));
        assert_eq!(subject, judge, "the subject's answer, and the judge's");
        judge
    }

    /// Asks both until the answers are equal and as wanted.
    fn same_soon(&self, asked: impl Fn(&Server) -> Answer, wanted: impl Fn(&Answer) -> bool) {
        soon(|| {
            let [judge, subject] = self.both().map(|server| asked(server).masked(server));
            if judge == subject && wanted(&judge) {
                return Ok(());
            }
            Err(format!("the judge: {judge:?}\nthe subject: {subject:?}"))
        });
    }
}

/// Looks again and again until a look is as wanted; another process tells of nothing by itself.
fn soon<T>(mut look: impl FnMut() -> Result<T, String>) -> T {
    let (deadline, runtime) = (Instant::now() + PATIENCE, runtime());
    loop {
        match look() {
            Ok(seen) => return seen,
            Err(why) => assert!(Instant::now() < deadline, "{why}"),
        }
        runtime.block_on(async { tokio::time::sleep(BETWEEN_LOOKS).await });
    }
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be made")
}

fn at(path: &'static str) -> impl Fn(&Server) -> Answer {
    move |server| ask(server.client_address(), "GET", path, &[])
}

#[test]
fn paths_methods_and_redirects() {
    let Some(pair) = Pair::start(Options::without_sync) else { return };
    let paths = [
        "/version",
        "/version/",
        "/version?x=y",
        "//version?x=y",
        "/a/../version",
        "/version/.",
        "/%76ersion",
        "/health",
        "/health?serializable=true",
        "/health?exclude=NOSPACE&exclude=",
        "/health/",
        "/livez",
        "/livez/",
        "/livez?verbose",
        "/livez//serializable_read",
        "/livez/serializable_read?verbose=x",
        "/livez/linearizable_read",
        "/livez?exclude=serializable_read&verbose",
        "/readyz",
        "/readyz?verbose",
        "/readyz?exclude=data_corruption&exclude=non_learner&verbose",
        "/readyz?exclude=nope&verbose",
        "/readyz?exclude=%s&verbose",
        "/readyz/data_corruption",
        "/readyz/serializable_read?verbose",
        "/readyz/linearizable_read?verbose",
        "/readyz/non_learner?verbose",
        "/readyz/nope",
        "/",
        "/a/..",
        "/nope",
        "/v2/keys",
        "/debug",
        "/debug/pprof/",
        "/debug/requests",
        "/metrics/",
    ];
    let mut compared = 0;
    for path in paths {
        // Compat: an OPTIONS is answered before anybody looks at the path.
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
            pair.same(|server| ask(server.client_address(), method, path, &[]));
            compared += 1;
        }
    }
    for method in ["POST", "OPTIONS", "HEAD"] {
        pair.same(|server| {
            let answer = ask(server.client_address(), method, "/metrics", &[]);
            Answer { body: String::new(), ..answer }
        });
        pair.same(|server| ask(server.client_address(), method, "/debug/vars", &[]));
        compared += 2;
    }
    compared += peer_paths(&pair);
    variables(&pair);
    figures::note("http", format!("{compared} answers as etcd 3.7.1 gives them"));
}

/// The peer port beside the peer protocol.
fn peer_paths(pair: &Pair) -> usize {
    let paths = ["/version", "/members", "/downgrade/enabled", "/nope", "/", "/raft/probing"];
    for path in paths {
        for method in ["GET", "POST"] {
            pair.same(|server| {
                let mut answer = ask(server.peer_address(), method, path, &[]);
                // We say who we are in every answer; nobody minds.
                answer.headers.retain(|header| !header.to_lowercase().starts_with("x-"));
                answer
            });
        }
    }
    2 * paths.len()
}

/// `/debug/vars` is an object with the same names, and raft's state in the same form.
fn variables(pair: &Pair) {
    let [judge, subject] = pair.both().map(|server| {
        let text = get(server.client_address(), "/debug/vars");
        let names = text.lines().filter_map(|line| line.strip_prefix('"')?.split_once("\": "));
        let values: Vec<(String, String)> =
            names.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let names: Vec<String> = values.iter().map(|(name, _)| name.clone()).collect();
        let raft = values.into_iter().find(|(name, _)| name == "raft.status");
        (names, mask(&raft.expect("raft tells of itself").1, server))
    });
    assert_eq!(subject, judge);
}

#[test]
fn alarms_and_a_lost_quorum() {
    let Some(pair) = Pair::start(Options::without_sync) else { return };
    let runtime = runtime();
    let alarm = |server: &Server, action: AlarmAction, alarm: AlarmType| {
        let request = AlarmRequest { action: action as i32, member_id: 7, alarm: alarm as i32 };
        let mut client = runtime.block_on(async { MaintenanceClient::new(server.channel()) });
        runtime.block_on(client.alarm(request)).expect("an alarm can be changed");
    };
    for kind in [AlarmType::Nospace, AlarmType::Corrupt] {
        for server in pair.both() {
            alarm(server, AlarmAction::Activate, kind);
        }
        let sick = pair.same(at("/health"));
        assert!(sick.status.contains(" 503 "), "{sick:?}");
        pair.same(at("/health?exclude=NOSPACE"));
        pair.same(at("/health?exclude=CORRUPT"));
        pair.same(at("/readyz?verbose"));
        pair.same(at("/readyz"));
        pair.same(at("/readyz/data_corruption"));
        pair.same(at("/livez?verbose"));
        let alarms = "etcd_debugging_server_alarms";
        let [judge, subject] = pair.both().map(|server| scrape(server).values(&[alarms]));
        assert_eq!(subject, judge);
        for server in pair.both() {
            alarm(server, AlarmAction::Deactivate, kind);
        }
        pair.same(at("/health"));
    }
    // A second member that is not there: from now on there is no quorum.
    for server in pair.both() {
        let peer_urls = vec![format!("http://{}", free_address())];
        let request = MemberAddRequest { peer_urls, is_learner: false };
        let mut client = runtime.block_on(async { ClusterClient::new(server.channel()) });
        runtime.block_on(client.member_add(request)).expect("one alone may get a second");
    }
    pair.same_soon(at("/health"), |answer| answer.body.contains("RAFT NO LEADER"));
    pair.same(at("/health?serializable=true"));
    pair.same(at("/livez"));
    pair.same(at("/readyz?exclude=linearizable_read&verbose"));
    let [judge, subject] = pair
        .both()
        .map(|server| scrape(server).values(&["etcd_server_has_leader", "etcd_server_is_leader"]));
    assert_eq!(subject, judge);
}

#[test]
fn hosts_origins_and_ports_of_their_own() {
    let (http, metrics) = ([(); 2].map(|()| free_address()), [(); 2].map(|()| free_address()));
    let turn = std::cell::Cell::new(0);
    let options = || {
        let side = turn.replace(turn.get() + 1);
        Options::without_sync()
            .flag(&format!("--listen-client-http-urls=http://{}", http[side]))
            .flag(&format!("--listen-metrics-urls=http://{}", metrics[side]))
            .flag("--host-whitelist=good.example,127.0.0.1")
            .flag("--cors=http://a.example:80,http://b.example:80")
    };
    let Some(pair) = Pair::start(options) else { return };
    let beside = |all: [SocketAddr; 2], server: &Server| {
        all[usize::from(server.client_address() == pair.subject.client_address())]
    };
    for host in ["good.example", "good.example:80", "bad.example", "a:b:c", "[::1]:80", ""] {
        let header = format!("Host: {host}");
        pair.same(|server| ask(beside(http, server), "GET", "/version", &[&header]));
    }
    for origin in ["http://a.example:80", "http://a.example", "http://z.example", ""] {
        let header = format!("Origin: {origin}");
        for method in ["GET", "OPTIONS"] {
            pair.same(|server| ask(beside(http, server), method, "/version", &[&header]));
        }
    }
    for path in ["/health", "/livez?verbose", "/readyz", "/version", "/debug/vars", "/", "//x"] {
        pair.same(|server| ask(beside(metrics, server), "GET", path, &[]));
        let bad = ["Host: bad.example"];
        pair.same(|server| ask(beside(metrics, server), "OPTIONS", path, &bad));
    }
    for server in pair.both() {
        assert!(get(beside(metrics, server), "/metrics").contains("\netcd_server_has_leader 1\n"));
        assert!(get(beside(http, server), "/metrics").contains("\netcd_server_has_leader 1\n"));
        // Each port hangs up on what it does not speak.
        let hung_up = ask(server.client_address(), "GET", "/version", &[]);
        assert_eq!(hung_up, Answer::default(), "{}", server.program().name);
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        let hung_up = send(beside(http, server), preface, false);
        assert!(!hung_up.status.contains(" 200 "), "{hung_up:?}");
        runtime().block_on(async {
            let mut kv = KvClient::new(server.channel());
            kv.put(put("k", "v")).await.expect("gRPC is served where clients are");
        });
    }
}

fn scrape(server: &Server) -> Page {
    Page::parse(&get(server.client_address(), "/metrics"))
}

/// What only Go's allocator counts.
const LEFT_OUT: [&str; 4] = [
    "go_memstats_alloc_bytes_total",
    "go_memstats_frees_total",
    "go_memstats_heap_objects",
    "go_memstats_mallocs_total",
];

/// What the same requests make the same.
const SAME: [&str; 62] = [
    "etcd_cluster_version",
    "etcd_debugging_auth_revision",
    "etcd_debugging_lease_granted_total",
    "etcd_debugging_lease_renewed_total",
    "etcd_debugging_lease_revoked_total",
    "etcd_debugging_lease_ttl_total_bucket",
    "etcd_debugging_lease_ttl_total_count",
    "etcd_debugging_lease_ttl_total_sum",
    "etcd_debugging_mvcc_compact_revision",
    "etcd_debugging_mvcc_current_revision",
    "etcd_debugging_mvcc_db_compaction_keys_total",
    "etcd_debugging_mvcc_events_total",
    "etcd_debugging_mvcc_keys_total",
    "etcd_debugging_mvcc_pending_events_total",
    "etcd_debugging_mvcc_slow_watcher_total",
    "etcd_debugging_mvcc_total_put_size_in_bytes",
    "etcd_debugging_mvcc_watch_stream_total",
    "etcd_debugging_mvcc_watcher_total",
    "etcd_debugging_server_lease_expired_total",
    "etcd_debugging_store_expires_total",
    "etcd_debugging_store_watch_requests_total",
    "etcd_debugging_store_watchers",
    "etcd_disk_backend_defrag_duration_seconds_count",
    "etcd_disk_defrag_inflight",
    "etcd_grpc_proxy_cache_hits_total",
    "etcd_mvcc_delete_total",
    "etcd_mvcc_hash_duration_seconds_count",
    "etcd_mvcc_hash_rev_duration_seconds_count",
    "etcd_mvcc_put_total",
    "etcd_mvcc_range_total",
    "etcd_mvcc_txn_total",
    "etcd_network_client_grpc_received_bytes_total",
    "etcd_server_apply_duration_seconds_count",
    "etcd_server_client_requests_total",
    "etcd_server_feature_enabled",
    "etcd_server_has_leader",
    "etcd_server_health_failures",
    "etcd_server_health_success",
    "etcd_server_healthcheck",
    "etcd_server_healthchecks_total",
    "etcd_server_heartbeat_send_failures_total",
    "etcd_server_is_leader",
    "etcd_server_is_learner",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_learner_promote_successes",
    "etcd_server_proposals_applied_total",
    "etcd_server_proposals_committed_total",
    "etcd_server_proposals_failed_total",
    "etcd_server_proposals_pending",
    "etcd_server_quota_backend_bytes",
    "etcd_server_range_duration_seconds_count",
    "etcd_server_read_indexes_failed_total",
    "etcd_server_request_duration_seconds_count",
    "etcd_server_slow_read_indexes_total",
    "etcd_server_snapshot_apply_in_progress_total",
    "etcd_server_version",
    "grpc_server_handled_total",
    "grpc_server_handling_seconds_count",
    "grpc_server_msg_received_total",
    "grpc_server_msg_sent_total",
    "grpc_server_started_total",
    "promhttp_metric_handler_requests_in_flight",
];

/// Once as calls are counted by default, and once with each of them timed.
#[test]
fn metrics_have_the_names_and_numbers_of_etcd() {
    for kind in ["basic", "extensive"] {
        let options = || Options::without_sync().flag(&format!("--metrics={kind}"));
        let Some(pair) = Pair::start(options) else { return };
        compare_metrics(&pair, kind);
    }
}

fn compare_metrics(pair: &Pair, kind: &str) {
    let runtime = runtime();
    for server in pair.both() {
        runtime.block_on(requests(server));
        for path in ["/health", "/readyz", "/livez", "/readyz/non_learner"] {
            get(server.client_address(), path);
        }
    }
    // Some numbers follow what was answered.
    let [judge, subject] = soon(|| {
        let pages = pair.both().map(scrape);
        let [judge, subject] = [0, 1].map(|side: usize| pages[side].values(&SAME));
        let names: BTreeSet<&String> = judge.keys().chain(subject.keys()).collect();
        let differ = names.into_iter().filter(|name| judge.get(*name) != subject.get(*name));
        let told = |name| format!("{name}: {:?}, here {:?}", judge.get(name), subject.get(name));
        let differ: Vec<String> = differ.map(told).collect();
        if differ.is_empty() { Ok(pages) } else { Err(differ.join("\n")) }
    });
    let mut families = judge.families.clone();
    for name in LEFT_OUT {
        families.remove(name).expect("only what etcd has can be left out");
    }
    for (name, family) in &families {
        assert_eq!(subject.families.get(name), Some(family), "{name}");
    }
    let more: Vec<_> =
        subject.families.keys().filter(|name| !families.contains_key(*name)).collect();
    assert!(more.is_empty(), "not in etcd: {more:?}");
    let compared = subject.values(&SAME).len();
    figures::note(
        &format!("{kind} metrics"),
        format!("{} families as in etcd 3.7.1, {compared} samples equal", families.len()),
    );
    assert!(compared > 1000, "{compared} samples");
}

/// A learner of ours beside a leader of theirs: what each counts of the other has the same names.
#[test]
fn peers_are_counted_as_etcd_counts_them() {
    let Some(judge) = Program::etcd("3.7.1") else { return };
    let leader = Server::start(&judge, Options::without_sync());
    let joins = format!("leader=http://{}", leader.peer_address());
    let mut learner = Server::prepare(&subject(), Options { joins, ..Options::without_sync() });
    let peer_urls = vec![format!("http://{}", learner.peer_address())];
    let runtime = runtime();
    let mut client = runtime.block_on(async { ClusterClient::new(leader.channel()) });
    let added = client.member_add(MemberAddRequest { peer_urls, is_learner: true });
    let added = runtime.block_on(added).expect("one alone may get a learner").into_inner();
    learner.start_again();
    let member = added.member.expect("it is told").id;
    let early = client.member_promote(api::etcdserverpb::MemberPromoteRequest { id: member + 1 });
    runtime.block_on(early).expect_err("nobody has this id");
    let wanted = [
        "etcd_network_active_peers",
        "etcd_network_known_peers",
        "etcd_network_peer_received_bytes_total",
        "etcd_network_peer_round_trip_time_seconds",
        "etcd_network_peer_sent_bytes_total",
    ];
    // The first round trip takes place after seconds.
    let [theirs, ours] = soon(|| {
        let pages = [&leader, &learner].map(scrape);
        let there = |name: &&str| pages.iter().all(|page| page.families.contains_key(*name));
        if wanted.iter().all(there) { Ok(pages) } else { Err(learner.log()) }
    });
    for name in wanted {
        assert_eq!(ours.families[name], theirs.families[name], "{name}");
    }
    let learners = [&theirs, &ours].map(|page| page.values(&["etcd_server_is_learner"]));
    assert_eq!(learners.map(|values| values["etcd_server_is_learner"]), [0.0, 1.0]);
    for (sample, number) in ours.values(&wanted) {
        assert!(number > 0.0, "{sample} {number}");
    }
    let ready = ask(learner.client_address(), "GET", "/readyz?verbose", &[]);
    assert!(ready.body.contains("[-]non_learner failed: not supported for learner"), "{ready:?}");
}

#[test]
fn slow_requests_are_logged_in_etcds_words() {
    let options = || {
        Options::without_sync()
            .flag("--warning-unary-request-duration=1ns")
            .flag("--warning-apply-duration=1ns")
    };
    let Some(pair) = Pair::start(options) else { return };
    let runtime = runtime();
    for server in pair.both() {
        runtime.block_on(requests(server));
    }
    let told = |server: &Server| -> BTreeSet<Line> {
        server.log().lines().filter_map(Line::parse).collect()
    };
    // What is logged comes through a pipe.
    soon(|| {
        let [judge, subject] = pair.both().map(told);
        let all = judge.iter().any(|line| line.what == "/etcdserverpb.Maintenance/Status");
        let differ: Vec<_> = judge.symmetric_difference(&subject).collect();
        if all && differ.is_empty() { Ok(()) } else { Err(format!("one alone: {differ:#?}")) }
    });
    let log = pair.subject.log();
    assert!(log.contains(r#""request content":"key:\"b\" value_size:6""#), "{log}");
    assert!(!log.contains("secret"), "no value is logged");
}

/// What of a line about something slow must be the same.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    message: String,
    keys: BTreeSet<String>,
    /// The prefix of a read, or the method of a request.
    what: String,
}

impl Line {
    fn parse(line: &str) -> Option<Self> {
        let known = ["request stats", "apply request took too long"];
        let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).ok()?;
        let text = |key: &str| object.get(key)?.as_str().map(str::to_owned);
        let message = text("msg").filter(|message| known.contains(&&**message))?;
        let what = text("prefix").or_else(|| text("response type"))?;
        let ignored = ["error", "errorVerbose", "stacktrace"];
        let keys = object.keys().filter(|key| !ignored.contains(&&***key)).cloned().collect();
        Some(Self { message, keys, what })
    }
}
