//! One server as a child process, with a folder that it keeps over restarts.
//!
//! It keeps its ports too, so that clients find it again. Its log is read for as long as it lives;
//! the last lines are kept for the messages of failed tests.

use crate::{PATIENCE, Program};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

/// Lines of the log that are kept: a Go program's last words may be hundreds of stacks.
const LINES_KEPT: usize = 2000;

/// What both log once clients can come.
const READY: &str = "ready to serve client requests";

/// How a server is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Flags beside those that name folder and ports.
    pub flags: Vec<String>,
    /// The members of the cluster that it joins, as `name=url,...`; empty for one of its own.
    pub joins: String,
    /// Its name; `m` if empty.
    pub name: String,
    /// Schemes of the URLs on which clients are listened to; `http` if empty.
    pub client_schemes: Vec<&'static str>,
    /// The scheme of its peer URL; `http` if empty.
    pub peer_scheme: &'static str,
}

impl Options {
    /// For runs that lose no power: the disk is not waited for.
    ///
    /// Compat: 3.5.1 has this flag as well.
    #[must_use]
    pub fn without_sync() -> Self {
        Self::default().flag("--unsafe-no-fsync")
    }

    /// With one more flag.
    #[must_use]
    pub fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    fn name(&self) -> &str {
        if self.name.is_empty() { "m" } else { &self.name }
    }

    fn peer_scheme(&self) -> &str {
        if self.peer_scheme.is_empty() { "http" } else { self.peer_scheme }
    }
}

/// A server, alone or a member of a cluster. Dropping it kills it and removes its folder.
#[derive(Debug)]
pub struct Server {
    child: Option<Child>,
    log: Arc<(Mutex<Log>, Condvar)>,
    program: Program,
    options: Options,
    client: SocketAddr,
    peer: SocketAddr,
    /// The members of the cluster that it begins with others; empty for one of its own.
    begins: String,
    /// Where others are told to find it, if not where it listens.
    advertised: Option<String>,
    folder: TempDir,
}

#[derive(Debug, Default)]
struct Log {
    last: VecDeque<String>,
    ready: bool,
    ended: bool,
}

impl Server {
    /// Starts a server in a new folder, and waits until it is ready.
    ///
    /// # Panics
    /// If it is not; its log is in the message.
    #[must_use]
    pub fn start(program: &Program, options: Options) -> Self {
        let mut server = Self::prepare(program, options);
        server.start_again();
        server
    }

    /// Makes it begin a cluster with others, `name=url,...`, when it is first started.
    pub(crate) fn begin(&mut self, members: &str) {
        self.begins = members.to_owned();
    }

    /// Has others told another URL than the one on which it listens for them.
    pub(crate) fn advertise(&mut self, url: String) {
        self.advertised = Some(url);
    }

    /// A server that has its folder and ports, and is not started.
    ///
    /// # Panics
    /// If there is no room for it.
    #[must_use]
    pub fn prepare(program: &Program, options: Options) -> Self {
        let [client, peer] = free_addresses();
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let log = Arc::default();
        let program = program.clone();
        let (begins, advertised) = (String::new(), None);
        Self { child: None, log, program, options, client, peer, begins, advertised, folder }
    }

    /// Starts it on the folder that it left, and waits until it is ready.
    ///
    /// # Panics
    /// If it runs still, or is not ready in time; its log is in the message.
    pub fn start_again(&mut self) {
        self.spawn();
        self.wait_ready();
    }

    /// Starts it without waiting.
    ///
    /// # Panics
    /// If it runs still, or cannot be started.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let schemes = match &*self.options.client_schemes {
            [] => &["http"],
            schemes => schemes,
        };
        let urls = schemes.iter().map(|scheme| format!("{scheme}://{}", self.client));
        let client = urls.collect::<Vec<_>>().join(",");
        let (peer, advertised) = (self.listen_peer_url(), self.peer_url());
        let mut command = Command::new(&self.program.path);
        let mut members = format!("{}={advertised}", self.options.name());
        if !self.begins.is_empty() {
            members.clone_from(&self.begins);
        } else if !self.options.joins.is_empty() {
            members = format!("{},{members}", self.options.joins);
            command.arg("--initial-cluster-state=existing");
        }
        command.arg(format!("--name={}", self.options.name()));
        command.arg("--logger=zap").arg("--data-dir").arg(self.data_dir());
        command.arg(format!("--listen-client-urls={client}"));
        command.arg(format!("--advertise-client-urls={client}"));
        command.arg(format!("--listen-peer-urls={peer}"));
        command.arg(format!("--initial-advertise-peer-urls={advertised}"));
        command.arg(format!("--initial-cluster={members}")).args(&self.options.flags);
        // Unix sockets that look like addresses lie there.
        command.current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let stderr = child.stderr.take().expect("stderr is a pipe");
        self.log = Arc::default();
        let log = self.log.clone();
        // A full pipe would stop it, so somebody reads for as long as it lives.
        std::thread::spawn(move || keep(stderr, &log));
        self.child = Some(child);
    }

    /// Waits until it says that it is ready.
    ///
    /// # Panics
    /// If it ends before, or takes too long; its log is in the message.
    pub fn wait_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut log = lock(&self.log.0);
        while !log.ready {
            let left = deadline.saturating_duration_since(Instant::now());
            if log.ended || left.is_zero() {
                drop(log);
                panic!("{} does not get ready; its log:\n{}", self.program.name, self.log());
            }
            let waited = self.log.1.wait_timeout(log, left);
            log = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until it has ended by itself and its log is read, but no longer than `most`. Tells
    /// whether it has.
    #[must_use]
    pub fn wait_ended(&self, most: Duration) -> bool {
        let log = lock(&self.log.0);
        let waited = self.log.1.wait_timeout_while(log, most, |log| !log.ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.ended
    }

    /// Ends it as `kill -9` does, in the middle of whatever it does.
    ///
    /// # Panics
    /// If it does not run any more: then it ended by itself.
    pub fn kill(&mut self) {
        assert!(self.runs(), "{} ended by itself; its log:\n{}", self.program.name, self.log());
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("a child can be killed");
        child.wait().expect("a killed child ends");
    }

    /// Asks it to end, as a service manager does.
    ///
    /// # Panics
    /// If it does not run.
    pub fn terminate(&self) {
        let child = self.child.as_ref().expect("it runs");
        let pid = Pid::from_child(child);
        kill_process(pid, Signal::TERM).expect("a child can be asked to end");
    }

    /// Waits until it has ended by itself, so that it can be started again.
    ///
    /// # Panics
    /// If it does not end in time; its log is in the message.
    pub fn reap(&mut self) {
        assert!(self.wait_ended(PATIENCE), "it does not end; its log:\n{}", self.log());
        let mut child = self.child.take().expect("it was started");
        child.wait().expect("a child can be waited for");
    }

    /// Takes note of one that ended by itself, so that it can be started again.
    pub fn forget(&mut self) {
        if !self.runs() {
            self.child = None;
        }
    }

    /// Whether its process is there.
    pub fn runs(&mut self) -> bool {
        let ended = |child: &mut Child| child.try_wait().expect("a child can be asked for");
        self.child.as_mut().is_some_and(|child| ended(child).is_none())
    }

    /// A connection to it, made when it is first used.
    ///
    /// # Panics
    /// Outside of a runtime.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.endpoint().connect_lazy()
    }

    /// What connections to it are made of.
    ///
    /// # Panics
    /// Never: an address is a URL's.
    #[must_use]
    pub fn endpoint(&self) -> Endpoint {
        let url = format!("http://{}", self.client);
        let endpoint = Endpoint::from_shared(url).expect("an address makes a URL");
        // What a watch stream has not been asked for yet must not hold up other answers.
        let endpoint = endpoint.initial_connection_window_size(1 << 30);
        endpoint.tcp_nodelay(true).initial_stream_window_size(8 << 20)
    }

    /// Where clients reach it.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        self.client
    }

    /// Where other members would reach it.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.peer
    }

    /// Its address, as other members know it.
    #[must_use]
    pub fn peer_url(&self) -> String {
        self.advertised.clone().unwrap_or_else(|| self.listen_peer_url())
    }

    fn listen_peer_url(&self) -> String {
        format!("{}://{}", self.options.peer_scheme(), self.peer)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.options.name()
    }

    /// A folder that is its own.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its folder of data.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The program that it runs.
    #[must_use]
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The most memory that it has had at once so far, in MiB, as the kernel counts.
    ///
    /// # Panics
    /// If it does not run, or the kernel does not tell.
    #[must_use]
    pub fn memory_peak_mib(&self) -> u64 {
        self.memory_mib("VmHWM:")
    }

    /// The memory that it has now, in MiB, as the kernel counts.
    ///
    /// # Panics
    /// As above.
    #[must_use]
    pub fn memory_now_mib(&self) -> u64 {
        self.memory_mib("VmRSS:")
    }

    fn memory_mib(&self, field: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.parse::<u64>().ok()).expect("memory is a number of kB") / 1024
    }

    /// The processor time that it has used so far, in user and kernel mode. Counted in hundredths
    /// of a second.
    ///
    /// # Panics
    /// As above.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        let stat = self.proc("stat");
        // The second field is a name in brackets, and may have anything in it.
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks = ticks.map(|ticks| ticks.parse::<u64>().expect("ticks are a number"));
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    fn proc(&self, file: &str) -> String {
        let pid = self.child.as_ref().expect("it runs").id();
        let read = std::fs::read_to_string(format!("/proc/{pid}/{file}"));
        read.expect("the kernel tells of a process that runs")
    }

    /// The end of its log.
    #[must_use]
    pub fn log(&self) -> String {
        lock(&self.log.0).last.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended already; either way nothing is left running.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Reads a log to its end.
fn keep(stderr: ChildStderr, log: &(Mutex<Log>, Condvar)) {
    for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut kept = lock(&log.0);
        if line.contains(READY) {
            kept.ready = true;
            log.1.notify_all();
        }
        if kept.last.len() == LINES_KEPT {
            kept.last.pop_front();
        }
        kept.last.push_back(line);
    }
    lock(&log.0).ended = true;
    log.1.notify_all();
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An address nobody listens on.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_address() -> SocketAddr {
    free_addresses()[0]
}

/// Addresses nobody listens on. Both are held until both are known, so that they differ.
fn free_addresses() -> [SocketAddr; 2] {
    let bind = |()| TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let held = [(), ()].map(bind);
    held.map(|socket| socket.local_addr().expect("a bound socket has an address"))
}
