//! A received query: checked once, then read without decoding.
mod header;

use std::borrow::Cow;
use std::ops::Range;

use crate::HEADER_OCTETS;
use crate::codes::{Class, Opcode, Rcode, RecordType};
use crate::name::Name;
use crate::walk;

pub use edit::Flag;

mod edit;
mod signed;

/// What is asked (RFC 1035 section 4.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// QNAME, lower-cased.
    pub name: Name,
    /// QTYPE.
    pub rtype: RecordType,
    /// QCLASS.
    pub class: Class,
}

/// What a query's OPT record says (RFC 6891 section 6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edns {
    /// Octets of the largest UDP message that the sender takes, as sent: values under 512 count as
    /// 512.
    pub udp_size: u16,
    /// VERSION.
    pub version: u8,
    /// DO: DNSSEC records are wanted (RFC 3225).
    pub dnssec_ok: bool,
    options: Range<usize>,
}

/// Whether anybody serves dynamic updates where a message came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updates {
    /// They are answered with NOTIMP.
    NotServed,
    /// They pass the gate.
    Served,
}

/// Whether a message is a query that plugins may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Gate {
    /// A well-formed query.
    Pass,
    /// Not to be answered at all: no header, or a response (answering those makes loops).
    Ignore,
    /// To be answered with this RCODE and nothing but a header.
    Header(Rcode),
    /// To be answered with this RCODE, question and OPT.
    Whole(Rcode),
}

/// One query as it came from the network, or as plugins changed it; read again and again into the
/// same buffers.
#[derive(Clone, Debug)]
pub struct Query {
    octets: Vec<u8>,
    question_end: usize,
    edns: Option<Edns>,
    /// The OPT record is a plugin's, not the client's.
    edns_added: bool,
    tsig: Option<usize>,
    /// A message with a TSIG record as it came; else empty.
    received: Vec<u8>,
    /// What plugins further down should answer; plugins may change it and put it back.
    pub question: Question,
}

impl Query {
    /// An empty one, to read into.
    pub fn new() -> Self {
        Self {
            octets: Vec::with_capacity(512),
            question_end: HEADER_OCTETS,
            edns: None,
            edns_added: false,
            tsig: None,
            received: Vec::new(),
            question: Question {
                name: Name::root(),
                rtype: RecordType(0),
                class: Class(0),
            },
        }
    }

    /// A query of our own: RD set, no EDNS.
    pub fn ask(id: u16, question: &Question) -> Self {
        let mut octets = vec![0; HEADER_OCTETS];
        octets[..2].copy_from_slice(&id.to_be_bytes());
        octets[2] = 1;
        octets[5] = 1;
        octets.extend_from_slice(question.name.wire());
        octets.extend_from_slice(&question.rtype.0.to_be_bytes());
        octets.extend_from_slice(&question.class.0.to_be_bytes());
        let question_end = octets.len();
        Self {
            octets,
            question_end,
            edns: None,
            edns_added: false,
            tsig: None,
            received: Vec::new(),
            question: question.clone(),
        }
    }

    /// The same query with another question: header bits and OPT are kept, everything else is left
    /// out.
    pub fn with_question(&self, question: &Question) -> Self {
        let mut asked = Self::ask(self.id(), question);
        if let Some(header) = self.octets.get(2..4) {
            asked.octets[2..4].copy_from_slice(header);
        }
        if let Some(edns) = &self.edns {
            let options = self.octets.get(edns.options.clone()).unwrap_or_default();
            let [high, low] = edns.udp_size.to_be_bytes();
            let flags = if edns.dnssec_ok { 0x80 } else { 0 };
            asked.octets[11] = 1;
            asked
                .octets
                .extend_from_slice(&[0, 0, 41, high, low, 0, edns.version, flags, 0]);
            asked
                .octets
                .extend_from_slice(&(options.len() as u16).to_be_bytes());
            let start = asked.octets.len();
            asked.octets.extend_from_slice(options);
            asked.edns = Some(Edns {
                options: start..asked.octets.len(),
                ..edns.clone()
            });
            asked.edns_added = self.edns_added;
        }
        asked
    }

    /// Reads a message and says whether it may go on.
    ///
    /// The order of the checks is CoreDNS's (header first, so that most garbage costs nothing).
    /// Octets behind the message are ignored; a record that is announced and not there, one whose
    /// names cannot be read, or a second OPT, is a format error. So is TSIG at any place but the end
    /// (RFC 8945 section 5.2). Dynamic updates are not served.
    pub fn read(&mut self, message: &[u8]) -> Gate {
        self.read_also(message, Updates::NotServed)
    }

    /// The same where dynamic updates (RFC 2136) may be served.
    pub fn read_also(&mut self, message: &[u8], updates: Updates) -> Gate {
        self.octets.clear();
        self.received.clear();
        self.edns = None;
        self.edns_added = false;
        self.tsig = None;
        self.question_end = HEADER_OCTETS;
        // The last query's question is nobody's business when this one has none.
        self.question.name.set_root();
        (self.question.rtype, self.question.class) = (RecordType(0), Class(0));
        let (Some(flags), Some(header)) = (be16(message, 2), message.get(..HEADER_OCTETS)) else {
            return Gate::Ignore;
        };
        if flags & 0x8000 != 0 {
            return Gate::Ignore;
        }
        self.octets.extend_from_slice(header);
        let counts = [4, 6, 8, 10].map(|at| be16(message, at).unwrap_or(0));
        match (self.opcode(), counts, updates) {
            (Opcode::QUERY | Opcode::NOTIFY, [1, 0..=1, 0..=1, 0..=2], _) => (),
            // Any number of prerequisites and updates (RFC 2136 section 2).
            (Opcode::UPDATE, [1, ..], Updates::Served) => (),
            (Opcode::QUERY | Opcode::NOTIFY, ..) | (Opcode::UPDATE, _, Updates::Served) => {
                return Gate::Header(Rcode::FORMERR);
            }
            _ => return Gate::Header(Rcode::NOTIMP),
        }
        let Ok(fixed) = self.question.name.read(message, HEADER_OCTETS) else {
            return Gate::Header(Rcode::FORMERR);
        };
        let (Some(rtype), Some(class)) = (be16(message, fixed), be16(message, fixed + 2)) else {
            self.question.name.set_root();
            return Gate::Header(Rcode::FORMERR);
        };
        self.question.rtype = RecordType(rtype);
        self.question.class = Class(class);
        self.question_end = fixed + 4;
        self.octets.clear();
        self.octets.extend_from_slice(message);
        let plain = u32::from(counts[1]) + u32::from(counts[2]);
        match self.read_records(plain, u32::from(counts[3])) {
            None => Gate::Whole(Rcode::FORMERR),
            Some(()) if self.edns.as_ref().is_some_and(|edns| edns.version != 0) => {
                Gate::Whole(Rcode::BADVERS)
            }
            Some(()) => Gate::Pass,
        }
    }

    fn read_records(&mut self, plain: u32, additional: u32) -> Option<()> {
        let mut at = self.question_end;
        let is_update = self.opcode() == Opcode::UPDATE;
        for count in 0..plain + additional {
            let record = walk::record(&self.octets, at)?;
            // Records that stand for a whole RRset have no RDATA (RFC 2136 sections 2.4 and 2.5).
            let is_bare = is_update && record.rdata == record.end;
            if is_bare && walk::expanded_length(&self.octets, at).is_none()
                || !is_bare && !walk::names_are_sound(&self.octets, at, &record)
            {
                return None;
            }
            if count < plain {
                at = record.end;
                continue;
            }
            match record.rtype {
                // RFC 6891 section 6.1.1: one OPT at most, owned by the root.
                RecordType::OPT if self.edns.is_some() || self.octets[at] != 0 => return None,
                RecordType::OPT => self.edns = Some(self.read_edns(&record)?),
                RecordType::TSIG if count + 1 < plain + additional => return None,
                RecordType::TSIG => self.tsig = Some(at),
                _ => (),
            }
            at = record.end;
        }
        self.octets.truncate(at);
        if self.tsig.is_some() {
            self.received.extend_from_slice(&self.octets);
        }
        Some(())
    }

    fn read_edns(&self, record: &walk::RawRecord) -> Option<Edns> {
        let options = record.rdata..record.end;
        if !walk::are_options(self.octets.get(options.clone())?) {
            return None;
        }
        Some(Edns {
            udp_size: be16(&self.octets, record.fixed + 2)?,
            version: *self.octets.get(record.fixed + 5)?,
            dnssec_ok: self.octets.get(record.fixed + 6)? & 0x80 != 0,
            options,
        })
    }

    /// The message as it came and as plugins changed it, without octets behind its end. Only the header when the gate let no
    /// question through.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// The query as it should go to another server: as it came, or with the question that a plugin
    /// put in its place.
    pub fn to_send(&self) -> Cow<'_, [u8]> {
        match self.question_unchanged() {
            true => Cow::Borrowed(&self.octets),
            false => Cow::Owned(self.with_question(&self.question).octets),
        }
    }

    /// ID.
    pub fn id(&self) -> u16 {
        be16(&self.octets, 0).unwrap_or(0)
    }

    /// OPCODE.
    pub fn opcode(&self) -> Opcode {
        Opcode(self.flags() >> 11 & 0xf)
    }

    /// RD: recursion is desired.
    pub fn recursion_desired(&self) -> bool {
        self.flags() & 0x0100 != 0
    }

    /// AD: the client understands AD in responses (RFC 6840 section 5.7).
    pub fn authentic_data(&self) -> bool {
        self.flags() & 0x0020 != 0
    }

    /// CD: the client checks signatures by itself.
    pub fn checking_disabled(&self) -> bool {
        self.flags() & 0x0010 != 0
    }

    /// The second and third pair of header octets.
    pub(crate) fn flags(&self) -> u16 {
        be16(&self.octets, 2).unwrap_or(0)
    }

    /// The OPT record, if there is one.
    pub fn edns(&self) -> Option<&Edns> {
        self.edns.as_ref()
    }

    /// DO, false without EDNS.
    pub fn dnssec_ok(&self) -> bool {
        self.edns.as_ref().is_some_and(|edns| edns.dnssec_ok)
    }

    /// Data of the first EDNS option with this code.
    pub fn edns_option(&self, code: u16) -> Option<&[u8]> {
        let mut rest = self.octets.get(self.edns.as_ref()?.options.clone())?;
        loop {
            let end = 4 + usize::from(be16(rest, 2)?);
            let (option, behind) = rest.split_at_checked(end)?;
            if be16(option, 0)? == code {
                return option.get(4..);
            }
            rest = behind;
        }
    }

    /// Where the TSIG record begins in [`Query::octets`], if there is one.
    pub fn tsig(&self) -> Option<usize> {
        self.tsig
    }

    /// The question's octets as the client sent them: letter case kept, class and type behind.
    pub fn question_octets(&self) -> &[u8] {
        self.octets
            .get(HEADER_OCTETS..self.question_end)
            .unwrap_or_default()
    }

    /// Whether [`Query::question`] is still what the client asked.
    pub(crate) fn question_unchanged(&self) -> bool {
        let sent = self.question_octets();
        sent.split_last_chunk::<4>()
            .is_some_and(|(name, &[t0, t1, c0, c1])| {
                [t0, t1] == self.question.rtype.0.to_be_bytes()
                    && [c0, c1] == self.question.class.0.to_be_bytes()
                    && name.eq_ignore_ascii_case(self.question.name.wire())
            })
    }
}

impl Default for Query {
    fn default() -> Self {
        Self::new()
    }
}

/// Two octets as a number.
pub(crate) fn be16(octets: &[u8], at: usize) -> Option<u16> {
    octets
        .get(at..at + 2)?
        .try_into()
        .ok()
        .map(u16::from_be_bytes)
}

#[cfg(test)]
mod tests;
