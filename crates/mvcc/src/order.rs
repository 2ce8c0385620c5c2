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
