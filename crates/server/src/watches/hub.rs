//! Who watches what: a plain stage that is told of changes, and tells the streams.
//!
//! A watcher is *synced* if it has been told of everything up to the present revision; then new
//! changes are matched against it as they come. One that begins in the past, or whose stream took
//! no more for a while, is *behind*, and is told from the index and the files, a part at a time,
//! in turn with the others. So what a slow client costs is its outbox and a number.
//!
//! Invariants:
//! - a watcher is told of each change that matches, from its start on, once, in order;
//! - all changes of a transaction that match are told together;
//! - what is said on a stream is said in this order: that a watcher was made, its events, that it
//!   is gone;
//! - a watcher whose next revision was compacted is told so, and is told nothing more.
//!
//! Source: etcd server/storage/mvcc/watchable_store.go, server/etcdserver/api/v3rpc/watch.go.

use super::item::{WatchEvent, WatchEvents, WatchItem, WatchOptions, WatchOutbox};
use crate::planted::{self, Bug};
use bytes::Bytes;
use mvcc::{Changes, KeyRange, Past, Read as _, View};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

/// Answers that wait for room on a stream, at most; a client that asks on and never reads is cut
/// off.
const WAITING_MAX: usize = 1024;

/// Changes told at once to a watcher that is behind, about.
const CATCH_UP_CHANGES: usize = 1000;

/// Bytes told at once to a watcher that is behind, about: a transaction is not cut.
const CATCH_UP_BYTES: u64 = 1 << 20;

/// What a stream asks.
#[derive(Debug)]
pub(crate) enum Command {
    Create(WatchOptions),
    Cancel(i64),
    Progress,
}

type Place = (u64, i64);

/// The stage.
pub(crate) struct Hub<O> {
    streams: BTreeMap<u64, Stream<O>>,
    /// Synced watchers of one key. Looked up and never listed.
    keys: HashMap<Bytes, BTreeSet<Place>>,
    /// Synced watchers of ranges, by range.
    ranges: BTreeMap<(Bytes, Bytes), BTreeSet<Place>>,
    /// Watchers behind, in turn.
    behind: VecDeque<Place>,
    /// Watchers of all streams.
    watchers: usize,
    revision: i64,
    compacted: i64,
}

struct Stream<O> {
    outbox: O,
    /// What waits for room; before it is said nothing else is.
    waiting: VecDeque<WatchItem>,
    watchers: BTreeMap<i64, Watcher>,
    next_id: i64,
}

struct Watcher {
    options: WatchOptions,
    /// The first revision it was not told of.
    next: i64,
    synced: bool,
    /// Told of something since it was last told of progress.
    told: bool,
}

impl<O: WatchOutbox> Hub<O> {
    pub(crate) fn new(revision: i64, compacted: i64) -> Self {
        Self {
            streams: BTreeMap::new(),
            keys: HashMap::new(),
            ranges: BTreeMap::new(),
            behind: VecDeque::new(),
            watchers: 0,
            revision,
            compacted,
        }
    }

    pub(crate) fn open(&mut self, id: u64, outbox: O) {
        let stream =
            Stream { outbox, waiting: VecDeque::new(), watchers: BTreeMap::new(), next_id: 0 };
        self.streams.insert(id, stream);
    }

    pub(crate) fn close(&mut self, id: u64) {
        let Some(stream) = self.streams.remove(&id) else { return };
        self.watchers -= stream.watchers.len();
        for (watch_id, watcher) in &stream.watchers {
            self.forget((id, *watch_id), &watcher.options);
        }
        self.behind.retain(|place| place.0 != id);
    }

    /// How many streams and watchers there are, and how many watchers are behind.
    pub(crate) fn counts(&self) -> [usize; 3] {
        [self.streams.len(), self.watchers, self.behind.len()]
    }

    /// Whether some watcher is behind.
    pub(crate) fn has_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    pub(crate) fn command(&mut self, id: u64, command: Command) {
        match command {
            Command::Create(options) => self.create(id, options),
            Command::Cancel(watch_id) => {
                let Some(stream) = self.streams.get_mut(&id) else { return };
                // Compat: one that is not there is not answered.
                let Some(watcher) = stream.watchers.remove(&watch_id) else { return };
                self.watchers -= 1;
                let revision = self.revision;
                stream.say(WatchItem::Canceled { watch_id, revision, compact_revision: 0 });
                self.forget((id, watch_id), &watcher.options);
                self.behind.retain(|place| *place != (id, watch_id));
            }
            Command::Progress => self.progress_of_all(id),
        }
        if self.streams.get(&id).is_some_and(|stream| stream.waiting.len() > WAITING_MAX) {
            self.close(id);
        }
    }

    fn create(&mut self, id: u64, mut options: WatchOptions) {
        let revision = self.revision;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        if options.key.is_empty() {
            options.key = Bytes::from_static(&[0]);
        }
        let end = &options.range_end;
        let empty = !end.is_empty() && end[..] != [0] && options.key >= *end;
        let refused = if options.start_revision < 0 {
            Some("etcdserver: mvcc: required revision has been compacted")
        } else if empty {
            Some("mvcc: watcher range is empty")
        } else if options.watch_id != 0 && stream.watchers.contains_key(&options.watch_id) {
            Some("mvcc: duplicate watch ID provided on the WatchStream")
        } else {
            None
        };
        if let Some(reason) = refused {
            return stream.say(WatchItem::Refused { revision, reason });
        }
        if options.watch_id == 0 {
            while stream.watchers.contains_key(&stream.next_id) {
                stream.next_id += 1;
            }
            options.watch_id = stream.next_id;
            stream.next_id += 1;
        }
        let watch_id = options.watch_id;
        let start = options.start_revision;
        let next = if start == 0 { revision + 1 } else { start };
        let synced = next > revision;
        stream.say(WatchItem::Created { watch_id, revision });
        let watcher = Watcher { options: options.clone(), next, synced, told: false };
        stream.watchers.insert(watch_id, watcher);
        self.watchers += 1;
        if synced {
            self.remember((id, watch_id), &options);
        } else {
            self.behind.push_back((id, watch_id));
        }
    }

    fn remember(&mut self, place: Place, options: &WatchOptions) {
        if options.range_end.is_empty() {
            self.keys.entry(options.key.clone()).or_default().insert(place);
        } else {
            let range = (options.key.clone(), options.range_end.clone());
            self.ranges.entry(range).or_default().insert(place);
        }
    }

    fn forget(&mut self, place: Place, options: &WatchOptions) {
        if options.range_end.is_empty() {
            if let Some(places) = self.keys.get_mut(&options.key) {
                places.remove(&place);
                if places.is_empty() {
                    self.keys.remove(&options.key);
                }
            }
        } else {
            let range = (options.key.clone(), options.range_end.clone());
            if let Some(places) = self.ranges.get_mut(&range) {
                places.remove(&place);
                if places.is_empty() {
                    self.ranges.remove(&range);
                }
            }
        }
    }

    /// A transaction changed something. `view` is of its revision or later.
    pub(crate) fn changed(&mut self, changes: &Changes, view: &View) {
        self.revision = changes.revision;
        let mut matches: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
        for (at, change) in changes.list.iter().enumerate() {
            let one = self.keys.get(&change.key).into_iter().flatten();
            let ranges = self.ranges.iter().filter(|((from, end), _)| {
                *from <= change.key && (end[..] == [0] || change.key < *end)
            });
            for place in one.chain(ranges.flat_map(|(_, places)| places)) {
                matches.entry(*place).or_default().push(at);
            }
        }
        // What the last one was told: who asked for the same is told the same.
        let mut told: Option<(Vec<usize>, Wants, Arc<WatchEvents>)> = None;
        for ((id, watch_id), at) in matches {
            let Some(stream) = self.streams.get_mut(&id) else { continue };
            let Some(watcher) = stream.watchers.get_mut(&watch_id) else { continue };
            if changes.revision < watcher.next {
                continue;
            }
            let wants = watcher.options.wants();
            let same = told.as_ref().filter(|(its, of, _)| (its, *of) == (&at, wants));
            let events = match same {
                Some((_, _, events)) => Arc::clone(events),
                None => {
                    let matching = at.iter().map(|at| &changes.list[*at]);
                    let list = matching.filter(|change| wants.takes(change.tombstone));
                    let list = list.map(|change| WatchEvent {
                        tombstone: change.tombstone,
                        record: change.record.clone(),
                        previous: wants.previous(change.previous, view),
                    });
                    let events = WatchEvents::new(list.collect());
                    told = Some((at, wants, Arc::clone(&events)));
                    events
                }
            };
            if events.list().is_empty() {
                continue;
            }
            let (revision, fragment) = (changes.revision, watcher.options.fragment);
            let item = WatchItem::Events { watch_id, revision, events, fragment };
            if stream.waiting.is_empty() && stream.outbox.try_send(item).is_ok() {
                watcher.told = true;
                watcher.next = revision + 1;
            } else {
                watcher.synced = false;
                watcher.next = revision;
                let options = watcher.options.clone();
                self.forget((id, watch_id), &options);
                self.behind.push_back((id, watch_id));
            }
        }
    }

    /// Another store took the place of all that was: what happened in between is in it, or was
    /// compacted, and is told as to those who were behind.
    pub(crate) fn replaced(&mut self, revision: i64, compacted: i64) {
        let first_missed = self.revision + 1;
        (self.revision, self.compacted) = (revision, compacted);
        let mut missing = Vec::new();
        for (id, stream) in &mut self.streams {
            for (watch_id, watcher) in &mut stream.watchers {
                let told = !planted::is(Bug::ReplacedStoreNotTold);
                if told && watcher.synced && watcher.next <= revision {
                    watcher.synced = false;
                    watcher.next = watcher.next.max(first_missed);
                    missing.push(((*id, *watch_id), watcher.options.clone()));
                }
            }
        }
        for (place, options) in missing {
            self.forget(place, &options);
            self.behind.push_back(place);
        }
    }

    /// Revisions before this one can be read no more.
    pub(crate) fn compacted(&mut self, revision: i64) {
        self.compacted = self.compacted.max(revision);
    }

    /// Says what waits for room, and tells one watcher that is behind some of what it missed.
    /// Whether it could do anything.
    pub(crate) fn catch_up(&mut self, view: &View) -> bool {
        for _ in 0..self.behind.len() {
            let Some(place) = self.behind.pop_front() else { return false };
            if self.catch_up_one(place, view) {
                return true;
            }
        }
        false
    }

    /// Says what waits for room.
    pub(crate) fn flush(&mut self) {
        for stream in self.streams.values_mut() {
            stream.flush();
        }
    }

    fn catch_up_one(&mut self, place: Place, view: &View) -> bool {
        let (id, watch_id) = place;
        let Some(stream) = self.streams.get_mut(&id) else { return true };
        // Looking for what it missed costs more than anything else here: not for nothing.
        if !stream.flush() || !stream.outbox.has_room() {
            self.behind.push_back(place);
            return false;
        }
        let Some(watcher) = stream.watchers.get_mut(&watch_id) else { return true };
        let compacted = self.compacted.max(view.compact_revision());
        let options = &watcher.options;
        let range = KeyRange::new(&options.key, &options.range_end);
        // What was published since is told when it is handed over.
        let past = if watcher.next < compacted {
            Err(mvcc::Error::Compacted)
        } else {
            view.history(range, watcher.next, self.revision, CATCH_UP_CHANGES)
        };
        let told = past.and_then(|mut past| {
            cut(&mut past, CATCH_UP_BYTES);
            let wants = options.wants();
            let wanted: Vec<_> =
                past.changes.into_iter().filter(|its| wants.takes(its.tombstone)).collect();
            let locations: Vec<_> = wanted.iter().map(|change| change.location).collect();
            let records = view.gather(&locations)?;
            let events = wanted.iter().zip(records).map(|(change, record)| WatchEvent {
                tombstone: change.tombstone,
                record: if change.tombstone {
                    deletion(&change.key, change.revision.main)
                } else {
                    record
                },
                previous: wants.previous(change.previous, view),
            });
            Ok((events.collect::<Vec<_>>(), past.next))
        });
        let (events, next) = match told {
            Ok(told) => told,
            Err(error) => {
                if !matches!(error, mvcc::Error::Compacted) {
                    // A record that is damaged cannot be told, and neither what comes after it.
                    tracing::error!(%error, watch_id, "a watch ends");
                }
                // Compat: its id stays taken until the client cancels it too, and is told again;
                // until then the stream as a whole makes no progress.
                let compact_revision = compacted.max(1);
                stream.say(WatchItem::Canceled { watch_id, revision: 0, compact_revision });
                return true;
            }
        };
        if !events.is_empty() {
            let (revision, fragment) = (self.revision, watcher.options.fragment);
            let events = WatchEvents::new(events);
            let item = WatchItem::Events { watch_id, revision, events, fragment };
            if stream.outbox.try_send(item).is_err() {
                self.behind.push_back(place);
                return false;
            }
            watcher.told = true;
        }
        if let Some(next) = next {
            watcher.next = next;
            self.behind.push_back(place);
        } else {
            let skips = planted::is(Bug::EventsSkippedAtHandOver);
            let told = if skips { view.revision() } else { self.revision };
            watcher.next = told + 1;
            watcher.synced = true;
            let options = watcher.options.clone();
            self.remember(place, &options);
        }
        true
    }

    /// Compat: told once for the stream, as watcher -1, and only if every watcher of it is
    /// synced and past its start.
    fn progress_of_all(&mut self, id: u64) {
        let revision = self.revision;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let all = stream.watchers.values().all(|watcher| watcher.has_progress(revision));
        if all && !stream.watchers.is_empty() && stream.waiting.is_empty() {
            // One that finds no room is dropped, as in etcd.
            let _ = stream.outbox.try_send(WatchItem::Progress { watch_id: -1, revision });
        }
    }

    /// Time to tell those who asked for it that nothing happened.
    pub(crate) fn progress(&mut self, id: u64) {
        let revision = self.revision;
        let Some(stream) = self.streams.get_mut(&id) else { return };
        for (watch_id, watcher) in &mut stream.watchers {
            if !watcher.options.progress_notify {
                continue;
            }
            let told = std::mem::take(&mut watcher.told);
            if !told && watcher.has_progress(revision) && stream.waiting.is_empty() {
                let item = WatchItem::Progress { watch_id: *watch_id, revision };
                // One that finds no room is dropped, as in etcd.
                let _ = stream.outbox.try_send(item);
            }
        }
    }
}

impl<O: WatchOutbox> Stream<O> {
    fn say(&mut self, item: WatchItem) {
        if self.flush() {
            if let Err(item) = self.outbox.try_send(item) {
                self.waiting.push_back(item);
            }
        } else {
            self.waiting.push_back(item);
        }
    }

    /// Whether nothing waits any more.
    fn flush(&mut self) -> bool {
        while let Some(item) = self.waiting.pop_front() {
            if let Err(item) = self.outbox.try_send(item) {
                self.waiting.push_front(item);
                return false;
            }
        }
        true
    }
}

impl Watcher {
    fn has_progress(&self, revision: i64) -> bool {
        let synced = self.synced || planted::is(Bug::ProgressWhileBehind);
        synced && revision >= self.options.start_revision
    }
}

/// What a watcher is told of the changes that match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wants {
    puts: bool,
    deletes: bool,
    prev_kv: bool,
}

impl WatchOptions {
    fn wants(&self) -> Wants {
        Wants { puts: !self.no_put, deletes: !self.no_delete, prev_kv: self.prev_kv }
    }
}

impl Wants {
    fn takes(self, tombstone: bool) -> bool {
        if tombstone { self.deletes } else { self.puts }
    }

    fn previous(self, location: Option<backend::Location>, view: &View) -> Option<Bytes> {
        let location = location.filter(|_| self.prev_kv)?;
        // Compat: what was compacted meanwhile is left out.
        view.gather(&[location]).ok()?.pop()
    }
}

/// Leaves the first transactions with about so many bytes, and at least one.
fn cut(past: &mut Past, bytes_max: u64) {
    let (mut bytes, mut last) = (0, None);
    let keep = past.changes.iter().position(|change| {
        let main = change.revision.main;
        if bytes > bytes_max && last.is_some_and(|last| last != main) {
            return true;
        }
        last = Some(main);
        let previous = change.previous.map_or(0, |location| u64::from(location.len));
        bytes += u64::from(change.location.len) + previous;
        false
    });
    if let Some(keep) = keep {
        past.next = Some(past.changes[keep].revision.main);
        past.changes.truncate(keep);
    }
}

/// What watchers are sent of a deletion: key and revision.
fn deletion(key: &Bytes, mod_revision: i64) -> Bytes {
    use prost::Message as _;
    let kv = api::mvccpb::KeyValue { key: key.clone(), mod_revision, ..Default::default() };
    kv.encode_to_vec().into()
}
