//! What every reply obeys when it leaves: header, EDNS, size.
use crate::codes::{Opcode, Rcode};
use crate::query::Query;
use crate::reply::{Reply, Section};
use crate::{HEADER_OCTETS, MESSAGE_OCTETS_MAX};

/// Smallest size that every client takes over UDP (RFC 1035 section 4.2.1, RFC 6891 section 6.2.3).
const UDP_OCTETS_MIN: u16 = 512;
/// Octets of an OPT record without options.
const OPT_OCTETS: usize = 11;

/// How large a message the transport carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A datagram: 512 octets, or what the client's OPT says.
    Datagram,
    /// A stream, with two octets of length in front: 65,535 octets.
    Stream,
}

impl Reply {
    /// Fills in the header, adds OPT if the client sent one, cuts to what the client can take, and
    /// appends the message to `out`.
    ///
    /// RD and CD are copied from the query, the OPT has the client's size and DO (RFC 3225 section
    /// 3). Records are dropped from the end when they do not fit, and TC is set (RFC 2181 section
    /// 9), as CoreDNS does.
    pub fn finish(&self, query: &Query, carrier: Carrier, out: &mut Vec<u8>) {
        self.finish_leaving(query, carrier, 0, out);
    }

    /// The same with room for `room` octets behind it: for a TSIG record.
    ///
    /// Where it does not fit, nothing but the question is left and TC is set (RFC 8945 section 5.3).
    pub fn finish_leaving(&self, query: &Query, carrier: Carrier, room: usize, out: &mut Vec<u8>) {
        let edns = query.edns().filter(|_| query.client_speaks_edns());
        let limit = match (carrier, edns) {
            (Carrier::Stream, _) => MESSAGE_OCTETS_MAX,
            (Carrier::Datagram, Some(edns)) => usize::from(edns.udp_size.max(UDP_OCTETS_MIN)),
            (Carrier::Datagram, None) => usize::from(UDP_OCTETS_MIN),
        }
        .saturating_sub(room);
        let question_end = self
            .records
            .first()
            .map_or(self.octets.len(), |record| usize::from(record.start));
        let with_options = |octets: usize| octets + OPT_OCTETS + self.options.len();
        let options = match edns {
            Some(_) if with_options(self.octets.len()) <= limit => &self.options[..],
            // Records give way to options, but not to those that leave them little room.
            Some(_) if self.options.len() * 2 <= limit && with_options(question_end) <= limit => {
                &self.options[..]
            }
            _ => &[],
        };
        let opt_octets = edns.map_or(0, |_| OPT_OCTETS + options.len());
        let mut kept = self.records.len();
        // A reply that nobody has started is a header and nothing else.
        let mut end = self.octets.len().max(HEADER_OCTETS);
        while kept > 0 && end + opt_octets > limit {
            kept -= 1;
            end = usize::from(self.records[kept].start);
        }
        if room > 0 && kept < self.records.len() {
            (kept, end) = (0, question_end.max(HEADER_OCTETS));
        }
        let start = out.len();
        out.extend_from_slice(&self.octets[..end.min(self.octets.len())]);
        out.resize(start + end, 0);
        if let Some(edns) = edns {
            let flags = if edns.dnssec_ok { 0x80 } else { 0 };
            let [size_high, size_low] = edns.udp_size.to_be_bytes();
            out.extend_from_slice(&[
                0,
                0,
                41,
                size_high,
                size_low,
                (self.rcode.0 >> 4) as u8,
                0,
                flags,
                0,
            ]);
            out.extend_from_slice(&(options.len() as u16).to_be_bytes());
            out.extend_from_slice(options);
        }
        let cut = self.truncated || kept < self.records.len();
        let mut counts = [0u16; 3];
        for record in &self.records[..kept] {
            counts[record.section as usize] += 1;
        }
        counts[Section::Additional as usize] += u16::from(edns.is_some());
        let header = &mut out[start..start + HEADER_OCTETS];
        header[..2].copy_from_slice(&query.id().to_be_bytes());
        header[2..4].copy_from_slice(&self.flags(query, cut).to_be_bytes());
        header[5] = u8::from(end > HEADER_OCTETS);
        for (at, count) in [6, 8, 10].into_iter().zip(counts) {
            header[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
    }

    fn flags(&self, query: &Query, cut: bool) -> u16 {
        // Without an OPT in the reply the upper bits have no place; BADVERS and the like always
        // come with one.
        let rcode = if self.rcode.0 > 15 && !query.client_speaks_edns() {
            Rcode::SERVFAIL
        } else {
            self.rcode
        };
        // RD and CD mean something in queries only.
        let repeated = match query.opcode() {
            Opcode::QUERY => 0x7910,
            _ => 0x7800,
        };
        let mut flags = 0x8000 | query.flags() & repeated | rcode.0 & 0xf;
        for (set, bit) in [
            (self.authoritative, 0x0400),
            (cut, 0x0200),
            (self.recursion_available, 0x0080),
            (self.authentic_data, 0x0020),
        ] {
            if set {
                flags |= bit;
            }
        }
        flags
    }
}

/// A reply that is nothing but a header, for messages whose question cannot be trusted.
///
/// ID, OPCODE, RD and CD come from the query, as CoreDNS's.
pub fn header_only(query: &Query, rcode: Rcode, out: &mut Vec<u8>) {
    let flags = 0x8000 | query.flags() & 0x7910 | rcode.0 & 0xf;
    out.extend_from_slice(&query.id().to_be_bytes());
    out.extend_from_slice(&flags.to_be_bytes());
    out.extend_from_slice(&[0; 8]);
}
