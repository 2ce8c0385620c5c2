//! Keys packed into one allocation, ascending.

/// A sorted list of byte strings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keys {
    bytes: Vec<u8>,
    /// Where each key ends.
    ends: Vec<u32>,
}

impl Keys {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all keys.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn start(&self, place: usize) -> usize {
        if place == 0 { 0 } else { self.ends[place - 1] as usize }
    }

    pub(crate) fn get(&self, place: usize) -> &[u8] {
        &self.bytes[self.start(place)..self.ends[place] as usize]
    }

    /// The place of `key`, or where it belongs.
    pub(crate) fn find(&self, key: &[u8]) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
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
        make_room(&mut self.ends, 1);
        self.ends.insert(place, u32_of(start));
        self.ends[place..].iter_mut().for_each(|end| *end += len);
    }

    pub(crate) fn remove(&mut self, place: usize) {
        let (start, end) = (self.start(place), self.ends[place] as usize);
        self.bytes.drain(start..end);
        self.ends.remove(place);
        self.ends[place..].iter_mut().for_each(|at| *at -= u32_of(end - start));
    }

    /// Those from `place` on leave.
    pub(crate) fn split_off(&mut self, place: usize) -> Self {
        let start = self.start(place);
        let bytes = self.bytes[start..].to_vec();
        let ends = self.ends[place..].iter().map(|end| end - u32_of(start)).collect();
        self.bytes.truncate(start);
        self.ends.truncate(place);
        Self { bytes, ends }
    }

    pub(crate) fn shrink(&mut self) {
        self.bytes.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    pub(crate) fn append(&mut self, other: &Self) {
        let start = u32_of(self.bytes.len());
        make_room(&mut self.bytes, other.bytes.len());
        make_room(&mut self.ends, other.ends.len());
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| end + start));
    }
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
