//! The thread of the watches, and a stream's ends of it.
//!
//! All that concerns watchers goes through one bounded queue to one thread, so that a stream's
//! words and the changes it is told of have one order.

mod hub;
mod item;
mod stage;

pub use item::{WatchEvent, WatchEvents, WatchItem, WatchOptions, WatchOutbox};
pub use stage::WatchStage;

use crate::metrics::{Metrics, StreamEvents, Watching};
use crate::shared::Shared;
use crossbeam_channel::{Receiver, Sender, bounded};
use hub::{Command, Hub};
use mvcc::{Changes, View, Views};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Words and changes waiting for the thread, at most; then those who bring them wait.
const INBOX_MAX: usize = 4096;

/// Items waiting for a stream's client, at most; then its watchers fall behind.
const OUTBOX_MAX: usize = 128;

/// Bytes waiting for a stream's client; with as many, its watchers fall behind.
const OUTBOX_BYTES_MAX: usize = 1 << 20;

/// How often those behind are looked at, if their clients had no room before.
const RETRY: Duration = Duration::from_millis(10);

/// How often it looks for clients that have room again, if nothing else happens.
const IDLE: Duration = Duration::from_millis(100);

pub(crate) enum Input {
    /// `view` is of the store that the changes are in: another may take its place before they are
    /// told, in which what was there before lies elsewhere.
    Changed {
        changes: Vec<Arc<Changes>>,
        compacted: i64,
        view: View,
    },
    Replaced {
        revision: i64,
        compacted: i64,
    },
    Open {
        id: u64,
        outbox: Box<dyn WatchOutbox>,
    },
    Say {
        id: u64,
        command: Command,
    },
    Progress {
        id: u64,
    },
    Close {
        id: u64,
    },
    Stop,
}

/// The way to the thread.
#[derive(Clone)]
pub(crate) struct Watches {
    inbox: Sender<Input>,
    ids: Arc<AtomicU64>,
}

impl Watches {
    /// [`crate::Server::watch_to`].
    pub(crate) fn open(&self, outbox: Box<dyn WatchOutbox>) -> WatchHandle {
        let id = self.ids.fetch_add(1, Ordering::Relaxed);
        let inbox = self.inbox.clone();
        // A thread that is gone drops the outbox, and the stream ends.
        let _ = inbox.send(Input::Open { id, outbox });
        WatchHandle { commands: WatchCommands { id, inbox } }
    }

    /// Ends the thread, and every stream with it.
    pub(crate) fn stop(&self) {
        // A thread that is gone has ended.
        let _ = self.inbox.send(Input::Stop);
    }
}

/// The apply stage's way to the thread.
pub(crate) struct ChangesSender {
    inbox: Sender<Input>,
}

impl ChangesSender {
    pub(crate) fn send(&self, changes: Vec<Arc<Changes>>, compacted: i64, view: View) {
        // A thread that is gone has nobody to tell.
        let _ = self.inbox.send(Input::Changed { changes, compacted, view });
    }

    pub(crate) fn replaced(&self, revision: i64, compacted: i64) {
        // As above.
        let _ = self.inbox.send(Input::Replaced { revision, compacted });
    }
}

/// One client's watchers, whose items a task takes.
pub struct WatchStream {
    handle: WatchHandle,
    items: mpsc::Receiver<WatchItem>,
    /// Bytes in `items`.
    bytes: Arc<AtomicUsize>,
    numbers: Arc<StreamEvents>,
}

/// The way to a stream's client: what does not fit into items or bytes is given back.
struct StreamOutbox {
    items: mpsc::Sender<WatchItem>,
    bytes: Arc<AtomicUsize>,
    numbers: Arc<StreamEvents>,
}

/// One client's watchers, whose items go where it wants them; they are gone when it is dropped.
#[derive(Debug)]
pub struct WatchHandle {
    commands: WatchCommands,
}

/// A stream's way to say something, for a task of its own.
#[derive(Clone)]
pub struct WatchCommands {
    id: u64,
    inbox: Sender<Input>,
}

impl std::fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchStream").field("handle", &self.handle).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for WatchCommands {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchCommands").field("id", &self.id).finish_non_exhaustive()
    }
}

impl crate::Server {
    /// A stream without watchers.
    #[must_use]
    pub fn watch_stream(&self) -> WatchStream {
        let (sender, items) = mpsc::channel(OUTBOX_MAX);
        let bytes = Arc::<AtomicUsize>::default();
        let numbers = self.stream_events();
        let (its_bytes, its_numbers) = (Arc::clone(&bytes), Arc::clone(&numbers));
        let outbox = StreamOutbox { items: sender, bytes: its_bytes, numbers: its_numbers };
        WatchStream { handle: self.watch_to(Box::new(outbox)), items, bytes, numbers }
    }

    /// Counts the events of one stream: what its outbox takes, and what goes to its client.
    #[must_use]
    pub fn stream_events(&self) -> Arc<StreamEvents> {
        Arc::new(StreamEvents::new(&self.shared.metrics))
    }

    /// A stream without watchers, whose items go to `outbox`. It is dropped when the member stops,
    /// or cuts the stream off.
    #[must_use]
    pub fn watch_to(&self, outbox: Box<dyn WatchOutbox>) -> WatchHandle {
        self.watches.open(outbox)
    }
}

impl WatchHandle {
    /// A number that tells streams apart.
    #[must_use]
    pub fn number(&self) -> u32 {
        u32::try_from(self.commands.id % u64::from(u32::MAX)).unwrap_or_default()
    }

    /// The way to say something.
    #[must_use]
    pub fn commands(&self) -> &WatchCommands {
        &self.commands
    }
}

impl WatchStream {
    /// The watchers.
    #[must_use]
    pub fn handle(&self) -> &WatchHandle {
        &self.handle
    }

    /// The next item; `None` once the member stops, or cut the stream off.
    pub async fn next(&mut self) -> Option<WatchItem> {
        let item = self.items.recv().await?;
        self.bytes.fetch_sub(item.bytes(), Ordering::Relaxed);
        self.numbers.sent(item.events());
        Some(item)
    }
}

impl Drop for WatchHandle {
    fn drop(&mut self) {
        // A thread that is gone has forgotten it.
        let _ = self.commands.inbox.send(Input::Close { id: self.commands.id });
    }
}

impl WatchCommands {
    /// Asks for a watcher; answered by `Created` or `Refused`.
    pub fn create(&self, options: WatchOptions) {
        self.say(Command::Create(options));
    }

    /// Ends a watcher; answered by `Canceled` if there is one.
    pub fn cancel(&self, watch_id: i64) {
        self.say(Command::Cancel(watch_id));
    }

    /// Asks for progress of all watchers; not answered unless all have some.
    pub fn progress(&self) {
        self.say(Command::Progress);
    }

    /// Time to tell the watchers that asked for it that nothing happened.
    pub fn tick(&self) {
        // A thread that is gone closes the outbox, and the stream ends.
        let _ = self.inbox.send(Input::Progress { id: self.id });
    }

    fn say(&self, command: Command) {
        // As above.
        let _ = self.inbox.send(Input::Say { id: self.id, command });
    }
}

impl WatchOutbox for Box<dyn WatchOutbox> {
    fn has_room(&self) -> bool {
        (**self).has_room()
    }

    fn try_send(&mut self, item: WatchItem) -> Result<(), WatchItem> {
        (**self).try_send(item)
    }
}

impl WatchOutbox for StreamOutbox {
    fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < OUTBOX_BYTES_MAX && self.items.capacity() > 0
    }

    fn try_send(&mut self, item: WatchItem) -> Result<(), WatchItem> {
        if !self.has_room() {
            return Err(item);
        }
        let (bytes, events) = (item.bytes(), item.events());
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        match self.items.try_send(item) {
            Ok(()) => {
                self.numbers.offered(events);
                Ok(())
            }
            Err(TrySendError::Full(item) | TrySendError::Closed(item)) => {
                self.bytes.fetch_sub(bytes, Ordering::Relaxed);
                Err(item)
            }
        }
    }
}

/// The stage with the way to it, for a store that stands at `revision`.
pub(crate) fn stage(
    shared: &Arc<Shared>,
    revision: i64,
    compacted: i64,
) -> (Watches, ChangesSender, HubStage) {
    let (inbox_tx, inbox) = bounded(INBOX_MAX);
    let stage = HubStage {
        hub: Hub::new(revision, compacted),
        views: shared.views.clone(),
        metrics: Arc::clone(&shared.metrics),
        inbox,
    };
    let watches = Watches { inbox: inbox_tx.clone(), ids: Arc::default() };
    (watches, ChangesSender { inbox: inbox_tx }, stage)
}

/// How many streams, watchers and watchers behind there are.
fn show(counts: [usize; 3], metrics: &Watching) {
    let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let [streams, watchers, behind] = counts.map(signed);
    metrics.streams.set(streams);
    metrics.watchers.set(watchers);
    metrics.behind.set(behind);
}

/// The hub with its ways in.
pub(crate) struct HubStage {
    hub: Hub<Box<dyn WatchOutbox>>,
    views: Views,
    metrics: Arc<Metrics>,
    inbox: Receiver<Input>,
}

impl HubStage {
    /// Whether something has come.
    pub(crate) fn has_inputs(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Takes what has come, and at least `first`. False once it is to stop.
    pub(crate) fn take(&mut self, first: Option<Input>) -> bool {
        let Self { hub, inbox, .. } = self;
        for input in first.into_iter().chain(inbox.try_iter().take(INBOX_MAX)) {
            match input {
                Input::Changed { changes, compacted, view } => {
                    hub.compacted(compacted);
                    changes.iter().for_each(|changes| hub.changed(changes, &view));
                }
                Input::Replaced { revision, compacted } => hub.replaced(revision, compacted),
                Input::Open { id, outbox } => hub.open(id, outbox),
                Input::Say { id, command } => hub.command(id, command),
                Input::Progress { id } => hub.progress(id),
                Input::Close { id } => hub.close(id),
                // Dropping the hub ends every stream.
                Input::Stop => return false,
            }
        }
        true
    }

    /// Says what waits for room, and tells one of those behind. Whether those behind are stuck.
    pub(crate) fn catch_up(&mut self) -> bool {
        self.hub.flush();
        let moved = self.hub.has_behind() && self.hub.catch_up(&self.views.latest());
        self.hub.has_behind() && !moved
    }

    /// Whether some watcher is behind.
    pub(crate) fn has_behind(&self) -> bool {
        self.hub.has_behind()
    }

    fn run(mut self) {
        let mut stuck_until: Option<Instant> = None;
        loop {
            let first = match stuck_until {
                Some(until) => self.inbox.recv_deadline(until).ok(),
                None if self.has_behind() => self.inbox.try_recv().ok(),
                // Whoever waits for room without being behind is looked at now and then.
                None => self.inbox.recv_timeout(IDLE).ok(),
            };
            if !self.take(first) {
                return;
            }
            if stuck_until.is_none_or(|until| until <= Instant::now()) {
                stuck_until = self.catch_up().then(|| Instant::now() + RETRY);
            }
            show(self.hub.counts(), &self.metrics.watches);
        }
    }
}

/// Starts the thread.
pub(crate) fn spawn(stage: HubStage) -> JoinHandle<()> {
    let thread = std::thread::Builder::new().name("watch".to_owned());
    thread.spawn(move || stage.run()).expect("the system can start a thread")
}
