//! Real nodes that come and go.

mod common;

use common::{Cluster, until};
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn a_fourth_node_joins_and_the_third_leaves() {
    let mut cluster = Cluster::start(3);
    cluster.put_taken(1, "/before", "1");
    cluster.get_until(2, "/before", "1");
    join_fourth(&mut cluster);
    cluster.get_until(4, "/before", "1");
    cluster.put_taken(4, "/from-4", "4");
    (1..=4).for_each(|id| cluster.get_until(id, "/from-4", "4"));

    assert_eq!(cluster.delete(1, "/3"), 204);
    let status = cluster.wait_exit(3);
    assert!(status.success(), "node 3 ended with {status}");
    for id in [1, 2, 4] {
        let key = format!("/after-{id}");
        until("a write is shown", || {
            cluster.put(id, &key, "x") == 204 && cluster.get(id, &key).is_some()
        });
        [1, 2, 4].into_iter().for_each(|reader| cluster.get_until(reader, &key, "x"));
    }
    // Restarted, they still know that 4 is a member and 3 is not.
    for id in [1, 2, 4] {
        cluster.kill(id);
    }
    for id in [1, 2, 4] {
        cluster.run(id, &[]);
    }
    cluster.get_until(1, "/after-4", "x");
    cluster.get_until(4, "/before", "1");
    until("a write is shown", || {
        cluster.put(4, "/late", "x") == 204 && cluster.get(1, "/late").is_some()
    });
}

#[test]
fn a_fourth_node_is_sent_a_snapshot_first() {
    // Twice the entries between snapshots, so that the first are compacted.
    const PUTS: u64 = 21_000;
    let mut cluster = Cluster::start(3);
    cluster.put_taken(1, "/first", "1");
    cluster.get_until(1, "/first", "1");
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while let i @ ..PUTS = next.fetch_add(1, Ordering::Relaxed) {
                    cluster.put_taken(i % 3 + 1, &format!("/key-{}", i % 500), &i.to_string());
                }
            });
        }
    });
    until("the log is compacted", || {
        (1..=3).all(|id| cluster.log(id).matches("compacted the log").count() >= 2)
    });
    join_fourth(&mut cluster);
    cluster.get_until(4, "/first", "1");
    assert!(cluster.log(4).contains("publishing a received snapshot"));
    let snaps = std::fs::read_dir(cluster.folder().join("raftexample-4-snap")).expect("a folder");
    assert!(snaps.flatten().any(|file| file.path().extension().is_some_and(|e| e == "snap")));
    cluster.put_taken(4, "/last", "4");
    (1..=4).for_each(|id| cluster.get_until(id, "/last", "4"));
    // The snapshot and what came after it survive.
    cluster.kill(4);
    cluster.run(4, &[]);
    cluster.get_until(4, "/first", "1");
    cluster.get_until(4, "/last", "4");
    for key in (0..500).map(|i| format!("/key-{i}")) {
        let value = cluster.get(1, &key).expect("it was put");
        cluster.get_until(4, &key, &value);
    }
}

fn join_fourth(cluster: &mut Cluster) {
    let (id, url) = cluster.add_place();
    assert_eq!(id, 4);
    assert_eq!(cluster.post(1, "/4", url.as_bytes()), 204);
    cluster.run(4, &["--join"]);
}
