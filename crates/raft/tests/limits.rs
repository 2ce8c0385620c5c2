//! What a leader refuses: too much uncommitted, too much in flight, and messages no sound node
//! sends.

use bytes::Bytes;
use quorate_raft::{Config, Error, MemoryStorage, RawNode, Ready, StateType};
use raftpb::{ConfState, Entry, Message, MessageType, Snapshot, SnapshotMetadata};

/// Node 1 of 1 to 3, elected in term 2 after entry 1 of term 1.
fn leader(change: impl FnOnce(&mut Config)) -> RawNode<MemoryStorage> {
    let conf_state = Some(ConfState { voters: vec![1, 2, 3], ..ConfState::default() });
    let metadata = Some(SnapshotMetadata { conf_state, index: Some(1), term: Some(1) });
    let mut storage = MemoryStorage::new();
    storage.apply_snapshot(Snapshot { data: None, metadata }).expect("the storage is empty");
    storage.set_hard_state(raftpb::HardState { term: Some(1), vote: Some(0), commit: Some(1) });
    let mut config = Config { id: 1, applied: 1, pre_vote: false, ..Config::default() };
    change(&mut config);
    let mut node = RawNode::new(config, storage).expect("a good configuration");
    node.campaign().expect("it may");
    run(&mut node);
    node.step(from(2, MessageType::MsgVoteResp, 0)).expect("a vote");
    run(&mut node);
    assert_eq!(node.basic_status().soft_state.state, StateType::Leader);
    node
}

/// Does what the node wants done, and returns what it sent.
fn run(node: &mut RawNode<MemoryStorage>) -> Vec<Message> {
    let mut sent = Vec::new();
    while node.has_ready() {
        let Ready { entries, messages, .. } = node.ready();
        node.storage_mut().append(&entries);
        sent.extend(messages);
        node.advance();
    }
    sent
}

fn from(id: u64, kind: MessageType, index: u64) -> Message {
    Message {
        r#type: Some(kind.into()),
        from: Some(id),
        to: Some(1),
        term: Some(2),
        index: Some(index),
        ..Message::default()
    }
}

fn appends_to(id: u64, sent: &[Message]) -> usize {
    let append = |m: &&Message| m.to() == id && m.r#type() == MessageType::MsgApp;
    sent.iter().filter(append).filter(|m| !m.entries.is_empty()).count()
}

#[test]
fn too_much_uncommitted_is_dropped_until_some_is_applied() {
    let mut node = leader(|config| config.max_uncommitted_entries_size = 100);
    let data = Bytes::from(vec![b'x'; 60]);
    node.propose(data.clone()).expect("the first goes, whatever its size");
    assert_eq!(node.propose(data.clone()), Err(Error::ProposalDropped));
    node.propose(Bytes::new()).expect("an empty one always goes");
    run(&mut node);
    node.step(from(2, MessageType::MsgAppResp, node.last_index())).expect("an acknowledgement");
    run(&mut node);
    node.propose(data).expect("the first is applied");
}

#[test]
fn bytes_in_flight_are_bounded_and_freed_by_acknowledgement() {
    let mut node = leader(|config| {
        config.max_size_per_msg = 100;
        config.max_inflight_bytes = 200;
    });
    node.step(from(2, MessageType::MsgAppResp, 2)).expect("an acknowledgement");
    run(&mut node);
    for _ in 0..10 {
        node.propose(Bytes::from(vec![b'x'; 90])).expect("it leads");
    }
    // Three appends of 90 bytes: the one that goes over the limit is the last.
    assert_eq!(appends_to(2, &run(&mut node)), 3);
    node.step(from(2, MessageType::MsgAppResp, 4)).expect("an acknowledgement");
    assert_eq!(appends_to(2, &run(&mut node)), 2);
}

#[test]
fn an_acknowledgement_of_entries_never_sent_counts_for_nothing() {
    let mut node = leader(|_| {});
    let before = node.status();
    node.step(from(2, MessageType::MsgAppResp, 1000)).expect("ignored, not refused");
    let after = node.status();
    assert_eq!(after.progress[&2].matched, before.progress[&2].matched);
    assert_eq!(after.basic.hard_state, before.basic.hard_state);
}

#[test]
fn messages_no_sound_node_sends_are_refused_and_change_nothing() {
    let mut node = leader(|_| {});
    let entry = |index, term| Entry { index: Some(index), term: Some(term), ..Entry::default() };
    let append = |entries| Message {
        entries,
        term: Some(9),
        log_term: Some(2),
        ..from(2, MessageType::MsgApp, 5)
    };
    let malformed = [
        append(vec![entry(7, 2)]),
        append(vec![entry(6, 2), entry(8, 2)]),
        append(vec![entry(6, 1)]),
        append(vec![entry(6, 10)]),
        Message { term: Some(9), ..from(2, MessageType::MsgSnap, 0) },
        Message { r#type: Some(77), ..from(2, MessageType::MsgApp, 0) },
        Message { from: None, ..from(2, MessageType::MsgHeartbeat, 0) },
        Message { term: None, ..from(2, MessageType::MsgVote, 0) },
        from(2, MessageType::MsgReadIndex, 0),
        from(2, MessageType::MsgProp, 0),
    ];
    let before = node.status();
    for message in malformed {
        let refused = node.step(message.clone());
        assert!(matches!(refused, Err(Error::Malformed { .. })), "{message:?}: {refused:?}");
    }
    assert_eq!(node.step(from(2, MessageType::MsgHup, 0)), Err(Error::StepLocalMsg));
    assert_eq!(node.step(from(9, MessageType::MsgAppResp, 0)), Err(Error::StepPeerNotFound));
    assert_eq!(node.status(), before);
}
