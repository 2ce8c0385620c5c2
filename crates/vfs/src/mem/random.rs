//! Chance for crashes: a small generator, so that a seed decides what a crash leaves.

/// SplitMix64: the same seed gives the same crash on every machine.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        super::index(self.next() % bound as u64)
    }

    /// True in `odds` of 256 cases.
    pub(super) fn happens(&mut self, odds: usize) -> bool {
        self.below(256) < odds
    }
}
