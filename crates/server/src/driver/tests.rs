//! The driver between raft and stages that this test plays.

use super::*;
use raftpb::{ConfState, SnapshotMetadata};

/// A member that has nothing yet, and hears of member 2's cluster.
fn driver() -> Driver {
    let config = raft::Config {
        id: 1,
        election_tick: 10,
        heartbeat_tick: 1,
        async_storage_writes: true,
        apply_unstable: true,
        max_inflight_msgs: 8,
        ..raft::Config::default()
    };
    let raw = RawNode::new(config, MemoryStorage::new()).unwrap();
    Driver::new(1, raw, 0, 100)
}

fn from_leader(kind: MessageType) -> Message {
    let (from, to, term) = (Some(2), Some(1), Some(2));
    Message { r#type: Some(kind.into()), from, to, term, ..Message::default() }
}

fn snapshot() -> Message {
    let conf_state = Some(ConfState { voters: vec![1, 2], ..ConfState::default() });
    let metadata = SnapshotMetadata { conf_state, index: Some(10), term: Some(2) };
    let snapshot = Snapshot { data: Some("state".into()), metadata: Some(metadata) };
    Message { snapshot: Some(snapshot), ..from_leader(MessageType::MsgSnap) }
}

fn step(driver: &mut Driver, input: Input) -> Outbox {
    let mut out = Outbox::default();
    driver.step(&mut vec![input], &mut out);
    out
}

/// Indexes that are acknowledged to the leader.
fn acknowledged(out: &Outbox) -> Vec<u64> {
    let acks = out.to_peers.iter().filter(|its| its.r#type() == MessageType::MsgAppResp);
    acks.map(Message::index).collect()
}

#[test]
fn raft_hears_of_a_snapshot_before_it_hears_of_entries_behind_it() {
    let mut driver = driver();
    let mut first = step(&mut driver, Input::Step(Box::new(snapshot()))).appends;
    let entry = Entry { index: Some(11), term: Some(2), ..Entry::default() };
    let (index, log_term, commit) = (Some(10), Some(2), Some(10));
    let append = from_leader(MessageType::MsgApp);
    let append = Message { entries: vec![entry], index, log_term, commit, ..append };
    let mut second = step(&mut driver, Input::Step(Box::new(append))).appends;

    let applies = step(&mut driver, Input::Appended(Box::new(first.remove(0)))).applies;
    let out = step(&mut driver, Input::Appended(Box::new(second.remove(0))));
    assert_eq!(acknowledged(&out), [0; 0], "the snapshot is not in place yet");
    let heartbeat = Message { commit: Some(11), ..from_leader(MessageType::MsgHeartbeat) };
    step(&mut driver, Input::Step(Box::new(heartbeat)));
    assert_eq!(driver.progress().last_index, 11);

    let responses = applies[0].responses.clone();
    let out = step(&mut driver, Input::Applied(Applied { index: 10, responses, ..<_>::default() }));
    assert_eq!(acknowledged(&out), [10, 11]);
}

#[test]
fn what_only_a_leader_may_ask_for_is_not_passed_on() {
    let mut driver = driver();
    step(&mut driver, Input::Step(Box::new(from_leader(MessageType::MsgHeartbeat))));
    assert_eq!(driver.progress().lead, 2);
    let out = step(&mut driver, Input::ProposeAsLeader { id: 7, data: "revoke".into() });
    assert!(out.to_peers.iter().all(|message| message.r#type() != MessageType::MsgProp));
    let told = &out.replies[..];
    assert!(matches!(told, [(7, Err(Error::Api(api::Error::NotLeader)))]), "{told:?}");
}
