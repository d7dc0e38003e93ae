//! Canonical order of names (RFC 4034 section 6.1) and of serial numbers (RFC 1982).
use std::cmp::Ordering;

/// Most labels of a name, and one for a malformed one.
const LABELS_MAX: usize = 128;

/// Where the labels of a name in wire form begin, the root's not included, and how many there are.
#[inline]
fn starts(name: &[u8]) -> ([u8; LABELS_MAX], usize) {
    let (mut starts, mut count, mut at) = ([0; LABELS_MAX], 0, 0);
    while let Some(&length) = name.get(at).filter(|length| **length != 0) {
        let Some(place) = starts.get_mut(count) else {
            break;
        };
        *place = at as u8;
        count += 1;
        at += 1 + usize::from(length);
    }
    (starts, count)
}

/// The label that begins at a place.
#[inline]
fn label(name: &[u8], start: u8) -> &[u8] {
    let start = usize::from(start);
    let length = name.get(start).copied().map_or(0, usize::from);
    name.get(start + 1..start + 1 + length).unwrap_or_default()
}

/// Compares two names in wire form label by label from the root, letter case ignored; a name stands
/// before the names below it.
pub fn canonical(one: &[u8], other: &[u8]) -> Ordering {
    let ((left, lefts), (right, rights)) = (starts(one), starts(other));
    let pairs = left[..lefts].iter().rev().zip(right[..rights].iter().rev());
    for (at, place) in pairs {
        let (one, other) = (label(one, *at), label(other, *place));
        if one == other {
            continue;
        }
        let (one, other) = (one.iter(), other.iter());
        match one
            .map(u8::to_ascii_lowercase)
            .cmp(other.map(u8::to_ascii_lowercase))
        {
            Ordering::Equal => (),
            unequal => return unequal,
        }
    }
    lefts.cmp(&rights)
}

/// A number by which names of a zone stand in canonical order, as far as it can tell: its first eight
/// octets in that order, the apex's left out. Names with equal numbers are to be compared.
pub(crate) fn sort_key(name: &[u8], apex_octets: usize) -> u64 {
    let relative = &name[..name.len().saturating_sub(apex_octets)];
    let (starts, count) = starts(relative);
    let (mut key, mut left) = (0u64, 64u32);
    for start in starts[..count].iter().rev() {
        for octet in label(relative, *start) {
            if left == 0 {
                return key;
            }
            left -= 8;
            key |= u64::from((*octet).max(1)) << left;
            // Zero is how the end of a label is told; what looks like it is left to comparing.
            if *octet < 2 {
                return key;
            }
        }
        // The end of a label stands before every octet.
        left = left.saturating_sub(8);
    }
    key
}

/// Whether a name in wire form is a zone's apex or below it, letter case ignored.
pub fn is_in(name: &[u8], apex: &[u8]) -> bool {
    let Some(start) = name.len().checked_sub(apex.len()) else {
        return false;
    };
    let mut at = 0;
    while at < start {
        at += 1 + usize::from(name[at]);
    }
    at == start && name[start..].eq_ignore_ascii_case(apex)
}

/// Whether serial `one` is newer than `other` (RFC 1982 section 3.2). Neither is newer where they
/// are half the circle apart.
pub fn serial_newer(one: u32, other: u32) -> bool {
    let ahead = one.wrapping_sub(other);
    ahead != 0 && ahead < 1 << 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(text: &str) -> Vec<u8> {
        let mut octets = Vec::new();
        for label in text.split('.').filter(|label| !label.is_empty()) {
            octets.push(label.len() as u8);
            octets.extend_from_slice(label.as_bytes());
        }
        octets.push(0);
        octets
    }

    /// The example of RFC 4034 section 6.1.
    #[test]
    fn the_order_is_that_of_the_rfc() {
        let names = [
            wire("example"),
            wire("a.example"),
            wire("yljkjljk.a.example"),
            wire("Z.a.example"),
            wire("zABC.a.EXAMPLE"),
            wire("z.example"),
            b"\x01\x01\x01z\x07example\0".to_vec(),
            wire("*.z.example"),
            b"\x01\xc8\x01z\x07example\0".to_vec(),
        ];
        for (at, one) in names.iter().enumerate() {
            for (place, other) in names.iter().enumerate() {
                assert_eq!(canonical(one, other), at.cmp(&place), "{at} {place}");
            }
        }
    }

    #[test]
    fn keys_never_contradict_the_order() {
        let mut names = vec![wire("example")];
        for first in [
            &b"a"[..],
            b"a\0",
            b"a\x01",
            b"a\x02",
            b"aaaaaaaa",
            b"aaaaaaab",
            b"b",
            b"*",
            b"\xff",
        ] {
            for behind in ["example", "a.example", "aaaaaaaaa.example", "b.c.example"] {
                let mut name = vec![first.len() as u8];
                name.extend_from_slice(first);
                name.extend(wire(behind));
                names.push(name);
            }
        }
        for one in &names {
            for other in &names {
                let keys = sort_key(one, 9).cmp(&sort_key(other, 9));
                let order = canonical(one, other);
                assert!(keys.is_eq() || keys == order, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn names_are_in_zones_by_labels() {
        assert!(is_in(&wire("a.Example"), &wire("example")));
        assert!(is_in(&wire("example"), &wire("example")));
        assert!(is_in(&wire("example"), &wire("")));
        assert!(!is_in(&wire("anexample"), &wire("example")));
        assert!(!is_in(&wire("org"), &wire("example")));
        // The last octets are the same, but they do not begin with a label.
        assert!(!is_in(b"\x08a\x07example\0", b"\x07example\0"));
    }

    #[test]
    fn serials_go_round() {
        assert!(serial_newer(2, 1));
        assert!(!serial_newer(1, 1));
        assert!(serial_newer(1, u32::MAX));
        assert!(!serial_newer(u32::MAX, 1));
        assert!(!serial_newer(0, 1 << 31) && !serial_newer(1 << 31, 0));
    }
}
