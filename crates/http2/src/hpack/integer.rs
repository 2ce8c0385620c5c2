//! Integers of RFC 7541, section 5.1: a prefix of some bits of a byte, then groups of seven.

use super::Undecodable;

/// Reads an integer whose prefix has `bits` bits of `first`; the rest of it is taken off `input`.
pub(super) fn decode(first: u8, bits: u32, input: &mut &[u8]) -> Result<usize, Undecodable> {
    let mask = u8::MAX >> (8 - bits);
    let mut value = usize::from(first & mask);
    if value < usize::from(mask) {
        return Ok(value);
    }
    // No length or index of ours needs more than four groups.
    for group in 0..4 {
        let (&byte, rest) = input.split_first().ok_or(Undecodable)?;
        *input = rest;
        value += usize::from(byte & 0x7f) << (7 * group);
        if byte < 0x80 {
            return Ok(value);
        }
    }
    Err(Undecodable)
}

/// Appends `value`; `pattern` is what stands before the prefix of `bits` bits.
pub(super) fn encode(pattern: u8, bits: u32, value: usize, out: &mut Vec<u8>) {
    let mask = u8::MAX >> (8 - bits);
    let small = u8::try_from(value).ok().filter(|value| *value < mask);
    if let Some(value) = small {
        out.push(pattern | value);
        return;
    }
    out.push(pattern | mask);
    let mut rest = value - usize::from(mask);
    while rest >= 0x80 {
        out.push(rest.to_le_bytes()[0] | 0x80);
        rest >>= 7;
    }
    out.push(rest.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_appendix() {
        for (value, bits, bytes) in
            [(10, 5, &[10][..]), (1337, 5, &[31, 154, 10]), (42, 8, &[42]), (31, 5, &[31, 0])]
        {
            let mut out = Vec::new();
            encode(0, bits, value, &mut out);
            assert_eq!(out, bytes);
            let mut rest = &out[1..];
            assert_eq!(decode(out[0], bits, &mut rest), Ok(value));
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn endless_and_cut_integers_are_refused() {
        assert_eq!(decode(0xff, 7, &mut &[0xff; 9][..]), Err(Undecodable));
        assert_eq!(decode(0xff, 7, &mut &[0x80][..]), Err(Undecodable));
    }
}
