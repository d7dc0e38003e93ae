//! Records in canonical form (RFC 4034 section 6.2 and 6.3, RFC 6840 section 5.1).
use std::ops::Range;

use corten_wire::{Name, RecordType};

/// An RRset of class IN in canonical form: names lower-cased, records in order, none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rrset {
    owner: Name,
    rtype: RecordType,
    rdatas: Vec<Box<[u8]>>,
}

impl Rrset {
    /// The RRset of these RDATA, whose names are not compressed.
    pub fn new<'a>(
        owner: &Name,
        rtype: RecordType,
        rdatas: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        let canonical = |octets: &[u8]| {
            let mut rdata: Box<[u8]> = octets.into();
            lower_names(rtype, &mut rdata);
            rdata
        };
        let mut rdatas: Vec<_> = rdatas.into_iter().map(canonical).collect();
        // As left-justified unsigned octet sequences, the absence of an octet before a zero.
        rdatas.sort_unstable();
        rdatas.dedup();
        Self {
            owner: owner.clone(),
            rtype,
            rdatas,
        }
    }

    /// Owner.
    pub fn owner(&self) -> &Name {
        &self.owner
    }

    /// TYPE.
    pub fn rtype(&self) -> RecordType {
        self.rtype
    }

    /// RDATA in canonical form and order.
    pub fn rdatas(&self) -> impl Iterator<Item = &[u8]> {
        self.rdatas.iter().map(|rdata| &**rdata)
    }
}

/// Lower-cases the names of uncompressed RDATA, where the canonical form wants it: in types of RFC
/// 1035 and a few others, never in newer ones (RFC 3597 section 7), nor in NSEC.
pub fn lower_names(rtype: RecordType, rdata: &mut [u8]) {
    // Length octets are less than any letter.
    if let Some(names) = names(rtype, rdata).and_then(|names| rdata.get_mut(names)) {
        names.make_ascii_lowercase();
    }
}

/// Where the names of RDATA lie, one right behind the other; nothing if there are none, or the RDATA
/// is not what its type asks for.
fn names(rtype: RecordType, rdata: &[u8]) -> Option<Range<usize>> {
    let (start, count) = match rtype {
        RecordType::NS
        | RecordType::MD
        | RecordType::MF
        | RecordType::CNAME
        | RecordType::MB
        | RecordType::MG
        | RecordType::MR
        | RecordType::PTR
        | RecordType::DNAME
        | RecordType::NXT => (0, 1),
        RecordType::SOA | RecordType::MINFO | RecordType::RP => (0, 2),
        RecordType::MX | RecordType::AFSDB | RecordType::RT | RecordType::KX => (2, 1),
        RecordType::PX => (2, 2),
        RecordType::SRV => (6, 1),
        RecordType::SIG | RecordType::RRSIG => (18, 1),
        RecordType::NAPTR => {
            let mut at = 4;
            for _ in 0..3 {
                at += 1 + usize::from(*rdata.get(at)?);
            }
            (at, 1)
        }
        _ => return None,
    };
    let mut end = start;
    for _ in 0..count {
        loop {
            let length = usize::from(*rdata.get(end)?);
            end += 1 + length;
            match length {
                0 => break,
                1..=63 => (),
                _ => return None,
            }
        }
    }
    (end <= rdata.len()).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_old_types_are_lowered() {
        for (rtype, rdata, expected) in [
            (RecordType::NS, &b"\x02NS\x01A\0"[..], &b"\x02ns\x01a\0"[..]),
            (RecordType::MX, b"ZZ\x01M\0", b"ZZ\x01m\0"),
            (RecordType::SRV, b"AABBCC\x01S\0", b"AABBCC\x01s\0"),
            (
                RecordType::SOA,
                b"\x01N\0\x01P\0AAAABBBB",
                b"\x01n\0\x01p\0AAAABBBB",
            ),
            (
                RecordType::NAPTR,
                b"AABB\x01S\x03SIP\0\x01R\0",
                b"AABB\x01S\x03SIP\0\x01r\0",
            ),
            (RecordType::TXT, b"\x02NS", b"\x02NS"),
            (RecordType::NSEC, b"\x01N\0\0\x01\x40", b"\x01N\0\0\x01\x40"),
            (RecordType::HTTPS, b"\0\x01\x01N\0", b"\0\x01\x01N\0"),
            (RecordType::HINFO, b"\x01A\x01B", b"\x01A\x01B"),
            (RecordType::NS, b"\x05NS", b"\x05NS"),
            (RecordType::NS, b"\xc0\x0cA", b"\xc0\x0cA"),
        ] {
            let mut lowered = rdata.to_vec();
            lower_names(rtype, &mut lowered);
            assert_eq!(lowered, expected, "{rtype}");
        }
    }

    #[test]
    fn records_are_sorted_and_counted_once() {
        let owner: Name = "a.example".parse().unwrap();
        let rdatas: [&[u8]; 4] = [b"\x01b\0", b"\x01A\0", b"\x01a\0", b"\0"];
        let set = Rrset::new(&owner, RecordType::NS, rdatas);
        let sorted: Vec<_> = set.rdatas().collect();
        assert_eq!(sorted, [&b"\0"[..], b"\x01a\0", b"\x01b\0"]);
    }
}
