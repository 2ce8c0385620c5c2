//! The nodes above the leaves, and changes on the way down and up.
//!
//! A node that a reader holds is copied before it is changed, and so is the path to it; a node
//! that only the writer holds is changed in place (`Arc::make_mut`).

use super::item::Item;
use super::keys::Keys;
use super::leaf::{Delta, Leaf, i64_of};
use std::sync::Arc;

/// Children of a full node.
pub(crate) const INNER_MAX: usize = 32;

/// Bytes of separators after which a node is full too.
const BYTES_MAX: usize = 64 << 10;

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Leaf(Arc<Leaf>),
    Inner(Arc<Inner>),
}

/// A subtree and what is counted of it.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub node: Node,
    /// Keys that are live at their newest revision.
    pub live: i64,
    /// The newest revision of any of its keys; never less than that.
    pub newest: i64,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Inner {
    /// Separator `i` is greater than all keys of child `i` and not greater than those of the
    /// next.
    seps: Keys,
    children: Vec<Child>,
}

/// A new right neighbour and what separates it.
pub(crate) struct Split {
    pub sep: Vec<u8>,
    pub right: Child,
}

impl Child {
    pub(crate) fn leaf(leaf: Leaf) -> Self {
        let (live, newest) = (leaf.live(), leaf.newest());
        Self { node: Node::Leaf(Arc::new(leaf)), live, newest }
    }

    pub(crate) fn inner(inner: Inner) -> Self {
        let live = inner.children.iter().map(|child| child.live).sum();
        let newest = inner.children.iter().map(|child| child.newest).max().unwrap_or_default();
        Self { node: Node::Inner(Arc::new(inner)), live, newest }
    }

    fn recount(&mut self) {
        self.live = match &self.node {
            Node::Leaf(leaf) => leaf.live(),
            Node::Inner(inner) => inner.children.iter().map(|child| child.live).sum(),
        };
    }

    fn is_empty(&self) -> bool {
        match &self.node {
            Node::Leaf(leaf) => leaf.len() == 0,
            Node::Inner(inner) => inner.children.is_empty(),
        }
    }

    fn is_sparse(&self) -> bool {
        match &self.node {
            Node::Leaf(leaf) => leaf.is_sparse(),
            Node::Inner(inner) => inner.children.len() < INNER_MAX / 4,
        }
    }

    /// Appends a revision; `last` if no subtree lies to the right, where appended keys come.
    pub(crate) fn push(&mut self, key: &[u8], item: Item, last: bool) -> (Delta, Option<Split>) {
        self.newest = self.newest.max(item.main());
        let (delta, split) = match &mut self.node {
            Node::Leaf(leaf) => {
                let leaf = Arc::make_mut(leaf);
                let delta = leaf.push(key, item);
                (delta, leaf.is_full().then(|| split_leaf(leaf, key, last)))
            }
            Node::Inner(inner) => Arc::make_mut(inner).push(key, item, last),
        };
        match &split {
            Some(_) => self.recount(),
            None => self.live += delta.live,
        }
        (delta, split)
    }

    /// Drops what a compaction at `main` drops of `key`.
    pub(crate) fn prune(
        &mut self,
        key: &[u8],
        main: i64,
        dropped: &mut impl FnMut(&Item),
    ) -> Delta {
        let delta = match &mut self.node {
            Node::Leaf(leaf) => match leaf.find(key) {
                Ok(place) => Arc::make_mut(leaf).prune(place, main, dropped),
                Err(_) => Delta::default(),
            },
            Node::Inner(inner) => Arc::make_mut(inner).prune(key, main, dropped),
        };
        self.live += delta.live;
        delta
    }

    /// Takes in the neighbour behind `sep`, if both fit into one.
    fn join(&mut self, sep: &[u8], right: &Self) -> bool {
        match (&mut self.node, &right.node) {
            (Node::Leaf(left), Node::Leaf(right)) if left.fits(right) => {
                Arc::make_mut(left).append(right);
            }
            (Node::Inner(left), Node::Inner(right)) if left.fits(right) => {
                let left = Arc::make_mut(left);
                left.seps.insert(left.seps.len(), sep);
                left.seps.append(&right.seps);
                left.children.extend(right.children.iter().cloned());
            }
            _ => return false,
        }
        self.live += right.live;
        self.newest = self.newest.max(right.newest);
        true
    }
}

/// Half of the keys go, or the last one alone where keys are appended in order.
fn split_leaf(leaf: &mut Leaf, key: &[u8], last: bool) -> Split {
    let appended = last && leaf.key(leaf.len() - 1) == key;
    let place = if appended { leaf.len() - 1 } else { leaf.len() / 2 };
    let right = leaf.split_off(place);
    let sep = separator(leaf.key(place - 1), right.key(0)).to_vec();
    leaf.shrink();
    Split { sep, right: Child::leaf(right) }
}

/// The shortest string above `left` and not above `right`.
pub(crate) fn separator<'a>(left: &[u8], right: &'a [u8]) -> &'a [u8] {
    let same = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    &right[..(same + 1).min(right.len())]
}

impl Inner {
    /// Over children in order, each with what separates it from the one before.
    pub(crate) fn over(children: Vec<(Vec<u8>, Child)>) -> Self {
        let mut inner = Self::default();
        for (sep, child) in children {
            if !inner.children.is_empty() {
                inner.seps.insert(inner.seps.len(), &sep);
            }
            inner.children.push(child);
        }
        inner
    }

    pub(crate) fn children(&self) -> &[Child] {
        &self.children
    }

    /// The child that holds `key`, if any does.
    pub(crate) fn place(&self, key: &[u8]) -> usize {
        self.seps.up_to(key)
    }

    /// The last child that holds keys less than `key`.
    pub(crate) fn place_below(&self, key: &[u8]) -> usize {
        self.seps.below(key)
    }

    /// The only child, if there is but one.
    pub(crate) fn only(&self) -> Option<&Child> {
        if let [only] = &*self.children { Some(only) } else { None }
    }

    fn fits(&self, other: &Self) -> bool {
        self.children.len() + other.children.len() <= INNER_MAX * 3 / 4
    }

    fn push(&mut self, key: &[u8], item: Item, last: bool) -> (Delta, Option<Split>) {
        let place = self.place(key);
        let last = last && place + 1 == self.children.len();
        let (delta, split) = self.children[place].push(key, item, last);
        if let Some(Split { sep, right }) = split {
            self.seps.insert(place, &sep);
            self.children.insert(place + 1, right);
        }
        let full = self.children.len() > INNER_MAX
            || (self.seps.bytes() > BYTES_MAX && self.children.len() >= 4);
        (delta, full.then(|| self.split(last)))
    }

    fn split(&mut self, last: bool) -> Split {
        let len = self.children.len();
        let place = if last { len - 2 } else { len / 2 };
        let children = self.children.split_off(place);
        let seps = self.seps.split_off(place);
        let sep = self.seps.get(place - 1).to_vec();
        self.seps.remove(place - 1);
        Split { sep, right: Child::inner(Self { seps, children }) }
    }

    fn prune(&mut self, key: &[u8], main: i64, dropped: &mut impl FnMut(&Item)) -> Delta {
        let place = self.place(key);
        let delta = self.children[place].prune(key, main, dropped);
        if delta.keys < 0 {
            self.tidy(place);
        }
        delta
    }

    /// After a key left the child at `place`: removes it if it is empty, joins it with a
    /// neighbour if it is sparse.
    fn tidy(&mut self, place: usize) {
        if self.children[place].is_empty() {
            self.children.remove(place);
            if self.seps.len() > 0 {
                self.seps.remove(place.saturating_sub(1));
            }
        } else if self.children[place].is_sparse()
            && !self.join(place)
            && let Some(before) = place.checked_sub(1)
        {
            self.join(before);
        }
    }

    /// Joins the child at `place` with the next.
    fn join(&mut self, place: usize) -> bool {
        let [left, right] = match self.children.get_mut(place..place + 2) {
            Some([left, right]) => [left, right],
            _ => return false,
        };
        let joined = left.join(self.seps.get(place), right);
        if joined {
            self.children.remove(place + 1);
            self.seps.remove(place);
        }
        joined
    }

    /// Counts of all children, for the checks of tests.
    #[cfg(test)]
    pub(crate) fn counted(&self) -> (i64, usize) {
        (self.children.iter().map(|child| child.live).sum(), self.children.len())
    }
}

impl Node {
    /// An empty tree.
    pub(crate) fn empty() -> Child {
        Child::leaf(Leaf::default())
    }

    /// Keys of the node itself.
    pub(crate) fn len(&self) -> i64 {
        match self {
            Self::Leaf(leaf) => i64_of(leaf.len()),
            Self::Inner(inner) => i64_of(inner.children.len()),
        }
    }
}
