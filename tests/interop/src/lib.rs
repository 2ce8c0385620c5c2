//! A real etcd member as a child process, for tests that put its files and ours side by side.
//!
//! What it is not: a cluster runner. A member has one data directory and may be started, stopped
//! and killed on it again and again; ports are found by binding port 0 first.

pub mod hash;
pub mod release;
pub mod store;

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// The folder of the real etcd's programs.
///
/// # Panics
/// If they are missing: run `cargo xtask peers`.
#[must_use]
pub fn etcd_home() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2);
    let home = root.expect("this crate lies two folders deep").join("target/peers/etcd-3.5.1");
    assert!(home.join("etcd").exists(), "no {}: run cargo xtask peers", home.display());
    home
}

/// A running member. Dropping it kills it.
#[derive(Debug)]
pub struct Member {
    child: Child,
    client_url: String,
    http: ureq::Agent,
}

impl Member {
    /// Starts a member of a one-member cluster on `data_dir` and waits until it serves.
    ///
    /// # Panics
    /// If it ends before that; its log is in the message.
    #[must_use]
    pub fn start(data_dir: &Path, flags: &[&str]) -> Self {
        Self::start_of(&etcd_home(), data_dir, flags)
    }

    /// As [`Member::start`], with the programs of another release.
    ///
    /// # Panics
    /// If it ends before it serves; its log is in the message.
    #[must_use]
    pub fn start_of(home: &Path, data_dir: &Path, flags: &[&str]) -> Self {
        let client_url = free_url();
        let peer_url = free_url();
        let mut etcd = Command::new(home.join("etcd"));
        etcd.arg("--name=m").arg("--data-dir").arg(data_dir);
        etcd.args(["--listen-client-urls", &client_url, "--advertise-client-urls", &client_url]);
        etcd.args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url]);
        etcd.args(["--initial-cluster", &format!("m={peer_url}"), "--logger=zap"]).args(flags);
        let mut child = etcd
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("the program can be started");
        let log = BufReader::new(child.stderr.take().expect("stderr is a pipe"));
        // Whoever does not read its log stops it, so somebody does for as long as it lives.
        let (lines, said) = mpsc::sync_channel(1024);
        std::thread::spawn(move || {
            log.lines().map_while(Result::ok).for_each(|line| {
                // Once it serves nobody listens any more.
                drop(lines.try_send(line));
            })
        });
        wait_until_it_serves(&said);
        let config = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(20)));
        Self { child, client_url, http: config.build().into() }
    }

    /// Where it serves clients.
    #[must_use]
    pub fn client_url(&self) -> &str {
        &self.client_url
    }

    /// Puts a value through the JSON gateway.
    ///
    /// # Panics
    /// If the member refuses.
    pub fn put(&self, key: &[u8], value: &[u8]) {
        self.post("/v3/kv/put", &json!({ "key": base64(key), "value": base64(value) }));
    }

    /// Index of the last entry in its log, as it tells itself.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn raft_index(&self) -> u64 {
        let status = self.post("/v3/maintenance/status", &json!({}));
        let index = status["raftIndex"].as_str().expect("64-bit numbers are JSON strings");
        index.parse().expect("an index is a number")
    }

    /// The number of keys it holds.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn key_count(&self) -> u64 {
        let request =
            json!({ "key": base64(b"\0"), "range_end": base64(b"\0"), "count_only": true });
        let count = &self.post("/v3/kv/range", &request)["count"];
        count.as_str().expect("64-bit numbers are JSON strings").parse().expect("a number")
    }

    /// Ends it as a power cut of the process would.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill(mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }

    /// Asks it to end and waits until it has.
    ///
    /// # Panics
    /// If it cannot be asked.
    pub fn stop(mut self) {
        let pid = self.child.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().expect("kill is there");
        assert!(asked.success(), "the member can be asked to end");
        self.child.wait().expect("a child that was asked ends");
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.client_url);
        let answer = self.http.post(&url).send_json(body);
        let mut answer = answer.unwrap_or_else(|e| panic!("{path}: {e}"));
        answer.body_mut().read_json().expect("the gateway answers in JSON")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already; either way nothing is left running.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// # Panics
/// If the member ends or says nothing of it in time; its log is in the message.
fn wait_until_it_serves(lines: &mpsc::Receiver<String>) {
    let deadline = Instant::now() + START_DEADLINE;
    let mut said = Vec::new();
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = lines.recv_timeout(left).unwrap_or_else(|error| {
            panic!("etcd does not serve ({error}); it said:\n{}", said.join("\n"))
        });
        if line.contains("serving client traffic") {
            return;
        }
        said.push(line);
    }
}

/// A member starts within a second or so; a busy machine may take its time.
const START_DEADLINE: Duration = Duration::from_secs(60);

fn free_url() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    format!("http://{}", socket.local_addr().expect("a bound socket has an address"))
}

/// Standard base64, as the gateway wants bytes.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut word = [0; 3];
        word[..group.len()].copy_from_slice(group);
        let word = usize::from(word[0]) << 16 | usize::from(word[1]) << 8 | usize::from(word[2]);
        for place in 0..4 {
            let digit = char::from(DIGITS[word >> (18 - 6 * place) & 63]);
            text.push(if place > group.len() { '=' } else { digit });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_pads() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (bytes, text) in cases {
            assert_eq!(super::base64(bytes.as_bytes()), text);
        }
    }
}
