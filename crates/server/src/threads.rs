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
//! Invariants: the driver never waits for another stage, and the log and apply stages wait for
//! the driver at most until it takes their answers, for which it always has room; any failure of
//! a disk ends the process.

use crate::driver::{Applied, Driver, Input, Outbox, Progress, WORK_MAX};
use crate::metrics::Metrics;
use crate::snapshot::save_snap;
use crossbeam_channel::{Receiver, Sender, bounded, never, select, tick};
use raftpb::{HardState, Message, Snapshot};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use wal::snap::Snapshotter;
use wal::stage::{Append, WalStage};

/// Requests and messages on their way into raft, at most; whoever comes then is refused or waits.
pub(crate) const INBOX_MAX: usize = 16_384;

/// Inputs taken at once, at most, so that time and answers are not kept waiting.
const BATCH_MAX: usize = 1024;

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

/// Runs the driver until the member stops, or a stage is gone.
pub(crate) fn run_driver(
    mut driver: Driver,
    ports: &DriverPorts,
    tick_period: Duration,
    mut outside: impl Outside,
) {
    let ticker = tick(tick_period);
    let (mut batch, mut out) = (Vec::new(), Outbox::default());
    loop {
        driver.step(&mut batch, &mut out);
        let mut alive = true;
        for append in out.appends.drain(..) {
            alive &= ports.appends.send(append).is_ok();
        }
        for apply in out.applies.drain(..) {
            alive &= ports.applies.send(apply).is_ok();
        }
        outside.take(&mut out, driver.progress());
        if !alive {
            return;
        }
        select! {
            recv(ports.done) -> input => batch.extend(input),
            recv(ports.inbox) -> input => batch.extend(input),
            recv(ticker) -> _ => batch.push(Input::Tick),
            recv(ports.stop) -> _ => return,
        }
        if ticker.try_recv().is_ok() {
            batch.push(Input::Tick);
        }
        batch.extend(ports.done.try_iter());
        batch.extend(ports.inbox.try_iter().take(BATCH_MAX));
    }
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

/// The log with what goes beside it, and its channels.
pub(crate) struct WalThread {
    pub stage: WalStage,
    /// Writes the files of snapshots that peers sent.
    pub snapshotter: Snapshotter,
    pub metrics: Arc<Metrics>,
    pub appends: Receiver<Message>,
    /// Snapshots of this member's own.
    pub snapshots: Receiver<WalSnapshot>,
    pub done: Sender<Input>,
}

/// Runs the log until the driver is gone. `durable` is told each group's last index before its
/// answers leave.
pub(crate) fn run_wal(
    thread: WalThread,
    mut durable: impl FnMut(u64),
) -> Result<WalStage, crate::Fatal> {
    let WalThread { mut stage, snapshotter, metrics, appends, snapshots, done } = thread;
    let (mut works, mut group, mut finished) = (Vec::new(), Vec::new(), Vec::new());
    let nobody = never();
    let mut snapshots = &snapshots;
    loop {
        select! {
            recv(appends) -> append => match append {
                Ok(append) => works.push(append),
                Err(_) => return Ok(stage),
            },
            recv(snapshots) -> snapshot => match snapshot {
                Ok(WalSnapshot { record, lock_to, done }) => {
                    stage.wal_mut().save_snapshot(&record)?;
                    stage.wal_mut().release_lock_to(lock_to);
                    // Whoever asked may have gone.
                    let _ = done.send(());
                }
                Err(_) => snapshots = &nobody,
            },
        }
        works.extend(appends.try_iter());
        for work in works.drain(..) {
            if let Some(snapshot) = &work.snapshot {
                // What came before it is in the log before it.
                stage.step(&mut group, &mut finished)?;
                save_received(&mut stage, &snapshotter, &metrics, snapshot)?;
            }
            group.push(request(work));
        }
        stage.step(&mut group, &mut finished)?;
        durable(stage.wal_mut().last_index());
        for message in finished.drain(..) {
            // A driver that is gone needs no answer.
            let _ = done.send(Input::Appended(message));
        }
        if appends.is_empty() {
            stage.idle()?;
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
