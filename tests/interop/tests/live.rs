//! A member of ours in a live cluster of real ones: it joins over a snapshot, is promoted, its
//! acknowledgements and votes count, it loses its streams, restarts, is replaced by a real member
//! on its own directory and back, and is removed.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

use quorate_interop::{
    Cluster, Endpoint, Fault, Launch, Member, Proxy, Receiver, Rule, VERSIONS, digest_of, read_log,
    until, versions,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

/// A key a test puts; the value tells the key.
fn key(n: u64) -> Vec<u8> {
    format!("key/{n:06}").into_bytes()
}

fn value(n: u64) -> Vec<u8> {
    format!("value of put {n}").into_bytes()
}

/// The story's people: two real members, ours, and the proxy in front of it.
struct Story {
    version: &'static str,
    cluster: Cluster,
    proxy: Proxy,
    id: u64,
    puts: u64,
}

const WRITERS: u64 = 16;

impl Story {
    /// Starts a cluster with more in its log than a leader keeps for those who are behind, and
    /// adds ours as a learner.
    fn begin(version: &'static str) -> Story {
        // A 3.5 leader always keeps 5,000 entries.
        let (flags, puts): (&[&str], _) = match version {
            "3.5.1" => (&["--snapshot-count=50"], 5_400),
            _ => (&["--snapshot-count=50", "--snapshot-catchup-entries=50"], 600),
        };
        let cluster = Cluster::start(version, 2, flags);
        let proxy = cluster.new_proxy();
        let mut story = Story { version, cluster, proxy, id: 0, puts: 0 };
        story.put_many(puts);
        let url = story.proxy.url();
        // Refused until the members have known each other for five seconds.
        story.id = until("a learner is added", || {
            story.cluster.gateway(story.cluster.leader()).add_learner(&url).ok()
        });
        story
    }

    fn put_many(&mut self, count: u64) {
        let (from, to) = (self.puts, self.puts + count);
        let gateway = self.cluster.gateway(self.cluster.leader());
        std::thread::scope(|scope| {
            for writer in 0..WRITERS.min(count) {
                scope.spawn(move || {
                    for n in (from..to).filter(|n| n % WRITERS.min(count) == writer) {
                        gateway.put(&key(n), &value(n)).unwrap();
                    }
                });
            }
        });
        self.puts = to;
    }

    /// Puts and reads back through the leader, as a client does.
    fn works(&mut self, count: u64) {
        self.put_many(count);
        let n = self.puts - 1;
        let gateway = self.cluster.gateway(self.cluster.leader());
        assert_eq!(gateway.get(&key(n)).unwrap(), Some(value(n)), "a linearizable read");
    }

    /// Waits until ours has applied what the leader has.
    fn caught_up(&self, ours: &Receiver) {
        let index = self.cluster.member(self.cluster.leader()).raft_index();
        until("ours has applied all", || {
            assert!(ours.runs(), "our member ended: {:?}", ours.status());
            (ours.status().applied >= index).then_some(())
        });
    }

    fn start_ours(&self) -> Receiver {
        self.cluster.start_receiver(&self.proxy)
    }

    /// Requests of `endpoint` that went either way between ours and a real member, with `status`.
    fn between(&self, i: usize, endpoint: Endpoint, status: u16) -> (u64, u64) {
        let from_ours = self.cluster.proxy(i).count(Some(self.id), endpoint, status);
        (from_ours, self.proxy.count(Some(self.cluster.id(i)), endpoint, status))
    }
}

#[test]
fn ours_joins_votes_acknowledges_and_leaves() {
    for version in VERSIONS {
        if versions().contains(&version) {
            run(version);
        } else {
            let why = "left out: there was no Go to build it with";
            testkit::figures::note(&format!("interop-live-{version}"), why);
        }
    }
}

fn run(version: &'static str) {
    let started = Instant::now();
    let at = |what: &str| println!("{version} {:>5.1} s: {what}", started.elapsed().as_secs_f64());
    let mut story = Story::begin(version);
    at("a learner is added");
    let ours = joins_over_a_snapshot(&mut story);
    at("joined");
    answers_as_the_real_one_does(&story, &ours);
    at("answers compared");
    is_promoted(&mut story, &ours);
    at("promoted");
    acknowledges_while_the_other_hangs(&mut story, &ours);
    at("acknowledged");
    pipelines_while_streams_are_cut(&mut story, &ours);
    at("pipelined");
    elects_with_its_vote(&mut story, &ours);
    at("voted");
    let ours = restarts_on_its_own_data(&mut story, ours);
    at("restarted");
    let ours = is_replaced_and_back(&mut story, ours);
    at("replaced and back");
    let sent = |i| story.between(i, Endpoint::Snapshot, 204).1;
    let snapshots = sent(0) + sent(1);
    let (compared, gone) = is_removed(&mut story, ours);
    at("removed");
    restarts_cleanly(&mut story);
    at("restarted cleanly");
    testkit::figures::note(
        &format!("interop-live-{version}"),
        format!(
            "{} puts, {snapshots} snapshots sent to ours; {compared} entries of its log equal to \
             the leader's; {gone} answers 410",
            story.puts
        ),
    );
}

fn joins_over_a_snapshot(story: &mut Story) -> Receiver {
    let ours = story.start_ours();
    assert_eq!(ours.id(), story.id);
    let leader = story.cluster.leader();
    let (_, snapshots) = until("the leader sends a snapshot", || {
        let counts = story.between(leader, Endpoint::Snapshot, 204);
        (counts.1 > 0).then_some(counts)
    });
    story.works(50);
    story.caught_up(&ours);
    let status = ours.status();
    assert!(status.snapshots >= 1 && snapshots >= 1, "{status:?}");
    assert!(status.learners.contains(&story.id), "{status:?}");
    // The real tool reads what was received, and checks each of its pages.
    let db = story.cluster.folder("ours").join("member/snap/db");
    let etcdutl = story.cluster.launch(leader).home.join("etcdutl");
    let said = Command::new(etcdutl).args(["snapshot", "status", "-w", "json"]).arg(&db).output();
    let said = said.unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let both = [Endpoint::AppendStream, Endpoint::MessageStream];
    for endpoint in both {
        until("streams of both kinds, both ways", || {
            let (from_ours, from_theirs) = story.between(leader, endpoint, 200);
            (from_ours > 0 && from_theirs > 0).then_some(())
        });
    }
    until("the real members probe ours", || {
        (story.proxy.count(None, Endpoint::Probing, 200) > 0).then_some(())
    });
    ours
}

fn is_promoted(story: &mut Story, ours: &Receiver) {
    until("the learner may be promoted", || {
        story.cluster.gateway(story.cluster.leader()).promote(story.id).ok()
    });
    until("ours knows that it votes", || (ours.status().voters.contains(&story.id)).then_some(()));
    story.works(20);
}

/// Two of three voters are needed, and one of them hangs.
fn acknowledges_while_the_other_hangs(story: &mut Story, ours: &Receiver) {
    let leader = story.cluster.leader();
    story.cluster.freeze(1 - leader);
    story.works(100);
    story.caught_up(ours);
    assert_eq!(story.cluster.leader_of(leader), story.cluster.id(leader), "it still leads");
    story.cluster.thaw(1 - leader);
}

fn pipelines_while_streams_are_cut(story: &mut Story, ours: &Receiver) {
    let leader = story.cluster.leader();
    let cut = |endpoint| Rule { from: None, endpoint: Some(endpoint), fault: Fault::Cut };
    let rules = [cut(Endpoint::AppendStream), cut(Endpoint::MessageStream)];
    let before = story.between(leader, Endpoint::Pipeline, 204);
    for proxy in [&story.proxy, story.cluster.proxy(0), story.cluster.proxy(1)] {
        proxy.set_rules(&rules);
    }
    story.cluster.freeze(1 - leader);
    story.works(20);
    story.caught_up(ours);
    story.cluster.thaw(1 - leader);
    let after = story.between(leader, Endpoint::Pipeline, 204);
    assert!(after.0 > before.0 && after.1 > before.1, "posts both ways: {before:?} {after:?}");
    for proxy in [&story.proxy, story.cluster.proxy(0), story.cluster.proxy(1)] {
        proxy.heal();
    }
    until("streams are back", || {
        ours.transport().streams_attached(story.cluster.id(leader)).then_some(())
    });
    story.works(20);
}

/// With the leader gone, the other real member needs our vote.
fn elects_with_its_vote(story: &mut Story, ours: &Receiver) {
    let leader = story.cluster.leader();
    let term = ours.status().term;
    // It must not lack what only the leader and ours have.
    until("the other has caught up", || {
        let index = story.cluster.member(leader).raft_index();
        (story.cluster.member(1 - leader).raft_index() >= index).then_some(())
    });
    story.cluster.kill(leader);
    assert_eq!(story.cluster.leader(), 1 - leader);
    story.works(20);
    story.caught_up(ours);
    assert!(ours.status().term > term, "elected in a later term");
    story.cluster.start_again(leader);
    story.cluster.member(leader).wait_ready();
    story.works(20);
}

fn restarts_on_its_own_data(story: &mut Story, ours: Receiver) -> Receiver {
    story.caught_up(&ours);
    let before = ours.status();
    ours.stop().unwrap();
    story.works(30);
    let ours = story.start_ours();
    story.caught_up(&ours);
    let after = ours.status();
    assert!(after.applied > before.applied);
    assert!(after.snapshots > 0 || after.snapshot == before.snapshot, "it went on from its data");
    ours
}

/// A real member starts on our directory, with all that the cluster has; then ours on what that
/// one left.
fn is_replaced_and_back(story: &mut Story, ours: Receiver) -> Receiver {
    story.caught_up(&ours);
    ours.stop().unwrap();
    let launch = Launch {
        name: "ours".to_owned(),
        data_dir: story.cluster.folder("ours"),
        client_url: story.cluster.free_url(),
        listen_peer_url: story.cluster.free_url(),
        advertise_peer_url: story.proxy.url(),
        initial_cluster: format!("ours={}", story.proxy.url()),
        ..story.cluster.launch(0).clone()
    };
    story.proxy.lead_to(launch.listen_peer_url.trim_start_matches("http://"));
    let replacement = Member::spawn(&launch);
    replacement.wait_ready();
    assert_eq!(replacement.status().id, story.id);
    story.works(60);
    assert_eq!(replacement.key_count(), story.puts, "all that was put");
    replacement.stop();
    let ours = story.start_ours();
    story.works(20);
    story.caught_up(&ours);
    ours
}

/// Removed, ours hears 410 on its streams; what it held until then is what the leader holds.
fn is_removed(story: &mut Story, ours: Receiver) -> (u64, u64) {
    story.caught_up(&ours);
    let leader = story.cluster.leader();
    until("ours may be removed", || story.cluster.gateway(leader).remove(story.id).ok());
    until("ours hears that it was removed", || ours.status().removed.then_some(()));
    let gone = [Endpoint::AppendStream, Endpoint::MessageStream]
        .map(|endpoint| story.between(0, endpoint, 410).0 + story.between(1, endpoint, 410).0);
    assert!(gone.iter().sum::<u64>() > 0, "streams were answered with 410");
    let status = ours.status();
    ours.stop().unwrap();
    story.works(20);

    let (mine, theirs) =
        (read_log(&story.cluster.folder("ours")), read_log(story.cluster.data_dir(leader)));
    let compared = mine.agrees_with(&theirs);
    assert!(compared > 0);
    assert_eq!(theirs.start, 0, "the leader's log is there from its beginning");
    let applied: Vec<_> =
        theirs.entries.range(status.snapshot + 1..=status.applied).map(|(_, e)| e).collect();
    assert_eq!(applied.len() as u64, status.entries);
    assert_eq!(digest_of(applied.iter().copied()), status.digest, "what ours applied");
    (compared, gone.iter().sum())
}

fn restarts_cleanly(story: &mut Story) {
    story.cluster.never_panicked();
    for i in 0..2 {
        story.cluster.stop(i);
    }
    for i in 0..2 {
        story.cluster.start_again(i);
    }
    for i in 0..2 {
        story.cluster.member(i).wait_ready();
        assert_eq!(story.cluster.member(i).key_count(), story.puts);
    }
    story.works(5);
    for i in 0..2 {
        story.cluster.stop(i);
    }
    let logs = [0, 1].map(|i| read_log(story.cluster.data_dir(i)));
    assert!(logs[0].agrees_with(&logs[1]) > story.puts, "{}", story.version);
}

/// A request that is to be refused: method and path with `FROM` for the sender, headers, answer.
type Refusal = (&'static str, &'static [(&'static str, &'static str)], u16, &'static str);

const VERSIONED: &[(&str, &str)] = &[("X-Server-Version", "3.5.0")];

const REFUSALS: [Refusal; 10] = [
    ("GET /raft/stream/message/FROM", &[], 412, "incompatible version\n"),
    (
        "GET /raft/stream/msgapp/FROM",
        &[("X-Server-Version", "3.5.0"), ("X-Etcd-Cluster-ID", "123")],
        412,
        "cluster ID mismatch\n",
    ),
    (
        "GET /raft/stream/msgapp/FROM",
        &[("X-Server-Version", "3.5.0"), ("X-Raft-To", "123")],
        412,
        "to field mismatch\n",
    ),
    ("GET /raft/stream/message/FROM", VERSIONED, 412, "to field mismatch\n"),
    ("GET /raft/stream/message/123", VERSIONED, 404, "error sender not found\n"),
    ("GET /raft/stream/message/xyz", VERSIONED, 404, "invalid from\n"),
    ("GET /raft/stream/other/FROM", VERSIONED, 404, "invalid path\n"),
    ("POST /raft/stream/message/FROM", VERSIONED, 405, "Method Not Allowed\n"),
    (
        "POST /raft",
        &[("X-Server-Version", "3.5.0"), ("X-Etcd-Cluster-ID", "123")],
        412,
        "cluster ID mismatch\n",
    ),
    (
        "POST /raft/snapshot",
        &[("X-Server-Version", "3.5.0"), ("X-Etcd-Cluster-ID", "123")],
        412,
        "cluster ID mismatch\n",
    ),
];

/// The same wrong requests to a real member and to ours get the same answers; and ours takes a
/// real member's 412 calmly.
fn answers_as_the_real_one_does(story: &Story, ours: &Receiver) {
    let real = (story.cluster.peer_address(0).to_owned(), story.id);
    let own = (ours.address().to_string(), story.cluster.id(0));
    for (request, headers, status, text) in REFUSALS {
        for (address, from) in [&real, &own] {
            let line = request.replace("FROM", &format!("{from:x}"));
            let answer = ask(address, &line, headers, ours.cluster_id());
            assert_eq!(answer, (status, text.to_owned()), "{line} {headers:?} to {address}");
        }
    }
    for (address, _) in [&real, &own] {
        let (status, text) = ask(address, "GET /raft/probing", &[], 0);
        assert!(status == 200 && text.starts_with(r#"{"OK":true,"Now":""#), "{status} {text}");
    }
    let wrong = 0x123;
    let url = peer::PeerUrl::parse(&story.cluster.launch(0).advertise_peer_url).unwrap();
    ours.transport().add_peer(wrong, vec![url]);
    until("a real member refuses to be another", || {
        (story.between(0, Endpoint::MessageStream, 412).0 > 0).then_some(())
    });
    ours.transport().remove_peer(wrong);
}

/// Sends a request with an empty body and reads the whole answer: status and text.
fn ask(address: &str, line: &str, headers: &[(&str, &str)], cluster: u64) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut request = format!("{line} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    request.push_str("Content-Length: 0\r\n");
    if !headers.iter().any(|(name, _)| *name == "X-Etcd-Cluster-ID") {
        request.push_str(&format!("X-Etcd-Cluster-ID: {cluster:x}\r\n"));
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    // Not up to the end of the connection: a real member may keep it for seconds.
    let mut answer = String::new();
    let mut reader = BufReader::new(stream);
    while !answer.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut answer).unwrap() > 0, "no whole head: {answer}");
    }
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let lower = answer.to_ascii_lowercase();
    let length = lower.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    (status, String::from_utf8(body).unwrap())
}
