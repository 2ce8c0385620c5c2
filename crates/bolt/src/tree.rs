//! Packing sorted items into leaves, and leaves into branches, from the bottom up.
//!
//! ```text
//! push ->  [ leaf, open ] -> cut: gets the next page id, goes to the sink
//!                              | first key, id
//!          [ branch, previous ] [ branch, open ]     one such pair for each level
//!                              | first key, id
//!          [ branch, previous ] [ branch, open ]
//! ```
//! Invariants:
//! - a page gets its id and leaves memory when it is cut, so pages leave in the order of their
//!   ids, children before their parents;
//! - held are the open leaf and two branches a level: a last branch with a single child takes one
//!   from its left neighbour, which therefore has to wait;
//! - a branch's key is the first key of the child it points to. bbolt looks children up by it when
//!   it changes them later;
//! - pages are filled to nine tenths, as bbolt does for appends; an item that needs more gets a
//!   leaf of its own, with overflow.

use crate::Result;
use crate::page::{
    BranchElement, BucketHeader, COUNT_MAX, ELEMENT_BYTES, FIRST_ID, Kind, LeafElement, Value,
    element_at, header,
};

/// Where cut pages go.
pub(crate) trait Sink {
    /// Takes the next page, whole slots of it.
    fn page(&mut self, bytes: &[u8]) -> Result<()>;
}

/// Gives out page ids in order, and fills pages up to whole slots.
pub(crate) struct Pages<'a> {
    /// None while only the layout is wanted.
    sink: Option<&'a mut dyn Sink>,
    page_bytes: usize,
    /// The next free id.
    next_id: u64,
    scratch: Vec<u8>,
}

impl<'a> Pages<'a> {
    pub(crate) fn new(sink: Option<&'a mut dyn Sink>, page_bytes: usize) -> Self {
        Self { sink, page_bytes, next_id: FIRST_ID, scratch: Vec::new() }
    }

    /// The first id that no page was given.
    pub(crate) fn mark(&self) -> u64 {
        self.next_id
    }

    /// Cuts a node: gives it the next id and writes it.
    fn cut(&mut self, node: &Node) -> Result<u64> {
        let id = self.next_id;
        let slots = node.bytes().div_ceil(self.page_bytes);
        if let Some(sink) = &mut self.sink {
            let overflow = u32::try_from(slots - 1).expect("values are below 2^31 bytes");
            self.scratch.clear();
            node.encode(id, overflow, &mut self.scratch);
            self.scratch.resize(slots * self.page_bytes, 0);
            sink.page(&self.scratch)?;
            // A page with a large value is rare, and its memory not kept.
            self.scratch.shrink_to(16 * self.page_bytes);
        }
        self.next_id += slots as u64;
        Ok(id)
    }

    /// Bytes to which a page is filled: bbolt's fill percent for appends.
    fn limit(&self) -> usize {
        self.page_bytes * 9 / 10
    }

    /// Bytes of a leaf that is still put into its bucket's value: bbolt's `maxInlineBucketSize`.
    fn inline_max(&self) -> usize {
        self.page_bytes / 4
    }
}

/// A bucket that is being packed.
#[derive(Debug)]
pub(crate) struct Tree {
    leaf: Node,
    /// Above the leaves; the lowest first.
    levels: Vec<Level>,
    /// The last key pushed, if any.
    last: Option<Vec<u8>>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self { leaf: Node::new(Kind::Leaf), levels: Vec::new(), last: None }
    }

    /// The last key pushed.
    pub(crate) fn last(&self) -> Option<&[u8]> {
        self.last.as_deref()
    }

    /// Adds an item. The caller has checked key and value, and that the key comes after the last.
    pub(crate) fn push(
        &mut self,
        pages: &mut Pages<'_>,
        key: &[u8],
        kind: Value,
        value: &[u8],
    ) -> Result<()> {
        if !self.leaf.takes(key.len() + value.len(), pages.limit()) {
            self.cut_leaf(pages)?;
        }
        self.leaf.push_item(key, kind, value);
        let last = self.last.get_or_insert_default();
        last.clear();
        last.extend_from_slice(key);
        Ok(())
    }

    /// Ends a bucket: the value under which it stands among the buckets.
    pub(crate) fn finish_bucket(self, pages: &mut Pages<'_>) -> Result<Vec<u8>> {
        if self.levels.is_empty() && self.leaf.bytes() <= pages.inline_max() {
            let mut value = BucketHeader { root: 0, sequence: 0 }.encode().to_vec();
            self.leaf.encode(0, 0, &mut value);
            return Ok(value);
        }
        let root = self.finish_root(pages)?;
        Ok(BucketHeader { root, sequence: 0 }.encode().to_vec())
    }

    /// Ends the tree of buckets: its root page. It is a page even when it is empty.
    pub(crate) fn finish_root(mut self, pages: &mut Pages<'_>) -> Result<u64> {
        if self.leaf.count() > 0 || self.levels.is_empty() {
            self.cut_leaf(pages)?;
        }
        let mut level = 0;
        loop {
            let done = std::mem::replace(&mut self.levels[level], Level::new());
            match done.finish(pages)? {
                Done::Root(id) => return Ok(id),
                Done::Branches(branches) => {
                    for (key, id) in branches {
                        self.push_child(pages, level + 1, &key, id)?;
                    }
                }
            }
            level += 1;
        }
    }

    fn cut_leaf(&mut self, pages: &mut Pages<'_>) -> Result<()> {
        let leaf = std::mem::replace(&mut self.leaf, Node::new(Kind::Leaf));
        let id = pages.cut(&leaf)?;
        self.push_child(pages, 0, leaf.first_key(), id)
    }

    /// Adds a child to a level, and what that cuts to the levels above it.
    fn push_child(
        &mut self,
        pages: &mut Pages<'_>,
        level: usize,
        key: &[u8],
        id: u64,
    ) -> Result<()> {
        if level == self.levels.len() {
            self.levels.push(Level::new());
        }
        match self.levels[level].push(pages, key, id)? {
            None => Ok(()),
            Some((key, id)) => self.push_child(pages, level + 1, &key, id),
        }
    }
}

/// One level of branches. Should it end with a single child, it was needless.
#[derive(Debug)]
struct Level {
    /// Cut as soon as it cannot be asked for a child any more.
    previous: Option<Node>,
    open: Node,
}

enum Done {
    /// The level had a single child, which is the root of the tree.
    Root(u64),
    /// First keys and ids of the branches that were left.
    Branches(Vec<(Vec<u8>, u64)>),
}

impl Level {
    fn new() -> Self {
        Self { previous: None, open: Node::new(Kind::Branch) }
    }

    /// Adds a child; gives a branch that was cut.
    fn push(
        &mut self,
        pages: &mut Pages<'_>,
        key: &[u8],
        id: u64,
    ) -> Result<Option<(Vec<u8>, u64)>> {
        let mut cut = None;
        // Two children at least, however long their keys are: or the tree would not narrow.
        if self.open.count() >= 2 && !self.open.takes(key.len(), pages.limit()) {
            let full = std::mem::replace(&mut self.open, Node::new(Kind::Branch));
            if let Some(previous) = self.previous.replace(full) {
                let id = pages.cut(&previous)?;
                cut = Some((previous.first_key().to_vec(), id));
            }
        }
        self.open.push_child(key, id);
        Ok(cut)
    }

    fn finish(mut self, pages: &mut Pages<'_>) -> Result<Done> {
        let Some(mut previous) = self.previous.take() else {
            if self.open.count() == 1 {
                return Ok(Done::Root(self.open.child(0)));
            }
            let id = pages.cut(&self.open)?;
            return Ok(Done::Branches(vec![(self.open.first_key().to_vec(), id)]));
        };
        if self.open.count() == 1 {
            if previous.count() == 2 {
                // Either would be left with one; so the three share a branch, with overflow.
                previous.push_child(self.open.first_key(), self.open.child(0));
                let id = pages.cut(&previous)?;
                return Ok(Done::Branches(vec![(previous.first_key().to_vec(), id)]));
            }
            let last = previous.count() - 1;
            let mut open = Node::new(Kind::Branch);
            open.push_child(previous.key(last), previous.child(last));
            open.push_child(self.open.first_key(), self.open.child(0));
            previous.pop();
            self.open = open;
        }
        let mut branches = Vec::with_capacity(2);
        for node in [previous, self.open] {
            let id = pages.cut(&node)?;
            branches.push((node.first_key().to_vec(), id));
        }
        Ok(Done::Branches(branches))
    }
}

/// A leaf or branch in memory.
#[derive(Debug)]
struct Node {
    kind: Kind,
    elements: Vec<Element>,
    /// Keys and values, one after the other.
    data: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Element {
    /// Where its key begins in the data.
    start: usize,
    key_bytes: usize,
    value_bytes: usize,
    /// A leaf's kind of value.
    value: Value,
    /// A branch's child.
    child: u64,
}

impl Node {
    fn new(kind: Kind) -> Self {
        Self { kind, elements: Vec::new(), data: Vec::new() }
    }

    fn count(&self) -> usize {
        self.elements.len()
    }

    /// Bytes of its page before it is filled up.
    fn bytes(&self) -> usize {
        element_at(self.count()) + self.data.len()
    }

    /// Whether an element with `data` bytes may be added. The first one always may.
    fn takes(&self, data: usize, limit: usize) -> bool {
        self.count() == 0
            || (self.count() < COUNT_MAX && self.bytes() + ELEMENT_BYTES + data <= limit)
    }

    fn push_item(&mut self, key: &[u8], kind: Value, value: &[u8]) {
        self.push(key, kind, value, 0);
    }

    fn push_child(&mut self, key: &[u8], child: u64) {
        self.push(key, Value::Plain, &[], child);
    }

    fn push(&mut self, key: &[u8], kind: Value, value: &[u8], child: u64) {
        self.elements.push(Element {
            start: self.data.len(),
            key_bytes: key.len(),
            value_bytes: value.len(),
            value: kind,
            child,
        });
        self.data.extend_from_slice(key);
        self.data.extend_from_slice(value);
    }

    fn pop(&mut self) {
        let last = self.elements.pop().expect("only a node with elements is asked for one");
        self.data.truncate(last.start);
    }

    fn key(&self, i: usize) -> &[u8] {
        let element = self.elements[i];
        &self.data[element.start..element.start + element.key_bytes]
    }

    /// Its first key; empty if it is an empty root leaf, whose level never shows it.
    fn first_key(&self) -> &[u8] {
        if self.elements.is_empty() { &[] } else { self.key(0) }
    }

    fn child(&self, i: usize) -> u64 {
        self.elements[i].child
    }

    /// Appends its page without the zeros at its end.
    fn encode(&self, id: u64, overflow: u32, page: &mut Vec<u8>) {
        page.extend(header(id, self.kind, self.count(), overflow).encode());
        for (i, element) in self.elements.iter().enumerate() {
            let pos = narrow(element_at(self.count()) + element.start - element_at(i));
            let ksize = narrow(element.key_bytes);
            page.extend(match self.kind {
                Kind::Branch => BranchElement { pos, ksize, child: element.child }.encode(),
                Kind::Leaf => {
                    let flags = match element.value {
                        Value::Plain => 0,
                        Value::Bucket => LeafElement::BUCKET,
                    };
                    let vsize = narrow(element.value_bytes);
                    LeafElement { flags, pos, ksize, vsize }.encode()
                }
            });
        }
        page.extend_from_slice(&self.data);
    }
}

/// A size as it stands in an element.
fn narrow(size: usize) -> u32 {
    u32::try_from(size).expect("a node is a page, or an item below 2^31 bytes")
}
