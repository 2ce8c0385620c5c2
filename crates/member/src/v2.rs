//! The members in the form of etcd's second store, which snapshots carry for members of 3.6 and
//! older (etcd-formats 4.3). Nothing here reads it.

use crate::cluster::Cluster;
use crate::json::encode;
use serde::Serialize;
use serde_json::{Map, Value, json};

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    path: String,
    created_index: u64,
    modified_index: u64,
    expire_time: &'static str,
    value: String,
    children: Option<Map<String, Value>>,
}

impl Node {
    fn new(path: &str, value: String, children: Option<Map<String, Value>>) -> Value {
        let node = Self {
            path: path.to_owned(),
            created_index: 0,
            modified_index: 0,
            expire_time: "0001-01-01T00:00:00Z",
            value,
            children,
        };
        serde_json::to_value(node).expect("plain data encodes")
    }
}

/// A directory with children by their last name.
fn dir(path: &str, children: impl IntoIterator<Item = (String, Value)>) -> Value {
    Node::new(path, String::new(), Some(children.into_iter().collect()))
}

pub(crate) fn snapshot(cluster: &Cluster) -> String {
    let members = cluster.members().map(|member| {
        let id = peer::identity::format_id(member.id);
        let path = format!("/0/members/{id}");
        let mut raft = json!({ "peerURLs": member.peer_urls });
        if member.is_learner {
            raft["isLearner"] = Value::Bool(true);
        }
        let mut attributes = Map::new();
        if !member.name.is_empty() {
            attributes.insert("name".to_owned(), json!(member.name));
        }
        if !member.client_urls.is_empty() {
            attributes.insert("clientURLs".to_owned(), json!(member.client_urls));
        }
        let leaf = |name: &str, value: &Value| {
            (name.to_owned(), Node::new(&format!("{path}/{name}"), encode(value), None))
        };
        let children =
            [leaf("attributes", &Value::Object(attributes)), leaf("raftAttributes", &raft)];
        (id.clone(), dir(&path, children))
    });
    let removed = cluster.removed().map(|id| {
        let id = peer::identity::format_id(id);
        let path = format!("/0/removed_members/{id}");
        (id, Node::new(&path, String::new(), None))
    });
    let mut zero = vec![
        ("members".to_owned(), dir("/0/members", members)),
        ("removed_members".to_owned(), dir("/0/removed_members", removed)),
    ];
    if let Some(version) = cluster.version() {
        zero.push(("version".to_owned(), Node::new("/0/version", version.to_string(), None)));
    }
    let root = dir(
        "/",
        [("0".to_owned(), dir("/0", zero)), ("1".to_owned(), dir("/1", [])) ],
    );
    encode(&json!({
        "Root": root,
        "WatcherHub": {"EventHistory": null},
        "CurrentIndex": 0,
        "Stats": {},
        "CurrentVersion": 2,
    }))
}
