//! More bytes of answers than a server has memory: large lists by many at once, and a watcher that
//! reads none of what it asked for. Each gets its answer or is refused, others are served
//! meanwhile, and memory stays bounded.
//!
//! `QUORATE_LISTS` says how many list at once (30).

use api::etcdserverpb as pb;
use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use prost::Message as _;
use quorate_process::wire::{Call, Wire};
use quorate_process::{Options, PATIENCE, Program, Server, Witness, fill, subject};
use std::collections::HashSet;
use std::time::{Duration, Instant};
use testkit::figures;

/// Keys that are listed, and the bytes of each value.
const KEYS: usize = 100_000;
const VALUE_BYTES: usize = 1024;

/// Memory that a server may come to have, in MiB.
const MEMORY_MAX_MIB: u64 = 1024;

/// How long all lists together may take.
const LISTS_TIMEOUT: Duration = Duration::from_secs(300);

/// Lists that the real etcd is asked for at once: each costs it some hundred MiB.
const REAL_LISTS: usize = 4;

/// What a list came to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Listed {
    /// All of it: so many bytes.
    Whole(usize),
    /// ResourceExhausted.
    Refused,
}

fn range() -> pb::RangeRequest {
    let (key, range_end) = (Bytes::from_static(b"fill/"), Bytes::from_static(b"fill0"));
    pb::RangeRequest { key, range_end, ..Default::default() }
}

/// Lists on a connection of its own, and throws away what it has counted.
async fn list(server: &Server) -> Listed {
    let mut wire = Wire::connect_with(server.client_address(), 4 << 20).await;
    let call = Call::new("/etcdserverpb.KV/Range", &range().encode_to_vec());
    let response = wire.begin(call).await.expect("a list is answered");
    let mut code = response.headers().get("grpc-status").cloned();
    let mut body: Incoming = response.into_body();
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        let frame = frame.expect("the connection holds");
        match frame.into_data() {
            Ok(data) => bytes += data.len(),
            Err(rest) => {
                let trailers = rest.into_trailers().expect("data or trailers");
                code = trailers.get("grpc-status").cloned().or(code);
            }
        }
    }
    match code.as_ref().map(|code| code.as_bytes()) {
        Some(b"0") => Listed::Whole(bytes),
        Some(b"8") => Listed::Refused,
        other => panic!("a list ended with {other:?} after {bytes} bytes: {}", server.log()),
    }
}

async fn list_at_once(server: &Server, lists: usize) -> Vec<Listed> {
    let listing = join_all((0..lists).map(|_| list(server)));
    tokio::time::timeout(LISTS_TIMEOUT, listing).await.expect("all lists end")
}

#[test]
fn many_lists_of_a_hundred_megabytes_each() {
    let lists = std::env::var("QUORATE_LISTS").map_or(30, |text| text.parse().unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Server::start(&subject(), Options::without_sync());
    runtime.block_on(async {
        fill(&server, KEYS, VALUE_BYTES).await;
        let alone = list(&server).await;
        let Listed::Whole(bytes) = alone else { panic!("one list alone has room") };
        assert!(bytes > KEYS * VALUE_BYTES);
        let witness = Witness::start(&server);
        let began = Instant::now();
        let listed = list_at_once(&server, lists).await;
        let took = began.elapsed();
        let latencies = witness.end().await;
        let whole = listed.iter().filter(|listed| **listed == alone).count();
        let refused = listed.iter().filter(|listed| **listed == Listed::Refused).count();
        assert_eq!(whole + refused, lists, "a list that is not whole: {listed:?}");
        let peak = server.memory_peak_mib();
        assert!(peak < MEMORY_MAX_MIB, "{peak} MiB");
        figures::note(
            "lists",
            format!(
                "{lists} clients listing {KEYS} keys of {VALUE_BYTES} B at once: {whole} whole, \
                 {refused} refused, {} s, peak {peak} MiB, {latencies}",
                took.as_secs()
            ),
        );
    });
    drop(server);
    let etcd = Server::start(&Program::newest_etcd(), Options::without_sync());
    runtime.block_on(async {
        fill(&etcd, KEYS, VALUE_BYTES).await;
        list_at_once(&etcd, REAL_LISTS).await;
        let peak = etcd.memory_peak_mib();
        let name = &etcd.program().name;
        figures::note("lists-beside", format!("{name}: {REAL_LISTS} such lists, peak {peak} MiB"));
    });
}

/// A watcher of all keys, by hand, so that nobody reads before the test does.
async fn deaf_watcher(server: &Server) -> Incoming {
    let create = pb::WatchCreateRequest {
        key: range().key,
        range_end: range().range_end,
        ..Default::default()
    };
    let request_union = Some(pb::watch_request::RequestUnion::CreateRequest(create));
    let message = pb::WatchRequest { request_union }.encode_to_vec();
    let mut wire = Wire::connect(server.client_address()).await;
    let call = Call::new("/etcdserverpb.Watch/Watch", &message);
    wire.begin(call).await.expect("a stream is opened").into_body()
}

/// Reads events until so many have come; whether they are in order, and each of another key.
async fn hear(mut body: Incoming, events: usize) -> bool {
    let (mut buffer, mut heard, mut last, mut in_order) = (Vec::new(), 0, 0, true);
    let mut keys = HashSet::new();
    while heard < events {
        let frame = tokio::time::timeout(PATIENCE, body.frame()).await.expect("it is told");
        let frame = frame.expect("the stream stays open").expect("the connection holds");
        buffer.extend_from_slice(&frame.into_data().expect("no trailers yet"));
        while let Some(head) = buffer.get(1..5) {
            let length = u32::from_be_bytes(head.try_into().expect("four bytes")) as usize;
            let Some(message) = buffer.get(5..5 + length) else { break };
            let response = pb::WatchResponse::decode(message).expect("a response");
            assert!(!response.canceled, "{response:?}");
            for kv in response.events.into_iter().filter_map(|event| event.kv) {
                // Those of one transaction have one revision.
                in_order &= kv.mod_revision >= last;
                last = kv.mod_revision;
                heard += 1;
                keys.insert(kv.key);
            }
            buffer.drain(..5 + length);
        }
    }
    in_order && keys.len() == events && heard == events
}

#[test]
fn a_watcher_that_reads_nothing_costs_little_and_misses_nothing() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let memory = |watchers: usize| {
        let server = Server::start(&subject(), Options::without_sync());
        runtime.block_on(async {
            let mut deaf = Vec::new();
            for _ in 0..watchers {
                deaf.push(deaf_watcher(&server).await);
            }
            let hearing = tokio::spawn(hear(deaf_watcher(&server).await, KEYS));
            let witness = Witness::start(&server);
            fill(&server, KEYS, VALUE_BYTES).await;
            assert!(hearing.await.unwrap(), "who reads is told everything in order");
            let (latencies, now) = (witness.end().await, server.memory_now_mib());
            for body in deaf.into_iter().take(2) {
                assert!(hear(body, KEYS).await, "who reads at last is told everything in order");
            }
            (now, latencies)
        })
    };
    let (without, _) = memory(0);
    let (with, latencies) = memory(20);
    let more = with.saturating_sub(without);
    // Some MiB each: items, windows and what a batch of events takes.
    assert!(more < 20 * 8, "{more} MiB for 20 watchers: {without} to {with}");
    figures::note(
        "deaf-watchers",
        format!(
            "20 watchers that read none of {KEYS} events of {VALUE_BYTES} B: {more} MiB more than \
             {without}, all events there when two of them read at last, {latencies}"
        ),
    );
}
