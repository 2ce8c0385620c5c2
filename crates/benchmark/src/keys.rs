//! Keys and values, the same in every run.

use bytes::Bytes;

/// Choices from one seed (SplitMix64, Steele, Lea, Flood 2014): both servers of a comparison get
/// the same load.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// A number from 0 to 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Bytes {
        let words = (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes());
        words.take(count).collect::<Vec<u8>>().into()
    }
}

/// Upstream's key of a number: prefix, then the number as Go's signed varint, then zeros up to the
/// size.
///
/// Compat: upstream writes over one buffer, and leaves the end of a longer number behind a shorter
/// one. Here a number has one key.
pub(crate) fn key(prefix: &str, size: usize, number: u64) -> Bytes {
    let mut key = Vec::with_capacity(prefix.len() + size);
    key.extend_from_slice(prefix.as_bytes());
    let mut rest = number << 1;
    while rest >= 0x80 {
        key.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    key.push(u8::try_from(rest).expect("7 bits"));
    key.resize((prefix.len() + size).max(key.len()), 0);
    key.into()
}

/// The least number of bytes that numbers below `count` need in a key.
pub(crate) fn key_bytes(count: u64) -> usize {
    key("", 0, count.saturating_sub(1)).len()
}

/// The end of the range of keys that begin with `prefix`; of all keys where there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end.into();
        }
    }
    Bytes::from_static(&[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_go_s_varints() {
        assert_eq!(key("", 8, 0), vec![0; 8]);
        assert_eq!(key("", 4, 1), [2, 0, 0, 0][..]);
        assert_eq!(key("p", 4, 100), [b'p', 0xc8, 1, 0, 0][..]);
        assert_eq!(key("", 1, 100_000), [0xc0, 0x9a, 0x0c][..]);
        assert_eq!((key_bytes(1), key_bytes(64), key_bytes(65)), (1, 1, 2));
    }

    #[test]
    fn prefixes_end_behind_their_keys() {
        assert_eq!(prefix_end(b"ab"), b"ac"[..]);
        assert_eq!(prefix_end(&[1, 0xff]), [2][..]);
        assert_eq!(prefix_end(b""), [0][..]);
        assert_eq!(prefix_end(&[0xff]), [0][..]);
    }

    #[test]
    fn choices_are_the_seed_s() {
        let mut rng = Rng::new(1);
        let mut again = Rng::new(1);
        assert_eq!(rng.bytes(13), again.bytes(13));
        assert!(rng.share() < 1.0 && rng.below(3) < 3);
    }
}
