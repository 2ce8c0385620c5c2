//! bbolt files: read piece by piece, written whole.
//!
//! Floor 1. A database file of etcd is what members send each other as a snapshot, what
//! `snapshot save` gives an operator, and what a data directory of the real etcd holds. This crate
//! reads such a file with every number checked ([`Reader`]) and writes a new one from any source
//! that is in order ([`write_image`]). It owns no file: it reads from a [`ReadAt`] and writes to
//! any [`std::io::Write`].
//!
//! It is no storage engine: nothing here changes a file. It knows nothing of what etcd keeps in
//! the buckets either. `docs/formats/db.md` draws the file.
//!
//! Read [`Reader`] first, then `writer.rs`.

mod error;
mod meta;
mod page;
mod read_at;
mod reader;
mod tree;
mod visited;
mod writer;

pub use error::{Error, Result};
pub use page::{KEY_BYTES_MAX, VALUE_BYTES_MAX};
pub use read_at::ReadAt;
pub use reader::{Bucket, Buckets, Checked, Cursor, Limits, Reader};
pub use writer::{Emit, Layout, PageBytes, Source, measure, write_image, write_measured};
