//! Three members: what any of them answers for the whole cluster, and how one leaves it.

use api::etcdserverpb as pb;
use api::etcdserverpb::cluster_client::ClusterClient;
use api::etcdserverpb::kv_client::KvClient;
use api::etcdserverpb::lease_client::LeaseClient;
use api::etcdserverpb::maintenance_client::MaintenanceClient;
use futures_util::StreamExt as _;
use quorate_process::{Cluster, Options, PATIENCE, Server, status, subject};
use std::time::{Duration, Instant};
use testkit::figures;
use tonic::Code;
use tonic::transport::Channel;

fn three() -> Cluster {
    let program = subject();
    let programs = [program.clone(), program.clone(), program];
    Cluster::start(&programs, &Options::without_sync())
}

async fn keep_alive(channel: Channel, id: i64) -> Result<i64, tonic::Status> {
    let asked = futures_util::stream::iter([pb::LeaseKeepAliveRequest { id }]);
    let mut answers = LeaseClient::new(channel).lease_keep_alive(asked).await?.into_inner();
    let answer = answers.next().await.expect("an answer to each renewal")?;
    assert_eq!(answer.id, id);
    assert!(answer.header.is_some_and(|header| header.member_id != 0));
    Ok(answer.ttl)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_answers_for_leases() {
    let cluster = three();
    cluster.leader().await;
    for channel in cluster.channels() {
        let mut leases = LeaseClient::new(channel.clone());
        let granted = leases.lease_grant(pb::LeaseGrantRequest { ttl: 500, id: 0 }).await;
        let id = granted.expect("it is granted").into_inner().id;
        let put = pb::PutRequest { key: "leased".into(), lease: id, ..Default::default() };
        KvClient::new(channel).put(put).await.expect("there is the lease");
        // Each of the others too, whoever leads.
        for channel in cluster.channels() {
            assert_eq!(keep_alive(channel.clone(), id).await.expect("it is renewed"), 500);
            let mut leases = LeaseClient::new(channel.clone());
            let request = pb::LeaseTimeToLiveRequest { id, keys: true };
            let times = leases.lease_time_to_live(request).await.expect("it is known").into_inner();
            assert!((498..=500).contains(&times.ttl), "{times:?}");
            assert_eq!((times.id, times.granted_ttl), (id, 500));
            assert_eq!(times.keys, ["leased"]);
            // One that is not there.
            assert_eq!(keep_alive(channel, id ^ 1).await.expect("it is told"), 0);
            let request = pb::LeaseTimeToLiveRequest { id: id ^ 1, keys: false };
            let times = leases.lease_time_to_live(request).await.expect("it is told").into_inner();
            assert_eq!(times.ttl, -1);
        }
        leases.lease_revoke(pb::LeaseRevokeRequest { id }).await.expect("it is revoked");
        for channel in cluster.channels() {
            let mut leases = LeaseClient::new(channel);
            let request = pb::LeaseTimeToLiveRequest { id, keys: false };
            let times = leases.lease_time_to_live(request).await.expect("it is told").into_inner();
            assert_eq!(times.ttl, -1);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_takes_promotions_and_the_versions_of_all_count() {
    let mut cluster = three();
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    let deadline = Instant::now() + PATIENCE;
    for member in &cluster.members {
        while status(member).await.is_none_or(|told| told.storage_version != "3.7.0") {
            assert!(Instant::now() < deadline, "no version: {}", member.log());
        }
    }
    let named = |member: &Server| format!("{}={}", member.name(), member.peer_url());
    let joins = cluster.members.iter().map(named).collect::<Vec<_>>().join(",");
    let options = Options { joins, name: "learner".to_owned(), ..Options::without_sync() };
    let mut learner = Server::prepare(&subject(), options);
    let mut members = ClusterClient::new(cluster.members[follower].channel());
    let request = pb::MemberAddRequest { peer_urls: vec![learner.peer_url()], is_learner: true };
    // A cluster takes others once its members have seen one another for a while.
    let added = loop {
        match members.member_add(request.clone()).await {
            Ok(added) => break added.into_inner(),
            Err(refused) => {
                assert!(Instant::now() < deadline, "{refused}");
                assert_eq!(refused.message(), "etcdserver: unhealthy cluster");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    };
    let id = added.member.expect("it is told").id;
    let promote = pb::MemberPromoteRequest { id };
    let early = members.member_promote(promote).await.expect_err("it has nothing yet");
    let text = "etcdserver: can only promote a learner member which is in sync with leader";
    assert_eq!((early.code(), early.message()), (Code::FailedPrecondition, text));
    let unknown = pb::MemberPromoteRequest { id: 77 };
    let unknown = members.member_promote(unknown).await.expect_err("nobody of this id");
    assert_eq!(
        (unknown.code(), unknown.message()),
        (Code::NotFound, "etcdserver: member not found")
    );
    learner.spawn();
    let promoted = loop {
        match members.member_promote(promote).await {
            Ok(promoted) => break promoted.into_inner().members,
            Err(early) => assert!(Instant::now() < deadline, "{early}"),
        }
    };
    assert_eq!(promoted.len(), 4);
    assert!(promoted.iter().all(|member| !member.is_learner), "{promoted:?}");
    // Two entries behind are too many in a log so short.
    let again = loop {
        let again = members.member_promote(promote).await.expect_err("it votes already");
        if again.message() != text {
            break again;
        }
        assert!(Instant::now() < deadline, "{again}");
    };
    let text = "etcdserver: can only promote a learner member";
    assert_eq!((again.code(), again.message()), (Code::FailedPrecondition, text));
    learner.wait_ready();
    cluster.members.push(learner);
    cluster.leader().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_asked_to_end_hands_over() {
    const ROUNDS: usize = 5;
    let mut cluster = three();
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let leader = cluster.leader().await;
        let before = status(&cluster.members[leader]).await.expect("it runs");
        let others = [(leader + 1) % 3, (leader + 2) % 3];
        // The longest anybody waits for an answer while the lead goes over.
        let channel = cluster.members[others[0]].channel();
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let writing = tokio::spawn(async move {
            let mut kv = KvClient::new(channel);
            let mut longest = Duration::ZERO;
            while stopped.try_recv().is_err() {
                let began = Instant::now();
                let put = pb::PutRequest { key: "k".into(), ..Default::default() };
                kv.put(put).await.expect("a follower takes it, whoever leads");
                longest = longest.max(began.elapsed());
            }
            longest
        });
        cluster.members[leader].terminate();
        cluster.members[leader].reap();
        let next = cluster.leader_of(&others).await;
        let after = status(&cluster.members[next]).await.expect("it runs");
        assert_eq!(after.raft_term, before.raft_term + 1, "one election, and nobody stood twice");
        stop.send(()).expect("it writes");
        took.push(writing.await.expect("every write was taken"));
        cluster.members[leader].start_again();
    }
    took.sort();
    let [median, worst] = [took[ROUNDS / 2], took[ROUNDS - 1]].map(|took| took.as_millis());
    figures::note(
        "hand-over",
        format!(
            "{ROUNDS} leaders asked to end under writes, each one term on; the slowest write of a \
         round took {median} ms in the median, {worst} ms at most"
        ),
    );
    assert!(worst < 500, "a write waited {worst} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lead_goes_where_it_is_asked_to() {
    let cluster = three();
    for target in [1, 2, 0, 1] {
        let leader = cluster.leader().await;
        let ids: Vec<u64> = cluster_ids(&cluster).await;
        let mut asked = MaintenanceClient::new(cluster.members[leader].channel());
        let target_id = ids[target];
        asked.move_leader(pb::MoveLeaderRequest { target_id }).await.expect("it is handed over");
        assert_eq!(cluster.leader().await, target);
        let mut follower = MaintenanceClient::new(cluster.members[(target + 1) % 3].channel());
        let refused = follower.move_leader(pb::MoveLeaderRequest { target_id }).await;
        assert_eq!(refused.expect_err("it does not lead").message(), "etcdserver: not leader");
        let unknown = pb::MoveLeaderRequest { target_id: 77 };
        let mut asked = MaintenanceClient::new(cluster.members[target].channel());
        let refused = asked.move_leader(unknown).await.expect_err("nobody of this id");
        assert_eq!(refused.message(), "etcdserver: bad leader transferee");
    }
}

async fn cluster_ids(cluster: &Cluster) -> Vec<u64> {
    let mut ids = Vec::new();
    for member in &cluster.members {
        let told = status(member).await.expect("it runs");
        ids.push(told.header.expect("a header").member_id);
    }
    ids
}
