//! What a store says of itself, case by case.
#![allow(clippy::unwrap_used, reason = "a test may end with a panic")]

mod common;

use backend::KeyValue;
use bytes::Bytes;
use common::Member;
use quorate_mvcc::{Error, KeyHash, Progress, RangeQuery, Read, SortOrder, SortTarget, View};
use vfs::MemFs;

fn query(key: &'static str, range_end: &'static str) -> RangeQuery {
    RangeQuery {
        key: Bytes::from_static(key.as_bytes()),
        range_end: Bytes::from_static(range_end.as_bytes()),
        ..RangeQuery::default()
    }
}

fn keys(records: &[Bytes]) -> Vec<String> {
    let key = |record: &Bytes| KeyValue::parse(record).unwrap().key.to_vec();
    records.iter().map(|record| String::from_utf8(key(record)).unwrap()).collect()
}

fn hash(view: &View, revision: i64) -> KeyHash {
    view.hash_by_revision(revision).unwrap()
}

#[test]
fn hashes_are_etcds() {
    // Vectors of a real etcd 3.7.1.
    let mut member = Member::open(&MemFs::new());
    assert_eq!((member.mvcc.revision(), member.mvcc.compact_revision()), (1, -1));
    member.put("foo", "bar");
    let expected = KeyHash { hash: 3_305_255_506, compact_revision: -1, hash_revision: 2 };
    assert_eq!(hash(&member.views.latest(), 0), expected);
    member.delete("foo");
    let deleted = KeyHash { hash: 2_489_925_301, compact_revision: -1, hash_revision: 3 };
    assert_eq!(hash(&member.views.latest(), 0), deleted);
    assert_eq!(hash(&member.views.latest(), 2), expected);
    assert!(matches!(member.views.latest().hash_by_revision(4), Err(Error::FutureRev)));
}

#[test]
fn a_compaction_makes_the_hash_that_was_there_before() {
    let fs = MemFs::new();
    let mut member = Member::open(&fs);
    for round in 0..20 {
        for key in ["a", "b", "c", "d"] {
            member.put(key, &format!("{round}"));
        }
        member.delete(["a", "b", "c", "d"][round % 4]);
    }
    let mut compact_revision = -1;
    for revision in [17, 40, 83] {
        let before = hash(&member.views.latest(), revision);
        assert_eq!(before.compact_revision, compact_revision);
        let newest = hash(&member.views.latest(), 0).hash;
        member.compact(revision).unwrap();
        let done = member.finish_compaction();
        assert_eq!(done, Some(Progress::Finished { revision, hash: Some(before) }));
        assert_eq!(hash(&member.views.latest(), revision), before, "the stored one");
        let after = hash(&member.views.latest(), 0);
        assert!(after.compact_revision == revision && after.hash != newest);
        member.shrink();
        assert_eq!(hash(&member.views.latest(), 0), after, "dead records gone");
        compact_revision = revision;
    }
    assert_eq!(member.views.compaction_hashes().len(), 3);
    let newest = hash(&member.views.latest(), 0);
    drop(member);
    let member = Member::open(&fs);
    assert_eq!(hash(&member.views.latest(), 0), newest, "after a restart");
    assert_eq!(member.mvcc.compact_revision(), 83);
}

#[test]
fn compactions_refuse_what_etcd_refuses() {
    let mut member = Member::open(&MemFs::new());
    member.put("k", "1");
    member.put("k", "2");
    member.put("k", "3");
    assert!(matches!(member.compact(5), Err(Error::FutureRev)));
    member.compact(3).unwrap();
    assert!(matches!(member.compact(3), Err(Error::Compacted)));
    let view = member.views.latest();
    let at = |revision| RangeQuery { revision, ..query("k", "") };
    assert!(matches!(view.range(&at(2)), Err(Error::Compacted)));
    assert!(matches!(view.range(&at(5)), Err(Error::FutureRev)));
    assert_eq!(view.range(&at(3)).unwrap().revision, 4);
    assert_eq!(view.range(&at(-1)).unwrap(), view.range(&at(0)).unwrap());
    assert!(matches!(view.hash_by_revision(2), Err(Error::Compacted)));
    assert_eq!(hash(&view, 3).hash_revision, 3);
}

#[test]
fn transactions_see_their_own_writes() {
    let mut member = Member::open(&MemFs::new());
    member.put("a", "0");
    let before = member.views.latest();
    let mut txn = member.mvcc.begin(&mut member.store);
    assert_eq!(txn.revision(), 2);
    txn.put(Bytes::from_static(b"b"), b"1", 7);
    assert_eq!(txn.revision(), 3);
    let found = txn.range(&query("a", "\0")).unwrap();
    assert_eq!((keys(&found.records), found.revision), (vec!["a".into(), "b".into()], 3));
    assert_eq!(txn.delete_range(b"a", b"\0"), 2);
    assert_eq!(txn.delete_range(b"a", b"\0"), 0);
    assert_eq!(txn.range(&query("a", "\0")).unwrap().count, 0);
    txn.put(Bytes::from_static(b"a"), b"2", 0);
    let record = txn.get(b"a").unwrap().unwrap();
    let record = KeyValue::parse(&record).unwrap();
    assert_eq!((record.create_revision, record.version, record.value), (3, 1, &b"2"[..]));
    let changes = txn.end().unwrap();
    member.commit();
    assert_eq!(changes.revision, 3);
    let subs: Vec<_> = changes.list.iter().map(|change| change.revision.sub).collect();
    assert_eq!(subs, [0, 1, 2, 3]);
    let seen: Vec<_> = changes
        .list
        .iter()
        .map(|change| (&*change.key, change.tombstone, change.lease, change.previous.is_some()))
        .collect();
    let expected = [
        (&b"b"[..], false, 7, false),
        (b"a", true, 0, true),
        (b"b", true, 0, false),
        (b"a", false, 0, true),
    ];
    assert_eq!(seen, expected);
    let deletion = KeyValue::parse(&changes.list[1].record).unwrap();
    assert_eq!((deletion.key, deletion.mod_revision, deletion.version), (&b"a"[..], 3, 0));
    let previous = before.gather(&[changes.list[1].previous.unwrap()]).unwrap();
    assert_eq!(KeyValue::parse(&previous[0]).unwrap().value, b"0");
    assert_eq!(before.revision(), 2);
    assert!(member.mvcc.begin(&mut member.store).end().is_none());
    assert_eq!(member.mvcc.revision(), 3);
}

#[test]
fn ranges_have_etcds_warts() {
    let mut member = Member::open(&MemFs::new());
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "2"), ("d", "0")] {
        let mut txn = member.mvcc.begin(&mut member.store);
        txn.put(Bytes::from_static(key.as_bytes()), value.as_bytes(), 5);
        assert!(txn.end().is_some());
        member.commit();
    }
    let view = member.views.latest();
    let all = query("a", "\0");
    let by_value = RangeQuery { sort_target: SortTarget::Value, ..all.clone() };
    assert_eq!(keys(&view.range(&by_value).unwrap().records), ["d", "b", "c", "a"]);
    // No order: the limit comes first, then the sort.
    let limited = RangeQuery { limit: 2, ..by_value.clone() };
    let found = view.range(&limited).unwrap();
    assert_eq!(
        (keys(&found.records), found.more, found.count),
        (vec!["b".into(), "c".into()], true, 4)
    );
    let descending = RangeQuery { sort_order: SortOrder::Descend, ..limited.clone() };
    assert_eq!(keys(&view.range(&descending).unwrap().records), ["a", "c"]);
    // Keys alone come from the index, without their leases, unless sorted by value.
    let lease = |query: &RangeQuery| {
        let found = view.range(query).unwrap();
        let record = KeyValue::parse(&found.records[0]).unwrap();
        assert_eq!(record.value, b"");
        record.lease
    };
    assert_eq!(lease(&RangeQuery { keys_only: true, ..all.clone() }), 0);
    assert_eq!(lease(&RangeQuery { keys_only: true, ..by_value }), 5);
    let filtered = RangeQuery { min_mod_revision: 3, max_mod_revision: 4, limit: 1, ..all.clone() };
    let found = view.range(&filtered).unwrap();
    assert_eq!((keys(&found.records), found.more, found.count), (vec!["b".into()], true, 4));
    let counted = view.range(&RangeQuery { count_only: true, limit: 1, ..all }).unwrap();
    assert_eq!((counted.count, counted.more, counted.records.len()), (4, false, 0));
    assert_eq!(view.range(&query("c", "b")).unwrap().count, 0);
    assert_eq!(view.range(&query("b", "d")).unwrap().count, 2);
}

#[test]
fn a_stream_gives_one_revision_in_growing_chunks() {
    let mut member = Member::open(&MemFs::new());
    for number in 0..200 {
        member.put(&format!("{number:03}"), "value");
    }
    let stream = |limit, target| {
        let view = member.views.latest();
        view.stream(RangeQuery { limit, ..query("0", "\0") }, target)
    };
    let mut all = stream(0, 10_000);
    member.put("later", "");
    let (mut chunks, mut found, mut end) = (Vec::new(), Vec::new(), None);
    while let Some(chunk) = all.next_chunk().unwrap() {
        assert!(end.is_none());
        chunks.push(chunk.records.len());
        found.extend(keys(&chunk.records));
        end = chunk.end;
    }
    let end = end.unwrap();
    assert_eq!((end.count, end.more, end.revision), (200, false, 201));
    assert_eq!(chunks, [10, 20, 40, 80, 50]);
    assert!(
        found.iter().map(String::as_str).eq((0..200)
            .map(|n| format!("{n:03}"))
            .collect::<Vec<_>>()
            .iter()
            .map(String::as_str))
    );
}

/// How many revisions the files hold, dead ones that were not dropped among them.
fn revisions_on_disk(fs: &MemFs) -> usize {
    let fs = std::sync::Arc::new(fs.clone());
    let opened = backend::open(fs, std::path::Path::new(common::DIR), common::OPTIONS).unwrap();
    opened.restored.count()
}

#[test]
fn a_deleted_key_stays_deleted_though_an_older_file_has_it() {
    let fs = MemFs::new();
    let mut member = Member::open(&fs);
    member.put("gone", "1");
    for number in 0..100 {
        member.put(&format!("stays-{number}"), &"v".repeat(60));
    }
    member.delete("gone");
    for number in 0..200 {
        member.put("often", &format!("{number:060}"));
    }
    let revision = member.mvcc.revision();
    member.compact(revision).unwrap();
    member.finish_compaction();
    assert!(member.shrink() > 0, "the files with the deletion and what followed are rewritten");
    let before = hash(&member.views.latest(), 0);
    drop(member);
    let member = Member::open(&fs);
    let view = member.views.latest();
    assert_eq!(view.get(b"gone").unwrap(), None);
    assert_eq!(view.range(&query("a", "\0")).unwrap().count, 101);
    assert_eq!(hash(&view, 0), before);
}

#[test]
fn deletions_do_not_pile_up() {
    let fs = MemFs::new();
    let mut member = Member::open(&fs);
    for number in 0..100 {
        member.put(&format!("stays-{number}"), &"v".repeat(60));
    }
    let mut rewrites = 0;
    for round in 0..40 {
        for number in 0..50 {
            let key = format!("{round}-{number}");
            member.put(&key, "comes and goes");
            member.delete(&key);
        }
        // Something dies in the oldest files too, less than is worth a rewrite.
        member.put(&format!("stays-{round}"), "new");
        let revision = member.mvcc.revision();
        member.compact(revision).unwrap();
        member.finish_compaction();
        rewrites += member.shrink();
    }
    assert!(rewrites < 400, "{rewrites}");
    drop(member);
    let count = revisions_on_disk(&fs);
    assert!((100..500).contains(&count), "{count} revisions for 100 keys after 4,000 changes");
    let member = Member::open(&fs);
    assert_eq!(member.views.latest().range(&query("a", "\0")).unwrap().count, 100);
}

#[test]
fn another_store_takes_the_place_of_one_and_views_follow() {
    let (old, new) = (MemFs::new(), MemFs::new());
    let mut member = Member::open(&old);
    member.put("old", "1");
    let before = member.views.latest();
    let mut peer = Member::open(&new);
    for value in ["1", "2", "3"] {
        let mut txn = peer.mvcc.begin(&mut peer.store);
        txn.put(Bytes::from_static(b"new"), value.as_bytes(), 9);
        assert!(txn.end().is_some());
        peer.commit();
    }
    peer.compact(3).unwrap();
    peer.finish_compaction();
    peer.shrink();
    drop(peer);
    let fs = std::sync::Arc::new(new.clone());
    let dir = std::path::Path::new(common::DIR);
    let opened = backend::open(fs, dir, common::OPTIONS).unwrap();
    let buckets = opened.store.buckets();
    let leases = member.mvcc.replace(opened.restored, opened.reader, buckets).unwrap();
    assert_eq!(leases, [(Bytes::from_static(b"new"), 9)]);
    let after = member.views.latest();
    assert_eq!((after.revision(), after.compact_revision()), (4, 3));
    assert_eq!(keys(&after.range(&query("a", "\0")).unwrap().records), ["new"]);
    assert_eq!(keys(&before.range(&query("a", "\0")).unwrap().records), ["old"]);
}

#[test]
fn a_start_without_sense_is_refused() {
    let fs = MemFs::new();
    let mut member = Member::open(&fs);
    member.store.set(backend::Bucket::Meta, b"scheduledCompactRev", b"seventeen or not");
    member.commit();
    member.shrink();
    drop(member);
    let fs = std::sync::Arc::new(fs);
    let dir = std::path::Path::new(common::DIR);
    let opened = backend::open(fs, dir, common::OPTIONS).unwrap();
    let refused = quorate_mvcc::restore(opened.restored, opened.reader, opened.store.buckets());
    assert!(matches!(refused, Err(Error::BadMeta { key: "scheduledCompactRev" })));
}

#[test]
fn a_limited_stream_counts_what_it_leaves_out() {
    let mut member = Member::open(&MemFs::new());
    for number in 0..100 {
        member.put(&format!("{number:03}"), "value");
    }
    let ends =
        [(0, 100, false), (7, 100, true), (35, 100, true), (100, 100, false), (-1, 100, false)];
    for (limit, count, more) in ends {
        let view = member.views.latest();
        let mut stream = view.stream(RangeQuery { limit, ..query("0", "\0") }, 1000);
        let (mut sent, mut end) = (0, None);
        while let Some(chunk) = stream.next_chunk().unwrap() {
            sent += chunk.records.len();
            end = chunk.end;
        }
        let end = end.unwrap();
        assert_eq!((end.count, end.more, end.revision), (count, more, 101), "limit {limit}");
        assert_eq!(sent, usize::try_from(limit).ok().filter(|limit| *limit > 0).unwrap_or(100));
    }
    let counted = RangeQuery { count_only: true, ..query("0", "01") };
    let only = member.views.latest().stream(counted, 1000).next_chunk().unwrap().unwrap();
    assert_eq!((only.records.len(), only.end.unwrap().count), (0, 10));
    let future = RangeQuery { revision: 500, ..query("0", "\0") };
    let refused = member.views.latest().stream(future, 1000).next_chunk();
    assert!(matches!(refused, Err(Error::FutureRev)));
}
