//! The server itself as a learner of a cluster of real etcds under random load: it joins over a
//! snapshot, is killed, falls so far behind that it needs another one, and holds the same bytes
//! in every bucket in the end.
//!
//! `QUORATE_LEARNER_ENTRIES` says how long the log gets (5,000), `QUORATE_LEARNER_SEED` which
//! programs are sent (1).
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

use api::etcdserverpb::maintenance_client::MaintenanceClient;
use api::etcdserverpb::{SnapshotRequest, StatusRequest, StatusResponse};
use differential::Load;
use differential::generator::generate;
use process::{Options, Server, subject};
use quorate_interop::store::Database;
use quorate_interop::{Cluster, VERSIONS, until, versions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use testkit::figures;
use tonic::transport::Channel;

/// Steps of one program.
const PROGRAM_STEPS: usize = 250;

/// Hashes are compared each time that many revisions have passed.
const HASH_EVERY: i64 = 1000;

/// Members of the real cluster.
const SIZE: usize = 3;

fn number(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(default, |text| text.parse().unwrap_or_else(|e| panic!("{variable}: {e}")))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The hash that members tell each other, on the peer port: hash and compact revision.
fn hash_kv(peer: &str, revision: i64) -> Option<(i64, i64)> {
    let mut stream = TcpStream::connect(peer).ok()?;
    let body = format!("{{\"revision\":{revision}}}");
    let length = body.len();
    let request = format!(
        "GET /members/hashkv HTTP/1.1\r\nHost: {peer}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.1 200") {
        return None;
    }
    let told: serde_json::Value = serde_json::from_str(body).unwrap();
    let field = |name: &str| told[name].as_i64().unwrap_or_default();
    assert_eq!(field("hash_revision"), revision);
    Some((field("hash"), field("compact_revision")))
}

async fn status(channel: Channel) -> Option<StatusResponse> {
    let mut client = MaintenanceClient::new(channel);
    client.status(StatusRequest {}).await.ok().map(tonic::Response::into_inner)
}

/// A member's database, as clients can get it.
async fn database(channel: Channel, path: &Path) -> Database {
    let client = MaintenanceClient::new(channel);
    let mut client = client.max_decoding_message_size(usize::MAX);
    let mut parts = client.snapshot(SnapshotRequest {}).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        bytes.extend_from_slice(&part.blob);
    }
    // The last part is their SHA-256.
    bytes.truncate(bytes.len() - 32);
    std::fs::write(path, bytes).unwrap();
    Database::read(path).unwrap()
}

struct Story {
    cluster: Cluster,
    ours: Server,
    load: Load,
    seed: u64,
    hashed: i64,
    hashes: u64,
}

impl Story {
    /// One program more, and a hash if it is time for one.
    async fn go_on(&mut self) {
        let program = generate(self.seed, PROGRAM_STEPS);
        self.seed += 1;
        self.load.run(&program).await.unwrap();
    }

    /// The leader is killed and comes back as a follower.
    async fn change_leader(&mut self) {
        let old = self.cluster.leader();
        self.cluster.kill(old);
        let answered = self.load.answered;
        self.load = Load::meet(self.leader()).await.unwrap();
        self.load.answered = answered;
        self.cluster.start_again(old);
    }

    async fn applied(&self) -> u64 {
        status(self.leader()).await.unwrap().raft_applied_index
    }

    fn leader(&self) -> Channel {
        let url = self.cluster.launch(self.cluster.leader()).client_url.clone();
        Channel::from_shared(url).unwrap().connect_lazy()
    }

    /// Waits until ours has applied what the leader has.
    async fn catch_up(&self) {
        let wanted = self.applied().await;
        let deadline = tokio::time::Instant::now() + quorate_interop::PATIENCE;
        loop {
            let now = status(self.ours.channel()).await;
            if now.as_ref().is_some_and(|now| now.raft_applied_index >= wanted) {
                return;
            }
            let late = tokio::time::Instant::now() > deadline;
            assert!(!late, "ours is behind {wanted}: {now:?}\n{}", self.ours.log());
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// The hashes of now are equal.
    async fn compare_hashes(&mut self) {
        self.catch_up().await;
        let revision = self.load.revision();
        let real = self.cluster.peer_address(self.cluster.leader()).to_owned();
        let ours = self.ours.peer_address().to_string();
        // A compaction may be under way on one of them still.
        let mut seen = None;
        let equal = (0..500).any(|_| {
            seen = Some((hash_kv(&real, revision), hash_kv(&ours, revision)));
            let (real, ours) = seen.unwrap();
            real.is_some() && real == ours
        });
        assert!(equal, "revision {revision}, seed {}: {seen:?}", self.seed);
        self.hashed = revision / HASH_EVERY;
        self.hashes += 1;
    }

    async fn until(&mut self, entries: u64) {
        while self.applied().await < entries {
            self.go_on().await;
            if self.load.revision() / HASH_EVERY > self.hashed {
                self.compare_hashes().await;
            }
        }
    }

    /// All buckets are equal, byte for byte.
    async fn compare_buckets(&self) -> usize {
        self.catch_up().await;
        let (theirs_at, ours_at) = (self.cluster.folder("real.db"), self.cluster.folder("ours.db"));
        let theirs = database(self.leader(), &theirs_at).await;
        let ours = database(self.ours.channel(), &ours_at).await;
        assert_eq!(theirs.0.keys().collect::<Vec<_>>(), ours.0.keys().collect::<Vec<_>>());
        for (name, items) in &theirs.0 {
            let (name, found) = (String::from_utf8_lossy(name), &ours.0[name]);
            for (key, value) in items {
                let key_text = key.escape_ascii();
                assert_eq!(found.get(key), Some(value), "{name}: {key_text}");
            }
            let more = found.keys().find(|key| !items.contains_key(*key));
            assert_eq!(more, None, "{name} has more");
        }
        ours.0.values().map(std::collections::BTreeMap::len).sum()
    }
}

#[test]
fn a_learner_holds_what_the_real_members_hold() {
    let version = VERSIONS[1];
    if !versions().contains(&version) {
        return figures::note("learner", format!("left out: there is no etcd {version} here"));
    }
    let (entries, seed) =
        (number("QUORATE_LEARNER_ENTRIES", 5000), number("QUORATE_LEARNER_SEED", 1));
    let flags = ["--snapshot-count=200", "--snapshot-catchup-entries=100", "--unsafe-no-fsync"];
    let cluster = Cluster::start(version, SIZE, &flags);
    let runtime = runtime();
    // The cluster has a runtime of its own, which must not end within this one.
    let story = runtime.block_on(async {
        let url = cluster.launch(cluster.leader()).client_url.clone();
        let channel = Channel::from_shared(url).unwrap().connect_lazy();
        let mut load = Load::meet(channel).await.unwrap();
        // Their log no longer has its beginning when ours comes.
        let mut first = seed;
        while status_of(&cluster).await < 600 {
            load.run(&generate(first, PROGRAM_STEPS)).await.unwrap();
            first += 1;
        }
        let known = (0..SIZE).map(|i| {
            let launch = cluster.launch(i);
            format!("{}={}", launch.name, launch.advertise_peer_url)
        });
        let joins = known.collect::<Vec<_>>().join(",");
        let options = Options { joins, ..Options::without_sync() };
        let options = options.flag("--snapshot-count=300").flag("--snapshot-catchup-entries=50");
        let ours = Server::prepare(&subject(), options);
        let url = format!("http://{}", ours.peer_address());
        // Refused until the members have known each other for five seconds.
        until("a learner is added", || cluster.gateway(cluster.leader()).add_learner(&url).ok());
        let mut story = Story { cluster, ours, load, seed: first, hashed: 0, hashes: 0 };
        story.ours.start_again();
        story.compare_hashes().await;

        story.until(entries / 2).await;
        story.ours.kill();
        story.ours.start_again();
        story.until(entries / 4 * 3).await;

        // It comes back when what it misses is gone from their logs: another snapshot. Whoever
        // sent the first one keeps its log for half a minute, so another one must lead.
        story.ours.kill();
        story.change_leader().await;
        let before = story.applied().await;
        while story.applied().await < before + 400 {
            story.go_on().await;
        }
        story.ours.start_again();
        story.catch_up().await;
        let log = story.ours.log();
        assert!(log.contains("\"applied snapshot\""), "it needed none:\n{log}");
        story.until(entries).await;
        story.compare_hashes().await;
        let items = story.compare_buckets().await;
        story.cluster.never_panicked();
        let (answered, refused) = story.load.answered;
        figures::note(
            "learner",
            format!(
                "{} entries of {SIZE} real members ({answered} requests, {refused} refused), \
                 {} hashes equal, {items} items in all buckets equal",
                story.applied().await,
                story.hashes
            ),
        );
        story
    });
    drop(story);
}

async fn status_of(cluster: &Cluster) -> u64 {
    let url = cluster.launch(cluster.leader()).client_url.clone();
    let channel = Channel::from_shared(url).unwrap().connect_lazy();
    status(channel).await.unwrap().raft_applied_index
}
