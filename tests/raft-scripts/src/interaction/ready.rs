//! `process-ready`: what a node wants done is done, or handed to its storage threads.

use super::{Env, Node, indexes, text};
use prost::Message as _;
use raft::{describe_ready, is_local_target};
use raftpb::{
    ConfChange, ConfChangeV2, Entry, EntryType, HardState, MembershipChange, MessageType, Snapshot,
    SnapshotMetadata,
};
use testkit::script::Block;

impl Env {
    pub(super) fn process_readies(&mut self, block: &Block) -> Result<(), String> {
        let places = indexes(block)?;
        for place in &places {
            if places.len() > 1 {
                self.println(&format!("> {} handling Ready", place + 1));
                self.indented(|env| env.process_ready(*place))?;
            } else {
                self.process_ready(*place)?;
            }
        }
        Ok(())
    }

    pub(super) fn process_ready(&mut self, place: usize) -> Result<(), String> {
        let node = &mut self.nodes[place];
        let ready = node.raw.ready();
        let output = describe_ready(&ready);
        let plain = !node.config.async_storage_writes;
        if plain {
            store(node, ready.hard_state, &ready.entries, ready.snapshot.as_ref())?;
            apply(node, &ready.committed_entries)?;
        }
        for message in ready.messages {
            match message.r#type() {
                MessageType::MsgStorageAppend => node.append_work.push(message),
                MessageType::MsgStorageApply => node.apply_work.push(message),
                _ => {
                    assert!(!is_local_target(message.to()), "work of an unknown kind");
                    self.messages.push(message);
                }
            }
        }
        if plain {
            node.raw.advance();
        }
        self.print(&output);
        Ok(())
    }
}

/// Stores what a node wants stored.
pub(super) fn store(
    node: &mut Node,
    hard_state: Option<HardState>,
    entries: &[Entry],
    snapshot: Option<&Snapshot>,
) -> Result<(), String> {
    let memory = &mut node.raw.storage_mut().memory;
    if let Some(state) = hard_state.filter(|state| !state.is_empty()) {
        memory.set_hard_state(state);
    }
    let Some(snapshot) = snapshot.filter(|snapshot| !snapshot.is_empty()) else {
        memory.append(entries);
        return Ok(());
    };
    if !entries.is_empty() {
        return Err("can't apply snapshot and entries at the same time".to_owned());
    }
    memory.apply_snapshot(snapshot.clone()).map_err(text)
}

/// Applies entries: the state is the concatenation of all data.
pub(super) fn apply(node: &mut Node, entries: &[Entry]) -> Result<(), String> {
    for entry in entries {
        let change = match entry.r#type() {
            EntryType::EntryNormal => None,
            EntryType::EntryConfChange => {
                Some(ConfChange::decode(entry.data()).map_err(text)?.to_v2())
            }
            EntryType::EntryConfChangeV2 => Some(ConfChangeV2::decode(entry.data()).map_err(text)?),
        };
        let last = node.raw.storage().history.last().ok_or("a first snapshot is there")?;
        let mut data = last.data().to_vec();
        let mut conf_state = last.metadata.clone().unwrap_or_default().conf_state;
        match &change {
            Some(change) => {
                data.extend_from_slice(change.context());
                conf_state = Some(node.raw.apply_conf_change(change).map_err(text)?);
            }
            None => data.extend_from_slice(entry.data()),
        }
        let (index, term) = (entry.index, entry.term);
        let metadata = Some(SnapshotMetadata { conf_state, index, term });
        let snapshot = Snapshot { data: Some(data.into()), metadata };
        node.raw.storage_mut().history.push(snapshot);
    }
    Ok(())
}
