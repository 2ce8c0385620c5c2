//! A leaf: a few dozen keys with their histories, packed into three allocations.
//!
//! Invariant: each key has one or two revisions here, the newest, and only then older ones.

use super::history::{self, History, Older};
use super::item::Item;
use super::keys::{Keys, make_room};
use std::sync::Arc;

/// Keys of a full leaf.
pub(crate) const LEAF_MAX: usize = 48;

/// Bytes of keys after which a leaf is full too: a leaf is copied as a whole.
const BYTES_MAX: usize = 16 << 10;

/// Revisions of a key that lie in the leaf at most.
const RECENT_MAX: usize = 2;

#[derive(Clone, Debug, Default)]
pub(crate) struct Leaf {
    keys: Keys,
    items: Vec<Item>,
    slots: Vec<Slot>,
}

#[derive(Clone, Debug)]
struct Slot {
    /// Where the key's items end.
    end: u32,
    older: Option<Arc<Older>>,
}

/// By how much a subtree changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Delta {
    /// Keys that became live, less those that died.
    pub live: i64,
    /// Keys that came, less those that went.
    pub keys: i64,
}

impl Leaf {
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn key(&self, place: usize) -> &[u8] {
        self.keys.get(place)
    }

    pub(crate) fn find(&self, key: &[u8]) -> Result<usize, usize> {
        self.keys.find(key)
    }

    /// How many keys are less than `key`.
    pub(crate) fn below(&self, key: &[u8]) -> usize {
        self.keys.below(key)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() > LEAF_MAX || (self.keys.bytes() > BYTES_MAX && self.len() > 1)
    }

    /// Whether it may be joined with a neighbour.
    pub(crate) fn is_sparse(&self) -> bool {
        self.len() < LEAF_MAX / 4
    }

    pub(crate) fn fits(&self, other: &Self) -> bool {
        let bytes = self.keys.bytes() + other.keys.bytes();
        self.len() + other.len() <= LEAF_MAX * 3 / 4 && bytes <= BYTES_MAX
    }

    fn start(&self, place: usize) -> usize {
        if place == 0 { 0 } else { self.slots[place - 1].end as usize }
    }

    pub(crate) fn history(&self, place: usize) -> History<'_> {
        let slot = &self.slots[place];
        let recent = &self.items[self.start(place)..slot.end as usize];
        History::new(recent, slot.older.as_deref())
    }

    /// Live keys, at their newest revision.
    pub(crate) fn live(&self) -> i64 {
        let live = (0..self.len()).filter(|place| !self.history(*place).newest().is_tombstone());
        i64_of(live.count())
    }

    /// The newest revision of any key.
    pub(crate) fn newest(&self) -> i64 {
        let newest = (0..self.len()).map(|place| self.history(place).newest().main());
        newest.max().unwrap_or_default()
    }

    /// Appends a revision to the history of `key`.
    pub(crate) fn push(&mut self, key: &[u8], item: Item) -> Delta {
        let is_live = i64::from(!item.is_tombstone());
        match self.find(key) {
            Ok(place) => {
                let newest = self.history(place).newest();
                debug_assert!(newest.revision() < item.revision(), "revisions rise");
                let was_live = i64::from(!newest.is_tombstone());
                self.append_item(place, item);
                Delta { live: is_live - was_live, keys: 0 }
            }
            Err(place) => {
                self.keys.insert(place, key);
                let start = self.start(place);
                make_room(&mut self.items, 1);
                self.items.insert(start, item);
                make_room(&mut self.slots, 1);
                self.slots.insert(place, Slot { end: u32_of(start), older: None });
                self.slots[place..].iter_mut().for_each(|slot| slot.end += 1);
                Delta { live: is_live, keys: 1 }
            }
        }
    }

    fn append_item(&mut self, place: usize, item: Item) {
        let (start, slot) = (self.start(place), &mut self.slots[place]);
        let end = slot.end as usize;
        if end - start < RECENT_MAX {
            make_room(&mut self.items, 1);
            self.items.insert(end, item);
            self.slots[place..].iter_mut().for_each(|slot| slot.end += 1);
            return;
        }
        Arc::make_mut(slot.older.get_or_insert_default()).push(self.items[start]);
        self.items.copy_within(start + 1..end, start);
        self.items[end - 1] = item;
    }

    /// Appends a key behind all others with its revisions, ascending and not empty.
    pub(crate) fn append_key(&mut self, key: &[u8], items: &[Item]) {
        self.keys.insert(self.keys.len(), key);
        let (old, recent) = items.split_at(items.len().saturating_sub(RECENT_MAX));
        make_room(&mut self.items, recent.len());
        self.items.extend_from_slice(recent);
        let mut older: Option<Arc<Older>> = None;
        for item in old {
            Arc::make_mut(older.get_or_insert_default()).push(*item);
        }
        self.slots.push(Slot { end: u32_of(self.items.len()), older });
    }

    /// Removes what a compaction at `main` drops of the key at `place`, and the key if nothing
    /// is left.
    pub(crate) fn prune(
        &mut self,
        place: usize,
        main: i64,
        dropped: &mut impl FnMut(&Item),
    ) -> Delta {
        let (start, end) = (self.start(place), self.slots[place].end as usize);
        let was_live = i64::from(!self.history(place).newest().is_tombstone());
        let mut recent = self.items[start..end].to_vec();
        history::prune(&mut recent, &mut self.slots[place].older, main, dropped);
        // Recent ones stay where there are older ones: those died first.
        self.items.drain(start..end - recent.len());
        let gone = u32_of(end - start - recent.len());
        self.slots[place..].iter_mut().for_each(|slot| slot.end -= gone);
        if !recent.is_empty() {
            return Delta::default();
        }
        self.keys.remove(place);
        self.slots.remove(place);
        Delta { live: -was_live, keys: -1 }
    }

    pub(crate) fn split_off(&mut self, place: usize) -> Self {
        let start = self.start(place);
        let keys = self.keys.split_off(place);
        let items = self.items.split_off(start);
        let mut slots = self.slots.split_off(place);
        slots.iter_mut().for_each(|slot| slot.end -= u32_of(start));
        Self { keys, items, slots }
    }

    /// Takes the keys of the neighbour behind it.
    pub(crate) fn append(&mut self, other: &Self) {
        let start = u32_of(self.items.len());
        self.keys.append(&other.keys);
        self.items.extend_from_slice(&other.items);
        let shifted = |slot: &Slot| Slot { end: slot.end + start, older: slot.older.clone() };
        self.slots.extend(other.slots.iter().map(shifted));
    }

    pub(crate) fn shrink(&mut self) {
        self.keys.shrink();
        self.items.shrink_to_fit();
        self.slots.shrink_to_fit();
    }

    /// Takes all keys out and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.items.clear();
        self.slots.clear();
    }
}

fn u32_of(len: usize) -> u32 {
    u32::try_from(len).expect("a leaf has few items")
}

pub(crate) fn i64_of(count: usize) -> i64 {
    i64::try_from(count).expect("counts fit into 63 bits")
}
