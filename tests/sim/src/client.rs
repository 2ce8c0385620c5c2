//! Clients: each does one thing at a time, a write or a linearizable read of a register, at any
//! node. What is not answered in time has an unknown outcome, and the client goes on.

use crate::coverage::Point;
use crate::kv::Write;
use crate::world::{Event, World};
use raftpb::Entry;

/// The client that asks the healed cluster for a last write.
pub(crate) const LAST_CLIENT: u64 = u64::MAX;

pub(crate) struct Client {
    id: u64,
    /// Number of the last operation.
    seq: u64,
    waiting: Option<Asked>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Read { key: u64 },
    Write,
}

impl Client {
    pub(crate) fn new(id: u64) -> Self {
        Self { id, seq: 0, waiting: None }
    }
}

impl World {
    pub(crate) fn client_acts(&mut self, at: usize) {
        if self.healing || self.clients[at].waiting.is_some() {
            return;
        }
        let up = self.up();
        let anybody = (!up.is_empty()).then(|| self.rng.pick(&up));
        // Whoever takes itself for the leader will do.
        let leaders = self.leaders();
        let leader =
            (!leaders.is_empty() && self.rng.per_mille(700)).then(|| self.rng.pick(&leaders));
        let node = leader.or(anybody);
        let free = |world: &mut Self, id| {
            world.process(id).is_some_and(|process| process.pending.is_none())
        };
        let Some(node) = node.filter(|id| free(self, *id)) else {
            return self.after(5, Event::ClientActs(at));
        };
        self.clients[at].seq += 1;
        let (client, seq) = (self.clients[at].id, self.clients[at].seq);
        let key = self.rng.below(self.plan.keys);
        let asked = if self.rng.per_mille(600) { Asked::Write } else { Asked::Read { key } };
        self.trace.note(self.now, format_args!("client {client}.{seq}: {asked:?} at {node}"));
        self.clients[at].waiting = Some(asked);
        let taken = match asked {
            Asked::Read { .. } => {
                self.oracle.read_begun(client, seq);
                let context = [client.to_le_bytes(), seq.to_le_bytes()].concat();
                if let Some(process) = self.process(node) {
                    process.raw.read_index(context.into());
                }
                true
            }
            Asked::Write => {
                self.propose(node, &Write { client, seq, key, value: seq << 8 | client })
            }
        };
        if !taken {
            self.clients[at].waiting = None;
            return self.after(10, Event::ClientActs(at));
        }
        self.after(self.plan.patience, Event::ClientGivesUp(at, seq));
        self.drive(node);
    }

    /// Proposes a write at a node. Returns whether raft took it.
    pub(crate) fn propose(&mut self, node: u64, write: &Write) -> bool {
        let padding = self.rng.below(self.plan.padding_max + 1);
        let padding = usize::try_from(padding).expect("a few bytes");
        let Some(process) = self.process(node) else { return false };
        let taken = process.raw.propose(write.encode(padding)).is_ok();
        if taken {
            process.writes.insert((write.client, write.seq));
        }
        taken
    }

    pub(crate) fn client_gives_up(&mut self, at: usize, seq: u64) {
        let client = &mut self.clients[at];
        if client.seq == seq && client.waiting.is_some() {
            if client.waiting == Some(Asked::Write) {
                self.coverage.hit(Point::WritesUnknown);
            }
            client.waiting = None;
            self.after(1, Event::ClientActs(at));
        }
    }

    /// A write was applied where its client waits.
    pub(crate) fn write_done(&mut self, entry: &Entry, write: &Write) {
        if write.client == LAST_CLIENT {
            self.oracle.acknowledged(entry);
            self.last_write.get_or_insert(entry.index());
        } else if self.waits(write.client, write.seq).is_some() {
            self.oracle.acknowledged(entry);
            self.coverage.hit(Point::Writes);
            self.client_done(write.client, write.seq);
        }
    }

    fn waits(&self, client: u64, seq: u64) -> Option<Asked> {
        let client = self.clients.iter().find(|known| known.id == client)?;
        client.waiting.filter(|_| client.seq == seq)
    }

    /// The key that a client reads, if it still waits for it.
    pub(crate) fn client_reads(&self, client: u64, seq: u64) -> Option<u64> {
        match self.waits(client, seq)? {
            Asked::Read { key } => Some(key),
            Asked::Write => None,
        }
    }

    /// A client has its answer, and thinks a while.
    pub(crate) fn client_done(&mut self, client: u64, seq: u64) {
        let pause = self.rng.between(1, 30);
        let at = self.clients.iter().position(|known| known.id == client && known.seq == seq);
        let Some(at) = at else { return };
        self.trace.note(self.now, format_args!("client {client}.{seq}: done"));
        self.clients[at].waiting = None;
        self.after(pause, Event::ClientActs(at));
    }
}
