//! Faults strike: processes that end or stand still, disks that stall or fail, links that break.

use super::coverage::Point;
use super::plan::Fault;
use super::world::{Event, World};
use crate::plan::Millis;
use server::Fatal;
use server::stages::Stage;

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With the power: what was not synced is lost or torn.
    PowerCut,
    /// Alone: what it wrote stays.
    Kill,
    /// By itself, because its disk failed; what that left is as open as with a power cut.
    Failure,
}

impl World {
    /// Starts a member from its disk.
    pub(crate) fn start(&mut self, n: u64) {
        let short = !self.healing && self.now > 0 && self.rng.per_mille(100);
        let (cut, seed) = (self.rng.below(12), self.rng.next());
        let Some(place) = self.places.get_mut(&n) else { return };
        if place.process.is_some() {
            return;
        }
        if short {
            place.fs.cut_power_after(cut);
        }
        match place.boot(&self.plan, &self.clock) {
            Ok(_) if short => {
                // It was about to serve when the power went.
                place.fs = place.fs.crash(seed);
                self.coverage.hit(Point::CutInWork);
                self.after(30, Event::Start(n));
            }
            Ok(member) => self.started(n, member),
            Err(error) if short || place.failing => {
                place.failing = false;
                place.fs = place.fs.crash(seed);
                self.trace
                    .note(self.now, format_args!("{n} is cut as it starts: {}", all_of(&error)));
                self.coverage.hit(Point::CutInWork);
                self.after(30, Event::Start(n));
            }
            Err(error) => {
                let files = vfs::Fs::read_dir(&place.fs, std::path::Path::new("/data/member/snap"));
                let text = format!("{n}: {}, {:?}", all_of(&error), files.unwrap_or_default());
                self.judge("a disk that nothing happened to can be read", Err(text));
            }
        }
    }

    fn started(&mut self, n: u64, member: server::stages::Member) {
        let index = member.with_machine(apply::StateMachine::consistent_index);
        let raft = member.raft();
        let Some(place) = self.places.get_mut(&n) else { return };
        self.coverage.add(Point::StoresBehind, u64::from(index < place.seen_applied));
        place.lives += 1;
        place.process = Some(Box::new(member));
        place.woken.clear();
        // Its state is compared anew, and what it finds in its log.
        (place.compared, place.seen_applied, place.led) = (0, u64::MAX, false);
        let life = place.lives;
        self.trace.note(self.now, format_args!("{n} starts with a store at {index}: {raft:?}"));
        let phase = self.rng.below(super::plan::TICK);
        self.after(phase, Event::Tick(n, life));
        for stage in [Stage::Store, Stage::Leases, Stage::Waiters] {
            let phase = self.rng.below(100);
            self.after(phase, Event::Step(n, life, stage));
        }
        self.follow(n);
    }

    pub(crate) fn strike(&mut self, fault: Fault) {
        if self.healing {
            return;
        }
        self.trace.note(self.now, format_args!("fault: {fault:?}"));
        let up = self.up();
        if up.is_empty() {
            return;
        }
        let n = self.rng.pick(&up);
        let leader = self.leader();
        let all: Vec<u64> = self.places.keys().copied().collect();
        match fault {
            Fault::PowerCut => self.crash(n, End::PowerCut),
            Fault::Kill => self.crash(n, End::Kill),
            Fault::Stall => {
                self.stall(n);
            }
            Fault::Freeze => {
                let Some(leader) = leader else { return };
                let (stall, life) = (self.stall(leader), self.life_of(leader));
                self.coverage.hit(Point::Frozen);
                self.after(stall.saturating_sub(1), Event::Thaw(leader, life));
            }
            Fault::Pause => self.pause(n),
            Fault::PauseLeader => {
                if let Some(leader) = leader {
                    self.pause(leader);
                }
            }
            Fault::FailDisk => {
                let nth = self.rng.between(1, 5);
                if let Some(place) = self.places.get_mut(&n) {
                    place.fs.fail_nth_sync(nth);
                    place.failing = true;
                }
            }
            Fault::Partition => {
                self.network.partition(&all, &mut self.rng);
                self.coverage.hit(Point::Partitions);
                self.reconnect_later(1500);
            }
            Fault::IsolateLeader => {
                let Some(leader) = leader else { return };
                self.network.isolate(leader, &all, &mut self.rng);
                self.coverage.hit(Point::IsolatedLeaders);
                self.reconnect_later(2500);
            }
            Fault::LeaveBehind => {
                self.network.cut_off(n, &all);
                self.coverage.hit(Point::LeftBehind);
                self.reconnect_later(4000);
            }
            Fault::Reconnect => self.network.reconnect(),
            Fault::Transfer => {
                let Some(leader) = leader else { return };
                let to = self.rng.pick(&all);
                let id = self.numbers.iter().find(|(_, number)| **number == to);
                let Some(id) = id.map(|(id, _)| *id) else { return };
                self.coverage.hit(Point::Transfers);
                if let Some(member) = self.process(leader) {
                    member.transfer_lead(id);
                }
                self.wake(leader);
            }
        }
    }

    fn reconnect_later(&mut self, longest: Millis) {
        let delay = self.rng.between(200, longest);
        self.after(delay, Event::Strike(Fault::Reconnect));
    }

    fn pause(&mut self, n: u64) {
        let longest = self.rng.pick(&[800, 4000]);
        let until = self.now + self.rng.between(100, longest);
        self.coverage.hit(Point::Pauses);
        if let Some(place) = self.places.get_mut(&n) {
            place.paused_until = until;
        }
    }

    fn stall(&mut self, n: u64) -> Millis {
        let until = self.now + self.rng.between(100, 2000);
        self.coverage.hit(Point::Stalls);
        if let Some(place) = self.places.get_mut(&n) {
            place.stalled_until = until;
        }
        until - self.now
    }

    /// A member ended because it could not go on.
    pub(crate) fn member_failed(&mut self, n: u64, error: &Fatal) {
        self.trace.note(self.now, format_args!("{n} ends: {}", all_of(error)));
        if self.places.get(&n).is_some_and(|place| place.failing) {
            return self.crash(n, End::Failure);
        }
        let text = format!("{n}: {}", all_of(error));
        self.judge("a member ends only if its disk fails", Err(text));
    }

    /// Ends the process of a member, most often in the middle of some work.
    pub(crate) fn crash(&mut self, n: u64, end: End) {
        let (midway, after, seed) = (self.rng.per_mille(700), self.rng.below(6), self.rng.next());
        let back = self.rng.between(30, 1200);
        let stages = [Stage::Log, Stage::Apply, Stage::Snapshot, Stage::Store, Stage::Compaction];
        let Some(place) = self.places.get_mut(&n) else { return };
        let Some(mut member) = place.process.take() else { return };
        let busy: Vec<Stage> = stages.into_iter().filter(|stage| member.wants(*stage)).collect();
        if midway && end != End::Failure {
            let installs = member.installs() && member.wants(Stage::Apply);
            let stage = if installs { Stage::Apply } else { self.rng.pick(&busy) };
            if end == End::PowerCut {
                place.fs.cut_power_after(if installs { after * 4 } else { after });
            }
            // Whether it worked, nobody learns.
            if member.run(stage).is_err() {
                self.coverage.hit(Point::CutInWork);
                self.coverage.add(Point::InstallsCut, u64::from(installs));
            }
        }
        drop(member);
        if end != End::Kill {
            place.fs = place.fs.crash(seed);
        }
        (place.stalled_until, place.paused_until) = (0, 0);
        // A disk that will fail does so in the next life too.
        place.failing &= end == End::Kill;
        self.trace.note(self.now, format_args!("{n} crashes: {end:?}"));
        self.coverage.hit(match end {
            End::PowerCut => Point::PowerCuts,
            End::Kill => Point::Kills,
            End::Failure => Point::FailedDisks,
        });
        // What its stages told nobody heard.
        self.told.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clear();
        self.after(back, Event::Start(n));
    }
}

/// An error with its causes.
pub(crate) fn all_of(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
