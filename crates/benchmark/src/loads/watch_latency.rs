//! `watch-latency`, from a put's answer until its events; and `watch-get`, reads while watchers
//! catch up with the past.

use crate::args::{WatchGet, WatchLatency};
use crate::bench::Bench;
use crate::engine::{Ask, Group, Load, Side, Step, Turn};
use crate::keys::Rng;
use crate::loads::put::written;
use crate::loads::watchers::{self, Spread, events_of, watch_id};
use crate::proto;
use crate::report::Recorder;
use crate::wire::Method;
use anyhow::Result;
use api::etcdserverpb::{PutRequest, RangeRequest, WatchCreateRequest};
use bytes::Bytes;
use prost::Message as _;
use std::collections::HashMap;
use std::time::Instant;

/// Runs `watch-latency`.
pub(crate) fn run(mut bench: Bench, flags: &WatchLatency) -> Result<()> {
    let mut rng = Rng::new(SEED);
    let (key, value) = (rng.bytes(flags.key_size), rng.bytes(flags.val_size));
    let spread = Spread { streams: flags.streams, on_each: flags.watchers_per_stream };
    let request = |_| WatchCreateRequest {
        key: key.clone(),
        prev_kv: flags.prevkv,
        ..WatchCreateRequest::default()
    };
    let mut created = bench.recorder("watch-make");
    watchers::create(&mut bench, spread, request, &mut created)?;
    let mut load = Latency {
        put: PutRequest { key: key.clone(), value, ..PutRequest::default() }.encode_to_vec(),
        watchers: spread.count() as u64,
        answered: 0,
        events: HashMap::new(),
        times: Vec::new(),
    };
    let mut reports = [bench.recorder("watch-latency-put"), bench.recorder("watch-latency-watch")];
    // Upstream has one client put here, whatever --clients says.
    let mut group = bench.group(&mut load, flags.put_total, flags.put_rate);
    group.clients = 1;
    let span = bench.span();
    let outcome = bench.run(&mut [group], span, &mut reports)?;
    let answers = std::mem::take(&mut load.times);
    for (number, at) in load.events.values().flat_map(|times| times.iter().enumerate()) {
        // An event may be faster than the answer.
        if let Some(answered) = answers.get(number) {
            reports[WATCH].succeeded(*answered, *at);
        }
    }
    println!("\nPut summary:");
    bench.show(&reports[PUT], outcome.seconds)?;
    println!("\nWatch events summary:");
    bench.show(&reports[WATCH], outcome.seconds)?;
    bench.cost(&outcome)?;
    bench.finish()
}

/// Runs `watch-get`.
pub(crate) fn run_get(mut bench: Bench, flags: &WatchGet) -> Result<()> {
    let mut first = 0;
    for number in 0..flags.events {
        let (key, value) = (Bytes::from_static(b"watchkey"), number.to_string().into());
        let put = PutRequest { key, value, ..PutRequest::default() }.encode_to_vec();
        let answer = bench.pool.call(0, Method::Put, &put)?;
        if number == 0 {
            first = proto::revision(&answer);
        }
    }
    let streams = flags.streams.min(flags.watchers);
    let spread = Spread { streams, on_each: flags.watchers.div_ceil(streams.max(1)) };
    let request = |_| WatchCreateRequest {
        key: Bytes::from_static(b"watchkey"),
        start_revision: first,
        ..WatchCreateRequest::default()
    };
    let mut created = bench.recorder("watch-make");
    let early = watchers::create(&mut bench, spread, request, &mut created)?;
    let expected = spread.count() as u64 * flags.events;
    let mut load = Gets { left: expected.saturating_sub(early) };
    let mut reports = [bench.recorder("watch-get")];
    let group = Group { load: &mut load, clients: 1, rate: None, total: None, late: false };
    let span = bench.span();
    let outcome = bench.run(&mut [group], span, &mut reports)?;
    println!("Get during watch summary:");
    bench.show(&reports[0], outcome.seconds)?;
    bench.cost(&outcome)?;
    bench.finish()
}

struct Latency {
    put: Vec<u8>,
    watchers: u64,
    answered: u64,
    /// By stream and watcher, when its events came.
    events: HashMap<(usize, i64), Vec<Instant>>,
    /// When each put was answered.
    times: Vec<Instant>,
}

const PUT: usize = 0;
const WATCH: usize = 1;

const SEED: u64 = 8;

impl Load for Latency {
    fn request(&mut self, _: Turn, message: &mut Vec<u8>) -> Ask {
        message.extend_from_slice(&self.put);
        Ask::call(Method::Put, PUT)
    }

    fn answer(&mut self, _: usize, answer: &[u8], _: &mut Vec<u8>) -> Step {
        self.answered += 1;
        self.times.push(Instant::now());
        written(answer)
    }

    fn side(&mut self, side: Side<'_>, _: &mut [Recorder]) {
        let times = self.events.entry((side.stream, watch_id(side.message))).or_default();
        times.extend(events_of(side.message).map(|_| side.at));
    }

    fn is_done(&self) -> bool {
        let all = self.events.len() as u64 == self.watchers || self.answered == 0;
        all && self.events.values().all(|times| times.len() as u64 >= self.answered)
    }
}

/// Serializable reads of a key that is not there, until every watcher has caught up.
struct Gets {
    left: u64,
}

impl Load for Gets {
    fn request(&mut self, _: Turn, message: &mut Vec<u8>) -> Ask {
        let key = Bytes::from_static(b"abc");
        let range = RangeRequest { key, serializable: true, ..RangeRequest::default() };
        range.encode(message).expect("a vector grows");
        Ask::call(Method::Range, 0)
    }

    fn side(&mut self, side: Side<'_>, _: &mut [Recorder]) {
        self.left = self.left.saturating_sub(events_of(side.message).count() as u64);
    }

    fn is_done(&self) -> bool {
        self.left == 0
    }
}
