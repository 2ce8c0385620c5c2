//! Starting a member, and ending it.

use crate::apply_loop;
use crate::assemble::{Parts, Peers, assemble};
use crate::bootstrap::{Booted, Dirs, boot, has_log};
use crate::driver::{Outbox, Progress};
use crate::join::Joining;
use crate::link::Link;
use crate::metrics::Metrics;
use crate::shared::{Clock, Shared};
use crate::snapshot::Snapshots;
use crate::store_loop::{self, StoreRequest};
use crate::threads::{self, LogStage};
use crate::watches::{self, Watches};
use crate::{Config, Fatal, go_duration, image, tasks, versions};
use api::etcdserverpb::{AlarmRequest, AlarmType, InternalRaftRequest, alarm_request};
use crossbeam_channel::Sender;
use mvcc::Changes;
use net::{Dialer, Listener};
use peer::{Incoming, Local, Others, PeerUrl, Settings, Transport};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
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
        let metrics = Arc::<Metrics>::default();
        let dirs = Dirs::new(&config, &metrics);
        let (for_look, for_boot) = (dirs.clone(), config.clone());
        let known = tokio::task::spawn_blocking(move || has_log(&for_look)).await;
        let known = known.map_err(|_| Fatal::Ended { stage: "start" })??;
        let joining = match known || config.new_cluster {
            true => None,
            false => Some(Joining::ask(&config, &dialer).await?),
        };
        let booted = tokio::task::spawn_blocking(move || boot(&for_boot, dirs, joining)).await;
        let booted = booted.map_err(|_| Fatal::Ended { stage: "start" })??;
        Self::run(config, booted, dialer, metrics)
    }

    /// Whether a member was here before, so that flags of a new cluster count for nothing.
    ///
    /// # Errors
    /// [`Fatal`].
    pub fn is_initialized(config: &Config) -> Result<bool, Fatal> {
        has_log(&Dirs::new(config, &Arc::default()))
    }

    fn run(
        config: Config,
        booted: Booted,
        dialer: Dialer,
        metrics: Arc<Metrics>,
    ) -> Result<Server, Fatal> {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since_epoch.as_millis()).unwrap_or_default();
        let clock = Clock::Since(Instant::now());
        let parts = assemble(config, booted, metrics, (clock, millis), |shared| {
            let transport = transport(shared, dialer);
            Wire { shared: Arc::clone(shared), transport, runtime: Handle::current() }
        });
        let Parts { shared, peers, watches, turns, ports, stages, ends, .. } = parts;
        let (log, apply) = (Arc::clone(&stages.log), Arc::clone(&stages.apply));
        let transport = peers.transport;
        let (ended_tx, ended) = watch::channel(None);
        let ending = Arc::clone(&shared);
        let end = move |stage: &'static str, result: Result<(), Fatal>| {
            if let Err(error) = result {
                ending.waiters.close(ending.now());
                tracing::error!(stage, error = &error as &dyn std::error::Error, "the member ends");
                ended_tx.send_replace(Some(Arc::new(error)));
            }
        };
        let end = Arc::new(end);
        let mut running = vec![watches::spawn(parts.hub)];

        let (period, driver_end) = (shared.config.heartbeat_interval, Arc::clone(&end));
        running.push(spawn("raft", move || {
            let ran = threads::run_driver(turns, &ports, &stages, period);
            // The stages' threads end when the ports close, and are the stages' only owners then.
            drop(stages);
            drop(ports);
            driver_end("raft", ran);
        }));
        let log_end = Arc::clone(&end);
        let (appends, wal_snapshots, log_nudges) =
            (ends.appends, ends.wal_snapshots, ends.log_nudges);
        running.push(spawn("wal", move || {
            let ran = threads::run_log(&log, &appends, &wal_snapshots, &log_nudges);
            log_end("wal", ran.and_then(|()| close_log(log)));
        }));
        let apply_end = Arc::clone(&end);
        let (applies, questions, apply_nudges) = (ends.applies, ends.questions, ends.apply_nudges);
        running.push(spawn("apply", move || {
            let ran = apply_loop::run(&apply, &applies, &questions, &apply_nudges);
            apply_end("apply", ran);
        }));
        let store = parts.store.expect("it was put together just now");
        let store_requests = ends.store_requests;
        running.push(spawn("store", move || end("store", store_loop::run(store, &store_requests))));

        let server = Server {
            shared: Arc::clone(&shared),
            transport,
            watches,
            no_space: parts.no_space,
            running: Arc::default(),
            ended,
        };
        let mut join = JoinSet::new();
        let snapshots = Snapshots { maker: parts.maker, store: ends.store.clone(), wal: ends.wal };
        join.spawn(snapshots.run());
        join.spawn(tasks::advance_ticks(server.clone_for_task()));
        join.spawn(tasks::publish(server.clone_for_task()));
        join.spawn(versions::decide(server.clone_for_task()));
        join.spawn(versions::end_downgrade(server.clone_for_task()));
        if let Some(keep) = server.shared.config.auto_compaction {
            join.spawn(tasks::compact(server.clone_for_task(), keep));
        }
        join.spawn(tasks::expire_waiters(server.clone_for_task()));
        join.spawn(tasks::expire_leases(server.clone_for_task(), ends.terms));
        join.spawn(tasks::raise_no_space(server.clone_for_task(), ends.alarms));
        let all = Running { threads: running, tasks: join, stop: ends.stop, store: ends.store };
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
fn close_log(log: Arc<Mutex<LogStage>>) -> Result<(), Fatal> {
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

/// The way to the other members over the network.
#[derive(Clone)]
struct Wire {
    shared: Arc<Shared>,
    transport: Transport,
    runtime: Handle,
}

impl Peers for Wire {
    fn send(&self, messages: Vec<raftpb::Message>) {
        self.transport.send(messages);
    }

    fn send_snapshot(&self, message: raftpb::Message) {
        let (shared, transport) = (Arc::clone(&self.shared), self.transport.clone());
        self.runtime.spawn(image::send(shared, transport, message));
    }

    fn add(&self, id: u64, urls: &[String]) {
        let urls = parse_urls(urls);
        if !urls.is_empty() {
            self.transport.add_peer(id, urls);
        }
    }

    fn add_remote(&self, id: u64, urls: &[String]) {
        self.transport.add_remote(id, parse_urls(urls));
    }

    fn remove(&self, id: u64) {
        self.transport.remove_peer(id);
    }
}

/// What the driver's thread does outside of raft.
pub(crate) struct DriverOutside<P> {
    pub shared: Arc<Shared>,
    pub peers: P,
    /// When the last heartbeat went to each member.
    pub heartbeats: BTreeMap<u64, Instant>,
}

impl<P> DriverOutside<P> {
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

impl<P: Peers> threads::Outside for DriverOutside<P> {
    fn take(&mut self, out: &mut Outbox, progress: Progress) {
        let numbers = &self.shared.raft;
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
            self.peers.send_snapshot(message);
        }
        if !messages.is_empty() {
            self.peers.send(messages);
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
pub(crate) struct ApplyOutside<P> {
    pub shared: Arc<Shared>,
    pub peers: P,
    pub changes: watches::ChangesSender,
    pub nospace: mpsc::Sender<()>,
    pub terms: mpsc::Sender<()>,
}

impl<P: Peers> apply_loop::Outside for ApplyOutside<P> {
    fn changed(&mut self, changes: Vec<Arc<Changes>>, compacted: i64) {
        self.changes.send(changes, compacted, self.shared.views.latest());
    }

    fn compacted(&mut self, compacted: i64) {
        self.changes.send(Vec::new(), compacted, self.shared.views.latest());
    }

    fn replaced(&mut self, revision: i64, compacted: i64) {
        self.changes.replaced(revision, compacted);
    }

    fn member_added(&mut self, id: u64, peer_urls: &[String]) {
        if id != self.shared.id {
            self.peers.add(id, peer_urls);
        }
    }

    fn member_removed(&mut self, id: u64) {
        if id == self.shared.id {
            self.shared.stop();
        } else {
            self.peers.remove(id);
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
