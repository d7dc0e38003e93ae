//! Binary files in case files (RFC 4648 section 4).

/// The octets that this text stands for; line ends count for nothing.
pub(crate) fn decode(text: &str) -> Vec<u8> {
    let (mut bits, mut held, mut octets) = (0u32, 0, Vec::new());
    for c in text.bytes().filter(|c| !c.is_ascii_whitespace()) {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => break,
            other => panic!("'{}' is no base64", char::from(other)),
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            octets.push((bits >> held) as u8);
        }
    }
    octets
}

/// Octets as base64, padded.
pub(crate) fn encode(octets: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | usize::from(*group.get(at).unwrap_or(&0))
        });
        let letter = move |at: usize| char::from(LETTERS[bits >> (18 - 6 * at) & 63]);
        let used = group.len() + 1;
        (0..4).map(move |at| if at < used { letter(at) } else { '=' })
    };
    octets.chunks(3).flat_map(group).collect()
}
