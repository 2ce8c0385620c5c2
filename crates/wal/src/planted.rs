//! Bugs on switches, for the proof that the simulator finds them.
//!
//! Without the feature `planted-bugs` every switch is a constant `false`, and the compiler leaves
//! nothing of it. With it, [`plant`] turns one bug on for the calling thread. Each is a mistake
//! that was made somewhere once, or nearly.

/// A mistake, at the place that asks [`is`] for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A hard state with a new term or vote is not synced.
    VoteNotSynced,
    /// The stage answers before the sync.
    AcknowledgesBeforeSync,
    /// The CRC chain starts anew in each segment.
    CrcNotChained,
    /// A segment that was cut is not synced before the next begins.
    CutWithoutSync,
    /// What a torn write left behind the end is not zeroed.
    LeftoversKept,
    /// A repair does not cut.
    RepairLost,
    /// A purge takes segments that are still needed.
    PurgesTooMuch,
    /// A snapshot's record is written before its file is durable.
    SnapshotNotSynced,
    /// A snapshot's record is written before its file's name is durable.
    SnapshotNameNotSynced,
    /// An entry up to the snapshot does not drop what followed it before.
    ReplacedEntriesReturn,
    /// A snapshot from a leader does not drop what stands behind it.
    ReceivedSnapshotKeepsLog,
}

#[cfg(feature = "planted-bugs")]
impl Bug {
    /// All there are.
    pub const ALL: [Bug; 11] = [
        Bug::VoteNotSynced,
        Bug::AcknowledgesBeforeSync,
        Bug::CrcNotChained,
        Bug::CutWithoutSync,
        Bug::LeftoversKept,
        Bug::RepairLost,
        Bug::PurgesTooMuch,
        Bug::SnapshotNotSynced,
        Bug::SnapshotNameNotSynced,
        Bug::ReplacedEntriesReturn,
        Bug::ReceivedSnapshotKeepsLog,
    ];
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
