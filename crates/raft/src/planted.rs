//! Bugs on switches, for the proof that the simulator finds them.
//!
//! Without the feature `planted-bugs` every switch is a constant `false`, and the compiler leaves
//! nothing of it. With it, [`plant`] turns one bug on for the calling thread. Each is a mistake
//! that was made somewhere once, or nearly.

/// A mistake, at the place that asks [`is`] for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// A leader commits an entry of an earlier term by counting.
    OlderTermCommitted,
    /// A leader counts its own entries before they are durable.
    LeaderCountsItselfEarly,
    /// A learner counts towards the quorum.
    LearnerCounted,
    /// A leader answers a read without asking anybody.
    ReadWithoutQuorum,
    /// An echo of an earlier read confirms a later one.
    StaleReadConfirmed,
    /// A new leader answers reads before it committed in its term.
    ReadBeforeCommit,
    /// A leader that was removed takes the one voter left for itself.
    RemovedLeaderReads,
    /// An append is taken whatever stands before it.
    AppendBlindlyAccepted,
    /// An old append is acknowledged up to where the message reaches.
    AcknowledgesTheMessage,
    /// Entries that conflict with the leader's stay.
    ConflictKept,
    /// A late copy of an append cuts off what came after it.
    DuplicateTruncates,
    /// A heartbeat tells more committed than the follower has.
    HeartbeatCommitsAll,
    /// A vote looks at the last term alone, not at the length.
    VoteToShorterLog,
    /// A node votes again in the same term.
    SecondVote,
    /// A pre-vote makes others take over its term.
    PreVoteRaisesTerm,
    /// A change of members is in force once appended.
    ConfigurationAtAppend,
    /// A snapshot is labelled with the index after its own.
    SnapshotOffByOne,
    /// A vote is kept into the next term.
    TermKeepsVote,
}

#[cfg(feature = "planted-bugs")]
impl Bug {
    /// All there are.
    pub const ALL: [Bug; 18] = [
        Bug::OlderTermCommitted,
        Bug::LeaderCountsItselfEarly,
        Bug::LearnerCounted,
        Bug::ReadWithoutQuorum,
        Bug::StaleReadConfirmed,
        Bug::ReadBeforeCommit,
        Bug::RemovedLeaderReads,
        Bug::AppendBlindlyAccepted,
        Bug::AcknowledgesTheMessage,
        Bug::ConflictKept,
        Bug::DuplicateTruncates,
        Bug::HeartbeatCommitsAll,
        Bug::VoteToShorterLog,
        Bug::SecondVote,
        Bug::PreVoteRaisesTerm,
        Bug::ConfigurationAtAppend,
        Bug::SnapshotOffByOne,
        Bug::TermKeepsVote,
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
