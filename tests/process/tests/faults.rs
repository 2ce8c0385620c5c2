//! A cluster of three whose members are killed, cut off, made deaf or slow under load: nothing
//! acknowledged is lost, every read is linearizable, watchers see every event once, and all
//! members end with the same keys.
//!
//! `QUORATE_FAULT_KILLS` says how often one member is killed (4), `QUORATE_FAULT_KILLS_ALL` how
//! often all are (2), `QUORATE_FAULT_SECONDS` for how long the network is bad (10).
//!
//! How that is judged: each writer has a key of its own, on which it sets one number after the
//! other, each only if the one before is there; so what happened to a write that nobody answered
//! makes no difference to the order. A read must find no less than what was acknowledged or read
//! before it began, and no more than was sent before it ended.

use api::etcdserverpb as pb;
use api::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::maintenance_client::MaintenanceClient;
use api::etcdserverpb::request_op::Request;
use api::etcdserverpb::watch_client::WatchClient;
use api::etcdserverpb::watch_request::RequestUnion;
use bytes::Bytes;
use quorate_process::{Cluster, MemberFault, Options, PATIENCE, Rng, subject};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use testkit::figures;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tonic::transport::Channel;

const WRITERS: usize = 6;
const READERS: usize = 4;

/// How long a client waits for a member before it goes to the next.
const CLIENT_PATIENCE: Duration = Duration::from_secs(1);

/// What is known of one writer's key.
#[derive(Debug, Default)]
struct Register {
    /// The highest number that somebody was told is there.
    known: AtomicU64,
    /// The highest that was sent.
    sent: AtomicU64,
}

/// What all clients share.
#[derive(Debug)]
struct Load {
    registers: [Register; WRITERS],
    stop: AtomicBool,
    reads: AtomicU64,
    /// When something was acknowledged last, and the longest time without since it was asked for.
    acknowledged: Mutex<(Instant, Duration)>,
}

impl Load {
    fn new() -> Self {
        let acknowledged = Mutex::new((Instant::now(), Duration::ZERO));
        let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { registers: Default::default(), stop, reads, acknowledged }
    }

    fn acknowledge(&self) {
        let mut acknowledged = self.acknowledged.lock().expect("nobody panics with it");
        let (last, longest) = *acknowledged;
        *acknowledged = (Instant::now(), longest.max(last.elapsed()));
    }

    /// The longest time without any acknowledgement since this was asked last.
    fn longest_silence(&self) -> Duration {
        self.acknowledge();
        let mut acknowledged = self.acknowledged.lock().expect("nobody panics with it");
        std::mem::take(&mut acknowledged.1)
    }

    fn stops(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn written(&self) -> u64 {
        self.registers.iter().map(|register| register.known.load(Ordering::SeqCst)).sum()
    }
}

fn key(writer: usize) -> Bytes {
    Bytes::from(format!("writer/{writer}"))
}

fn number(value: &[u8]) -> u64 {
    String::from_utf8_lossy(value).parse().expect("writers write numbers")
}

/// Sets the key to `next` if it is one less; whether somebody said that `next` is there now.
async fn set(channel: Channel, writer: usize, next: u64) -> Result<bool, tonic::Status> {
    let target_union = Some(match next {
        1 => TargetUnion::CreateRevision(0),
        next => TargetUnion::Value((next - 1).to_string().into()),
    });
    let target = if next == 1 { CompareTarget::Create } else { CompareTarget::Value };
    let compare = pb::Compare {
        result: CompareResult::Equal as i32,
        target: target as i32,
        key: key(writer),
        target_union,
        ..pb::Compare::default()
    };
    let put = pb::PutRequest {
        key: key(writer),
        value: next.to_string().into(),
        ..pb::PutRequest::default()
    };
    let get = pb::RangeRequest { key: key(writer), ..pb::RangeRequest::default() };
    let op = |request| pb::RequestOp { request: Some(request) };
    let txn = pb::TxnRequest {
        compare: vec![compare],
        success: vec![op(Request::RequestPut(put))],
        failure: vec![op(Request::RequestRange(get))],
    };
    let answer = KvClient::new(channel).txn(txn).await?.into_inner();
    if answer.succeeded {
        return Ok(true);
    }
    // An earlier attempt at the same number was taken after all.
    let Some(pb::response_op::Response::ResponseRange(found)) =
        answer.responses.into_iter().next().and_then(|op| op.response)
    else {
        panic!("a range is answered with a range");
    };
    let there = found.kvs.first().map_or(0, |kv| number(&kv.value));
    assert_eq!(there, next, "writer {writer}: what was acknowledged is gone");
    Ok(true)
}

async fn write(load: Arc<Load>, writer: usize, channels: Vec<Channel>) {
    let (register, mut member) = (&load.registers[writer], writer);
    let mut next = 1;
    while !load.stops() {
        register.sent.store(next, Ordering::SeqCst);
        let channel = channels[member % channels.len()].clone();
        match timeout(CLIENT_PATIENCE, set(channel, writer, next)).await {
            Ok(Ok(_)) => {
                register.known.fetch_max(next, Ordering::SeqCst);
                load.acknowledge();
                next += 1;
            }
            Ok(Err(_)) => {
                member += 1;
                sleep(Duration::from_millis(5)).await;
            }
            Err(_) => member += 1,
        }
    }
}

async fn read(load: Arc<Load>, seed: u64, channels: Vec<Channel>) {
    let mut rng = Rng::new(seed);
    while !load.stops() {
        let writer = rng.below(WRITERS);
        let register = &load.registers[writer];
        let channel = channels[rng.below(channels.len())].clone();
        let least = register.known.load(Ordering::SeqCst);
        let range = pb::RangeRequest { key: key(writer), ..pb::RangeRequest::default() };
        let Ok(Ok(found)) = timeout(CLIENT_PATIENCE, KvClient::new(channel).range(range)).await
        else {
            sleep(Duration::from_millis(5)).await;
            continue;
        };
        let found = found.into_inner().kvs.first().map_or(0, |kv| number(&kv.value));
        let most = register.sent.load(Ordering::SeqCst);
        assert!((least..=most).contains(&found), "read {found}, not in {least}..={most}");
        register.known.fetch_max(found, Ordering::SeqCst);
        load.reads.fetch_add(1, Ordering::Relaxed);
    }
}

/// Watches all writers at one member after the other, from where it was. What it saw: revision,
/// key and number of each event.
async fn watch(
    load: Arc<Load>,
    channels: Vec<Channel>,
    mut member: usize,
) -> Vec<(i64, Bytes, u64)> {
    let mut seen: Vec<(i64, Bytes, u64)> = Vec::new();
    let goal = |seen: &[(i64, Bytes, u64)]| load.stops() && seen.len() as u64 >= load.written();
    let deadline = |since: Instant| load.stops() && since.elapsed() > PATIENCE;
    let mut quiet = Instant::now();
    while !goal(&seen) {
        assert!(!deadline(quiet), "a watcher saw {} of {} writes", seen.len(), load.written());
        let create = pb::WatchCreateRequest {
            key: Bytes::from_static(b"writer/"),
            range_end: Bytes::from_static(b"writer0"),
            start_revision: seen.last().map_or(1, |(revision, ..)| revision + 1),
            ..pb::WatchCreateRequest::default()
        };
        let request_union = Some(RequestUnion::CreateRequest(create));
        let created = futures_util::stream::iter([pb::WatchRequest { request_union }]);
        // The stream stays open behind the one request.
        let outgoing = futures_util::StreamExt::chain(created, futures_util::stream::pending());
        let mut client = WatchClient::new(channels[member % channels.len()].clone());
        member += 1;
        let Ok(Ok(stream)) = timeout(CLIENT_PATIENCE, client.watch(outgoing)).await else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let mut stream = stream.into_inner();
        // A member that hears of nothing any more says nothing.
        while let Ok(Ok(Some(response))) = timeout(CLIENT_PATIENCE, stream.message()).await {
            for kv in response.events.into_iter().filter_map(|event| event.kv) {
                seen.push((kv.mod_revision, kv.key, number(&kv.value)));
                quiet = Instant::now();
            }
            if goal(&seen) {
                break;
            }
        }
    }
    seen
}

fn check_events(seen: &[(i64, Bytes, u64)]) {
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "events in order, none twice");
    for writer in 0..WRITERS {
        let of_writer = seen.iter().filter(|(_, of, _)| *of == key(writer));
        let numbers: Vec<u64> = of_writer.map(|(.., number)| *number).collect();
        let gapless = numbers.iter().zip(1..).all(|(&seen, expected)| seen == expected);
        assert!(gapless, "a gap in what writer {writer} wrote: {numbers:?}");
    }
}

/// Waits until all members have the same keys at the same revision.
async fn check_hashes(cluster: &Cluster) -> i64 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut hashes = Vec::new();
        for member in &cluster.members {
            let mut client = MaintenanceClient::new(member.channel());
            let asked = client.hash_kv(pb::HashKvRequest { revision: 0 }).await;
            hashes.push(asked.map(|hash| (hash.get_ref().hash_revision, hash.get_ref().hash)).ok());
        }
        if let Some(first) = hashes[0]
            && hashes.iter().all(|hash| *hash == Some(first))
        {
            return first.0;
        }
        // At the same revision there is nothing to wait for.
        let same = hashes.iter().all(|hash| hash.map(|h| h.0) == hashes[0].map(|h| h.0));
        assert!(!same || hashes[0].is_none(), "members differ: {hashes:?}");
        assert!(Instant::now() < deadline, "members do not agree: {hashes:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The silences of one kind of event.
#[derive(Debug, Default)]
struct Silences(Vec<u128>);

impl Silences {
    fn add(&mut self, silence: Duration) {
        self.0.push(silence.as_millis());
    }
}

impl std::fmt::Display for Silences {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        match sorted.last() {
            Some(worst) => write!(f, "{} / {worst}", sorted[sorted.len() / 2]),
            None => write!(f, "none"),
        }
    }
}

/// Waits until every writer has had something acknowledged that it began after now.
async fn all_go_on(load: &Load) {
    let before: Vec<u64> =
        load.registers.iter().map(|register| register.sent.load(Ordering::SeqCst)).collect();
    let deadline = Instant::now() + PATIENCE;
    let goes_on =
        |(register, before): (&Register, &u64)| register.known.load(Ordering::SeqCst) > *before;
    while !load.registers.iter().zip(&before).all(goes_on) {
        assert!(Instant::now() < deadline, "a writer gets no further: {load:?}");
        sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_and_no_read_is_stale() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |text| text.parse::<u64>().unwrap())
    };
    let kills = number("QUORATE_FAULT_KILLS", 4);
    let kills_all = number("QUORATE_FAULT_KILLS_ALL", 2);
    let seconds = number("QUORATE_FAULT_SECONDS", 10);
    let program = subject();
    let programs = [program.clone(), program.clone(), program.clone()];
    // Synced: this is about what members that are killed have promised.
    let mut cluster = Cluster::start_with_proxies(&programs, &Options::default()).await;
    let (load, channels) = (Arc::new(Load::new()), cluster.channels());
    let mut clients = JoinSet::new();
    for writer in 0..WRITERS {
        clients.spawn(write(Arc::clone(&load), writer, channels.clone()));
    }
    for reader in 0..READERS {
        clients.spawn(read(Arc::clone(&load), reader as u64 + 1, channels.clone()));
    }
    let watchers: Vec<_> = (0..cluster.members.len())
        .map(|member| tokio::spawn(watch(Arc::clone(&load), channels.clone(), member)))
        .collect();
    let mut rng = Rng::new(number("QUORATE_FAULT_SEED", 1));
    all_go_on(&load).await;

    let [mut of_one, mut of_leader, mut of_all] = <[Silences; 3]>::default();
    for _ in 0..kills {
        let (place, leader) = (rng.below(cluster.members.len()), cluster.leader().await);
        load.longest_silence();
        cluster.members[place].kill();
        sleep(Duration::from_millis(rng.below(300) as u64)).await;
        cluster.members[place].spawn();
        all_go_on(&load).await;
        let silences = if place == leader { &mut of_leader } else { &mut of_one };
        silences.add(load.longest_silence());
    }
    for _ in 0..kills_all {
        load.longest_silence();
        cluster.members.iter_mut().for_each(quorate_process::Server::kill);
        cluster.members.iter_mut().for_each(quorate_process::Server::spawn);
        all_go_on(&load).await;
        of_all.add(load.longest_silence());
    }

    let faults = [
        MemberFault::CutOff,
        MemberFault::Silent,
        MemberFault::Deaf,
        MemberFault::Mute,
        MemberFault::Slow(Duration::from_millis(20)),
    ];
    let mut of_faults = faults.map(|fault| (fault, Silences::default(), Silences::default()));
    let began = Instant::now();
    let mut round = 0;
    while began.elapsed() < Duration::from_secs(seconds) {
        let leader = cluster.leader().await;
        // Every other time it is the leader's turn.
        let place = if round % 2 == 0 { leader } else { rng.below(cluster.members.len()) };
        let which = round / 2 % faults.len();
        round += 1;
        load.longest_silence();
        cluster.set_fault(place, Some(faults[which]));
        sleep(Duration::from_millis(500 + rng.below(2500) as u64)).await;
        cluster.heal();
        all_go_on(&load).await;
        let (_, follower, its_leader) = &mut of_faults[which];
        let silences = if place == leader { its_leader } else { follower };
        silences.add(load.longest_silence());
    }

    load.stop.store(true, Ordering::SeqCst);
    while let Some(ended) = clients.join_next().await {
        ended.expect("every client got what it was promised");
    }
    for watcher in watchers {
        check_events(&watcher.await.expect("it saw all"));
    }
    let revision = check_hashes(&cluster).await;
    let faults: Vec<String> = of_faults
        .iter()
        .map(|(fault, follower, leader)| format!("{fault:?} {follower}, leader {leader}"))
        .collect();
    figures::note(
        "cluster-faults",
        format!(
            "{}, {} writes, {} reads, revision {revision} with equal hashes; longest silence in ms, \
             median / worst: {kills} kills of one {of_one}, of the leader {of_leader}, {kills_all} \
             of all {of_all}; {seconds} s of faults: {}",
            program.name,
            load.written(),
            load.reads.load(Ordering::Relaxed),
            faults.join("; "),
        ),
    );
}
