//! A member's stages, and the channels between them, before anybody runs them.
//!
//! [`crate::Server`] gives each a thread; [`crate::stages`] runs all on one. What a member does is
//! the same: nothing here or in the stages knows who runs them.

use crate::Config;
use crate::apply_loop::{self, ApplyInput, ApplyStage};
use crate::bootstrap::Booted;
use crate::driver::Driver;
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::shared::{Clock, Shared};
use crate::snapshot::Maker;
use crate::start::{ApplyOutside, DriverOutside};
use crate::store_loop::{self, Closed, StoreRequest, StoreStage};
use crate::threads::{self, DriverPorts, Inbox, LogStage, Stages, Turns, WalSnapshot};
use crate::waiters::Waiters;
use crate::watches::{self, HubStage, Watches};
use api::etcdserverpb::AlarmType;
use crossbeam_channel::{Receiver, Sender, bounded};
use lease::Expiry;
use raft::{MemoryStorage, RawNode};
use raftpb::Message;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Instant;
use tokio::sync::{mpsc, watch};

/// The way to the other members.
pub(crate) trait Peers: Clone + Send + 'static {
    /// Sends messages, and never waits.
    fn send(&self, messages: Vec<Message>);
    /// Sends a follower all of the state; `message` says of what index raft thought.
    fn send_snapshot(&self, message: Message);
    /// There is another member, or it is elsewhere now.
    fn add(&self, id: u64, urls: &[String]);
    /// A member to talk to that the log has not told of yet.
    fn add_remote(&self, id: u64, urls: &[String]);
    /// A member is gone.
    fn remove(&self, id: u64);
}

/// The stages of a member.
pub(crate) struct Parts<P: Peers> {
    pub shared: Arc<Shared>,
    pub peers: P,
    pub watches: Watches,
    pub hub: HubStage,
    pub turns: Turns<DriverOutside<P>>,
    pub ports: DriverPorts,
    pub stages: Stages<LogStage, ApplyStage<ApplyOutside<P>>>,
    /// `None` once somebody has it.
    pub store: Option<StoreStage>,
    pub maker: Maker,
    pub no_space: mpsc::Sender<()>,
    pub ends: Ends,
}

/// The ends of channels that whoever runs the stages holds.
pub(crate) struct Ends {
    pub appends: Receiver<Message>,
    pub applies: Receiver<Message>,
    pub questions: Receiver<ApplyInput>,
    pub wal: Sender<WalSnapshot>,
    pub wal_snapshots: Receiver<WalSnapshot>,
    pub log_nudges: Receiver<()>,
    pub apply_nudges: Receiver<()>,
    pub store: Sender<StoreRequest>,
    pub store_requests: Receiver<StoreRequest>,
    /// Leaders' terms that have begun.
    pub terms: mpsc::Receiver<()>,
    /// That there is no room.
    pub alarms: mpsc::Receiver<()>,
    /// Dropping it stops the driver, and with it everything behind.
    pub stop: Sender<()>,
}

/// Puts a member together from what its directory held. `unix_millis` is when it starts.
pub(crate) fn assemble<P: Peers>(
    config: Config,
    booted: Booted,
    metrics: Arc<Metrics>,
    (clock, unix_millis): (Clock, u64),
    connect: impl FnOnce(&Arc<Shared>) -> P,
) -> Parts<P> {
    let Booted { id, cluster_id, raw, wal, snapshotter, dirs, restored, .. } = booted;
    let (inbox_tx, inbox) = Inbox::channel();
    let (appends_tx, appends) = threads::work_channel();
    let (applies_tx, applies) = threads::work_channel();
    let (done_tx, done) = threads::done_channel();
    let (questions_tx, questions) = bounded(apply_loop::QUESTIONS_MAX);
    let (wal_snapshots_tx, wal_snapshots) = bounded(1);
    let (store_tx, store_requests) = bounded(store_loop::REQUESTS_MAX);
    let (stop, stopped) = bounded(0);
    let machine = restored.machine;
    let mut expiry = Expiry::new(lease::Options::default());
    expiry.load(machine.lessor().list());
    let shared = Arc::new(Shared {
        id,
        cluster_id,
        ids: Ids::new(id, unix_millis),
        waiters: Waiters::new(Arc::clone(&metrics)),
        inbox: inbox_tx,
        apply: questions_tx,
        views: restored.views.clone(),
        reader: RwLock::new(restored.reader),
        raft: Arc::default(),
        applied: watch::Sender::new(booted.snapshot_index),
        installed: AtomicU64::new(0),
        lead: watch::Sender::new(0),
        published: watch::Sender::new(false),
        // One that a crash interrupted ends again.
        compacted: watch::Sender::new(if machine.mvcc().is_compacting() {
            -1
        } else {
            machine.mvcc().compact_revision()
        }),
        expiry: Mutex::new(expiry),
        learner: AtomicBool::new(machine.cluster().member(id).is_some_and(|own| own.is_learner)),
        cluster: RwLock::new(Arc::new(machine.cluster().clone())),
        alarms: RwLock::new(Arc::new(machine.alarms().list(AlarmType::None as i32))),
        clock,
        stopping: watch::Sender::new(false),
        config,
        dirs,
        metrics,
    });
    shared.metrics.alarmed(&shared.alarms());
    let peers = connect(&shared);
    for member in machine.cluster().members().filter(|member| member.id != id) {
        peers.add(member.id, &member.peer_urls);
    }
    for member in booted.remotes {
        peers.add_remote(member.id, &member.peer_urls);
    }
    let (revision, compacted) = (machine.mvcc().revision(), machine.mvcc().compact_revision());
    let (watches, changes, hub) = watches::stage(&shared, revision, compacted);
    let durable = Arc::new(AtomicU64::new(booted.durable));
    let (log_nudge, log_nudges) = threads::nudge_channel();
    let log = LogStage {
        stage: wal,
        snapshotter: snapshotter.clone(),
        metrics: Arc::clone(&shared.metrics),
        done: done_tx.clone(),
        durable: Arc::clone(&durable),
        nudge: log_nudge,
    };
    let (no_space, alarms) = mpsc::channel(1);
    let (term_tx, terms) = mpsc::channel(1);
    let (apply_nudge, apply_nudges) = threads::nudge_channel();
    let apply = ApplyStage {
        machine,
        shared: Arc::clone(&shared),
        done: done_tx,
        outside: ApplyOutside {
            shared: Arc::clone(&shared),
            peers: peers.clone(),
            changes,
            nospace: no_space.clone(),
            terms: term_tx,
        },
        snapshotter: snapshotter.clone(),
        store: Box::new(store_tx.clone()),
        term: 0,
        compacted: -1,
        compacting: true,
        nudge: apply_nudge,
        clock: Instant::now(),
        compaction: None,
    };
    let store = Closed::new(restored.views, Arc::clone(&shared), durable);
    let store = store.reopen(restored.flusher, restored.compactor);
    let outside = DriverOutside {
        shared: Arc::clone(&shared),
        peers: peers.clone(),
        heartbeats: BTreeMap::new(),
    };
    let driver = driver_of(&shared, raw, booted.snapshot_index);
    Parts {
        watches,
        hub,
        turns: Turns::new(driver, outside),
        ports: DriverPorts { inbox, done, appends: appends_tx, applies: applies_tx, stop: stopped },
        stages: Stages { log: Arc::new(Mutex::new(log)), apply: Arc::new(Mutex::new(apply)) },
        store: Some(store),
        maker: Maker { shared: Arc::clone(&shared), snapshotter, last: booted.snapshot_index },
        no_space,
        ends: Ends {
            appends,
            applies,
            questions,
            wal: wal_snapshots_tx,
            wal_snapshots,
            log_nudges,
            apply_nudges,
            store: store_tx,
            store_requests,
            terms,
            alarms,
            stop,
        },
        peers,
        shared,
    }
}

fn driver_of(shared: &Shared, raw: RawNode<MemoryStorage>, applied: u64) -> Driver {
    let tick = shared.config.heartbeat_interval.as_millis().max(1);
    let read_ticks = shared.config.request_timeout().as_millis() / tick;
    Driver::new(shared.id, raw, applied, u32::try_from(read_ticks).unwrap_or(u32::MAX))
}
