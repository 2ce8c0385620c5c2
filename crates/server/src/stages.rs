//! A member on one thread, for simulations: whoever holds it says which stage goes on next, what
//! time it is, and when a message arrives.
//!
//! What it is not: another member. The stages are those that [`crate::Server`] gives threads to,
//! put together by the same code (`assemble.rs`); here are only the shells around them, as thin as
//! those of the threads. Not part of the API: it changes as the stages do.

use crate::apply_loop::{ApplyInput, ApplyStage, SnapshotState};
use crate::assemble::{Parts, Peers, assemble};
use crate::bootstrap::{Dirs, boot};
use crate::driver::Input;
use crate::shared::{Clock, Shared};
use crate::snapshot::Saved;
use crate::start::ApplyOutside;
use crate::store_loop::{OpenNext, StoreOwner, StoreStage};
use crate::threads::{Stage as _, Turn, WalSnapshot, lock};
use crate::{Config, Fatal, Waiter, WatchHandle, WatchOutbox, image, install, tasks};
use api::etcdserverpb::InternalRaftRequest;
use apply::{Image, StateMachine};
use backend::Step;
use lease::{Refused, Renewal};
use mvcc::View;
use raftpb::{Entry, Message, MessageType, Snapshot};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::oneshot;
use vfs::Fs;

/// Where a member's files are, and how they are kept.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The disk.
    pub fs: Arc<dyn Fs>,
    /// How the log is kept.
    pub wal: wal::Options,
    /// How the store is kept.
    pub store: backend::Options,
}

/// A piece of a member that has steps of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Raft, and what goes to peers.
    Driver,
    /// The log: one group of appends, or what waits for a quiet moment.
    Log,
    /// The state machine: all that is there to apply.
    Apply,
    /// What the state machine is asked between two batches.
    Questions,
    /// A part of a compaction of revisions.
    Compaction,
    /// The streams of watchers: what has come.
    Watch,
    /// Those of them that are behind.
    CatchUp,
    /// A snapshot of the log, one step of it.
    Snapshot,
    /// A leader's term begins for its leases.
    Term,
    /// The store's files, now and then.
    Store,
    /// Leases that have run out, now and then.
    Leases,
    /// Those who wait too long, now and then.
    Waiters,
}

impl Stage {
    /// Those that have work or not; the others are due from time to time.
    pub const WOKEN: [Stage; 9] = [
        Stage::Driver,
        Stage::Log,
        Stage::Apply,
        Stage::Questions,
        Stage::Compaction,
        Stage::Watch,
        Stage::CatchUp,
        Stage::Snapshot,
        Stage::Term,
    ];
}

/// What a step did that whoever looks may count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as what happened")]
pub struct Did {
    pub appends: usize,
    pub snapshot_made: bool,
    pub snapshot_logged: bool,
    pub snapshot_installed: bool,
    pub rewrote_segment: bool,
    /// Leases whose revocation was proposed, with the requests' ids.
    pub revoking: Vec<(i64, u64)>,
}

/// What is known of raft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in raft")]
pub struct RaftState {
    pub term: u64,
    pub lead: u64,
    pub leads: bool,
    pub committed: u64,
    pub last_index: u64,
}

/// A member.
pub struct Member {
    parts: Parts<Mailbox>,
    store: StoreCell,
    making: Making,
    /// Snapshots that wait for their image, and those that have it.
    asked: Vec<(Message, oneshot::Receiver<(Image, SnapshotState)>)>,
    images: Vec<(Message, Image)>,
    /// Whether answers of a stage that ran inline wait for the driver.
    ran: bool,
    installing: bool,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member").field("id", &self.id()).finish_non_exhaustive()
    }
}

/// A snapshot of the log on its way.
enum Making {
    No,
    Asked(oneshot::Receiver<SnapshotState>),
    Waits(SnapshotState),
    Recording(Saved, oneshot::Receiver<()>),
}

/// The writing side of the store, which an installed snapshot replaces.
#[derive(Clone)]
struct StoreCell(Arc<Mutex<Option<StoreStage>>>);

impl StoreOwner for StoreCell {
    fn replace(&mut self, next: &mut OpenNext<'_>) -> Result<(), Fatal> {
        let Some(old) = lock(&self.0).take() else { return Err(Fatal::Ended { stage: "store" }) };
        let rest = old.close();
        let (flusher, compactor) = next()?;
        *lock(&self.0) = Some(rest.reopen(flusher, compactor));
        Ok(())
    }
}

/// What is to be sent waits here.
#[derive(Debug, Clone, Default)]
struct Mailbox(Arc<Mutex<Vec<Message>>>);

impl Peers for Mailbox {
    fn send(&self, messages: Vec<Message>) {
        lock(&self.0).extend(messages);
    }

    fn send_snapshot(&self, message: Message) {
        lock(&self.0).push(message);
    }

    fn add(&self, _id: u64, _urls: &[String]) {}

    fn add_remote(&self, _id: u64, _urls: &[String]) {}

    fn remove(&self, _id: u64) {}
}

impl Member {
    /// Opens a member's files, or makes them for one of a new cluster. `millis` is its clock.
    ///
    /// # Errors
    /// [`Fatal`].
    pub fn start(config: Config, disk: &Disk, millis: Arc<AtomicU64>) -> Result<Self, Fatal> {
        let metrics = Arc::default();
        let dirs = Dirs {
            fs: Arc::clone(&disk.fs),
            store_fs: Arc::clone(&disk.fs),
            snap_fs: Arc::clone(&disk.fs),
            wal_options: disk.wal,
            store_options: disk.store,
            ..Dirs::new(&config, &metrics)
        };
        let booted = boot(&config, dirs, None)?;
        let now = millis.load(Ordering::Relaxed);
        let mailbox = Mailbox::default();
        let parts = assemble(config, booted, metrics, (Clock::Told(millis), now), |_| mailbox);
        Ok(Self::of(parts))
    }

    fn of(mut parts: Parts<Mailbox>) -> Self {
        let store = StoreCell(Arc::new(Mutex::new(parts.store.take())));
        lock(&parts.stages.apply).store = Box::new(store.clone());
        Self {
            parts,
            store,
            making: Making::No,
            asked: Vec::new(),
            images: Vec::new(),
            ran: true,
            installing: false,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.parts.shared.id
    }

    fn shared(&self) -> &Shared {
        &self.parts.shared
    }

    fn apply(&self) -> MutexGuard<'_, ApplyStage<ApplyOutside<Mailbox>>> {
        lock(&self.parts.stages.apply)
    }

    /// Whether a stage has something to do.
    #[must_use]
    pub fn wants(&self, stage: Stage) -> bool {
        let (ports, ends) = (&self.parts.ports, &self.parts.ends);
        match stage {
            Stage::Driver => self.ran || !ports.inbox.is_empty() || !ports.done.is_empty(),
            Stage::Log => {
                !(ends.appends.is_empty()
                    && ends.wal_snapshots.is_empty()
                    && ends.log_nudges.is_empty())
            }
            Stage::Apply => !ends.applies.is_empty(),
            Stage::Questions => !ends.questions.is_empty(),
            Stage::Compaction => self.apply().compacting,
            Stage::Watch => self.parts.hub.has_inputs(),
            Stage::CatchUp => self.parts.hub.has_behind(),
            Stage::Snapshot => match self.making {
                Making::No => self.applied() > self.parts.maker.due(),
                _ => true,
            },
            Stage::Term => !ends.terms.is_empty(),
            Stage::Store | Stage::Leases | Stage::Waiters => true,
        }
    }

    /// Lets a stage do a step.
    ///
    /// # Errors
    /// Those that end the member.
    pub fn run(&mut self, stage: Stage) -> Result<Did, Fatal> {
        let mut did = Did::default();
        match stage {
            Stage::Driver => {
                self.parts.turns.gather(&self.parts.ports);
                self.ran =
                    self.parts.turns.next(&self.parts.ports, &self.parts.stages)? == Turn::Ran;
            }
            Stage::Log => self.run_log(&mut did)?,
            Stage::Apply => {
                let works: Vec<Message> = self.parts.ends.applies.try_iter().collect();
                did.snapshot_installed = works.iter().any(|work| work.snapshot.is_some());
                self.apply().run(works)?;
                self.installing &= !did.snapshot_installed;
            }
            Stage::Questions => self.answer(),
            Stage::Compaction => {
                while self.parts.ends.apply_nudges.try_recv().is_ok() {}
                self.apply().go_on_compacting()?;
            }
            Stage::Watch => {
                self.parts.hub.take(None);
            }
            // What was published since is in the view, and not taken yet.
            Stage::CatchUp => {
                self.parts.hub.catch_up();
            }
            Stage::Snapshot => did.snapshot_made = self.make_snapshot()?,
            Stage::Term => {
                if self.parts.ends.terms.try_recv().is_ok() {
                    tasks::begin_term(self.shared());
                }
            }
            Stage::Store => {
                if let Some(store) = &mut *lock(&self.store.0) {
                    store.write()?;
                    did.rewrote_segment = matches!(store.rewrite()?, Step::Done { .. });
                }
            }
            Stage::Leases => {
                for id in tasks::due_leases(self.shared()) {
                    let request =
                        self.shared().submit_as_leader(tasks::revocation(id), Box::new(drop));
                    did.revoking.push((id, request));
                }
            }
            Stage::Waiters => {
                self.shared().waiters.expire(self.shared().now());
            }
        }
        Ok(did)
    }

    fn run_log(&mut self, did: &mut Did) -> Result<(), Fatal> {
        let (log, ends) = (&self.parts.stages.log, &self.parts.ends);
        let works: Vec<Message> = ends.appends.try_iter().collect();
        did.appends = works.len();
        did.snapshot_logged = works.iter().any(|work| work.snapshot.is_some());
        self.installing |= did.snapshot_logged;
        if !works.is_empty() {
            lock(log).run(works)?;
        } else if let Ok(snapshot) = ends.wal_snapshots.try_recv() {
            lock(log).record(snapshot)?;
        } else if ends.log_nudges.try_recv().is_ok() {
            lock(log).stage.idle()?;
        }
        Ok(())
    }

    fn answer(&mut self) {
        let questions: Vec<ApplyInput> = self.parts.ends.questions.try_iter().collect();
        for question in questions {
            self.apply().answer(question);
        }
        for (mut message, mut answer) in std::mem::take(&mut self.asked) {
            match answer.try_recv() {
                Ok((image, state)) => {
                    image::merge(&mut message, state);
                    self.images.push((message, image));
                }
                Err(_) => self.asked.push((message, answer)),
            }
        }
    }

    /// Whether one was finished.
    fn make_snapshot(&mut self) -> Result<bool, Fatal> {
        let ended = |_| Fatal::Ended { stage: "apply" };
        self.making = match std::mem::replace(&mut self.making, Making::No) {
            Making::No => {
                let (answer, state) = oneshot::channel();
                self.shared()
                    .apply
                    .try_send(ApplyInput::Snapshot { answer })
                    .map_err(|_| ended(()))?;
                Making::Asked(state)
            }
            Making::Asked(mut state) => match state.try_recv() {
                Ok(state) => Making::Waits(state),
                Err(_) => Making::Asked(state),
            },
            Making::Waits(state) => {
                let synced = match &mut *lock(&self.store.0) {
                    Some(store) => store.sync()?,
                    None => return Err(Fatal::Ended { stage: "store" }),
                };
                match self.parts.maker.save(&state, synced)? {
                    None => Making::Waits(state),
                    Some(saved) => {
                        let (done, recorded) = oneshot::channel();
                        let (record, lock_to) = (saved.record.clone(), saved.lock_to);
                        let request = WalSnapshot { record, lock_to, done };
                        self.parts.ends.wal.try_send(request).map_err(|_| ended(()))?;
                        Making::Recording(saved, recorded)
                    }
                }
            }
            Making::Recording(saved, mut recorded) => {
                if recorded.try_recv().is_err() {
                    self.making = Making::Recording(saved, recorded);
                    return Ok(false);
                }
                self.parts.maker.recorded(saved);
                self.parts.maker.purge()?;
                return Ok(true);
            }
        };
        Ok(false)
    }

    /// Time passes for raft.
    pub fn tick(&mut self) {
        self.parts.turns.batch.push(Input::Tick);
        self.ran = true;
    }

    /// A message has come from another member.
    pub fn receive(&mut self, message: Message) {
        self.tell(Input::Step(Box::new(message)));
    }

    /// The database of a snapshot comes in; its message is to be received once it is here.
    ///
    /// # Errors
    /// That it was cut off, or is not sound.
    pub fn receive_database(&mut self, from: &mut dyn io::Read, index: u64) -> Result<(), Fatal> {
        install::receive(&self.shared().metrics, &self.shared().dirs, from, index)
    }

    /// Another member could not be reached.
    pub fn unreachable(&mut self, id: u64) {
        self.tell(Input::Unreachable(id));
    }

    /// How the sending of a snapshot ended.
    pub fn snapshot_sent(&mut self, to: u64, status: raft::SnapshotStatus) {
        self.tell(Input::SnapshotSent { to, status });
    }

    /// Another voter is to lead.
    pub fn transfer_lead(&mut self, to: u64) {
        self.tell(Input::TransferLead { to });
    }

    fn tell(&self, input: Input) {
        // As on a connection: what finds no room is lost.
        let _ = self.shared().inbox.try_send(input);
    }

    /// What is to be sent to others. Snapshots ask for their image first; see
    /// [`Member::take_images`].
    pub fn take_messages(&mut self) -> Vec<Message> {
        let (snapshots, messages): (Vec<_>, Vec<_>) =
            std::mem::take(&mut *lock(&self.parts.peers.0))
                .into_iter()
                .partition(|message| message.r#type() == MessageType::MsgSnap);
        for message in snapshots {
            let (answer, image) = oneshot::channel();
            if self.shared().apply.try_send(ApplyInput::Image { answer }).is_ok() {
                self.asked.push((message, image));
            } else {
                self.snapshot_sent(message.to(), raft::SnapshotStatus::Failure);
            }
        }
        messages
    }

    /// Snapshots to be sent, each with the state that is to be written as a database.
    pub fn take_images(&mut self) -> Vec<(Message, Image)> {
        std::mem::take(&mut self.images)
    }

    /// Puts a request into the log; its id, or 0 if it was refused at once.
    pub fn submit(&self, request: InternalRaftRequest, waiter: Waiter) -> u64 {
        self.shared().submit(request, waiter)
    }

    /// Tells the waiter once this member's state is as new as this call.
    pub fn confirm(&self, waiter: Waiter) {
        self.shared().confirm(waiter);
    }

    /// The keys as this member has them now.
    #[must_use]
    pub fn view(&self) -> View {
        self.shared().views.latest()
    }

    /// A stream without watchers.
    #[must_use]
    pub fn watch_to(&self, outbox: Box<dyn WatchOutbox>) -> WatchHandle {
        self.parts.watches.open(outbox)
    }

    /// Tells the waiter once it is sure that this member led after this call.
    pub fn confirm_lead(&self, waiter: Waiter) {
        self.shared().confirm_lead(waiter);
    }

    /// Gives a lease its whole time again, once that is sure.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn renew(&self, id: i64) -> Result<Renewal, Refused> {
        self.shared().renew(id)
    }

    /// What is known of raft.
    #[must_use]
    pub fn raft(&self) -> RaftState {
        let progress = self.parts.turns.driver.progress();
        RaftState {
            term: progress.term,
            lead: progress.lead,
            leads: progress.leads,
            committed: progress.committed,
            last_index: progress.last_index,
        }
    }

    /// The log's entries that are committed and lie behind `after`, as far as they are here.
    #[must_use]
    pub fn committed_entries(&self, after: u64) -> Vec<Entry> {
        self.parts.turns.driver.committed_entries(after)
    }

    /// Index of the last entry that is applied and visible.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.shared().applied_index()
    }

    /// The state machine, between two batches.
    pub fn with_machine<T>(&self, look: impl FnOnce(&StateMachine) -> T) -> T {
        look(&self.apply().machine)
    }

    /// Index of the last entry that the log has durably.
    #[must_use]
    pub fn log_durable(&self) -> u64 {
        lock(&self.parts.stages.log).durable.load(Ordering::Acquire)
    }

    /// Whether a snapshot from a leader is in the log, and its store not in place yet.
    #[must_use]
    pub fn installs(&self) -> bool {
        self.installing
    }

    /// Index up to which the store is durable.
    #[must_use]
    pub fn store_synced(&self) -> u64 {
        lock(&self.store.0).as_ref().map_or(0, |store| store.flusher.synced_index())
    }
}

/// Index of the snapshot that a message brings.
#[must_use]
pub fn snapshot_index(message: &Message) -> u64 {
    message.snapshot.as_ref().map_or(0, Snapshot::index)
}
