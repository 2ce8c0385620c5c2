//! Clusters under random faults: messages lost, doubled, late; links cut; nodes crashed and
//! started again from what was durable; members changed, leaders moved, logs compacted. One seed
//! decides everything.
//!
//! After every step: at most one leader a term (election safety); what any node applies at an
//! index is what every node applies there (state machine safety); a new leader holds all that was
//! ever applied (leader completeness). Now and then: logs that agree at an entry agree before it
//! (log matching). At the end the faults stop, and the cluster must get on.

use bytes::Bytes;
use prost::Message as _;
use quorate_raft::{
    Config, Error, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, MemoryStorage, RawNode, Ready,
    SnapshotStatus, StateType, Storage,
};
use raftpb::{
    ConfChange, ConfChangeTransition, ConfChangeV2, ConfState, Entry, EntryType, HardState,
    MembershipChange, Message, MessageType, Snapshot, SnapshotMetadata,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

const NODES: u64 = 5;
const SEEDS: u64 = 100;
const STEPS: u64 = 2500;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Plain,
    Async,
    ApplyUnstable,
}

#[test]
fn plain_ready() {
    run_seeds(Mode::Plain);
}

#[test]
fn asynchronous_storage_writes() {
    run_seeds(Mode::Async);
}

#[test]
fn applied_before_durable() {
    run_seeds(Mode::ApplyUnstable);
}

fn run_seeds(mode: Mode) {
    let only = std::env::var("QUORATE_SEED").ok().map(|seed| seed.parse().expect("a number"));
    let mut seen = Seen::default();
    for seed in only.map_or(0..SEEDS, |seed: u64| seed..seed + 1) {
        let run = std::panic::AssertUnwindSafe(|| Cluster::run(mode, seed));
        match std::panic::catch_unwind(run) {
            Ok(run) => seen.add(&run),
            Err(panic) => {
                eprintln!("{mode:?}: replay with QUORATE_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    testkit::figures::note(&format!("raft-random-{mode:?}"), format!("{SEEDS} seeds, {seen:?}"));
    let all = [
        seen.elections,
        seen.truncations,
        seen.snapshots,
        seen.changes,
        seen.crashes,
        seen.applied,
        seen.reads,
    ];
    assert!(only.is_some() || all.iter().all(|count| *count > 0), "not all was tried: {seen:?}");
}

/// What happened, to be sure that it did.
#[derive(Debug, Default)]
struct Seen {
    elections: u64,
    truncations: u64,
    snapshots: u64,
    changes: u64,
    crashes: u64,
    applied: u64,
    ahead_of_disk: u64,
    stranded: u64,
    reads: u64,
}

impl Seen {
    fn add(&mut self, other: &Seen) {
        self.elections += other.elections;
        self.truncations += other.truncations;
        self.snapshots += other.snapshots;
        self.changes += other.changes;
        self.crashes += other.crashes;
        self.applied += other.applied;
        self.ahead_of_disk += other.ahead_of_disk;
        self.stranded += other.stranded;
        self.reads += other.reads;
    }
}

struct Node {
    raw: RawNode<MemoryStorage>,
    /// The log as it would be found after a crash.
    durable: MemoryStorage,
    append_work: VecDeque<Message>,
    apply_work: VecDeque<Message>,
    applied: u64,
    conf_state: ConfState,
    was_leader_in: u64,
    /// The last hard state written, durable or not.
    written: HardState,
}

struct Cluster {
    mode: Mode,
    rand: Rand,
    nodes: BTreeMap<u64, Node>,
    under_way: Vec<Message>,
    /// Nodes that nothing reaches or leaves.
    cut: BTreeSet<u64>,
    faults: bool,
    check_quorum: bool,
    pre_vote: bool,
    leaders: BTreeMap<u64, u64>,
    /// What was applied, by index.
    applied: BTreeMap<u64, Entry>,
    proposals: u64,
    seen: Seen,
}

impl Cluster {
    fn run(mode: Mode, seed: u64) -> Seen {
        let mut rand = Rand(seed);
        let mut cluster = Cluster {
            mode,
            check_quorum: rand.below(2) == 0,
            pre_vote: rand.below(2) == 0,
            rand,
            nodes: BTreeMap::new(),
            under_way: Vec::new(),
            cut: BTreeSet::new(),
            faults: true,
            leaders: BTreeMap::new(),
            applied: BTreeMap::new(),
            proposals: 0,
            seen: Seen::default(),
        };
        for id in 1..=NODES {
            let mut storage = MemoryStorage::new();
            // Nodes 4 and 5 are not members yet, and know nothing.
            if id <= 3 {
                let conf_state = Some(ConfState { voters: vec![1, 2, 3], ..ConfState::default() });
                let metadata = SnapshotMetadata { conf_state, index: Some(1), term: Some(1) };
                let snapshot = Snapshot { data: None, metadata: Some(metadata) };
                storage.apply_snapshot(snapshot).expect("the storage is empty");
            }
            let node = cluster.start(id, storage);
            cluster.nodes.insert(id, node);
        }
        for _ in 0..STEPS {
            cluster.step();
        }
        cluster.heal();
        cluster.seen
    }

    fn start(&mut self, id: u64, storage: MemoryStorage) -> Node {
        let (storage_hard_state, conf_state) = storage.initial_state().expect("memory");
        let applied = storage.snapshot().expect("memory").index();
        let config = Config {
            id,
            applied,
            election_tick: 10,
            heartbeat_tick: 2,
            async_storage_writes: self.mode != Mode::Plain,
            apply_unstable: self.mode == Mode::ApplyUnstable,
            max_size_per_msg: [0, 40, 1 << 20][self.rand.below(3)],
            max_inflight_msgs: 1 + self.rand.below(4),
            // The same on all nodes: one without either would not tell an old leader of its term.
            check_quorum: self.check_quorum,
            pre_vote: self.pre_vote,
            step_down_on_removal: true,
            seed: self.rand.next(),
            ..Config::default()
        };
        Node {
            raw: RawNode::new(config, storage.clone()).expect("a log it wrote itself"),
            durable: storage,
            append_work: VecDeque::new(),
            apply_work: VecDeque::new(),
            applied,
            conf_state,
            was_leader_in: 0,
            written: storage_hard_state,
        }
    }

    fn step(&mut self) {
        let id = 1 + self.rand.below(5) as u64;
        match self.rand.below(100) {
            0..30 => self.node(id).raw.tick(),
            30..70 => self.deliver(),
            70..78 => self.work(id),
            78..90 => self.propose(id),
            90..92 => self.change_membership(id),
            92 => self.compact(id),
            98..100 => self.read(id),
            93 => {
                let to = 1 + self.rand.below(5) as u64;
                self.node(id).raw.transfer_leader(to);
            }
            94 if self.rand.below(3) == 0 => self.crash(id),
            95 if self.rand.below(4) == 0 => {
                self.cut = (1..=NODES).filter(|_| self.rand.below(4) == 0).collect();
            }
            96 => self.cut.clear(),
            _ => {}
        }
        for id in 1..=NODES {
            // With asynchronous work, a node's wishes need not be looked at all the time.
            if self.mode == Mode::Plain || self.rand.below(2) == 0 || !self.faults {
                self.take_ready(id);
            }
            self.check_leader(id);
        }
        if self.rand.below(200) == 0 {
            self.check_log_matching();
        }
    }

    fn node(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).expect("there are five")
    }

    fn propose(&mut self, id: u64) {
        self.proposals += 1;
        let data = Bytes::from(format!("proposal {}", self.proposals));
        // Dropped where there is no leader.
        let _ = self.node(id).raw.propose(data);
    }

    /// Asks for a read index. It must not lie before anything that was applied by now.
    fn read(&mut self, id: u64) {
        let applied = self.applied.last_key_value().map_or(0, |(index, _)| *index);
        self.node(id).raw.read_index(Bytes::copy_from_slice(&applied.to_le_bytes()));
    }

    fn check_reads(&mut self, id: u64, ready: &Ready) {
        for read in &ready.read_states {
            let applied = <[u8; 8]>::try_from(&read.request_ctx[..]).expect("what was asked with");
            let applied = u64::from_le_bytes(applied);
            assert!(read.index >= applied, "node {id} would read at {} of {applied}", read.index);
            self.seen.reads += 1;
        }
    }

    fn change_membership(&mut self, id: u64) {
        let count = 1 + self.rand.below(2);
        let changes: Vec<String> = (0..count)
            .map(|_| {
                format!("{}{}", ["v", "v", "l", "r"][self.rand.below(4)], 1 + self.rand.below(5))
            })
            .collect();
        let changes = raftpb::parse_changes(&changes.join(" ")).expect("good changes");
        let transition = [ConfChangeTransition::Auto, ConfChangeTransition::JointImplicit];
        let transition = Some(transition[self.rand.below(2)].into());
        let change = ConfChangeV2 { transition, changes, context: None };
        let _ = self.node(id).raw.propose_conf_change(&change);
    }

    /// Delivers one message, any one; or loses or doubles it.
    fn deliver(&mut self) {
        if self.under_way.is_empty() {
            return;
        }
        let at = self.rand.below(self.under_way.len());
        let message = self.under_way.swap_remove(at);
        let (from, to) = (message.from(), message.to());
        let lost = self.cut.contains(&from) || self.cut.contains(&to);
        let lost = lost || (self.faults && self.rand.below(20) == 0);
        if message.r#type() == MessageType::MsgSnap {
            let status = if lost { SnapshotStatus::Failure } else { SnapshotStatus::Finish };
            self.node(from).raw.report_snapshot(to, status);
        } else if lost && self.rand.below(4) == 0 {
            self.node(from).raw.report_unreachable(to);
        }
        if lost {
            return;
        }
        if self.faults && self.rand.below(20) == 0 {
            self.under_way.push(message.clone());
        }
        // A proposal may be dropped, an answer come from a member that was removed; but no node
        // sends what another takes for malformed.
        let taken = self.node(to).raw.step(message);
        assert!(!matches!(taken, Err(Error::Malformed { .. })), "{from} to {to}: {taken:?}");
    }

    fn take_ready(&mut self, id: u64) {
        while self.node(id).raw.has_ready() {
            let ready = self.node(id).raw.ready();
            self.check_reads(id, &ready);
            if self.mode == Mode::Plain {
                self.do_ready(id, ready);
            } else {
                self.hand_out(id, ready);
            }
        }
    }

    /// A snapshot leaves as of now, as an application sends it: the one raft knows of may be from
    /// before its receiver became a member.
    fn send(&mut self, mut message: Message) {
        let from = message.from();
        if let Some(snapshot) = &mut message.snapshot {
            let node = &self.nodes[&from];
            if let Some(last) = self.applied.get(&node.applied) {
                let conf_state = Some(node.conf_state.clone());
                let (index, term) = (last.index, last.term);
                snapshot.metadata = Some(SnapshotMetadata { conf_state, index, term });
            }
        }
        self.under_way.push(message);
    }

    fn do_ready(&mut self, id: u64, ready: Ready) {
        // A commit index alone need not be durable, so sometimes it is not.
        let sync = ready.must_sync || ready.snapshot.is_some() || self.rand.below(2) == 0;
        if let Some(hard_state) = ready.hard_state {
            self.node(id).written = hard_state;
        }
        let hard_state = ready.hard_state.filter(|_| sync);
        self.store(id, hard_state, &ready.entries, ready.snapshot);
        ready.messages.into_iter().for_each(|message| self.send(message));
        self.apply(id, &ready.committed_entries);
        self.node(id).raw.advance();
    }

    fn hand_out(&mut self, id: u64, ready: Ready) {
        for message in ready.messages {
            match message.to() {
                LOCAL_APPEND_THREAD => self.node(id).append_work.push_back(message),
                LOCAL_APPLY_THREAD => self.node(id).apply_work.push_back(message),
                _ => self.send(message),
            }
        }
        if !self.faults {
            while !self.node(id).append_work.is_empty() || !self.node(id).apply_work.is_empty() {
                self.work(id);
            }
        }
    }

    /// Does one piece of storage work, on one thread or the other.
    fn work(&mut self, id: u64) {
        let append_first = self.rand.below(2) == 0;
        let node = self.node(id);
        let append = node.append_work.front().is_some();
        let take_append = append && (append_first || node.apply_work.is_empty());
        let work =
            if take_append { node.append_work.pop_front() } else { node.apply_work.pop_front() };
        let Some(mut work) = work else { return };
        let responses = std::mem::take(&mut work.responses);
        if take_append {
            let hard_state = work.term.map(|term| HardState {
                term: Some(term),
                vote: work.vote,
                commit: work.commit,
            });
            self.store(id, hard_state, &work.entries, work.snapshot);
        } else {
            let durable = self.node(id).durable.last_index().expect("memory");
            if work.entries.last().is_some_and(|last| last.index() > durable) {
                assert_eq!(self.mode, Mode::ApplyUnstable, "applied before it is durable");
                self.seen.ahead_of_disk += 1;
            }
            self.apply(id, &work.entries);
        }
        for response in responses {
            if response.to() == id {
                // Its own vote or acknowledgement is refused once it is no member.
                let taken = self.node(id).raw.step(response);
                assert!(!matches!(taken, Err(Error::Malformed { .. })), "{id}: {taken:?}");
            } else {
                self.under_way.push(response);
            }
        }
    }

    fn store(
        &mut self,
        id: u64,
        hard_state: Option<HardState>,
        entries: &[Entry],
        snapshot: Option<Snapshot>,
    ) {
        let first = entries.first().map(Entry::index);
        let node = self.node(id);
        let replaced =
            first.is_some_and(|first| first <= node.durable.last_index().expect("memory"));
        for storage in [&mut node.durable, node.raw.storage_mut()] {
            if let Some(snapshot) = &snapshot {
                storage.apply_snapshot(snapshot.clone()).expect("newer than what was there");
            }
            storage.append(entries);
            if let Some(hard_state) = hard_state {
                storage.set_hard_state(hard_state);
                node.written = hard_state;
            }
        }
        self.seen.truncations += u64::from(replaced);
        if let Some(snapshot) = snapshot {
            self.seen.snapshots += 1;
            let node = self.node(id);
            node.applied = snapshot.index();
            node.conf_state = snapshot.metadata.and_then(|m| m.conf_state).unwrap_or_default();
        }
    }

    fn apply(&mut self, id: u64, entries: &[Entry]) {
        for entry in entries {
            let node = self.nodes.get_mut(&id).expect("there are five");
            // Work that was handed out before a snapshot came is not done after it.
            if self.mode != Mode::Plain && entry.index() <= node.applied {
                continue;
            }
            assert_eq!(entry.index(), node.applied + 1, "node {id} applies out of order");
            node.applied = entry.index();
            let change = match entry.r#type() {
                EntryType::EntryNormal => None,
                EntryType::EntryConfChange => {
                    Some(ConfChange::decode(entry.data()).expect("a change").to_v2())
                }
                EntryType::EntryConfChangeV2 => {
                    Some(ConfChangeV2::decode(entry.data()).expect("a change"))
                }
            };
            if let Some(change) = change {
                let applied = node.raw.apply_conf_change(&change);
                node.conf_state = applied.expect("a change that a leader let through");
                self.seen.changes += 1;
            }
            let first = self.applied.entry(entry.index()).or_insert_with(|| entry.clone());
            assert_eq!(first, entry, "node {id} applies another entry than a node before it");
            self.seen.applied += 1;
        }
    }

    fn compact(&mut self, id: u64) {
        let node = self.node(id);
        let last = node.durable.last_index().expect("memory");
        let index = node.applied.min(last);
        // The configuration belongs to the applied index and no other; and nothing may be durable
        // that is ahead of the durable log and hard state.
        if index != node.applied
            || index > node.written.commit()
            || index <= node.durable.snapshot().expect("memory").index()
        {
            return;
        }
        let conf_state = Some(node.conf_state.clone());
        // Syncing the snapshot's record syncs all that was written before it.
        node.durable.set_hard_state(node.written);
        for storage in [&mut node.durable, node.raw.storage_mut()] {
            storage.create_snapshot(index, conf_state.clone(), Bytes::new()).expect("newer");
            let keep = index.saturating_sub(2);
            if keep >= storage.first_index().expect("memory") {
                storage.compact(keep).expect("in the log");
            }
        }
    }

    /// The node loses all that was not durable, and starts again.
    fn crash(&mut self, id: u64) {
        let durable = self.node(id).durable.clone();
        let node = self.start(id, durable);
        self.nodes.insert(id, node);
        self.seen.crashes += 1;
    }

    fn check_leader(&mut self, id: u64) {
        let node = &self.nodes[&id];
        let status = node.raw.basic_status();
        let term = status.hard_state.term();
        if status.soft_state.state != StateType::Leader || node.was_leader_in == term {
            return;
        }
        assert_eq!(*self.leaders.entry(term).or_insert(id), id, "two leaders in term {term}");
        self.seen.elections += 1;
        let log = node.raw.all_entries();
        let compacted = node.raw.storage().first_index().expect("memory") - 1;
        for (index, entry) in self.applied.iter().filter(|(index, _)| **index > compacted) {
            let held = log.iter().find(|held| held.index() == *index);
            assert_eq!(held, Some(entry), "leader {id} of term {term} lacks an applied entry");
        }
        self.node(id).was_leader_in = term;
    }

    fn check_log_matching(&self) {
        let logs: Vec<Vec<Entry>> =
            self.nodes.values().map(|node| node.raw.all_entries()).collect();
        for (i, one) in logs.iter().enumerate() {
            for other in &logs[i + 1..] {
                let other: BTreeMap<u64, &Entry> = other.iter().map(|e| (e.index(), e)).collect();
                let mut same = false;
                for entry in one.iter().rev() {
                    let Some(theirs) = other.get(&entry.index()) else { continue };
                    same |= theirs.term() == entry.term();
                    assert!(!same || *theirs == entry, "logs differ before an entry they share");
                }
            }
        }
    }

    /// Without faults, something proposed must be applied by every member.
    fn heal(&mut self) {
        self.faults = false;
        self.cut.clear();
        let before = self.nodes.values().map(|node| node.applied).max().expect("five");
        for _ in 0..400 {
            // A node that nobody counts on any more is stopped; else it may call for elections for
            // ever.
            let newest = self.nodes.values().max_by_key(|node| node.applied).expect("five");
            let mut members = members_of(&newest.conf_state);
            for id in members.clone() {
                members.extend(members_of(&self.nodes[&id].conf_state));
            }
            for id in 1..=NODES {
                if members.contains(&id) {
                    self.node(id).raw.tick();
                }
                self.take_ready(id);
            }
            let mut delivered = 0;
            while !self.under_way.is_empty() {
                self.deliver();
                delivered += 1;
                assert!(delivered < 5000, "messages go round and round: {:?}", self.under_way);
                (1..=NODES).for_each(|id| self.take_ready(id));
            }
            (1..=NODES).for_each(|id| self.check_leader(id));
            for id in 1..=NODES {
                self.propose(id);
                self.take_ready(id);
            }
            self.check_log_matching();
        }
        let newest = self.nodes.values().max_by_key(|node| node.applied).expect("five");
        let (top, conf_state) = (newest.applied, newest.conf_state.clone());
        // A change is in force once it is applied. A leader that applied its own removal and could
        // tell nobody has a log that beats the others', who need its vote and cannot give it
        // theirs. Upstream has the same gap; thesis section 4.2.2 has the leader stay until told.
        let top_id = self.nodes.iter().find(|(_, node)| node.applied == top).map(|(id, _)| *id);
        if top_id.is_some_and(|id| !members_of(&conf_state).contains(&id)) && top < before + 100 {
            self.seen.stranded += 1;
            return;
        }
        assert!(conf_state.voters_outgoing.is_empty(), "stuck in a joint configuration");
        for id in conf_state.voters.iter().chain(&conf_state.learners) {
            let node = &self.nodes[id];
            assert!(node.applied + 20 >= top, "node {id} applied {} of {top}", node.applied);
            assert!(node.applied > before + 100, "node {id} made no progress after {before}");
        }
    }
}

fn members_of(state: &ConfState) -> BTreeSet<u64> {
    let sets = [&state.voters, &state.learners, &state.voters_outgoing];
    sets.into_iter().flatten().copied().collect()
}

/// SplitMix64.
struct Rand(u64);

impl Rand {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).expect("below a usize")
    }
}
