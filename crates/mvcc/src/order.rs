//! The order in which etcd gives records that are equal in what they are sorted by.
//!
//! Compat: etcd sorts with Go's `sort.Sort`, which is not stable but deterministic (a
//! pattern-defeating quicksort since Go 1.19; Peters, arXiv:2106.05123). Keys of one
//! transaction share their revisions, and many keys share a version, so clients see in which
//! order it leaves equals. This is the same sequence of comparisons and swaps. Nothing else
//! should sort with it.
//!
//! Invariant: for the same list and order, the same permutation as Go's.

/// Up to this many are sorted by insertion.
const INSERTION_MAX: usize = 12;

/// From this many on the pivot is a median of medians, and misplaced pairs are worth a repair.
const LONG: usize = 50;

/// Misplaced pairs that are repaired before a list counts as unsorted.
const REPAIRS_MAX: usize = 5;

/// Comparisons that went wrong when the three samples of three and they themselves descend.
const ALL_SWAPPED: usize = 12;

/// Sorts `list` as Go's `sort.Sort` does.
pub(crate) fn sort_as_go<T>(list: &mut [T], less: impl Fn(&T, &T) -> bool) {
    let bad_pivots = usize::BITS - list.len().leading_zeros();
    let end = list.len();
    Sort { list, less }.quick(0, end, bad_pivots);
}

struct Sort<'a, T, F> {
    list: &'a mut [T],
    less: F,
}

/// What the samples say of the order.
#[derive(PartialEq)]
enum Trend {
    Rising,
    Falling,
    Unknown,
}

impl<T, F: Fn(&T, &T) -> bool> Sort<'_, T, F> {
    fn less(&self, a: usize, b: usize) -> bool {
        (self.less)(&self.list[a], &self.list[b])
    }

    /// Sorts from `a` to before `b`; after `bad_pivots` bad ones by a heap.
    fn quick(&mut self, mut a: usize, mut b: usize, mut bad_pivots: u32) {
        let (mut balanced, mut untouched) = (true, true);
        while b - a > INSERTION_MAX {
            let len = b - a;
            if bad_pivots == 0 {
                return self.heap(a, b);
            }
            if !balanced {
                self.scatter(a, b);
                bad_pivots -= 1;
            }
            let (mut pivot, mut trend) = self.choose(a, b);
            if trend == Trend::Falling {
                self.list[a..b].reverse();
                pivot = b - 1 - (pivot - a);
                trend = Trend::Rising;
            }
            if balanced && untouched && trend == Trend::Rising && self.repair(a, b) {
                return;
            }
            // Nothing here is less than what lies before: with such a pivot, equals go first.
            if a > 0 && !self.less(a - 1, pivot) {
                a = self.part_equals(a, b, pivot);
                continue;
            }
            let middle;
            (middle, untouched) = self.part(a, b, pivot);
            let (left, right) = (middle - a, b - middle);
            balanced = left.min(right) >= len / 8;
            if left < right {
                self.quick(a, middle, bad_pivots);
                a = middle + 1;
            } else {
                self.quick(middle + 1, b, bad_pivots);
                b = middle;
            }
        }
        for next in a + 1..b {
            self.sink(next, a);
        }
    }

    /// Moves the item at `from` down to its place, not below `floor`.
    fn sink(&mut self, from: usize, floor: usize) {
        let mut at = from;
        while at > floor && self.less(at, at - 1) {
            self.list.swap(at, at - 1);
            at -= 1;
        }
    }

    fn heap(&mut self, a: usize, b: usize) {
        let len = b - a;
        for root in (0..=(len - 1) / 2).rev() {
            self.sift(root, len, a);
        }
        for end in (0..len).rev() {
            self.list.swap(a, a + end);
            self.sift(0, end, a);
        }
    }

    fn sift(&mut self, mut root: usize, len: usize, a: usize) {
        loop {
            let mut child = 2 * root + 1;
            if child >= len {
                return;
            }
            if child + 1 < len && self.less(a + child, a + child + 1) {
                child += 1;
            }
            if !self.less(a + root, a + child) {
                return;
            }
            self.list.swap(a + root, a + child);
            root = child;
        }
    }

    /// Puts those less than the pivot before it; gives its place, and whether that was so.
    fn part(&mut self, a: usize, b: usize, pivot: usize) -> (usize, bool) {
        self.list.swap(a, pivot);
        let (mut i, mut j) = (a + 1, b - 1);
        let mut untouched = true;
        loop {
            while i <= j && self.less(i, a) {
                i += 1;
            }
            while i <= j && !self.less(j, a) {
                j -= 1;
            }
            if i > j {
                self.list.swap(j, a);
                return (j, untouched);
            }
            untouched = false;
            self.list.swap(i, j);
            (i, j) = (i + 1, j - 1);
        }
    }

    /// Puts those equal to the pivot first; gives where the greater begin.
    fn part_equals(&mut self, a: usize, b: usize, pivot: usize) -> usize {
        self.list.swap(a, pivot);
        let (mut i, mut j) = (a + 1, b - 1);
        loop {
            while i <= j && !self.less(a, i) {
                i += 1;
            }
            while i <= j && self.less(a, j) {
                j -= 1;
            }
            if i > j {
                return i;
            }
            self.list.swap(i, j);
            (i, j) = (i + 1, j - 1);
        }
    }

    /// Repairs a few misplaced pairs; whether all is in order then.
    fn repair(&mut self, a: usize, b: usize) -> bool {
        let mut at = a + 1;
        for _ in 0..REPAIRS_MAX {
            while at < b && !self.less(at, at - 1) {
                at += 1;
            }
            if at == b {
                return true;
            }
            if b - a < LONG {
                return false;
            }
            self.list.swap(at, at - 1);
            if at - a >= 2 {
                self.sink(at - 1, 0);
            }
            let mut up = at + 1;
            while b - at >= 2 && up < b && self.less(up, up - 1) {
                self.list.swap(up, up - 1);
                up += 1;
            }
        }
        false
    }

    /// Breaks patterns that led to bad pivots, with numbers that follow from the length.
    fn scatter(&mut self, a: usize, b: usize) {
        let len = b - a;
        let bits = usize::BITS - len.leading_zeros();
        let mask = (1_usize << bits) - 1;
        let mut random = len as u64;
        let first = a + len / 4 * 2 - 1;
        for at in first..first + 3 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let low = usize::try_from(random & mask as u64).expect("masked to a length");
            let other = if low >= len { low - len } else { low };
            self.list.swap(at, a + other);
        }
    }

    fn choose(&self, a: usize, b: usize) -> (usize, Trend) {
        let quarter = (b - a) / 4;
        let mut samples = [a + quarter, a + 2 * quarter, a + 3 * quarter];
        let mut swaps = 0;
        if b - a >= LONG {
            for sample in &mut samples {
                *sample = self.median([*sample - 1, *sample, *sample + 1], &mut swaps);
            }
        }
        let pivot = self.median(samples, &mut swaps);
        let trend = match swaps {
            0 => Trend::Rising,
            ALL_SWAPPED => Trend::Falling,
            _ => Trend::Unknown,
        };
        (pivot, trend)
    }

    /// The place of the middle one, and how many comparisons went wrong.
    fn median(&self, mut places: [usize; 3], swaps: &mut usize) -> usize {
        for first in [0, 1, 0] {
            if self.less(places[first + 1], places[first]) {
                places.swap(first, first + 1);
                *swaps += 1;
            }
        }
        places[1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// FNV-1a over the places where the items had been.
    fn fold(hash: u32, place: usize) -> u32 {
        let bytes = [place % 256, place / 256 % 256];
        bytes.iter().fold(hash, |hash, byte| {
            (hash ^ u32::try_from(*byte).unwrap()).wrapping_mul(16_777_619)
        })
    }

    const FOLD_BEGIN: u32 = 2_166_136_261;

    fn list(kind: usize, len: u64) -> Vec<(u64, usize)> {
        let mut state = len;
        let mut next = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        };
        let mut value = |place: u64| match kind {
            0 => next() % 3,
            1 => next() % (len / 4 + 1),
            2 => place / 3,
            3 => (len - place) / 3,
            4 => place * place % 7,
            5 => {
                if place < len / 2 {
                    place
                } else {
                    len - place
                }
            }
            6 if next().is_multiple_of(20) => next() % len,
            6 => place / 2,
            _ => (place % 16 * 1000).wrapping_sub(place % 2 * (place / 16)),
        };
        (0..len).map(|place| (value(place), usize::try_from(place).unwrap())).collect()
    }

    #[test]
    fn equals_come_as_go_leaves_them() {
        // What Go 1.26.8, which etcd 3.7.1 is built with, makes of the same lists: ascending,
        // and through sort.Reverse.
        let expected: [[u32; 2]; 8] = [
            [0xca4c_770a, 0x0b7a_3916],
            [0x16e4_99c2, 0x6c25_6fc2],
            [0x1742_8862, 0x6bfa_cd0e],
            [0x9d9c_e9ba, 0x1742_8862],
            [0x8c90_de3a, 0xff30_291e],
            [0x7274_17da, 0x9dbb_1076],
            [0x2e80_7406, 0x661f_09ca],
            [0xa092_9192, 0x5d66_f332],
        ];
        for (kind, expected) in expected.into_iter().enumerate() {
            let mut found = [FOLD_BEGIN; 2];
            for len in 0..600 {
                let len = if len > 590 { len * len / 10 } else { len };
                let (mut up, mut down) = (list(kind, len), list(kind, len));
                sort_as_go(&mut up, |a, b| a.0 < b.0);
                sort_as_go(&mut down, |a, b| b.0 < a.0);
                assert!(up.is_sorted_by_key(|item| item.0));
                assert!(down.is_sorted_by(|a, b| a.0 >= b.0));
                for (hash, list) in found.iter_mut().zip([up, down]) {
                    *hash = list.iter().fold(*hash, |hash, item| fold(hash, item.1));
                }
            }
            assert_eq!(found, expected, "kind {kind}");
        }
    }

    /// McIlroy's adversary (A Killer Adversary for Quicksort, 1999): decides what the values are
    /// while it is asked, so that every pivot is bad.
    struct Adversary {
        values: Vec<usize>,
        solid: usize,
        candidate: usize,
    }

    impl Adversary {
        fn less(&mut self, x: usize, y: usize) -> bool {
            let gas = self.values.len();
            if self.values[x] == gas && self.values[y] == gas {
                let hardens = if x == self.candidate { x } else { y };
                self.values[hardens] = self.solid;
                self.solid += 1;
            }
            if self.values[x] == gas {
                self.candidate = x;
            } else if self.values[y] == gas {
                self.candidate = y;
            }
            self.values[x] < self.values[y]
        }
    }

    #[test]
    fn bad_pivots_end_in_the_same_heap() {
        let len = 5000;
        let mut places: Vec<usize> = (0..len).collect();
        let adversary = Adversary { values: vec![len; len], solid: 0, candidate: 0 };
        let adversary = RefCell::new(adversary);
        sort_as_go(&mut places, |x, y| adversary.borrow_mut().less(*x, *y));
        let found = places.iter().fold(FOLD_BEGIN, |hash, place| fold(hash, *place));
        let values = adversary.into_inner().values;
        let mut killer: Vec<_> = values.iter().map(|value| value / 2).zip(0..).collect();
        sort_as_go(&mut killer, |a, b| a.0 < b.0);
        let killed = killer.iter().fold(FOLD_BEGIN, |hash, item| fold(hash, item.1));
        assert_eq!((killed, found), (0x2c1e6abd, 0x339eaf65));
    }
}
