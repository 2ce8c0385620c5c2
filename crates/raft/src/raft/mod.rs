//! One node's state machine: messages go in through `step`, what is to be done piles up in
//! `messages`, the log and `read_states`, and [`crate::RawNode`] carries it out.
//!
//! ```text
//!                    times out                 wins the pre-vote
//!   Follower ------------------> PreCandidate ------------------> Candidate
//!      ^  ^   (without PreVote: to Candidate)                         |
//!      |  +------------- loses, or hears a leader --------------------+
//!      |                                                              | wins
//!      +---- higher term, no quorum, removed ---- Leader <------------+
//! ```
//!
//! This file holds the state, its transitions and what is common to all parts; each part has a
//! file of its own. Invariants: the term never falls; a vote is never changed within a term; the
//! leader of a term never changes its log but by appending.

mod candidate;
mod election;
mod follower;
mod leader;
mod membership;
mod reading;
mod replication;

use crate::config::{Config, ConfigError, ReadOnlyOption};
use crate::log::{EntryId, RaftLog, encoded_size, payload_size};
use crate::planted::{self, Bug};
use crate::rand::Rand;
use crate::read_only::ReadOnly;
use crate::ready::{ReadState, SoftState, StateType};
use crate::storage::Storage;
use crate::tracker::{Progress, ProgressTracker};
use crate::{Error, NONE, confchange};
use election::Campaign;
use raftpb::{Entry, HardState, Message, MessageType, Snapshot};
use tracing::{debug, info};

#[derive(Debug)]
pub(crate) struct Raft<S> {
    pub(crate) id: u64,
    pub(crate) term: u64,
    pub(crate) vote: u64,
    pub(crate) state: StateType,
    pub(crate) lead: u64,
    pub(crate) is_learner: bool,
    pub(crate) log: RaftLog<S>,
    pub(crate) tracker: ProgressTracker,
    /// May leave at once.
    pub(crate) messages: Vec<Message>,
    /// Promises: may leave, or be delivered to this node itself, once all that is unstable now is
    /// durable.
    pub(crate) messages_after_append: Vec<Message>,
    pub(crate) read_states: Vec<ReadState>,
    pub(crate) lead_transferee: Option<u64>,
    /// No membership change may be proposed until this index is applied: there may be one at it.
    pending_conf_index: u64,
    /// Payload bytes of this leader's uncommitted proposals, roughly.
    uncommitted_size: u64,
    read_only: ReadOnly,
    /// Reads that arrived before this leader committed anything in its term.
    pending_reads: Vec<Message>,
    /// Ticks since the election timer was reset; for a leader, since it checked its quorum.
    election_elapsed: u32,
    heartbeat_elapsed: u32,
    /// In `[election_tick, 2 * election_tick)`, drawn at each change of state.
    randomized_election_timeout: u32,
    rand: Rand,
    config: Config,
}

impl<S: Storage> Raft<S> {
    pub(crate) fn new(config: Config, storage: S) -> Result<Raft<S>, ConfigError> {
        config.validate()?;
        let unlimited_if_zero = |limit: u64, zero: u64| if limit == 0 { zero } else { limit };
        // Something must be appliable even if an append may carry one entry only.
        let applying_size_max =
            unlimited_if_zero(config.max_committed_size_per_ready, config.max_size_per_msg).max(1);
        let (hard_state, conf_state) = storage.initial_state()?;
        let log = RaftLog::new(storage, applying_size_max)?;
        let mut raft = Raft {
            id: config.id,
            term: hard_state.term(),
            vote: hard_state.vote(),
            state: StateType::Follower,
            lead: NONE,
            is_learner: false,
            log,
            tracker: ProgressTracker::new(config.max_inflight_msgs, config.max_inflight_bytes),
            messages: Vec::new(),
            messages_after_append: Vec::new(),
            read_states: Vec::new(),
            lead_transferee: None,
            pending_conf_index: 0,
            uncommitted_size: 0,
            read_only: ReadOnly::default(),
            pending_reads: Vec::new(),
            election_elapsed: 0,
            heartbeat_elapsed: 0,
            randomized_election_timeout: 0,
            rand: Rand::new(config.seed, config.id),
            config,
        };
        raft.config.max_uncommitted_entries_size =
            unlimited_if_zero(raft.config.max_uncommitted_entries_size, u64::MAX);
        let changed = confchange::restore(&raft.tracker, raft.log.last_index(), &conf_state)?;
        raft.switch_to_config(changed);
        raft.load_hard_state(&hard_state)?;
        raft.become_follower(raft.term, NONE);
        Ok(raft)
    }

    fn load_hard_state(&mut self, hard_state: &HardState) -> Result<(), ConfigError> {
        let within = |what, index, low, high| {
            if (low..=high).contains(&index) {
                Ok(())
            } else {
                Err(ConfigError::OutOfLog { what, index, low, high })
            }
        };
        if !hard_state.is_empty() {
            let (low, high) = (self.log.committed, self.log.last_index());
            within("commit index", hard_state.commit(), low, high)?;
            self.log.committed = hard_state.commit();
        }
        if self.config.applied > 0 {
            let (low, high) = (self.log.applied, self.log.committed);
            within("applied index", self.config.applied, low, high)?;
            self.log.applied_to(self.config.applied, 0);
        }
        Ok(())
    }

    pub(crate) fn soft_state(&self) -> SoftState {
        SoftState { lead: self.lead, state: self.state }
    }

    pub(crate) fn hard_state(&self) -> HardState {
        HardState { term: Some(self.term), vote: Some(self.vote), commit: Some(self.log.committed) }
    }

    /// Whether entries may be applied before they are durable here. With `Ready` and `advance`
    /// the application makes them durable first; with messages it must have agreed to care.
    pub(crate) fn allow_unstable(&self) -> bool {
        !self.config.async_storage_writes || self.config.apply_unstable
    }

    pub(crate) fn tick(&mut self) {
        match self.state {
            StateType::Leader => self.tick_heartbeat(),
            _ => self.tick_election(),
        }
    }

    /// Takes a message of any kind, from another node or this one.
    pub(crate) fn step(&mut self, message: Message) -> Result<(), Error> {
        let kind = message.r#type();
        if message.term() > self.term {
            if !self.adopt_higher_term(&message, kind) {
                return Ok(());
            }
        } else if message.term() != 0 && message.term() < self.term {
            self.answer_lower_term(message, kind);
            return Ok(());
        }
        match kind {
            MessageType::MsgHup => {
                let pre_vote = self.config.pre_vote;
                self.hup(if pre_vote { Campaign::PreElection } else { Campaign::Election });
            }
            MessageType::MsgStorageAppendResp => self.storage_append_done(message),
            MessageType::MsgStorageApplyResp => self.storage_apply_done(&message.entries),
            MessageType::MsgVote | MessageType::MsgPreVote => self.cast_vote(&message, kind),
            _ => match self.state {
                StateType::Leader => self.step_leader(message, kind)?,
                StateType::Follower => self.step_follower(message, kind)?,
                StateType::Candidate | StateType::PreCandidate => {
                    self.step_candidate(message, kind)?;
                }
            },
        }
        Ok(())
    }

    /// Takes over the higher term of a message, where it counts. Returns whether the message is
    /// to be processed at all.
    fn adopt_higher_term(&mut self, message: &Message, kind: MessageType) -> bool {
        if matches!(kind, MessageType::MsgVote | MessageType::MsgPreVote) {
            let forced = message.context() == election::TRANSFER_CONTEXT;
            let in_lease = self.config.check_quorum
                && self.lead != NONE
                && self.election_elapsed < self.config.election_tick;
            // While it hears its leader, a node helps nobody to replace it (thesis 4.2.3).
            if in_lease && !forced {
                info!(
                    id = self.id,
                    from = message.from(),
                    term = message.term(),
                    "ignored an election: the lease of the leader is not expired"
                );
                return false;
            }
        }
        match kind {
            // Nobody takes over a term that is only being asked about, or one that was promised
            // for an election still to come.
            MessageType::MsgPreVote if !planted::is(Bug::PreVoteRaisesTerm) => {}
            MessageType::MsgPreVoteResp if !message.reject() => {}
            MessageType::MsgApp | MessageType::MsgHeartbeat | MessageType::MsgSnap => {
                self.become_follower(message.term(), message.from());
            }
            _ => self.become_follower(message.term(), NONE),
        }
        true
    }

    fn answer_lower_term(&mut self, message: Message, kind: MessageType) {
        let from = message.from();
        match kind {
            // A leader of an old term that was cut off must learn of the new one. With these
            // options an election would not teach it, for this node could not disturb it.
            MessageType::MsgApp | MessageType::MsgHeartbeat
                if self.config.check_quorum || self.config.pre_vote =>
            {
                self.send(to(from, MessageType::MsgAppResp));
            }
            MessageType::MsgPreVote => {
                let mut answer = to(from, MessageType::MsgPreVoteResp);
                answer.term = Some(self.term);
                answer.reject = Some(true);
                self.send(answer);
            }
            // Entries written in an earlier term may have been replaced and written again since,
            // so the term must match; a snapshot, once written, is.
            MessageType::MsgStorageAppendResp => {
                if let Some(snapshot) = message.snapshot {
                    self.applied_snapshot(&snapshot);
                }
            }
            _ => debug!(id = self.id, from, ?kind, "ignored a message with a lower term"),
        }
    }

    /// Sends a message, now or once what it promises is durable.
    pub(crate) fn send(&mut self, mut message: Message) {
        use MessageType::{
            MsgAppResp, MsgPreVote, MsgPreVoteResp, MsgProp, MsgReadIndex, MsgVote, MsgVoteResp,
        };
        if message.from() == NONE {
            message.from = Some(self.id);
        }
        let kind = message.r#type();
        if matches!(kind, MsgVote | MsgVoteResp | MsgPreVote | MsgPreVoteResp) {
            // These can be about a term that is not this node's.
            assert!(message.term() != 0, "{kind:?} is sent with its term");
        } else {
            assert!(message.term() == 0, "{kind:?} is sent with this node's term");
            // Forwarded requests are no statement of this node's.
            if !matches!(kind, MsgProp | MsgReadIndex) {
                message.term = Some(self.term);
            }
        }
        let early = self.config.early_vote_requests;
        if matches!(kind, MsgAppResp | MsgVoteResp | MsgPreVoteResp) || (kind == MsgVote && !early)
        {
            // They say "I have it", "I voted for you" or "vote for me in this term, with this
            // log": true only once it is durable. A leader's acknowledgement to itself, and a
            // candidate's own vote, are no different.
            self.messages_after_append.push(message);
        } else {
            assert!(message.to() != self.id, "{kind:?} is never sent to oneself");
            self.messages.push(message);
        }
    }

    fn storage_append_done(&mut self, message: Message) {
        if message.index() != 0 {
            let id = EntryId { term: message.log_term(), index: message.index() };
            self.log.unstable.stable_to(id);
        }
        if let Some(snapshot) = message.snapshot {
            self.applied_snapshot(&snapshot);
        }
    }

    fn storage_apply_done(&mut self, entries: &[Entry]) {
        if let Some(last) = entries.last() {
            self.applied_to(last.index(), encoded_size(entries));
            self.uncommitted_size = self.uncommitted_size.saturating_sub(payload_size(entries));
        }
    }

    fn applied_snapshot(&mut self, snapshot: &Snapshot) {
        self.log.unstable.stable_snapshot_to(snapshot.index());
        self.applied_to(snapshot.index(), 0);
    }

    fn applied_to(&mut self, index: u64, size: u64) {
        let applied = index.max(self.log.applied);
        self.log.applied_to(applied, size);
        let may_leave = self.tracker.config.auto_leave
            && applied >= self.pending_conf_index
            && self.state == StateType::Leader;
        if may_leave {
            self.propose_auto_leave();
        }
    }

    pub(crate) fn become_follower(&mut self, term: u64, lead: u64) {
        self.reset(term);
        self.lead = lead;
        self.state = StateType::Follower;
        info!(id = self.id, term, lead, "became follower");
    }

    fn become_candidate(&mut self) {
        assert!(self.state != StateType::Leader, "a leader does not campaign");
        self.reset(self.term + 1);
        self.vote = self.id;
        self.state = StateType::Candidate;
        info!(id = self.id, term = self.term, "became candidate");
    }

    fn become_pre_candidate(&mut self) {
        assert!(self.state != StateType::Leader, "a leader does not campaign");
        // Neither term nor vote changes: nothing has been decided.
        self.tracker.reset_votes();
        self.lead = NONE;
        self.state = StateType::PreCandidate;
        info!(id = self.id, term = self.term, "became pre-candidate");
    }

    fn become_leader(&mut self) {
        assert!(self.state != StateType::Follower, "only a candidate becomes leader");
        self.reset(self.term);
        self.lead = self.id;
        self.state = StateType::Leader;
        let own = self.tracker.progress.get_mut(&self.id).expect("a leader is a member");
        own.become_replicate();
        own.recent_active = true;
        // There may be a membership change among the entries not applied yet; looking for it
        // would cost a scan, waiting costs little.
        self.pending_conf_index = self.log.last_index();
        // Older entries are committed by committing one of this term (raft section 5.4.2).
        let accepted = self.append_entries(vec![Entry::default()]);
        assert!(accepted, "an empty entry is never over the limit");
        info!(id = self.id, term = self.term, "became leader");
    }

    fn reset(&mut self, term: u64) {
        if self.term != term {
            self.term = term;
            if !planted::is(Bug::TermKeepsVote) {
                self.vote = NONE;
            }
        }
        self.lead = NONE;
        self.election_elapsed = 0;
        self.heartbeat_elapsed = 0;
        self.reset_randomized_election_timeout();
        self.lead_transferee = None;
        self.tracker.reset_votes();
        let last = self.log.last_index();
        let inflights = self.tracker.new_inflights();
        for (id, member) in &mut self.tracker.progress {
            *member = Progress::new(last + 1, inflights.clone(), member.is_learner);
            if *id == self.id {
                member.matched = last;
            }
        }
        self.pending_conf_index = 0;
        self.uncommitted_size = 0;
        self.read_only = ReadOnly::default();
        self.pending_reads.clear();
    }

    fn reset_randomized_election_timeout(&mut self) {
        let ticks = self.config.election_tick;
        self.randomized_election_timeout = ticks + self.rand.below(ticks);
    }

    pub(crate) fn set_randomized_election_timeout(&mut self, ticks: u32) {
        self.randomized_election_timeout = ticks;
    }

    fn lease_based_reads(&self) -> bool {
        self.config.read_only_option == ReadOnlyOption::LeaseBased
    }
}

/// A message to be filled in.
fn to(id: u64, kind: MessageType) -> Message {
    Message { to: Some(id), r#type: Some(kind.into()), ..Message::default() }
}
