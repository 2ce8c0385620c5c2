//! PUTs committed per second by three real nodes on this machine, with real syncs: clients on
//! connections of their own, each with one request under way. A PUT is answered before it is
//! committed, so the clock stops when the last value of every client is shown by another node
//! than it was put on.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const VALUE_BYTES: usize = 256;
const RUN: Duration = Duration::from_secs(5);

fn main() {
    let nodes = Nodes::start();
    println!("three nodes, {VALUE_BYTES}-byte values, puts on all nodes, {RUN:?} each");
    println!("{:>8} {:>20}", "clients", "PUTs committed/s");
    for clients in [1, 256] {
        println!("{clients:>8} {:>20.0}", nodes.measure(clients));
    }
    println!(
        "one client, put on node 1 until shown by node 2: {:.2} ms (median of 200)",
        nodes.latency()
    );
}

struct Nodes {
    _folder: tempfile::TempDir,
    ports: Vec<u16>,
    processes: Vec<Child>,
}

impl Nodes {
    fn start() -> Nodes {
        // Beside the build, so that syncs reach a disk and not a folder in memory.
        let folder = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let urls: Vec<String> =
            (0..3).map(|_| format!("http://127.0.0.1:{}", free_port())).collect();
        let ports: Vec<u16> = (0..3).map(|_| free_port()).collect();
        let start = |(id, port): (usize, &u16)| {
            Command::new(env!("CARGO_BIN_EXE_raftexample"))
                .args(["--id", &(id + 1).to_string(), "--port", &port.to_string()])
                .args(["--cluster", &urls.join(",")])
                .current_dir(folder.path())
                .stderr(Stdio::null())
                .spawn()
                .expect("the program starts")
        };
        let processes = ports.iter().enumerate().map(start).collect();
        let nodes = Nodes { _folder: folder, ports, processes };
        nodes.wait_shown(0, "/ready", true);
        nodes
    }

    fn measure(&self, clients: usize) -> f64 {
        let started = Instant::now();
        let counts: Vec<usize> = std::thread::scope(|scope| {
            let client = |client: usize| {
                scope.spawn(move || {
                    let mut connection = Client::connect(self.ports[client % 3]);
                    let mut count = 0;
                    while started.elapsed() < RUN {
                        let key = format!("/{clients}-{client}-{count}");
                        assert_eq!(connection.request("PUT", &key, &[b'x'; VALUE_BYTES]), 204);
                        count += 1;
                    }
                    count
                })
            };
            let handles: Vec<_> = (0..clients).map(client).collect();
            handles.into_iter().map(|handle| handle.join().expect("a client ends")).collect()
        });
        for (client, count) in counts.iter().enumerate() {
            self.wait_shown((client + 1) % 3, &format!("/{clients}-{client}-{}", count - 1), false);
        }
        counts.iter().sum::<usize>() as f64 / started.elapsed().as_secs_f64()
    }

    /// Milliseconds.
    fn latency(&self) -> f64 {
        let (mut writer, mut reader) =
            (Client::connect(self.ports[0]), Client::connect(self.ports[1]));
        let mut times: Vec<Duration> = Vec::new();
        for i in 0..200 {
            let key = format!("/latency-{i}");
            let started = Instant::now();
            writer.request("PUT", &key, b"x");
            while reader.request("GET", &key, b"") != 200 {}
            times.push(started.elapsed());
        }
        times.sort_unstable();
        times[times.len() / 2].as_secs_f64() * 1000.0
    }

    fn wait_shown(&self, node: usize, key: &str, put: bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            assert!(Instant::now() < deadline, "{key} was not shown");
            if TcpStream::connect(("127.0.0.1", self.ports[node])).is_err() {
                continue;
            }
            let mut client = Client::connect(self.ports[node]);
            if put {
                client.request("PUT", key, b"x");
            }
            if client.request("GET", key, b"") == 200 {
                return;
            }
        }
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    fn connect(port: u16) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a node listens");
        stream.set_nodelay(true).expect("TCP");
        Client { stream: BufReader::new(stream) }
    }

    /// Sends a request and returns the status of its answer.
    fn request(&mut self, method: &str, key: &str, body: &[u8]) -> u16 {
        let mut request =
            format!("{method} {key} HTTP/1.1\r\nhost: h\r\ncontent-length: {}\r\n\r\n", body.len())
                .into_bytes();
        request.extend_from_slice(body);
        self.stream.get_mut().write_all(&request).expect("sent");
        let (mut line, mut status, mut length) = (String::new(), 0, 0);
        loop {
            line.clear();
            self.stream.read_line(&mut line).expect("an answer");
            let text = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = text.strip_prefix("http/1.1 ") {
                status = rest[..3].parse().expect("a status");
            } else if let Some(rest) = text.strip_prefix("content-length: ") {
                length = rest.parse().expect("a length");
            } else if text.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).expect("a body");
        status
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("bound").port()
}
