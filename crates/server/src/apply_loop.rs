//! The thread of the apply stage: committed entries into the state machine, replies to whoever
//! waits, changes to the watches.
//!
//! Invariants:
//! - what is answered is visible: replies leave after the batch is published, and before raft
//!   hears that it is applied;
//! - all that waits is one batch, one frame of the store and one publication; a batch ends before
//!   an entry that changes members, which raft must hear of first;
//! - questions about the state that only its owner can answer are answered between two batches.

use crate::driver::{Applied, Input};
use crate::install;
use crate::planted::{self, Bug};
use crate::shared::Shared;
use crate::store_loop::StoreOwner;
use crate::threads::{Stage, lock, tell_applied};
use crate::{Error, Fatal, describe};
use api::etcdserverpb::{AlarmMember, AlarmType};
use apply::{ApplyError, Image, LeaseEvent, Replaced, Reply, StateMachine};
use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, select, tick};
use member::{Cluster, format_id};
use mvcc::{Changes, Progress};
use raftpb::{ConfChange, ConfChangeType, Entry, EntryType, Message, Snapshot};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;
use wal::snap::Snapshotter;

/// Questions waiting for the apply stage, at most.
pub(crate) const QUESTIONS_MAX: usize = 4096;

/// Steps of a compaction between two pauses: of about a millisecond each, and enough for one of
/// few keys.
const COMPACTION_STEPS: usize = 4;

/// What the apply stage is asked besides applying.
pub(crate) enum ApplyInput {
    /// The keys attached to a lease.
    Lease { id: i64, answer: oneshot::Sender<Option<Vec<Bytes>>> },
    /// The ids of all leases.
    Leases { answer: oneshot::Sender<Vec<i64>> },
    /// What a snapshot of now says.
    Snapshot { answer: oneshot::Sender<SnapshotState> },
    /// The state of now, to be written as a database, and what a snapshot of it says.
    Image { answer: oneshot::Sender<(Image, SnapshotState)> },
}

/// What a raft snapshot says of the state machine.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotState {
    /// The index of the last entry in it.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The members, in the form older members read.
    pub data: Bytes,
    /// Raft's configuration then.
    pub conf_state: raftpb::ConfState,
}

/// What others are told of each batch, in this order.
pub(crate) trait Outside {
    /// What the batch changed, visible now.
    fn changed(&mut self, changes: Vec<Arc<Changes>>, compacted: i64);
    /// Revisions before this one can be read no more.
    fn compacted(&mut self, compacted: i64);
    /// Another store took the place of all that was, and stands at this revision.
    fn replaced(&mut self, revision: i64, compacted: i64);
    /// A member came, or is elsewhere now.
    fn member_added(&mut self, id: u64, peer_urls: &[String]);
    /// A member is gone for good.
    fn member_removed(&mut self, id: u64);
    /// A reply said that there is no room, and the alarm is due.
    fn no_space(&mut self);
    /// An entry without data was applied: a leader's term has begun.
    fn term_began(&mut self);
}

/// The stage with what it talks to.
pub(crate) struct ApplyStage<O> {
    pub machine: StateMachine,
    pub shared: Arc<Shared>,
    pub done: Sender<Input>,
    pub outside: O,
    /// Has the databases that peers sent.
    pub snapshotter: Snapshotter,
    pub store: Box<dyn StoreOwner>,
    /// Term of the last entry applied since the start.
    pub term: u64,
    /// The compact revision that others know of.
    pub compacted: i64,
    /// Whether a compaction is under way; one that a crash cut goes on.
    pub compacting: bool,
    /// Wakes the stage's thread when a compaction begins.
    pub nudge: Sender<()>,
    /// When the last entry was done, or the batch began.
    pub clock: Instant,
    /// When the compaction under way began, and the longest that others waited for it.
    pub compaction: Option<(Instant, Duration)>,
}

/// Runs the stage until the driver is gone: what the driver's thread leaves to it, questions, and
/// compactions.
pub(crate) fn run<O: Outside + Send>(
    stage: &Mutex<ApplyStage<O>>,
    applies: &Receiver<Message>,
    questions: &Receiver<ApplyInput>,
    nudges: &Receiver<()>,
) -> Result<(), Fatal> {
    let pauses = tick(lock(stage).shared.config.compaction_pause);
    loop {
        let compacting = lock(stage).compacting;
        select! {
            recv(applies) -> work => match work {
                Ok(work) => {
                    let works = std::iter::once(work).chain(applies.try_iter()).collect();
                    lock(stage).run(works)?;
                }
                Err(_) => return Ok(()),
            },
            recv(questions) -> question => {
                if let Ok(question) = question {
                    lock(stage).answer(question);
                }
            }
            recv(if compacting { &pauses } else { &NEVER }) -> _ => {
                lock(stage).go_on_compacting()?;
            }
            // A compaction has begun on the driver's thread.
            recv(nudges) -> _ => {}
        }
    }
}

impl<O: Outside + Send> Stage for ApplyStage<O> {
    fn run(&mut self, works: Vec<Message>) -> Result<(), Fatal> {
        // A small compaction is over before its client asks for the next thing.
        if self.apply(works)? {
            self.go_on_compacting()?;
            if self.compacting {
                // If there is no room, the thread has yet to look.
                let _ = self.nudge.try_send(());
            }
        }
        Ok(())
    }
}

impl<O: Outside> ApplyStage<O> {
    /// Applies all pieces of work. Whether a compaction began.
    fn apply(&mut self, works: Vec<Message>) -> Result<bool, Fatal> {
        let before = self.machine.mvcc().compact_revision();
        self.clock = Instant::now();
        for work in works {
            if let Some(snapshot) = &work.snapshot {
                self.install(snapshot)?;
                let (index, responses) = (snapshot.index(), work.responses);
                tell_applied(&self.done, Applied { index, responses, ..Applied::default() });
                continue;
            }
            let mut replies = Vec::new();
            let mut applied = Applied { responses: work.responses, ..Applied::default() };
            for entry in &work.entries {
                (applied.index, self.term) = (entry.index(), entry.term());
                match entry.r#type() {
                    EntryType::EntryNormal => self.apply_normal(entry, &mut replies)?,
                    EntryType::EntryConfChange => self.apply_change(entry, &mut applied)?,
                    EntryType::EntryConfChangeV2 => {
                        let index = entry.index();
                        let reason = "a kind of change that etcd never makes".to_owned();
                        return Err(Fatal::Entry { index, reason });
                    }
                }
            }
            self.finish(applied, replies);
        }
        Ok(self.machine.mvcc().compact_revision() > before)
    }

    fn apply_normal(
        &mut self,
        entry: &Entry,
        replies: &mut Vec<(u64, Result<Reply, Error>)>,
    ) -> Result<(), Fatal> {
        if entry.data().is_empty() {
            self.outside.term_began();
        }
        let waiters = &self.shared.waiters;
        let applied = self.machine.apply(entry, |id| waiters.waits(id)).map_err(fatal)?;
        if let Some(applied) = applied {
            self.measure(entry, &applied);
            replies.push((applied.id, applied.reply.map_err(Error::from)));
        }
        Ok(())
    }

    /// One look at the clock for each entry: one begins where the last one ended.
    fn measure(&mut self, entry: &Entry, applied: &apply::Applied) {
        let now = Instant::now();
        let took = now - self.clock;
        self.clock = now;
        let metrics = &self.shared.metrics;
        // Compat: a revision that was compacted already is no failure.
        let good = matches!(applied.reply, Ok(_) | Err(api::Error::Compacted));
        metrics.applies.of(applied.op).took(good, took);
        let expected = self.shared.config.warning_apply;
        if took > expected {
            metrics.slow_applies.inc();
            let response = applied.reply.as_ref().map(describe::reply).unwrap_or_default();
            let request = describe::entry(entry.data());
            let error = applied.reply.as_ref().err().map(ToString::to_string);
            describe::took_too_long(took, expected, "", &request, &response, error.as_deref());
        }
    }

    fn apply_change(&mut self, entry: &Entry, applied: &mut Applied) -> Result<(), Fatal> {
        let before = self.shared.cluster();
        let outcome = self.machine.apply_change(entry).map_err(fatal)?;
        let reply = match &outcome.refused {
            None => Ok(Reply::Done),
            Some(refused) => Err(Error::from(*refused)),
        };
        applied.replies.push((outcome.id, reply));
        if let Some(change) = &outcome.change {
            let id = change.node_id();
            self.log_change(&before, change);
            if change.r#type() == ConfChangeType::ConfChangeRemoveNode {
                self.outside.member_removed(id);
            } else if let Some(member) = self.machine.cluster().member(id) {
                self.outside.member_added(id, &member.peer_urls);
            }
        }
        applied.changes.push(outcome.change);
        Ok(())
    }

    /// Compat: texts and fields that people look for.
    fn log_change(&self, before: &Cluster, change: &ConfChange) {
        let id = change.node_id();
        let cluster_id = format_id(self.shared.cluster_id);
        let local_member_id = format_id(self.shared.id);
        let (old, new) = (before.member(id), self.machine.cluster().member(id));
        match (change.r#type(), old, new) {
            (ConfChangeType::ConfChangeRemoveNode, Some(old), None) => tracing::info!(
                cluster_id,
                local_member_id,
                removed_remote_peer_id = format_id(id),
                removed_remote_peer_urls = ?old.peer_urls,
                removed_remote_peer_is_learner = old.is_learner,
                "removed member"
            ),
            (ConfChangeType::ConfChangeUpdateNode, Some(_), Some(new)) => tracing::info!(
                cluster_id,
                local_member_id,
                updated_remote_peer_id = format_id(id),
                updated_remote_peer_urls = ?new.peer_urls,
                updated_remote_peer_is_learner = new.is_learner,
                "updated member"
            ),
            (_, Some(old), Some(new)) if old.is_learner && !new.is_learner => tracing::info!(
                cluster_id,
                local_member_id,
                promoted_member_id = format_id(id),
                "promote member"
            ),
            (_, None, Some(new)) => tracing::info!(
                cluster_id,
                local_member_id,
                added_peer_id = format_id(id),
                added_peer_peer_urls = ?new.peer_urls,
                added_peer_is_learner = new.is_learner,
                "added member"
            ),
            // Applied once more after a restart.
            _ => {}
        }
    }

    /// Makes a piece of work visible, answers, and tells raft.
    fn finish(&mut self, applied: Applied, replies: Vec<(u64, Result<Reply, Error>)>) {
        let index = applied.index;
        self.machine.commit(index, self.term);
        let shared = &self.shared;
        let leases = &shared.metrics.leases;
        for event in self.machine.take_lease_events() {
            let (mut expiry, now) = (shared.expiry(), shared.now());
            match event {
                LeaseEvent::Granted(lease) => {
                    leases.granted.inc();
                    leases.ttls.observe(u64::try_from(lease.ttl).unwrap_or_default());
                    expiry.grant(lease, now);
                }
                LeaseEvent::Revoked { id } => {
                    leases.revoked.inc();
                    expiry.revoke(id);
                }
                LeaseEvent::Checkpointed { id, remaining } => {
                    expiry.checkpoint(id, remaining, now);
                }
            }
        }
        shared.metrics.applied.show(&self.machine.operations());
        self.show();
        let changed = self.machine.take_changes();
        let compacted = self.machine.mvcc().compact_revision();
        if !changed.is_empty() {
            self.outside.changed(changed, compacted);
        } else if compacted > self.compacted {
            self.outside.compacted(compacted);
        }
        self.compacted = compacted;
        shared.applied.send_if_modified(|applied| {
            let moved = index > *applied;
            *applied = index.max(*applied);
            moved
        });
        shared.waiters.complete(|| shared.now(), replies);
        if self.machine.take_no_space() {
            self.outside.no_space();
        }
        tell_applied(&self.done, applied);
    }

    /// Goes on from a snapshot that a peer sent; its database is here already.
    fn install(&mut self, snapshot: &Snapshot) -> Result<(), Fatal> {
        let (index, term) = (snapshot.index(), snapshot.term());
        let dirs = &self.shared.dirs;
        self.shared.metrics.snapshot_applying.set(1);
        tracing::info!(snapshot_index = index, "applying snapshot");
        install::prepare(dirs, &self.snapshotter, (index, term))?;
        let before = self.machine.cluster().clone();
        let (machine, shared) = (&mut self.machine, &self.shared);
        self.store.replace(&mut || {
            install::swap(dirs)?;
            let Replaced { reader, flusher, compactor } = machine.replace(install::open(dirs)?)?;
            *shared.reader.write().unwrap_or_else(PoisonError::into_inner) = reader;
            Ok((flusher, compactor))
        })?;
        install::clean_up(&self.snapshotter, index);
        self.shared.installed.store(index, Ordering::Release);
        self.term = term;
        self.shared.expiry().load(self.machine.lessor().list());
        self.show();
        self.meet(&before);
        let mvcc = self.machine.mvcc();
        self.compacted = mvcc.compact_revision();
        self.shared.compacted.send_replace(self.compacted);
        self.outside.replaced(mvcc.revision(), self.compacted);
        self.shared.applied.send_replace(self.machine.consistent_index());
        self.shared.metrics.snapshot_applying.set(0);
        tracing::info!(snapshot_index = index, "applied snapshot");
        Ok(())
    }

    /// Tells the transport who came and who went since `before`.
    fn meet(&mut self, before: &Cluster) {
        for member in self.machine.cluster().members() {
            self.outside.member_added(member.id, &member.peer_urls);
        }
        let now = self.machine.cluster();
        let gone: Vec<u64> = before.members().map(|member| member.id).collect();
        for id in gone.into_iter().chain(now.removed()).filter(|id| now.member(*id).is_none()) {
            self.outside.member_removed(id);
        }
    }

    /// Shows members and alarms as they are now, if they are not shown so already.
    fn show(&self) {
        let alarms = self.machine.alarms().list(AlarmType::None as i32);
        if **self.shared.alarms() != *alarms {
            self.shared.metrics.alarmed(&alarms);
            let mut shown = self.shared.alarms.write().unwrap_or_else(PoisonError::into_inner);
            *shown = Arc::<Vec<AlarmMember>>::new(alarms);
        }
        if *self.shared.cluster() != *self.machine.cluster() {
            let mut shown = self.shared.cluster.write().unwrap_or_else(PoisonError::into_inner);
            let own = self.machine.cluster().member(self.shared.id);
            self.shared.learner.store(own.is_some_and(|own| own.is_learner), Ordering::Release);
            *shown = Arc::new(self.machine.cluster().clone());
        }
    }

    pub(crate) fn answer(&mut self, question: ApplyInput) {
        // Whoever asked may have gone.
        match question {
            ApplyInput::Lease { id, answer } => {
                let lessor = self.machine.lessor();
                let keys = lessor.keys(id).map(|keys| keys.cloned().collect());
                let _ = answer.send(keys);
            }
            ApplyInput::Leases { answer } => {
                let _ = answer.send(self.machine.lessor().list().map(|lease| lease.id).collect());
            }
            ApplyInput::Image { answer } => {
                let _ = answer.send((self.machine.image(), self.snapshot_state()));
            }
            ApplyInput::Snapshot { answer } => {
                let _ = answer.send(self.snapshot_state());
            }
        }
    }

    fn snapshot_state(&self) -> SnapshotState {
        let index = self.machine.consistent_index();
        let cluster = self.machine.cluster();
        let data = member::v2_store_json(cluster).into();
        // After a start the store may be ahead of what was applied since.
        let lifes = planted::is(Bug::SnapshotTermOfThisLife);
        let term = if lifes { self.term } else { self.machine.term() };
        SnapshotState { index, term, data, conf_state: cluster.conf_state() }
    }

    /// Does a part of the compaction under way.
    pub(crate) fn go_on_compacting(&mut self) -> Result<(), Fatal> {
        self.compacting = self.compact()?;
        Ok(())
    }

    /// Some steps of the compaction under way. Whether there is more to do.
    fn compact(&mut self) -> Result<bool, Fatal> {
        if !self.machine.mvcc().is_compacting() {
            return Ok(false);
        }
        let began = Instant::now();
        let (since, longest) = self.compaction.unwrap_or((began, Duration::ZERO));
        let (mut more, mut finished) = (true, false);
        for _ in 0..COMPACTION_STEPS {
            let step = self.compaction_step()?;
            (more, finished) = (step != Stepped::Idle, finished | (step == Stepped::Finished));
            if !more || finished {
                break;
            }
        }
        let (metrics, pause) = (&self.shared.metrics.compactions, began.elapsed());
        metrics.pauses.took(pause);
        metrics.revisions.show(self.machine.mvcc().pruned_count());
        let longest = longest.max(pause);
        self.compaction = Some((since, longest));
        if finished {
            metrics.pauses_max.took(longest);
            metrics.totals.took(since.elapsed());
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            metrics.last.set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
            self.compaction = None;
            // Another one may have come meanwhile.
            more = self.machine.mvcc().is_compacting();
        }
        Ok(more)
    }

    fn compaction_step(&mut self) -> Result<Stepped, Fatal> {
        let keys = self.shared.config.compaction_batch;
        let budget = mvcc::Budget { keys, ..mvcc::Budget::default() };
        let (mvcc, store) = self.machine.mvcc_and_store();
        match mvcc.compaction_step(store, budget)? {
            Progress::Idle => Ok(Stepped::Idle),
            Progress::Working => {
                mvcc.publish();
                Ok(Stepped::Working)
            }
            Progress::Finished { revision, hash } => {
                // The note of it goes to the store with the entries applied so far.
                self.machine.commit_again(self.term);
                tracing::info!(compact_revision = revision, ?hash, "finished scheduled compaction");
                self.shared.compacted.send_replace(revision);
                Ok(Stepped::Finished)
            }
        }
    }
}

/// What a step of a compaction came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stepped {
    Idle,
    Working,
    Finished,
}

fn fatal(error: ApplyError) -> Fatal {
    match error {
        ApplyError::Store(error) => Fatal::Mvcc(error),
        ApplyError::Entry { index, reason } => Fatal::Entry { index, reason },
    }
}

static NEVER: std::sync::LazyLock<Receiver<Instant>> =
    std::sync::LazyLock::new(crossbeam_channel::never);
