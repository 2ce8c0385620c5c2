//! Starting a member, and ending it.

use crate::apply_loop::{self, ApplyStage};
use crate::bootstrap::{Booted, boot, has_log};
use crate::driver::{Driver, Outbox, Progress};
use crate::ids::Ids;
use crate::join::Joining;
use crate::link::Link;
use crate::metrics::Metrics;
use crate::shared::Shared;
use crate::snapshot::Snapshots;
use crate::store_loop::{self, StoreRequest};
use crate::threads::{self, DriverPorts, INBOX_MAX, LogStage, Stages};
use crate::waiters::Waiters;
use crate::watches::{self, Watches};
use crate::{Config, Fatal, go_duration, image, tasks, versions};
use api::etcdserverpb::{AlarmRequest, AlarmType, InternalRaftRequest, alarm_request};
use crossbeam_channel::{Sender, bounded};
use lease::Expiry;
use mvcc::Changes;
use net::{Dialer, Listener};
use peer::{Incoming, Local, Others, PeerUrl, Settings, Transport};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

/// A running member. Clones are handles to the same one.
#[derive(Clone)]
pub struct Server {
    pub(crate) shared: Arc<Shared>,
    pub(crate) transport: Transport,
    pub(crate) watches: Watches,
    pub(crate) no_space: mpsc::Sender<()>,
    running: Arc<Mutex<Option<Running>>>,
    ended: watch::Receiver<Option<Arc<Fatal>>>,
}

/// What [`Server::stop`] joins.
struct Running {
    threads: Vec<JoinHandle<()>>,
    tasks: JoinSet<()>,
    /// Dropping it stops the driver, and with it everything behind.
    stop: Sender<()>,
    store: Sender<StoreRequest>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("id", &self.shared.id).finish_non_exhaustive()
    }
}

impl Server {
    /// Opens the member's directory and starts it. It serves once [`Server::ready`] returns.
    ///
    /// # Errors
    /// [`Fatal`].
    ///
    /// # Panics
    /// Outside of a tokio runtime, or if the system cannot start a thread.
    pub async fn start(config: Config) -> Result<Server, Fatal> {
        let dialer = Dialer::new(&config.peer_tls).map_err(|wrong| Fatal::Config {
            field: "peer-cert-file",
            reason: wrong.to_string(),
        })?;
        let (for_look, for_boot) = (config.clone(), config.clone());
        let known = tokio::task::spawn_blocking(move || has_log(&for_look)).await;
        let known = known.map_err(|_| Fatal::Ended { stage: "start" })??;
        let joining = match known || config.new_cluster {
            true => None,
            false => Some(Joining::ask(&config, &dialer).await?),
        };
        let metrics = Arc::<Metrics>::default();
        let of_boot = Arc::clone(&metrics);
        let booted = tokio::task::spawn_blocking(move || boot(&for_boot, joining, &of_boot)).await;
        let booted = booted.map_err(|_| Fatal::Ended { stage: "start" })??;
        Self::run(config, booted, dialer, metrics)
    }

    /// Whether a member was here before, so that flags of a new cluster count for nothing.
    ///
    /// # Errors
    /// [`Fatal`].
    pub fn is_initialized(config: &Config) -> Result<bool, Fatal> {
        has_log(config)
    }

    fn run(
        config: Config,
        booted: Booted,
        dialer: Dialer,
        metrics: Arc<Metrics>,
    ) -> Result<Server, Fatal> {
        let Booted { id, cluster_id, raw, wal, snapshotter, restored, .. } = booted;
        let (inbox_tx, inbox) = bounded(INBOX_MAX);
        let (appends_tx, appends) = threads::work_channel();
        let (applies_tx, applies) = threads::work_channel();
        let (done_tx, done) = threads::done_channel();
        let (questions_tx, questions) = bounded(apply_loop::QUESTIONS_MAX);
        let (wal_snapshots_tx, wal_snapshots) = bounded(1);
        let (store_tx, store_requests) = bounded(store_loop::REQUESTS_MAX);
        let (stop, stopped) = bounded(0);
        let (ended_tx, ended) = watch::channel(None);
        let machine = restored.machine;
        let mut expiry = Expiry::new(lease::Options::default());
        expiry.load(machine.lessor().list());
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since_epoch.as_millis()).unwrap_or_default();
        let shared = Arc::new(Shared {
            id,
            cluster_id,
            ids: Ids::new(id, millis),
            waiters: Waiters::new(Arc::clone(&metrics)),
            inbox: inbox_tx,
            apply: questions_tx,
            views: restored.views.clone(),
            reader: RwLock::new(restored.reader),
            raft: Arc::default(),
            applied: watch::Sender::new(booted.snapshot_index),
            lead: watch::Sender::new(0),
            published: watch::Sender::new(false),
            // One that a crash interrupted ends again.
            compacted: watch::Sender::new(if machine.mvcc().is_compacting() {
                -1
            } else {
                machine.mvcc().compact_revision()
            }),
            expiry: Mutex::new(expiry),
            learner: AtomicBool::new(
                machine.cluster().member(id).is_some_and(|own| own.is_learner),
            ),
            cluster: RwLock::new(Arc::new(machine.cluster().clone())),
            alarms: RwLock::new(Arc::new(machine.alarms().list(AlarmType::None as i32))),
            started: Instant::now(),
            stopping: watch::Sender::new(false),
            config,
            metrics,
        });
        shared.metrics.alarmed(&shared.alarms());
        let transport = transport(&shared, dialer);
        for member in machine.cluster().members().filter(|member| member.id != id) {
            add_peer(&transport, member.id, &member.peer_urls);
        }
        for member in booted.remotes {
            transport.add_remote(member.id, parse_urls(&member.peer_urls));
        }
        let (watches, watch_changes, watch_thread) =
            watches::start(&shared, machine.mvcc().revision(), machine.mvcc().compact_revision());
        let durable = Arc::new(AtomicU64::new(booted.durable));
        let ending = Arc::clone(&shared);
        let end = move |stage: &'static str, result: Result<(), Fatal>| {
            if let Err(error) = result {
                ending.waiters.close(ending.now());
                tracing::error!(stage, error = &error as &dyn std::error::Error, "the member ends");
                ended_tx.send_replace(Some(Arc::new(error)));
            }
        };
        let end = Arc::new(end);
        let mut running = vec![watch_thread];

        let (log_nudge, log_nudges) = threads::nudge_channel();
        let wal_durable = Arc::clone(&durable);
        let log = Arc::new(Mutex::new(LogStage {
            stage: wal,
            snapshotter: snapshotter.clone(),
            metrics: Arc::clone(&shared.metrics),
            done: done_tx.clone(),
            durable: move |index| wal_durable.store(index, Ordering::Release),
            nudge: log_nudge,
        }));
        let (nospace_tx, nospace) = mpsc::channel(1);
        let (term_tx, terms) = mpsc::channel(1);
        let (apply_nudge, apply_nudges) = threads::nudge_channel();
        let apply = Arc::new(Mutex::new(ApplyStage {
            machine,
            shared: Arc::clone(&shared),
            done: done_tx,
            outside: ApplyOutside {
                shared: Arc::clone(&shared),
                transport: transport.clone(),
                changes: watch_changes,
                nospace: nospace_tx.clone(),
                terms: term_tx,
            },
            snapshotter: snapshotter.clone(),
            store: store_tx.clone(),
            term: 0,
            compacted: -1,
            compacting: true,
            nudge: apply_nudge,
            clock: Instant::now(),
            compaction: None,
        }));

        let tick = shared.config.heartbeat_interval.as_millis().max(1);
        let read_ticks = shared.config.request_timeout().as_millis() / tick;
        let read_ticks = u32::try_from(read_ticks).unwrap_or(u32::MAX);
        let driver = Driver::new(id, raw, booted.snapshot_index, read_ticks);
        let ports =
            DriverPorts { inbox, done, appends: appends_tx, applies: applies_tx, stop: stopped };
        let stages = Stages { log: Arc::clone(&log), apply: Arc::clone(&apply) };
        let outside = DriverOutside {
            shared: Arc::clone(&shared),
            transport: transport.clone(),
            runtime: Handle::current(),
            heartbeats: BTreeMap::new(),
            ticks: 0,
        };
        let (period, driver_end) = (shared.config.heartbeat_interval, Arc::clone(&end));
        running.push(spawn("raft", move || {
            let ran = threads::run_driver(driver, &ports, &stages, period, outside);
            // The stages' threads end when the ports close, and are the stages' only owners then.
            drop(stages);
            drop(ports);
            driver_end("raft", ran);
        }));
        let log_end = Arc::clone(&end);
        running.push(spawn("wal", move || {
            let ran = threads::run_log(&log, &appends, &wal_snapshots, &log_nudges);
            log_end("wal", ran.and_then(|()| close_log(log)));
        }));
        let apply_end = Arc::clone(&end);
        running.push(spawn("apply", move || {
            let ran = apply_loop::run(&apply, &applies, &questions, &apply_nudges);
            apply_end("apply", ran);
        }));

        let (flusher, compactor) = (restored.flusher, restored.compactor);
        let (views, store_shared) = (restored.views, Arc::clone(&shared));
        running.push(spawn("store", move || {
            let ran = store_loop::run(
                flusher,
                compactor,
                views,
                &store_shared,
                &durable,
                &store_requests,
            );
            end("store", ran);
        }));

        let server = Server {
            shared: Arc::clone(&shared),
            transport,
            watches,
            no_space: nospace_tx,
            running: Arc::default(),
            ended,
        };
        let mut join = JoinSet::new();
        let snapshots = Snapshots {
            shared: Arc::clone(&shared),
            snapshotter,
            store: store_tx.clone(),
            wal: wal_snapshots_tx,
            last: booted.snapshot_index,
        };
        join.spawn(snapshots.run());
        join.spawn(tasks::advance_ticks(server.clone_for_task()));
        join.spawn(tasks::publish(server.clone_for_task()));
        join.spawn(versions::decide(server.clone_for_task()));
        join.spawn(versions::end_downgrade(server.clone_for_task()));
        if let Some(keep) = server.shared.config.auto_compaction {
            join.spawn(tasks::compact(server.clone_for_task(), keep));
        }
        join.spawn(tasks::expire_waiters(server.clone_for_task()));
        join.spawn(tasks::expire_leases(server.clone_for_task(), terms));
        join.spawn(tasks::raise_no_space(server.clone_for_task(), nospace));
        let all = Running { threads: running, tasks: join, stop, store: store_tx };
        *lock(&server.running) = Some(all);
        Ok(server)
    }

    /// A handle that a task may keep: it does not keep what joins the task.
    fn clone_for_task(&self) -> Server {
        Server { running: Arc::default(), ..self.clone() }
    }

    /// Serves the peer port until the member stops, and `others` beside the peer protocol.
    pub async fn serve_peers(self, listener: Listener, others: impl Others) {
        let stopping = self.shared.stopping.subscribe();
        if let Err(error) = self.transport.serve(PeerPort { listener, stopping }, others).await {
            tracing::error!(%error, "the peer port has ended");
        }
    }

    /// Waits until the member has ended by itself, and tells why.
    pub async fn ended(&self) -> Arc<Fatal> {
        let mut ended = self.ended.clone();
        loop {
            if let Some(fatal) = ended.borrow_and_update().clone() {
                return fatal;
            }
            if ended.changed().await.is_err() {
                return Arc::new(Fatal::Ended { stage: "every thread" });
            }
        }
    }

    /// Stops the member: a lead is handed over, requests are refused, and all that was
    /// acknowledged is durable. Does nothing the second time.
    pub async fn stop(&self) {
        self.hand_over().await;
        self.shared.stop();
        let running = lock(&self.running).take();
        let Some(Running { threads, mut tasks, stop, store }) = running else { return };
        tasks.shutdown().await;
        self.transport.stop().await;
        self.watches.stop();
        drop((stop, store));
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a thread of the member panicked");
                }
            }
        });
        // The runtime itself may be ending.
        let _ = joined.await;
    }
}

/// How long the peer port pauses if the system gives it no connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts peers until the member stops.
struct PeerPort {
    listener: Listener,
    stopping: watch::Receiver<bool>,
}

impl peer::Accept for PeerPort {
    async fn accept(&mut self) -> std::io::Result<Option<Incoming>> {
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = self.stopping.wait_for(|stopping| *stopping) => return Ok(None),
            };
            match accepted {
                Ok(incoming) => return Ok(Some(incoming)),
                Err(error) => {
                    // Out of file descriptors, most likely: others may go meanwhile.
                    tracing::warn!(%error, "cannot accept a peer's connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Ends the log; a member whose driver has ended by a panic leaves it as it is.
fn close_log<D>(log: Arc<Mutex<LogStage<D>>>) -> Result<(), Fatal> {
    match Arc::into_inner(log).map(Mutex::into_inner) {
        Some(Ok(log)) => Ok(log.stage.into_wal().close()?),
        Some(Err(_)) | None => Ok(()),
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.expect("the system can start a thread")
}

fn transport(shared: &Arc<Shared>, dialer: Dialer) -> Transport {
    let urls = parse_urls(&shared.config.advertise_peer_urls);
    let local = Local { id: shared.id, cluster_id: shared.cluster_id, urls };
    let link = Arc::new(Link { shared: Arc::downgrade(shared) });
    let settings = Settings {
        read_timeout: shared.config.raft_read_timeout,
        write_timeout: shared.config.raft_write_timeout,
        dialer,
        ..Settings::plain(shared.config.election_timeout())
    };
    Transport::new(local, link, settings)
}

/// Those URLs that can be used; others are named in the log.
fn parse_urls(urls: &[String]) -> Vec<PeerUrl> {
    let mut parsed = Vec::new();
    for url in urls {
        match PeerUrl::parse(url) {
            Ok(url) => parsed.push(url),
            Err(error) => tracing::warn!(%url, %error, "a peer URL that cannot be used"),
        }
    }
    parsed
}

fn add_peer(transport: &Transport, id: u64, urls: &[String]) {
    let urls = parse_urls(urls);
    if !urls.is_empty() {
        transport.add_peer(id, urls);
    }
}

/// What the driver's thread does outside of raft.
struct DriverOutside {
    shared: Arc<Shared>,
    transport: Transport,
    runtime: Handle,
    /// When the last heartbeat went to each member.
    heartbeats: BTreeMap<u64, Instant>,
    /// As last seen.
    ticks: u64,
}

impl DriverOutside {
    /// Looks whether a heartbeat leaves later than it should (etcd `pkg/contention`).
    fn watch_heartbeat(&mut self, to: u64) {
        let interval = self.shared.config.heartbeat_interval;
        let now = Instant::now();
        let Some(last) = self.heartbeats.insert(to, now) else { return };
        let exceeded = (now - last).saturating_sub(2 * interval);
        if exceeded.is_zero() {
            return;
        }
        self.shared.metrics.late_heartbeats.inc();
        tracing::warn!(
            to = peer::identity::format_id(to),
            heartbeat_interval = go_duration(interval),
            expected_duration = go_duration(2 * interval),
            exceeded_duration = go_duration(exceeded),
            "leader failed to send out heartbeat on time; took too long, leader is overloaded \
             likely from slow disk"
        );
    }
}

impl threads::Outside for DriverOutside {
    fn take(&mut self, out: &mut Outbox, progress: Progress) {
        let numbers = &self.shared.raft;
        if progress.ticks != self.ticks {
            self.ticks = progress.ticks;
            self.shared.ticked();
        }
        numbers.term.store(progress.term, Ordering::Relaxed);
        numbers.last_index.store(progress.last_index, Ordering::Relaxed);
        numbers.committed.store(progress.committed, Ordering::Release);
        // Before any message leaves: whoever else may come to decide hears of it from here.
        numbers.decides_alone.store(progress.decides_alone, Ordering::Release);
        if let Some(soft_state) = out.soft_state.take() {
            if !progress.leads && self.shared.leads() {
                self.shared.expiry().demote();
            }
            numbers.leads.store(progress.leads, Ordering::Release);
            let before = self.shared.lead.send_replace(soft_state.lead);
            // Compat: a leader that was lost and found again counts again.
            if before != soft_state.lead && soft_state.lead != raft::NONE {
                self.shared.metrics.leader_changes.inc();
            }
            self.heartbeats.clear();
            log_leader(self.shared.id, before, soft_state.lead, progress.term);
        }
        self.shared.metrics.reads_failed.add(std::mem::take(&mut out.reads_failed));
        if std::mem::take(&mut out.reads_asked_again) > 0 {
            tracing::warn!("waiting for ReadIndex response took too long, retrying");
        }
        self.shared.waiters.complete(|| self.shared.now(), out.replies.drain(..));
        let (snapshots, messages): (Vec<_>, Vec<_>) = std::mem::take(&mut out.to_peers)
            .into_iter()
            .partition(|message| message.r#type() == raftpb::MessageType::MsgSnap);
        for message in &messages {
            if message.r#type() == raftpb::MessageType::MsgHeartbeat {
                self.watch_heartbeat(message.to());
            }
        }
        for message in snapshots {
            let (shared, transport) = (Arc::clone(&self.shared), self.transport.clone());
            self.runtime.spawn(image::send(shared, transport, message));
        }
        if !messages.is_empty() {
            self.transport.send(messages);
        }
    }
}

/// Compat: texts that people look for.
fn log_leader(id: u64, before: u64, lead: u64, term: u64) {
    match (before, lead) {
        (before, lead) if before == lead => {}
        (0, lead) => {
            tracing::info!("raft.node: {id:x} elected leader {lead:x} at term {term}");
        }
        (before, 0) => tracing::info!("raft.node: {id:x} lost leader {before:x} at term {term}"),
        (before, lead) => {
            tracing::info!(
                "raft.node: {id:x} changed leader from {before:x} to {lead:x} at term {term}"
            );
        }
    }
}

/// What the apply thread tells others.
struct ApplyOutside {
    shared: Arc<Shared>,
    transport: Transport,
    changes: watches::ChangesSender,
    nospace: mpsc::Sender<()>,
    terms: mpsc::Sender<()>,
}

impl apply_loop::Outside for ApplyOutside {
    fn changed(&mut self, changes: Vec<Arc<Changes>>, compacted: i64) {
        self.changes.send(changes, compacted);
    }

    fn compacted(&mut self, compacted: i64) {
        self.changes.send(Vec::new(), compacted);
    }

    fn replaced(&mut self, revision: i64, compacted: i64) {
        self.changes.replaced(revision, compacted);
    }

    fn member_added(&mut self, id: u64, peer_urls: &[String]) {
        if id != self.shared.id {
            add_peer(&self.transport, id, peer_urls);
        }
    }

    fn member_removed(&mut self, id: u64) {
        if id == self.shared.id {
            self.shared.stop();
        } else {
            self.transport.remove_peer(id);
        }
    }

    fn no_space(&mut self) {
        // If there is no room, the alarm is on its way already.
        let _ = self.nospace.try_send(());
    }

    fn term_began(&mut self) {
        // If there is no room, whoever listens has yet to look.
        let _ = self.terms.try_send(());
    }
}

/// The request that turns on this member's NOSPACE alarm.
pub(crate) fn no_space_alarm(member: u64) -> InternalRaftRequest {
    let alarm = AlarmRequest {
        action: alarm_request::AlarmAction::Activate as i32,
        member_id: member,
        alarm: AlarmType::Nospace as i32,
    };
    InternalRaftRequest { alarm: Some(alarm), ..InternalRaftRequest::default() }
}
