//! The streams of a connection: slots that are used again, found by the id of a stream.
//!
//! - Ids only grow, so new ones go to the end of a sorted list, and a look-up is a binary search.
//! - An id that is over stays in the list until half of it is such: the price of its removal is
//!   shared by many.

use crate::buffer::Buffer;
use crate::flow::{Inflow, Outflow};
use crate::handler::Parts;
use crate::status::Status;
use bytes::Bytes;
use std::collections::VecDeque;

/// A stream's slot and its id, which tells it from others that had the slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    pub(crate) id: u32,
}

/// A stream that is not over.
#[derive(Debug)]
pub(crate) struct Stream<T> {
    pub(crate) id: u32,
    /// What the connection's user keeps with it.
    pub(crate) owner: T,
    /// The client has sent END_STREAM.
    pub(crate) remote_done: bool,
    /// Our HEADERS are sent.
    pub(crate) head_sent: bool,
    /// It is in the list of those that have something to send.
    pub(crate) listed: bool,
    pub(crate) outflow: Outflow,
    pub(crate) inflow: Inflow,
    /// Bytes that came and are not taken.
    pub(crate) untaken: usize,
    /// Bytes of the body that `content-length` promised and that have not come.
    pub(crate) promised: Option<u64>,
    /// What waits for the windows.
    pub(crate) queue: VecDeque<Bytes>,
    pub(crate) queued: usize,
    /// What comes after the queue and is not made yet.
    pub(crate) rest: Option<Rest>,
    /// What comes after that.
    pub(crate) end: End,
}

impl<T> Stream<T> {
    /// Whether something waits, or is to be made.
    pub(crate) fn has_more(&self) -> bool {
        self.queued > 0 || self.rest.is_some()
    }
}

/// The rest of a message that is made in parts.
#[derive(Debug)]
pub(crate) struct Rest {
    parts: Box<dyn Parts>,
    /// Bytes that are left of it, at least one.
    left: usize,
}

impl Rest {
    pub(crate) fn new(parts: Box<dyn Parts>, len: usize) -> Self {
        Self { parts, left: len }
    }

    /// Adds the next part to `out`. Returns what is left then.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn next(mut self, out: &mut Buffer) -> Result<Option<Self>, Status> {
        let before = out.len();
        self.parts.next(out)?;
        let len = out.len() - before;
        assert!((1..=self.left).contains(&len), "a message has the length that it said");
        self.left -= len;
        Ok((self.left > 0).then_some(self))
    }
}

/// What comes after the last byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// Not known yet.
    Open,
    /// The last DATA frame ends the stream.
    Plain,
    /// These fields do.
    Trailers(Bytes),
}

/// All streams that are not over.
#[derive(Debug)]
pub(crate) struct Streams<T> {
    slots: Vec<Option<Stream<T>>>,
    free: Vec<u32>,
    /// Sorted by id.
    ids: Vec<(u32, u32)>,
    /// How many of them are over.
    over: usize,
}

impl<T> Streams<T> {
    pub(crate) fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), ids: Vec::new(), over: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.ids.len() - self.over
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a stream, whose id is larger than all before.
    pub(crate) fn insert(&mut self, stream: Stream<T>) -> Key {
        let id = stream.id;
        debug_assert!(self.ids.last().is_none_or(|last| last.0 < id), "ids only grow");
        let slot = self.free.pop().unwrap_or_else(|| {
            u32::try_from(self.slots.len()).expect("there are fewer streams than ids")
        });
        match self.slots.get_mut(slot as usize) {
            Some(free) => *free = Some(stream),
            None => self.slots.push(Some(stream)),
        }
        self.ids.push((id, slot));
        Key { slot, id }
    }

    pub(crate) fn find(&self, id: u32) -> Option<Key> {
        let place = self.ids.binary_search_by_key(&id, |known| known.0).ok()?;
        let slot = self.ids[place].1;
        (slot != OVER).then_some(Key { slot, id })
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Stream<T>> {
        let stream = self.slots.get(key.slot as usize)?.as_ref()?;
        (stream.id == key.id).then_some(stream)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Stream<T>> {
        let stream = self.slots.get_mut(key.slot as usize)?.as_mut()?;
        (stream.id == key.id).then_some(stream)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<Stream<T>> {
        self.get(key)?;
        let stream = self.slots[key.slot as usize].take();
        self.free.push(key.slot);
        let place = self.ids.binary_search_by_key(&key.id, |known| known.0);
        self.ids[place.expect("a stream that has a slot is listed")].1 = OVER;
        self.over += 1;
        while self.ids.last().is_some_and(|last| last.1 == OVER) {
            self.ids.pop();
            self.over -= 1;
        }
        if self.over > self.ids.len() / 2 {
            self.ids.retain(|known| known.1 != OVER);
            self.over = 0;
        }
        stream
    }

    /// All of them, by id.
    pub(crate) fn keys(&self) -> Vec<Key> {
        let live = self.ids.iter().filter(|known| known.1 != OVER);
        live.map(|&(id, slot)| Key { slot, id }).collect()
    }
}

const OVER: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn stream(id: u32) -> Stream<u32> {
        Stream {
            id,
            owner: id * 2,
            remote_done: false,
            head_sent: false,
            listed: false,
            outflow: Outflow::new(0),
            inflow: Inflow::new(0),
            untaken: 0,
            promised: None,
            queue: VecDeque::new(),
            queued: 0,
            rest: None,
            end: End::Open,
        }
    }

    proptest! {
        #[test]
        fn streams_come_and_go_as_in_a_map(steps in prop::collection::vec(any::<u8>(), 0..300)) {
            let (mut streams, mut model) = (Streams::new(), BTreeMap::new());
            let mut id = 1;
            for step in steps {
                if step % 2 == 0 || model.is_empty() {
                    id += 2 * u32::from(step / 2 % 3 + 1);
                    model.insert(id, streams.insert(stream(id)));
                } else {
                    let place = usize::from(step) % model.len();
                    let (&id, &key) = model.iter().nth(place).unwrap();
                    model.remove(&id);
                    prop_assert_eq!(streams.remove(key).map(|stream| stream.owner), Some(id * 2));
                    prop_assert!(streams.remove(key).is_none());
                    prop_assert!(streams.get_mut(key).is_none());
                }
                prop_assert_eq!(streams.len(), model.len());
                prop_assert_eq!(streams.keys(), model.values().copied().collect::<Vec<_>>());
                for probe in 0..=id + 1 {
                    prop_assert_eq!(streams.find(probe), model.get(&probe).copied());
                }
            }
        }
    }
}
