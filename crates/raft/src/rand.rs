//! Pseudo-random numbers for election timeouts: SplitMix64 (Steele, Lea, Flood 2014). Not for
//! secrets; the point is that a seed replays a run.

#[derive(Debug, Clone)]
pub(crate) struct Rand(u64);

impl Rand {
    /// Different ids draw different numbers from the same seed.
    pub(crate) fn new(seed: u64, id: u64) -> Rand {
        let mut rand = Rand(seed ^ id.wrapping_mul(GOLDEN_GAMMA));
        rand.next();
        rand
    }

    /// A number in `[0, bound)`.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        let scaled = ((self.next() >> 32) * u64::from(bound)) >> 32;
        u32::try_from(scaled).expect("below a u32")
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN_GAMMA);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;
