//! Everything that reads bytes it did not write, made to read any bytes: it may refuse them, it
//! must not panic, hang, take memory without end, or read back something else than was there.
//!
//! A target is a plain function. `cargo xtask fuzz <target> [seconds]` runs one under libFuzzer,
//! coverage-guided; `tests/corpus.rs` runs each over its committed corpus and seeded mutations of
//! it, so that what was found once is tested for ever. A corpus file is an input; one that made a
//! target fail has a name that says what it was.
//!
//! Where a checksum would turn every mutation away at the door, a target reads a first byte that
//! says whether the rest are raw bytes or parts to put right checksums around.

mod backend_files;
mod bolt_files;
mod input;
mod peer_streams;
mod snap_files;
mod wal_files;

/// A target: panics at what must not happen.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 6] = [
    ("wal", wal_files::run),
    ("snap", snap_files::run),
    ("peer-message", peer_streams::message),
    ("peer-msgappv2", peer_streams::msgappv2),
    ("backend", backend_files::run),
    ("bolt", bolt_files::run),
];

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}
