//! The server beside the real etcd, each a process of its own with real syncs on the same disk.
//!
//! `cargo bench -p quorate-process --bench server`. Each work is done in turns, ours then theirs, in
//! rounds of [`ROUND`]; a row is the round of the median throughput. CPU is the server's alone, from
//! the kernel's count; the clients run in this process on the same cores, which bounds the
//! throughput of both alike. Latencies are what the clients see.
//!
//! `QUORATE_BENCH_SECONDS` sets the length of a round.
#![allow(clippy::unwrap_used, reason = "a bench may end with a panic")]

use api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::lease_client::LeaseClient;
use api::etcdserverpb::request_op::Request as Op;
use api::etcdserverpb::watch_client::WatchClient;
use api::etcdserverpb::watch_request::RequestUnion;
use api::etcdserverpb::{
    Compare, LeaseGrantRequest, LeaseKeepAliveRequest, PutRequest, RangeRequest, RequestOp,
    TxnRequest, WatchCreateRequest, WatchRequest,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use quorate_process::{Options, Program, Rng, Server, subject};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// Rounds of each server for each work.
const ROUNDS: usize = 3;

/// Keys that are put and read.
const KEYS: usize = 10_000;

/// Bytes of a value.
const VALUE_BYTES: usize = 256;

/// Connections that clients share.
const CONNECTIONS: usize = 8;

/// What clients do.
#[derive(Clone, Copy, Debug)]
enum Work {
    Put,
    Range {
        serializable: bool,
    },
    Txn,
    KeepAlive,
    /// One puts, the others watch: an operation is an event that a watcher got.
    Watch,
}

/// The table's rows: name, work, clients.
const ROWS: [(&str, Work, usize); 9] = [
    ("put, 1 client", Work::Put, 1),
    ("put, 256 clients", Work::Put, 256),
    ("range of one key, 1 client", Work::Range { serializable: false }, 1),
    ("range of one key, 256 clients", Work::Range { serializable: false }, 256),
    ("the same, serializable", Work::Range { serializable: true }, 256),
    ("txn: compare, put, range; 256 clients", Work::Txn, 256),
    ("keepalive, 256 streams", Work::KeepAlive, 256),
    ("watch: events to 1 watcher", Work::Watch, 1),
    ("watch: events to 100 watchers", Work::Watch, 100),
];

/// What one round came to.
#[derive(Clone, Debug)]
struct Round {
    per_second: f64,
    cpu_micros: f64,
    /// Nanoseconds, ascending.
    latencies: Vec<u64>,
}

impl Round {
    /// The latency that so many of a hundred stay below, in milliseconds.
    fn millis(&self, percent: usize) -> f64 {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).map_or(0.0, |&nanos| nanos as f64 / 1e6)
    }
}

fn main() {
    let seconds = std::env::var("QUORATE_BENCH_SECONDS").ok();
    let round = Duration::from_secs(seconds.map_or(3, |text| text.parse().unwrap()));
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.worker_threads(2).enable_all().build().unwrap();
    let programs = [subject(), Program::newest_etcd()];
    let started: Vec<(Duration, Server)> = programs
        .iter()
        .map(|program| {
            let now = Instant::now();
            let server = Server::start(program, Options::default());
            (now.elapsed(), server)
        })
        .collect();
    println!(
        "{} beside {}: {ROUNDS} rounds of {round:?} each in turns, {KEYS} keys, values of {VALUE_BYTES} B",
        programs[0].name, programs[1].name
    );
    println!(
        "{:<38} {:>23} {:>19} {:>15} {:>15}",
        "", "operations/s", "CPU us each", "p50 ms", "p99 ms"
    );
    runtime.block_on(async {
        for (_, server) in &started {
            fill(server).await;
        }
        for (name, work, clients) in ROWS {
            let mut rounds = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                for (server, rounds) in started.iter().map(|(_, server)| server).zip(&mut rounds) {
                    rounds.push(measure(server, work, clients, round).await);
                }
            }
            let [ours, theirs] = rounds.map(median);
            println!(
                "{name:<38} {:>9.0} {:>9.0} {:>3.0}% {:>7.1} {:>7.1} {:>3.0}% {:>7.2} {:>7.2} {:>7.2} {:>7.2}",
                ours.per_second,
                theirs.per_second,
                100.0 * ours.per_second / theirs.per_second,
                ours.cpu_micros,
                theirs.cpu_micros,
                100.0 * ours.cpu_micros / theirs.cpu_micros,
                ours.millis(50),
                theirs.millis(50),
                ours.millis(99),
                theirs.millis(99),
            );
        }
    });
    for (start, server) in &started {
        println!(
            "{}: ready {} ms after its start, {} MiB now, {} MiB at most",
            server.program().name,
            start.as_millis(),
            server.memory_now_mib(),
            server.memory_peak_mib()
        );
    }
}

fn median(mut rounds: Vec<Round>) -> Round {
    rounds.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    rounds.swap_remove(rounds.len() / 2)
}

fn key(number: usize) -> Bytes {
    format!("/registry/pods/{number:08}").into()
}

fn value() -> Bytes {
    Bytes::from_static(&[b'v'; VALUE_BYTES])
}

fn put(number: usize) -> PutRequest {
    PutRequest { key: key(number), value: value(), ..PutRequest::default() }
}

async fn fill(server: &Server) {
    let channel = server.channel();
    let puts = futures_util::stream::iter(0..KEYS).map(|number| {
        let mut client = KvClient::new(channel.clone());
        async move { client.put(put(number)).await.unwrap() }
    });
    puts.buffer_unordered(128).for_each(|_| async {}).await;
}

async fn measure(server: &Server, work: Work, clients: usize, round: Duration) -> Round {
    let channels: Vec<Channel> = (0..CONNECTIONS).map(|_| server.channel()).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = JoinSet::new();
    let (mut ready_tx, mut ready) = mpsc::channel(clients);
    for client in 0..clients {
        let channel = channels[client % CONNECTIONS].clone();
        let (stop, ready) = (Arc::clone(&stop), ready_tx.clone());
        match work {
            Work::Watch => tasks.spawn(watch(channel, ready, stop)),
            Work::KeepAlive => tasks.spawn(keep_alive(channel, ready, stop)),
            _ => tasks.spawn(ask(channel, work, client as u64, ready, stop)),
        };
    }
    (ready_tx, _) = mpsc::channel(1);
    drop(ready_tx);
    for _ in 0..clients {
        ready.recv().await.unwrap();
    }
    let writer = matches!(work, Work::Watch).then(|| {
        let (channel, stop) = (server.channel(), Arc::clone(&stop));
        tokio::spawn(write_times(channel, stop))
    });
    let (cpu, started) = (server.cpu(), Instant::now());
    tokio::time::sleep(round).await;
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    if let Some(writer) = writer {
        writer.await.unwrap();
    }
    while let Some(done) = tasks.join_next().await {
        latencies.extend(done.unwrap());
    }
    let (took, cpu) = (started.elapsed(), server.cpu() - cpu);
    latencies.sort_unstable();
    let count = latencies.len() as f64;
    Round {
        per_second: count / took.as_secs_f64(),
        cpu_micros: cpu.as_secs_f64() * 1e6 / count,
        latencies,
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap()
}

/// Asks one thing after the other.
async fn ask(
    channel: Channel,
    work: Work,
    client: u64,
    ready: mpsc::Sender<()>,
    stop: Arc<AtomicBool>,
) -> Vec<u64> {
    let mut kv = KvClient::new(channel);
    let mut rng = Rng::new(client + 1);
    let mut latencies = Vec::new();
    // Connections are made with the first request.
    kv.range(RangeRequest { key: key(0), ..RangeRequest::default() }).await.unwrap();
    ready.send(()).await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        let number = rng.below(KEYS);
        let asked = Instant::now();
        match work {
            Work::Put => drop(kv.put(put(number)).await.unwrap()),
            Work::Range { serializable } => {
                let range =
                    RangeRequest { key: key(number), serializable, ..RangeRequest::default() };
                let found = kv.range(range).await.unwrap().into_inner();
                assert_eq!(found.count, 1);
            }
            _ => drop(kv.txn(txn(number)).await.unwrap()),
        }
        latencies.push(nanos(asked));
    }
    latencies
}

fn txn(number: usize) -> TxnRequest {
    let compare = Compare {
        result: CompareResult::Greater as i32,
        target: CompareTarget::Version as i32,
        key: key(number),
        target_union: Some(TargetUnion::Version(0)),
        ..Compare::default()
    };
    let op = |request| RequestOp { request: Some(request) };
    let range = RangeRequest { key: key(number), ..RangeRequest::default() };
    TxnRequest {
        compare: vec![compare],
        success: vec![op(Op::RequestPut(put(number)))],
        failure: vec![op(Op::RequestRange(range))],
    }
}

/// Renews one lease again and again.
async fn keep_alive(channel: Channel, ready: mpsc::Sender<()>, stop: Arc<AtomicBool>) -> Vec<u64> {
    let mut client = LeaseClient::new(channel);
    let grant = LeaseGrantRequest { ttl: 3600, id: 0 };
    let id = client.lease_grant(grant).await.unwrap().into_inner().id;
    let (beats, queue) = mpsc::channel(1);
    let queue = futures_util::stream::unfold(queue, |mut queue: mpsc::Receiver<_>| async {
        queue.recv().await.map(|beat| (beat, queue))
    });
    beats.send(LeaseKeepAliveRequest { id }).await.unwrap();
    let mut answers = client.lease_keep_alive(queue).await.unwrap().into_inner();
    answers.message().await.unwrap().unwrap();
    ready.send(()).await.unwrap();
    let mut latencies = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        beats.send(LeaseKeepAliveRequest { id }).await.unwrap();
        assert_eq!(answers.message().await.unwrap().unwrap().ttl, 3600);
        latencies.push(nanos(asked));
    }
    latencies
}

/// The key that watchers look at; its value says when it was put.
const WATCHED: &[u8] = b"/watched";

/// Ends the watchers.
const END: &[u8] = b"end";

/// Puts as fast as 16 at once are answered.
async fn write_times(channel: Channel, stop: Arc<AtomicBool>) {
    let put = |channel: Channel, value: Bytes| async move {
        let key = Bytes::from_static(WATCHED);
        let put = PutRequest { key, value, ..PutRequest::default() };
        KvClient::new(channel).put(put).await.unwrap();
    };
    let mut puts = JoinSet::new();
    while !stop.load(Ordering::Relaxed) {
        if puts.len() >= 16 {
            puts.join_next().await;
        }
        puts.spawn(put(channel.clone(), now().to_be_bytes().to_vec().into()));
    }
    while puts.join_next().await.is_some() {}
    put(channel, Bytes::from_static(END)).await;
}

/// Nanoseconds on a clock that the tasks of this process share.
fn now() -> u64 {
    static BEGAN: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    nanos(*BEGAN)
}

/// Takes events until the last one.
async fn watch(channel: Channel, ready: mpsc::Sender<()>, _: Arc<AtomicBool>) -> Vec<u64> {
    let create = WatchCreateRequest { key: WATCHED.into(), ..WatchCreateRequest::default() };
    let create = WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) };
    let words = futures_util::stream::iter([create]).chain(futures_util::stream::pending());
    let mut client = WatchClient::new(channel);
    let mut answers = client.watch(words).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().unwrap().created);
    ready.send(()).await.unwrap();
    let mut latencies = Vec::new();
    loop {
        let answer = answers.message().await.unwrap().unwrap();
        for event in answer.events {
            let value = event.kv.unwrap().value;
            if value == END {
                return latencies;
            }
            let put = u64::from_be_bytes(value[..].try_into().unwrap());
            latencies.push(now() - put);
        }
    }
}
