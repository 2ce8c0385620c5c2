//! Ids and JSON beside those of a real etcd, and any member written and read.

use super::*;
use crate::{cluster_id, format_id};
use proptest::prelude::*;

fn urls(urls: &[&str]) -> Vec<String> {
    urls.iter().map(|url| (*url).to_owned()).collect()
}

#[test]
fn ids_are_those_of_etcd() {
    let member = Member::new("n", urls(&["http://127.0.0.1:23801"]), "etcd-cluster", None);
    assert_eq!(format_id(member.id), "bdae9bbc11dd390d");
    assert_eq!(format_id(cluster_id(&[member.id])), "d1cfaf999eb97a2a");
    assert_eq!(member.peer_urls, ["http://127.0.0.1:23801"]);
    assert!(member.is_started() && !Member::default().is_started());
}

#[test]
fn json_is_gos() {
    let mut member = Member { id: u64::MAX, ..Member::default() };
    assert_eq!(member.to_json(), r#"{"id":18446744073709551615,"peerURLs":null}"#);
    member.peer_urls = urls(&["http://a:1", "http://b:2"]);
    member.is_learner = true;
    member.name = "<a&b>".to_owned();
    member.client_urls = urls(&["http://c:3?x=1&y=2"]);
    let json = r#"{"id":18446744073709551615,"peerURLs":["http://a:1","http://b:2"],"isLearner":true,"name":"\u003ca\u0026b\u003e","clientURLs":["http://c:3?x=1\u0026y=2"]}"#;
    assert_eq!(member.to_json(), json);
    assert_eq!(Member::from_json(json.as_bytes()), Ok(member.clone()));
    let raft = r#"{"peerURLs":["http://a:1","http://b:2"],"isLearner":true}"#;
    assert_eq!(member.raft_attributes_json(), raft);
    let rest = r#"{"name":"\u003ca\u0026b\u003e","clientURLs":["http://c:3?x=1\u0026y=2"]}"#;
    assert_eq!(member.attributes_json(), rest);
    assert_eq!(Member::default().attributes_json(), "{}");
    assert_eq!(promote_context(7), r#"{"id":7,"peerURLs":null,"isPromote":true}"#);
    let both = format!("[{json},{}]\n", r#"{"id":1,"peerURLs":null}"#);
    let members = [member, Member { id: 1, ..Member::default() }];
    assert_eq!(members_json(&members), both);
    assert_eq!(parse_members(both.as_bytes()), Ok(members.to_vec()));
    assert_eq!(members_json([]), "null\n");
    assert_eq!(parse_members(b"null\n"), Ok(vec![]));
}

#[test]
fn what_go_reads_is_read() {
    let member = |json: &[u8]| Member::from_json(json).expect("readable");
    let one = Member { id: 1, name: "n".to_owned(), ..Member::default() };
    for json in [
        r#"{"id":1,"name":"n"}"#,
        r#" { "ID" : 1 , "nAME" : "n" , "more" : {"id":[2]} } "#,
        r#"{"id":1,"id":null,"name":"x","Name":"n","peerURLs":null,"isLearner":null}"#,
        r#"{"name":"n","id":1,"clientURLs":[]}"#,
    ] {
        assert_eq!(member(json.as_bytes()), one, "{json}");
    }
    assert_eq!(member(b"null"), Member::default());
    assert_eq!(member(b"{\"name\":\"\xff\"}").name, "\u{fffd}");
    assert_eq!(member(br#"{"peerURLs":[null,"u"]}"#).peer_urls, ["", "u"]);
    assert!(parse_context(br#"{"isPromote":true}"#).expect("readable").is_promote);
    for bad in [
        "",
        "{",
        "{}}",
        "[]",
        "1",
        r#"{"id":"1"}"#,
        r#"{"id":-1}"#,
        r#"{"id":1.0}"#,
        r#"{"id":18446744073709551616}"#,
        r#"{"isLearner":1}"#,
        r#"{"peerURLs":"u"}"#,
        r#"{"peerURLs":[1]}"#,
    ] {
        Member::from_json(bad.as_bytes()).expect_err(bad);
    }
}

#[test]
fn a_configuration_reads_as_etcd_stores_it() {
    let mut state =
        ConfState { voters: vec![1, u64::MAX], learners: vec![3], ..Default::default() };
    let json = r#"{"voters":[1,18446744073709551615],"learners":[3],"auto_leave":false}"#;
    assert_eq!(conf_state_json(&state), json);
    state = ConfState { auto_leave: Some(true), ..Default::default() };
    assert_eq!(conf_state_json(&state), r#"{"auto_leave":true}"#);
}

fn any_member() -> impl Strategy<Value = Member> {
    let list = || prop::collection::vec(any::<String>(), 0..3);
    (any::<u64>(), list(), any::<bool>(), any::<String>(), list()).prop_map(
        |(id, peer_urls, is_learner, name, client_urls)| Member {
            id,
            peer_urls,
            is_learner,
            name,
            client_urls,
        },
    )
}

proptest! {
    #[test]
    fn what_is_written_is_read(member in any_member(), is_promote in any::<bool>()) {
        let json = member.to_json();
        prop_assert_eq!(Member::from_json(json.as_bytes()), Ok(member.clone()));
        // Another reader of JSON sees the same.
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        prop_assert_eq!(value["id"].as_u64(), Some(member.id));
        prop_assert_eq!(value["name"].as_str().unwrap_or(""), &*member.name);
        let mut context = String::new();
        member.push_json(&mut context, if is_promote { ",\"isPromote\":true" } else { "" });
        prop_assert_eq!(parse_context(context.as_bytes()), Ok(Context { member, is_promote }));
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..50)) {
        let _ = parse_context(&bytes);
        let _ = parse_members(&bytes);
    }
}
