//! What raft wants is carried out: by one thread (store, send, apply, advance), or by storage
//! threads whose work takes its time.

use crate::coverage::Point;
use crate::durable::Work;
use crate::faults::End;
use crate::invariants::reads::Answer;
use crate::kv::Kv;
use crate::node::{Life, Node, work_of};
use crate::plan::{Millis, Mode, TICK};
use crate::seeds::Simulated;
use crate::world::{Event, World};
use prost::Message as _;
use raft::{Error, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, Ready, SnapshotStatus};
use raftpb::{
    ConfChange, ConfChangeV2, Entry, EntryType, MembershipChange, Message, MessageType, Snapshot,
};

/// How long a node that was removed goes on, so that it can tell others.
pub(crate) const FAREWELL: Millis = 30 * TICK;

impl World {
    /// Does what node `id` wants, as far as it needs no time.
    pub(crate) fn drive(&mut self, id: u64) {
        self.observe(id);
        if self.plan.mode == Mode::Plain {
            self.begin_ready(id);
        } else {
            self.hand_out(id);
        }
    }

    fn hand_out(&mut self, id: u64) {
        while let Some(process) = self.process(id) {
            if !process.raw.has_ready() {
                break;
            }
            let mut ready = process.raw.ready();
            self.look_at(id, &ready);
            for message in std::mem::take(&mut ready.messages) {
                let Some(process) = self.process(id) else { return };
                match message.to() {
                    LOCAL_APPEND_THREAD => process.queue.push(work_of(message)),
                    LOCAL_APPLY_THREAD => process.apply_queue.push_back(message),
                    _ => self.send(id, message),
                }
            }
        }
        self.answer_reads(id);
        self.begin_writing(id);
        self.begin_applying(id);
    }

    fn look_at(&mut self, id: u64, ready: &Ready) {
        let Some(process) = self.process(id) else { return };
        process.stepped_snapshot = false;
        process.snapshots_under_way += u64::from(ready.snapshot.is_some());
        for read in &ready.read_states {
            let word = |at: usize| read.request_ctx.get(at..at + 8)?.try_into().ok();
            if let (Some(client), Some(seq)) = (word(0), word(8)) {
                let read = (read.index, u64::from_le_bytes(client), u64::from_le_bytes(seq));
                process.reads.push(read);
            }
        }
        if let Some(first) = ready.entries.first() {
            let before = process.raw.term(first.index() - 1);
            self.oracle.holds(id, before, &ready.entries);
        }
    }

    fn begin_writing(&mut self, id: u64) {
        let Some(process) = self.process(id) else { return };
        if !process.writing.is_empty() || process.queue.is_empty() {
            return;
        }
        process.writing = std::mem::take(&mut process.queue);
        let grouped = process.writing.len() > 1;
        if grouped {
            self.coverage.hit(Point::GroupCommits);
        }
        let delay = self.disk_delay(id);
        let life = self.life_of(id);
        self.after(delay, Event::DiskDone(id, life));
    }

    fn disk_delay(&mut self, id: u64) -> Millis {
        let delay = if self.healing { 1 } else { self.rng.between(0, self.plan.sync_millis_max) };
        let stalled = self.nodes.get(&id).map_or(0, |node| node.stalled_until);
        delay.max(stalled.saturating_sub(self.now))
    }

    /// The disk did what it was at. Returns it, or nothing if the process had to end.
    fn write(&mut self, id: u64) -> Option<Vec<Work>> {
        let process = self.process(id)?;
        match process.disk.step(&mut process.writing, process.raw.storage_mut()) {
            Ok(done) => {
                let works = std::mem::take(&mut process.writing);
                self.coverage.add(Point::WalCuts, done.cuts);
                self.coverage.add(Point::Purges, done.purged);
                for work in &works {
                    self.written(id, work);
                }
                Some(works)
            }
            Err(error) if error.is_failure() => {
                self.trace.note(self.now, format_args!("{id} ends: {error}"));
                self.crash(id, End::Failure);
                None
            }
            Err(error) => {
                self.violated("the log takes what raft asks for", format!("{id}: {error}"));
                None
            }
        }
    }

    fn written(&mut self, id: u64, work: &Work) {
        if self.oracle.written(id, work) {
            self.coverage.hit(Point::Truncations);
        }
        let keep = self.plan.catch_up;
        let Some(snapshot) = &work.snapshot else { return };
        let Some(process) = self.process(id) else { return };
        let index = snapshot.index();
        if work.own {
            // What is compacted already stays so.
            let _ = process.raw.storage_mut().compact(index.saturating_sub(keep));
            self.coverage.hit(Point::SnapshotsMade);
            return;
        }
        process.snapshots_under_way -= 1;
        let metadata = snapshot.metadata.clone().unwrap_or_default();
        process.conf_state = metadata.conf_state.unwrap_or_default();
        process.snapshot_index = index;
        match Kv::decode(index, snapshot.data()) {
            Some(kv) => process.kv = kv,
            None => return self.violated("snapshots hold a state", format!("{id} at {index}")),
        }
        self.replace_store(id, index);
        let Some(process) = self.process(id) else { return };
        let kv = process.kv.clone();
        self.oracle.restored(id, &kv);
        self.coverage.hit(Point::SnapshotsInstalled);
        self.trace.note(self.now, format_args!("{id} installed the snapshot at {index}"));
    }

    /// A snapshot took the place of what was applied; the store begins anew behind it.
    fn replace_store(&mut self, id: u64, index: u64) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let fs = node.store_fs.clone();
        let Life::Up(process) = &mut node.life else { return };
        match process.store.replace_with(&fs, index) {
            Ok(()) => {
                self.oracle.store_synced(id, 0);
                self.coverage.hit(Point::StoresReplaced);
            }
            Err(error) => self.violated("the store can be replaced", format!("{id}: {error}")),
        }
    }

    pub(crate) fn disk_done(&mut self, id: u64) {
        let Some(works) = self.write(id) else { return };
        for response in works.into_iter().flat_map(|work| work.responses) {
            if response.to() == id {
                self.step_raft(id, response);
            } else {
                self.send(id, response);
            }
        }
        self.drive(id);
    }

    fn begin_applying(&mut self, id: u64) {
        let delay = if self.healing { 0 } else { self.rng.below(4) };
        let life = self.life_of(id);
        let Some(process) = self.process(id) else { return };
        if !process.applying && !process.apply_queue.is_empty() {
            process.applying = true;
            self.after(delay, Event::ApplyDone(id, life));
        }
    }

    pub(crate) fn apply_done(&mut self, id: u64) {
        let Some(process) = self.process(id) else { return };
        process.applying = false;
        let Some(message) = process.apply_queue.pop_front() else { return };
        self.apply(id, &message.entries);
        if let Some(own) = self.own_snapshot(id)
            && let Some(process) = self.process(id)
        {
            process.queue.push(own);
        }
        for response in message.responses {
            self.step_raft(id, response);
        }
        self.drive(id);
    }

    /// The one thread takes up what raft wants.
    fn begin_ready(&mut self, id: u64) {
        let Some(process) = self.process(id) else { return };
        if process.pending.is_some() || !process.raw.has_ready() {
            return;
        }
        let ready = process.raw.ready();
        self.look_at(id, &ready);
        let work = Work {
            snapshot: ready.snapshot.clone(),
            own: false,
            entries: ready.entries.clone(),
            hard_state: ready.hard_state.unwrap_or_default(),
            responses: Vec::new(),
        };
        let idle = work.snapshot.is_none() && work.entries.is_empty() && work.hard_state.is_empty();
        let delay = if idle { 0 } else { self.disk_delay(id) };
        let life = self.life_of(id);
        let Some(process) = self.process(id) else { return };
        process.pending = Some(ready);
        process.writing = vec![work];
        self.after(delay, Event::PlainDone(id, life));
    }

    pub(crate) fn plain_done(&mut self, id: u64) {
        let Some(ready) = self.process(id).and_then(|process| process.pending.take()) else {
            return;
        };
        if self.write(id).is_none() {
            return;
        }
        for message in ready.messages {
            self.send(id, message);
        }
        self.apply(id, &ready.committed_entries);
        self.answer_reads(id);
        if let Some(own) = self.own_snapshot(id) {
            let Some(process) = self.process(id) else { return };
            process.writing = vec![own];
            if self.write(id).is_none() {
                return;
            }
        }
        let Some(process) = self.process(id) else { return };
        process.raw.advance();
        let inbox = std::mem::take(&mut process.inbox);
        self.observe(id);
        for message in inbox {
            self.step_raft(id, message);
        }
        self.drive(id);
    }

    fn apply(&mut self, id: u64, entries: &[Entry]) {
        self.apply_entries(id, entries);
        if let Some(process) = self.process(id) {
            let applied = process.kv.applied;
            process.store.apply(entries.iter().filter(|entry| entry.index() <= applied));
        }
    }

    fn apply_entries(&mut self, id: u64, entries: &[Entry]) {
        for entry in entries {
            let Some(process) = self.process(id) else { return };
            let (index, applied) = (entry.index(), process.kv.applied);
            // Work that was handed out before a snapshot came is not done after it.
            if index <= applied {
                continue;
            }
            if index != applied + 1 {
                return self.violated("applied in order", format!("{id}: {index} after {applied}"));
            }
            let write = process.kv.apply(entry);
            let waiting = write.is_some_and(|w| process.writes.remove(&(w.client, w.seq)));
            if let Some(process) = self.nodes.get(&id).and_then(Node::process) {
                let commit = process.raw.basic_status().hard_state.commit();
                self.oracle.applied(id, entry, &process.kv, write.as_ref(), commit);
            }
            if self.oracle.is_ahead_of_disk(id, index) {
                self.applied_ahead(id, index);
            }
            if let Some(write) = write.filter(|_| waiting) {
                self.write_done(entry, &write);
            }
            if entry.r#type() != EntryType::EntryNormal {
                self.apply_change(id, entry);
            }
        }
    }

    fn applied_ahead(&mut self, id: u64, index: u64) {
        if self.plan.mode == Mode::ApplyUnstable {
            self.coverage.hit(Point::UnstableApplies);
        } else {
            self.violated("applied once durable", format!("{id} applies {index} before"));
        }
    }

    fn apply_change(&mut self, id: u64, entry: &Entry) {
        let change = match entry.r#type() {
            EntryType::EntryConfChange => ConfChange::decode(entry.data()).map(|c| c.to_v2()),
            EntryType::EntryConfChangeV2 | EntryType::EntryNormal => {
                ConfChangeV2::decode(entry.data())
            }
        };
        let life = self.life_of(id);
        let founding = entry.index() < self.plan.voters;
        let Some(process) = self.process(id) else { return };
        let restoring = process.restoring();
        let changed = change
            .map_err(|e| e.to_string())
            .and_then(|change| process.raw.apply_conf_change(&change).map_err(|e| e.to_string()));
        match changed {
            // The snapshot's configuration is in force already, and will be stored with it.
            Ok(_) if restoring => {}
            Ok(conf_state) => {
                process.conf_state = conf_state.clone();
                let leaves = !process.is_member(id);
                self.coverage.hit(Point::ConfChanges);
                self.trace.note(self.now, format_args!("{id} changed to {conf_state:?}"));
                if !founding {
                    self.oracle.changed(id, entry.index(), &conf_state);
                }
                if leaves {
                    self.after(FAREWELL, Event::Leave(id, life));
                }
                self.observe(id);
            }
            Err(error) => {
                self.violated("changes in the log can be applied", format!("{id}: {error}"))
            }
        }
    }

    /// Now and then the state stands for the log up to here.
    fn own_snapshot(&mut self, id: u64) -> Option<Work> {
        let count = self.plan.snapshot_count;
        let process = self.process(id)?;
        if process.restoring() || process.kv.applied < process.snapshot_index + count {
            return None;
        }
        let snapshot = process.snapshot()?;
        process.snapshot_index = snapshot.index();
        Some(Work { snapshot: Some(snapshot), own: true, ..Work::default() })
    }

    fn answer_reads(&mut self, id: u64) {
        let Some(process) = self.process(id) else { return };
        let applied = process.kv.applied;
        let (ready, waiting): (Vec<_>, _) = std::mem::take(&mut process.reads)
            .into_iter()
            .partition(|(index, ..)| *index <= applied);
        process.reads = waiting;
        for (_, client, seq) in ready {
            self.read_done(id, client, seq);
        }
    }

    /// Gives a message to raft.
    pub(crate) fn step_raft(&mut self, id: u64, message: Message) {
        let Some(process) = self.process(id) else { return };
        let snapshot = message.snapshot.as_ref().map_or(0, Snapshot::index);
        // A proposal may be dropped, an answer come from a member that was removed; but no node
        // sends what another takes for malformed.
        if let Err(error @ (Error::Malformed { .. } | Error::Change(_))) = process.raw.step(message)
        {
            self.violated("nodes send nothing malformed", format!("{id}: {error}"));
        }
        if let Some(process) = self.process(id) {
            // Taken, rather than ignored or found to say what the log has: then nothing is known
            // of what comes before it.
            process.stepped_snapshot |= process.seen_commit < snapshot
                && process.raw.basic_status().hard_state.commit() == snapshot
                && process.raw.term(snapshot - 1).is_none();
        }
        self.observe(id);
    }

    fn send(&mut self, id: u64, mut message: Message) {
        if message.r#type() == MessageType::MsgSnap {
            let fresh = self.plan.fresh_snapshots;
            let Some(process) = self.process(id) else { return };
            let conf =
                message.snapshot.as_ref().and_then(|s| s.metadata.as_ref()?.conf_state.clone());
            let knows = conf.unwrap_or_default();
            let to = message.to();
            // One from before its receiver joined would not be taken.
            if fresh || !(knows.voters.contains(&to) || knows.learners.contains(&to)) {
                let Some(snapshot) = process.snapshot() else { return };
                message.snapshot = Some(snapshot);
            }
        }
        self.oracle.sent(&message);
        let link = (message.from(), message.to());
        let delays = self.network.delays(link, &self.plan.weather, &mut self.rng);
        if delays.is_empty() {
            return self.lose(&message);
        }
        if delays.len() > 1 {
            self.coverage.hit(Point::Duplicated);
        }
        for delay in delays {
            self.after(delay, Event::Deliver(Box::new(message.clone())));
        }
    }

    pub(crate) fn deliver(&mut self, message: Message) {
        let (from, to) = (message.from(), message.to());
        if self.process(to).is_none() {
            return self.lose(&message);
        }
        if self.trace.is_on() {
            let line = raft::describe_message(&message);
            self.trace.note(self.now, format_args!("{line}"));
        }
        if message.r#type() == MessageType::MsgSnap {
            self.report_snapshot(from, to, SnapshotStatus::Finish);
        }
        let Some(process) = self.process(to) else { return };
        if process.pending.is_some() {
            process.inbox.push(message);
        } else {
            self.step_raft(to, message);
            self.drive(to);
        }
    }

    fn lose(&mut self, message: &Message) {
        self.coverage.hit(Point::Lost);
        let (from, to) = (message.from(), message.to());
        if message.r#type() == MessageType::MsgSnap {
            self.report_snapshot(from, to, SnapshotStatus::Failure);
        } else if self.rng.per_mille(250)
            && let Some(process) = self.process(from)
        {
            process.raw.report_unreachable(to);
        }
    }

    fn report_snapshot(&mut self, from: u64, to: u64, status: SnapshotStatus) {
        if let Some(process) = self.process(from) {
            process.raw.report_snapshot(to, status);
        }
    }

    /// A client's read is answered from the state of node `id`.
    fn read_done(&mut self, id: u64, client: u64, seq: u64) {
        let Some(key) = self.client_reads(client, seq) else { return };
        let lease = self.plan.lease_reads;
        let Some(process) = self.process(id) else { return };
        let (given, applied) = (process.kv.read(key), process.kv.applied);
        self.oracle.read_answered(&Answer { client, seq, node: id, key, given, applied, lease });
        self.coverage.hit(if lease { Point::LeaseReads } else { Point::Reads });
        self.client_done(client, seq);
    }
}
