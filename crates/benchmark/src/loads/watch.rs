//! `watch` and `watch-fanout`: puts, and many who are told of them.
//!
//! A value begins with the time when its put was due, so that an event says how long it took.

use crate::args::{Watch, WatchFanout};
use crate::bench::Bench;
use crate::engine::{Ask, Load, Side, Step, Turn};
use crate::keys::{Rng, key, prefix_end};
use crate::loads::put::written;
use crate::loads::watchers::{self, Spread, events_of, key_and_value};
use crate::report::{Recorder, nanos};
use crate::wire::{Failure, Method};
use anyhow::{Result, ensure};
use api::Code;
use api::etcdserverpb::{PutRequest, WatchCreateRequest};
use bytes::Bytes;
use prost::Message as _;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Runs `watch`: watchers of a few keys, then puts to those.
pub(crate) fn run(mut bench: Bench, flags: &Watch) -> Result<()> {
    ensure!(flags.watched_key_total > 0, "there must be a key to watch");
    let mut rng = Rng::new(KEYS);
    let space = flags.key_space_size;
    let keys: Vec<Bytes> = (0..flags.watched_key_total)
        .map(|at| if flags.sequential_keys { at % space } else { rng.below(space) })
        .map(|number| key("", flags.key_size, number))
        .collect();
    let spread = Spread { streams: flags.streams, on_each: flags.watch_per_stream };
    let mut watchers: HashMap<Bytes, u64> = HashMap::new();
    for number in 0..spread.count() {
        *watchers.entry(keys[number % keys.len()].clone()).or_default() += 1;
    }
    let mut created = bench.recorder("watch-make");
    let began = Instant::now();
    let request = |number: usize| WatchCreateRequest {
        key: keys[number % keys.len()].clone(),
        ..WatchCreateRequest::default()
    };
    watchers::create(&mut bench, spread, request, &mut created)?;
    println!("Watch creation summary:");
    bench.show(&created, began.elapsed().as_secs_f64())?;

    let targets = keys.iter().map(|key| (key.clone(), watchers.get(key).copied().unwrap_or(0)));
    let mut load = Fanout::new(targets.collect(), TIME_BYTES);
    let mut reports = [bench.recorder("put"), bench.recorder("watch-put")];
    let group = bench.group(&mut load, flags.put_total, flags.put_rate);
    let span = bench.span();
    let outcome = bench.run_of(&mut [group], span, &mut reports, EVENTS)?;
    load.count_missing(&mut reports[EVENTS]);
    println!("Watch events received summary:");
    bench.show(&reports[EVENTS], outcome.seconds)?;
    bench.cost(&outcome)?;
    bench.finish()
}

/// Runs `watch-fanout`: everybody watches the same.
pub(crate) fn run_fanout(mut bench: Bench, flags: &WatchFanout) -> Result<()> {
    let streams = flags.streams.min(flags.watchers);
    ensure!(
        streams > 0 && flags.watchers.is_multiple_of(streams),
        "--watchers must fill --streams evenly"
    );
    let spread = Spread { streams, on_each: flags.watchers / streams };
    let prefix = Bytes::from_static(b"/fanout/");
    let keys = if flags.prefix { FANOUT_KEYS } else { 1 };
    let key = |number: u64| Bytes::from(format!("/fanout/{number:06}"));
    let request = |_| WatchCreateRequest {
        key: if flags.prefix { prefix.clone() } else { key(0) },
        range_end: if flags.prefix { prefix_end(&prefix) } else { Bytes::new() },
        ..WatchCreateRequest::default()
    };
    let mut created = bench.recorder("watch-make");
    watchers::create(&mut bench, spread, request, &mut created)?;
    let targets = (0..keys).map(|number| (key(number), flags.watchers as u64));
    let mut load = Fanout::new(targets.collect(), flags.val_size.max(TIME_BYTES));
    let mut reports = [bench.recorder("put"), bench.recorder("watch-event")];
    let group = bench.group(&mut load, flags.total, flags.rate);
    let span = bench.span();
    let outcome = bench.run_of(&mut [group], span, &mut reports, EVENTS)?;
    load.count_missing(&mut reports[EVENTS]);
    for (name, report) in ["Put summary:", "Watch events summary:"].iter().zip(&reports) {
        println!("\n{name}");
        bench.show(report, outcome.seconds)?;
    }
    bench.cost(&outcome)?;
    bench.finish()
}

/// Puts, and the events of them.
struct Fanout {
    /// Keys, and how many watch each.
    targets: Vec<(Bytes, u64)>,
    value: Vec<u8>,
    /// Times in values count from here.
    base: Instant,
    /// By slot, which key is put.
    putting: Vec<usize>,
    expected: u64,
    got: u64,
}

const EVENTS: usize = 1;

/// A time takes so many bytes of a value.
const TIME_BYTES: usize = 8;

/// Keys under the watched prefix.
const FANOUT_KEYS: u64 = 1000;

const KEYS: u64 = 7;

impl Fanout {
    fn new(targets: Vec<(Bytes, u64)>, value_bytes: usize) -> Self {
        let value = vec![b'v'; value_bytes];
        let putting = Vec::new();
        Self { targets, value, base: Instant::now(), putting, expected: 0, got: 0 }
    }

    /// Events that never came are failures.
    fn count_missing(&self, report: &mut Recorder) {
        let why = Failure::new(Code::DeadlineExceeded, "an event did not come");
        report.failed_times(&why, self.expected.saturating_sub(self.got));
    }
}

impl Load for Fanout {
    fn request(&mut self, turn: Turn, message: &mut Vec<u8>) -> Ask {
        let target = usize::try_from(turn.number).unwrap_or_default() % self.targets.len();
        if self.putting.len() <= turn.slot {
            self.putting.resize(turn.slot + 1, 0);
        }
        self.putting[turn.slot] = target;
        let due = nanos(turn.due.saturating_duration_since(self.base));
        self.value[..TIME_BYTES].copy_from_slice(&due.to_be_bytes());
        let key = self.targets[target].0.clone();
        let put = PutRequest { key, value: self.value.clone().into(), ..PutRequest::default() };
        put.encode(message).expect("a vector grows");
        Ask::call(Method::Put, 0)
    }

    fn answer(&mut self, slot: usize, answer: &[u8], _: &mut Vec<u8>) -> Step {
        self.expected += self.targets[self.putting[slot]].1;
        written(answer)
    }

    fn side(&mut self, side: Side<'_>, reports: &mut [Recorder]) {
        for event in events_of(side.message) {
            self.got += 1;
            let (_, value) = key_and_value(event);
            let time = value.get(..TIME_BYTES).and_then(|time| time.try_into().ok());
            let time = Duration::from_nanos(time.map_or(0, u64::from_be_bytes));
            let due = self.base + time;
            if side.window.has(due) {
                reports[EVENTS].succeeded(due, side.at);
            }
        }
    }

    fn is_done(&self) -> bool {
        self.got >= self.expected
    }
}
