//! The links between nodes: messages take time, are lost, doubled and overtaken; links are cut,
//! also one way only.

use crate::plan::Millis;
use crate::rng::Rng;
use std::collections::BTreeSet;

/// What happens to messages, of a thousand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) late: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    /// Links that carry nothing, as (from, to).
    cut: BTreeSet<(u64, u64)>,
    /// Whether faults are over.
    calm: bool,
}

impl Network {
    /// When copies of a message arrive, as delays; none if it is lost. What is under way when a
    /// link is cut still arrives.
    pub(crate) fn delays(&self, link: (u64, u64), weather: &Weather, rng: &mut Rng) -> Vec<Millis> {
        if self.calm {
            return vec![1];
        }
        if self.cut.contains(&link) || rng.per_mille(weather.lost) {
            return Vec::new();
        }
        let copies = if rng.per_mille(weather.doubled) { 2 } else { 1 };
        let delay = |_| match rng.below(1000) {
            odds if odds >= weather.late => rng.between(1, 6),
            odds if odds % 2 == 0 => rng.between(10, 100),
            _ => rng.between(100, 700),
        };
        (0..copies).map(delay).collect()
    }

    /// Two groups that hear nothing of each other.
    pub(crate) fn partition(&mut self, nodes: &[u64], rng: &mut Rng) {
        let near: BTreeSet<u64> = nodes.iter().copied().filter(|_| rng.coin()).collect();
        for from in nodes {
            for to in nodes {
                if near.contains(from) != near.contains(to) {
                    self.cut.insert((*from, *to));
                }
            }
        }
    }

    /// A node, perhaps with another, of which the rest hears nothing; it may hear the rest.
    pub(crate) fn isolate(&mut self, node: u64, nodes: &[u64], rng: &mut Rng) {
        let (friend, deaf) = (rng.pick(nodes), rng.coin());
        let inside = |id: u64| id == node || id == friend;
        for from in nodes {
            for to in nodes {
                if inside(*from) && !inside(*to) {
                    self.cut.insert((*from, *to));
                    if deaf {
                        self.cut.insert((*to, *from));
                    }
                }
            }
        }
    }

    /// A node that neither hears nor is heard.
    pub(crate) fn cut_off(&mut self, node: u64, nodes: &[u64]) {
        for other in nodes {
            self.cut.extend([(*other, node), (node, *other)]);
        }
    }

    /// A node that cannot send, or cannot hear.
    pub(crate) fn one_way(&mut self, node: u64, nodes: &[u64], rng: &mut Rng) {
        let deaf = rng.coin();
        for other in nodes {
            self.cut.insert(if deaf { (*other, node) } else { (node, *other) });
        }
    }

    pub(crate) fn reconnect(&mut self) {
        self.cut.clear();
    }

    /// Ends all faults.
    pub(crate) fn calm(&mut self) {
        self.reconnect();
        self.calm = true;
    }
}
