//! Sending the log: appends, snapshots, heartbeats; and committing what a quorum has.

use super::{Raft, to};
use crate::log::{EntryId, payload_size};
use crate::planted::{self, Bug};
use crate::storage::{Storage, StorageError};
use crate::tracker::ProgressState;
use raftpb::{Entry, MessageType};
use tracing::debug;

impl<S: Storage> Raft<S> {
    /// Appends entries of this leader's term to its log. Returns false if that would exceed the
    /// limit of uncommitted bytes.
    pub(super) fn append_entries(&mut self, mut entries: Vec<Entry>) -> bool {
        let last = self.log.last_index();
        for (entry, index) in entries.iter_mut().zip(last + 1..) {
            entry.term = Some(self.term);
            entry.index = Some(index);
        }
        if !self.increase_uncommitted_size(&entries) {
            return false;
        }
        let last = last + entries.len() as u64;
        self.log.append(entries);
        // Its own acknowledgement counts once the entries are durable.
        let mut own = to(self.id, MessageType::MsgAppResp);
        own.index = Some(last);
        self.send(own);
        if planted::is(Bug::LeaderCountsItselfEarly)
            && let Some(own) = self.tracker.progress.get_mut(&self.id)
        {
            own.maybe_update(last);
        }
        true
    }

    /// One proposal always goes, however large, and empty ones always do: a new leader's first
    /// entry must not be refused.
    fn increase_uncommitted_size(&mut self, entries: &[Entry]) -> bool {
        let size = payload_size(entries);
        let total = self.uncommitted_size.saturating_add(size);
        let limit = self.config.max_uncommitted_entries_size;
        if self.uncommitted_size > 0 && size > 0 && total > limit {
            debug!(id = self.id, size, limit, "uncommitted entries would exceed the limit");
            return false;
        }
        self.uncommitted_size = total;
        true
    }

    /// Moves the commit index to what a quorum has, if that is of this term.
    pub(super) fn maybe_commit(&mut self) -> bool {
        let index = if planted::is(Bug::LearnerCounted) {
            self.tracker.committed_with_learners()
        } else {
            self.tracker.committed()
        };
        let mut term = self.term;
        if planted::is(Bug::OlderTermCommitted) {
            term = self.log.term(index).unwrap_or(term);
        }
        self.log.maybe_commit(EntryId { term, index })
    }

    /// Sends each follower what it lacks, or at least the commit index.
    pub(super) fn broadcast_append(&mut self) {
        let mut walk = 0;
        while let Some(id) = self.tracker.member_after(walk) {
            walk = id;
            if id != self.id {
                self.send_append(id);
            }
        }
    }

    /// Likewise, but only those to whom there are entries to send.
    pub(super) fn broadcast_entries(&mut self) {
        let mut walk = 0;
        while let Some(id) = self.tracker.member_after(walk) {
            walk = id;
            if id != self.id {
                self.maybe_send_append(id, false);
            }
        }
    }

    pub(super) fn send_append(&mut self, id: u64) {
        self.maybe_send_append(id, true);
    }

    /// Sends one append with the follower's next entries, unless it is paused. Without entries to
    /// send it goes only `if_empty`: to tell the commit index, or to probe. Falls back to a
    /// snapshot if the entries are compacted. Returns whether anything was sent.
    pub(super) fn maybe_send_append(&mut self, id: u64, if_empty: bool) -> bool {
        let Some(member) = self.tracker.progress.get(&id) else { return false };
        if member.is_paused() {
            return false;
        }
        let prev_index = member.next - 1;
        let Some(prev_term) = self.log.term(prev_index) else {
            return self.maybe_send_snapshot(id);
        };
        // With a full window the follower still hears the commit index.
        let window_open = member.state != ProgressState::Replicate || !member.inflights.is_full();
        let entries = if window_open {
            match self.log.entries(member.next, self.config.max_size_per_msg) {
                Some(entries) => entries,
                None => return self.maybe_send_snapshot(id),
            }
        } else {
            Vec::new()
        };
        if entries.is_empty() && !if_empty {
            return false;
        }
        let commit = self.log.committed;
        let (count, size) = (entries.len(), payload_size(&entries));
        let mut append = to(id, MessageType::MsgApp);
        append.index = Some(prev_index);
        append.log_term = Some(prev_term);
        append.entries = entries;
        append.commit = Some(commit);
        self.send(append);
        if let Some(member) = self.tracker.progress.get_mut(&id) {
            member.sent_entries(count, size);
            member.sent_commit = commit;
        }
        true
    }

    fn maybe_send_snapshot(&mut self, id: u64) -> bool {
        let Some(member) = self.tracker.progress.get_mut(&id) else { return false };
        if !member.recent_active {
            debug!(id = self.id, to = id, "no snapshot to a member that was not heard lately");
            return false;
        }
        let snapshot = match self.log.snapshot() {
            Ok(snapshot) => snapshot,
            Err(StorageError::SnapshotTemporarilyUnavailable) => {
                debug!(id = self.id, to = id, "the snapshot is not ready yet");
                return false;
            }
            Err(error) => panic!("raft cannot go on without its log: {error}"),
        };
        assert!(
            !snapshot.is_empty(),
            "entries were compacted without a snapshot to stand for them"
        );
        debug!(id = self.id, to = id, index = snapshot.index(), "sending a snapshot");
        member.become_snapshot(snapshot.index());
        let mut message = to(id, MessageType::MsgSnap);
        message.snapshot = Some(snapshot);
        self.send(message);
        true
    }

    /// Tells every follower that this leader is there, and asks them to confirm it to the reads
    /// that wait.
    pub(super) fn broadcast_heartbeat(&mut self) {
        let context = self.read_only.heartbeat_context();
        let mut walk = 0;
        while let Some(id) = self.tracker.member_after(walk) {
            walk = id;
            if id == self.id {
                continue;
            }
            let Some(member) = self.tracker.progress.get_mut(&id) else { continue };
            // Never more than it is known to have: it could not tell what it lacks.
            let mut commit = member.matched.min(self.log.committed);
            if planted::is(Bug::HeartbeatCommitsAll) {
                commit = self.log.committed;
            }
            member.sent_commit = commit;
            let mut heartbeat = to(id, MessageType::MsgHeartbeat);
            heartbeat.commit = Some(commit);
            heartbeat.context = context.clone();
            self.send(heartbeat);
        }
    }
}
