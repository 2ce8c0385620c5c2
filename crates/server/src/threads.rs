//! The shells: a thread each around the driver, the log, the apply stage, the store's writer and
//! the watches. They own the channels and the clock, and nothing else.
//!
//! ```text
//!            inbox                 appends              acks
//!  tasks ----------> driver ----------------> wal ----------------> driver
//!  peers               |  applies                   applied
//!                      +--------------> apply ---------------------> driver
//!                                         |  changes
//!                                         +----------> watch --> streams
//!                                         |  frames
//!                                         +----------> store --> segment files
//! ```
//! A member without others runs its log, and small applies, on the driver's thread.
//!
//! Invariants: a driver that has others to serve never waits for another stage; the log and apply
//! stages wait for the driver at most until it takes their answers, for which it always has room;
//! a stage has one piece of work after the other, whichever thread runs it; any failure of a disk
//! ends the process.

use crate::driver::{Applied, Driver, Input, Outbox, Progress, WORK_MAX};
use crate::metrics::Metrics;
use crate::planted::{self, Bug};
use crate::snapshot::save_snap;
use crossbeam_channel::{
    Receiver, SendError, Sender, TrySendError, bounded, never, select, tick, unbounded,
};
use raftpb::{HardState, Message, Snapshot};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use wal::snap::Snapshotter;
use wal::stage::{Append, WalStage};

/// Requests and messages on their way into raft, at most; whoever comes then is refused or waits.
const INBOX_MAX: usize = 16_384;

/// Inputs taken at once, at most, so that time and answers are not kept waiting.
const BATCH_MAX: usize = 1024;

/// Committed entries that the driver's thread applies by itself, at most: more are worth a
/// thread's waking.
const INLINE_ENTRIES_MAX: usize = 8;

/// The driver's ends of its channels.
#[derive(Debug)]
pub(crate) struct DriverPorts {
    /// Requests, messages and reports.
    pub inbox: Receiver<Input>,
    /// What the log and the apply stage have done; has room for all they can have to do.
    pub done: Receiver<Input>,
    pub appends: Sender<Message>,
    pub applies: Sender<Message>,
    /// Closes when the member stops.
    pub stop: Receiver<()>,
}

/// The way into the driver. Its memory is taken as it is needed: an idle member has none of it.
#[derive(Debug)]
pub(crate) struct Inbox(Sender<Input>);

impl Inbox {
    #[allow(clippy::disallowed_methods, reason = "what is handed in is counted below")]
    pub(crate) fn channel() -> (Self, Receiver<Input>) {
        let (sender, receiver) = unbounded();
        (Self(sender), receiver)
    }

    /// Hands an input in, or back if there is no room. Threads that do so at once may exceed the
    /// room by one each.
    pub(crate) fn try_send(&self, input: Input) -> Result<(), TrySendError<Input>> {
        if self.0.len() >= INBOX_MAX {
            return Err(TrySendError::Full(input));
        }
        self.0.send(input).map_err(|SendError(input)| TrySendError::Disconnected(input))
    }
}

/// A channel that wakes a stage's thread.
pub(crate) fn nudge_channel() -> (Sender<()>, Receiver<()>) {
    bounded(1)
}

/// Channels between the driver and the stages of its work.
pub(crate) fn work_channel() -> (Sender<Message>, Receiver<Message>) {
    bounded(WORK_MAX)
}

/// The channel back: for both stages' work, and the snapshots made meanwhile.
pub(crate) fn done_channel() -> (Sender<Input>, Receiver<Input>) {
    bounded(4 * WORK_MAX)
}

/// What the driver's thread calls with what the driver wants done.
pub(crate) trait Outside {
    /// Messages to peers, dropped proposals and changes of leadership.
    fn take(&mut self, out: &mut Outbox, progress: Progress);
}

/// A stage that its own thread runs, or the driver's where a hand-over would cost more than the
/// work.
pub(crate) trait Stage: Send {
    /// Does all of these, and sends what came of them to the driver.
    fn run(&mut self, works: Vec<Message>) -> Result<(), crate::Fatal>;
}

/// The two stages behind the driver.
pub(crate) struct Stages<W, A> {
    pub log: Arc<Mutex<W>>,
    pub apply: Arc<Mutex<A>>,
}

/// Runs the driver until the member stops, or a stage is gone. Errors are those of a stage that
/// ran here.
///
/// A member that has no others to serve waits for its disk here: requests that come meanwhile are
/// the next group, as they would be behind a thread of the log's own, and a lone request saves
/// three hand-overs. With others, the disk must not hold up what is sent to them.
pub(crate) fn run_driver<W: Stage, A: Stage>(
    mut turns: Turns<impl Outside>,
    ports: &DriverPorts,
    stages: &Stages<W, A>,
    tick_period: Duration,
) -> Result<(), crate::Fatal> {
    let ticker = tick(tick_period);
    loop {
        let turn = turns.next(ports, stages)?;
        let batch = &mut turns.batch;
        match turn {
            Turn::Ended => return Ok(()),
            Turn::Ran => {}
            Turn::Handed => select! {
                recv(ports.done) -> input => batch.extend(input),
                recv(ports.inbox) -> input => batch.extend(input),
                recv(ticker) -> _ => batch.push(Input::Tick),
                recv(ports.stop) -> _ => return Ok(()),
            },
        }
        if ticker.try_recv().is_ok() {
            batch.push(Input::Tick);
        }
        turns.gather(ports);
    }
}

/// What the driver's thread does again and again.
pub(crate) struct Turns<O> {
    pub driver: Driver,
    pub outside: O,
    /// What the next turn takes.
    pub batch: Vec<Input>,
    out: Outbox,
}

/// What a turn came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// All work is handed on: the next turn waits for something to happen.
    Handed,
    /// A stage ran here, and its answers wait.
    Ran,
    /// A stage is gone.
    Ended,
}

impl<O: Outside> Turns<O> {
    pub(crate) fn new(driver: Driver, outside: O) -> Self {
        Self { driver, outside, batch: Vec::new(), out: Outbox::default() }
    }

    /// Takes what has come meanwhile into the next turn.
    pub(crate) fn gather(&mut self, ports: &DriverPorts) {
        self.batch.extend(ports.done.try_iter());
        self.batch.extend(ports.inbox.try_iter().take(BATCH_MAX));
    }

    /// One turn.
    pub(crate) fn next<W: Stage, A: Stage>(
        &mut self,
        ports: &DriverPorts,
        stages: &Stages<W, A>,
    ) -> Result<Turn, crate::Fatal> {
        let Self { driver, outside, batch, out } = self;
        driver.step(batch, out);
        let (mut appends, mut applies) =
            (std::mem::take(&mut out.appends), std::mem::take(&mut out.applies));
        outside.take(out, driver.progress());
        let mut ran = false;
        if driver.serves_nobody_else() {
            // A stage whose thread has work in hand does all in order.
            if !appends.is_empty() && driver.appends_out() == appends.len() {
                lock(&stages.log).run(std::mem::take(&mut appends))?;
                ran = true;
            }
            let entries: usize = applies.iter().map(|apply| apply.entries.len()).sum();
            if (1..=INLINE_ENTRIES_MAX).contains(&entries)
                && driver.applies_out() == applies.len()
                && let Ok(mut apply) = stages.apply.try_lock()
            {
                apply.run(std::mem::take(&mut applies))?;
                ran = true;
            }
        }
        let alive = appends.into_iter().all(|append| ports.appends.send(append).is_ok())
            && applies.into_iter().all(|apply| ports.applies.send(apply).is_ok());
        Ok(match (alive, ran) {
            (false, _) => Turn::Ended,
            (true, true) => Turn::Ran,
            (true, false) => Turn::Handed,
        })
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A stage that panicked ends the process.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A snapshot for the log to record: it is in its file already.
#[derive(Debug)]
pub(crate) struct WalSnapshot {
    pub record: raftpb::wal::Snapshot,
    /// Segments with nothing after this index may be deleted.
    pub lock_to: u64,
    /// Told when it is durable.
    pub done: oneshot::Sender<()>,
}

/// The log with what goes beside it.
pub(crate) struct LogStage {
    pub stage: WalStage,
    /// Writes the files of snapshots that peers sent.
    pub snapshotter: Snapshotter,
    pub metrics: Arc<Metrics>,
    pub done: Sender<Input>,
    /// The log's last index, told before a group's answers leave.
    pub durable: Arc<AtomicU64>,
    /// Wakes the log's thread once the log wants its next file.
    pub nudge: Sender<()>,
}

impl Stage for LogStage {
    fn run(&mut self, works: Vec<Message>) -> Result<(), crate::Fatal> {
        let (mut group, mut finished) = (Vec::with_capacity(works.len()), Vec::new());
        for work in works {
            if let Some(snapshot) = &work.snapshot {
                // What came before it is in the log before it.
                self.stage.step(&mut group, &mut finished)?;
                let state = HardState { term: work.term, vote: work.vote, commit: work.commit };
                save_received(&mut self.stage, &self.snapshotter, &self.metrics, snapshot, state)?;
            }
            group.push(request(work));
        }
        self.stage.step(&mut group, &mut finished)?;
        self.durable.store(self.stage.wal_mut().last_index(), Ordering::Release);
        for message in finished {
            // A driver that is gone needs no answer.
            let _ = self.done.send(Input::Appended(Box::new(message)));
        }
        if self.stage.wal_mut().wants_segment() {
            // If there is no room, the thread has yet to look.
            let _ = self.nudge.try_send(());
        }
        Ok(())
    }
}

impl LogStage {
    /// Notes a snapshot that the member has made.
    pub(crate) fn record(&mut self, snapshot: WalSnapshot) -> Result<(), crate::Fatal> {
        let WalSnapshot { record, lock_to, done } = snapshot;
        self.stage.wal_mut().save_snapshot(&record)?;
        self.stage.wal_mut().release_lock_to(lock_to);
        // Whoever asked may have gone.
        let _ = done.send(());
        Ok(())
    }
}

/// Runs the log until the driver is gone, and what the driver's thread leaves to it.
pub(crate) fn run_log(
    log: &Mutex<LogStage>,
    appends: &Receiver<Message>,
    snapshots: &Receiver<WalSnapshot>,
    nudges: &Receiver<()>,
) -> Result<(), crate::Fatal> {
    let nobody = never();
    let mut snapshots = snapshots;
    loop {
        select! {
            recv(appends) -> append => match append {
                Ok(append) => {
                    let works = std::iter::once(append).chain(appends.try_iter()).collect();
                    lock(log).run(works)?;
                }
                Err(_) => return Ok(()),
            },
            recv(snapshots) -> snapshot => match snapshot {
                Ok(snapshot) => lock(log).record(snapshot)?,
                Err(_) => snapshots = &nobody,
            },
            recv(nudges) -> _ => {
                // What waits goes first.
                if appends.is_empty() {
                    lock(log).stage.idle()?;
                }
            }
        }
    }
}

/// Makes a received snapshot durable: its file, then its record, then the hard state that makes
/// the record count. Its database was durable before raft heard of it.
///
/// That it is committed is synced by itself, before entries behind it are written, which would
/// follow a gap if it were lost, and before the leader hears that it is here (etcd
/// `raft.go: Force WAL to fsync its hard state`).
fn save_received(
    stage: &mut WalStage,
    snapshotter: &Snapshotter,
    metrics: &Metrics,
    snapshot: &Snapshot,
    state: HardState,
) -> Result<(), crate::Fatal> {
    save_snap(metrics, snapshotter, snapshot)?;
    let metadata = snapshot.metadata.clone().unwrap_or_default();
    let record = raftpb::wal::Snapshot {
        index: metadata.index,
        term: metadata.term,
        conf_state: metadata.conf_state,
    };
    stage.wal_mut().save_snapshot(&record)?;
    let hard_state = HardState { commit: Some(snapshot.index()), ..state };
    let must_sync = !planted::is(Bug::SnapshotNotCommitted);
    let commits_it = Append { hard_state, entries: Vec::new(), must_sync, token: () };
    stage.step(&mut vec![commits_it], &mut Vec::new())?;
    stage.wal_mut().release_lock_to(snapshot.index());
    Ok(())
}

fn request(message: Message) -> Append<Message> {
    let hard_state = HardState { term: message.term, vote: message.vote, commit: message.commit };
    let entries = message.entries.clone();
    Append { hard_state, entries, must_sync: false, token: message }
}

/// Tells the driver what was applied.
pub(crate) fn tell_applied(done: &Sender<Input>, applied: Applied) {
    // A driver that is gone needs no answer.
    let _ = done.send(Input::Applied(applied));
}

#[cfg(test)]
mod tests {
    use super::*;
    use raftpb::{ConfState, SnapshotMetadata};
    use std::path::Path;
    use vfs::{Fs, MemFs};

    #[test]
    fn a_received_snapshot_that_was_answered_counts_after_a_crash() {
        let disk = MemFs::new();
        let fs: Arc<dyn Fs> = Arc::new(disk.clone());
        let (wal_dir, snap_dir) = (Path::new("/wal"), Path::new("/snap"));
        fs.create_dir_all(snap_dir).unwrap();
        let options = wal::Options { segment_bytes: 4096, sync: true };
        let wal = wal::Wal::create(Arc::clone(&fs), wal_dir, b"m", options).unwrap();
        let (done, answers) = done_channel();
        let mut log = LogStage {
            stage: WalStage::new(wal),
            snapshotter: Snapshotter::new(fs, snap_dir),
            metrics: Arc::default(),
            done,
            durable: Arc::default(),
            nudge: nudge_channel().0,
        };
        let conf_state = Some(ConfState { voters: vec![1, 2], ..ConfState::default() });
        let metadata = SnapshotMetadata { conf_state, index: Some(10), term: Some(2) };
        let snapshot = Snapshot { data: Some("state".into()), metadata: Some(metadata) };
        let (term, vote, commit) = (Some(2), Some(0), Some(10));
        let message =
            Message { snapshot: Some(snapshot), term, vote, commit, ..Message::default() };
        log.run(vec![message]).unwrap();
        assert_eq!(answers.len(), 1);
        for seed in 0..50 {
            let crashed = disk.crash(seed);
            let records = wal::valid_snapshot_entries(&crashed, wal_dir).unwrap();
            assert_eq!(records.last().map(|record| record.index()), Some(10), "seed {seed}");
        }
    }
}
