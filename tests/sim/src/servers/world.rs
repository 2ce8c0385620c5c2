//! The world of whole servers: a clock, a queue of events, members, clients and watchers. Each
//! event is a step; what follows from it is done by the files beside this one.

use super::clients::{Client, Op};
use super::coverage::{Coverage, Point};
use super::history::History;
use super::leases::LeaseBook;
use super::member::Place;
use super::plan::{CHAOS, Fault, Plan, TICK};
use super::watchers::Watcher;
use crate::network::Network;
use crate::oracle::Violation;
use crate::plan::Millis;
use crate::rng::{Rng, mix};
use crate::seeds::Simulated;
use crate::trace::Trace;
use crate::world::Outcome;
use mvcc::View;
use raftpb::Message;
use server::Answer;
use server::stages::{Member, Stage};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub(crate) enum Event {
    /// A member's clock, in one of its lives.
    Tick(u64, u64),
    /// A stage of a member does a step.
    Step(u64, u64, Stage),
    Deliver(Box<Message>),
    /// The state that a snapshot sends becomes a database.
    WriteImage(u64, u64, Box<(Message, apply::Image)>),
    /// A database has come, or the part of it that comes at all.
    DatabaseComes(Box<Message>, Arc<Vec<u8>>, bool),
    Start(u64),
    Strike(Fault),
    /// The member whose disk froze loses power.
    Thaw(u64, u64),
    ClientActs(usize),
    /// A request reaches a member.
    Arrives(usize, u64, u64, u64),
    /// A client reads the member's keys, or a view of them that it has.
    Looks(usize, u64, u64, u64, Option<Box<View>>),
    ClientGivesUp(usize, u64),
    WatcherActs(usize),
    Mend,
}

/// What requests came to, told by the members' stages.
pub(crate) type Told = Arc<Mutex<Vec<(usize, u64, Answer)>>>;

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) rng: Rng,
    pub(crate) now: Millis,
    /// The same, as the members see it.
    pub(crate) clock: Arc<AtomicU64>,
    events: BTreeMap<(Millis, u64), Event>,
    scheduled: u64,
    pub(crate) steps: u64,
    pub(crate) digest: u64,
    pub(crate) places: BTreeMap<u64, Place>,
    /// Which member has which of raft's ids.
    pub(crate) numbers: BTreeMap<u64, u64>,
    pub(crate) network: Network,
    pub(crate) clients: Vec<Client>,
    pub(crate) watchers: Vec<Watcher>,
    pub(crate) told: Told,
    pub(crate) history: History,
    pub(crate) leases: LeaseBook,
    /// Who was seen to lead which term.
    pub(crate) elected: BTreeMap<u64, u64>,
    pub(crate) coverage: Coverage,
    pub(crate) trace: Trace,
    pub(crate) healing: bool,
    /// Members at which the healed cluster took a write.
    pub(crate) wrote: BTreeSet<u64>,
    violation: Option<Violation>,
}

impl Simulated for World {
    type Coverage = Coverage;
    const TEST: &'static str = "servers";

    fn new(seed: u64, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng);
        let places: BTreeMap<u64, Place> =
            (1..=plan.members).map(|n| (n, Place::new(plan.config(n)))).collect();
        let config = &places[&1].config;
        let founders = config.initial_cluster.members(&config.initial_cluster_token);
        let founders = founders.expect("distinct members");
        let number = |name: &str| name[1..].parse().expect("they are called by their numbers");
        let min_ttl = config.min_lease_ttl();
        let mut world = Self {
            numbers: founders.iter().map(|member| (member.id, number(&member.name))).collect(),
            rng,
            now: 0,
            clock: Arc::default(),
            events: BTreeMap::new(),
            scheduled: 0,
            steps: 0,
            digest: 0,
            places,
            network: Network::default(),
            clients: (0..plan.clients).map(|_| Client::default()).collect(),
            watchers: Vec::new(),
            told: Told::default(),
            history: History::new(min_ttl),
            leases: LeaseBook::default(),
            elected: BTreeMap::new(),
            coverage: Coverage::default(),
            trace: Trace::new(traced),
            healing: false,
            wrote: BTreeSet::new(),
            violation: None,
            plan,
        };
        world.trace.note(0, format_args!("{:?}", world.plan));
        for n in 1..=world.plan.members {
            world.start(n);
        }
        for at in 0..world.plan.clients {
            world.after(600, Event::ClientActs(at));
        }
        for at in 0..world.plan.watchers {
            let watcher = Watcher::draw(&world.plan, &mut world.rng);
            world.watchers.push(watcher);
            world.after(700, Event::WatcherActs(at));
        }
        for (at, fault) in world.plan.faults.clone() {
            world.after(at, Event::Strike(fault));
        }
        world
    }

    fn run(&mut self) {
        while self.now < CHAOS && self.step() {}
        if self.violation.is_none() {
            self.heal();
        }
    }

    fn violated(&mut self, property: &'static str, text: String) {
        self.violation.get_or_insert(Violation { property, text });
    }

    fn end(self) -> Outcome<Coverage> {
        Outcome {
            steps: self.steps,
            coverage: self.coverage,
            stranded: false,
            digest: self.digest,
            violation: self.violation,
            trace: self.trace.into_lines(),
        }
    }
}

impl World {
    pub(crate) fn after(&mut self, delay: Millis, event: Event) {
        self.scheduled += 1;
        self.events.insert((self.now + delay, self.scheduled), event);
    }

    /// Lets the next event happen. Returns whether to go on.
    pub(crate) fn step(&mut self) -> bool {
        let Some(((at, order), event)) = self.events.pop_first() else { return false };
        self.now = at;
        self.clock.store(at, Ordering::Relaxed);
        self.steps += 1;
        self.digest = mix(self.digest ^ mix(at) ^ order);
        if let Some(until) = self.pauses(&event) {
            // Who asks may find the process awake before its stages are.
            let asks = matches!(event, Event::Arrives(..) | Event::Looks(..));
            let late = if asks { 0 } else { self.rng.below(10) };
            self.after(until - at + late, event);
            return true;
        }
        match event {
            Event::Tick(n, life) if self.lives(n, life) => self.tick(n, life),
            Event::Step(n, life, stage) if self.lives(n, life) => self.run_stage(n, life, stage),
            Event::Deliver(message) => self.deliver(*message),
            Event::WriteImage(n, life, image) => self.write_image(n, life, *image),
            Event::DatabaseComes(message, bytes, cut) => {
                self.database_comes(*message, &bytes, cut);
            }
            Event::Start(n) => self.start(n),
            Event::Strike(fault) => self.strike(fault),
            Event::Thaw(n, life) if self.lives(n, life) => {
                self.crash(n, super::faults::End::PowerCut)
            }
            Event::ClientActs(client) => self.client_acts(client),
            Event::Arrives(client, seq, n, life) => self.arrives(client, seq, n, life),
            Event::Looks(client, seq, n, life, view) => self.looks(client, seq, (n, life), view),
            Event::ClientGivesUp(client, seq) => self.client_gives_up(client, seq),
            Event::WatcherActs(watcher) => self.watcher_acts(watcher),
            Event::Mend => self.mend(),
            Event::Tick(..) | Event::Step(..) | Event::Thaw(..) => {}
        }
        self.violation.is_none()
    }

    /// Until when an event waits because its process stands still.
    fn pauses(&self, event: &Event) -> Option<Millis> {
        let n = match event {
            Event::Tick(n, _) | Event::Step(n, ..) | Event::WriteImage(n, ..) => *n,
            Event::Arrives(_, _, n, _) | Event::Looks(_, _, n, ..) => *n,
            Event::Deliver(message) | Event::DatabaseComes(message, ..) => {
                *self.numbers.get(&message.to())?
            }
            _ => return None,
        };
        let until = self.places.get(&n)?.paused_until;
        (until > self.now).then_some(until)
    }

    pub(crate) fn lives(&self, n: u64, life: u64) -> bool {
        self.places.get(&n).is_some_and(|place| place.lives == life && place.process.is_some())
    }

    pub(crate) fn life_of(&self, n: u64) -> u64 {
        self.places.get(&n).map_or(0, |place| place.lives)
    }

    pub(crate) fn process(&mut self, n: u64) -> Option<&mut Member> {
        self.places.get_mut(&n)?.process.as_deref_mut()
    }

    /// The members whose processes run.
    pub(crate) fn up(&self) -> Vec<u64> {
        let up = self.places.iter().filter(|(_, place)| place.process.is_some());
        up.map(|(n, _)| *n).collect()
    }

    /// Who takes itself for the leader, of the latest term.
    pub(crate) fn leader(&self) -> Option<u64> {
        let leads = |(n, place): (&u64, &Place)| {
            let raft = place.process.as_ref()?.raft();
            raft.leads.then_some((raft.term, *n))
        };
        self.places.iter().filter_map(leads).max().map(|(_, n)| n)
    }

    pub(crate) fn judge(&mut self, property: &'static str, verdict: Result<(), String>) {
        if let Err(text) = verdict {
            self.violated(property, text);
        }
    }

    fn tick(&mut self, n: u64, life: u64) {
        // Clocks differ a little.
        let next = if self.rng.per_mille(30) { TICK + 1 } else { TICK };
        self.after(next, Event::Tick(n, life));
        if let Some(member) = self.process(n) {
            member.tick();
        }
        self.wake(n);
    }

    /// Gives each stage that has work its next step.
    pub(crate) fn wake(&mut self, n: u64) {
        let (life, healing) = (self.life_of(n), self.healing);
        let Some(place) = self.places.get(&n) else { return };
        let Some(member) = &place.process else { return };
        let installs = member.installs();
        let wanted = |stage: &Stage| !place.woken.contains(stage) && member.wants(*stage);
        let woken: BTreeSet<Stage> = Stage::WOKEN.into_iter().filter(wanted).collect();
        for stage in woken {
            let plan = &self.plan;
            let (sync, apply) = (plan.sync_millis_max, plan.apply_millis_max);
            let delay = match stage {
                Stage::Driver => self.rng.below(2),
                Stage::Compaction => plan.compaction_pause,
                Stage::Watch if self.rng.per_mille(100) => self.rng.between(10, 80),
                Stage::CatchUp => self.rng.between(1, 10),
                Stage::Term if self.rng.per_mille(100) => self.rng.between(10, 80),
                _ if healing => 1,
                Stage::Log | Stage::Snapshot => self.rng.between(0, sync) + 1,
                // A whole database takes its time, and the log goes on meanwhile.
                Stage::Apply if installs => self.rng.between(1, 250),
                Stage::Apply | Stage::Questions => self.rng.below(apply),
                _ => self.rng.below(4),
            };
            self.after(delay, Event::Step(n, life, stage));
            if let Some(place) = self.places.get_mut(&n) {
                place.woken.insert(stage);
            }
        }
    }

    fn run_stage(&mut self, n: u64, life: u64, stage: Stage) {
        let Some(place) = self.places.get_mut(&n) else { return };
        let on_disk = matches!(stage, Stage::Log | Stage::Snapshot | Stage::Store);
        if on_disk && place.stalled_until > self.now {
            let delay = place.stalled_until - self.now;
            return self.after(delay, Event::Step(n, life, stage));
        }
        place.woken.remove(&stage);
        match stage {
            Stage::Store => {
                let delay = self.rng.pick(&[5, 5, 20, 50]);
                self.after(delay, Event::Step(n, life, stage));
            }
            Stage::Leases => self.after(500, Event::Step(n, life, stage)),
            Stage::Waiters => self.after(200, Event::Step(n, life, stage)),
            _ => {}
        }
        let Some(member) = self.process(n) else { return };
        match member.run(stage) {
            Ok(did) => {
                self.coverage.add(Point::LogSnapshots, u64::from(did.snapshot_made));
                self.coverage.add(Point::Rewrites, u64::from(did.rewrote_segment));
                self.coverage.add(Point::GroupCommits, u64::from(did.appends > 1));
                let received = did.snapshot_logged || did.snapshot_installed;
                if received && !self.healing && self.rng.per_mille(200) {
                    let delay = self.rng.below(if did.snapshot_logged { 300 } else { 40 });
                    self.after(delay, Event::Thaw(n, life));
                }
                if did.snapshot_installed {
                    self.coverage.hit(Point::ImagesInstalled);
                    self.trace.note(self.now, format_args!("{n} has installed a snapshot"));
                }
                for (lease, request) in did.revoking {
                    self.trace.note(self.now, format_args!("{n} revokes lease {lease:x}"));
                    self.leases.revoking(request, lease);
                }
                self.follow(n);
            }
            Err(error) => self.member_failed(n, &error),
        }
    }

    /// What follows from a step of a member: its messages leave, its state is looked at, its
    /// answers arrive, its stages go on.
    pub(crate) fn follow(&mut self, n: u64) {
        let Some(member) = self.process(n) else { return };
        let (messages, images) = (member.take_messages(), member.take_images());
        for message in messages {
            self.send(n, message);
        }
        let life = self.life_of(n);
        for image in images {
            let delay = self.rng.between(1, 60);
            self.after(delay, Event::WriteImage(n, life, Box::new(image)));
        }
        self.observe(n);
        self.take_answers();
        self.wake(n);
    }

    /// Looks at what a member knows and shows.
    fn observe(&mut self, n: u64) {
        let Some(place) = self.places.get_mut(&n) else { return };
        let Some(member) = &place.process else { return };
        let raft = member.raft();
        let led = std::mem::replace(&mut place.led, raft.leads);
        if raft.leads && !led {
            self.coverage.hit(Point::Elections);
            self.trace.note(self.now, format_args!("{n} leads in term {}", raft.term));
            let first = *self.elected.entry(raft.term).or_insert(n);
            if first != n {
                let text = format!("{first} and {n} lead in term {}", raft.term);
                return self.violated("one leader a term", text);
            }
        }
        if raft.committed > place.compared {
            let entries = member.committed_entries(place.compared);
            place.compared = raft.committed;
            for entry in &entries {
                self.committed(n, entry);
            }
        }
        self.look_at_state(n);
    }

    fn committed(&mut self, n: u64, entry: &raftpb::Entry) {
        match self.history.committed(entry) {
            Ok(Some(learned)) => self.learned(&learned),
            Ok(None) => {}
            Err(text) => self.violated("one log, in the order of time", format!("{n}: {text}")),
        }
    }

    /// Compares a member's state with what the log says up to there.
    fn look_at_state(&mut self, n: u64) {
        let Some(place) = self.places.get_mut(&n) else { return };
        let Some(member) = &place.process else { return };
        let index = member.with_machine(apply::StateMachine::consistent_index);
        if index == place.seen_applied {
            return;
        }
        place.seen_applied = index;
        let ahead = index > member.log_durable();
        let verdict = self.history.compare_state(index, member);
        self.coverage.add(Point::AppliedAhead, u64::from(ahead));
        self.judge("equal states at equal indexes", verdict.map_err(|text| format!("{n}: {text}")));
    }

    /// Answers that stages gave reach their clients.
    pub(crate) fn take_answers(&mut self) {
        let told = std::mem::take(&mut *self.told.lock().unwrap_or_else(PoisonError::into_inner));
        for (client, seq, answer) in told {
            self.answered(client, seq, answer);
        }
    }

    /// A way for the answer to a client's request.
    pub(crate) fn waiter(&self, client: usize, seq: u64) -> server::Waiter {
        let all = Arc::clone(&self.told);
        Box::new(move |its| {
            let told = (client, seq, its.answer);
            all.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        })
    }

    /// What a client waits for, if it is still this.
    pub(crate) fn waits(&self, client: usize, seq: u64) -> Option<&Op> {
        let client = self.clients.get(client)?;
        client.waiting.as_ref().filter(|_| client.seq == seq)
    }
}
