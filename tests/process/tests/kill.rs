//! `kill -9` under load, again and again: what was acknowledged is there, linearizable reads are
//! never stale, and a watcher that resumes sees every event once.
//!
//! `QUORATE_KILLS` says how many rounds (30), `QUORATE_KILL_KEYS` how many other keys there are
//! (none), of 256 B each.

use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::watch_client::WatchClient;
use api::etcdserverpb::watch_request::RequestUnion;
use api::etcdserverpb::{PutRequest, RangeRequest, WatchCreateRequest, WatchRequest};
use bytes::Bytes;
use quorate_process::{Options, PATIENCE, Rng, Server, fill, subject};
use std::time::{Duration, Instant};
use testkit::figures;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

/// Clients that write at once.
const WRITERS: u64 = 8;

/// Bytes of the values that are there already.
const VALUE_BYTES: usize = 256;

/// What one writer knows: the last number that was acknowledged, and the last one that was sent.
#[derive(Clone, Copy, Debug, Default)]
struct Written {
    acknowledged: u64,
    sent: u64,
}

fn key(writer: u64) -> Bytes {
    Bytes::from(format!("writer/{writer}"))
}

async fn read(channel: Channel, key: Bytes) -> Result<u64, tonic::Status> {
    let request = RangeRequest { key, ..RangeRequest::default() };
    let answer = KvClient::new(channel).range(request).await?.into_inner();
    let text = answer.kvs.first().map(|kv| String::from_utf8_lossy(&kv.value).into_owned());
    Ok(text.map_or(0, |text| text.parse().expect("writers write numbers")))
}

/// Writes one number after the other until the connection breaks, and reads each one back.
async fn write(channel: Channel, writer: u64, mut written: Written) -> Written {
    loop {
        written.sent += 1;
        let value = Bytes::from(written.sent.to_string());
        let put = PutRequest { key: key(writer), value, ..PutRequest::default() };
        if KvClient::new(channel.clone()).put(put).await.is_err() {
            return written;
        }
        written.acknowledged = written.sent;
        let Ok(found) = read(channel.clone(), key(writer)).await else { return written };
        assert_eq!(found, written.sent, "a linearizable read is stale");
    }
}

/// The events from a revision on until the connection breaks: revision and value of each.
async fn watch(channel: Channel, start_revision: i64) -> Vec<(i64, Bytes, Bytes)> {
    let mut seen = Vec::new();
    let (requests, mut taken) = mpsc::channel(1);
    let create = WatchCreateRequest {
        key: Bytes::from_static(b"writer/"),
        range_end: Bytes::from_static(b"writer0"),
        start_revision,
        ..WatchCreateRequest::default()
    };
    let request_union = Some(RequestUnion::CreateRequest(create));
    requests.send(WatchRequest { request_union }).await.expect("the queue has room");
    let outgoing = futures_util::stream::poll_fn(move |context| taken.poll_recv(context));
    let Ok(stream) = WatchClient::new(channel).watch(outgoing).await else { return seen };
    let mut stream = stream.into_inner();
    while let Ok(Some(response)) = stream.message().await {
        for kv in response.events.into_iter().filter_map(|event| event.kv) {
            seen.push((kv.mod_revision, kv.key, kv.value));
        }
    }
    seen
}

/// The first linearizable read that succeeds, asked for as soon as it can be.
async fn first_read(server: &Server) {
    let deadline = Instant::now() + PATIENCE;
    while read(server.channel(), key(0)).await.is_err() {
        assert!(Instant::now() < deadline, "no read succeeds; its log:\n{}", server.log());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn nothing_acknowledged_is_lost() {
    let number = |name: &str, default: usize| {
        std::env::var(name).map_or(default, |text| text.parse::<usize>().unwrap())
    };
    let (rounds, keys) = (number("QUORATE_KILLS", 30), number("QUORATE_KILL_KEYS", 0));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let program = subject();
    // Synced: this is about what a server that is killed has promised.
    let mut server = Server::start(&program, Options::default());
    let first = runtime.block_on(async {
        fill(&server, keys, VALUE_BYTES).await;
        let range = RangeRequest { key: key(0), ..RangeRequest::default() };
        let found = KvClient::new(server.channel()).range(range).await.unwrap().into_inner();
        found.header.unwrap().revision + 1
    });
    let mut written = vec![Written::default(); usize::try_from(WRITERS).unwrap()];
    let mut events: Vec<(i64, Bytes, Bytes)> = Vec::new();
    let (mut rng, mut pauses) = (Rng::new(1), Vec::new());
    for _ in 0..rounds {
        runtime.block_on(async {
            let next = events.last().map_or(first, |(revision, ..)| revision + 1);
            let watcher = tokio::spawn(watch(server.channel(), next));
            let writers: Vec<JoinHandle<Written>> = (0..WRITERS)
                .zip(&written)
                .map(|(writer, &written)| tokio::spawn(write(server.channel(), writer, written)))
                .collect();
            let alive = Duration::from_millis(u64::try_from(rng.between(50, 300)).unwrap());
            tokio::time::sleep(alive).await;
            let killed = Instant::now();
            server.kill();
            for (writer, task) in writers.into_iter().enumerate() {
                written[writer] = task.await.unwrap();
            }
            events.extend(watcher.await.unwrap());
            server.spawn();
            first_read(&server).await;
            pauses.push(killed.elapsed());
            for (writer, written) in (0..WRITERS).zip(&mut written) {
                let found = read(server.channel(), key(writer)).await.unwrap();
                let range = written.acknowledged..=written.sent;
                assert!(range.contains(&found), "{found} is not in {range:?}");
                // What was not acknowledged may have been written: the store says.
                *written = Written { acknowledged: found, sent: found };
            }
        });
    }
    let total: u64 = written.iter().map(|written| written.acknowledged).sum();
    assert!(events.windows(2).all(|pair| pair[0].0 < pair[1].0), "events in order, none twice");
    for (writer, written) in (0..WRITERS).zip(&written) {
        let of_writer = events.iter().filter(|(_, of, _)| *of == key(writer));
        let seen: Vec<u64> =
            of_writer.map(|(.., value)| String::from_utf8_lossy(value).parse().unwrap()).collect();
        let gapless = seen.iter().zip(1..).all(|(&seen, expected)| seen == expected);
        assert!(gapless, "a gap in what writer {writer} wrote: {seen:?}");
        assert!(seen.len() as u64 <= written.acknowledged);
    }
    pauses.sort();
    let (median, worst) = (pauses[pauses.len() / 2].as_millis(), pauses[rounds - 1].as_millis());
    figures::note(
        "kills",
        format!(
            "{}, {rounds} rounds, {total} writes, {} events, median {median} ms, worst {worst} ms \
             to the first linearizable read with {keys} other keys",
            program.name,
            events.len()
        ),
    );
}
