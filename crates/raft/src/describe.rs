//! Messages and states as text, in the form that etcd-io/raft prints them and its scripts expect.

use crate::ready::{ReadState, Ready, SoftState};
use crate::{LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, NONE};
use prost::Message as _;
use raftpb::{
    ConfChange, ConfChangeV2, ConfState, Entry, EntryType, HardState, Message, MessageType,
    Snapshot, changes_to_string,
};
use std::fmt::Write;

/// Term, vote unless 0, and commit index.
pub fn describe_hard_state(state: &HardState) -> String {
    let vote = if state.vote() == 0 { String::new() } else { format!(" Vote:{}", state.vote()) };
    format!("Term:{}{vote} Commit:{}", state.term(), state.commit())
}

/// Leader and part.
pub fn describe_soft_state(state: &SoftState) -> String {
    format!("Lead:{} State:{}", state.lead, state.state)
}

/// All sets of members.
pub fn describe_conf_state(state: &ConfState) -> String {
    format!(
        "Voters:{} VotersOutgoing:{} Learners:{} LearnersNext:{} AutoLeave:{}",
        list(&state.voters),
        list(&state.voters_outgoing),
        list(&state.learners),
        list(&state.learners_next),
        state.auto_leave()
    )
}

fn list(ids: &[u64]) -> String {
    let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
    format!("[{}]", ids.join(" "))
}

/// Where a snapshot stands, and its configuration.
pub fn describe_snapshot(snapshot: &Snapshot) -> String {
    let metadata = snapshot.metadata.clone().unwrap_or_default();
    let conf_state = describe_conf_state(&metadata.conf_state.unwrap_or_default());
    format!("Index:{} Term:{} ConfState:{conf_state}", snapshot.index(), snapshot.term())
}

/// One line an entry.
pub fn describe_entries(entries: &[Entry]) -> String {
    entries.iter().map(|entry| describe_entry(entry) + "\n").collect()
}

/// Term, index, type and content.
pub fn describe_entry(entry: &Entry) -> String {
    let (kind, content) = match entry.r#type() {
        EntryType::EntryNormal => {
            ("EntryNormal", format!("{:?}", String::from_utf8_lossy(entry.data())))
        }
        EntryType::EntryConfChange => (
            "EntryConfChange",
            ConfChange::decode(entry.data()).map_or_else(
                |error| error.to_string(),
                |change| changes_to_string(&raftpb::MembershipChange::to_v2(&change).changes),
            ),
        ),
        EntryType::EntryConfChangeV2 => (
            "EntryConfChangeV2",
            ConfChangeV2::decode(entry.data()).map_or_else(
                |error| error.to_string(),
                |change| changes_to_string(&change.changes),
            ),
        ),
    };
    let space = if content.is_empty() { "" } else { " " };
    format!("{}/{} {kind}{space}{content}", entry.term(), entry.index())
}

/// Sender, receiver, type and all that is set.
pub fn describe_message(message: &Message) -> String {
    let mut text = String::new();
    write_message(&mut text, "", message).expect("a string takes any text");
    text
}

fn write_message(out: &mut String, indent: &str, message: &Message) -> std::fmt::Result {
    let (from, to) = (describe_target(message.from()), describe_target(message.to()));
    let kind = kind_name(message.r#type());
    let (term, log_term, index) = (message.term(), message.log_term(), message.index());
    write!(out, "{indent}{from}->{to} {kind} Term:{term} Log:{log_term}/{index}")?;
    if message.reject() {
        write!(out, " Rejected (Hint: {})", message.reject_hint())?;
    }
    if message.commit() != 0 {
        write!(out, " Commit:{}", message.commit())?;
    }
    if message.vote() != 0 {
        write!(out, " Vote:{}", message.vote())?;
    }
    match &message.entries[..] {
        [] => {}
        [entry] => write!(out, " Entries:[{}]", describe_entry(entry))?,
        entries => {
            out.push_str(" Entries:[");
            for entry in entries {
                write!(out, "\n{indent}  {}", describe_entry(entry))?;
            }
            write!(out, "\n{indent}]")?;
        }
    }
    if let Some(snapshot) = message.snapshot.as_ref().filter(|snapshot| !snapshot.is_empty()) {
        write!(out, "\n{indent}  Snapshot: {}", describe_snapshot(snapshot))?;
    }
    if !message.responses.is_empty() {
        out.push_str(" Responses:[");
        for response in &message.responses {
            out.push('\n');
            write_message(out, &format!("{indent}  "), response)?;
        }
        write!(out, "\n{indent}]")?;
    }
    Ok(())
}

fn kind_name(kind: MessageType) -> &'static str {
    kind.as_str_name()
}

/// A node's id in hexadecimal, or the name of a storage thread.
pub fn describe_target(id: u64) -> String {
    match id {
        NONE => "None".to_owned(),
        LOCAL_APPEND_THREAD => "AppendThread".to_owned(),
        LOCAL_APPLY_THREAD => "ApplyThread".to_owned(),
        id => format!("{id:x}"),
    }
}

/// Index and bytes of a read: `{5 [114 49]}`, as Go prints the struct.
fn describe_read_state(state: &ReadState) -> String {
    let bytes: Vec<String> = state.request_ctx.iter().map(u8::to_string).collect();
    format!("{{{} [{}]}}", state.index, bytes.join(" "))
}

/// All that a node wants done.
pub fn describe_ready(ready: &Ready) -> String {
    let mut text = String::new();
    if let Some(state) = &ready.soft_state {
        text += &(describe_soft_state(state) + "\n");
    }
    if let Some(state) = ready.hard_state.as_ref().filter(|state| !state.is_empty()) {
        text += &format!("HardState {}\n", describe_hard_state(state));
    }
    if !ready.read_states.is_empty() {
        let states = ready.read_states.iter().map(describe_read_state).collect::<Vec<_>>();
        text += &format!("ReadStates [{}]\n", states.join(" "));
    }
    if !ready.entries.is_empty() {
        text += &format!("Entries:\n{}", describe_entries(&ready.entries));
    }
    if let Some(snapshot) = &ready.snapshot {
        text += &format!("Snapshot {}\n", describe_snapshot(snapshot));
    }
    if !ready.committed_entries.is_empty() {
        text += &format!("CommittedEntries:\n{}", describe_entries(&ready.committed_entries));
    }
    if !ready.messages.is_empty() {
        text += "Messages:\n";
        for message in &ready.messages {
            text += &(describe_message(message) + "\n");
        }
    }
    if text.is_empty() {
        return "<empty Ready>".to_owned();
    }
    format!("Ready MustSync={}:\n{text}", ready.must_sync)
}
