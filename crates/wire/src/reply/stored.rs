//! Replies as a cache keeps them: packed into octets, and taken out again with other TTLs.
//!
//! A packed reply is a DNS message without ID and OPT whose question is lower-cased, so that the
//! octets hold the key as well. The places of records are found again by walking; that costs less
//! than an index would in memory.
use super::{Record, Reply, Section};
use crate::codes::{Rcode, RecordType};
use crate::query::{Query, be16};
use crate::{HEADER_OCTETS, walk};

const AA: u16 = 0x0400;
const TC: u16 = 0x0200;
const RA: u16 = 0x0080;
const AD: u16 = 0x0020;
const SECTIONS: [Section; 3] = [Section::Answer, Section::Authority, Section::Additional];

impl Reply {
    /// Appends the reply to `out` as [`Reply::unpack`] takes it; EDNS options are left out.
    ///
    /// Returns false and leaves `out` alone when there is nothing to pack: a reply that nobody
    /// started, one without a question, or one with an extended RCODE.
    pub fn pack(&self, out: &mut Vec<u8>) -> bool {
        let Some(end) = walk::skip_name(&self.octets, HEADER_OCTETS).map(|end| end + 4) else {
            return false;
        };
        if !self.started || self.rcode.0 > 15 || end > self.octets.len() {
            return false;
        }
        let mut flags = 0x8000 | self.rcode.0;
        for (set, bit) in [
            (self.authoritative, AA),
            (self.truncated, TC),
            (self.recursion_available, RA),
            (self.authentic_data, AD),
        ] {
            flags |= if set { bit } else { 0 };
        }
        let start = out.len();
        out.extend_from_slice(&self.octets);
        let packed = &mut out[start..];
        packed[..HEADER_OCTETS].fill(0);
        packed[2..4].copy_from_slice(&flags.to_be_bytes());
        packed[5] = 1;
        for (section, at) in SECTIONS.into_iter().zip([6, 8, 10]) {
            // No section of a message holds more: records have eleven octets at least.
            let count = self.count(section) as u16;
            packed[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
        packed[HEADER_OCTETS..end - 4].make_ascii_lowercase();
        true
    }

    /// Becomes a packed reply, with the client's question in front and this TTL on every record.
    ///
    /// The question must be the packed one's, letter case aside; that is for whoever looked the
    /// reply up to check. Returns false, and is empty, when the octets are no packed reply.
    pub fn unpack(&mut self, query: &Query, packed: &[u8], ttl: u32) -> bool {
        self.clear();
        self.octets.extend_from_slice(packed);
        if self.place_records(ttl).is_none() {
            self.clear();
            return false;
        }
        if query.question_unchanged() {
            let question = query.question_octets();
            if let Some(place) = self
                .octets
                .get_mut(HEADER_OCTETS..HEADER_OCTETS + question.len())
            {
                place.copy_from_slice(question);
            }
        }
        let flags = be16(packed, 2).unwrap_or(0);
        self.started = true;
        self.rcode = Rcode(flags & 0xf);
        self.authoritative = flags & AA != 0;
        self.truncated = flags & TC != 0;
        self.recursion_available = flags & RA != 0;
        self.authentic_data = flags & AD != 0;
        true
    }

    /// Finds the records of packed octets again, and sets their TTLs.
    fn place_records(&mut self, ttl: u32) -> Option<()> {
        let mut at = walk::skip_name(&self.octets, HEADER_OCTETS)? + 4;
        for (section, count_at) in SECTIONS.into_iter().zip([6, 8, 10]) {
            for _ in 0..be16(&self.octets, count_at)? {
                let raw = walk::record(&self.octets, at)?;
                let place = self.octets.get_mut(raw.rdata - 6..raw.rdata - 2)?;
                place.copy_from_slice(&ttl.to_be_bytes());
                self.records.push(Record {
                    section,
                    rtype: raw.rtype,
                    start: u16::try_from(at).ok()?,
                    rdata: u16::try_from(raw.rdata).ok()?,
                    end: u16::try_from(raw.end).ok()?,
                });
                at = raw.end;
            }
        }
        (at == self.octets.len()).then_some(())
    }

    /// Sets the TTL of every record, in seconds.
    pub fn set_ttls(&mut self, ttl: u32) {
        for record in &self.records {
            let rdata = usize::from(record.rdata);
            if let Some(place) = self.octets.get_mut(rdata - 6..rdata - 2) {
                place.copy_from_slice(&ttl.to_be_bytes());
            }
        }
    }

    /// The least TTL of all records, in seconds; nothing without records.
    pub fn ttl_min(&self) -> Option<u32> {
        self.records.iter().map(|record| self.ttl(record)).min()
    }

    /// MINIMUM of the first SOA record in the authority section: how long a denial may be kept, if
    /// its TTL is not less (RFC 2308 section 5).
    pub fn soa_minimum(&self) -> Option<u32> {
        let soa = self
            .records
            .iter()
            .find(|record| record.section == Section::Authority && record.rtype == RecordType::SOA);
        soa.map(|soa| {
            let end = usize::from(soa.end);
            let minimum = self.octets.get(end.saturating_sub(4)..end);
            minimum
                .and_then(|octets| octets.try_into().ok())
                .map_or(0, u32::from_be_bytes)
        })
    }

    /// Whether some RRSIG record is not valid now, in seconds since 1970 without their upper bits
    /// (RFC 4034 section 3.1.5); what is no RRSIG is not valid either.
    pub fn has_expired_signature(&self, now: u32) -> bool {
        let mut signatures = self
            .records
            .iter()
            .filter(|record| record.rtype == RecordType::RRSIG);
        signatures.any(|record| {
            let times = self
                .octets
                .get(usize::from(record.rdata) + 8..usize::from(record.end))
                .and_then(|rdata| rdata.first_chunk::<8>());
            let Some(&[e0, e1, e2, e3, i0, i1, i2, i3]) = times else {
                return true;
            };
            let (expiration, inception) = (
                u32::from_be_bytes([e0, e1, e2, e3]),
                u32::from_be_bytes([i0, i1, i2, i3]),
            );
            // Serial numbers (RFC 1982): the sign of the difference counts.
            let late = now.wrapping_sub(expiration).cast_signed() > 0;
            let early = inception.wrapping_sub(now).cast_signed() > 0;
            late || early
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gate;
    use crate::finish::Carrier;
    use crate::reply::Owner;

    fn query(name: &str, rtype: RecordType) -> Query {
        let mut octets = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
        for label in name.split('.') {
            octets.push(label.len() as u8);
            octets.extend(label.bytes());
        }
        octets.push(0);
        octets.extend(rtype.0.to_be_bytes());
        octets.extend([0, 1]);
        let mut query = Query::new();
        assert_eq!(query.read(&octets), Gate::Pass);
        query
    }

    fn finished(reply: &Reply, query: &Query) -> Vec<u8> {
        let mut out = Vec::new();
        reply.finish(query, Carrier::Stream, &mut out);
        out
    }

    fn wire(name: &str) -> Vec<u8> {
        name.parse::<crate::Name>().unwrap().wire().to_vec()
    }

    /// A CNAME chain, an address at its end, and records of the other sections.
    fn example(query: &Query) -> Reply {
        let mut reply = Reply::new();
        reply.start(query, Rcode::NOERROR);
        (reply.recursion_available, reply.authentic_data) = (true, true);
        let target = wire("host.example");
        reply.push(
            Section::Answer,
            Owner::Question,
            RecordType::CNAME,
            300,
            |rdata| rdata.octets(&target),
        );
        reply.push(
            Section::Answer,
            Owner::Wire(&target),
            RecordType::A,
            60,
            |rdata| rdata.octets(&[192, 0, 2, 1]),
        );
        reply.push(
            Section::Authority,
            Owner::Wire(&wire("example")),
            RecordType::SOA,
            90,
            |rdata| {
                rdata.octets(&target);
                rdata.octets(&target);
                for number in [1, 2, 3, 4, 25] {
                    rdata.u32(number);
                }
            },
        );
        reply.push(
            Section::Additional,
            Owner::Wire(&target),
            RecordType::AAAA,
            70,
            |rdata| rdata.octets(&[0; 16]),
        );
        reply
    }

    #[test]
    fn what_is_packed_comes_out_with_the_clients_letters_and_another_ttl() {
        let asked = query("WWW.example", RecordType::A);
        let mut reply = example(&asked);
        let mut packed = vec![7];
        assert!(reply.pack(&mut packed));
        assert_eq!(&packed[13..18], b"\x03www\x07");
        let again = query("wwW.Example", RecordType::A);
        let mut other = Reply::new();
        other.set_option(15, b"\0\x03");
        assert!(other.unpack(&again, &packed[1..], 12));
        assert_eq!(other.records(), reply.records());
        reply.set_ttls(12);
        let (mut one, two) = (finished(&reply, &again), finished(&other, &again));
        one[12..29].copy_from_slice(again.question_octets());
        assert_eq!(one, two);
        assert_eq!(&two[12..29], again.question_octets());
        assert!(other.recursion_available && other.authentic_data && !other.authoritative);
        assert_eq!(other.option(15), None);
    }

    #[test]
    fn a_changed_question_keeps_the_packed_octets() {
        let mut asked = query("www.example", RecordType::A);
        asked.question.name = "other.example".parse().unwrap();
        let mut reply = Reply::new();
        reply.start(&asked, Rcode::NXDOMAIN);
        let mut packed = Vec::new();
        assert!(reply.pack(&mut packed));
        assert!(reply.answers(&asked));
        assert!(reply.unpack(&asked, &packed, 5));
        assert_eq!(
            (reply.rcode, &reply.octets()[12..]),
            (Rcode::NXDOMAIN, &b"\x05other\x07example\0\0\x01\0\x01"[..])
        );
    }

    #[test]
    fn what_cannot_be_packed_is_left_out() {
        let asked = query("www.example", RecordType::A);
        let (mut reply, mut out) = (Reply::new(), Vec::new());
        assert!(!reply.pack(&mut out));
        reply.start(&asked, Rcode::BADVERS);
        assert!(!reply.pack(&mut out) && out.is_empty());
    }

    #[test]
    fn octets_that_are_no_packed_reply_leave_an_empty_one() {
        let asked = query("www.example", RecordType::A);
        let mut packed = Vec::new();
        assert!(example(&asked).pack(&mut packed));
        for length in 0..packed.len() {
            let mut reply = Reply::new();
            assert!(!reply.unpack(&asked, &packed[..length], 1), "{length}");
            assert!(!reply.is_started() && reply.octets().is_empty());
        }
        packed.push(0);
        assert!(!Reply::new().unpack(&asked, &packed, 1));
    }

    #[test]
    fn ttls_and_the_minimum_are_read() {
        let asked = query("www.example", RecordType::A);
        let mut reply = example(&asked);
        assert_eq!((reply.ttl_min(), reply.soa_minimum()), (Some(60), Some(25)));
        reply.set_ttls(9);
        assert!(reply.records().iter().all(|record| reply.ttl(record) == 9));
        reply.start(&asked, Rcode::NOERROR);
        assert_eq!((reply.ttl_min(), reply.soa_minimum()), (None, None));
    }

    #[test]
    fn signatures_are_valid_between_their_times() {
        let asked = query("www.example", RecordType::A);
        for (expiration, inception, now, expired) in [
            (200u32, 100u32, 150u32, false),
            (200, 100, 200, false),
            (200, 100, 201, true),
            (200, 100, 99, true),
            (5, u32::MAX - 5, 1, false),
            (5, u32::MAX - 5, 6, true),
        ] {
            let mut reply = Reply::new();
            reply.start(&asked, Rcode::NOERROR);
            assert!(!reply.has_expired_signature(now));
            reply.push(
                Section::Answer,
                Owner::Question,
                RecordType::RRSIG,
                60,
                |rdata| {
                    rdata.octets(&[0, 1, 13, 2, 0, 0, 0, 60]);
                    rdata.u32(expiration);
                    rdata.u32(inception);
                    rdata.octets(&[0, 1, 0]);
                },
            );
            assert_eq!(
                reply.has_expired_signature(now),
                expired,
                "{expiration} {inception} {now}"
            );
        }
        let mut reply = Reply::new();
        reply.start(&asked, Rcode::NOERROR);
        reply.push(
            Section::Answer,
            Owner::Question,
            RecordType::RRSIG,
            60,
            |_| (),
        );
        assert!(reply.has_expired_signature(1));
    }
}
