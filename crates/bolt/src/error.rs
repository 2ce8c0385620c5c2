//! What can go wrong, by who has to act: the disk, the file, the source of a new file.

/// What an operation gives.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed operation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file could not be read.
    #[error("cannot read {bytes} bytes at offset {offset}: {source}")]
    Read {
        /// Where in the file.
        offset: u64,
        /// How much.
        bytes: u64,
        /// What the system said.
        source: std::io::Error,
    },

    /// The file is not what bbolt or we would have written.
    #[error("corrupt database: page {page} at offset {offset}: expected {expected}, found {found}")]
    Corrupt {
        /// The page that holds what is wrong, or refers to it.
        page: u64,
        /// Where that page begins, or what is wrong in it, in bytes of the file.
        offset: u64,
        /// What would have been right.
        expected: String,
        /// What is there.
        found: String,
    },

    /// A page larger than the caller's limit; the file may be sound.
    #[error("page {page} has {bytes} bytes, the limit is {limit}")]
    PageTooLarge {
        /// The page.
        page: u64,
        /// Its bytes, overflow included.
        bytes: u64,
        /// [`crate::Limits::page_bytes_max`].
        limit: u64,
    },

    /// A bucket within a bucket, which etcd never makes and this crate does not follow.
    #[error("key {} of bucket {} is a bucket", .key.escape_ascii(), .bucket.escape_ascii())]
    Nested {
        /// The outer bucket.
        bucket: Vec<u8>,
        /// The inner one.
        key: Vec<u8>,
    },

    /// The new file could not be written.
    #[error("cannot write the database: {0}")]
    Write(#[source] std::io::Error),

    /// The source of a new file failed.
    #[error("the source of the database failed: {0}")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// The source gave buckets, or keys of one, that do not ascend; a key twice is the same.
    #[error(
        "key {} of bucket {} comes after {}",
        .key.escape_ascii(), .bucket.escape_ascii(), .after.escape_ascii()
    )]
    Order {
        /// The bucket; empty if the keys are names of buckets.
        bucket: Vec<u8>,
        /// The key given.
        key: Vec<u8>,
        /// The one before it.
        after: Vec<u8>,
    },

    /// The source gave a key that is empty or longer than [`crate::KEY_BYTES_MAX`].
    #[error(
        "a key of bucket {} that begins with {} has {bytes} bytes, allowed are 1 to 32768",
        .bucket.escape_ascii(), .start.escape_ascii()
    )]
    KeyLength {
        /// The bucket; empty if the key is a bucket's name.
        bucket: Vec<u8>,
        /// The key's first bytes, at most 64.
        start: Vec<u8>,
        /// Its length.
        bytes: usize,
    },

    /// The source gave a value longer than [`crate::VALUE_BYTES_MAX`].
    #[error(
        "the value of key {} of bucket {} has {bytes} bytes, allowed are 2147483646",
        .key.escape_ascii(), .bucket.escape_ascii()
    )]
    ValueLength {
        /// The bucket.
        bucket: Vec<u8>,
        /// The key.
        key: Vec<u8>,
        /// Its value's length.
        bytes: usize,
    },

    /// The source did not give the same when asked a second time; what was written is of no use.
    #[error("the source of the database changed while it was written")]
    SourceChanged,
}

impl Error {
    /// For a [`crate::Source`] that cannot give what it should.
    pub fn source(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Source(error.into())
    }
}
