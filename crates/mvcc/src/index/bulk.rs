//! Building an index from keys in order, as start-up does: full leaves, then the levels above.

use super::item::Item;
use super::leaf::{LEAF_MAX, Leaf, i64_of};
use super::node::{Child, INNER_MAX, Inner, separator};
use super::{Index, Node};

/// Keys of a leaf at first: an eighth stays free for those that come between.
const LEAF_FILL: usize = LEAF_MAX * 7 / 8;

/// Children of a node at first.
const INNER_FILL: usize = INNER_MAX * 7 / 8;

/// An index being built.
#[derive(Debug, Default)]
pub struct Bulk {
    /// Leaves that are complete, with what separates each from the one before.
    done: Vec<(Vec<u8>, Child)>,
    /// The next one. Its room is used again and again, and what is done is copied out of it:
    /// growing each leaf by itself took half of a start.
    leaf: Leaf,
    sep: Vec<u8>,
    keys: usize,
}

impl Bulk {
    /// Adds a key, greater than those before, with its revisions, ascending. Does nothing
    /// without revisions.
    pub fn push(&mut self, key: &[u8], items: &[Item]) {
        if items.is_empty() {
            return;
        }
        if self.leaf.len() >= LEAF_FILL || self.leaf.is_full() {
            let sep = separator(self.leaf.key(self.leaf.len() - 1), key).to_vec();
            self.end_leaf();
            self.sep = sep;
        }
        self.leaf.append_key(key, items);
        self.keys += 1;
    }

    fn end_leaf(&mut self) {
        self.done.push((std::mem::take(&mut self.sep), Child::leaf(self.leaf.clone())));
        self.leaf.clear();
    }

    /// The index.
    #[must_use]
    pub fn finish(mut self) -> Index {
        if self.leaf.len() > 0 {
            self.end_leaf();
        }
        let mut level = self.done;
        while level.len() > 1 {
            let mut above = Vec::with_capacity(level.len() / INNER_FILL + 1);
            let mut rest = level.into_iter().peekable();
            while rest.peek().is_some() {
                let mut children: Vec<_> = rest.by_ref().take(INNER_FILL).collect();
                if rest.len() == 1 {
                    children.extend(rest.next());
                }
                let sep = children[0].0.clone();
                above.push((sep, Child::inner(Inner::over(children))));
            }
            level = above;
        }
        let root = level.pop().map_or_else(Node::empty, |(_, root)| root);
        Index { root, keys: i64_of(self.keys) }
    }
}
