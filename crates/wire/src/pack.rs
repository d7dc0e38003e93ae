//! Messages full of records, names compressed: for transfers, where a zone goes out as fast as it
//! can be read.
//!
//! Not here: replies that plugins change ([`crate::Reply`]).
use crate::codes::{Class, RecordType};
use crate::query::Query;
use crate::walk;
use crate::{HEADER_OCTETS, MESSAGE_OCTETS_MAX};

/// Furthest place a compression pointer can name (RFC 1035 section 4.1.4).
const POINTER_MAX: usize = 0x3fff;
/// Places that names are looked up by; twice as many as names fit in front of [`POINTER_MAX`] in
/// practice.
const PLACES: usize = 4096;
/// Looks at the table for one name's end; a full neighbourhood costs octets, not time.
const PROBES_MAX: usize = 4;

/// One message under way; used for one after the other.
#[derive(Debug)]
pub struct Packer {
    octets: Vec<u8>,
    /// Where names, or their ends, begin; 0 is nowhere.
    places: Box<[u16; PLACES]>,
    answers: u16,
    /// Octets of a message; of one with a single record.
    limits: [usize; 2],
}

impl Packer {
    /// For messages of `limit` octets at most; those with a single record may have `limit_single`.
    pub fn new(limit: usize, limit_single: usize) -> Self {
        Self {
            octets: Vec::new(),
            places: Box::new([0; PLACES]),
            answers: 0,
            limits: [limit, limit_single].map(|limit| limit.min(MESSAGE_OCTETS_MAX)),
        }
    }

    /// Begins the response to a query: its ID, its question, AA.
    pub fn start(&mut self, query: &Query) {
        self.octets.clear();
        self.places.fill(0);
        self.answers = 0;
        // QR and AA; OPCODE, RD and CD are the query's.
        let flags = 0x8400 | query.flags() & 0x7910;
        self.octets.extend_from_slice(&query.id().to_be_bytes());
        self.octets.extend_from_slice(&flags.to_be_bytes());
        self.octets.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        self.octets.extend_from_slice(query.question_octets());
        let mut at = HEADER_OCTETS;
        while let Some(&label) = self.octets.get(at).filter(|label| **label != 0) {
            if let Some(free) = self.free(at) {
                self.places[free] = at as u16;
            }
            at += 1 + usize::from(label);
        }
    }

    /// Adds a record of class IN to the answer section; names in `rdata` are not compressed. False
    /// when it does not fit; the message is as it was.
    pub fn push(&mut self, owner: &[u8], rtype: RecordType, ttl: u32, rdata: &[u8]) -> bool {
        let start = self.octets.len();
        self.write_name(owner);
        self.octets.extend_from_slice(&rtype.0.to_be_bytes());
        self.octets.extend_from_slice(&Class::IN.0.to_be_bytes());
        self.octets.extend_from_slice(&ttl.to_be_bytes());
        self.octets.extend_from_slice(&[0, 0]);
        let at = self.octets.len();
        self.write_rdata(rtype, rdata);
        let length = self.octets.len() - at;
        let limit = self.limits[usize::from(self.answers == 0)];
        if self.octets.len() > limit || self.answers == u16::MAX || length > 0xffff {
            self.take_back(start);
            return false;
        }
        self.octets[at - 2..at].copy_from_slice(&(length as u16).to_be_bytes());
        self.answers += 1;
        true
    }

    /// Records so far.
    pub fn answers(&self) -> u16 {
        self.answers
    }

    /// The message; another must be started behind it.
    pub fn finish(&mut self) -> &mut Vec<u8> {
        if let Some(count) = self.octets.get_mut(6..8) {
            count.copy_from_slice(&self.answers.to_be_bytes());
        }
        &mut self.octets
    }

    /// Forgets what was written from `start` on.
    fn take_back(&mut self, start: usize) {
        self.octets.truncate(start);
        // The message is about to be sent: no name of it is looked up again unless a smaller record
        // follows, and that one must not find what is gone.
        for place in self.places.iter_mut() {
            if usize::from(*place) >= start {
                *place = 0;
            }
        }
    }

    /// RFC 3597 section 4: only names in types of RFC 1035 are compressed.
    fn write_rdata(&mut self, rtype: RecordType, rdata: &[u8]) {
        let (skip, names) = match rtype {
            RecordType::NS | RecordType::CNAME | RecordType::PTR => (0, 1),
            RecordType::SOA | RecordType::MINFO => (0, 2),
            RecordType::MX => (2, 1),
            _ => (0, 0),
        };
        let (front, mut rest) = rdata.split_at(skip.min(rdata.len()));
        self.octets.extend_from_slice(front);
        for _ in 0..names {
            let end = walk::skip_name(rest, 0).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end.min(rest.len()));
            self.write_name(name);
            rest = behind;
        }
        self.octets.extend_from_slice(rest);
    }

    fn write_name(&mut self, name: &[u8]) {
        let mut rest = name;
        while let Some((&label, _)) = rest.split_first().filter(|(label, _)| **label != 0) {
            let slot = match self.find(rest) {
                Slot::Found(at) => {
                    self.octets.extend_from_slice(&(0xc000 | at).to_be_bytes());
                    return;
                }
                Slot::Free(slot) => Some(slot),
                Slot::Full => None,
            };
            let here = self.octets.len();
            if let (Some(slot), true) = (slot, here <= POINTER_MAX) {
                self.places[slot] = here as u16;
            }
            let Some((own, behind)) = rest.split_at_checked(1 + usize::from(label)) else {
                break;
            };
            self.octets.extend_from_slice(own);
            rest = behind;
        }
        self.octets.push(0);
    }

    fn find(&self, name: &[u8]) -> Slot {
        let first = hash(name);
        for probe in 0..PROBES_MAX {
            let slot = (first + probe) % PLACES;
            match self.places[slot] {
                0 => return Slot::Free(slot),
                at if is_at(&self.octets, usize::from(at), name) => return Slot::Found(at),
                _ => (),
            }
        }
        Slot::Full
    }

    fn free(&self, at: usize) -> Option<usize> {
        let end = walk::skip_name(&self.octets, at)?;
        match self.find(self.octets.get(at..end)?) {
            Slot::Free(slot) => Some(slot),
            Slot::Found(_) | Slot::Full => None,
        }
    }
}

enum Slot {
    Found(u16),
    Free(usize),
    Full,
}

/// FNV over the lower-cased name; collisions that somebody chooses cost compression, no more.
fn hash(name: &[u8]) -> usize {
    let mut hash = 0x811c_9dc5_u32;
    for octet in name {
        hash = (hash ^ u32::from(octet.to_ascii_lowercase())).wrapping_mul(0x0100_0193);
    }
    (hash ^ hash >> 15) as usize
}

/// Whether the name at a place is this one. Letter case counts: a transfer carries names as they
/// are (RFC 5936 section 3.4).
fn is_at(message: &[u8], mut at: usize, mut name: &[u8]) -> bool {
    loop {
        match message.get(at) {
            None => return false,
            Some(0) => return name == [0],
            Some(192..) => {
                let pointer = crate::query::be16(message, at).unwrap_or(0);
                // A pointer of our own leads backwards; one that did not would not end.
                let target = usize::from(pointer) & POINTER_MAX;
                if target >= at {
                    return false;
                }
                at = target;
            }
            Some(&label) => {
                let label = usize::from(label) + 1;
                let (Some(here), Some((there, rest))) =
                    (message.get(at..at + label), name.split_at_checked(label))
                else {
                    return false;
                };
                if here != there {
                    return false;
                }
                (at, name) = (at + label, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Found, Message};
    use crate::{Name, Question};

    fn name(text: &str) -> Vec<u8> {
        text.parse::<Name>().unwrap().wire().to_vec()
    }

    fn query(zone: &str) -> Query {
        Query::ask(
            7,
            &Question {
                name: zone.parse().unwrap(),
                rtype: RecordType::AXFR,
                class: Class::IN,
            },
        )
    }

    fn read(message: &[u8]) -> Vec<Found> {
        let mut records = Message::read(message).unwrap().records();
        let mut all = Vec::new();
        loop {
            let mut found = Found::default();
            match records.next_into(&mut found).unwrap() {
                Some(_) => all.push(found),
                None => return all,
            }
        }
    }

    #[test]
    fn what_was_packed_is_read_and_is_small() {
        let mut packer = Packer::new(65_535, 65_535);
        packer.start(&query("example.org"));
        let mut sent = Vec::new();
        for number in 0..500 {
            let owner = name(&format!("host-{number}.sub.example.org"));
            let mut rdata = vec![0, 10];
            rdata.extend(name(&format!("mx{}.mail.example.org", number % 7)));
            assert!(packer.push(&owner, RecordType::MX, 60, &rdata));
            let mut target = vec![0; 6];
            target.extend(name("target.example.org"));
            assert!(packer.push(&owner, RecordType::SRV, 60, &target));
            sent.push((owner.clone(), rdata));
            sent.push((owner, target));
        }
        assert_eq!(packer.answers(), 1000);
        let message = packer.finish().clone();
        // 32 octets of owner and 24 of an exchange become a label with a pointer, and a pointer.
        assert!(message.len() < 36_000, "{}", message.len());
        let found: Vec<_> = read(&message)
            .into_iter()
            .map(|r| (r.owner, r.rdata))
            .collect();
        assert!(found == sent);
    }

    #[test]
    fn what_does_not_fit_leaves_no_trace() {
        let mut packer = Packer::new(120, 120);
        packer.start(&query("example"));
        assert!(packer.push(&name("a.example"), RecordType::NS, 1, &name("ns.a.example")));
        let before = packer.finish().clone();
        let long = name(&format!("{}.b.example", "x".repeat(60)));
        assert!(!packer.push(&long, RecordType::NS, 1, &name("ns.example")));
        assert_eq!(*packer.finish(), before);
        // Would be compressed to the owner that is gone.
        assert!(packer.push(&name("b.example"), RecordType::A, 1, &[192, 0, 2, 1]));
        let found = read(packer.finish());
        assert_eq!(found[1].owner, name("b.example"));
    }

    #[test]
    fn a_large_record_goes_alone() {
        let mut packer = Packer::new(120, 400);
        packer.start(&query("example"));
        assert!(packer.push(&name("a.example"), RecordType::A, 1, &[192, 0, 2, 1]));
        assert!(!packer.push(&name("b.example"), RecordType::TXT, 1, &[1; 300]));
        packer.start(&query("example"));
        assert!(packer.push(&name("b.example"), RecordType::TXT, 1, &[1; 300]));
        packer.start(&query("example"));
        assert!(!packer.push(&name("b.example"), RecordType::TXT, 1, &[1; 400]));
    }

    #[test]
    fn the_root_and_letter_case_are_kept() {
        let mut packer = Packer::new(65_535, 65_535);
        packer.start(&query("."));
        assert!(packer.push(&name("."), RecordType::NS, 1, b"\x01A\x04ROOT\0"));
        assert!(packer.push(&name("."), RecordType::NS, 1, b"\x01a\x04root\0"));
        let found = read(packer.finish());
        assert_eq!(found[0].rdata, b"\x01A\x04ROOT\0");
        assert_eq!(found[1].rdata, b"\x01a\x04root\0");
    }
}
