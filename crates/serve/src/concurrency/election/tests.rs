//! Campaigns, and those who watch them, over a store in memory.

use super::super::testing::{FIRST_LEASE, Fake, seen};
use super::*;
use api::Code;
use api::etcdserverpb::WatchResponse;
use std::future::pending;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

fn request(lease: i64, value: &'static str) -> CampaignRequest {
    CampaignRequest { name: "e".into(), lease, value: value.into() }
}

async fn elected(fake: &Fake, lease: i64, value: &'static str) -> LeaderKey {
    campaign(fake, request(lease, value), pending()).await.unwrap().leader.unwrap()
}

type Campaign = JoinHandle<Result<CampaignResponse, Error>>;

/// Campaigns in a task, and gives what tells it that the client is gone.
fn start(fake: &Fake, lease: i64) -> (Campaign, oneshot::Sender<Gone>) {
    let (tell, told) = oneshot::channel();
    let fake = fake.clone();
    let gone = async {
        match told.await {
            Ok(gone) => gone,
            Err(_) => pending().await,
        }
    };
    (tokio::spawn(async move { campaign(&fake, request(lease, "v"), Box::pin(gone)).await }), tell)
}

async fn led(fake: &Fake) -> Result<(String, String), Error> {
    let response = leader(fake, LeaderRequest { name: "e".into() }).await?;
    Ok(parts(response))
}

fn parts(response: LeaderResponse) -> (String, String) {
    let kv = response.kv.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&kv.key), text(&kv.value))
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[tokio::test]
async fn a_leader_is_elected_says_something_and_resigns() {
    let fake = Fake::new(&[0xa]);
    assert_eq!(seen(led(&fake).await.unwrap_err()), (Code::Unknown, "election: no leader".into()));
    let key = elected(&fake, 0xa, "one").await;
    let expected = LeaderKey { name: "e".into(), key: "e/a".into(), rev: 2, lease: 0xa };
    assert_eq!(key, expected);
    assert_eq!(led(&fake).await.unwrap(), pair("e/a", "one"));
    // Campaigning again says something else at once, or changes nothing.
    assert_eq!(elected(&fake, 0xa, "two").await, expected);
    assert_eq!(led(&fake).await.unwrap(), pair("e/a", "two"));
    assert_eq!(elected(&fake, 0xa, "two").await, expected);
    assert_eq!(fake.revision(), 3);
    let said = ProclaimRequest { leader: Some(key.clone()), value: "three".into() };
    assert_eq!(revision(proclaim(&fake, said.clone()).await.unwrap().header), 4);
    assert_eq!(led(&fake).await.unwrap(), pair("e/a", "three"));
    let resigned = resign(&fake, ResignRequest { leader: Some(key.clone()) }).await.unwrap();
    assert_eq!((revision(resigned.header), fake.keys()), (5, vec![]));
    let error = proclaim(&fake, said).await.unwrap_err();
    assert_eq!(seen(error), (Code::Unknown, "election: not leader".into()));
    resign(&fake, ResignRequest { leader: Some(key) }).await.unwrap();
}

#[tokio::test]
async fn the_leader_must_be_named() {
    let fake = Fake::new(&[]);
    let expected = (Code::Unknown, "\"leader\" field must be provided".to_owned());
    let proclaimed = proclaim(&fake, ProclaimRequest::default()).await;
    assert_eq!(seen(proclaimed.unwrap_err()), expected);
    let resigned = resign(&fake, ResignRequest::default()).await;
    assert_eq!(seen(resigned.unwrap_err()), expected);
    assert!(fake.granted().is_empty());
    // A lease that is not named is made, even to say that one does not lead.
    let leader = Some(LeaderKey { key: "e/a".into(), rev: 2, ..LeaderKey::default() });
    proclaim(&fake, ProclaimRequest { leader, value: "v".into() }).await.unwrap_err();
    assert_eq!(fake.granted().len(), 1);
    assert_eq!(elected(&fake, 0, "v").await.lease, FIRST_LEASE + 1);
}

#[tokio::test]
async fn candidates_follow_in_the_order_they_came() {
    let fake = Fake::new(&[1, 2, 3]);
    let first = elected(&fake, 1, "v").await;
    let (second, _keep) = start(&fake, 2);
    fake.waited(1).await;
    let (third, tell) = start(&fake, 3);
    fake.waited(2).await;
    assert_eq!(led(&fake).await.unwrap().0, "e/1");
    // One who is gone resigns.
    tell.send(Gone::Canceled).unwrap();
    assert_eq!(
        seen(third.await.unwrap().unwrap_err()),
        (Code::Cancelled, "context canceled".into())
    );
    assert_eq!(fake.keys(), ["e/1", "e/2"]);
    resign(&fake, ResignRequest { leader: Some(first) }).await.unwrap();
    let response = second.await.unwrap().unwrap();
    // Its header is that of its candidacy.
    assert_eq!(revision(response.header), 3);
    assert_eq!(response.leader.unwrap().key, "e/2");
}

#[tokio::test]
async fn a_candidate_stays_if_its_watch_ends() {
    let fake = Fake::new(&[1, 2]);
    elected(&fake, 1, "v").await;
    let (second, _keep) = start(&fake, 2);
    fake.waited(1).await;
    fake.end_watches(WatchResponse::default());
    let error = seen(second.await.unwrap().unwrap_err());
    assert_eq!(error, (Code::Unknown, "lost watcher waiting for delete".into()));
    assert_eq!(fake.keys(), ["e/1", "e/2"]);
}

#[tokio::test]
async fn an_observer_sees_leaders_and_what_they_say() {
    let fake = Fake::new(&[1, 2]);
    let mut observer = Observer::new(fake.clone(), &LeaderRequest { name: "e".into() });
    let (observed, mut seen) = tokio::sync::mpsc::channel(1);
    let observing = tokio::spawn(async move {
        while let Some(response) = observer.next().await {
            let revision = revision(response.header);
            observed.send((revision, parts(response))).await.unwrap();
        }
    });
    fake.waited(1).await;
    fake.put("f/1", "another election", 1);
    fake.waited(2).await;
    elected(&fake, 1, "one").await;
    assert_eq!(seen.recv().await.unwrap(), (3, pair("e/1", "one")));
    fake.waited(3).await;
    fake.put("e/2", "waits", 2);
    fake.waited(4).await;
    fake.put("e/1", "two", 1);
    assert_eq!(seen.recv().await.unwrap(), (5, pair("e/1", "two")));
    fake.revoke(1);
    assert_eq!(seen.recv().await.unwrap(), (6, pair("e/2", "waits")));
    fake.break_down(api::Error::Stopped.into());
    fake.end_watches(WatchResponse::default());
    assert_eq!(seen.recv().await, None);
    observing.await.unwrap();
}
