//! Bugs on switches, for the proof that the simulator finds them.
//!
//! Without the feature `planted-bugs` every switch is a constant `false`, and the compiler leaves
//! nothing of it. With it, [`plant`] turns one bug on for the calling thread. Each is a mistake
//! that was made somewhere once, or nearly.

/// A mistake, at the place that asks [`is`] for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// Who reads what a compaction has dropped meanwhile finds nothing, and is not told why.
    DroppedReadsAsNothing,
    /// A compaction drops the newest value that it must keep, if that is its own revision.
    CompactionDropsNewest,
}

#[cfg(feature = "planted-bugs")]
impl Bug {
    /// All there are.
    pub const ALL: [Bug; 2] = [Bug::DroppedReadsAsNothing, Bug::CompactionDropsNewest];
}

#[cfg(feature = "planted-bugs")]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Turns a bug on for this thread, or all off.
#[cfg(feature = "planted-bugs")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether a bug is on.
#[cfg(feature = "planted-bugs")]
pub(crate) fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether a bug is on: never.
#[cfg(not(feature = "planted-bugs"))]
pub(crate) const fn is(_: Bug) -> bool {
    false
}
