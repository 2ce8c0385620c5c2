//! Members without raft: what they were told is written down.

#![allow(dead_code, reason = "each test program uses a part")]

use bytes::Bytes;
use futures_util::StreamExt;
use quorate_peer::{
    Accept, BoxFuture, Incoming, Local, NoOthers, PeerUrl, ProcessError, Raft, Settings,
    SnapshotBody, SnapshotOutcome, Traffic, Transport,
};
use raftpb::{Entry, Message, MessageType};
use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const CLUSTER: u64 = 0x1000;
const PATIENCE: Duration = Duration::from_secs(20);

/// What a member was told.
#[derive(Default)]
pub struct Told {
    pub messages: Mutex<Vec<Message>>,
    pub unreachable: Mutex<Vec<u64>>,
    pub snapshots: Mutex<Vec<(u64, SnapshotOutcome)>>,
    pub saved: Mutex<Vec<(u64, usize)>>,
    pub traffic: Mutex<Vec<(u64, Traffic)>>,
    pub removed: Mutex<bool>,
    pub removed_ids: Mutex<BTreeSet<u64>>,
    /// Whether messages are held up instead of being taken.
    pub stuck: Mutex<bool>,
}

impl Raft for Told {
    fn process(&self, message: Message) -> BoxFuture<'_, Result<(), ProcessError>> {
        let stuck = *self.stuck.lock().unwrap();
        Box::pin(async move {
            if stuck {
                std::future::pending::<()>().await;
            }
            self.messages.lock().unwrap().push(message);
            Ok(())
        })
    }

    fn save_snapshot(
        &self,
        message: &Message,
        mut body: SnapshotBody,
    ) -> BoxFuture<'_, io::Result<()>> {
        let index = message.snapshot.as_ref().map_or(0, |snapshot| snapshot.index());
        Box::pin(async move {
            let mut bytes = 0;
            while let Some(part) = body.next().await {
                bytes += part?.len();
            }
            self.saved.lock().unwrap().push((index, bytes));
            Ok(())
        })
    }

    fn is_id_removed(&self, id: u64) -> bool {
        self.removed_ids.lock().unwrap().contains(&id)
    }

    fn report_unreachable(&self, id: u64) {
        self.unreachable.lock().unwrap().push(id);
    }

    fn report_snapshot(&self, id: u64, outcome: SnapshotOutcome) {
        self.snapshots.lock().unwrap().push((id, outcome));
    }

    fn removed(&self) {
        *self.removed.lock().unwrap() = true;
    }

    fn note(&self, peer: u64, traffic: Traffic) {
        self.traffic.lock().unwrap().push((peer, traffic));
    }
}

impl Told {
    /// Bytes that went to a peer, and that came from it.
    pub fn bytes(&self, of: u64) -> (u64, u64) {
        let traffic = self.traffic.lock().unwrap();
        traffic.iter().filter(|(peer, _)| *peer == of).fold((0, 0), |(sent, received), its| {
            match its.1 {
                Traffic::Sent { bytes } => (sent + bytes, received),
                Traffic::Received { bytes } => (sent, received + bytes),
                _ => (sent, received),
            }
        })
    }

    /// Snapshots that are on their way, and how those ended that were.
    pub fn transfers(&self) -> (i64, Vec<bool>) {
        let (mut under_way, mut ended) = (0, Vec::new());
        for (_, traffic) in &*self.traffic.lock().unwrap() {
            match traffic {
                Traffic::SnapshotSending | Traffic::SnapshotReceiving => under_way += 1,
                Traffic::SnapshotSent { good, .. } | Traffic::SnapshotReceived { good, .. } => {
                    under_way -= 1;
                    ended.push(*good);
                }
                _ => {}
            }
        }
        (under_way, ended)
    }
}

/// A member that serves on a port of its own.
pub struct Member {
    pub told: Arc<Told>,
    pub transport: Transport,
    pub address: String,
    serving: JoinHandle<()>,
}

struct Listener(TcpListener);

impl Accept for Listener {
    async fn accept(&mut self) -> io::Result<Option<Incoming>> {
        Ok(Some(self.0.accept().await?.0.into()))
    }
}

impl Member {
    pub async fn start(id: u64) -> Member {
        Member::start_at(id, CLUSTER, "127.0.0.1:0").await
    }

    pub async fn start_at(id: u64, cluster_id: u64, address: &str) -> Member {
        let listener = TcpListener::bind(address).await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let urls = vec![url(&address)];
        let told = Arc::new(Told::default());
        let settings = Settings::plain(Duration::from_secs(1));
        let transport = Transport::new(Local { id, cluster_id, urls }, told.clone(), settings);
        let served = transport.clone();
        let serving = tokio::spawn(async move {
            served
                .serve(Listener(listener), NoOthers)
                .await
                .expect("it serves until it is stopped");
        });
        Member { told, transport, address, serving }
    }

    pub fn knows(&self, id: u64, other: &Member) {
        self.transport.add_peer(id, vec![url(&other.address)]);
    }

    pub async fn stop(self) {
        self.transport.stop().await;
        self.serving.abort();
        let _ = self.serving.await;
    }

    pub fn messages(&self) -> Vec<Message> {
        self.told.messages.lock().unwrap().clone()
    }
}

pub fn url(address: &str) -> PeerUrl {
    PeerUrl::parse(&format!("http://{address}")).expect("a URL")
}

/// Asks again until the answer is yes.
pub async fn until(what: &str, mut ask: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    let mut again = tokio::time::interval(Duration::from_millis(5));
    while !ask() {
        assert!(Instant::now() < deadline, "waited in vain for this: {what}");
        again.tick().await;
    }
}

pub fn message(kind: MessageType, from: u64, to: u64, index: u64) -> Message {
    Message {
        r#type: Some(kind.into()),
        from: Some(from),
        to: Some(to),
        term: Some(1),
        index: Some(index),
        ..Message::default()
    }
}

/// An append of one entry after `index`.
pub fn append(from: u64, to: u64, index: u64) -> Message {
    let entry = Entry {
        r#type: Some(0),
        term: Some(1),
        index: Some(index + 1),
        data: Some(Bytes::from_static(b"data")),
    };
    let commit = Some(index);
    let log_term = Some(1);
    Message {
        entries: vec![entry],
        commit,
        log_term,
        ..message(MessageType::MsgApp, from, to, index)
    }
}
