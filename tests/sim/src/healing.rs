//! The end of a run: no more faults, all nodes up. The cluster must take a write within bounded
//! time, everybody must apply it, and all states must be equal.

use crate::client::LAST_CLIENT;
use crate::kv::Write;
use crate::node::{Life, Node};
use crate::plan::{HEALING_MAX, Millis};
use crate::seeds::Simulated;
use crate::world::{Event, World};
use raftpb::ConfState;

/// How often somebody looks after the cluster.
const LOOK: Millis = 30;

impl World {
    pub(crate) fn heal(&mut self) {
        self.trace.note(self.now, format_args!("no more faults"));
        self.healing = true;
        self.network.calm();
        let deadline = self.now + HEALING_MAX;
        self.after(0, Event::Mend);
        while self.step() {
            if let Some(members) = self.is_healed() {
                return self.compare(&members);
            }
            if self.now > deadline {
                return self.judge_stuck();
            }
        }
    }

    /// Starts what is down, replaces what is lost, and asks for a write.
    pub(crate) fn mend(&mut self) {
        self.after(LOOK, Event::Mend);
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            let needed = self.is_counted_on(id);
            let Some(node) = self.nodes.get_mut(&id) else { continue };
            node.stalled_until = 0;
            match node.life {
                // Others still count on it.
                Life::Gone if needed => node.life = Life::Down,
                Life::Down => {}
                Life::Up(_) | Life::Gone | Life::Lost => continue,
            }
            self.start(id);
        }
        let Some(leader) = self.leader() else { return };
        let Some(process) = self.process(leader) else { return };
        if process.pending.is_some() {
            return;
        }
        let conf = process.conf_state.clone();
        let joint = !conf.voters_outgoing.is_empty();
        if !joint && members(&conf).any(|id| self.is_lost(id)) {
            return self.change();
        }
        // A leader that could not leave a joint configuration tries again with the next entry.
        if self.last_write.is_none() || joint {
            self.last_seq += 1;
            let write = Write { client: LAST_CLIENT, seq: self.last_seq, key: 0, value: 1 };
            self.propose(leader, &write);
            self.drive(leader);
        }
    }

    /// Whether a member, by the newest configuration that anybody applied, takes `id` for one.
    pub(crate) fn is_counted_on(&self, id: u64) -> bool {
        let processes = || self.nodes.values().filter_map(Node::process);
        let Some(newest) = processes().max_by_key(|process| process.kv.applied) else {
            return false;
        };
        let process = |id: u64| self.nodes.get(&id).and_then(Node::process);
        let counts = |member: u64| process(member).is_some_and(|member| member.is_member(id));
        members(&newest.conf_state).any(counts)
    }

    fn is_lost(&self, id: u64) -> bool {
        matches!(self.nodes.get(&id).map(|node| &node.life), Some(Life::Lost))
    }

    /// The members, if all of them applied the last write.
    fn is_healed(&self) -> Option<Vec<u64>> {
        self.last_write?;
        let index = self.oracle.told();
        let leader = self.nodes.get(&self.leader()?)?.process()?;
        let conf = &leader.conf_state;
        let process = |id: &u64| self.nodes.get(id).and_then(|node| node.process());
        let done = |id: &u64| process(id).is_some_and(|process| process.kv.applied >= index);
        let members: Vec<u64> = members(conf).collect();
        (conf.voters_outgoing.is_empty() && members.iter().all(done)).then_some(members)
    }

    fn compare(&mut self, members: &[u64]) {
        for id in members {
            let Some(kv) = self.process(*id).map(|process| process.kv.clone()) else { continue };
            self.oracle.ended(*id, &kv);
        }
    }

    /// A cluster that does not get on must have a reason.
    fn judge_stuck(&mut self) {
        let processes = || self.nodes.iter().filter_map(|(id, node)| Some((*id, node.process()?)));
        let majority_lost = processes().any(|(_, process)| {
            let conf = &process.conf_state;
            [&conf.voters, &conf.voters_outgoing].iter().any(|voters| {
                let sound = voters.iter().filter(|id| !self.is_lost(**id)).count();
                !voters.is_empty() && sound <= voters.len() / 2
            })
        });
        // A change is in force once it is applied. Who applied its own removal, as a leader, and
        // could tell nobody has a log that beats the others', who need its vote and cannot give
        // it theirs. Upstream has the same gap.
        let outsider =
            processes().any(|(id, process)| !process.is_member(id) && self.is_counted_on(id));
        if majority_lost || outsider {
            return self.strand();
        }
        let mut text = format!("no write in {HEALING_MAX} ms, or not everywhere:");
        for (id, process) in processes() {
            let status = process.raw.basic_status();
            text += &format!(
                " {id} {:?} applied {} last {} {:?};",
                status,
                process.kv.applied,
                process.raw.last_index(),
                process.conf_state
            );
        }
        self.violated("progress without faults", text);
    }
}

fn members(conf: &ConfState) -> impl Iterator<Item = u64> + '_ {
    conf.voters.iter().chain(&conf.voters_outgoing).chain(&conf.learners).copied()
}
