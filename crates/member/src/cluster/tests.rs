//! Changes judged and applied, and the buckets' bytes beside those of a real etcd.

use super::*;
use crate::{promote_context, v2_store_json};
use backend::{Options, open};
use proptest::prelude::*;
use raftpb::ConfChangeType::{
    ConfChangeAddLearnerNode as AddLearner, ConfChangeAddNode as Add,
    ConfChangeRemoveNode as Remove, ConfChangeUpdateNode as Update,
};
use std::path::Path;
use std::sync::Arc;
use vfs::MemFs;

const LEARNERS: usize = 1;

fn store() -> Store {
    open(Arc::new(MemFs::new()), Path::new("/db"), Options::default()).unwrap().store
}

fn member(id: u64, urls: &[&str], is_learner: bool) -> Member {
    let peer_urls = urls.iter().map(|url| (*url).to_owned()).collect();
    Member { id, peer_urls, is_learner, ..Member::default() }
}

fn change(kind: ConfChangeType, id: u64, context: impl Into<Bytes>) -> ConfChange {
    ConfChange {
        id: Some(9),
        r#type: Some(kind.into()),
        node_id: Some(id),
        context: Some(context.into()),
    }
}

fn of(kind: ConfChangeType, member: &Member) -> ConfChange {
    change(kind, member.id, member.to_json())
}

/// Voters 1 and 2, learner 3, and 4 removed.
fn cluster(store: &mut Store) -> Cluster {
    let mut cluster = Cluster::default();
    let members = [
        (Add, member(1, &["http://a:1"], false)),
        (Add, member(2, &["http://b:1", "http://b:2"], false)),
        (AddLearner, member(3, &["http://c:1"], true)),
        (Add, member(4, &["http://d:1"], false)),
    ];
    for (kind, member) in members {
        let valid = cluster.validate(&of(kind, &member), LEARNERS).unwrap();
        cluster.apply(store, valid);
    }
    let valid = cluster.validate(&change(Remove, 4, ""), LEARNERS).unwrap();
    cluster.apply(store, valid);
    cluster
}

#[test]
fn changes_are_judged_as_etcd_judges_them() {
    let cluster = cluster(&mut store());
    let rejected = |rejected: Rejected| Err(Error::Rejected(rejected));
    let new = member(5, &["http://e:1"], false);
    let learner = member(5, &["http://e:1"], true);
    let taken = member(5, &["http://e:1", "http://b:2"], false);
    let moved = |id, url| Change::Update { id, peer_urls: vec![str::to_owned(url)] };
    let table = [
        (of(Add, &new), Ok(Change::Add(new.clone()))),
        (of(Add, &member(4, &[], false)), rejected(Rejected::IdRemoved)),
        (change(Add, 4, "not JSON"), rejected(Rejected::IdRemoved)),
        (of(Add, &member(1, &["http://e:1"], false)), rejected(Rejected::IdExists)),
        (of(Add, &taken), rejected(Rejected::PeerUrlExists)),
        (of(AddLearner, &learner), rejected(Rejected::TooManyLearners)),
        (of(AddLearner, &new), Ok(Change::Add(new.clone()))),
        (of(Add, &learner), Ok(Change::Add(learner.clone()))),
        (change(Add, 3, promote_context(3)), Ok(Change::Promote(3))),
        (change(Add, 5, promote_context(5)), rejected(Rejected::IdNotFound)),
        (change(Add, 1, promote_context(1)), rejected(Rejected::NotLearner)),
        (change(Remove, 1, ""), Ok(Change::Remove(1))),
        (change(Remove, 4, ""), rejected(Rejected::IdRemoved)),
        (change(Remove, 5, ""), rejected(Rejected::IdNotFound)),
        (of(Update, &member(1, &["http://z:1"], true)), Ok(moved(1, "http://z:1"))),
        (of(Update, &member(1, &["http://a:1"], false)), Ok(moved(1, "http://a:1"))),
        (of(Update, &member(1, &["http://c:1"], false)), rejected(Rejected::PeerUrlExists)),
        (of(Update, &new), rejected(Rejected::IdNotFound)),
    ];
    for (change, expected) in table {
        assert_eq!(cluster.validate(&change, LEARNERS), expected, "{change:?}");
    }
    assert!(cluster.validate(&of(AddLearner, &learner), 2).is_ok());
}

#[test]
fn what_would_kill_a_go_member_is_no_ordinary_refusal() {
    let cluster = cluster(&mut store());
    let validate = |change| cluster.validate(&change, LEARNERS).unwrap_err();
    for context in ["", "{", "7"] {
        let error = validate(change(Add, 5, context));
        assert!(matches!(error, Error::BadContext { .. }), "{error}");
        let error = validate(change(Update, 1, context));
        assert!(matches!(error, Error::BadContext { .. }), "{error}");
    }
    let mismatch = Error::IdMismatch { node_id: 5, context_id: 6 };
    assert_eq!(validate(change(Add, 5, member(6, &["u"], false).to_json())), mismatch);
    let mismatch = Error::IdMismatch { node_id: 3, context_id: 1 };
    assert_eq!(validate(change(Add, 3, promote_context(1))), mismatch);
    let unknown = ConfChange { r#type: Some(4), node_id: Some(1), ..Default::default() };
    assert_eq!(validate(unknown), Error::UnknownType(4));
}

#[test]
fn the_buckets_have_etcds_bytes() {
    let mut store = store();
    let mut cluster = cluster(&mut store);
    let valid = cluster.validate(&change(Add, 3, promote_context(3)), LEARNERS).unwrap();
    cluster.apply(&mut store, valid);
    let updated = of(Update, &member(2, &["http://y:1"], true));
    let valid = cluster.validate(&updated, LEARNERS).unwrap();
    cluster.apply(&mut store, valid);
    let clients = vec!["http://a:9".to_owned()];
    assert_eq!(cluster.set_attributes(&mut store, 1, "one".to_owned(), clients), Ok(true));
    assert_eq!(cluster.set_attributes(&mut store, 4, "four".to_owned(), vec![]), Ok(false));
    let unknown = cluster.set_attributes(&mut store, 5, "five".to_owned(), vec![]);
    assert_eq!(unknown, Err(Error::UnknownMember(5)));
    cluster.set_version(&mut store, Version::parse("3.7.0").unwrap()).unwrap();
    let too_new = cluster.set_version(&mut store, Version::parse("3.8.0").unwrap());
    assert!(matches!(too_new, Err(Error::ClusterTooNew { .. })));
    cluster.set_downgrade(&mut store, Downgrade { target: Some(Version::parse("3.6.0").unwrap()) });
    let dump: Vec<String> = store
        .buckets()
        .iter()
        .map(|(bucket, key, value)| {
            let [key, value] = [key, value].map(|bytes| String::from_utf8_lossy(bytes));
            format!("{} {key} {value}", bucket.name())
        })
        .collect();
    let expected = [
        r"cluster clusterVersion 3.7.0",
        r#"cluster downgrade {"target-version":"3.6.0","enabled":true}"#,
        r#"members 1 {"id":1,"peerURLs":["http://a:1"],"name":"one","clientURLs":["http://a:9"]}"#,
        r#"members 2 {"id":2,"peerURLs":["http://y:1"]}"#,
        r#"members 3 {"id":3,"peerURLs":["http://c:1"]}"#,
        r"members_removed 4 removed",
    ];
    assert_eq!(dump, expected);
    assert_eq!(Cluster::load(store.buckets()).as_ref(), Ok(&cluster));
    cluster.set_downgrade(&mut store, Downgrade::default());
    let stored = store.buckets().get(Bucket::Cluster, DOWNGRADE_KEY.as_bytes()).unwrap();
    assert_eq!(stored, r#"{"target-version":"","enabled":false}"#);
    assert_eq!(Cluster::load(store.buckets()), Ok(cluster));
}

/// The bucket and the snapshot of a member that etcd 3.7.1 ran; of the dump without statistics
/// and events.
#[test]
fn a_real_members_bucket_is_read_and_its_dump_is_ours() {
    let mut store = store();
    let json = r#"{"id":13668033151171901709,"peerURLs":["http://127.0.0.1:23801"],"name":"a\u003cb\u003e\u0026c","clientURLs":["http://127.0.0.1:24579"]}"#;
    store.set(Bucket::Members, b"bdae9bbc11dd390d", json.as_bytes());
    let cluster = Cluster::load(store.buckets()).unwrap();
    assert_eq!(cluster.member(0xbdae_9bbc_11dd_390d).unwrap().name, "a<b>&c");
    assert_eq!(cluster.members().next().unwrap().to_json(), json);
    let state = crate::conf_state_json(&cluster.conf_state());
    assert_eq!(state, r#"{"voters":[13668033151171901709],"auto_leave":false}"#);
    let dump = r#"{"Root":{"Path":"/","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"0":{"Path":"/0","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"members":{"Path":"/0/members","CreatedIndex":1,"ModifiedIndex":1,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"bdae9bbc11dd390d":{"Path":"/0/members/bdae9bbc11dd390d","CreatedIndex":1,"ModifiedIndex":1,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{"attributes":{"Path":"/0/members/bdae9bbc11dd390d/attributes","CreatedIndex":2,"ModifiedIndex":2,"ExpireTime":"0001-01-01T00:00:00Z","Value":"{\"name\":\"a\\u003cb\\u003e\\u0026c\",\"clientURLs\":[\"http://127.0.0.1:24579\"]}","Children":null},"raftAttributes":{"Path":"/0/members/bdae9bbc11dd390d/raftAttributes","CreatedIndex":1,"ModifiedIndex":1,"ExpireTime":"0001-01-01T00:00:00Z","Value":"{\"peerURLs\":[\"http://127.0.0.1:23801\"]}","Children":null}}}}}}},"1":{"Path":"/1","CreatedIndex":0,"ModifiedIndex":0,"ExpireTime":"0001-01-01T00:00:00Z","Value":"","Children":{}}}},"CurrentIndex":2,"CurrentVersion":2}"#;
    assert_eq!(v2_store_json(&cluster), dump);
}

#[test]
fn a_dump_has_the_removed_and_the_version_too() {
    let mut store = store();
    let mut cluster = cluster(&mut store);
    cluster.set_version(&mut store, Version::parse("3.7.0").unwrap()).unwrap();
    let dump: serde_json::Value = serde_json::from_str(&v2_store_json(&cluster)).unwrap();
    let node = |path: &str| dump.pointer(&format!("/Root/Children/0/Children/{path}")).unwrap();
    let removed = node("removed_members/Children/4");
    assert_eq!(removed["Path"], "/0/removed_members/4");
    assert_eq!((&removed["Value"], &removed["CreatedIndex"]), (&"".into(), &4.into()));
    let learner = node("members/Children/3/Children/raftAttributes");
    assert_eq!(learner["Value"], r#"{"peerURLs":["http://c:1"],"isLearner":true}"#);
    assert_eq!(node("version")["Value"], "3.7.0");
    assert_eq!((&dump["CurrentIndex"], &dump["CurrentVersion"]), (&5.into(), &2.into()));
}

#[test]
fn raft_starts_with_the_members() {
    let cluster = cluster(&mut store());
    let state = cluster.conf_state();
    assert_eq!((state.voters, state.learners), (vec![1, 2], vec![3]));
    assert!(cluster.is_removed(4) && !cluster.is_removed(1));
}

#[test]
fn a_store_that_makes_no_sense_is_reported() {
    for (bucket, key, value) in [
        (Bucket::Members, "x", "{}"),
        (Bucket::Members, "1", "{"),
        (Bucket::Members, "1", r#"{"id":2}"#),
        (Bucket::MembersRemoved, "", "removed"),
        (Bucket::Cluster, VERSION_KEY, "3.7"),
        (Bucket::Cluster, DOWNGRADE_KEY, r#"{"enabled":true,"target-version":""}"#),
        (Bucket::Cluster, DOWNGRADE_KEY, "["),
    ] {
        let mut store = store();
        store.set(bucket, key.as_bytes(), value.as_bytes());
        let error = Cluster::load(store.buckets()).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{key} {value}: {error}");
    }
    let mut store = store();
    store.set(Bucket::Cluster, VERSION_KEY.as_bytes(), b"3.8.0");
    let error = Cluster::load(store.buckets()).unwrap_err();
    assert!(matches!(error, Error::ClusterTooNew { .. }), "{error}");
}

#[test]
fn a_quorum_of_started_members_is_kept() {
    // Voters, started among them; whether one may be added, one that never started removed, one
    // that did, a learner promoted.
    let table = [
        (1, 1, [true, false, false, true]),
        (2, 1, [false, true, false, true]),
        (2, 2, [true, false, true, true]),
        (3, 1, [false, false, false, false]),
        (3, 2, [false, true, false, true]),
        (3, 3, [true, false, true, true]),
        (5, 3, [false, true, false, true]),
    ];
    for (voters, started, expected) in table {
        let mut cluster = Cluster::default();
        for id in 1..=voters {
            let name = if id <= started { "n" } else { "" }.to_owned();
            cluster.members.insert(id, Member { id, name, ..Member::default() });
        }
        let may = [
            cluster.ready_to_add_voter(),
            started < voters && cluster.ready_to_remove_voter(voters),
            cluster.ready_to_remove_voter(1),
            cluster.ready_to_promote(),
        ];
        assert_eq!(may, expected, "{started} of {voters}");
    }
}

#[derive(Clone, Debug)]
struct Step {
    kind: ConfChangeType,
    id: u64,
    url: u8,
    is_learner: bool,
    is_promote: bool,
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop_oneof![Just(Add), Just(AddLearner), Just(Remove), Just(Update)];
    (kind, 1u64..6, 0u8..6, any::<bool>(), any::<bool>()).prop_map(
        |(kind, id, url, is_learner, is_promote)| Step { kind, id, url, is_learner, is_promote },
    )
}

proptest! {
    /// Whatever is proposed, the loaded cluster is the one in memory, no URL is two members', and
    /// no id comes back.
    #[test]
    fn a_cluster_stays_sound(steps in prop::collection::vec(step(), 0..40)) {
        let mut store = store();
        let mut cluster = Cluster::default();
        for Step { kind, id, url, is_learner, is_promote } in steps {
            let context = if is_promote {
                promote_context(id)
            } else {
                member(id, &[&format!("http://h:{url}")], is_learner).to_json().into()
            };
            match cluster.validate(&change(kind, id, context), LEARNERS) {
                Ok(valid) => cluster.apply(&mut store, valid),
                Err(error) => prop_assert!(matches!(error, Error::Rejected(_)), "{}", error),
            }
            prop_assert!(cluster.removed().all(|id| cluster.member(id).is_none()));
            let mut urls: Vec<_> = cluster.members().flat_map(|member| &member.peer_urls).collect();
            let count = urls.len();
            urls.sort();
            urls.dedup();
            prop_assert_eq!(urls.len(), count);
        }
        prop_assert_eq!(Cluster::load(store.buckets()), Ok(cluster));
    }
}

#[test]
fn the_stored_state_has_the_version_of_the_cluster() {
    let (mut store, mut cluster) = (store(), Cluster::default());
    let stored = |cluster: &Cluster| cluster.storage_version().map(|its| its.to_string());
    assert_eq!(stored(&cluster).as_deref(), Some("3.7.0"));
    for (version, want) in [("3.7.0", Some("3.7.0")), ("3.6.0", Some("3.6.0")), ("3.5.0", None)] {
        cluster.set_version(&mut store, Version::parse(version).unwrap()).unwrap();
        assert_eq!(stored(&cluster).as_deref(), want, "{version}");
    }
}
