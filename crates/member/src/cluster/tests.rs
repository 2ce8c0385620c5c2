use super::*;
use std::path::Path;
use std::sync::Arc;

fn store() -> Store {
    let fs = Arc::new(vfs::MemFs::new());
    backend::open(fs, Path::new("store"), backend::Options::default()).expect("memory").store
}

fn change(kind: ConfChangeType, id: u64, context: &str) -> ConfChange {
    ConfChange {
        r#type: Some(kind.into()),
        node_id: Some(id),
        context: Some(context.as_bytes().to_vec().into()),
        ..ConfChange::default()
    }
}

#[test]
fn members_come_are_promoted_move_and_leave() {
    use ConfChangeType::{
        ConfChangeAddLearnerNode, ConfChangeAddNode, ConfChangeRemoveNode, ConfChangeUpdateNode,
    };
    let (mut store, mut cluster) = (store(), Cluster::default());
    let mut check = |change: ConfChange, want: Result<(), Error>| {
        let valid = cluster.validate(&change, 1);
        assert_eq!(valid, want, "{change:?}");
        if valid.is_ok() {
            cluster.apply_change(&mut store, &change).expect("it was validated");
        }
        assert_eq!(Cluster::load(store.buckets()), cluster, "stored as held");
    };
    let one = r#"{"id":1,"peerURLs":["http://a"],"name":"a"}"#;
    check(change(ConfChangeAddNode, 1, one), Ok(()));
    check(change(ConfChangeAddNode, 1, one), Err(Error::IdExists));
    let taken = r#"{"id":2,"peerURLs":["http://a"]}"#;
    check(change(ConfChangeAddNode, 2, taken), Err(Error::PeerUrlExists));
    let learner = r#"{"id":2,"peerURLs":["http://b"],"isLearner":true}"#;
    check(change(ConfChangeAddLearnerNode, 2, learner), Ok(()));
    let another = r#"{"id":3,"peerURLs":["http://c"],"isLearner":true}"#;
    check(change(ConfChangeAddLearnerNode, 3, another), Err(Error::TooManyLearners));
    let promote = r#"{"id":2,"peerURLs":null,"isPromote":true}"#;
    check(change(ConfChangeAddNode, 2, promote), Ok(()));
    check(change(ConfChangeAddNode, 2, promote), Err(Error::MemberNotLearner));
    let moved = r#"{"id":2,"peerURLs":["http://d"]}"#;
    check(change(ConfChangeUpdateNode, 2, moved), Ok(()));
    check(change(ConfChangeRemoveNode, 2, ""), Ok(()));
    check(change(ConfChangeRemoveNode, 2, ""), Err(Error::IdRemoved));
    check(change(ConfChangeRemoveNode, 9, ""), Err(Error::IdNotFound));
    let other = r#"{"id":8,"peerURLs":["http://e"]}"#;
    assert!(matches!(
        cluster.validate(&change(ConfChangeAddNode, 7, other), 1),
        Err(Error::Malformed { .. })
    ));
    assert_eq!(cluster.conf_state().voters, [1]);
    assert!(cluster.is_removed(2));
}

#[test]
fn what_is_stored_is_what_go_stores() {
    let (mut store, mut cluster) = (store(), Cluster::default());
    cluster.set_version(&mut store, "3.7.0");
    cluster.set_downgrade(&mut store, Some("3.6.0".to_owned()));
    let conf_state = ConfState { voters: vec![1, 2], learners: vec![3], ..ConfState::default() };
    cluster.save_conf_state(&mut store, &conf_state);
    let get = |bucket, key: &[u8]| {
        let value = store.buckets().get(bucket, key).expect("it was set");
        String::from_utf8(value.to_vec()).expect("text")
    };
    assert_eq!(get(Bucket::Cluster, VERSION_KEY), "3.7.0");
    let downgrade = r#"{"target-version":"3.6.0","enabled":true}"#;
    assert_eq!(get(Bucket::Cluster, DOWNGRADE_KEY), downgrade);
    let stored = r#"{"voters":[1,2],"learners":[3],"auto_leave":false}"#;
    assert_eq!(get(Bucket::Meta, CONF_STATE_KEY), stored);
    assert_eq!(Cluster::load(store.buckets()), cluster);
}
