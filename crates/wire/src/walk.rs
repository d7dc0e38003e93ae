//! Walking over names and records in octets that nobody has checked yet.
use crate::HEADER_OCTETS;
use crate::codes::RecordType;
use crate::query::be16;

/// Most octets a name may have when its pointers are followed (RFC 1035 section 2.3.4).
const EXPANDED_MAX: usize = crate::name::NAME_OCTETS_MAX;
/// Pointers followed in one name: compression needs one per label at most. Without this bound a
/// message could lead every one of its names through thousands of them.
const POINTERS_MAX: usize = crate::name::LABELS_MAX;

/// The place behind the name at `at`; pointers are not followed.
pub(crate) fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += usize::from(length) + 1,
            192.. => return message.get(at + 1).map(|_| at + 2),
            _ => return None,
        }
    }
}

/// Where the pointer lies that ends the name at `at`; nothing when the root's label ends it.
pub(crate) fn pointer(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            length @ 1..=63 => at += usize::from(length) + 1,
            192.. => return Some(at),
            _ => return None,
        }
    }
}

/// Octets of the name at `at` without compression.
///
/// A pointer must point to somewhere before itself, so that the walk ends, and behind the header,
/// which is written anew when the message leaves; a name of more than 255 octets is none.
pub(crate) fn expanded_length(message: &[u8], mut at: usize) -> Option<usize> {
    let (mut length, mut floor, mut pointers) = (0, at, 0);
    loop {
        match *message.get(at)? {
            0 => return Some(length + 1),
            label @ 1..=63 => {
                length += usize::from(label) + 1;
                at += usize::from(label) + 1;
                if length >= EXPANDED_MAX || at > message.len() {
                    return None;
                }
            }
            192.. => {
                at = usize::from(be16(message, at)? & 0x3fff);
                pointers += 1;
                if !(HEADER_OCTETS..floor).contains(&at) || pointers > POINTERS_MAX {
                    return None;
                }
                floor = at;
            }
            _ => return None,
        }
    }
}

/// Whether two names in a message are the same, compression and letter case aside (RFC 4343); names
/// that cannot be read are not.
pub(crate) fn same_name(message: &[u8], one: usize, other: usize) -> bool {
    let (mut one, mut other) = (Labels::new(message, one), Labels::new(message, other));
    loop {
        // What both lead to is the same from there on.
        if one.at == other.at && !one.broken {
            return true;
        }
        match (one.next(), other.next()) {
            (Some(label), Some(same)) if label.eq_ignore_ascii_case(same) => (),
            (None, None) => return !one.broken && !other.broken,
            _ => return false,
        }
    }
}

/// The labels of a name, without the root's.
struct Labels<'m> {
    message: &'m [u8],
    at: usize,
    pointers: usize,
    broken: bool,
}

impl<'m> Labels<'m> {
    fn new(message: &'m [u8], at: usize) -> Self {
        let mut labels = Self {
            message,
            at,
            pointers: 0,
            broken: false,
        };
        labels.follow();
        labels
    }

    /// Goes to where the next label really is.
    fn follow(&mut self) {
        while self.message.get(self.at).is_some_and(|octet| *octet >= 192) {
            let target =
                be16(self.message, self.at).map_or(0, |target| usize::from(target & 0x3fff));
            self.pointers += 1;
            if target < HEADER_OCTETS || target >= self.at || self.pointers > POINTERS_MAX {
                self.broken = true;
                return;
            }
            self.at = target;
        }
    }
}

impl<'m> Iterator for Labels<'m> {
    type Item = &'m [u8];

    fn next(&mut self) -> Option<&'m [u8]> {
        if self.broken {
            return None;
        }
        let length = match self.message.get(self.at) {
            Some(0) => return None,
            Some(&length) if length <= 63 => usize::from(length),
            _ => {
                self.broken = true;
                return None;
            }
        };
        let label = self.message.get(self.at + 1..self.at + 1 + length);
        self.broken = label.is_none();
        self.at += 1 + length;
        self.follow();
        label
    }
}

/// A record's fields as they lie in the message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawRecord {
    pub(crate) rtype: RecordType,
    /// Where TYPE begins.
    pub(crate) fixed: usize,
    pub(crate) rdata: usize,
    pub(crate) end: usize,
}

/// The record at `at`.
pub(crate) fn record(message: &[u8], at: usize) -> Option<RawRecord> {
    let fixed = skip_name(message, at)?;
    let rdata = fixed + 10;
    let end = rdata + usize::from(be16(message, fixed + 8)?);
    message.get(rdata..end)?;
    Some(RawRecord {
        rtype: RecordType(be16(message, fixed)?),
        fixed,
        rdata,
        end,
    })
}

/// Where names lie inside RDATA of types whose names may be compressed (RFC 3597 section 4, RFC
/// 1035 section 3.3).
///
/// Calls `each` with the place of every such name; returns nothing when the RDATA does not hold
/// what its type asks for.
pub(crate) fn names_in_rdata(
    message: &[u8],
    record: &RawRecord,
    mut each: impl FnMut(usize),
) -> Option<()> {
    let (skip, names) = match record.rtype {
        RecordType::NS
        | RecordType::CNAME
        | RecordType::PTR
        | RecordType::MB
        | RecordType::MD
        | RecordType::MF
        | RecordType::MG
        | RecordType::MR
        | RecordType::DNAME => (0, 1),
        RecordType::SOA | RecordType::MINFO | RecordType::RP => (0, 2),
        RecordType::MX | RecordType::AFSDB | RecordType::RT | RecordType::KX => (2, 1),
        RecordType::SRV => (6, 1),
        _ => return Some(()),
    };
    let mut at = record.rdata + skip;
    for _ in 0..names {
        let end = skip_name(message, at)?;
        if end > record.end {
            return None;
        }
        each(at);
        at = end;
    }
    Some(())
}

/// Whether the owner at `at` and the names in the RDATA of its record can be read.
pub(crate) fn names_are_sound(message: &[u8], at: usize, record: &RawRecord) -> bool {
    let mut sound = expanded_length(message, at).is_some();
    let read = names_in_rdata(message, record, |name| {
        sound &= expanded_length(message, name).is_some();
    });
    read.is_some() && sound
}

/// Whether EDNS options fill these octets exactly (RFC 6891 section 6.1.2).
pub(crate) fn are_options(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let behind = be16(rest, 2).and_then(|length| rest.get(4 + usize::from(length)..));
        let Some(behind) = behind else { return false };
        rest = behind;
    }
    true
}

/// The octets of the one question of a message: QNAME as it was sent, QTYPE, QCLASS.
///
/// Nothing unless the message has exactly one question whose name is not compressed.
pub fn question_octets(message: &[u8]) -> Option<&[u8]> {
    if be16(message, 4)? != 1 {
        return None;
    }
    let mut at = HEADER_OCTETS;
    loop {
        match usize::from(*message.get(at)?) {
            0 => return message.get(HEADER_OCTETS..at + 5),
            length @ 1..=63 => at += length + 1,
            _ => return None,
        }
    }
}

/// Whether two messages ask the same: names compared without case (RFC 4343), type and class
/// exactly.
///
/// What a client must check before it takes a message for the response to its query (RFC 5452
/// section 9.1).
pub fn same_question(one: &[u8], other: &[u8]) -> bool {
    let (Some(one), Some(other)) = (question_octets(one), question_octets(other)) else {
        return false;
    };
    let (Some((name, code)), Some((other_name, other_code))) =
        (one.split_last_chunk::<4>(), other.split_last_chunk::<4>())
    else {
        return false;
    };
    code == other_code && name.eq_ignore_ascii_case(other_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_only_lead_backwards() {
        let mut message = vec![0; HEADER_OCTETS];
        message.extend(b"\x01a\0\x01b\xc0\x0c\xc0\x0f\xc0\x15\xc0\x19\x01a\0\xc0\x04\xc0");
        for (at, length, what) in [
            (12, Some(3), "no pointer"),
            (15, Some(5), "one"),
            (19, Some(5), "two"),
            (21, None, "points to itself"),
            (23, None, "points forward"),
            (28, None, "points into the header"),
            (30, None, "cut off"),
        ] {
            assert_eq!(expanded_length(&message, at), length, "{what}");
        }
    }

    #[test]
    fn pointers_to_pointers_are_counted() {
        let mut message = vec![0; HEADER_OCTETS + 1];
        let mut last = HEADER_OCTETS;
        for count in 1..=200 {
            let at = message.len();
            message.extend((0xc000 | last as u16).to_be_bytes());
            let expected = (count <= POINTERS_MAX).then_some(1);
            assert_eq!(expanded_length(&message, at), expected, "{count}");
            last = at;
        }
    }

    #[test]
    fn names_are_the_same_without_regard_to_case_and_compression() {
        let mut message = vec![0; HEADER_OCTETS];
        message.extend(b"\x01a\x01b\0\x01A\xc0\x0e\x01B\0\xc0\x0c\x01a\0\xc0\x1a\x01b\x3f");
        for (one, other, same, what) in [
            (12, 17, true, "behind a pointer"),
            (12, 24, true, "a pointer alone"),
            (14, 21, true, "letter case"),
            (12, 14, false, "one label less"),
            (17, 26, false, "one label more"),
            (26, 29, true, "to a whole name"),
            (12, 12, true, "itself"),
            (31, 14, false, "cut off"),
            (99, 14, false, "nowhere"),
        ] {
            assert_eq!(same_name(&message, one, other), same, "{what}");
        }
    }

    #[test]
    fn questions_are_the_same_without_regard_to_case() {
        let one = b"\0\x01\0\0\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
        let mut other = *one;
        other[13] = b'A';
        assert!(same_question(one, &other));
        other[16] = 2;
        assert!(!same_question(one, &other));
        assert!(!same_question(one, &one[..18]));
        assert!(!same_question(&one[..11], &one[..11]));
    }
}
