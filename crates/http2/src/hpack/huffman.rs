//! The Huffman code of RFC 7541, appendix B.
//!
//! The code is canonical: symbols in order of length, then value, have consecutive codes. So the
//! lengths are all there is to know, and the rest is computed by the compiler.

use super::Undecodable;

/// Appends the text that `coded` stands for.
pub(super) fn decode(coded: &[u8], text: &mut Vec<u8>) -> Result<(), Undecodable> {
    let mut rest = coded.iter();
    // The bits not yet used, from the highest down, and how many of them are from the input.
    let (mut bits, mut count) = (0_u64, 0_u32);
    loop {
        while count <= 56 {
            let Some(&byte) = rest.next() else { break };
            bits |= u64::from(byte) << (56 - count);
            count += 8;
        }
        if count == 0 {
            return Ok(());
        }
        // What comes after the last byte reads as the padding does, as ones.
        let window = if count < 64 { bits | u64::MAX >> count } else { bits };
        let entry = SHORT[(window >> (64 - SHORT_BITS)) as usize];
        let (symbol, len) =
            if entry == 0 { long(window) } else { (entry >> 4, u32::from(entry & 15)) };
        if len > count {
            // Only a few ones may be left: a whole byte of padding is an error.
            let padding = window == u64::MAX && count < 8;
            return if padding { Ok(()) } else { Err(Undecodable) };
        }
        // The end-of-string symbol has no place in a string.
        text.push(u8::try_from(symbol).map_err(|_| Undecodable)?);
        bits <<= len;
        count -= len;
    }
}

/// Symbol and length of a code that the short table does not have.
fn long(window: u64) -> (u16, u32) {
    for len in SHORT_BITS + 1..=BITS_MAX {
        let at = len as usize;
        let code = u32::try_from(window >> (64 - len)).expect("a code has at most thirty bits");
        let place = code.wrapping_sub(CODE.first[at]);
        if place < CODE.count[at] {
            return (CODE.sorted[(CODE.before[at] + place) as usize], len);
        }
    }
    unreachable!("the code is complete: every window begins with a symbol");
}

/// Appends the code of `text`.
#[cfg(test)]
pub(super) fn encode(text: &[u8], coded: &mut Vec<u8>) {
    let (mut bits, mut count) = (0_u64, 0_u32);
    for &byte in text {
        let len = u32::from(LENGTHS[usize::from(byte)]);
        let place = CODE.sorted.iter().position(|symbol| *symbol == u16::from(byte)).unwrap();
        let place = u32::try_from(place).unwrap() - CODE.before[len as usize];
        bits |= u64::from(CODE.first[len as usize] + place) << (64 - count - len);
        count += len;
        while count >= 8 {
            coded.push((bits >> 56) as u8);
            bits <<= 8;
            count -= 8;
        }
    }
    if count > 0 {
        coded.push((bits >> 56) as u8 | 0xff >> count);
    }
}

const SYMBOLS: usize = 257;
const BITS_MAX: u32 = 30;

/// Codes up to this length are found with one look: all that usual fields consist of.
const SHORT_BITS: u32 = 10;

/// The code by length.
struct Canonical {
    /// Of each length, the first code.
    first: [u32; BITS_MAX as usize + 1],
    /// How many codes there are.
    count: [u32; BITS_MAX as usize + 1],
    /// How many there are of smaller lengths.
    before: [u32; BITS_MAX as usize + 1],
    /// The symbols in the order of their codes.
    sorted: [u16; SYMBOLS],
}

static CODE: Canonical = canonical();

#[expect(clippy::cast_possible_truncation, reason = "a symbol has nine bits")]
const fn canonical() -> Canonical {
    let mut code = Canonical {
        first: [0; BITS_MAX as usize + 1],
        count: [0; BITS_MAX as usize + 1],
        before: [0; BITS_MAX as usize + 1],
        sorted: [0; SYMBOLS],
    };
    let (mut next, mut placed, mut len) = (0, 0, 1);
    while len <= BITS_MAX as usize {
        next <<= 1;
        code.first[len] = next;
        code.before[len] = placed;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == len {
                code.sorted[placed as usize] = symbol as u16;
                placed += 1;
                code.count[len] += 1;
                next += 1;
            }
            symbol += 1;
        }
        len += 1;
    }
    code
}

/// By the next bits: symbol and length of the code that they begin with; 0 for a longer one.
static SHORT: [u16; 1 << SHORT_BITS] = short();

#[expect(clippy::cast_possible_truncation, reason = "a length has four bits here")]
const fn short() -> [u16; 1 << SHORT_BITS] {
    let mut short = [0; 1 << SHORT_BITS];
    let code = canonical();
    let mut len = 1;
    while len <= SHORT_BITS {
        let mut place = 0;
        while place < code.count[len as usize] {
            let symbol = code.sorted[(code.before[len as usize] + place) as usize];
            let free = SHORT_BITS - len;
            let mut at = (code.first[len as usize] + place) << free;
            let end = at + (1 << free);
            while at < end {
                short[at as usize] = symbol << 4 | len as u16;
                at += 1;
            }
            place += 1;
        }
        len += 1;
    }
    short
}

/// Bits of each symbol's code: the 256 bytes, then the end of the string.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5,
    5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6,
    6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22,
    23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22,
    21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20,
    22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19,
    21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22,
    22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(coded: &[u8]) -> Result<Vec<u8>, Undecodable> {
        let mut text = Vec::new();
        decode(coded, &mut text).map(|()| text)
    }

    #[test]
    fn codes_of_the_appendix() {
        // '0' is five zeros, 'a' 00011, NUL the first of 13 bits, the end thirty ones.
        assert_eq!(
            decoded(&[0b0000_0111, 0b1111_1111]),
            Err(Undecodable),
            "more than a byte of padding"
        );
        assert_eq!(decoded(&[0b0000_0111]), Ok(b"0".to_vec()));
        assert_eq!(decoded(&[0b0001_1111]), Ok(b"a".to_vec()));
        assert_eq!(decoded(&[0xff, 0b1100_0111]), Ok(vec![0]));
        assert_eq!(decoded(&[0xff; 4]), Err(Undecodable), "the end of the string");
        assert_eq!(decoded(&[0b0001_1110]), Err(Undecodable), "padding is ones");
        assert_eq!(decoded(&[]), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut coded = Vec::new();
            encode(&text, &mut coded);
            prop_assert_eq!(decoded(&coded), Ok(text));
        }

        #[test]
        fn whatever_is_decoded_was_encoded(coded in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(text) = decoded(&coded) {
                let mut again = Vec::new();
                encode(&text, &mut again);
                prop_assert_eq!(again, coded);
            }
        }
    }
}
