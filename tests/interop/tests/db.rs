//! Databases between us and the real etcd: it runs on a directory that is wholly ours, and we read
//! the one it leaves behind; the hash with which members compare their stores is the same on both
//! sides, always.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

use bolt::{PageBytes, Reader, write_image};
use interop::Member;
use interop::hash::{self, KvHash, hash_kv};
use interop::release::{Release, releases};
use interop::store::{BUCKETS, Database, History, Lease, Permission, Role};
use prost::Message;
use quorate_interop as interop;
use raftpb::wal::Metadata;
use raftpb::{ConfState, HardState, SnapshotMetadata};
use serde_json::{Value, json};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use vfs::{Fs, OsFs};
use wal::snap::Snapshotter;
use wal::{Options, Wal};

/// Where our directory begins: a member's id is any number, and so are index and term.
const MEMBER: u64 = 0x0294_3212_f5e2_cf73;
const CLUSTER: u64 = 0xad2a_8581_18c9_a1f3;
const INDEX: u64 = 12_345;
const TERM: u64 = 7;
const LEASE: i64 = 0x1234_5678_9abc;
const LEASE_TTL: i64 = 100_000;

/// Puts and deletes with every shape a record has: again, deleted, put once more, leased, large.
fn history() -> History {
    let mut history = History::default();
    for n in 0..500 {
        history.put(format!("key/{n:04}").as_bytes(), format!("value {n}").as_bytes(), 0);
    }
    for n in (0..500).step_by(3) {
        history.put(format!("key/{n:04}").as_bytes(), &[b'x'; 700], 0);
    }
    for n in (0..500).step_by(5) {
        history.delete(format!("key/{n:04}").as_bytes());
    }
    for n in (0..500).step_by(10) {
        history.put(format!("key/{n:04}").as_bytes(), b"once more", 0);
    }
    history.put(b"leased", b"for a day", LEASE);
    history.put(b"large", &vec![0x5a; 1_000_000], 0);
    history.put(b"\0\xff", b"", 0);
    history
}

fn database(release: &Release, history: &History) -> Database {
    let mut database = Database::empty();
    for (key, value) in history.records() {
        database.insert("key", key.as_slice(), value.as_slice());
    }
    let index = INDEX.to_be_bytes();
    database.insert("meta", "consistent_index", index);
    database.insert("meta", "term", TERM.to_be_bytes());
    let conf_state = format!(r#"{{"voters":[{MEMBER}],"auto_leave":false}}"#);
    database.insert("meta", "confState", conf_state);
    if release.stamps() {
        database.insert("meta", "storageVersion", release.cluster_version());
    }
    database.insert("cluster", "clusterVersion", release.cluster_version());
    let member = format!(
        r#"{{"id":{MEMBER},"peerURLs":["http://127.0.0.1:2380"],"name":"m","clientURLs":["http://127.0.0.1:2379"]}}"#
    );
    database.insert("members", format!("{MEMBER:x}"), member);
    database.insert("members_removed", format!("{:x}", MEMBER - 1), "removed");
    let lease = Lease { id: LEASE, ttl: LEASE_TTL, remaining_ttl: 0 };
    database.insert("lease", LEASE.to_be_bytes(), lease.encode_to_vec());
    database.insert("auth", "authEnabled", [0]);
    database.insert("auth", "authRevision", 1_u64.to_be_bytes());
    let read = Permission { kind: 0, key: b"key/".to_vec(), range_end: b"key0".to_vec() };
    let role = Role { name: b"reader".to_vec(), permissions: vec![read] };
    database.insert("authRoles", "reader", role.encode_to_vec());
    database
}

/// The tree in a snapshot file from which versions before 3.6 take the members.
fn members_tree(release: &Release) -> Value {
    let node = |path: &str, value: &str, children: Value| {
        json!({
            "Path": path, "CreatedIndex": 0, "ModifiedIndex": 0,
            "ExpireTime": "0001-01-01T00:00:00Z", "Value": value, "Children": children,
        })
    };
    let leaf = |path: &str, value: &str| node(path, value, Value::Null);
    let id = format!("{MEMBER:x}");
    let base = format!("/0/members/{id}");
    let raft = leaf(&format!("{base}/raftAttributes"), r#"{"peerURLs":["http://127.0.0.1:2380"]}"#);
    let attributes = r#"{"name":"m","clientURLs":["http://127.0.0.1:2379"]}"#;
    let attributes = leaf(&format!("{base}/attributes"), attributes);
    let member = node(&base, "", json!({ "raftAttributes": raft, "attributes": attributes }));
    let removed = format!("{:x}", MEMBER - 1);
    let gone = leaf(&format!("/0/removed_members/{removed}"), "");
    let cluster = json!({
        "members": node("/0/members", "", json!({ id: member })),
        "removed_members": node("/0/removed_members", "", json!({ removed: gone })),
        "version": leaf("/0/version", &release.cluster_version()),
    });
    let root = json!({ "0": node("/0", "", cluster), "1": node("/1", "", json!({})) });
    json!({ "Root": node("/", "", root), "CurrentIndex": 0, "CurrentVersion": 2 })
}

/// Writes log, snapshot file and database.
fn write_directory(release: &Release, data: &Path, history: &History) {
    let fs: Arc<dyn Fs> = Arc::new(OsFs);
    let snap_dir = data.join("member/snap");
    fs.create_dir_all(&snap_dir).unwrap();
    let mut db = File::create(snap_dir.join("db")).unwrap();
    let mut database = database(release, history);
    write_image(&mut database, PageBytes::default(), &mut db).unwrap();
    db.sync_all().unwrap();

    let conf_state =
        ConfState { voters: vec![MEMBER], auto_leave: Some(false), ..ConfState::default() };
    let metadata = SnapshotMetadata {
        conf_state: Some(conf_state.clone()),
        index: Some(INDEX),
        term: Some(TERM),
    };
    let tree = members_tree(release).to_string();
    let snapshot = raftpb::Snapshot { data: Some(tree.into()), metadata: Some(metadata) };
    Snapshotter::new(Arc::clone(&fs), &snap_dir).save_snap(&snapshot).unwrap();

    let ids = Metadata { node_id: Some(MEMBER), cluster_id: Some(CLUSTER) }.encode_to_vec();
    let wal_dir = data.join("member/wal");
    let mut wal = Wal::create(fs, &wal_dir, &ids, Options::default()).unwrap();
    let record = raftpb::wal::Snapshot {
        index: Some(INDEX),
        term: Some(TERM),
        conf_state: Some(conf_state),
    };
    wal.save_snapshot(&record).unwrap();
    let state = HardState { term: Some(TERM), vote: Some(0), commit: Some(INDEX) };
    wal.save(&state, &[]).unwrap();
    wal.close().unwrap();
}

#[test]
fn the_real_etcd_runs_on_a_directory_that_is_wholly_ours() {
    for release in releases() {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("m.etcd");
        let mut history = history();
        write_directory(&release, &data, &history);
        let ours =
            |history: &History, revision, compact| hash_kv(history.records(), revision, compact);

        let member = release.start(&data, &["--unsafe-no-fsync"]);
        check_state(&release, &member, &history);
        let mut hashes = 0;
        for revision in [0, 2, 300, 501, 600, 700, history.revision()] {
            let told = release.hash(&member, revision);
            assert_eq!(told, ours(&history, told.revision, -1), "{}", release.version);
            hashes += 1;
        }
        // It writes on top: in the middle, at the end, deleting what we wrote.
        for n in 0..300 {
            let (key, value) = (format!("key/{n:04}/more"), format!("more {n}"));
            member.put(key.as_bytes(), value.as_bytes());
            history.put(key.as_bytes(), value.as_bytes(), 0);
        }
        release.ctl(&member, &["del", "leased"]);
        history.delete(b"leased");
        assert_eq!(release.hash(&member, 0), ours(&history, history.revision(), -1));
        let index = member.raft_index();
        assert!(index > INDEX + 300, "{index}");
        member.stop();

        let left = Database::read(&data.join("member/snap/db")).unwrap();
        assert!(left.bucket("key") == history.records(), "its records are ours");
        let member = release.start(&data, &["--unsafe-no-fsync"]);
        assert_eq!(release.hash(&member, 0), ours(&history, history.revision(), -1));
        assert_eq!(member.key_count(), left.live().len() as u64);
        // A compaction deletes from, and so rebalances, the pages that we packed.
        let compact = 700;
        release.ctl(&member, &["compact", &compact.to_string(), "--physical"]);
        assert_eq!(release.hash(&member, 0), ours(&history, history.revision(), compact));
        member.stop();
        let compacted = Database::read(&data.join("member/snap/db")).unwrap();
        assert!(compacted.bucket("key").len() < left.bucket("key").len());
        let member = release.start(&data, &["--unsafe-no-fsync"]);
        assert_eq!(release.hash(&member, 0), ours(&history, history.revision(), compact));
        testkit::figures::note(
            &format!("interop-directory-{}", release.version),
            format!(
                "{} records at the end, log and snapshot file: boots, {} hashes equal, takes \
                 301 writes, restarts, compacts to {}, restarts",
                history.records().len(),
                hashes + 4,
                compacted.bucket("key").len()
            ),
        );
    }
}

/// What the member tells beside its keys: lease, role, members.
fn check_state(release: &Release, member: &Member, history: &History) {
    let mut database = Database::empty();
    history.records().iter().for_each(|(key, value)| {
        database.insert("key", key.as_slice(), value.as_slice());
    });
    assert_eq!(member.key_count(), database.live().len() as u64);
    let lease = release.ctl(member, &["lease", "timetolive", &format!("{LEASE:x}"), "--keys"]);
    assert_eq!(lease["granted-ttl"].as_i64(), Some(LEASE_TTL), "{lease}");
    assert_eq!(lease["keys"].as_array().map(Vec::len), Some(1), "{lease}");
    let roles = release.ctl(member, &["role", "list"]);
    assert_eq!(roles["roles"], json!(["reader"]), "{roles}");
    let auth = release.ctl(member, &["auth", "status"]);
    assert_eq!(auth["authRevision"].as_u64(), Some(1), "{auth}");
    let members = release.ctl(member, &["member", "list"]);
    assert_eq!(members["header"]["cluster_id"].as_u64(), Some(CLUSTER), "{members}");
    assert_eq!(members["members"][0]["ID"].as_u64(), Some(MEMBER), "{members}");
}

#[test]
fn what_a_real_member_leaves_behind_is_read_whole() {
    for release in releases() {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("m.etcd");
        let member = release.start(&data, &["--unsafe-no-fsync"]);
        let key = |n: u64| format!("key/{n:05}").into_bytes();
        for n in 0..3000 {
            member.put(&key(n), format!("value {n}").repeat(1 + (n % 40) as usize).as_bytes());
        }
        member.put(b"large", &vec![b'l'; 1_200_000]);
        for n in (0..3000).step_by(4) {
            member.put(&key(n), b"again");
        }
        // One deletion of a thousand keys is one revision with a thousand parts.
        release.ctl(&member, &["del", "key/01", "key/02"]);
        let lease = release.ctl(&member, &["lease", "grant", "5000"]);
        let lease = format!("{:x}", lease["ID"].as_u64().unwrap());
        release.ctl(&member, &["put", "leased", "value", &format!("--lease={lease}")]);
        let path = data.join("member/snap/db");
        let before = (release.hash(&member, 0), release.hash(&member, 3500));
        let count = member.key_count();
        member.stop();
        let database = Database::read(&path).unwrap();
        check_left(&database, count, &before.0);
        let records = database.bucket("key");
        assert_eq!(hash_kv(records, 3500, -1), before.1, "an older revision");
        assert_eq!(database.bucket("lease").len(), 1);

        // Once more, compacted at the very revision of the deletion, which versions keep or delete
        // differently; with deletions above, and free pages in the file.
        let member = release.start(&data, &["--unsafe-no-fsync"]);
        let compact = database.revision() - 1;
        release.ctl(&member, &["compact", &compact.to_string(), "--physical"]);
        release.ctl(&member, &["del", "key/00", "key/01"]);
        (3000..3200).for_each(|n| member.put(&key(n), b"after the compaction"));
        let after = release.hash(&member, 0);
        let count = member.key_count();
        member.stop();
        let compacted = Database::read(&path).unwrap();
        assert_eq!(compacted.compact_revision(), compact);
        assert!(compacted.bucket("key").len() < records.len());
        check_left(&compacted, count, &after);
        let copied = copy(&path);
        testkit::figures::note(
            &format!("interop-left-{}", release.version),
            format!(
                "{} records, then {} after a compaction: read whole, hashes equal; {} bytes \
                 rewritten as {copied}, accepted",
                records.len(),
                compacted.bucket("key").len(),
                std::fs::metadata(&path).unwrap().len()
            ),
        );
        let copy = path.with_extension("copy");
        let told = release.utl(&["snapshot", "status", copy.to_str().unwrap()]);
        let ours = hash::status(&Reader::open(File::open(&copy).unwrap()).unwrap()).unwrap();
        assert_eq!(told["hash"].as_u64(), Some(ours.hash.into()), "{told}");
        std::fs::copy(&copy, &path).unwrap();
        let member = release.start(&data, &["--unsafe-no-fsync"]);
        assert_eq!(release.hash(&member, 0), after, "it runs on the copy");
    }
}

/// Buckets, count of keys and hash are those the member told.
fn check_left(database: &Database, count: u64, told: &KvHash) {
    let names: Vec<_> = database.0.keys().map(|name| str::from_utf8(name).unwrap()).collect();
    assert_eq!(names, BUCKETS);
    assert_eq!(database.live().len() as u64, count);
    assert_eq!(database.revision(), told.revision);
    let ours = hash_kv(database.bucket("key"), told.revision, database.compact_revision());
    assert_eq!(ours, *told);
}

/// Writes a file anew beside it, without its free pages; gives the new length.
fn copy(path: &Path) -> u64 {
    let mut reader = Reader::open(File::open(path).unwrap()).unwrap();
    let mut file = File::create(path.with_extension("copy")).unwrap();
    let layout = write_image(&mut reader, PageBytes::default(), &mut file).unwrap();
    assert!(layout.file_bytes() <= reader.used_bytes());
    layout.file_bytes()
}
