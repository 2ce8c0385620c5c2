//! Writing a whole database from a source in order, without ever seeking.
//!
//! ```text
//! pass one   source -> pack -> count        gives root, mark, length: the meta pages
//! pass two   source -> pack -> write        meta 0, meta 1, pages 2, 3, 4 ...
//! ```
//! The meta pages stand first but are known last, hence two passes of the same packing (`tree.rs`)
//! over the source. It has to give the same both times; a difference in what it gives or how it
//! packs is [`Error::SourceChanged`].
//!
//! Memory: a page's bytes a few times over for each level of the tree, the largest item, and the
//! names of the buckets. Nothing grows with the number of items.

use crate::meta::{Meta, PAGE_SIZES};
use crate::page::{FIRST_ID, KEY_BYTES_MAX, VALUE_BYTES_MAX, Value};
use crate::read_at::ReadAt;
use crate::reader::Reader;
use crate::tree::{Pages, Sink, Tree};
use crate::{Error, Result};
use std::io::Write;

/// What a database is made of. It is read twice and must not change in between.
pub trait Source {
    /// Names of the buckets, ascending.
    ///
    /// # Errors
    /// [`Error::Source`] if they cannot be told.
    fn buckets(&mut self) -> Result<Vec<Vec<u8>>>;

    /// Gives each key and value of `bucket` to `emit`, ascending by key, and stops if that fails.
    ///
    /// # Errors
    /// What `emit` gave, or [`Error::Source`].
    fn visit(&mut self, bucket: &[u8], emit: &mut Emit<'_>) -> Result<()>;
}

/// Takes a key and its value.
pub type Emit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<()> + 'a;

/// The size of a new file's pages: a power of two from 1024 to 16 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageBytes(u32);

impl PageBytes {
    /// None if bbolt has no such pages.
    #[must_use]
    pub fn new(bytes: u32) -> Option<Self> {
        (bytes.is_power_of_two() && PAGE_SIZES.contains(&bytes)).then_some(Self(bytes))
    }
}

impl Default for PageBytes {
    /// 4096, what bbolt takes on nearly every machine.
    fn default() -> Self {
        Self(4096)
    }
}

/// What a sizing pass found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    page_bytes: PageBytes,
    root: u64,
    mark: u64,
    items: u64,
    /// CRC-32C of all names, keys and values.
    digest: u32,
}

impl Layout {
    /// Length of the file in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.mark * u64::from(self.page_bytes.0)
    }

    /// Items in all buckets.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items
    }
}

/// Pass one: what the file of `source` will be.
///
/// # Errors
/// [`Error::Order`], [`Error::KeyLength`] or [`Error::ValueLength`] for what no database can hold,
/// and what the source gives.
pub fn measure(source: &mut impl Source, page_bytes: PageBytes) -> Result<Layout> {
    pack(source, page_bytes, None)
}

/// Pass two: writes the file that `layout` is of. `out` is not flushed to any disk.
///
/// # Errors
/// [`Error::SourceChanged`] if the source is not what was measured, perhaps after all was written;
/// [`Error::Write`]; and those of [`measure`].
pub fn write_measured(
    source: &mut impl Source,
    layout: &Layout,
    out: &mut impl Write,
) -> Result<()> {
    let mut out = std::io::BufWriter::with_capacity(BUFFER_BYTES, out);
    for id in 0..FIRST_ID {
        // Page i was written by transaction i, as in a file that bbolt has just made.
        let meta = Meta {
            page_bytes: layout.page_bytes.0,
            root: layout.root,
            mark: layout.mark,
            txid: id,
        };
        out.write_all(&meta.encode(id)).map_err(Error::Write)?;
    }
    let left = (layout.mark - FIRST_ID) * u64::from(layout.page_bytes.0);
    let written = pack(source, layout.page_bytes, Some(&mut Stream { out: &mut out, left }))?;
    if written != *layout {
        return Err(Error::SourceChanged);
    }
    out.flush().map_err(Error::Write)
}

/// Both passes.
///
/// # Errors
/// Those of [`measure`] and [`write_measured`].
pub fn write_image(
    source: &mut impl Source,
    page_bytes: PageBytes,
    out: &mut impl Write,
) -> Result<Layout> {
    let layout = measure(source, page_bytes)?;
    write_measured(source, &layout, out)?;
    Ok(layout)
}

/// Bytes handed to the writer at once.
const BUFFER_BYTES: usize = 256 << 10;

/// A database can be written again from what is read: without free pages, and packed.
impl<R: ReadAt> Source for Reader<R> {
    fn buckets(&mut self) -> Result<Vec<Vec<u8>>> {
        Reader::buckets(self)?.map(|bucket| Ok(bucket?.name().to_vec())).collect()
    }

    fn visit(&mut self, bucket: &[u8], emit: &mut Emit<'_>) -> Result<()> {
        let bucket = self.bucket(bucket)?.ok_or(Error::SourceChanged)?;
        let mut cursor = bucket.cursor()?;
        while let Some((key, value)) = cursor.next_item()? {
            emit(key, value)?;
        }
        Ok(())
    }
}

/// One pass, the first without a sink.
fn pack(
    source: &mut impl Source,
    page_bytes: PageBytes,
    sink: Option<&mut dyn Sink>,
) -> Result<Layout> {
    let mut pages = Pages::new(sink, page_bytes.0 as usize);
    let mut root = Tree::new();
    let (mut items, mut digest) = (0, 0);
    for name in source.buckets()? {
        check_key(&[], &name, root.last())?;
        digest = digest_of(digest, &name);
        let mut tree = Tree::new();
        source.visit(&name, &mut |key, value| {
            check_key(&name, key, tree.last())?;
            if value.len() > VALUE_BYTES_MAX {
                let (bucket, key, bytes) = (name.clone(), key.to_vec(), value.len());
                return Err(Error::ValueLength { bucket, key, bytes });
            }
            items += 1;
            digest = digest_of(digest_of(digest, key), value);
            tree.push(&mut pages, key, Value::Plain, value)
        })?;
        let value = tree.finish_bucket(&mut pages)?;
        root.push(&mut pages, &name, Value::Bucket, &value)?;
    }
    let root = root.finish_root(&mut pages)?;
    Ok(Layout { page_bytes, root, mark: pages.mark(), items, digest })
}

fn check_key(bucket: &[u8], key: &[u8], last: Option<&[u8]>) -> Result<()> {
    if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
        let start = key[..key.len().min(64)].to_vec();
        return Err(Error::KeyLength { bucket: bucket.to_vec(), start, bytes: key.len() });
    }
    match last {
        Some(last) if last >= key => {
            let (bucket, key, after) = (bucket.to_vec(), key.to_vec(), last.to_vec());
            Err(Error::Order { bucket, key, after })
        }
        _ => Ok(()),
    }
}

/// Continues the digest with a name, key or value, its length included.
fn digest_of(digest: u32, bytes: &[u8]) -> u32 {
    let length = (bytes.len() as u64).to_le_bytes();
    crc32c::crc32c_append(crc32c::crc32c_append(digest, &length), bytes)
}

/// Pass two's sink. It never writes more than was measured: the reader of a snapshot was told how
/// many bytes will come.
struct Stream<'a, W: Write> {
    out: &'a mut W,
    left: u64,
}

impl<W: Write> Sink for Stream<'_, W> {
    fn page(&mut self, bytes: &[u8]) -> Result<()> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(Error::SourceChanged)?;
        self.out.write_all(bytes).map_err(Error::Write)
    }
}

#[cfg(test)]
mod tests;
