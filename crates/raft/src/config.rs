//! What a node is told once, at its start.

/// How a leader makes sure, before it answers a read, that it still is the leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReadOnlyOption {
    /// It asks a quorum (raft section 6.4 of the thesis). Right whatever the clocks do.
    #[default]
    Safe,
    /// It trusts that no other leader is elected within an election timeout of having heard a
    /// quorum. Wrong if clocks drift without bound. Needs `check_quorum`.
    LeaseBased,
}

/// The configuration of one node. All times are in ticks; all sizes are in bytes.
#[derive(Debug, Clone)]
pub struct Config {
    /// The node's id: not 0, nor one of the storage threads' ids.
    pub id: u64,
    /// Ticks without hearing from a leader after which an election starts, at least; the actual
    /// number is drawn anew each time from `[election_tick, 2 * election_tick)`.
    pub election_tick: u32,
    /// Ticks between a leader's heartbeats.
    pub heartbeat_tick: u32,
    /// The last applied index, on restart. Entries up to it are not handed out again.
    pub applied: u64,
    /// Hand storage and apply work out as messages (to [`crate::LOCAL_APPEND_THREAD`] and
    /// [`crate::LOCAL_APPLY_THREAD`]) that are answered when done, rather than expect a `Ready`
    /// to be done with at the next `advance`.
    pub async_storage_writes: bool,
    /// With `async_storage_writes`: hand out entries that a quorum has committed before they are
    /// durable on this node. The application must then make nothing durable that is ahead of its
    /// durable log. Without `async_storage_writes` that is always so, and this must be unset.
    pub apply_unstable: bool,
    /// With `async_storage_writes`: ask for votes before this node's term, vote and log are
    /// durable, as etcd-io/raft does. Not safe: a candidate that crashes in between asks again in
    /// the same term, perhaps with a shorter log, and is given the same votes (decision 0003).
    pub early_vote_requests: bool,
    /// Encoded bytes of entries in one append, at most; 0 for one entry an append.
    pub max_size_per_msg: u64,
    /// Encoded bytes of entries handed out to be applied and not applied yet, at most; 0 for
    /// `max_size_per_msg`.
    pub max_committed_size_per_ready: u64,
    /// Payload bytes of uncommitted proposals, at most, before new ones are dropped; 0 for no
    /// limit.
    pub max_uncommitted_entries_size: u64,
    /// Appends on their way to one follower, at most.
    pub max_inflight_msgs: usize,
    /// Payload bytes on their way to one follower, at most; 0 for no limit.
    pub max_inflight_bytes: u64,
    /// A leader that has not heard a quorum for an election timeout steps down, and a node that
    /// hears its leader ignores elections.
    pub check_quorum: bool,
    /// Ask whether an election could be won before starting one (thesis section 9.6), so that a
    /// node that comes back does not disturb a working leader.
    pub pre_vote: bool,
    /// How reads are made safe.
    pub read_only_option: ReadOnlyOption,
    /// Drop a proposal made on a follower rather than forward it to the leader.
    pub disable_proposal_forwarding: bool,
    /// Take membership changes without checking them against the configuration in force. The
    /// application must then see to it that none is proposed that cannot be applied.
    pub disable_conf_change_validation: bool,
    /// A leader that is removed or made a learner steps down.
    pub step_down_on_removal: bool,
    /// Seeds the randomised election timeouts, together with `id`. All else is deterministic.
    pub seed: u64,
}

impl Default for Config {
    /// The settings an etcd server uses, without an id: the caller must set it.
    fn default() -> Self {
        Config {
            id: crate::NONE,
            election_tick: 10,
            heartbeat_tick: 1,
            applied: 0,
            async_storage_writes: false,
            apply_unstable: false,
            early_vote_requests: false,
            max_size_per_msg: 1 << 20,
            max_committed_size_per_ready: 0,
            max_uncommitted_entries_size: 0,
            max_inflight_msgs: 512,
            max_inflight_bytes: 0,
            check_quorum: true,
            pre_vote: true,
            read_only_option: ReadOnlyOption::Safe,
            disable_proposal_forwarding: false,
            disable_conf_change_validation: false,
            step_down_on_removal: false,
            seed: 0,
        }
    }
}

/// A configuration that no node can run with, or a start that failed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A field has a value that does not work.
    #[error("raft config {field}: {fix}")]
    Invalid {
        /// The field's name.
        field: &'static str,
        /// What it must be.
        fix: &'static str,
    },
    /// The storage could not be read.
    #[error("raft cannot read its storage")]
    Storage(#[from] crate::StorageError),
    /// The storage's configuration is none that a cluster can have.
    #[error("the stored configuration is not valid")]
    ConfState(#[from] crate::confchange::ChangeError),
    /// The stored commit index or applied index is not within the log.
    #[error("{what} {index} is out of range [{low}, {high}] of the stored log")]
    OutOfLog {
        /// Which index it is.
        what: &'static str,
        /// Its value.
        index: u64,
        /// The lowest it may be.
        low: u64,
        /// The highest it may be.
        high: u64,
    },
}

impl Config {
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let rules = [
            (self.id != crate::NONE, "id", "must not be 0, which means no node"),
            (!crate::is_local_target(self.id), "id", "must not be a storage thread's id"),
            (self.heartbeat_tick > 0, "heartbeat_tick", "must be at least 1"),
            (
                self.election_tick > self.heartbeat_tick,
                "election_tick",
                "must be greater than heartbeat_tick; ten times as much is usual",
            ),
            (self.max_inflight_msgs > 0, "max_inflight_msgs", "must be at least 1"),
            (
                self.max_inflight_bytes == 0 || self.max_inflight_bytes >= self.max_size_per_msg,
                "max_inflight_bytes",
                "must be 0 or at least max_size_per_msg",
            ),
            (
                self.read_only_option == ReadOnlyOption::Safe || self.check_quorum,
                "check_quorum",
                "must be set when read_only_option is lease based",
            ),
            (
                self.async_storage_writes || !self.apply_unstable,
                "apply_unstable",
                "needs async_storage_writes; without it, it is always so",
            ),
        ];
        match rules.into_iter().find(|(holds, ..)| !holds) {
            Some((_, field, fix)) => Err(ConfigError::Invalid { field, fix }),
            None => Ok(()),
        }
    }
}
