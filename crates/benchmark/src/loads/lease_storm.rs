//! `lease-storm`: many leases that run out in the same second.
//!
//! Each is granted whole seconds that end in one second of the clock, later grants fewer of them.
//! Each has a key, and a watcher tells when it goes. A lease is late by how long after its time
//! that is; its time counts from when its grant was answered, so the server is not charged with
//! the way there. A lease that went before its grant was even asked plus its time is an error.

use crate::args::LeaseStorm;
use crate::bench::Bench;
use crate::engine::{Ask, Load, Step, Turn};
use crate::loads::put::written;
use crate::loads::watchers::{self, Spread, events_of, is_delete, key_and_value};
use crate::proto;
use crate::report::Recorder;
use crate::wire::{Events, Failure, Method, What};
use anyhow::{Context as _, Result, ensure};
use api::Code;
use api::etcdserverpb::request_op::Request;
use api::etcdserverpb::{LeaseGrantRequest, PutRequest, RequestOp, TxnRequest, WatchCreateRequest};
use bytes::Bytes;
use prost::Message as _;
use std::time::{Duration, Instant};

/// Runs the sub-command.
pub(crate) fn run(mut bench: Bench, flags: &LeaseStorm) -> Result<()> {
    ensure!(flags.leases > 0, "there must be a lease");
    let clients = bench.common.clients;
    let storm = Instant::now() + flags.after;
    let mut grants = Grants { storm, asked: Vec::new(), leases: Vec::new(), refused: false };
    bench.prepare(&mut grants, clients, flags.leases).context("granting")?;
    ensure!(!grants.refused, "granting takes longer than --after: give it more time");
    let Grants { leases, .. } = grants;
    let batches = (leases.len() as u64).div_ceil(BATCH as u64);
    let mut keys = Keys { leases: &leases };
    bench.prepare(&mut keys, clients, batches).context("putting a key for each lease")?;
    let request = |_| WatchCreateRequest {
        key: PREFIX.into(),
        range_end: crate::keys::prefix_end(PREFIX.as_bytes()),
        ..WatchCreateRequest::default()
    };
    let mut created = bench.recorder("watch-make");
    let one = Spread { streams: 1, on_each: 1 };
    let early = watchers::create(&mut bench, one, request, &mut created)?;
    let ready = Instant::now();
    ensure!(early == 0 && ready < storm, "leases run out too early: give it more --after");

    let mut reports = [bench.recorder("lease-storm")];
    wait(&mut bench, storm)?;
    let from = bench.meter.read()?;
    let last = watch(&mut bench, &leases, flags.patience, &mut reports[0])?;
    let to = bench.meter.read()?;
    let cost = bench.meter.cost(from, to, flags.leases)?;
    let seconds = last.saturating_duration_since(storm).as_secs_f64();
    bench.show(&reports[0], seconds)?;
    let worst = reports[0].figures(seconds).latency_us.max / 1e3;
    println!("\nWorst lateness:\t{worst:.1} ms");
    bench.cost(&crate::engine::Outcome {
        seconds,
        cost,
        in_time: reports[0].count(),
        lost: None,
    })?;
    bench.finish()
}

/// Lets time pass, hearing the server's pings meanwhile.
fn wait(bench: &mut Bench, until: Instant) -> Result<()> {
    let mut events = Events::default();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        for nth in 0..bench.pool.wait(Some(left))? {
            bench.pool.receive(nth, &mut events);
            ensure!(events.list().is_empty(), "a lease went before its time");
        }
        bench.pool.flush();
    }
}

/// Takes deletions until every lease is gone, and tells when the last went.
fn watch(
    bench: &mut Bench,
    leases: &[Lease],
    patience: Duration,
    report: &mut Recorder,
) -> Result<Instant> {
    let mut gone = vec![false; leases.len()];
    let (mut left, mut last) = (leases.len(), Instant::now());
    let mut events = Events::default();
    while left > 0 {
        let ready = bench.pool.wait(Some(patience))?;
        if ready == 0 {
            let why = Failure::new(Code::DeadlineExceeded, "a lease did not go away");
            report.failed_times(&why, left as u64);
            break;
        }
        for nth in 0..ready {
            bench.pool.receive(nth, &mut events);
            for event in events.list() {
                let (from, to) = match &event.what {
                    What::Message(from, to) => (*from, *to),
                    What::Counted(_) => continue,
                    What::Ended(why) => anyhow::bail!("the watch ended: {why:?}"),
                };
                for deleted in events_of(events.message(from, to)).filter(|event| is_delete(event))
                {
                    let (key, _) = key_and_value(deleted);
                    let number = key.strip_prefix(PREFIX.as_bytes());
                    let number = number.and_then(|number| std::str::from_utf8(number).ok());
                    let number: usize =
                        number.and_then(|n| n.parse().ok()).context("whose key?")?;
                    let lease = leases.get(number).context("whose key?")?;
                    if std::mem::replace(&mut gone[number], true) {
                        continue;
                    }
                    left -= 1;
                    last = event.at;
                    if event.at < lease.asked + lease.ttl {
                        report.failed(&Failure::new(Code::Internal, "a lease went too early"));
                    } else {
                        report.succeeded(lease.answered + lease.ttl, event.at);
                    }
                }
            }
        }
        bench.pool.flush();
    }
    Ok(last)
}

const PREFIX: &str = "/storm/";

/// Keys of a transaction: etcd takes up to 128.
const BATCH: usize = 100;

/// The least time that etcd grants, in seconds: it makes shorter ones longer.
const LEAST: u64 = 3;

#[derive(Clone, Copy, Debug)]
struct Lease {
    id: i64,
    ttl: Duration,
    asked: Instant,
    answered: Instant,
}

struct Grants {
    /// When the first may run out.
    storm: Instant,
    /// By slot: when, and for how many seconds.
    asked: Vec<(Instant, u64)>,
    leases: Vec<Lease>,
    /// Whether there was too little time left.
    refused: bool,
}

impl Load for Grants {
    fn request(&mut self, turn: Turn, message: &mut Vec<u8>) -> Ask {
        let now = Instant::now();
        let left = self.storm.saturating_duration_since(now);
        // So many whole seconds that it ends in the second behind the storm's beginning.
        let seconds = left.as_secs() + 1;
        self.refused |= seconds < LEAST;
        if self.asked.len() <= turn.slot {
            self.asked.resize(turn.slot + 1, (now, 0));
        }
        self.asked[turn.slot] = (now, seconds);
        let grant = LeaseGrantRequest { ttl: seconds.cast_signed(), id: 0 };
        grant.encode(message).expect("a vector grows");
        Ask::call(Method::LeaseGrant, 0)
    }

    fn answer(&mut self, slot: usize, answer: &[u8], _: &mut Vec<u8>) -> Step {
        let (asked, seconds) = self.asked[slot];
        if proto::number(answer, TTL).unsigned_abs() != seconds {
            return Step::Wrong("a lease was granted another time");
        }
        let (id, ttl) = (proto::number(answer, ID), Duration::from_secs(seconds));
        self.leases.push(Lease { id, ttl, asked, answered: Instant::now() });
        Step::Done
    }
}

/// Fields of the answer to a grant.
const ID: u64 = 2;
const TTL: u64 = 3;

/// Puts a key for each lease, a hundred in a transaction.
struct Keys<'a> {
    leases: &'a [Lease],
}

impl Load for Keys<'_> {
    fn request(&mut self, turn: Turn, message: &mut Vec<u8>) -> Ask {
        let first = usize::try_from(turn.number).unwrap_or_default() * BATCH;
        let leases = self.leases.iter().enumerate().skip(first).take(BATCH);
        let success = leases.map(|(number, lease)| {
            let key = Bytes::from(format!("{PREFIX}{number}"));
            let put = PutRequest { key, lease: lease.id, ..PutRequest::default() };
            RequestOp { request: Some(Request::RequestPut(put)) }
        });
        let txn = TxnRequest { success: success.collect(), ..TxnRequest::default() };
        txn.encode(message).expect("a vector grows");
        Ask::call(Method::Txn, 0)
    }

    fn answer(&mut self, _: usize, answer: &[u8], _: &mut Vec<u8>) -> Step {
        written(answer)
    }
}
