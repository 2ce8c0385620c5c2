//! Keys packed into one allocation, ascending.
//!
//! Keys of a node begin alike, so each has the four bytes behind what all share beside its end:
//! a search goes over those, which lie in a few cache lines, and then compares one key or two.

/// A sorted list of byte strings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    /// Bytes that all keys begin with.
    shared: usize,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    /// Where the key ends.
    end: u32,
    /// Its bytes behind the shared ones, big endian, zeros where it is shorter.
    head: u32,
}

impl Keys {
    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Bytes of all keys.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn start(&self, place: usize) -> usize {
        if place == 0 { 0 } else { self.spans[place - 1].end as usize }
    }

    pub(crate) fn get(&self, place: usize) -> &[u8] {
        &self.bytes[self.start(place)..self.spans[place].end as usize]
    }

    /// The place of `key`, or where it belongs.
    pub(crate) fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let shared = &self.bytes[..self.shared];
        match key[..key.len().min(self.shared)].cmp(shared) {
            std::cmp::Ordering::Less => return Err(0),
            std::cmp::Ordering::Greater => return Err(self.len()),
            std::cmp::Ordering::Equal => {}
        }
        let head = head(key, self.shared);
        let mut low = self.spans.partition_point(|span| span.head < head);
        let mut high = low + self.spans[low..].partition_point(|span| span.head == head);
        while low < high {
            let middle = low.midpoint(high);
            match self.get(middle).cmp(key) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// How many keys are less than `key`.
    pub(crate) fn below(&self, key: &[u8]) -> usize {
        self.find(key).unwrap_or_else(|place| place)
    }

    /// How many keys are not greater than `key`.
    pub(crate) fn up_to(&self, key: &[u8]) -> usize {
        self.find(key).map_or_else(|place| place, |place| place + 1)
    }

    pub(crate) fn insert(&mut self, place: usize, key: &[u8]) {
        let (start, behind) = (self.start(place), self.bytes.len());
        make_room(&mut self.bytes, key.len());
        self.bytes.extend_from_slice(key);
        if start < behind {
            self.bytes.copy_within(start..behind, start + key.len());
            self.bytes[start..start + key.len()].copy_from_slice(key);
        }
        let len = u32_of(key.len());
        make_room(&mut self.spans, 1);
        self.spans.insert(place, Span { end: u32_of(start), head: head(key, self.shared) });
        self.spans[place..].iter_mut().for_each(|span| span.end += len);
        if place == 0 || place + 1 == self.len() {
            self.share();
        }
    }

    pub(crate) fn remove(&mut self, place: usize) {
        let (start, end) = (self.start(place), self.spans[place].end as usize);
        self.bytes.drain(start..end);
        self.spans.remove(place);
        self.spans[place..].iter_mut().for_each(|span| span.end -= u32_of(end - start));
        if place == 0 || place == self.len() {
            self.share();
        }
    }

    /// Those from `place` on leave.
    pub(crate) fn split_off(&mut self, place: usize) -> Self {
        let start = self.start(place);
        let bytes = self.bytes[start..].to_vec();
        let mut spans = self.spans[place..].to_vec();
        spans.iter_mut().for_each(|span| span.end -= u32_of(start));
        self.bytes.truncate(start);
        self.spans.truncate(place);
        let mut right = Self { bytes, spans, shared: self.shared };
        right.share();
        self.share();
        right
    }

    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.spans.shrink_to_fit();
    }

    /// Takes all out and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
        self.shared = 0;
    }

    pub(crate) fn append(&mut self, other: &Self) {
        let start = u32_of(self.bytes.len());
        make_room(&mut self.bytes, other.bytes.len());
        make_room(&mut self.spans, other.spans.len());
        self.bytes.extend_from_slice(&other.bytes);
        let shifted = |span: &Span| Span { end: span.end + start, ..*span };
        self.spans.extend(other.spans.iter().map(shifted));
        // The heads that came stand behind what the others shared.
        self.shared = usize::MAX;
        self.share();
    }

    /// After the first or the last key changed: what these share, all between them do.
    fn share(&mut self) {
        let shared = match self.len().checked_sub(1) {
            None => 0,
            Some(last) => {
                let pairs = self.get(0).iter().zip(self.get(last));
                pairs.take_while(|(a, b)| a == b).count()
            }
        };
        if std::mem::replace(&mut self.shared, shared) != shared {
            for place in 0..self.len() {
                self.spans[place].head = head(self.get(place), shared);
            }
        }
    }
}

fn head(key: &[u8], shared: usize) -> u32 {
    let mut head = [0; 4];
    let rest = key.get(shared..).unwrap_or_default();
    let len = rest.len().min(head.len());
    head[..len].copy_from_slice(&rest[..len]);
    u32::from_be_bytes(head)
}

/// Grows by an eighth at a time: doubling would leave a third of the index unused.
pub(crate) fn make_room<T>(vec: &mut Vec<T>, more: usize) {
    if vec.capacity() - vec.len() < more {
        vec.reserve_exact(more.max(vec.len() / 8));
    }
}

fn u32_of(len: usize) -> u32 {
    u32::try_from(len).expect("the keys of a node take less than 4 GiB")
}
