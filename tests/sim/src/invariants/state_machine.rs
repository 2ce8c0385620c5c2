//! State machine safety (raft section 5.4.3): what one node applies at an index, every node
//! applies there, in order and once; and a node applies only what is committed.

use super::{Verdict, hold};
use crate::kv::{Kv, Version, hash_entry};
use raftpb::{ConfState, Entry};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(crate) struct StateMachine {
    /// The entry's and the state's hash; the entry at index 1 comes first.
    applied: Vec<(u64, u64)>,
    /// Each key's versions, by index.
    versions: BTreeMap<u64, BTreeMap<u64, Version>>,
    /// The configuration after each entry that changed it.
    configurations: BTreeMap<u64, ConfState>,
}

impl StateMachine {
    pub(crate) fn last(&self) -> u64 {
        self.applied.len() as u64
    }

    /// Node `id` applied `entry`, which made its state `kv`; it knows `commit` to be committed.
    pub(crate) fn applied(&mut self, id: u64, entry: &Entry, kv: &Kv, commit: u64) -> Verdict {
        let index = entry.index();
        hold!(index <= commit, "{id} applies {index}, committed is {commit}");
        let this = (hash_entry(entry), kv.hash);
        let at = usize::try_from(index - 1).expect("in memory");
        match self.applied.get(at) {
            Some(first) => hold!(*first == this, "{id} applies another entry {index}, or a past"),
            None => {
                hold!(index == self.last() + 1, "{id} applies {index} after {}", self.last());
                self.applied.push(this);
            }
        }
        Ok(())
    }

    /// The first application of a write that counts.
    pub(crate) fn wrote(&mut self, key: u64, version: Version) {
        self.versions.entry(key).or_default().entry(version.index).or_insert(version);
    }

    /// Node `id` applied a change of members.
    pub(crate) fn changed(&mut self, id: u64, index: u64, conf_state: &ConfState) -> Verdict {
        let first = self.configurations.entry(index).or_insert_with(|| conf_state.clone());
        let same = first.equivalent(conf_state).is_ok();
        hold!(same, "{id} has the members {conf_state:?} at {index}, others {first:?}");
        Ok(())
    }

    /// Node `id` took its state from elsewhere: a snapshot.
    pub(crate) fn restored(&self, id: u64, kv: &Kv) -> Verdict {
        if kv.applied == 0 {
            return Ok(());
        }
        let at = usize::try_from(kv.applied - 1).expect("in memory");
        let want = self.applied.get(at).map(|(_, state)| *state);
        let index = kv.applied;
        hold!(want == Some(kv.hash), "{id} has another state at {index} from a snapshot");
        Ok(())
    }

    /// What a read of `key` gives after the entry at `index`.
    pub(crate) fn version(&self, key: u64, index: u64) -> Version {
        let versions = self.versions.get(&key);
        let last = versions.and_then(|versions| versions.range(..=index).next_back());
        last.map(|(_, version)| *version).unwrap_or_default()
    }

    /// Whether the entry at `index` is the write `hash`.
    pub(crate) fn holds(&self, index: u64, hash: u64) -> bool {
        let at = usize::try_from(index - 1).expect("in memory");
        self.applied.get(at).is_some_and(|(entry, _)| *entry == hash)
    }
}
