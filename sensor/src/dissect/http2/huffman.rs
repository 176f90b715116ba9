//! HPACK's Huffman code (RFC 7541 appendix B). It is canonical: the lengths alone define it.

use std::sync::LazyLock;

/// Bits per symbol; the last one is the end of the string, which must not occur.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

const LONGEST: usize = 30;

struct Code {
    /// Per length: the first code, and how many symbols have it.
    first: [u32; LONGEST + 1],
    count: [u32; LONGEST + 1],
    /// Symbols by length, then by value, and where each length starts among them.
    start: [usize; LONGEST + 1],
    symbols: Vec<u16>,
}

static CODE: LazyLock<Code> = LazyLock::new(|| {
    let mut code = Code { first: [0; LONGEST + 1], count: [0; LONGEST + 1], start: [0; LONGEST + 1], symbols: Vec::with_capacity(257) };
    let mut next = 0u32;
    for length in 1..=LONGEST {
        next <<= 1;
        let symbols = (0u16..).zip(LENGTHS).filter(|(_, l)| usize::from(*l) == length).map(|(symbol, _)| symbol);
        let start = code.symbols.len();
        code.symbols.extend(symbols);
        let count = (code.symbols.len() - start) as u32;
        if let (Some(f), Some(c), Some(s)) = (code.first.get_mut(length), code.count.get_mut(length), code.start.get_mut(length)) {
            (*f, *c, *s) = (next, count, start);
        }
        next += count;
    }
    code
});

/// Decodes a string; `None` when it is not one, or longer than `max`.
pub(super) fn decode(bytes: &[u8], max: usize) -> Option<Vec<u8>> {
    let code = &*CODE;
    let mut out = Vec::with_capacity(bytes.len().min(max) * 8 / 5);
    let (mut value, mut length) = (0u32, 0usize);
    for byte in bytes {
        for bit in (0..8).rev() {
            value = value << 1 | u32::from(byte >> bit & 1);
            length += 1;
            let (first, count) = (*code.first.get(length)?, *code.count.get(length)?);
            if value.wrapping_sub(first) < count {
                let symbol = *code.symbols.get(*code.start.get(length)? + (value - first) as usize)?;
                out.push(u8::try_from(symbol).ok()?);
                if out.len() > max {
                    return None;
                }
                (value, length) = (0, 0);
            }
        }
    }
    // Padding is the start of the end-of-string code: less than a byte of ones (RFC 7541 §5.2).
    (length < 8 && value == (1 << length) - 1).then_some(out)
}
