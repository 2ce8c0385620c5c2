//! Load through faults: clients put keys into a cluster of two real members and ours while
//! connections between members are delayed, cut, swallowed and made one-way by a seeded schedule,
//! a real member is killed now and then, and ours restarts. Afterwards every acknowledged key is
//! there, the real members have not panicked and restart on their own data, and all logs agree.
//!
//! `QUORATE_LOAD_SECONDS` sets the length, `QUORATE_SEED` the schedule.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

use quorate_interop::{
    Cluster, Endpoint, Fault, Gateway, Proxy, Receiver, Rule, pause, read_log, until, versions,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const WRITERS: u64 = 4;
const DEFAULT_SECONDS: u64 = 20;
const DEFAULT_SEED: u64 = 7;

/// How long a client waits for its put.
const PUT_MAX: Duration = Duration::from_secs(2);

/// After so many faults a real member is killed, and after so many ours restarts: numbers without
/// a common factor, so that they meet in every order.
const KILL_EVERY: u64 = 7;
const RESTART_EVERY: u64 = 5;

/// What the writers did.
#[derive(Default)]
struct Written {
    acknowledged: Mutex<BTreeSet<u64>>,
    unknown: AtomicU64,
    stop: AtomicBool,
}

/// What the schedule did.
#[derive(Default)]
struct Done {
    faults: BTreeMap<&'static str, u64>,
    kills: u64,
    restarts: u64,
}

#[test]
fn nothing_acknowledged_is_lost_under_faults() {
    for version in versions() {
        run(version);
    }
}

fn run(version: &'static str) {
    let seconds = setting("QUORATE_LOAD_SECONDS", DEFAULT_SECONDS);
    let seed = setting("QUORATE_SEED", DEFAULT_SEED);
    println!("{version}: {seconds} s, QUORATE_SEED={seed}");
    let flags: &[&str] = match version {
        "3.5.1" => &["--snapshot-count=500"],
        _ => &["--snapshot-count=500", "--snapshot-catchup-entries=500"],
    };
    let mut cluster = Cluster::start(version, 2, flags);
    let proxy = cluster.new_proxy();
    let id = until("a learner is added", || {
        cluster.gateway(cluster.leader()).add_learner(&proxy.url()).ok()
    });
    let mut ours = Some(cluster.start_receiver(&proxy));
    until("the learner may be promoted", || cluster.gateway(cluster.leader()).promote(id).ok());

    let written = Written::default();
    let clients = [0, 1].map(|i| Gateway::new(&cluster.launch(i).client_url, PUT_MAX));
    let done = std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (written, clients) = (&written, &clients);
            scope.spawn(move || write(writer, clients, written));
        }
        let end = Instant::now() + Duration::from_secs(seconds);
        let done = make_faults(&mut cluster, &proxy, id, &mut ours, seed, end);
        written.stop.store(true, Ordering::Relaxed);
        done
    });
    let ours = ours.expect("the schedule leaves ours running");
    let (compared, snapshots) = check(&mut cluster, &proxy, ours, id, &written);

    let acknowledged = written.acknowledged.lock().unwrap().len();
    testkit::figures::note(
        &format!("interop-load-{version}"),
        format!(
            "{seconds} s, seed {seed}: {acknowledged} puts acknowledged, 0 lost, {} unknown; \
             faults {:?}; {} kills, {} restarts of ours, {snapshots} snapshots sent to it; \
             {compared} entries of its log equal to the leader's",
            written.unknown.load(Ordering::Relaxed),
            done.faults,
            done.kills,
            done.restarts,
        ),
    );
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn key(n: u64) -> Vec<u8> {
    format!("load/{n:08}").into_bytes()
}

fn value(n: u64) -> Vec<u8> {
    format!("value {n}").into_bytes()
}

/// Puts one key after the other, each once, at whichever member answers.
fn write(writer: u64, clients: &[Gateway], written: &Written) {
    let mut at = usize::try_from(writer).unwrap() % clients.len();
    let mut n = writer;
    while !written.stop.load(Ordering::Relaxed) {
        if clients[at].put(&key(n), &value(n)).is_ok() {
            written.acknowledged.lock().unwrap().insert(n);
        } else {
            // It may still be done, so it is neither counted nor tried again.
            written.unknown.fetch_add(1, Ordering::Relaxed);
            at = (at + 1) % clients.len();
            pause(Duration::from_millis(20));
        }
        n += WRITERS;
    }
}

/// One fault after the other, each for a while and then none for a while, until `end`.
fn make_faults(
    cluster: &mut Cluster,
    proxy: &Proxy,
    id: u64,
    ours: &mut Option<Receiver>,
    seed: u64,
    end: Instant,
) -> Done {
    let mut random = Random(seed);
    let mut done = Done::default();
    for step in 1_u64.. {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let victim = usize::try_from(random.below(3)).unwrap();
        let (name, rules) = random.fault([cluster.id(0), cluster.id(1), id], victim);
        *done.faults.entry(name).or_default() += 1;
        let proxies = [cluster.proxy(0), cluster.proxy(1), proxy];
        proxies.into_iter().zip(&rules).for_each(|(proxy, rules)| proxy.set_rules(rules));
        pause(left.min(Duration::from_millis(200 + random.below(1800))));
        if step % KILL_EVERY == 0 {
            let i = usize::try_from(random.below(2)).unwrap();
            cluster.kill(i);
            cluster.start_again(i);
            done.kills += 1;
        }
        if step % RESTART_EVERY == 0 {
            ours.take().expect("it runs").stop().unwrap();
            *ours = Some(cluster.start_receiver(proxy));
            done.restarts += 1;
        }
        [cluster.proxy(0), cluster.proxy(1), proxy].into_iter().for_each(Proxy::heal);
        pause(Duration::from_millis(200 + random.below(800)));
        cluster.never_panicked();
        assert!(ours.as_ref().is_some_and(Receiver::runs), "our member ended");
    }
    done
}

/// Heals all, lets the cluster settle, and looks for everything that was acknowledged; gives how
/// many entries of our log were compared and how many snapshots ours was sent.
fn check(
    cluster: &mut Cluster,
    proxy: &Proxy,
    ours: Receiver,
    id: u64,
    written: &Written,
) -> (u64, u64) {
    (0..2).for_each(|i| cluster.member(i).wait_ready());
    until("the cluster works again", || {
        cluster.gateway(cluster.leader()).put(b"last", b"one").ok()
    });
    let leader = cluster.leader();
    let index = cluster.member(leader).raft_index();
    until("all have caught up", || {
        assert!(ours.runs(), "our member ended");
        let other = cluster.member(1 - leader).status();
        (ours.status().applied >= index && other.applied >= index).then_some(())
    });
    assert!(ours.status().voters.contains(&id));
    ours.stop().unwrap();
    cluster.never_panicked();
    for restarted in [false, true] {
        if restarted {
            (0..2).for_each(|i| cluster.stop(i));
            (0..2).for_each(|i| cluster.start_again(i));
            (0..2).for_each(|i| cluster.member(i).wait_ready());
        }
        for i in 0..2 {
            let held = cluster.gateway(i).range(b"load/", b"load0").unwrap();
            for n in written.acknowledged.lock().unwrap().iter() {
                let found = held.get(&key(*n));
                assert_eq!(found, Some(&value(*n)), "put {n} was acknowledged; member {i}");
            }
        }
    }
    (0..2).for_each(|i| cluster.stop(i));
    let logs = [0, 1].map(|i| read_log(cluster.data_dir(i)));
    let mine = read_log(&cluster.folder("ours"));
    logs[0].agrees_with(&logs[1]);
    let compared = mine.agrees_with(&logs[0]).min(mine.agrees_with(&logs[1]));
    assert!(compared > 0, "our log has entries that a real member's has");
    let sent = (0..2).map(|i| proxy.count(Some(cluster.id(i)), Endpoint::Snapshot, 204)).sum();
    (compared, sent)
}

/// Numbers that a seed decides (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// A fault, and the rules that make it at each member's proxy: for all that goes to the
    /// victim and comes from it, for all or one kind of what is dialled there, or for what one
    /// other dials there.
    fn fault(&mut self, ids: [u64; 3], victim: usize) -> (&'static str, [Vec<Rule>; 3]) {
        let (name, fault) = match self.below(5) {
            0 => ("delay", Fault::Delay(Duration::from_millis(5 + self.below(100)))),
            1 => ("cut", Fault::Cut),
            2 => ("black-hole", Fault::BlackHole),
            3 => ("nothing-in", Fault::NothingIn),
            _ => ("nothing-out", Fault::NothingOut),
        };
        let mut rules = [const { Vec::new() }; 3];
        let rule = |from, endpoint| vec![Rule { from, endpoint, fault }];
        rules[victim] = match self.below(5) {
            0 => rule(None, Some(Endpoint::AppendStream)),
            1 => rule(None, Some(Endpoint::MessageStream)),
            2 => rule(Some(ids[(victim + 1) % ids.len()]), None),
            _ => {
                // What it dials itself passes the others' proxies.
                let dialled = rule(Some(ids[victim]), None);
                rules.fill(dialled);
                rule(None, None)
            }
        };
        (name, rules)
    }
}
