//! Huffman-coded strings (RFC 7541 section 5.2), four bits at a time.
//!
//! The code is canonical, so that the lengths say everything: codes of one length are given out in
//! the order of the symbols.

/// Bits of each symbol's code (RFC 7541 appendix B); the last is the end of the string.
const LENGTHS: [u8; 257] = [
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

const END: u16 = 256;
/// Places of the tree that are no symbol: one fewer than symbols.
const NODES: usize = LENGTHS.len() - 1;
/// Marks a child that is a symbol.
const LEAF: u16 = 0x8000;

/// Appends what a coded string says; nothing when it is malformed: padding of eight bits or more,
/// padding that is not the beginning of the end symbol, or that symbol itself.
pub(crate) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut state = 0;
    for octet in coded {
        for nibble in [octet >> 4, octet & 15] {
            let step = STEPS[state][usize::from(nibble)];
            if step & FAIL != 0 {
                return None;
            }
            if step & EMIT != 0 {
                out.push((step >> 8) as u8);
            }
            state = (step & 0xff) as usize;
        }
    }
    ENDS[state].then_some(())
}

const EMIT: u32 = 1 << 16;
const FAIL: u32 = 1 << 17;

const TREE: [[u16; 2]; NODES] = {
    let mut tree = [[0; 2]; NODES];
    let (mut nodes, mut code, mut length) = (1u16, 0u32, 1);
    while length <= 30 {
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] == length {
                let (mut node, mut bit) = (0, length);
                while bit > 1 {
                    bit -= 1;
                    let side = (code >> bit & 1) as usize;
                    if tree[node][side] == 0 {
                        tree[node][side] = nodes;
                        nodes += 1;
                    }
                    node = tree[node][side] as usize;
                }
                tree[node][(code & 1) as usize] = symbol as u16 | LEAF;
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    assert!(nodes as usize == NODES, "the code is complete");
    tree
};

/// For each place of the tree and four bits: the next place, and the symbol that ends on the way;
/// no code is shorter than five bits.
static STEPS: [[u32; 16]; NODES] = {
    let mut steps = [[0; 16]; NODES];
    let mut state = 0;
    while state < NODES {
        let mut nibble = 0;
        while nibble < 16 {
            let (mut node, mut step, mut bit) = (state, 0, 4);
            while bit > 0 {
                bit -= 1;
                let child = TREE[node][nibble >> bit & 1];
                if child & LEAF == 0 {
                    node = child as usize;
                } else {
                    let symbol = child & !LEAF;
                    step = if symbol == END {
                        FAIL
                    } else {
                        step | EMIT | (symbol as u32) << 8
                    };
                    node = 0;
                }
            }
            steps[state][nibble] = step | node as u32;
            nibble += 1;
        }
        state += 1;
    }
    steps
};

/// Where a string may end: between two symbols, or within seven bits that are all ones.
static ENDS: [bool; NODES] = {
    let mut ends = [false; NODES];
    let (mut node, mut bits) = (0, 0);
    while bits < 8 {
        ends[node] = true;
        node = TREE[node][1] as usize;
        bits += 1;
    }
    ends
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_of_the_rfc_are_read() {
        // RFC 7541 appendix C.4 and C.6.
        for (coded, text) in [
            (
                &[
                    0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
                ][..],
                "www.example.com",
            ),
            (&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], "no-cache"),
            (&[0x64, 0x02], "302"),
            (&[0xae, 0xc3, 0x77, 0x1a, 0x4b], "private"),
            (&[], ""),
        ] {
            let mut out = Vec::new();
            assert_eq!(decode(coded, &mut out), Some(()), "{text}");
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn every_symbol_is_read_back() {
        // Codes by the rule of canonical codes, counted here once more.
        let mut order: Vec<usize> = (0..256).collect();
        order.sort_by_key(|symbol| (LENGTHS[*symbol], *symbol));
        let (mut code, mut length) = (0u64, 0);
        for symbol in order {
            code <<= LENGTHS[symbol] - length;
            length = LENGTHS[symbol];
            let mut bits = code << (40 - length) | ((1 << (40 - length)) - 1);
            bits <<= 24;
            let octets = usize::from(length).div_ceil(8);
            let mut out = Vec::new();
            assert_eq!(
                decode(&bits.to_be_bytes()[..octets], &mut out),
                Some(()),
                "{symbol}"
            );
            assert_eq!(out, [symbol as u8]);
            code += 1;
        }
    }

    #[test]
    fn wrong_endings_are_malformed() {
        for coded in [
            // Eight bits of padding, padding of zeros, the end symbol.
            &[0x64, 0x02, 0xff][..],
            &[0x00],
            &[0xff],
            &[0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(decode(coded, &mut Vec::new()), None, "{coded:?}");
        }
    }
}
