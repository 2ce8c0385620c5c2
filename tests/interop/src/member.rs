//! One real etcd member as a child process.
//!
//! A member has one data directory and may be started, stopped, frozen and killed on it again and
//! again; free ports are found by binding port 0 first. Its log is read for as long as it lives:
//! the last lines are kept for messages of failed tests, and every line that tells of a panic.

use crate::gateway::{Answer, Gateway};
use crate::wait::{PATIENCE, pause};
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The releases that tests run against where `cargo xtask peers` could get them.
pub const VERSIONS: [&str; 2] = ["3.5.1", "3.7.1"];

/// Lines of a member's log that are kept.
const LINES_KEPT: usize = 400;

/// How long a request to a member may take.
const REQUEST_MAX: Duration = Duration::from_secs(20);

/// The folder of the programs of the release that is always there.
///
/// # Panics
/// If they are missing: run `cargo xtask peers`.
#[must_use]
pub fn etcd_home() -> PathBuf {
    let home = etcd_home_of(VERSIONS[0]);
    home.unwrap_or_else(|| panic!("no etcd {}: run cargo xtask peers", VERSIONS[0]))
}

/// The folder of a release's programs, if they are there.
#[must_use]
pub fn etcd_home_of(version: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let peers = root.expect("this crate lies two folders deep").join("target/peers");
    Some(peers.join(format!("etcd-{version}"))).filter(|home| home.join("etcd").exists())
}

/// The releases that are there, the first of [`VERSIONS`] always.
///
/// # Panics
/// If that one is missing.
#[must_use]
pub fn versions() -> Vec<&'static str> {
    let _ = etcd_home();
    VERSIONS.into_iter().filter(|version| etcd_home_of(version).is_some()).collect()
}

/// How a member is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The folder of its program.
    pub home: PathBuf,
    /// Its name.
    pub name: String,
    /// Its data directory.
    pub data_dir: PathBuf,
    /// Where it serves clients.
    pub client_url: String,
    /// Where it listens for the other members.
    pub listen_peer_url: String,
    /// Where the other members are told to reach it.
    pub advertise_peer_url: String,
    /// All first members, as `name=url,...`.
    pub initial_cluster: String,
    /// Further flags.
    pub flags: Vec<String>,
}

/// A running member. Dropping it kills it.
#[derive(Debug)]
pub struct Member {
    child: Child,
    client_url: String,
    gateway: Gateway,
    said: Arc<Mutex<Said>>,
}

/// What is kept of a member's log.
#[derive(Debug, Default)]
struct Said {
    last: VecDeque<String>,
    panics: Vec<String>,
    serves: bool,
    ended: bool,
}

impl Member {
    /// Starts a member of a one-member cluster on `data_dir` and waits until it serves.
    ///
    /// # Panics
    /// If it does not; its log is in the message.
    #[must_use]
    pub fn start(data_dir: &Path, flags: &[&str]) -> Self {
        Self::start_of(&etcd_home(), data_dir, flags)
    }

    /// As [`Member::start`], with the programs of another release.
    ///
    /// # Panics
    /// If it does not serve; its log is in the message.
    #[must_use]
    pub fn start_of(home: &Path, data_dir: &Path, flags: &[&str]) -> Self {
        let peer_url = free_url();
        let member = Self::spawn(&Launch {
            home: home.to_owned(),
            name: "m".to_owned(),
            data_dir: data_dir.to_owned(),
            client_url: free_url(),
            listen_peer_url: peer_url.clone(),
            advertise_peer_url: peer_url.clone(),
            initial_cluster: format!("m={peer_url}"),
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
        });
        member.wait_ready();
        member
    }

    /// Starts a member without waiting for it: the first members of a cluster serve only when
    /// most of them run.
    ///
    /// # Panics
    /// If the program cannot be started.
    #[must_use]
    pub fn spawn(launch: &Launch) -> Self {
        let mut etcd = Command::new(launch.home.join("etcd"));
        etcd.arg("--name").arg(&launch.name).arg("--data-dir").arg(&launch.data_dir);
        etcd.args(["--listen-client-urls", &launch.client_url]);
        etcd.args(["--advertise-client-urls", &launch.client_url]);
        etcd.args(["--listen-peer-urls", &launch.listen_peer_url]);
        etcd.args(["--initial-advertise-peer-urls", &launch.advertise_peer_url]);
        etcd.args(["--initial-cluster", &launch.initial_cluster, "--logger=zap"]);
        etcd.args(&launch.flags).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = etcd.spawn().expect("the program can be started");
        let log = child.stderr.take().expect("stderr is a pipe");
        let said = Arc::new(Mutex::new(Said::default()));
        let writer = said.clone();
        // Whoever does not read its log stops it, so somebody does for as long as it lives.
        std::thread::spawn(move || keep(log, &writer));
        let client_url = launch.client_url.clone();
        Self { child, gateway: Gateway::new(&client_url, REQUEST_MAX), client_url, said }
    }

    /// Waits until it serves clients.
    ///
    /// # Panics
    /// If it ends before that, or takes too long; its log is in the message.
    pub fn wait_ready(&self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            {
                let said = lock(&self.said);
                if said.serves {
                    return;
                }
                let late = Instant::now() > deadline;
                let end = if said.ended { "ended" } else { "took too long" };
                let log = said.last.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
                assert!(!said.ended && !late, "etcd {end} before it served:\n{log}");
            }
            pause(Duration::from_millis(10));
        }
    }

    /// Asserts that it has not told of a panic so far.
    ///
    /// # Panics
    /// If it has; the lines and the end of its log are in the message.
    pub fn never_panicked(&self) {
        let said = lock(&self.said);
        let log = said.last.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        assert!(said.panics.is_empty(), "etcd panicked: {:?}\nits log:\n{log}", said.panics);
    }

    /// The end of its log.
    #[must_use]
    pub fn log(&self) -> String {
        lock(&self.said).last.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }

    /// Where it serves clients.
    #[must_use]
    pub fn client_url(&self) -> &str {
        &self.client_url
    }

    /// Its gateway.
    #[must_use]
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Puts a value through the JSON gateway.
    ///
    /// # Panics
    /// If the member refuses.
    pub fn put(&self, key: &[u8], value: &[u8]) {
        self.gateway.put(key, value).unwrap_or_else(|refused| panic!("{refused}"));
    }

    /// Index of the last entry in its log, as it tells itself.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn raft_index(&self) -> u64 {
        self.status().raft_index
    }

    /// What it says of itself.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn status(&self) -> Answer {
        self.gateway.status().unwrap_or_else(|refused| panic!("{refused}"))
    }

    /// The number of keys it holds.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn key_count(&self) -> u64 {
        self.gateway.key_count().unwrap_or_else(|refused| panic!("{refused}"))
    }

    /// Ends it as a power cut of the process would.
    ///
    /// # Panics
    /// If it cannot be killed, or had panicked.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
        self.check_end();
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Panics
    /// If it cannot be asked, or had panicked.
    pub fn stop(mut self) {
        self.signal("-TERM");
        self.child.wait().expect("a child that was asked ends");
        self.check_end();
    }

    /// Stops it where it is, as a machine that hangs: connections stay, nothing answers.
    ///
    /// # Panics
    /// If it cannot be stopped.
    pub(crate) fn freeze(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on.
    ///
    /// # Panics
    /// If it cannot.
    pub(crate) fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().expect("kill is there");
        assert!(sent.success(), "the member can be sent {signal}");
    }

    /// Looks at its log once all of it has been read.
    fn check_end(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !lock(&self.said).ended {
            assert!(Instant::now() < deadline, "the log of a process that ended does not end");
            pause(Duration::from_millis(1));
        }
        self.never_panicked();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left running.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Reads a log to its end.
fn keep(log: ChildStderr, said: &Mutex<Said>) {
    for line in BufReader::new(log).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut said = lock(said);
        said.serves |= line.contains("serving client traffic") || line.contains("serving insecure");
        if tells_of_a_panic(&line) {
            said.panics.push(line.clone());
        }
        if said.last.len() == LINES_KEPT {
            said.last.pop_front();
        }
        said.last.push_back(line);
    }
    lock(said).ended = true;
}

fn tells_of_a_panic(line: &str) -> bool {
    let starts = ["panic:", "fatal error:", "goroutine "];
    let holds = [r#""level":"panic""#, r#""level":"fatal""#, r#""level":"dpanic""#];
    starts.iter().any(|start| line.starts_with(start)) || holds.iter().any(|s| line.contains(s))
}

fn lock(said: &Mutex<Said>) -> MutexGuard<'_, Said> {
    said.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A URL nobody listens on.
pub(crate) fn free_url() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    format!("http://{}", socket.local_addr().expect("a bound socket has an address"))
}

#[cfg(test)]
mod tests {
    use super::tells_of_a_panic;

    #[test]
    fn panics_are_told_from_other_lines() {
        for line in
            ["panic: runtime error", r#"{"level":"fatal","msg":"x"}"#, "goroutine 1 [running]:"]
        {
            assert!(tells_of_a_panic(line), "{line}");
        }
        for line in [r#"{"level":"warn","msg":"panic: no"}"#, "", r#"{"level":"info"}"#] {
            assert!(!tells_of_a_panic(line), "{line}");
        }
    }
}
