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
use crate::snapshot::save_snap;
use crossbeam_channel::{Receiver, Sender, bounded, never, select, tick};
use raftpb::{HardState, Message, Snapshot};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use wal::snap::Snapshotter;
use wal::stage::{Append, WalStage};

/// Requests and messages on their way into raft, at most; whoever comes then is refused or waits.
pub(crate) const INBOX_MAX: usize = 16_384;

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
    mut driver: Driver,
    ports: &DriverPorts,
    stages: &Stages<W, A>,
    tick_period: Duration,
    mut outside: impl Outside,
) -> Result<(), crate::Fatal> {
    let ticker = tick(tick_period);
    let (mut batch, mut out) = (Vec::new(), Outbox::default());
    loop {
        driver.step(&mut batch, &mut out);
        let (mut appends, mut applies) =
            (std::mem::take(&mut out.appends), std::mem::take(&mut out.applies));
        outside.take(&mut out, driver.progress());
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
        if !alive {
            return Ok(());
        }
        if !ran {
            select! {
                recv(ports.done) -> input => batch.extend(input),
                recv(ports.inbox) -> input => batch.extend(input),
                recv(ticker) -> _ => batch.push(Input::Tick),
                recv(ports.stop) -> _ => return Ok(()),
            }
        }
        if ticker.try_recv().is_ok() {
            batch.push(Input::Tick);
        }
        batch.extend(ports.done.try_iter());
        batch.extend(ports.inbox.try_iter().take(BATCH_MAX));
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
pub(crate) struct LogStage<D> {
    pub stage: WalStage,
    /// Writes the files of snapshots that peers sent.
    pub snapshotter: Snapshotter,
    pub metrics: Arc<Metrics>,
    pub done: Sender<Input>,
    /// Is told each group's last index before its answers leave.
    pub durable: D,
    /// Wakes the log's thread once the log wants its next file.
    pub nudge: Sender<()>,
}

impl<D: FnMut(u64) + Send> Stage for LogStage<D> {
    fn run(&mut self, works: Vec<Message>) -> Result<(), crate::Fatal> {
        let (mut group, mut finished) = (Vec::with_capacity(works.len()), Vec::new());
        for work in works {
            if let Some(snapshot) = &work.snapshot {
                // What came before it is in the log before it.
                self.stage.step(&mut group, &mut finished)?;
                save_received(&mut self.stage, &self.snapshotter, &self.metrics, snapshot)?;
            }
            group.push(request(work));
        }
        self.stage.step(&mut group, &mut finished)?;
        (self.durable)(self.stage.wal_mut().last_index());
        for message in finished {
            // A driver that is gone needs no answer.
            let _ = self.done.send(Input::Appended(message));
        }
        if self.stage.wal_mut().wants_segment() {
            // If there is no room, the thread has yet to look.
            let _ = self.nudge.try_send(());
        }
        Ok(())
    }
}

/// Runs the log until the driver is gone, and what the driver's thread leaves to it.
pub(crate) fn run_log<D: FnMut(u64) + Send>(
    log: &Mutex<LogStage<D>>,
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
                Ok(WalSnapshot { record, lock_to, done }) => {
                    let mut log = lock(log);
                    log.stage.wal_mut().save_snapshot(&record)?;
                    log.stage.wal_mut().release_lock_to(lock_to);
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
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

/// Makes a received snapshot durable: its file, then its record, which the hard state that comes
/// with it makes count. Its database was durable before raft heard of it.
fn save_received(
    stage: &mut WalStage,
    snapshotter: &Snapshotter,
    metrics: &Metrics,
    snapshot: &Snapshot,
) -> Result<(), crate::Fatal> {
    save_snap(metrics, snapshotter, snapshot)?;
    let metadata = snapshot.metadata.clone().unwrap_or_default();
    let record = raftpb::wal::Snapshot {
        index: metadata.index,
        term: metadata.term,
        conf_state: metadata.conf_state,
    };
    stage.wal_mut().save_snapshot(&record)?;
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
