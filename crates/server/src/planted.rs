//! Bugs on switches, for the proof that the simulator finds them.
//!
//! Without the feature `planted-bugs` every switch is a constant `false`, and the compiler leaves
//! nothing of it. With it, [`plant`] turns one bug on for the calling thread. Each is a mistake
//! that was made somewhere once, or nearly.

/// A mistake, at the place that asks [`is`] for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A snapshot from a leader is acknowledged before it is durable that it is committed.
    SnapshotNotCommitted,
    /// A snapshot says the term of what was applied since the start, rather than the store's.
    SnapshotTermOfThisLife,
    /// Raft hears of entries behind a snapshot before it hears of the snapshot.
    AppendsOvertakeSnapshot,
    /// A member that does not lead any more has the leader revoke what ran out here.
    RevocationsPassedOn,
    /// A confirmed read is answered before its index is applied.
    ReadsBeforeApply,
    /// A watcher that caught up misses what was published since.
    EventsSkippedAtHandOver,
    /// Watchers are not told what an installed snapshot brings.
    ReplacedStoreNotTold,
    /// A watcher is told of progress before the events it is behind with.
    ProgressWhileBehind,
}

#[cfg(feature = "planted-bugs")]
impl Bug {
    /// All there are.
    pub const ALL: [Bug; 8] = [
        Bug::SnapshotNotCommitted,
        Bug::SnapshotTermOfThisLife,
        Bug::AppendsOvertakeSnapshot,
        Bug::RevocationsPassedOn,
        Bug::ReadsBeforeApply,
        Bug::EventsSkippedAtHandOver,
        Bug::ReplacedStoreNotTold,
        Bug::ProgressWhileBehind,
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
