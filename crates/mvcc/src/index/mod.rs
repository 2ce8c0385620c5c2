//! The index: every key with its history, in memory, a copy-on-write B+tree.
//!
//! One writer changes it; a reader takes the root, which costs one reference, and reads on while
//! the writer copies what it changes. What it is not: a cache of values, it has only where they
//! lie; nor a judge of what is committed, its caller publishes roots.
//!
//! Invariants:
//! - each subtree has the count of its live keys and a bound of its newest revision, so that
//!   counting a range costs O(log n) and the leaves that changed since the revision asked for;
//! - keys of a leaf lie in one allocation, and the one or two newest revisions of each in
//!   another: a key costs no allocation of its own.

mod bulk;
mod history;
mod item;
mod keys;
mod leaf;
mod node;

pub use bulk::Bulk;
pub use history::History;
pub use item::Item;

use leaf::i64_of;
use node::{Child, Inner, Node, Split};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Which keys, as requests say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRange<'a> {
    /// One key.
    One(&'a [u8]),
    /// All keys from this one on.
    From(&'a [u8]),
    /// All keys from the first, and below the second.
    Between(&'a [u8], &'a [u8]),
}

impl<'a> KeyRange<'a> {
    /// As etcd reads `range_end`: empty means one key, a zero byte all keys from `key` on.
    #[must_use]
    pub fn new(key: &'a [u8], range_end: &'a [u8]) -> Self {
        match range_end {
            [] => Self::One(key),
            [0] => Self::From(key),
            end => Self::Between(key, end),
        }
    }

    /// Every key there is.
    pub const ALL: KeyRange<'static> = KeyRange::From(b"");
}

/// The tree. A clone is a snapshot and costs one reference.
#[derive(Clone, Debug)]
pub struct Index {
    root: Child,
    keys: i64,
}

impl Default for Index {
    fn default() -> Self {
        Self { root: Node::empty(), keys: 0 }
    }
}

impl Index {
    /// Keys, deleted ones that are not compacted yet among them.
    #[must_use]
    pub fn len(&self) -> i64 {
        self.keys
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// The history of `key`.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<History<'_>> {
        let mut node = &self.root.node;
        loop {
            match node {
                Node::Leaf(leaf) => return leaf.find(key).ok().map(|place| leaf.history(place)),
                Node::Inner(inner) => node = &inner.children()[inner.place(key)].node,
            }
        }
    }

    /// Appends a revision, greater than all of its key.
    pub fn push(&mut self, key: &[u8], item: Item) {
        let (delta, split) = self.root.push(key, item, true);
        self.keys += delta.keys;
        if let Some(Split { sep, right }) = split {
            let left = std::mem::replace(&mut self.root, Node::empty());
            let children = vec![(Vec::new(), left), (sep, right)];
            self.root = Child::inner(Inner::over(children));
        }
    }

    /// Drops what a compaction at `main` drops of `key`, and gives each revision to `dropped`.
    pub fn prune(&mut self, key: &[u8], main: i64, dropped: &mut impl FnMut(&Item)) {
        let delta = self.root.prune(key, main, dropped);
        self.keys += delta.keys;
        loop {
            let only = match &self.root.node {
                Node::Inner(inner) => inner.only().cloned(),
                Node::Leaf(_) => None,
            };
            match only {
                Some(only) => self.root = only,
                None if self.root.node.len() == 0 => return self.root = Node::empty(),
                None => return,
            }
        }
    }

    /// How many keys of `range` are live at revision `main`.
    #[must_use]
    pub fn count(&self, range: KeyRange<'_>, main: i64) -> i64 {
        match range {
            KeyRange::One(key) => {
                i64::from(self.get(key).is_some_and(|history| history.at(main).is_some()))
            }
            KeyRange::From(from) => count(&self.root, Some(from), None, main),
            KeyRange::Between(from, end) if from < end => {
                count(&self.root, Some(from), Some(end), main)
            }
            KeyRange::Between(..) => 0,
        }
    }

    /// Gives the keys of `range` in order to `take` until it breaks. Subtrees whose keys are all
    /// older than `since` are left out.
    pub fn visit(
        &self,
        range: KeyRange<'_>,
        since: i64,
        mut take: impl FnMut(&[u8], History<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        match range {
            KeyRange::One(key) => match self.get(key) {
                Some(history) => take(key, history),
                None => ControlFlow::Continue(()),
            },
            KeyRange::From(from) => visit(&self.root, Some(from), None, since, &mut take),
            KeyRange::Between(from, end) if from < end => {
                visit(&self.root, Some(from), Some(end), since, &mut take)
            }
            KeyRange::Between(..) => ControlFlow::Continue(()),
        }
    }

    /// Whether both are the same nodes: nothing changed between them.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (&self.root.node, &other.root.node) {
            (Node::Leaf(a), Node::Leaf(b)) => Arc::ptr_eq(a, b),
            (Node::Inner(a), Node::Inner(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

type Bound<'a> = Option<&'a [u8]>;

fn count(child: &Child, from: Bound<'_>, end: Bound<'_>, main: i64) -> i64 {
    if from.is_none() && end.is_none() && child.newest <= main {
        return child.live;
    }
    match &child.node {
        Node::Leaf(leaf) => {
            let first = from.map_or(0, |from| leaf.below(from));
            let behind = end.map_or(leaf.len(), |end| leaf.below(end));
            let live = (first..behind).filter(|place| leaf.history(*place).at(main).is_some());
            i64_of(live.count())
        }
        Node::Inner(inner) => {
            let (first, last) = bounds(inner, from, end);
            (first..=last)
                .map(|place| {
                    let (from, end) = inside(place, first, last, from, end);
                    count(&inner.children()[place], from, end, main)
                })
                .sum()
        }
    }
}

fn visit(
    child: &Child,
    from: Bound<'_>,
    end: Bound<'_>,
    since: i64,
    take: &mut impl FnMut(&[u8], History<'_>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    if child.newest < since {
        return ControlFlow::Continue(());
    }
    match &child.node {
        Node::Leaf(leaf) => {
            let first = from.map_or(0, |from| leaf.below(from));
            let behind = end.map_or(leaf.len(), |end| leaf.below(end));
            (first..behind).try_for_each(|place| take(leaf.key(place), leaf.history(place)))
        }
        Node::Inner(inner) => {
            let (first, last) = bounds(inner, from, end);
            (first..=last).try_for_each(|place| {
                let (from, end) = inside(place, first, last, from, end);
                visit(&inner.children()[place], from, end, since, take)
            })
        }
    }
}

/// The first and the last child with keys between the bounds.
fn bounds(inner: &Inner, from: Bound<'_>, end: Bound<'_>) -> (usize, usize) {
    let first = from.map_or(0, |from| inner.place(from));
    let last = end.map_or(inner.children().len() - 1, |end| inner.place_below(end));
    (first, last)
}

/// The bounds that matter to the child at `place`.
fn inside<'a>(
    place: usize,
    first: usize,
    last: usize,
    from: Bound<'a>,
    end: Bound<'a>,
) -> (Bound<'a>, Bound<'a>) {
    (from.filter(|_| place == first), end.filter(|_| place == last))
}

#[cfg(test)]
mod tests;
