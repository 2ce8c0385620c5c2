//! The history of a key: its one or two newest revisions lie in the leaf, older ones behind a
//! pointer.
//!
//! A hot key may have a million revisions, and a leaf is copied whenever a reader holds it. So
//! older revisions lie in chunks that are shared by all copies; a full tail becomes a chunk, and
//! neighbours of like size become one, up to [`CHUNK_MAX`]: appending costs O(log n) copies of a
//! revision, looking one up a binary search over the chunks and another in one of them.
//!
//! Invariants: revisions ascend; what is in the leaf is newer than what is not, and never empty.

use super::item::Item;
use crate::planted::{self, Bug};
use backend::Revision;
use std::sync::Arc;

/// Revisions of the tail before it becomes a chunk.
const TAIL_MAX: usize = 32;

/// Revisions of the largest chunk that is still joined with another.
const CHUNK_MAX: usize = 1024;

/// The revisions of a key that are not in its leaf.
#[derive(Clone, Debug, Default)]
pub(crate) struct Older {
    chunks: Vec<Arc<[Item]>>,
    tail: Vec<Item>,
}

impl Older {
    pub(crate) fn push(&mut self, item: Item) {
        if self.tail.len() == TAIL_MAX {
            self.chunks.push(Arc::from(&*self.tail));
            self.tail.clear();
            self.join();
        }
        self.tail.push(item);
    }

    fn join(&mut self) {
        while let [.., left, right] = &*self.chunks {
            if left.len() > right.len() || left.len() + right.len() > CHUNK_MAX {
                return;
            }
            let both: Arc<[Item]> = left.iter().chain(right.iter()).copied().collect();
            self.chunks.truncate(self.chunks.len() - 2);
            self.chunks.push(both);
        }
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.tail.is_empty()
    }

    /// The newest revision of `main` or before.
    fn floor(&self, main: i64) -> Option<&Item> {
        if self.tail.first().is_some_and(|first| first.main() <= main) {
            return floor(&self.tail, main);
        }
        let behind = self.chunks.partition_point(|chunk| chunk[0].main() <= main);
        floor(&self.chunks[behind.checked_sub(1)?], main)
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = &Item> {
        self.chunks.iter().flat_map(|chunk| chunk.iter()).chain(&self.tail)
    }

    /// Removes those before `keep_from`, the oldest revision to stay.
    fn drop_before(&mut self, keep_from: &Item, dropped: &mut impl FnMut(&Item)) {
        let dies = |item: &Item| item.revision() < keep_from.revision();
        let whole = self.chunks.partition_point(|chunk| dies(&chunk[chunk.len() - 1]));
        self.chunks.drain(..whole).for_each(|chunk| chunk.iter().for_each(&mut *dropped));
        if let Some(first) = self.chunks.first_mut() {
            let cut = first.partition_point(dies);
            first[..cut].iter().for_each(&mut *dropped);
            if cut > 0 {
                *first = Arc::from(&first[cut..]);
            }
        }
        let cut = self.tail.partition_point(dies);
        self.tail.drain(..cut).for_each(|item| dropped(&item));
    }
}

fn floor(items: &[Item], main: i64) -> Option<&Item> {
    let behind = items.partition_point(|item| item.main() <= main);
    Some(&items[behind.checked_sub(1)?])
}

/// All that the index holds of a key.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    recent: &'a [Item],
    older: Option<&'a Older>,
}

impl<'a> History<'a> {
    pub(crate) fn new(recent: &'a [Item], older: Option<&'a Older>) -> Self {
        Self { recent, older }
    }

    /// The newest revision.
    #[must_use]
    pub fn newest(&self) -> &'a Item {
        self.recent.last().expect("a key in the index has a revision")
    }

    /// The newest revision of `main` or before, be it a deletion.
    #[must_use]
    pub fn floor(&self, main: i64) -> Option<&'a Item> {
        let recent = self.recent.iter().rev().find(|item| item.main() <= main);
        recent.or_else(|| self.older?.floor(main))
    }

    /// The record that a read at revision `main` finds.
    #[must_use]
    pub fn at(&self, main: i64) -> Option<&'a Item> {
        self.floor(main).filter(|item| !item.is_tombstone())
    }

    /// The record that a read at the revision before `main` finds.
    #[must_use]
    pub fn before(&self, main: i64) -> Option<&'a Item> {
        self.at(main - 1)
    }

    /// All revisions, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &'a Item> + use<'a> {
        self.older.into_iter().flat_map(Older::iter).chain(self.recent)
    }

    /// Whether `revision` is among them.
    #[must_use]
    pub fn contains(&self, revision: Revision) -> bool {
        let Some(last) = self.floor(revision.main) else { return false };
        if last.main() != revision.main || last.revision() == revision {
            return last.revision() == revision;
        }
        // A transaction changed the key more than once.
        let newer = self.iter().rev().skip_while(|item| item.revision() > revision);
        newer.map(Item::revision).next() == Some(revision)
    }

    /// The revision that a compaction at `main` keeps of those up to it (etcd's rule since
    /// 3.4.34): the newest, unless it is a deletion before `main`.
    #[must_use]
    pub fn kept(&self, main: i64) -> Option<&'a Item> {
        let drops = planted::is(Bug::CompactionDropsNewest);
        let kept = self.floor(main).filter(|item| !item.is_tombstone() || item.main() == main);
        kept.filter(|item| !drops || item.main() != main)
    }

    /// Whether a compaction at `main` has something to drop.
    pub(crate) fn has_dead(&self, main: i64) -> bool {
        let oldest = self.iter().next().expect("a key in the index has a revision");
        oldest.main() <= main && self.kept(main) != Some(oldest)
    }
}

/// Removes what a compaction at `main` drops; `recent` may be empty afterwards.
pub(crate) fn prune(
    recent: &mut Vec<Item>,
    older: &mut Option<Arc<Older>>,
    main: i64,
    dropped: &mut impl FnMut(&Item),
) {
    let history = History::new(recent, older.as_deref());
    let first_to_stay = history.kept(main).copied();
    let first_to_stay = first_to_stay.or_else(|| history.iter().find(|i| i.main() > main).copied());
    let dies = |item: &Item| first_to_stay.is_none_or(|first| item.revision() < first.revision());
    if let Some(shared) = older {
        match &first_to_stay {
            Some(first) => Arc::make_mut(shared).drop_before(first, dropped),
            None => {
                shared.iter().for_each(&mut *dropped);
                *older = None;
            }
        }
    }
    if older.as_deref().is_some_and(Older::is_empty) {
        *older = None;
    }
    let cut = recent.partition_point(dies);
    recent.drain(..cut).for_each(|item| dropped(&item));
}

#[cfg(test)]
mod tests {
    use super::*;
    use backend::Location;

    fn put(main: i64) -> Item {
        Item::put(Revision { main, sub: 0 }, 1, main, Location::default())
    }

    fn tombstone(main: i64) -> Item {
        Item::tombstone(Revision { main, sub: 0 }, Location::default())
    }

    fn mains<'a>(items: impl Iterator<Item = &'a Item>) -> Vec<i64> {
        items.map(Item::main).collect()
    }

    #[test]
    fn long_histories_are_found_everywhere_and_cut_anywhere() {
        let mut older = Older::default();
        for main in 1..=5000 {
            older.push(put(2 * main));
            assert!(older.chunks.len() < 12);
        }
        let recent = [put(10_002)];
        let history = History::new(&recent, Some(&older));
        assert_eq!(history.iter().count(), 5001);
        assert_eq!(history.floor(1), None);
        for main in 1..=5001 {
            assert_eq!(history.floor(2 * main).unwrap().main(), 2 * main);
            assert_eq!(history.floor(2 * main + 1).unwrap().main(), 2 * main);
            let contains = |main, sub| history.contains(Revision { main, sub });
            assert!(contains(2 * main, 0) && !contains(2 * main, 1) && !contains(2 * main + 1, 0));
        }
        for at in [0, 1, 2, 3, 777, 5000, 9999, 10_000, 10_001, 10_002, 20_000] {
            let (mut recent, mut older) = (recent.to_vec(), Some(Arc::new(older.clone())));
            let mut dropped = Vec::new();
            prune(&mut recent, &mut older, at, &mut |item| dropped.push(item.main()));
            let left = mains(History::new(&recent, older.as_deref()).iter());
            let first = (at - at % 2).clamp(2, 10_002);
            assert_eq!(left, (first / 2..=5001).map(|main| 2 * main).collect::<Vec<_>>());
            assert_eq!(dropped.len() + left.len(), 5001);
        }
    }

    #[test]
    fn compactions_keep_what_etcd_keeps() {
        // put 1, put 2, deleted 3, put 4, deleted 5
        let all = [put(1), put(2), tombstone(3), put(4), tombstone(5)];
        let kept: [&[i64]; 7] =
            [&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5], &[2, 3, 4, 5], &[3, 4, 5], &[4, 5], &[5], &[]];
        for (at, kept) in (0..).zip(kept) {
            let mut older = Older::default();
            all[..3].iter().for_each(|item| older.push(*item));
            let (mut recent, mut older) = (all[3..].to_vec(), Some(Arc::new(older)));
            let history = History::new(&recent, older.as_deref());
            assert_eq!(history.has_dead(at), kept.len() < 5, "at {at}");
            prune(&mut recent, &mut older, at, &mut |_| {});
            assert_eq!(mains(History::new(&recent, older.as_deref()).iter()), kept, "at {at}");
        }
    }
}
