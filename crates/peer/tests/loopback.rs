//! Members that talk over loopback: what goes which way, and what becomes of it when a link, a
//! member or a snapshot breaks.

#![allow(clippy::unwrap_used, reason = "a poisoned lock fails the test, as it should")]

mod common;

use bytes::Bytes;
use common::{CLUSTER, Member, append, message, until, url};
use futures_util::stream;
use quorate_peer::SnapshotOutcome;
use raftpb::{Message, MessageType, Snapshot, SnapshotMetadata};
use std::io;

/// Members 1 and 2, whose streams stand.
async fn pair() -> (Member, Member) {
    let (one, two) = (Member::start(1).await, Member::start(2).await);
    one.knows(2, &two);
    two.knows(1, &one);
    attached(&one, &two).await;
    (one, two)
}

async fn attached(one: &Member, two: &Member) {
    until("all streams stand", || {
        one.transport.streams_attached(2) && two.transport.streams_attached(1)
    })
    .await;
}

fn snapshot_message(index: u64) -> Message {
    let metadata = SnapshotMetadata { index: Some(index), term: Some(1), conf_state: None };
    let snapshot =
        Some(Snapshot { data: Some(Bytes::from_static(b"state")), metadata: Some(metadata) });
    Message { snapshot, ..message(MessageType::MsgSnap, 1, 2, 0) }
}

#[tokio::test]
async fn messages_arrive_whole_and_in_order() {
    let (one, two) = pair().await;
    const COUNT: u64 = 3000;
    for index in 0..COUNT {
        one.transport.send(vec![append(1, 2, index)]);
    }
    let heartbeats = (0..10).map(|i| message(MessageType::MsgHeartbeat, 2, 1, i)).collect();
    two.transport.send(heartbeats);
    until("all appends arrive", || two.messages().len() as u64 == COUNT).await;
    for (index, received) in two.messages().into_iter().enumerate() {
        assert_eq!(received, append(1, 2, index as u64));
    }
    until("all heartbeats arrive", || one.messages().len() == 10).await;
    assert_eq!(one.transport.active_peers(), 1);
    assert!(one.transport.active_since(2).is_some());
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn without_streams_messages_and_answers_are_posted() {
    let (one, two) = (Member::start(1).await, Member::start(2).await);
    // Two knows nobody, so it dials no streams; one is a remote to it by its first request.
    one.knows(2, &two);
    one.transport.send(vec![message(MessageType::MsgVote, 1, 2, 5)]);
    until("the vote request arrives", || two.messages().len() == 1).await;
    two.transport.send(vec![message(MessageType::MsgVoteResp, 2, 1, 5)]);
    until("the answer arrives", || one.messages().len() == 1).await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_snapshot_inside_its_message_is_posted_and_reported() {
    let (one, two) = pair().await;
    one.transport.send(vec![snapshot_message(7)]);
    until("the snapshot arrives", || two.messages() == [snapshot_message(7)]).await;
    until("that is reported", || {
        *one.told.snapshots.lock().unwrap() == [(2, SnapshotOutcome::Finished)]
    })
    .await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_snapshot_with_a_body_streams_through() {
    let (one, two) = pair().await;
    const PARTS: usize = 160;
    let part = Bytes::from(vec![7; 64 << 10]);
    let body = stream::iter(std::iter::repeat_n(part, PARTS).map(io::Result::Ok));
    one.transport.send_snapshot(snapshot_message(9), Box::pin(body));
    until("the snapshot is processed", || two.messages() == [snapshot_message(9)]).await;
    assert_eq!(*two.told.saved.lock().unwrap(), [(9, PARTS * (64 << 10))]);
    until("that is reported", || {
        *one.told.snapshots.lock().unwrap() == [(2, SnapshotOutcome::Finished)]
    })
    .await;
    let whole = (PARTS * (64 << 10)) as u64;
    assert!(one.told.bytes(2).0 > whole && two.told.bytes(1).1 >= whole);
    assert_eq!(one.told.transfers(), (0, vec![true]));
    assert_eq!(two.told.transfers(), (0, vec![true]));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_snapshot_whose_source_fails_is_kept_by_nobody() {
    let (one, two) = pair().await;
    let part = Bytes::from(vec![7; 64 << 10]);
    let parts = std::iter::repeat_n(part, 20).map(Ok);
    let body = stream::iter(parts.chain([Err(io::Error::other("the disk failed"))]));
    one.transport.send_snapshot(snapshot_message(9), Box::pin(body));
    until("the failure is reported", || {
        *one.told.snapshots.lock().unwrap() == [(2, SnapshotOutcome::Failed)]
    })
    .await;
    assert!(one.told.unreachable.lock().unwrap().contains(&2));
    assert!(two.told.saved.lock().unwrap().is_empty());
    assert!(two.messages().is_empty());
    assert_eq!(one.told.transfers(), (0, vec![false]));
    // However its handler ended: a connection that breaks may take it along.
    until("that is counted", || two.told.transfers() == (0, vec![false])).await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_removed_member_is_told_so() {
    let (one, two) = (Member::start(1).await, Member::start(2).await);
    two.told.removed_ids.lock().unwrap().insert(1);
    one.knows(2, &two);
    until("member 1 hears that it was removed", || *one.told.removed.lock().unwrap()).await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn members_of_two_clusters_exchange_nothing() {
    let one = Member::start(1).await;
    let two = Member::start_at(2, CLUSTER + 1, "127.0.0.1:0").await;
    one.knows(2, &two);
    two.knows(1, &one);
    one.transport.send(vec![message(MessageType::MsgVote, 1, 2, 5)]);
    until("the refusal is reported", || !one.told.unreachable.lock().unwrap().is_empty()).await;
    assert!(two.messages().is_empty());
    assert!(!one.transport.streams_attached(2) && one.transport.active_since(2).is_none());
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn a_member_that_comes_back_or_moves_is_found() {
    let (one, two) = pair().await;
    let address = two.address.clone();
    two.stop().await;
    until("the loss is noticed", || one.transport.active_since(2).is_none()).await;
    until("the loss is reported", || one.told.unreachable.lock().unwrap().contains(&2)).await;
    let two = Member::start_at(2, CLUSTER, &address).await;
    two.knows(1, &one);
    attached(&one, &two).await;
    one.transport.send(vec![append(1, 2, 0)]);
    until("an append arrives", || two.messages().len() == 1).await;
    two.stop().await;
    let two = Member::start(2).await;
    two.knows(1, &one);
    one.transport.add_peer(2, vec![url(&two.address)]);
    attached(&one, &two).await;
    until("an append arrives at the new place", || {
        one.transport.send(vec![append(1, 2, 0)]);
        !two.messages().is_empty()
    })
    .await;
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_is_dropped_and_reported() {
    let (one, two) = pair().await;
    *two.told.stuck.lock().unwrap() = true;
    // Two takes no message: its queue fills, which costs its sender nothing. A message that is
    // too many for the pipeline is dropped and reported at once.
    for index in 0..5000 {
        one.transport.send(vec![append(1, 2, index), snapshot_message(index + 1)]);
    }
    until("drops are counted", || one.transport.dropped(2) > 0).await;
    assert!(one.told.unreachable.lock().unwrap().contains(&2));
    assert!(one.told.snapshots.lock().unwrap().contains(&(2, SnapshotOutcome::Failed)));
    one.stop().await;
    two.stop().await;
}

#[tokio::test]
async fn unknown_members_and_storage_threads_are_sent_nothing() {
    let (one, two) = pair().await;
    for to in [0, 3, u64::MAX, u64::MAX - 1] {
        one.transport.send(vec![message(MessageType::MsgHeartbeat, 1, to, 1)]);
    }
    one.transport.remove_peer(2);
    one.transport.send(vec![message(MessageType::MsgHeartbeat, 1, 2, 1)]);
    one.transport.send_snapshot(snapshot_message(1), Box::pin(stream::empty()));
    assert_eq!(*one.told.snapshots.lock().unwrap(), [(2, SnapshotOutcome::Failed)]);
    one.stop().await;
    two.stop().await;
}
