//! What a real member knows of its cluster and its leases: we read it from its database as it
//! stands there, and come to the same bytes by applying its log.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

use api::etcdserverpb::InternalRaftRequest;
use backend::{Bucket, Opened, Store};
use bytes::Bytes;
use interop::release::{Release, releases};
use interop::store::{Database, Items};
use interop::{Log, Member, read_log};
use lease::Lessor;
use member::{Cluster, Downgrade, Error, InitialCluster, Version};
use prost::Message;
use quorate_interop as interop;
use raftpb::{ConfChange, Entry, EntryType};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vfs::{MemFs, OsFs};
use wal::snap::Snapshotter;

const PEER_URL: &str = "http://127.0.0.1:2380";
const NAME: &str = "<one & only>";
const MAX_LEARNERS: usize = 1;

/// The small buckets that members and leases are in, with our and etcd's names.
const BUCKETS: [Bucket; 4] =
    [Bucket::Cluster, Bucket::Lease, Bucket::Members, Bucket::MembersRemoved];

#[test]
fn a_real_members_state_is_read_and_its_log_leads_to_it() {
    for release in releases() {
        let temp = tempfile::tempdir().unwrap();
        live(&release, temp.path());
        let database = Database::read(&temp.path().join("member/snap/db")).unwrap();
        let log = read_log(temp.path());
        let (cluster, leases) = check_loaded(&database);
        check_first_entry(&log);
        check_dump(&release, temp.path(), &cluster);
        // Before 3.6 a member's name and the cluster's version are in the log in a form that
        // only such releases can apply.
        let applied = if release.stamps() { check_applied(&log, &database) } else { 0 };
        testkit::figures::note(
            &format!("interop-membership-{}", release.version),
            format!(
                "{} members, {} removed, {leases} leases read; {applied} entries applied to the \
                 same buckets; first entry and dump equal",
                cluster.members().len(),
                cluster.removed().count()
            ),
        );
    }
}

/// Runs a member through changes of its cluster and of leases.
fn live(release: &Release, data: &Path) {
    let free = || {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        format!("http://{port}")
    };
    let member = Member::spawn(&interop::Launch {
        home: release.home.clone(),
        name: NAME.to_owned(),
        data_dir: data.to_owned(),
        client_url: free(),
        listen_peer_url: free(),
        advertise_peer_url: PEER_URL.to_owned(),
        initial_cluster: format!("{NAME}={PEER_URL}"),
        flags: ["--snapshot-count=1", "--unsafe-no-fsync"].map(str::to_owned).into(),
    });
    member.wait_ready();
    let ctl = |words: &[&str]| release.ctl(&member, words);
    let hex = |answer: &Value, path: &str| {
        let id = answer.pointer(path).unwrap_or_else(|| panic!("{path} in {answer}"));
        id.as_u64().map(|id| format!("{id:x}")).unwrap()
    };
    let added = ctl(&["member", "add", "gone", "--learner", "--peer-urls=http://127.0.0.1:1"]);
    let gone = hex(&added, "/member/ID");
    ctl(&["member", "update", &gone, "--peer-urls=http://127.0.0.1:2,http://a:3"]);
    ctl(&["member", "remove", &gone]);
    // Another URL, as within one second the same would give the same id, which is gone for ever.
    ctl(&["member", "add", "new", "--learner", "--peer-urls=http://127.0.0.1:4"]);
    for (key, ttl) in [("a", "1000"), ("b", "70000"), ("c", "9000000000")] {
        let lease = hex(&ctl(&["lease", "grant", ttl]), "/ID");
        ctl(&["put", key, "value", &format!("--lease={lease}")]);
        if key == "b" {
            ctl(&["lease", "revoke", &lease]);
        }
    }
    member.stop();
}

/// A store with the real database's small buckets, as far as they matter here.
fn store_of(database: &Database) -> Store {
    let mut store = empty_store();
    for bucket in BUCKETS {
        for (key, value) in database.bucket(bucket.name()) {
            store.set(bucket, key, value);
        }
    }
    store
}

fn empty_store() -> Store {
    let fs = Arc::new(MemFs::new());
    let Opened { store, .. } =
        backend::open(fs, Path::new("/db"), backend::Options::default()).unwrap();
    store
}

/// The state in the database is read, and written again it is the same.
fn check_loaded(database: &Database) -> (Cluster, usize) {
    let store = store_of(database);
    let cluster = Cluster::load(store.buckets()).unwrap();
    let members: Items = cluster
        .members()
        .map(|member| (format!("{:x}", member.id).into(), member.to_json().into()))
        .collect();
    assert_eq!(&members, database.bucket("members"));
    assert_eq!((members.len(), cluster.removed().count()), (2, 1));
    let conf_state = member::conf_state_json(&cluster.conf_state());
    let stored = &database.bucket("meta")[&b"confState"[..]];
    assert_eq!(conf_state, String::from_utf8_lossy(stored));

    let live = database.live();
    let keys = live.values().map(|kv| (Bytes::from(kv.key.clone()), kv.lease));
    let (lessor, orphans) =
        Lessor::load(store.buckets(), min_ttl(), keys.filter(|(_, lease)| *lease != 0)).unwrap();
    assert!(orphans.is_empty(), "{orphans:?}");
    let attached =
        |lease: lease::Lease| -> Vec<Bytes> { lessor.keys(lease.id).unwrap().cloned().collect() };
    let mut leases: Vec<_> = lessor.list().map(|lease| (lease.ttl, attached(lease))).collect();
    leases.sort();
    assert_eq!(leases, [(1000, vec!["a".into()]), (9_000_000_000, vec!["c".into()])]);
    (cluster, leases.len())
}

fn min_ttl() -> i64 {
    lease::min_ttl(10, Duration::from_millis(100))
}

/// We begin a cluster as the real one did.
fn check_first_entry(log: &Log) {
    let initial = InitialCluster::parse(&format!("{NAME}={PEER_URL}")).unwrap();
    let ours = member::bootstrap_entries(&initial.members("etcd-cluster").unwrap());
    let parts = |entry: &Entry| (entry.term(), entry.r#type(), entry.data().to_vec());
    assert_eq!(ours.len(), 1);
    let change = |entry: &Entry| ConfChange::decode(entry.data()).unwrap();
    let theirs = &log.entries[&1];
    // Releases before 3.6 wrote out the id of the request that there is none of.
    let mut expected = change(theirs);
    expected.id = expected.id.filter(|id| *id != 0);
    assert_eq!(change(&ours[0]), expected);
    if change(theirs).id.is_none() {
        assert_eq!(parts(&ours[0]), parts(theirs));
    }
}

/// The newest snapshot has the dump that we would write: each path and its value, as the old
/// store of releases before 3.6 has other indexes.
fn check_dump(release: &Release, data: &Path, cluster: &Cluster) {
    let snapshot = Snapshotter::new(Arc::new(OsFs), &data.join("member/snap")).load().unwrap();
    let theirs: Value = serde_json::from_slice(snapshot.data()).unwrap();
    let ours: Value = serde_json::from_str(&member::v2_store_json(cluster)).unwrap();
    let mut leaves = [BTreeMap::new(), BTreeMap::new()];
    walk(&ours["Root"], &mut leaves[0]);
    walk(&theirs["Root"], &mut leaves[1]);
    if !release.stamps() {
        // 3.5.1 does not bring what a member says of itself into its database.
        leaves[1].retain(|path, _| !path.ends_with("/attributes"));
    }
    assert_eq!(leaves[0], leaves[1], "{}", release.version);
    assert_eq!(ours["CurrentVersion"], theirs["CurrentVersion"]);
}

fn walk(node: &Value, leaves: &mut BTreeMap<String, String>) {
    let text = |name: &str| node[name].as_str().unwrap().to_owned();
    let children = node["Children"].as_object();
    if children.is_none_or(serde_json::Map::is_empty) {
        leaves.insert(text("Path"), text("Value"));
    }
    for child in children.into_iter().flat_map(serde_json::Map::values) {
        walk(child, leaves);
    }
}

/// Applies the log from its beginning, and compares the buckets.
fn check_applied(log: &Log, database: &Database) -> usize {
    let mut store = empty_store();
    let mut cluster = Cluster::default();
    let mut lessor = Lessor::default();
    let mut applied = 0;
    for entry in log.entries.range(..=log.commit).map(|(_, entry)| entry) {
        if entry.data().is_empty() {
            continue;
        }
        applied += 1;
        if entry.r#type() == EntryType::EntryConfChange {
            let change = ConfChange::decode(entry.data()).unwrap();
            match cluster.validate(&change, MAX_LEARNERS) {
                Ok(valid) => cluster.apply(&mut store, valid),
                Err(error) => assert!(matches!(error, Error::Rejected(_)), "{error}"),
            }
        } else {
            let request = InternalRaftRequest::decode(entry.data()).unwrap();
            apply(request, &mut store, &mut cluster, &mut lessor);
        }
    }
    for bucket in BUCKETS {
        let ours: Items = store.buckets().bucket(bucket).iter().map(owned).collect();
        assert_eq!(&ours, database.bucket(bucket.name()), "bucket {}", bucket.name());
    }
    applied
}

fn owned((key, value): (&Bytes, &Bytes)) -> (Vec<u8>, Vec<u8>) {
    (key.to_vec(), value.to_vec())
}

fn apply(
    request: InternalRaftRequest,
    store: &mut Store,
    cluster: &mut Cluster,
    lessor: &mut Lessor,
) {
    if let Some(set) = request.cluster_member_attr_set {
        let attributes = set.member_attributes.unwrap_or_default();
        let (name, urls) = (attributes.name, attributes.client_urls);
        assert_eq!(cluster.set_attributes(store, set.member_id, name, urls), Ok(true));
    } else if let Some(set) = request.cluster_version_set {
        cluster.set_version(store, Version::parse(&set.ver).unwrap()).unwrap();
    } else if let Some(set) = request.downgrade_info_set {
        let target = set.enabled.then(|| Version::parse(&set.ver).unwrap());
        cluster.set_downgrade(store, Downgrade { target });
    } else if let Some(grant) = request.lease_grant {
        let ttl = lessor.grant(store, grant.id, grant.ttl, min_ttl()).unwrap();
        assert!(ttl >= grant.ttl);
    } else if let Some(put) = request.put {
        lessor.put(&put.key, put.lease);
    } else if let Some(revoke) = request.lease_revoke {
        assert_eq!(lessor.revoke(store, revoke.id).unwrap(), ["b"]);
    } else {
        panic!("an entry that nothing here asked for: {request:?}");
    }
}
