//! Watchers: many of them on a few streams, created one after the other on each stream.

use crate::bench::Bench;
use crate::engine::SIDE;
use crate::proto;
use crate::report::Recorder;
use crate::wire::{Events, Method, StreamRef, What};
use anyhow::{Context as _, Result, bail, ensure};
use api::etcdserverpb::watch_request::RequestUnion;
use api::etcdserverpb::{WatchCreateRequest, WatchRequest};
use prost::Message as _;
use std::time::{Duration, Instant};

/// How watchers are spread.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) streams: usize,
    pub(crate) on_each: usize,
}

/// How long a server may take to create one.
const PATIENCE: Duration = Duration::from_secs(60);

impl Spread {
    pub(crate) fn count(self) -> usize {
        self.streams * self.on_each
    }
}

/// A stream while its watchers are created.
struct Creating {
    stream: StreamRef,
    asked: Instant,
    created: usize,
    events: u64,
}

/// Creates watchers, the nth of a stream as `request` says, and waits until all of them are.
/// Their streams have the tokens from [`SIDE`] on. Returns how many events have come already.
pub(crate) fn create(
    bench: &mut Bench,
    spread: Spread,
    mut request: impl FnMut(usize) -> WatchCreateRequest,
    report: &mut Recorder,
) -> Result<u64> {
    ensure!(spread.count() > 0, "there must be a watcher");
    let pool = &mut bench.pool;
    let mut streams: Vec<Creating> = Vec::new();
    let mut number = 0;
    let mut next = move || {
        number += 1;
        encode(request(number - 1))
    };
    for stream in 0..spread.streams {
        let token = SIDE + u32::try_from(stream).context("too many streams")?;
        let opened = pool.open(stream % pool.len(), token, Method::Watch, &next());
        let stream = opened.context("the server lets no more streams be open: use more --conns")?;
        streams.push(Creating { stream, asked: Instant::now(), created: 0, events: 0 });
    }
    let mut events = Events::default();
    while streams.iter().any(|stream| stream.created < spread.on_each) {
        pool.flush();
        let ready = pool.wait(Some(PATIENCE))?;
        ensure!(ready > 0, "watchers are not created in time");
        for nth in 0..ready {
            pool.receive(nth, &mut events);
            for event in events.list().iter().filter(|event| event.token >= SIDE) {
                let state = &mut streams[(event.token - SIDE) as usize];
                match &event.what {
                    What::Message(from, to) => {
                        let message = events.message(*from, *to);
                        state.events += events_of(message).count() as u64;
                        if proto::number(message, CREATED) == 0 {
                            continue;
                        }
                        ensure!(proto::number(message, CANCELED) == 0, "a watcher was refused");
                        report.succeeded(state.asked, event.at);
                        state.created += 1;
                        if state.created < spread.on_each {
                            state.asked = event.at;
                            pool.send(state.stream, &next());
                        }
                    }
                    What::Counted(_) => {}
                    What::Ended(Ok(())) => bail!("the server ended a watch stream"),
                    What::Ended(Err(why)) => bail!("a watch stream failed: {why}"),
                }
            }
        }
    }
    Ok(streams.iter().map(|stream| stream.events).sum())
}

fn encode(create: WatchCreateRequest) -> Vec<u8> {
    WatchRequest { request_union: Some(RequestUnion::CreateRequest(create)) }.encode_to_vec()
}

/// The events of what a watch says.
pub(crate) fn events_of(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    proto::all_bytes(message, EVENTS)
}

/// The watcher that it says it to.
pub(crate) fn watch_id(message: &[u8]) -> i64 {
    proto::number(message, WATCH_ID)
}

/// The key of an event, and the value.
pub(crate) fn key_and_value(event: &[u8]) -> (&[u8], &[u8]) {
    let kv = proto::bytes(event, EVENT_KV).unwrap_or_default();
    (proto::bytes(kv, KV_KEY).unwrap_or_default(), proto::bytes(kv, KV_VALUE).unwrap_or_default())
}

/// Whether an event is a deletion.
pub(crate) fn is_delete(event: &[u8]) -> bool {
    proto::number(event, EVENT_TYPE) == 1
}

/// Fields of a WatchResponse, an Event, and a KeyValue.
const WATCH_ID: u64 = 2;
const CREATED: u64 = 3;
const CANCELED: u64 = 4;
const EVENTS: u64 = 11;
const EVENT_TYPE: u64 = 1;
const EVENT_KV: u64 = 2;
const KV_KEY: u64 = 1;
const KV_VALUE: u64 = 5;
