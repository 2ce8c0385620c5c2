//! The world: a clock, a queue of events, nodes and links between them. Each event is a step;
//! what a node wants after it is carried out by the files beside this one.

use crate::client::Client;
use crate::coverage::{Coverage, Point};
use crate::faults::{End, Fault};
use crate::invariants::View;
use crate::network::Network;
use crate::node::{Life, Node, Process, Start, StartError};
use crate::oracle::{Oracle, Violation};
use crate::plan::{CHAOS, Millis, Plan, TICK};
use crate::rng::{Rng, mix};
use crate::seeds::Simulated;
use crate::trace::Trace;
use raftpb::Message;
use std::collections::BTreeMap;

/// What a run came to.
#[derive(Debug)]
pub struct Outcome<C = Coverage> {
    /// Events that happened.
    pub steps: u64,
    /// What happened among them.
    pub coverage: C,
    /// A number that two runs have in common if the same happened in both.
    pub digest: u64,
    /// Whether the cluster could not go on, through no fault of its own: a majority was lost, or
    /// only a node that is no member any more knows what was committed.
    pub stranded: bool,
    /// What must not happen and did.
    pub violation: Option<Violation>,
    /// The end of the trace, if one was kept.
    pub trace: Vec<String>,
}

pub(crate) enum Event {
    /// A node's clock, in one of its lives.
    Tick(u64, u64),
    Deliver(Box<Message>),
    DiskDone(u64, u64),
    ApplyDone(u64, u64),
    PlainDone(u64, u64),
    Start(u64),
    Leave(u64, u64),
    Strike(Fault),
    /// The leader whose disk froze loses power.
    Thaw(u64, u64),
    ClientActs(usize),
    ClientGivesUp(usize, u64),
    Mend,
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now: Millis,
    events: BTreeMap<(Millis, u64), Event>,
    scheduled: u64,
    steps: u64,
    digest: u64,
    pub(crate) nodes: BTreeMap<u64, Node>,
    pub(crate) next_id: u64,
    pub(crate) network: Network,
    pub(crate) clients: Vec<Client>,
    pub(crate) oracle: Oracle,
    pub(crate) coverage: Coverage,
    pub(crate) trace: Trace,
    pub(crate) healing: bool,
    /// Index of a write that the healed cluster took.
    pub(crate) last_write: Option<u64>,
    pub(crate) last_seq: u64,
    stranded: bool,
}

impl Simulated for World {
    type Coverage = Coverage;
    const TEST: &'static str = "seeds";

    fn new(seed: u64, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng);
        let clients = (0..plan.clients).map(Client::new).collect();
        let mut world = Self {
            oracle: Oracle::new(plan.voters),
            next_id: plan.voters + 1,
            plan,
            rng,
            now: 0,
            events: BTreeMap::new(),
            scheduled: 0,
            steps: 0,
            digest: 0,
            nodes: BTreeMap::new(),
            network: Network::default(),
            clients,
            coverage: Coverage::default(),
            trace: Trace::new(traced),
            healing: false,
            last_write: None,
            last_seq: 0,
            stranded: false,
        };
        world.trace.note(0, format_args!("{:?}", world.plan));
        for id in 1..=world.plan.voters {
            world.nodes.insert(id, Node::new(world.plan.voters));
            world.start(id);
        }
        for client in 0..world.clients.len() {
            world.after(100, Event::ClientActs(client));
        }
        for (at, fault) in world.plan.faults.clone() {
            world.after(at, Event::Strike(fault));
        }
        world
    }

    fn run(&mut self) {
        while self.now < CHAOS && self.step() {}
        if self.oracle.violation.is_none() {
            self.heal();
        }
    }

    fn violated(&mut self, property: &'static str, text: String) {
        self.oracle.judge(property, Err(text));
    }

    fn end(self) -> Outcome {
        Outcome {
            steps: self.steps,
            coverage: self.coverage,
            digest: self.digest,
            stranded: self.stranded,
            violation: self.oracle.violation,
            trace: self.trace.into_lines(),
        }
    }
}

impl World {
    /// Ends the run as one that cannot go on.
    pub(crate) fn strand(&mut self) {
        self.stranded = true;
    }

    pub(crate) fn after(&mut self, delay: Millis, event: Event) {
        self.scheduled += 1;
        self.events.insert((self.now + delay, self.scheduled), event);
    }

    /// Lets the next event happen. Returns whether to go on.
    pub(crate) fn step(&mut self) -> bool {
        let Some(((at, order), event)) = self.events.pop_first() else { return false };
        self.now = at;
        self.steps += 1;
        self.digest = mix(self.digest ^ mix(at) ^ order);
        match event {
            Event::Tick(id, life) if self.lives(id, life) => self.tick(id, life),
            Event::Deliver(message) => self.deliver(*message),
            Event::DiskDone(id, life) if self.lives(id, life) => self.disk_done(id),
            Event::ApplyDone(id, life) if self.lives(id, life) => self.apply_done(id),
            Event::PlainDone(id, life) if self.lives(id, life) => self.plain_done(id),
            Event::Start(id) => self.start(id),
            Event::Leave(id, life) if self.lives(id, life) => self.leave(id),
            Event::Strike(fault) => self.strike(fault),
            Event::Thaw(id, life) if self.lives(id, life) => self.crash(id, End::PowerCut),
            Event::ClientActs(client) => self.client_acts(client),
            Event::ClientGivesUp(client, seq) => self.client_gives_up(client, seq),
            Event::Mend => self.mend(),
            Event::Tick(..)
            | Event::DiskDone(..)
            | Event::ApplyDone(..)
            | Event::PlainDone(..)
            | Event::Leave(..)
            | Event::Thaw(..) => {}
        }
        self.oracle.violation.is_none()
    }

    fn lives(&self, id: u64, life: u64) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.lives == life && node.process().is_some())
    }

    pub(crate) fn process(&mut self, id: u64) -> Option<&mut Process> {
        match &mut self.nodes.get_mut(&id)?.life {
            Life::Up(process) => Some(process),
            Life::Down | Life::Gone | Life::Lost => None,
        }
    }

    pub(crate) fn life_of(&self, id: u64) -> u64 {
        self.nodes.get(&id).map_or(0, |node| node.lives)
    }

    /// The nodes whose processes run.
    pub(crate) fn up(&self) -> Vec<u64> {
        let up = self.nodes.iter().filter(|(_, node)| node.process().is_some());
        up.map(|(id, _)| *id).collect()
    }

    /// The nodes that take themselves for leaders, the one of the latest term last.
    pub(crate) fn leaders(&self) -> Vec<u64> {
        let leads = |id: &u64, node: &Node| {
            let status = node.process()?.raw.basic_status();
            let leads = status.soft_state.state == raft::StateType::Leader;
            leads.then_some((status.hard_state.term(), *id))
        };
        let mut leaders: Vec<_> =
            self.nodes.iter().filter_map(|(id, node)| leads(id, node)).collect();
        leaders.sort_unstable();
        leaders.into_iter().map(|(_, id)| id).collect()
    }

    /// The leader of the latest term.
    pub(crate) fn leader(&self) -> Option<u64> {
        self.leaders().pop()
    }

    /// Starts a node from its disk.
    pub(crate) fn start(&mut self, id: u64) {
        let seed = self.rng.next();
        let short = !self.healing && self.now > 0 && self.rng.per_mille(60);
        let cut = short.then(|| self.rng.below(10));
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if !matches!(node.life, Life::Down) {
            return;
        }
        if let Some(after) = cut {
            node.fs.cut_power_after(after);
        }
        match Process::start(id, (&node.fs, &node.store_fs), node.founders, &self.plan, seed) {
            Ok(start) => self.started(id, start),
            Err(error) => self.not_started(id, &error),
        }
    }

    fn started(&mut self, id: u64, start: Start) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Start { process, durable, entries, torn, held, commit } = start;
        node.lives += 1;
        let life = node.lives;
        self.trace.note(self.now, format_args!("{id} starts, torn {torn}: {durable:?}"));
        let hurt = std::mem::take(&mut node.flipped);
        if hurt && torn {
            // A flipped length can look like a torn end; the log says that it cut something, and
            // what it cut may have been promised. Such a member is replaced.
            node.life = Life::Lost;
            return self.coverage.hit(Point::FlipsReported);
        }
        if hurt {
            self.coverage.hit(Point::FlipsHarmless);
        }
        if torn {
            self.coverage.hit(Point::TornWrites);
        }
        let on_its_way = std::mem::take(&mut node.on_its_way);
        self.oracle.restarted(id, &on_its_way, durable, &entries, hurt);
        let (base, index) = (held.base, held.index);
        self.trace.note(self.now, format_args!("{id} has a store at {index} behind {base}"));
        if !hurt {
            self.oracle.store_found(id, commit, &held);
        }
        if held.index < commit {
            self.coverage.hit(Point::StoresBehind);
        }
        if held.index < process.snapshot_index {
            // The snapshot took its place, and is synced only when it is.
            self.oracle.store_synced(id, 0);
            self.coverage.hit(Point::StoresReplaced);
        }
        self.oracle.restored(id, &process.kv);
        node.life = Life::Up(Box::new(process));
        let phase = self.rng.below(TICK);
        self.after(phase, Event::Tick(id, life));
        self.drive(id);
    }

    fn not_started(&mut self, id: u64, error: &StartError) {
        self.trace.note(self.now, format_args!("{id} does not start: {error}"));
        let seed = self.rng.next();
        let Some(node) = self.nodes.get_mut(&id) else { return };
        match error {
            StartError::Disk(error) if error.is_failure() => {
                node.fs = node.fs.crash(seed);
                self.coverage.hit(Point::FailedBoots);
                self.after(50, Event::Start(id));
            }
            _ if node.flipped => {
                node.life = Life::Lost;
                self.coverage.hit(Point::FlipsReported);
            }
            error => {
                let text = format!("{id}: {error}");
                self.violated("a disk that nothing happened to can be read", text);
            }
        }
    }

    fn tick(&mut self, id: u64, life: u64) {
        // Clocks differ a little.
        let next = if self.rng.per_mille(30) { TICK + 1 } else { TICK };
        self.after(next, Event::Tick(id, life));
        let Some(process) = self.process(id) else { return };
        // A thread that waits for its disk misses ticks.
        if process.pending.is_none() {
            process.raw.tick();
            self.drive(id);
        }
        self.write_behind(id);
    }

    /// The store's thread does what is due, unless its disk is frozen.
    fn write_behind(&mut self, id: u64) {
        let (now, durable) = (self.now, self.oracle.durable_commit(id));
        if self.nodes.get(&id).is_none_or(|node| node.stalled_until > now) {
            return;
        }
        let Some(process) = self.process(id) else { return };
        let before = process.store.synced();
        match process.store.step(now, durable) {
            Ok(flushed) => {
                self.oracle.store_synced(id, flushed.synced);
                if flushed.synced > before {
                    let index = flushed.synced;
                    self.trace.note(now, format_args!("{id} has synced its store up to {index}"));
                }
                self.coverage.add(Point::StoreSyncs, u64::from(flushed.synced > before));
                self.coverage.add(Point::StoreRewrites, u64::from(flushed.rewrote));
            }
            Err(error) => self.violated("the store writes what it is given", error.to_string()),
        }
    }

    /// Shows a node to the invariants.
    pub(crate) fn observe(&mut self, id: u64) {
        let Some(Life::Up(process)) = self.nodes.get_mut(&id).map(|node| &mut node.life) else {
            return;
        };
        // Founders take the first configuration before they apply the entries that say it.
        let founding = process.kv.applied < self.plan.voters;
        let status = process.raw.basic_status();
        let view = View {
            id,
            term: status.hard_state.term(),
            commit: status.hard_state.commit(),
            last: process.raw.last_index(),
            state: status.soft_state.state,
            raw: &process.raw,
            conf_state: &process.conf_state,
            restoring: process.restoring() || founding,
        };
        let (term, commit) = (view.term, view.commit);
        if self.oracle.observe(&view, process.seen_commit) {
            self.coverage.hit(Point::Elections);
            self.trace.note(self.now, format_args!("{id} leads in term {term}"));
        }
        process.seen_commit = commit;
    }
}
