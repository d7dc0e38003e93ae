//! What denies that records exist: NSEC (RFC 4034 section 4) and NSEC3 (RFC 5155).
use corten_wire::name::{LABEL_OCTETS_MAX, NAME_OCTETS_MAX};
use corten_wire::{Name, RecordType};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use crate::bitmap::Types;

/// The type that says that a name does not exist (RFC 9824 section 3).
pub const NXNAME: RecordType = RecordType(128);

/// SHA-1 of a name as NSEC3 records have it.
pub type Hash = [u8; 20];

/// RDATA of an NSEC record.
pub fn nsec(next: &[u8], types: &Types) -> Vec<u8> {
    let mut rdata = next.to_vec();
    types.encode(&mut rdata);
    rdata
}

/// RDATA of an NSEC3 record: SHA-1, no flags, no iterations, no salt (RFC 9276 section 3.1).
pub fn nsec3(next: &Hash, types: &Types) -> Vec<u8> {
    let mut rdata = vec![1, 0, 0, 0, 0, 20];
    rdata.extend_from_slice(next);
    types.encode(&mut rdata);
    rdata
}

/// RDATA of the NSEC3PARAM record that goes with [`nsec3`].
pub const NSEC3PARAM: [u8; 5] = [1, 0, 0, 0, 0];

/// The hash of a name (RFC 5155 section 5). What we make has neither iterations nor salt.
pub fn hash(name: &Name, iterations: u16, salt: &[u8]) -> Hash {
    let round = |octets: &[u8]| -> Hash {
        let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
        context.update(octets);
        context.update(salt);
        let mut hash = [0; 20];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    };
    (0..iterations).fold(round(name.wire()), |hash, _| round(&hash))
}

/// Owner of the NSEC3 record of a hash: its base32hex form below the zone. Nothing where the zone's
/// name is too long for that.
pub fn nsec3_owner(hash: &Hash, zone: &Name) -> Option<Name> {
    const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
    let mut wire = Vec::with_capacity(33 + zone.wire().len());
    wire.push(32);
    for chunk in hash.chunks(5) {
        let bits = chunk
            .iter()
            .fold(0u64, |bits, octet| bits << 8 | u64::from(*octet));
        wire.extend(
            (0..8)
                .rev()
                .map(|at| DIGITS[(bits >> (at * 5) & 31) as usize]),
        );
    }
    wire.extend_from_slice(zone.wire());
    Name::from_wire(&wire).ok()
}

/// The hash right behind another.
pub fn hash_behind(hash: &Hash) -> Hash {
    let mut next = *hash;
    for octet in next.iter_mut().rev() {
        *octet = octet.wrapping_add(1);
        if *octet != 0 {
            break;
        }
    }
    next
}

/// The hash right before another.
pub fn hash_before(hash: &Hash) -> Hash {
    let mut last = *hash;
    for octet in last.iter_mut().rev() {
        let borrowed = *octet == 0;
        *octet = octet.wrapping_sub(1);
        if !borrowed {
            break;
        }
    }
    last
}

/// The first name behind another in canonical order: its first possible child. Where there is no room
/// for one, the first name behind it that there is room for (RFC 4471 section 3.1.2).
pub fn first_child(name: &Name, zone: &Name) -> Name {
    if name.wire().len() + 2 <= NAME_OCTETS_MAX {
        let mut wire = b"\x01\0".to_vec();
        wire.extend_from_slice(name.wire());
        if let Ok(child) = Name::from_wire(&wire) {
            return child;
        }
    }
    behind_subtree(name, zone)
}

/// The first name behind another and everything below it; the zone's own, which comes last of all,
/// where there is none.
pub fn behind_subtree(name: &Name, zone: &Name) -> Name {
    let mut name = name.clone();
    while name.label_count() > zone.label_count() {
        let Some(label) = name.label(0) else { break };
        let parent = name.parent(1);
        if let Some(next) = label_behind(label, NAME_OCTETS_MAX - parent.wire().len()) {
            let mut wire = vec![next.len() as u8];
            wire.extend_from_slice(&next);
            wire.extend_from_slice(parent.wire());
            if let Ok(next) = Name::from_wire(&wire) {
                return next;
            }
        }
        name = parent;
    }
    zone.clone()
}

/// The first label behind another, its length octet included in `room`.
fn label_behind(label: &[u8], room: usize) -> Option<Vec<u8>> {
    let mut next = label.to_vec();
    if next.len() < LABEL_OCTETS_MAX && next.len() + 2 <= room {
        next.push(0);
        return Some(next);
    }
    while let Some(last) = next.last_mut() {
        match *last {
            0xff => {
                next.pop();
            }
            // Upper-case letters are the same as lower-case ones, which come later.
            b'@' => {
                *last = b'[';
                return Some(next);
            }
            _ => {
                *last += 1;
                return Some(next);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    /// RFC 5155 appendix A.
    #[test]
    fn hashes_are_those_of_the_rfc() {
        let salt = [0xaa, 0xbb, 0xcc, 0xdd];
        for (text, label) in [
            ("example", "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom"),
            ("a.example", "35mthgpgcu1qg68fab165klnsnk3dpvl"),
            ("ai.example", "gjeqe526plbf1g8mklp59enfd789njgi"),
            ("*.w.example", "r53bq7cc2uvmubfu5ocmm6pers9tk9en"),
            ("xx.example", "t644ebqk9bibcna874givr6joj62mlhv"),
        ] {
            let owner = nsec3_owner(&hash(&name(text), 12, &salt), &name("example"));
            assert_eq!(owner, Some(name(&format!("{label}.example"))), "{text}");
        }
        assert_eq!(nsec3_owner(&[0; 20], &name(&["a"; 120].join("."))), None);
    }

    #[test]
    fn hashes_have_neighbours() {
        let mut end = [0xff; 20];
        assert_eq!(hash_behind(&end), [0; 20]);
        assert_eq!(hash_before(&[0; 20]), [0xff; 20]);
        end[19] = 0;
        let mut before = end;
        (before[18], before[19]) = (0xfe, 0xff);
        assert_eq!(hash_before(&end), before);
        assert_eq!(hash_behind(&before), end);
    }

    #[test]
    fn the_next_name_is_the_first_child_if_there_is_room() {
        let zone = name("example");
        assert_eq!(
            first_child(&name("www.example"), &zone),
            name(r"\000.www.example")
        );
        assert_eq!(first_child(&zone, &zone), name(r"\000.example"));
        assert_eq!(first_child(&Name::root(), &Name::root()), name(r"\000"));
        // 255 octets: 3 labels of 63, one of 53, and example.
        let full = |last: &str| {
            let long = "x".repeat(63);
            name(&format!("{last}.{long}.{long}.{long}.example"))
        };
        let longest = full(&"a".repeat(53));
        assert_eq!(longest.wire().len(), 255);
        let next = first_child(&longest, &zone);
        assert_eq!(next, full(&format!("{}b", "a".repeat(52))));
        assert!(corten_zone::canonical(longest.wire(), next.wire()).is_lt());
    }

    #[test]
    fn what_is_behind_a_subtree_is_behind_all_of_it() {
        let zone = name("example");
        for (text, expected) in [
            ("plain.example", r"plain\000.example".to_owned()),
            (
                &format!("{}.example", "y".repeat(63)),
                format!("{}z.example", "y".repeat(62)),
            ),
            (
                &format!("{}@.example", "y".repeat(62)),
                format!("{}[.example", "y".repeat(62)),
            ),
            (
                &format!("y{}.example", r"\255".repeat(62)),
                "z.example".to_owned(),
            ),
            (
                &format!("{}.example", r"\255".repeat(63)),
                "example".to_owned(),
            ),
        ] {
            let next = behind_subtree(&name(text), &zone);
            assert_eq!(next, name(&expected), "{text}");
            let below = name(&format!("zz.{text}"));
            let order = corten_zone::canonical(below.wire(), next.wire());
            assert!(order.is_lt() || next == zone, "{text}");
        }
    }
}
