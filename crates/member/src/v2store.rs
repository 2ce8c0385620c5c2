//! The dump of the old store that travels in a snapshot.
//!
//! etcd 3.7 writes it and reads none of it; members of 3.6 and before take their view of the
//! cluster from it. It is a tree of the members, with the indexes that the old store would have
//! given if they had been written by id (etcd `server/etcdserver/cluster_util.go`,
//! `server/etcdserver/api/v2store`).
//!
//! Compat: a Go member dumps also its statistics and the last thousand events. Whoever reads the
//! dump reads it over a store of its own, and keeps those of that where there are none here.

use crate::json::{push_list, push_string};
use crate::{Cluster, format_id};
use std::collections::BTreeMap;
use std::fmt::Write;

const WRITES: &str = "a string takes any text";

/// The dump, as the data of a raft snapshot.
#[must_use]
pub fn v2_store_json(cluster: &Cluster) -> String {
    let mut tree = Tree { root: Node::directory(0), index: 0 };
    for prefix in ["0", "1"] {
        tree.root.children.get_or_insert_default().insert(prefix.to_owned(), Node::directory(0));
    }
    for member in cluster.members() {
        let id = format_id(member.id);
        tree.create(&["0", "members", &id, "raftAttributes"], member.raft_attributes_json());
        if !member.client_urls.is_empty() {
            tree.create(&["0", "members", &id, "attributes"], member.attributes_json());
        }
    }
    for id in cluster.removed() {
        tree.create(&["0", "removed_members", &format_id(id)], String::new());
    }
    if let Some(version) = cluster.version() {
        tree.create(&["0", "version"], version.to_string());
    }
    let mut out = String::from("{\"Root\":");
    tree.root.push(&mut out, "/");
    write!(out, ",\"CurrentIndex\":{},\"CurrentVersion\":2}}", tree.index).expect(WRITES);
    out
}

struct Tree {
    root: Node,
    /// Of the last node created.
    index: u64,
}

struct Node {
    index: u64,
    value: String,
    /// `None` for a leaf.
    children: Option<BTreeMap<String, Node>>,
}

impl Tree {
    /// Creates a leaf, and the directories to it.
    fn create(&mut self, path: &[&str], value: String) {
        self.index += 1;
        let mut node = &mut self.root;
        for name in path {
            let children = node.children.get_or_insert_default();
            node = children.entry((*name).to_owned()).or_insert(Node::directory(self.index));
        }
        *node = Node { index: self.index, value, children: None };
    }
}

impl Node {
    fn directory(index: u64) -> Self {
        Self { index, value: String::new(), children: Some(BTreeMap::new()) }
    }

    fn push(&self, out: &mut String, path: &str) {
        out.push_str("{\"Path\":");
        push_string(out, path);
        write!(out, ",\"CreatedIndex\":{0},\"ModifiedIndex\":{0}", self.index).expect(WRITES);
        out.push_str(",\"ExpireTime\":\"0001-01-01T00:00:00Z\",\"Value\":");
        push_string(out, &self.value);
        out.push_str(",\"Children\":");
        match &self.children {
            None => out.push_str("null"),
            Some(children) => {
                // An object is a list with other brackets.
                let mut list = String::new();
                push_list(&mut list, children, |out, (name, node)| {
                    push_string(out, name);
                    out.push(':');
                    node.push(out, &format!("{}/{name}", path.trim_end_matches('/')));
                });
                write!(out, "{{{}}}", &list[1..list.len() - 1]).expect(WRITES);
            }
        }
        out.push('}');
    }
}
