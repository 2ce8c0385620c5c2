//! Why something cannot be listened on or dialled as it is configured. Texts that etcd's users know
//! are etcd's.

use std::io;
use std::path::PathBuf;

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read or written.
    #[error("open {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file that holds something else than it should.
    #[error("{}: {reason}", path.display())]
    Content {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Options that do not go together.
    #[error("{0}")]
    Options(String),
    /// A place that cannot be listened on.
    #[error("listen {place}: {source}")]
    Listen {
        /// Which.
        place: String,
        /// What the system says.
        source: io::Error,
    },
}
