//! How fast entries are committed when neither disk nor network takes time: the price of the
//! algorithm itself. Nodes of one thread hand each other their messages in memory.

use bytes::Bytes;
use quorate_raft::{Config, MemoryStorage, RawNode};
use raftpb::{ConfState, Message, Snapshot, SnapshotMetadata};
use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

const ENTRY_BYTES: usize = 256;
const RUN: Duration = Duration::from_secs(1);

fn main() {
    println!("in-memory commits, {ENTRY_BYTES}-byte entries, one thread for all nodes");
    println!("{:>5} {:>6} {:>12} {:>16}", "nodes", "batch", "commits/s", "CPU ns per entry");
    for nodes in [1, 3, 5] {
        for batch in [1, 64] {
            let (commits, cpu) = measure(nodes, batch);
            println!("{nodes:>5} {batch:>6} {commits:>12.0} {cpu:>16.0}");
        }
    }
}

/// Commits per second and CPU nanoseconds per committed entry, of all nodes together.
fn measure(nodes: u64, batch: usize) -> (f64, f64) {
    let mut cluster = Cluster::new(nodes);
    let data = Bytes::from(vec![b'x'; ENTRY_BYTES]);
    let (started, cpu_started) = (Instant::now(), cpu_nanos());
    let mut committed = 0;
    while started.elapsed() < RUN {
        for _ in 0..256 {
            let entries = std::iter::repeat_n(data.clone(), batch);
            cluster.nodes[0].propose_all(entries).expect("node 1 leads");
            cluster.run();
            committed += batch;
        }
        cluster.compact();
    }
    let committed = committed as f64;
    let cpu = (cpu_nanos() - cpu_started) as f64 / committed;
    (committed / started.elapsed().as_secs_f64(), cpu)
}

fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec);
    u64::try_from(nanos).expect("a positive time")
}

struct Cluster {
    nodes: Vec<RawNode<MemoryStorage>>,
    applied: u64,
}

impl Cluster {
    fn new(count: u64) -> Cluster {
        let voters: Vec<u64> = (1..=count).collect();
        let node = |id| {
            let conf_state = Some(ConfState { voters: voters.clone(), ..ConfState::default() });
            let metadata = SnapshotMetadata { conf_state, index: Some(1), term: Some(1) };
            let mut storage = MemoryStorage::new();
            let snapshot = Snapshot { data: None, metadata: Some(metadata) };
            storage.apply_snapshot(snapshot).expect("the storage is empty");
            let config = Config { id, applied: 1, ..Config::default() };
            RawNode::new(config, storage).expect("a good configuration")
        };
        let mut cluster =
            Cluster { nodes: voters.iter().map(|id| node(*id)).collect(), applied: 1 };
        cluster.nodes[0].campaign().expect("it may");
        cluster.run();
        cluster
    }

    /// Does all there is to do on all nodes.
    fn run(&mut self) {
        let mut under_way: Vec<Message> = Vec::new();
        loop {
            for message in under_way.drain(..) {
                let to = usize::try_from(message.to() - 1).expect("a member");
                self.nodes[to].step(message).expect("a good message");
            }
            for node in &mut self.nodes {
                while node.has_ready() {
                    let ready = node.ready();
                    node.storage_mut().append(&ready.entries);
                    under_way.extend(ready.messages);
                    if let Some(last) = ready.committed_entries.last() {
                        self.applied = self.applied.max(last.index());
                    }
                    node.advance();
                }
            }
            if under_way.is_empty() {
                return;
            }
        }
    }

    fn compact(&mut self) {
        for node in &mut self.nodes {
            let applied = node.basic_status().applied;
            node.storage_mut().compact(applied).expect("more was applied since");
        }
    }
}
