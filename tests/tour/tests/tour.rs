//! Clients walk the tour on the server under test and on the real etcd, and must see the same.

use process::{Options, Program, Server, subject};
use quorate_tour::{Stop, mask, stops, walk};
use std::path::{Path, PathBuf};
use testkit::figures;

const TOUR: &str = include_str!("../tour.txt");

/// What a client sees, stop by stop, with what differs from run to run masked.
fn seen(client: &Path, program: &Program, stops: &[Stop]) -> Vec<String> {
    let server = Server::start(program, Options::default());
    let told = walk(client, &server, stops);
    told.iter().map(|(stop, printed)| format!("{stop:?}\n{}", mask(printed, &server))).collect()
}

/// A client of a release, where `cargo xtask peers` could get it.
fn client(release: &str, name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let peers = root.expect("this crate lies two folders deep").join("target/peers");
    Some(peers.join(release).join(name)).filter(|path| path.exists())
}

#[track_caller]
fn check(release: &str, name: &str, stops: &[Stop]) -> Vec<String> {
    let figure = format!("tour-{release}");
    let Some(client) = client(release, name) else {
        figures::note(&figure, format!("left out: no {name} of {release} here"));
        return Vec::new();
    };
    let (subject, judge) = (subject(), Program::newest_etcd());
    let (expected, found) = (seen(&client, &judge, stops), seen(&client, &subject, stops));
    assert_eq!(expected.len(), found.len());
    for (expected, found) in expected.iter().zip(&found) {
        assert_eq!(expected, found, "{name} of {release} sees another thing on {}", subject.name);
    }
    let lines: usize = expected.iter().map(|seen| seen.lines().count()).sum();
    figures::note(&figure, format!("{lines} lines seen on {} as on {}", subject.name, judge.name));
    if std::env::var_os("QUORATE_TOUR_SHOW").is_some() {
        println!("{}", expected.join("\n"));
    }
    expected
}

#[test]
fn etcdctl_3_4_23() {
    check("etcd-3.4.23", "etcdctl", &stops(TOUR));
}

#[test]
fn etcdctl_3_5_1() {
    check("etcd-3.5.1", "etcdctl", &stops(TOUR));
}

#[test]
fn etcdctl_3_7_1() {
    check("etcd-3.7.1", "etcdctl", &stops(TOUR));
}

/// It has the tour's stops in itself.
#[test]
fn rust_client() {
    let seen = check("etcd-client", "walk", &[Stop::Run(Vec::new(), String::new())]);
    assert!(seen.iter().all(|seen| !seen.contains("status: ")), "it gave up: {seen:?}");
}
