//! Leases and their keys, in memory and as stored.

use super::*;
use backend::{Opened, Options, open};
use proptest::prelude::*;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use vfs::MemFs;

fn opened() -> Opened {
    open(Arc::new(MemFs::new()), Path::new("/db"), Options::default()).unwrap()
}

fn load(store: &Store, keys: &[(&'static str, i64)]) -> (Lessor, Vec<(Bytes, i64)>) {
    let keys = keys.iter().map(|(key, id)| (Bytes::from_static(key.as_bytes()), *id));
    Lessor::load(store.buckets(), 2, keys).unwrap()
}

#[test]
fn a_grant_is_checked_in_etcds_order_and_stored_in_its_bytes() {
    let mut store = opened().store;
    let mut lessor = Lessor::default();
    assert_eq!(lessor.grant(&mut store, 0, MAX_TTL + 1, 2), Err(Error::NotFound));
    assert_eq!(lessor.grant(&mut store, 7, MAX_TTL + 1, 2), Err(Error::TtlTooLarge));
    assert_eq!(lessor.grant(&mut store, 7, MAX_TTL, 2), Ok(MAX_TTL));
    assert_eq!(lessor.grant(&mut store, 7, 5, 2), Err(Error::Exists));
    assert_eq!(lessor.grant(&mut store, 7, MAX_TTL + 1, 2), Err(Error::TtlTooLarge));
    assert_eq!(lessor.grant(&mut store, -1, i64::MIN, 2), Ok(2));
    assert_eq!(lessor.grant(&mut store, 8, 300, 2), Ok(300));
    let stored: Vec<_> = store.buckets().bucket(Bucket::Lease).iter().collect();
    // Negative ids come last: the key is the bit pattern.
    let keys: Vec<_> = stored.iter().map(|(key, _)| key.as_ref()).collect();
    assert_eq!(keys, [7i64.to_be_bytes(), 8i64.to_be_bytes(), [255; 8]]);
    assert_eq!(stored[1].1.as_ref(), b"\x08\x08\x10\xac\x02");
}

#[test]
fn keys_follow_their_last_put() {
    let mut store = opened().store;
    let mut lessor = Lessor::default();
    for id in [1, 2] {
        lessor.grant(&mut store, id, 10, 2).unwrap();
    }
    let keys = |lessor: &Lessor, id| -> Vec<String> {
        lessor.keys(id).unwrap().map(|key| String::from_utf8_lossy(key).into_owned()).collect()
    };
    lessor.put(b"b", 1);
    lessor.put(b"a", 1);
    lessor.put(b"c", 2);
    assert_eq!(
        (keys(&lessor, 1), keys(&lessor, 2)),
        (vec!["a".into(), "b".into()], vec!["c".into()])
    );
    lessor.put(b"a", 2);
    lessor.put(b"b", 0);
    lessor.put(b"c", 2);
    assert_eq!((keys(&lessor, 1), keys(&lessor, 2)), (vec![], vec!["a".into(), "c".into()]));
    lessor.delete(b"c");
    lessor.delete(b"never there");
    assert_eq!(keys(&lessor, 2), ["a"]);
    assert_eq!((lessor.lease_of(b"a"), lessor.lease_of(b"c")), (2, 0));
    assert!(lessor.keys(3).is_none());
}

#[test]
fn a_revocation_gives_the_keys_in_byte_order_and_takes_the_record() {
    let mut store = opened().store;
    let mut lessor = Lessor::default();
    lessor.grant(&mut store, 9, 10, 2).unwrap();
    for key in [&b"\xff"[..], b"a", b"", b"a\0", b"B"] {
        lessor.put(key, 9);
    }
    let keys = lessor.revoke(&mut store, 9).unwrap();
    assert_eq!(keys, [&b""[..], b"B", b"a", b"a\0", b"\xff"]);
    // The caller's deletions come back through `delete`, and find nothing.
    keys.iter().for_each(|key| lessor.delete(key));
    assert!(store.buckets().bucket(Bucket::Lease).is_empty());
    assert_eq!(lessor.revoke(&mut store, 9), Err(Error::NotFound));
}

#[test]
fn a_checkpoint_is_kept_and_stored_only_if_told() {
    let mut store = opened().store;
    let mut lessor = Lessor::default();
    lessor.grant(&mut store, 1, 1000, 2).unwrap();
    lessor.checkpoint(&mut store, 1, 700, false);
    lessor.checkpoint(&mut store, 2, 700, true);
    assert_eq!(lessor.get(1), Some(Lease { id: 1, ttl: 1000, remaining_ttl: 700 }));
    assert_eq!(load(&store, &[]).0.get(1).unwrap().remaining_ttl, 0);
    lessor.checkpoint(&mut store, 1, 600, true);
    assert_eq!(load(&store, &[]).0.get(1).unwrap().remaining_ttl, 600);
    assert_eq!(lessor.list().count(), 1);
}

#[test]
fn what_was_stored_is_loaded_and_what_is_wrong_is_said() {
    let mut store = opened().store;
    let mut lessor = Lessor::default();
    lessor.grant(&mut store, 5, 1, 1).unwrap();
    let (loaded, orphans) = load(&store, &[("z", 5), ("y", 5), ("lost", 6)]);
    assert_eq!(loaded.get(5).unwrap().ttl, 2, "raised to the least");
    assert_eq!(loaded.keys(5).unwrap().collect::<Vec<_>>(), ["y", "z"]);
    assert_eq!(orphans, [(Bytes::from_static(b"lost"), 6)]);
    for (key, value) in [(5i64.to_be_bytes(), &b"\xff"[..]), (6i64.to_be_bytes(), b"\x08\x05")] {
        let mut store = opened().store;
        store.set(Bucket::Lease, &key, value);
        let error = Lessor::load(store.buckets(), 2, []).unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
    }
}

#[test]
fn the_least_time_to_live_is_one_and_a_half_elections() {
    let tick = Duration::from_millis(100);
    assert_eq!(min_ttl(10, tick), 2);
    assert_eq!(min_ttl(50, Duration::from_millis(100)), 8);
    assert_eq!(min_ttl(11, Duration::from_secs(1)), 16);
    assert_eq!(min_ttl(2, Duration::from_millis(1000)), 3);
}

#[derive(Clone, Debug)]
enum Op {
    Grant(i64, i64),
    Revoke(i64),
    Put(u8, i64),
    Delete(u8),
    Checkpoint(i64, i64),
}

fn op() -> impl Strategy<Value = Op> {
    let id = -2i64..4;
    prop_oneof![
        (id.clone(), -5i64..100).prop_map(|(id, ttl)| Op::Grant(id, ttl)),
        id.clone().prop_map(Op::Revoke),
        (0u8..8, id.clone()).prop_map(|(key, id)| Op::Put(key, id)),
        (0u8..8).prop_map(Op::Delete),
        (id, 0i64..50).prop_map(|(id, left)| Op::Checkpoint(id, left)),
    ]
}

proptest! {
    /// Whatever is applied, the lessor that is loaded from the store and the keys is the one in
    /// memory, and both sides of an attachment agree.
    #[test]
    fn a_loaded_lessor_is_the_one_that_was_left(ops in prop::collection::vec(op(), 0..60)) {
        let mut store = opened().store;
        let mut lessor = Lessor::default();
        let mut keys: BTreeMap<u8, i64> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Grant(id, ttl) => _ = lessor.grant(&mut store, id, ttl, 2),
                Op::Revoke(id) => {
                    for key in lessor.revoke(&mut store, id).unwrap_or_default() {
                        prop_assert_eq!(keys.remove(&key[0]), Some(id));
                    }
                }
                Op::Put(key, id) if id == 0 || lessor.contains(id) => {
                    lessor.put(&[key], id);
                    keys.insert(key, id);
                }
                Op::Put(..) => {}
                Op::Delete(key) => {
                    lessor.delete(&[key]);
                    keys.remove(&key);
                }
                Op::Checkpoint(id, left) => lessor.checkpoint(&mut store, id, left, true),
            }
        }
        let attached = keys.iter().filter(|(_, id)| **id != 0);
        let attached = attached.map(|(key, id)| (Bytes::copy_from_slice(&[*key]), *id));
        let (loaded, orphans) = Lessor::load(store.buckets(), 2, attached).unwrap();
        prop_assert!(orphans.is_empty());
        prop_assert!(loaded.list().eq(lessor.list()));
        for lease in lessor.list() {
            prop_assert!(loaded.keys(lease.id).unwrap().eq(lessor.keys(lease.id).unwrap()));
            for key in lessor.keys(lease.id).unwrap() {
                prop_assert_eq!(lessor.lease_of(key), lease.id);
            }
        }
    }
}
