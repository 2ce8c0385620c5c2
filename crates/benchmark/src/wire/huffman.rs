//! Huffman's code of header strings (RFC 7541, appendix B), read only.
//!
//! The code is canonical: of two symbols the one with the shorter code, or the smaller symbol, has
//! the smaller code. So the lengths say it all.

use std::sync::LazyLock;

/// The length of each symbol's code, less [`SHORTEST`], as a letter from `a`.
const LENGTHS: &[u8; 256] = b"isxxxxxxxtzxxzxxxxxxxxzxxxxxxxxxbffhibdgffdgdbbbaaabbbbbbbcdkbhf\
ibccccccccccccccccccccccdcdioijbkabababbbaccbbbabcbaabccccckgjix\
prpprrrsrssssststtrstssssqrsrsstrqprrssqsrrtqrssqqrqsrssprrrsrrs\
vvporsruvvvwwvtuoqvwwvwtqqvvxwwwptpqrqqsrruuttvsvwvvwwwwwxwwwwwv";

const SHORTEST: usize = 5;
const LONGEST: usize = 30;

struct Code {
    /// By length: the first code, and where its symbol is among `symbols`.
    first: [(u32, usize); LONGEST + 2],
    /// In the order of their codes.
    symbols: Vec<u8>,
}

static CODE: LazyLock<Code> = LazyLock::new(|| {
    let length = |symbol: u8| SHORTEST + usize::from(LENGTHS[usize::from(symbol)] - b'a');
    let mut symbols: Vec<u8> = (0..=u8::MAX).collect();
    symbols.sort_by_key(|symbol| length(*symbol));
    let mut first = [(0, 0); LONGEST + 2];
    let (mut code, mut at) = (0_u32, 0);
    for (bits, first) in first.iter_mut().enumerate().skip(1) {
        code <<= 1;
        *first = (code, at);
        let many = symbols.iter().filter(|symbol| length(**symbol) == bits).count();
        at += many;
        code += u32::try_from(many).expect("256 symbols");
    }
    Code { first, symbols }
});

/// The text, or none if this is no code of one.
pub(super) fn decode(packed: &[u8]) -> Option<Vec<u8>> {
    let table = &*CODE;
    let mut text = Vec::with_capacity(packed.len() * 8 / SHORTEST);
    let (mut code, mut bits) = (0_u32, 0_usize);
    for byte in packed {
        for shift in (0..8).rev() {
            code = code << 1 | u32::from(byte >> shift & 1);
            bits += 1;
            if bits > LONGEST {
                return None;
            }
            let ((start, at), (_, next)) = (table.first[bits], table.first[bits + 1]);
            let offset = code.checked_sub(start).map(|offset| offset as usize);
            if let Some(offset) = offset.filter(|offset| at + offset < next) {
                text.push(table.symbols[at + offset]);
                (code, bits) = (0, 0);
            }
        }
    }
    // What is left is the start of the longest code, all ones.
    (bits < 8 && code == (1 << bits) - 1).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::decode;

    #[test]
    fn texts_are_read() {
        // RFC 7541, C.4.
        let packed = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decode(&packed).unwrap(), b"www.example.com");
        assert_eq!(decode(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).unwrap(), b"no-cache");
    }

    #[test]
    fn padding_is_ones_and_short() {
        assert_eq!(decode(&[0x07]).unwrap(), b"0");
        assert_eq!(decode(&[0x00]), None);
        assert_eq!(decode(&[0x07, 0xff]), None);
    }
}
