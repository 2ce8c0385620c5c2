//! What a member knows about the others: the active configuration, how far each has come, and
//! how they voted.
//!
//! A leader keeps a [`Progress`] per member; followers keep the configuration only in earnest.
//! Nothing here sends or decides to send; `raft` does, by what it reads here.

mod config;
mod inflights;
mod progress;
mod progress_tracker;

pub use config::Config;
pub use inflights::Inflights;
pub use progress::{Progress, ProgressState};
pub use progress_tracker::{ProgressMap, ProgressTracker, describe_progress};
