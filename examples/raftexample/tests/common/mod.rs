//! Real nodes as child processes, and a real HTTP client.

#![allow(dead_code, reason = "each test program uses a part")]

use std::fs::File;
use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take. Elections take seconds on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Some nodes that share a folder, running or not.
pub struct Cluster {
    folder: TempDir,
    urls: Vec<String>,
    nodes: Vec<Node>,
    agent: ureq::Agent,
}

struct Node {
    port: u16,
    process: Option<Child>,
}

impl Cluster {
    /// Starts nodes 1 to `count`.
    pub fn start(count: u64) -> Cluster {
        let agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(10)))
            .http_status_as_error(false)
            .build();
        let mut cluster = Cluster {
            folder: TempDir::new().expect("a folder"),
            urls: Vec::new(),
            nodes: Vec::new(),
            agent: agent.into(),
        };
        for _ in 0..count {
            cluster.add_place();
        }
        for id in 1..=count {
            cluster.run(id, &[]);
        }
        cluster
    }

    /// Gives the next node its ports, without starting it. Returns its id and peer URL.
    pub fn add_place(&mut self) -> (u64, String) {
        let url = format!("http://127.0.0.1:{}", free_port());
        self.urls.push(url.clone());
        self.nodes.push(Node { port: free_port(), process: None });
        (self.nodes.len() as u64, url)
    }

    /// Starts a node that is not running.
    pub fn run(&mut self, id: u64, flags: &[&str]) {
        let log = File::options().create(true).append(true).open(self.log_path(id)).expect("log");
        let node = &mut self.nodes[place(id)];
        assert!(node.process.is_none(), "node {id} runs already");
        let process = Command::new(env!("CARGO_BIN_EXE_raftexample"))
            .args(["--id", &id.to_string(), "--port", &node.port.to_string()])
            .args(["--cluster", &self.urls.join(",")])
            .args(flags)
            .current_dir(self.folder.path())
            .env("RUST_LOG", "debug,hyper=info")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the program starts");
        node.process = Some(process);
    }

    /// Kills a node at once, as `kill -9` does.
    pub fn kill(&mut self, id: u64) {
        let mut process = self.nodes[place(id)].process.take().expect("a running node");
        process.kill().expect("it runs");
        process.wait().expect("it was killed");
    }

    /// Waits until a node ends by itself.
    pub fn wait_exit(&mut self, id: u64) -> ExitStatus {
        let mut process = self.nodes[place(id)].process.take().expect("a running node");
        let mut status = None;
        until("the node exits", || {
            status = process.try_wait().expect("it was started here");
            status.is_some()
        });
        status.expect("it has exited")
    }

    /// Everything a node has logged.
    pub fn log(&self, id: u64) -> String {
        let mut text = String::new();
        let mut file = File::open(self.log_path(id)).expect("a log");
        file.read_to_string(&mut text).expect("text");
        text
    }

    fn log_path(&self, id: u64) -> std::path::PathBuf {
        self.folder.path().join(format!("log-{id}"))
    }

    /// The folder in which the nodes keep their directories.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn url(&self, id: u64, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.nodes[place(id)].port)
    }

    /// PUTs and returns the status; 0 if there was no answer.
    pub fn put(&self, id: u64, path: &str, body: &str) -> u16 {
        let sent = self.agent.put(self.url(id, path)).send(body);
        sent.map_or(0, |response| response.status().as_u16())
    }

    /// PUTs, again until the node takes it.
    pub fn put_taken(&self, id: u64, path: &str, body: &str) {
        until("a PUT is taken", || self.put(id, path, body) == 204);
    }

    /// POSTs and returns the status.
    pub fn post(&self, id: u64, path: &str, body: &[u8]) -> u16 {
        let sent = self.agent.post(self.url(id, path)).send(body);
        sent.expect("an answer").status().as_u16()
    }

    /// DELETEs and returns the status.
    pub fn delete(&self, id: u64, path: &str) -> u16 {
        let sent = self.agent.delete(self.url(id, path)).call();
        sent.expect("an answer").status().as_u16()
    }

    /// The value a node shows, if it shows one.
    pub fn get(&self, id: u64, path: &str) -> Option<String> {
        let mut response = self.agent.get(self.url(id, path)).call().ok()?;
        match response.status().as_u16() {
            200 => Some(response.body_mut().read_to_string().expect("text")),
            404 => None,
            status => panic!("GET {path} answered {status}"),
        }
    }

    /// Waits until a node shows a value.
    pub fn get_until(&self, id: u64, path: &str, value: &str) {
        until(&format!("node {id} shows {path} = {value}"), || {
            self.get(id, path).as_deref() == Some(value)
        });
    }

    /// Sends bytes as they are, and returns status line and headers of the answer.
    pub fn raw(&self, id: u64, request: &str) -> String {
        use std::io::Write;
        let mut stream =
            std::net::TcpStream::connect(("127.0.0.1", self.nodes[place(id)].port)).expect("up");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("sent");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Some(process) = &mut node.process {
                let _ = process.kill();
                let _ = process.wait();
            }
        }
        if std::thread::panicking() {
            for id in 1..=self.nodes.len() as u64 {
                let log = self.log(id);
                let tail = log.lines().rev().take(25).collect::<Vec<_>>();
                eprintln!("--- last lines of node {id}");
                tail.iter().rev().for_each(|line| eprintln!("{line}"));
            }
        }
    }
}

/// Asks until the answer is yes.
pub fn until(what: &str, mut ask: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ask() {
        assert!(Instant::now() < deadline, "waited in vain for this: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn place(id: u64) -> usize {
    usize::try_from(id - 1).expect("a small id")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}
