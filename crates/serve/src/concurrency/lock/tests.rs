//! Those who hold a lock and those who wait for it, over a store in memory.

use super::super::testing::{FIRST_LEASE, Fake, seen};
use super::*;
use api::Code;
use api::etcdserverpb::WatchResponse;
use std::future::pending;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

fn request(lease: i64) -> LockRequest {
    LockRequest { name: "l".into(), lease }
}

async fn locked(fake: &Fake, lease: i64) -> LockResponse {
    lock(fake, request(lease), pending()).await.unwrap()
}

/// Locks in a task, and gives what tells it that the client is gone.
fn start(
    fake: &Fake,
    lease: i64,
) -> (JoinHandle<Result<LockResponse, Error>>, oneshot::Sender<Gone>) {
    let (tell, told) = oneshot::channel();
    let fake = fake.clone();
    let gone = async {
        match told.await {
            Ok(gone) => gone,
            Err(_) => pending().await,
        }
    };
    (tokio::spawn(async move { lock(&fake, request(lease), Box::pin(gone)).await }), tell)
}

#[tokio::test]
async fn a_free_lock_is_had_at_once_and_again() {
    let fake = Fake::new(&[0xab]);
    let first = locked(&fake, 0xab).await;
    assert_eq!(first.key, "l/ab");
    assert_eq!(revision(first.header), 2);
    let again = locked(&fake, 0xab).await;
    assert_eq!((again.key, fake.revision()), (first.key.clone(), 2));
    let unlocked = unlock(&fake, UnlockRequest { key: first.key }).await.unwrap();
    assert_eq!((revision(unlocked.header), fake.keys()), (3, vec![]));
}

#[tokio::test]
async fn a_lease_is_made_for_one_minute_if_none_is_named() {
    let fake = Fake::new(&[-0x7b]);
    assert_eq!(locked(&fake, 0).await.key, format!("l/{FIRST_LEASE:x}"));
    let granted: Vec<_> = fake.granted().iter().map(|grant| (grant.ttl, grant.id)).collect();
    assert_eq!(granted, [(60, 0)]);
    let other = LockRequest { name: "".into(), lease: -0x7b };
    assert_eq!(lock(&fake, other, pending()).await.unwrap().key, "/-7b");
}

#[tokio::test]
async fn those_who_wait_have_it_in_the_order_they_came() {
    let fake = Fake::new(&[1, 2, 3]);
    locked(&fake, 1).await;
    let (second, _keep) = start(&fake, 2);
    fake.waited(1).await;
    let (third, _keep_too) = start(&fake, 3);
    fake.waited(2).await;
    assert_eq!(fake.keys(), ["l/1", "l/2", "l/3"]);
    fake.revoke(1);
    let second = second.await.unwrap().unwrap();
    assert_eq!(second.key, "l/2");
    assert!(!third.is_finished());
    unlock(&fake, UnlockRequest { key: second.key }).await.unwrap();
    let third = third.await.unwrap().unwrap();
    assert_eq!((third.key, revision(third.header)), ("l/3".into(), fake.revision()));
}

#[tokio::test]
async fn a_place_that_is_lost_gives_no_lock() {
    let fake = Fake::new(&[1, 2]);
    locked(&fake, 1).await;
    let (second, _keep) = start(&fake, 2);
    fake.waited(1).await;
    fake.revoke(2);
    fake.revoke(1);
    let error = second.await.unwrap().unwrap_err();
    assert_eq!(seen(error), (Code::Unknown, "mutex: session is expired".to_owned()));
}

#[tokio::test]
async fn one_who_is_gone_leaves_no_key() {
    for (gone, code, text) in [
        (Gone::Canceled, Code::Cancelled, "context canceled"),
        (Gone::DeadlineExceeded, Code::DeadlineExceeded, "context deadline exceeded"),
    ] {
        let fake = Fake::new(&[1, 2]);
        locked(&fake, 1).await;
        let (second, tell) = start(&fake, 2);
        fake.waited(1).await;
        tell.send(gone).unwrap();
        let error = second.await.unwrap().unwrap_err();
        assert_eq!(seen(error), (code, text.to_owned()));
        assert_eq!(fake.keys(), ["l/1"]);
    }
}

#[tokio::test]
async fn what_the_store_refuses_has_its_text_and_code_unknown() {
    let fake = Fake::new(&[]);
    let error = lock(&fake, request(5), pending()).await.unwrap_err();
    let text = "etcdserver: requested lease not found".to_owned();
    assert_eq!(seen(error), (Code::Unknown, text));
    let error = unlock(&fake, UnlockRequest::default()).await.unwrap_err();
    assert_eq!(seen(error), (Code::Unknown, "etcdserver: key is not provided".to_owned()));
    fake.break_down(tonic::Status::unavailable("something new"));
    let error = lock(&fake, request(0), pending()).await.unwrap_err();
    assert_eq!(seen(error), (Code::Unavailable, "something new".to_owned()));
}

#[tokio::test]
async fn a_watch_that_ends_ends_the_wait() {
    let compacted = WatchResponse { compact_revision: 5, canceled: true, ..Default::default() };
    let canceled = |reason: &str| WatchResponse {
        canceled: true,
        cancel_reason: reason.to_owned(),
        ..Default::default()
    };
    let known = "etcdserver: permission denied";
    for (end, code, text) in [
        (compacted, Code::Unknown, "etcdserver: mvcc: required revision has been compacted"),
        (canceled(""), Code::Unknown, "etcdserver: mvcc: required revision is a future revision"),
        (canceled(known), Code::Unknown, known),
        (canceled("other"), Code::FailedPrecondition, "other"),
        (WatchResponse::default(), Code::Unknown, "lost watcher waiting for delete"),
    ] {
        let fake = Fake::new(&[1, 2]);
        locked(&fake, 1).await;
        let (second, _keep) = start(&fake, 2);
        fake.waited(1).await;
        fake.end_watches(end);
        let error = second.await.unwrap().unwrap_err();
        assert_eq!(seen(error), (code, text.to_owned()));
        assert_eq!(fake.keys(), ["l/1"]);
    }
}
