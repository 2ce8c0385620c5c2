//! Connections that ask nothing: ten thousand that are idle, and those that dribble what they have
//! to say. Others are served meanwhile, and who never says that it is a client is cut off.

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use quorate_process::{Options, Program, Server, Witness, raise_open_files, subject};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use testkit::figures;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Idle connections, where the system allows so many files.
const CONNECTIONS: usize = 10_000;

/// Files that this process and a server need besides.
const OTHER_FILES: u64 = 1000;

/// Connections being made at once.
const AT_ONCE: usize = 100;

/// What a server of ten thousand idle connections may take, in MiB.
const MEMORY_MAX_MIB: u64 = 512;

/// What HTTP/2 begins with, and a frame of settings without any.
const OPENING: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// An answer to the server's settings.
const SETTINGS_TAKEN: &[u8] = b"\0\0\0\x04\x01\0\0\0\0";

/// Whether somebody is there, and that somebody is.
const PING: &[u8] = b"\0\0\x08\x06\0\0\0\0\0idlehere";
const PONG: &[u8] = b"\0\0\x08\x06\x01\0\0\0\0idlehere";

/// How long the server may take for anything here: half a minute for a head of HTTP/1, and some.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection as clients have one between two requests.
async fn idle(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("it is accepted");
    stream.write_all(OPENING).await.expect("it is taken");
    stream.write_all(SETTINGS_TAKEN).await.expect("it is taken");
    let mut settings = [0; 9];
    stream.read_exact(&mut settings).await.expect("the server says its settings");
    assert_eq!(settings[3], 4, "a frame of settings comes first");
    stream
}

/// Asks, and reads until it is answered; what comes before does not matter.
async fn ping(stream: &mut TcpStream) {
    stream.write_all(PING).await.expect("it is taken");
    let (mut heard, mut part) = (Vec::new(), [0; 1024]);
    while !heard.windows(PONG.len()).any(|window| window == PONG) {
        let read = timeout(PATIENCE, stream.read(&mut part)).await.expect("it answers");
        let bytes = read.expect("the connection holds");
        assert!(bytes > 0, "the server closed an idle connection");
        heard.extend_from_slice(&part[..bytes]);
    }
}

async fn hold_idle(server: &Server, connections: usize) -> (Vec<TcpStream>, u64) {
    let address = server.client_address();
    let opening = stream::iter(0..connections).map(|_| idle(address)).buffer_unordered(AT_ONCE);
    let mut held: Vec<TcpStream> = opening.collect().await;
    for stream in held.iter_mut().step_by(connections / 100 + 1) {
        ping(stream).await;
    }
    (held, server.memory_peak_mib())
}

#[test]
fn ten_thousand_idle_connections() {
    let files = usize::try_from(raise_open_files() - OTHER_FILES).unwrap();
    let connections = CONNECTIONS.min(files);
    if connections < CONNECTIONS {
        println!("only {connections} connections: the system allows no more files");
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Server::start(&subject(), Options::without_sync());
    let etcd = Program::newest_etcd();
    runtime.block_on(async {
        let before = server.memory_peak_mib();
        let witness = Witness::start(&server);
        let began = Instant::now();
        let (held, peak) = hold_idle(&server, connections).await;
        let took = began.elapsed().as_secs_f64();
        let latencies = witness.end().await;
        assert!(peak < MEMORY_MAX_MIB, "{peak} MiB");
        drop(held);
        let etcd = Server::start(&etcd, Options::without_sync());
        let (held, real) = hold_idle(&etcd, connections).await;
        drop(held);
        figures::note(
            "idle",
            format!(
                "{connections} idle connections in {took:.1} s: peak {before} to {peak} MiB, \
                 {} {real} MiB; {latencies}",
                etcd.program().name
            ),
        );
    });
}

/// What is dribbled, a byte at a time.
#[derive(Clone, Copy, Debug)]
enum Words {
    /// These, and then nothing.
    Once(&'static [u8]),
    /// These, and then the last byte of them again and again.
    Endless(&'static [u8]),
}

/// Dribbles; how long the server let it.
async fn dribble(address: SocketAddr, words: Words) -> Duration {
    let mut stream = TcpStream::connect(address).await.expect("it is accepted");
    let began = Instant::now();
    let mut pace = interval(Duration::from_millis(100));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut said, mut heard) = (0, [0; 1024]);
    loop {
        tokio::select! {
            _ = pace.tick() => {
                let byte = match words {
                    Words::Once(words) => words.get(said),
                    Words::Endless(words) => words.get(said).or(words.last()),
                };
                let Some(byte) = byte else { continue };
                said += 1;
                if stream.write_all(&[*byte]).await.is_err() {
                    return began.elapsed();
                }
            }
            read = stream.read(&mut heard) => {
                if read.is_err() || read.is_ok_and(|bytes| bytes == 0) {
                    return began.elapsed();
                }
            }
        }
        assert!(began.elapsed() < PATIENCE, "{words:?} is never cut");
    }
}

#[test]
fn who_dribbles_is_cut_off() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = Server::start(&subject(), Options::without_sync());
    let clients = [
        Words::Once(b""),
        Words::Once(b"PRI * HTT"),
        Words::Once(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        Words::Endless(b"GET /version HTTP/1.1\r\nX-A: b"),
        Words::Endless(b"POST /etcdserverpb.KV/Range HTTP/1.1\r\nHost: a\r\nX-A: b"),
    ];
    let peers = [
        Words::Once(b""),
        Words::Endless(b"GET /raft/probing HTTP/1.1\r\nX-A: b"),
        Words::Endless(b"POST /raft HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nX-Raft-To: 1"),
    ];
    runtime.block_on(async {
        let witness = Witness::start(&server);
        let (client, peer) = (server.client_address(), server.peer_address());
        let all = clients.map(|words| (client, words)).into_iter();
        let all = all.chain(peers.map(|words| (peer, words)));
        // Ten of each kind.
        let all: Vec<_> = std::iter::repeat_n(all, 10).flatten().collect();
        let cut = join_all(all.iter().map(|(address, words)| dribble(*address, *words))).await;
        let longest = cut.iter().max().expect("there are some").as_secs();
        let latencies = witness.end().await;
        let figure = format!("{} connections that dribble are cut off in {longest} s", cut.len());
        figures::note("slow-loris", format!("{figure}; {latencies}"));
    });
}
