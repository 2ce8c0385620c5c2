//! Reading a database: buckets in the order of their names, items in the order of their keys.
//!
//! ```text
//! meta -> root page -> ... -> leaf of buckets: name, root page or inline page
//!                                                     |
//!                                branch -> ... -> leaf of items: key, value
//! ```
//! The file may come from anybody. Nothing in it is believed before it was checked, each failure
//! is an [`Error`], and whatever the bytes are:
//! - a walk ends: no page is entered twice, and no tree is deeper than [`DEPTH_MAX`];
//! - memory is bounded: what a cursor holds are pages that lie in the file, each once and none
//!   larger than [`Limits::page_bytes_max`], and a bit for each page of the file;
//! - keys ascend over a whole bucket: within a page, and between what the branches above say.
//!
//! What it is not: safe to use on a file that is being changed. Copy such a file under bbolt's
//! lock, or take a snapshot.

use crate::meta::{self, Meta};
use crate::page::{
    BUCKET_BYTES, BucketHeader, FIRST_ID, HEADER_BYTES, Header, Kind, Page, Place, Value, shown,
};
use crate::read_at::ReadAt;
use crate::visited::Visited;
use crate::{Error, Result};

/// A database open for reading.
#[derive(Debug)]
pub struct Reader<R> {
    file: R,
    meta: Meta,
    limits: Limits,
}

impl<R: ReadAt> Reader<R> {
    /// Takes the newest state of the database in `file`.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if no meta page is valid or the newest does not fit the file, and
    /// [`Error::Read`].
    pub fn open(file: R) -> Result<Self> {
        Self::open_with(file, Limits::default())
    }

    /// As [`Reader::open`], with limits of the caller's.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open_with(file: R, limits: Limits) -> Result<Self> {
        let meta = meta::newest(&file)?;
        Ok(Self { file, meta, limits })
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> u32 {
        self.meta.page_bytes
    }

    /// Bytes of the file that are in use. The file may be longer: bbolt grows it ahead.
    pub fn used_bytes(&self) -> u64 {
        self.meta.mark * u64::from(self.meta.page_bytes)
    }

    /// The buckets, ascending by name.
    ///
    /// # Errors
    /// As [`Buckets::next`](Iterator::next) gives.
    pub fn buckets(&self) -> Result<Buckets<'_, R>> {
        let cursor = Cursor::at_page(self, self.meta.root, Visited::default())?;
        Ok(Buckets { cursor })
    }

    /// The bucket `name`, if there is one.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Read`] or [`Error::PageTooLarge`].
    pub fn bucket(&self, name: &[u8]) -> Result<Option<Bucket<'_, R>>> {
        let mut buckets = self.buckets()?;
        buckets.cursor.seek(name)?;
        let found = buckets.next().transpose()?;
        Ok(found.filter(|bucket| bucket.name == name))
    }

    /// Walks the whole file once. Beside what every walk checks, no two buckets may share a page.
    /// Pages that nothing refers to are free, and not looked at.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<Checked> {
        let mut buckets = self.buckets()?;
        let mut checked = Checked::default();
        while let Some(bucket) = buckets.next() {
            let visited = std::mem::take(&mut buckets.cursor.visited);
            let mut cursor = bucket?.into_cursor(visited)?;
            checked.buckets += 1;
            while cursor.next_item()?.is_some() {
                checked.items += 1;
            }
            buckets.cursor.visited = cursor.visited;
        }
        checked.pages = buckets.cursor.visited.count();
        Ok(checked)
    }

    /// Reads page `id`, to which `from` refers, and all its overflow.
    fn page(&self, id: u64, from: Place, visited: &mut Visited) -> Result<Page> {
        let mark = self.meta.mark;
        if !(FIRST_ID..mark).contains(&id) {
            let expected = format!("a page from {FIRST_ID} to below {mark}");
            return Err(from.corrupt(&expected, format!("{id}")));
        }
        // The mark fits the file, so this fits 64 bits.
        let page_bytes = u64::from(self.meta.page_bytes);
        let place = Place { page: id, offset: id * page_bytes };
        let mut page = vec![0; self.meta.page_bytes as usize];
        self.read(&mut page, place.offset)?;
        let header = page.first_chunk::<HEADER_BYTES>().expect("a slot is larger than a header");
        let slots = u64::from(Header::decode(header).overflow) + 1;
        if slots > mark - id {
            let expected = format!("at most {} page slots", mark - id);
            return Err(place.corrupt(&expected, format!("{slots}")));
        }
        let bytes = slots * page_bytes;
        let limit = self.limits.page_bytes_max;
        if bytes > limit {
            return Err(Error::PageTooLarge { page: id, bytes, limit });
        }
        if !visited.insert(id, slots, mark) {
            return Err(from.corrupt("a page not met before", format!("page {id}")));
        }
        if slots > 1 {
            let first = page.len();
            page.resize(usize::try_from(bytes).expect("a page fits in memory"), 0);
            self.read(&mut page[first..], place.offset + page_bytes)?;
        }
        Page::parse(place, id, page)
    }

    fn read(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let bytes = buffer.len() as u64;
        self.file.read_exact_at(buffer, offset).map_err(|source| Error::Read {
            offset,
            bytes,
            source,
        })
    }
}

/// What a reader takes from a file it does not trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the largest page, its overflow included: about the largest value.
    pub page_bytes_max: u64,
}

impl Default for Limits {
    /// 256 MiB, far above the largest request that any etcd takes.
    fn default() -> Self {
        Self { page_bytes_max: 256 << 20 }
    }
}

/// What [`Reader::check`] came by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Buckets.
    pub buckets: u64,
    /// Items in all of them.
    pub items: u64,
    /// Page slots that belong to them, the two meta pages left out.
    pub pages: u64,
}

/// Iterates over the buckets of a file. After an error it is at its end.
#[derive(Debug)]
pub struct Buckets<'r, R> {
    cursor: Cursor<'r, R>,
}

impl<'r, R: ReadAt> Iterator for Buckets<'r, R> {
    type Item = Result<Bucket<'r, R>>;

    fn next(&mut self) -> Option<Self::Item> {
        let bucket = self.cursor.advance().and_then(|found| {
            let Some((page, i)) = found else { return Ok(None) };
            bucket_at(self.cursor.reader, &self.cursor.stack[page].page, i).map(Some)
        });
        if bucket.is_err() {
            self.cursor.stack.clear();
        }
        bucket.transpose()
    }
}

/// The bucket that element `i` of `page` is.
fn bucket_at<'r, R>(reader: &'r Reader<R>, page: &Page, i: usize) -> Result<Bucket<'r, R>> {
    let place = page.place(i);
    let (kind, value) = page.value(i);
    let header = match (kind, value.first_chunk::<BUCKET_BYTES>()) {
        (Value::Plain, _) => {
            return Err(place.corrupt("a bucket", format!("the value of {}", shown(page.key(i)))));
        }
        (Value::Bucket, None) => {
            return Err(place.corrupt("a bucket's 16 bytes", format!("{}", value.len())));
        }
        (Value::Bucket, Some(header)) => BucketHeader::decode(header),
    };
    let root = if header.root == 0 {
        let place = Place { offset: page.value_offset(i) + BUCKET_BYTES as u64, ..place };
        let inline = Page::parse(place, 0, value[BUCKET_BYTES..].to_vec())?;
        if inline.kind() != Kind::Leaf {
            return Err(place.corrupt("an inline leaf", "a branch".to_owned()));
        }
        Root::Inline(inline)
    } else {
        Root::Page(header.root, place)
    };
    Ok(Bucket { reader, name: page.key(i).to_vec(), sequence: header.sequence, root })
}

/// One bucket.
#[derive(Debug)]
pub struct Bucket<'r, R> {
    reader: &'r Reader<R>,
    name: Vec<u8>,
    sequence: u64,
    root: Root,
}

impl<'r, R: ReadAt> Bucket<'r, R> {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Its counter, which etcd leaves at 0.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Walks it from its first item.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Read`] or [`Error::PageTooLarge`].
    pub fn cursor(self) -> Result<Cursor<'r, R>> {
        self.into_cursor(Visited::default())
    }

    /// Walks it from the first key that is not below `from`.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Read`] or [`Error::PageTooLarge`].
    pub fn cursor_from(self, from: &[u8]) -> Result<Cursor<'r, R>> {
        let mut cursor = self.cursor()?;
        cursor.seek(from)?;
        Ok(cursor)
    }

    fn into_cursor(self, visited: Visited) -> Result<Cursor<'r, R>> {
        let mut cursor = match self.root {
            Root::Page(id, from) => {
                let mut visited = visited;
                let page = self.reader.page(id, from, &mut visited)?;
                Cursor::new(self.reader, page, visited)
            }
            Root::Inline(page) => Cursor::new(self.reader, page, visited),
        };
        cursor.bucket = self.name;
        Ok(cursor)
    }
}

/// Where a bucket's items begin.
#[derive(Clone, Debug)]
enum Root {
    /// A page, and who refers to it.
    Page(u64, Place),
    Inline(Page),
}

/// A place in a bucket that moves on item by item; it holds the pages from root to leaf.
#[derive(Debug)]
pub struct Cursor<'r, R> {
    reader: &'r Reader<R>,
    /// Name of the bucket; empty for the bucket of buckets.
    bucket: Vec<u8>,
    /// From the root down. The children or items before `next` are done.
    stack: Vec<Frame>,
    visited: Visited,
}

#[derive(Debug)]
struct Frame {
    page: Page,
    next: usize,
}

/// Branches above a leaf, with which every file that fits a disk gets along by far.
const DEPTH_MAX: usize = 40;

impl<'r, R: ReadAt> Cursor<'r, R> {
    fn new(reader: &'r Reader<R>, page: Page, visited: Visited) -> Self {
        Self { reader, bucket: Vec::new(), stack: vec![Frame { page, next: 0 }], visited }
    }

    fn at_page(reader: &'r Reader<R>, root: u64, mut visited: Visited) -> Result<Self> {
        let page = reader.page(root, Place { page: 0, offset: 0 }, &mut visited)?;
        Ok(Self::new(reader, page, visited))
    }

    /// The next key and its value; none at the end. They are valid until the next call. After an
    /// error the cursor is at its end.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Read`], [`Error::PageTooLarge`], and [`Error::Nested`] for a
    /// bucket within the bucket.
    pub fn next_item(&mut self) -> Result<Option<(&[u8], &[u8])>> {
        let found = self.advance().inspect_err(|_| self.stack.clear());
        let Some((at, i)) = found? else { return Ok(None) };
        if self.stack[at].page.value(i).0 == Value::Bucket {
            let key = self.stack[at].page.key(i).to_vec();
            self.stack.clear();
            return Err(Error::Nested { bucket: std::mem::take(&mut self.bucket), key });
        }
        let page = &self.stack[at].page;
        Ok(Some((page.key(i), page.value(i).1)))
    }

    /// Moves a cursor that was not used yet to the first key that is not below `from`.
    fn seek(&mut self, from: &[u8]) -> Result<()> {
        loop {
            let top = self.stack.last_mut().expect("a new cursor holds its root");
            let keys = |below: &dyn Fn(&[u8]) -> bool| {
                let (mut low, mut high) = (0, top.page.count());
                while low < high {
                    let middle = low.midpoint(high);
                    if below(top.page.key(middle)) { low = middle + 1 } else { high = middle }
                }
                low
            };
            match top.page.kind() {
                Kind::Leaf => {
                    top.next = keys(&|key| key < from);
                    return Ok(());
                }
                Kind::Branch => {
                    let child = keys(&|key| key <= from).saturating_sub(1);
                    top.next = child + 1;
                    self.descend(child)?;
                }
            }
        }
    }

    /// Moves to the next item: its page's place in the stack, and its element.
    fn advance(&mut self) -> Result<Option<(usize, usize)>> {
        while let Some(top) = self.stack.last_mut() {
            let i = top.next;
            if i == top.page.count() {
                self.stack.pop();
                continue;
            }
            top.next += 1;
            match top.page.kind() {
                Kind::Leaf => return Ok(Some((self.stack.len() - 1, i))),
                Kind::Branch => self.descend(i)?,
            }
        }
        Ok(None)
    }

    /// Enters child `i` of the branch on top.
    fn descend(&mut self, i: usize) -> Result<()> {
        let top = self.stack.last().expect("a branch is on top");
        let from = top.page.place(i);
        if self.stack.len() > DEPTH_MAX {
            let expected = format!("at most {DEPTH_MAX} branches above a leaf");
            return Err(from.corrupt(&expected, "more".to_owned()));
        }
        let child = self.reader.page(top.page.child(i), from, &mut self.visited)?;
        if child.count() > 0 {
            self.check_between(&child)?;
        }
        self.stack.push(Frame { page: child, next: 0 });
        Ok(())
    }

    /// A child's keys are not below the key that led to it, and below all that come after. bbolt
    /// lets a branch's key be lower than its child's first one, after deletions for example.
    fn check_between(&self, child: &Page) -> Result<()> {
        let parent = self.stack.last().expect("a branch is on top");
        let from = parent.page.key(parent.next - 1);
        if child.key(0) < from {
            let expected = format!("a first key from {} on", shown(from));
            return Err(child.place(0).corrupt(&expected, shown(child.key(0))));
        }
        // `next` is the sibling of the way down: the nearest one above bounds all of the child.
        let after = self.stack.iter().rev().find(|frame| frame.next < frame.page.count());
        let last = child.count() - 1;
        if let Some(after) = after
            && child.key(last) >= after.page.key(after.next)
        {
            let expected = format!("keys below {}", shown(after.page.key(after.next)));
            return Err(child.place(last).corrupt(&expected, shown(child.key(last))));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
