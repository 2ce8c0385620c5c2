//! Faults strike: crashes, disks that stall, fail or rot, links that break, members that change.

use crate::coverage::Point;
use crate::disk;
use crate::driver::FAREWELL;
use crate::node::{Life, Node};
pub(crate) use crate::plan::Fault;
use crate::plan::Millis;
use crate::rng::Rng;
use crate::world::{Event, World};
use raftpb::{ConfChange, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState};
use std::path::Path;
use vfs::{Fs, OpenMode};

/// Members there may be.
const MEMBERS_MAX: usize = 6;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With the power: what was not synced is lost or torn.
    PowerCut,
    /// Alone: what it wrote stays.
    Kill,
    /// By itself, because a sync failed; what that left on the disk is as open as with a power
    /// cut.
    Failure,
}

impl World {
    pub(crate) fn strike(&mut self, fault: Fault) {
        if self.healing {
            return;
        }
        self.trace.note(self.now, format_args!("fault: {fault:?}"));
        let up = self.up();
        if up.is_empty() {
            return;
        }
        let busy = |id: &u64| self.nodes[id].process().is_some_and(|up| !up.writing.is_empty());
        let writing: Vec<u64> = up.iter().copied().filter(busy).collect();
        let at_work = !writing.is_empty() && self.rng.per_mille(900);
        let node = self.rng.pick(if at_work { &writing } else { &up });
        let all: Vec<u64> = self.nodes.keys().copied().collect();
        match fault {
            Fault::PowerCut => self.crash(node, End::PowerCut),
            Fault::Kill => self.crash(node, End::Kill),
            Fault::Stall => {
                self.stall(node);
            }
            Fault::FreezeLeader => {
                let Some(leader) = self.leader() else { return };
                self.coverage.hit(Point::FrozenLeaders);
                self.freeze(leader);
            }
            Fault::FreezeCandidate => {
                let Some(leader) = self.leader() else { return };
                let others: Vec<u64> = up.into_iter().filter(|id| *id != leader).collect();
                if others.is_empty() {
                    return;
                }
                let candidate = self.rng.pick(&others);
                self.coverage.hit(Point::FrozenCandidates);
                self.freeze(candidate);
                self.network.isolate(leader, &all, &mut self.rng);
                self.reconnect_later();
            }
            Fault::FailDisk => {
                let nth = self.rng.between(1, 4);
                if let Some(node) = self.nodes.get_mut(&node) {
                    node.fs.fail_nth_sync(nth);
                }
            }
            Fault::Flip => self.flip(),
            Fault::Partition => {
                self.network.partition(&all, &mut self.rng);
                self.coverage.hit(Point::Partitions);
                self.reconnect_later();
            }
            Fault::IsolateLeader => {
                let Some(leader) = self.leader() else { return };
                self.network.isolate(leader, &all, &mut self.rng);
                self.coverage.hit(Point::IsolatedLeaders);
                self.reconnect_later();
            }
            Fault::OneWay => {
                self.network.one_way(node, &all, &mut self.rng);
                self.coverage.hit(Point::OneWayLinks);
                self.reconnect_later();
            }
            Fault::Reconnect => self.network.reconnect(),
            Fault::Transfer => self.transfer(),
            Fault::Change => self.change(),
        }
    }

    fn reconnect_later(&mut self) {
        let delay = self.rng.between(50, 800);
        self.after(delay, Event::Strike(Fault::Reconnect));
    }

    /// Ends the process of a node, perhaps in the middle of a write.
    pub(crate) fn crash(&mut self, id: u64, end: End) {
        let (midway, after, seed) = (self.rng.per_mille(800), self.rng.below(4), self.rng.next());
        // One that is back at once may still be a candidate in the same term.
        let at_once = self.rng.coin();
        let back = self.rng.between(20, if at_once { 40 } else { 400 });
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Life::Up(mut process) = std::mem::replace(&mut node.life, Life::Down) else { return };
        node.on_its_way = process.writing.clone();
        if midway && end != End::Failure {
            if end == End::PowerCut {
                node.fs.cut_power_after(after);
            }
            // Whether it worked, nobody learns.
            let _ = process.disk.step(&mut process.writing, process.raw.storage_mut());
            if end == End::PowerCut {
                node.store_fs.cut_power_after(after);
            }
            let (now, durable) = (self.now, self.oracle.durable_commit(id));
            let _ = process.store.step(now + 200, durable);
        }
        drop(process);
        if end != End::Kill {
            node.fs = node.fs.crash(seed);
            node.store_fs = node.store_fs.crash(!seed);
        }
        node.stalled_until = 0;
        self.trace.note(self.now, format_args!("{id} crashes: {end:?}"));
        self.coverage.hit(match end {
            End::PowerCut => Point::PowerCuts,
            End::Kill => Point::Kills,
            End::Failure => Point::FailedSyncs,
        });
        self.oracle.stopped(id);
        self.after(back, Event::Start(id));
    }

    /// A member that was removed stops for good.
    pub(crate) fn leave(&mut self, id: u64) {
        if self.healing && self.is_counted_on(id) {
            let life = self.life_of(id);
            return self.after(FAREWELL, Event::Leave(id, life));
        }
        let Some(node) = self.nodes.get_mut(&id) else { return };
        // One that replays the log from its beginning is no member until it is added.
        if node.process().is_none_or(|process| process.is_member(id)) {
            return;
        }
        node.life = Life::Gone;
        node.on_its_way.clear();
        self.oracle.stopped(id);
        self.trace.note(self.now, format_args!("{id} has left"));
    }

    fn stall(&mut self, id: u64) -> Millis {
        let longest = self.rng.pick(&[300, 1500]);
        let until = self.now + self.rng.between(100, longest);
        self.coverage.hit(Point::Stalls);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.stalled_until = until;
        }
        until - self.now
    }

    /// With entries applied before they are durable, nobody need notice; then all that the disk
    /// did not take is gone.
    fn freeze(&mut self, id: u64) {
        let stall = self.stall(id);
        let life = self.life_of(id);
        self.after(stall.saturating_sub(1), Event::Thaw(id, life));
    }

    /// Turns over a bit of what a node that is down has on disk, while enough others are sound.
    fn flip(&mut self) {
        if self.nodes.values().any(|node| node.flipped || matches!(node.life, Life::Lost)) {
            return;
        }
        let Some(leader) = self.leader() else { return };
        let Some(conf) = self.process(leader).map(|process| process.conf_state.clone()) else {
            return;
        };
        let down = |(id, node): (&u64, &Node)| matches!(node.life, Life::Down).then_some(*id);
        let mut victims: Vec<u64> = self.nodes.iter().filter_map(down).collect();
        victims.retain(|id| conf.voters.contains(id) || conf.learners.contains(id));
        if victims.is_empty() {
            let sound: Vec<u64> = self.up().into_iter().filter(|id| *id != leader).collect();
            if sound.is_empty() {
                return;
            }
            let victim = self.rng.pick(&sound);
            self.crash(victim, End::PowerCut);
            victims.push(victim);
        }
        if conf.voters.len() < 3 || !conf.voters_outgoing.is_empty() {
            return;
        }
        let victim = self.rng.pick(&victims);
        self.flip_bit(victim);
    }

    fn flip_bit(&mut self, id: u64) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let fs = node.fs.duplicate();
        let [log, snapshots] = disk::precious_files(&fs);
        let files = if self.rng.coin() || snapshots.is_empty() { log } else { snapshots };
        if files.is_empty() {
            return;
        }
        let at = usize::try_from(self.rng.below(files.len() as u64)).expect("below a length");
        if flip(&fs, &files[at], &mut self.rng).is_some() {
            node.fs = fs;
            node.flipped = true;
            let path = files[at].display();
            self.trace.note(self.now, format_args!("{id}: a bit of {path} flips"));
        }
    }

    fn transfer(&mut self) {
        let Some(leader) = self.leader() else { return };
        let Some(process) = self.process(leader) else { return };
        let voters = process.conf_state.voters.clone();
        if voters.is_empty() || process.pending.is_some() {
            return;
        }
        let to = self.rng.pick(&voters);
        if let Some(process) = self.process(leader) {
            process.raw.transfer_leader(to);
            self.coverage.hit(Point::Transfers);
        }
        self.drive(leader);
    }

    /// Changes the members through the leader.
    pub(crate) fn change(&mut self) {
        let Some(leader) = self.leader() else { return };
        let Some(process) = self.process(leader) else { return };
        let conf = process.conf_state.clone();
        if process.pending.is_some() || !conf.voters_outgoing.is_empty() {
            return;
        }
        let Some((kind, id)) = self.draw_change(&conf) else { return };
        self.trace.note(self.now, format_args!("{leader} is asked: {kind:?} {id}"));
        if kind == ConfChangeType::ConfChangeAddLearnerNode && !self.nodes.contains_key(&id) {
            self.nodes.insert(id, Node::new(0));
            self.start(id);
        }
        let joint = self.plan.joint && self.rng.coin();
        let Some(process) = self.process(leader) else { return };
        let change =
            ConfChange { r#type: Some(kind.into()), node_id: Some(id), ..Default::default() };
        // A change that is refused is asked for again some time.
        let _ = if joint {
            let transition = Some(ConfChangeTransition::JointImplicit.into());
            let v2 = raftpb::MembershipChange::to_v2(&change);
            process.raw.propose_conf_change(&ConfChangeV2 { transition, ..v2 })
        } else {
            process.raw.propose_conf_change(&change)
        };
        self.drive(leader);
    }

    fn draw_change(&mut self, conf: &ConfState) -> Option<(ConfChangeType, u64)> {
        use ConfChangeType::{ConfChangeAddLearnerNode, ConfChangeAddNode, ConfChangeRemoveNode};
        let lost = |id: &&u64| matches!(self.nodes.get(*id).map(|n| &n.life), Some(Life::Lost));
        let all = conf.voters.iter().chain(&conf.learners);
        if let Some(lost) = all.clone().find(lost).copied() {
            self.coverage.hit(Point::MembersReplaced);
            return Some((ConfChangeRemoveNode, lost));
        }
        let hurt = self.nodes.values().any(|node| node.flipped || matches!(node.life, Life::Lost));
        let members = all.count();
        let choice = self.rng.below(3);
        if choice == 0 && conf.voters.len() >= 2 && !hurt && !self.healing {
            let leader = self.leader().filter(|id| conf.voters.contains(id) && self.rng.coin());
            let leaver = leader.unwrap_or_else(|| self.rng.pick(&conf.voters));
            return Some((ConfChangeRemoveNode, leaver));
        }
        if choice == 1 && !conf.learners.is_empty() {
            return Some((ConfChangeAddNode, self.rng.pick(&conf.learners)));
        }
        if members >= MEMBERS_MAX {
            return Some((ConfChangeRemoveNode, self.rng.pick(&conf.voters))).filter(|_| !hurt);
        }
        let id = self.next_id;
        self.next_id += 1;
        Some((ConfChangeAddLearnerNode, id))
    }
}

/// Turns over a bit in the used part of a file.
fn flip(fs: &vfs::MemFs, path: &Path, rng: &mut Rng) -> Option<()> {
    let content = fs.read(path).ok()?;
    let used = content.iter().rposition(|byte| *byte != 0)? as u64 + 1;
    let at = rng.below(used);
    let file = fs.open(path, OpenMode::Write).ok()?;
    let byte = content[usize::try_from(at).ok()?] ^ 1 << rng.below(8);
    file.write_at(&[byte], at).ok()?;
    file.sync_data().ok()
}
