//! Three real nodes: what is put on one is read on all, whoever is killed meanwhile.

mod common;

use common::{Cluster, until};
use std::collections::BTreeMap;

#[test]
fn a_put_on_one_node_is_read_on_all() {
    let cluster = Cluster::start(3);
    for id in 1..=3 {
        let key = format!("/from-{id}?with=query");
        cluster.put_taken(id, &key, "value");
        (1..=3).for_each(|reader| cluster.get_until(reader, &key, "value"));
    }
    cluster.put_taken(2, "/empty", "");
    (1..=3).for_each(|reader| cluster.get_until(reader, "/empty", ""));
}

#[test]
fn a_killed_node_catches_up() {
    let mut cluster = Cluster::start(3);
    cluster.put_taken(1, "/before", "1");
    cluster.get_until(3, "/before", "1");
    // Whoever leads: each node is killed once.
    for killed in 1..=3u64 {
        cluster.kill(killed);
        let other = killed % 3 + 1;
        for i in 0..100 {
            let key = format!("/while-{killed}-is-down-{i}");
            // Until a new leader is there, what is taken may still be dropped.
            until("a write is shown", || {
                cluster.put(other, &key, "x") == 204 && cluster.get(other, &key).is_some()
            });
        }
        cluster.run(killed, &[]);
        cluster.get_until(killed, &format!("/while-{killed}-is-down-99"), "x");
        cluster.get_until(killed, &format!("/while-{killed}-is-down-0"), "x");
        cluster.get_until(killed, "/before", "1");
    }
}

#[test]
fn all_killed_lose_nothing_that_was_shown() {
    let mut cluster = Cluster::start(3);
    let mut shown = BTreeMap::new();
    for round in 0..5 {
        for i in 0..200 {
            let (key, value) = (format!("/{round}-{i}"), format!("{}", round * 1000 + i));
            cluster.put_taken(i % 3 + 1, &key, &value);
        }
        // Once the first is shown, the others follow; the kill comes in the middle of that.
        cluster.get_until(1, &format!("/{round}-0"), &format!("{}", round * 1000));
        for i in 0..200 {
            let key = format!("/{round}-{i}");
            if let Some(value) = cluster.get(i % 3 + 1, &key) {
                shown.insert(key, value);
            }
        }
        (1..=3).for_each(|id| cluster.kill(id));
        (1..=3).for_each(|id| cluster.run(id, &[]));
        for (key, value) in &shown {
            (1..=3).for_each(|id| cluster.get_until(id, key, value));
        }
    }
    assert!(shown.len() > 100, "only {} values were shown", shown.len());
    testkit::figures::note(
        "raftexample-kills",
        format!("5 x 3 nodes killed, {} values shown, 0 lost", shown.len()),
    );
}

#[test]
fn bad_requests_change_nothing() {
    let cluster = Cluster::start(1);
    cluster.put_taken(1, "/key", "value");
    cluster.get_until(1, "/key", "value");
    assert_eq!(cluster.get(1, "/other"), None);
    let peer = b"http://127.0.0.1:1";
    for path in
        ["/", "/0", "/four", "/-2", "/+2", "/2/3", "/18446744073709551615", "/99999999999999999999"]
    {
        assert_eq!(cluster.post(1, path, peer), 400, "POST {path}");
        assert_eq!(cluster.delete(1, path), 400, "DELETE {path}");
    }
    for body in [
        &b""[..],
        b"127.0.0.1:1",
        b"http://",
        b"http://host",
        b"http://h:1/path",
        b"ftp://h:1",
        b"\xff\xfe",
    ] {
        assert_eq!(cluster.post(1, "/2", body), 400, "POST {body:?}");
    }
    // The only node cannot go.
    assert_eq!(cluster.delete(1, "/1"), 400);
    for method in ["PATCH", "HEAD", "OPTIONS", "TRACE", "BREW"] {
        let request = format!("{method} /key HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
        let answer = cluster.raw(1, &request).to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 405 "), "{method}: {answer}");
        for allowed in ["put", "get", "post", "delete"] {
            assert!(answer.contains(&format!("allow: {allowed}\r\n")), "{method}: {answer}");
        }
    }
    // A body that is announced and does not come.
    let torn = "PUT /key HTTP/1.1\r\nHost: h\r\nContent-Length: 17000000\r\n\r\n";
    assert!(cluster.raw(1, torn).starts_with("HTTP/1.1 400 "));
    let torn = "PUT /key HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n";
    assert!(cluster.raw(1, torn).starts_with("HTTP/1.1 400 "));
    assert!(cluster.raw(1, "nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
    // Nothing has changed, and the node still works.
    assert_eq!(cluster.get(1, "/key").as_deref(), Some("value"));
    cluster.put_taken(1, "/key", "new");
    cluster.get_until(1, "/key", "new");
}

#[test]
fn one_put_logs_its_whole_walk() {
    let cluster = Cluster::start(1);
    cluster.put_taken(1, "/walked-by-a-test", "value");
    cluster.get_until(1, "/walked-by-a-test", "value");
    let log = cluster.log(1);
    let from = log.find("/walked-by-a-test").expect("the request is logged");
    let mut rest = &log[log[..from].rfind('\n').map_or(0, |line| line + 1)..];
    for step in [
        "handler: request",
        "propose: into",
        "raft: proposing",
        " ready ",
        "wal: saved",
        "commit: to",
        "apply: into",
    ] {
        let at = rest.find(step).unwrap_or_else(|| panic!("no {step:?} in its turn in\n{log}"));
        rest = &rest[at..];
    }
}
