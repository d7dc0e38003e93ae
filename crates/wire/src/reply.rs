//! The reply while plugins make and change it: octets and an index of the records.
mod chain;
mod stored;

use crate::codes::{Class, Rcode, RecordType};
use crate::query::{Query, be16};
use crate::walk;
use crate::{HEADER_OCTETS, MESSAGE_OCTETS_MAX};

pub use rebuild::{Anew, NameAt, View};

mod compress;
mod edit;
mod order;
mod rebuild;
mod set;

/// Where the question's name begins in every message (RFC 1035 section 4.1.4: a pointer there is
/// `c0 0c`).
const QUESTION_POINTER: u16 = 0xc000 | HEADER_OCTETS as u16;
/// Furthest place a compression pointer can name.
const POINTER_MAX: usize = 0x3fff;

/// Sections behind the question, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Records that answer the question.
    Answer,
    /// Records about the zone: SOA of negative answers, NS of referrals.
    Authority,
    /// Records that may spare the client another query.
    Additional,
}

/// A record's place in [`Reply::octets`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its section.
    pub section: Section,
    /// TYPE.
    pub rtype: RecordType,
    /// Where its owner begins.
    pub start: u16,
    /// Where its RDATA begins; the TTL's four octets begin six before.
    pub rdata: u16,
    /// Behind its last octet.
    pub end: u16,
}

/// The owner of a record that is added.
#[derive(Clone, Copy, Debug)]
pub enum Owner<'a> {
    /// The question's name, letter case as the client sent it.
    Question,
    /// A name in wire form.
    Wire(&'a [u8]),
    /// A name that the message holds already, by its place, which is below 16,384.
    At(u16),
}

/// Why a message cannot be taken over as the reply to a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReplyError {
    /// Its octets break the format (RFC 1035 section 4).
    #[error("the message is malformed")]
    Malformed,
    /// It answers another question, or is no response.
    #[error("the message answers another question")]
    OtherQuestion,
}

/// What will be sent. Belongs to its exchange: nobody copies before changing it.
///
/// Holds header, question and records; ID, counts, RD, CD and OPT are written when it leaves
/// ([`crate::finish`]).
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub(crate) octets: Vec<u8>,
    pub(crate) records: Vec<Record>,
    /// EDNS options for the OPT record, as octets; sent when the client sent an OPT itself.
    pub(crate) options: Vec<u8>,
    spare: rebuild::Spare,
    started: bool,
    came_with_edns: bool,
    loaded: bool,
    /// RCODE, extended ones included.
    pub rcode: Rcode,
    /// AA: the answer is authoritative.
    pub authoritative: bool,
    /// TC: more than fits was there.
    pub truncated: bool,
    /// RA: recursion is available.
    pub recursion_available: bool,
    /// AD: all data is authentic (RFC 4035 section 3.2.3).
    pub authentic_data: bool,
}

/// Writes the RDATA of one record.
#[derive(Debug)]
pub struct Rdata<'a>(&'a mut Vec<u8>);

impl Rdata<'_> {
    /// Octets as they are; names in them must be uncompressed.
    pub fn octets(&mut self, octets: &[u8]) {
        self.0.extend_from_slice(octets);
    }

    /// A number of two octets.
    pub fn u16(&mut self, number: u16) {
        self.octets(&number.to_be_bytes());
    }

    /// A number of four octets.
    pub fn u32(&mut self, number: u32) {
        self.octets(&number.to_be_bytes());
    }

    /// A character-string (RFC 1035 section 3.3), cut at 255 octets.
    pub fn string(&mut self, text: &[u8]) {
        let text = text.get(..255).unwrap_or(text);
        self.0.push(text.len() as u8);
        self.octets(text);
    }
}

impl Reply {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            octets: Vec::with_capacity(512),
            records: Vec::with_capacity(16),
            ..Self::default()
        }
    }

    /// Whether anybody has answered.
    pub fn is_started(&self) -> bool {
        self.started
    }

    /// Whether it was taken over from elsewhere, rather than made here.
    pub fn is_loaded(&self) -> bool {
        self.loaded
    }

    /// Forgets everything but the memory.
    pub fn clear(&mut self) {
        self.octets.clear();
        self.records.clear();
        self.options.clear();
        (self.started, self.loaded) = (false, false);
        self.came_with_edns = false;
        self.rcode = Rcode::NOERROR;
        (
            self.authoritative,
            self.truncated,
            self.recursion_available,
            self.authentic_data,
        ) = (false, false, false, false);
    }

    /// Begins a reply: forgets what was there, repeats the question as the client sent it.
    pub fn start(&mut self, query: &Query, rcode: Rcode) {
        self.clear();
        self.started = true;
        self.rcode = rcode;
        self.octets.resize(HEADER_OCTETS, 0);
        write_question(query, &mut self.octets);
    }

    /// Adds a record of class IN behind all others.
    ///
    /// Sections must come in their order: a record of an earlier section than the last one is not
    /// added, nor is one that would make the message longer than 65,535 octets; both return false.
    pub fn push(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: RecordType,
        ttl: u32,
        rdata: impl FnOnce(&mut Rdata<'_>),
    ) -> bool {
        self.push_class(section, owner, rtype, Class::IN, ttl, rdata)
    }

    /// The same for any class.
    pub fn push_class(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: RecordType,
        class: Class,
        ttl: u32,
        rdata: impl FnOnce(&mut Rdata<'_>),
    ) -> bool {
        if !self.may_begin(section) {
            return false;
        }
        let start = self.octets.len();
        self.write_owner(owner);
        self.octets.extend_from_slice(&rtype.0.to_be_bytes());
        self.octets.extend_from_slice(&class.0.to_be_bytes());
        self.octets.extend_from_slice(&ttl.to_be_bytes());
        self.octets.extend_from_slice(&[0, 0]);
        let at = self.octets.len();
        rdata(&mut Rdata(&mut self.octets));
        self.end_record(section, rtype, start, at)
    }

    /// Writes an owner, compressed as far as the question's name allows.
    fn write_owner(&mut self, owner: Owner<'_>) {
        let question_is_root = self.octets.get(HEADER_OCTETS) == Some(&0);
        match owner {
            Owner::Question if question_is_root => self.octets.push(0),
            Owner::Question => self
                .octets
                .extend_from_slice(&QUESTION_POINTER.to_be_bytes()),
            Owner::At(at) if self.octets.get(usize::from(at)) == Some(&0) => self.octets.push(0),
            Owner::At(at) => self.octets.extend_from_slice(&(0xc000 | at).to_be_bytes()),
            Owner::Wire(name) => {
                let (mut kept, mut pointer) = (0, None);
                while name.get(kept).is_some_and(|&length| length != 0) {
                    pointer = self.place_in_question(&name[kept..]);
                    if pointer.is_some() {
                        break;
                    }
                    kept += usize::from(name[kept]) + 1;
                }
                self.octets
                    .extend_from_slice(name.get(..kept).unwrap_or(name));
                match pointer {
                    Some(at) => self
                        .octets
                        .extend_from_slice(&(0xc000 | at as u16).to_be_bytes()),
                    None => self.octets.push(0),
                }
            }
        }
    }

    /// Where the question's name ends in `suffix`.
    fn place_in_question(&self, suffix: &[u8]) -> Option<usize> {
        let end = walk::skip_name(&self.octets, HEADER_OCTETS)?;
        let at = end
            .checked_sub(suffix.len())
            .filter(|&at| at >= HEADER_OCTETS)?;
        if !self.octets[at..end].eq_ignore_ascii_case(suffix) {
            return None;
        }
        // The same octets count only where a label begins.
        let mut label = HEADER_OCTETS;
        while label < at {
            label += usize::from(self.octets[label]) + 1;
        }
        (label == at).then_some(at)
    }

    /// Takes over a response from elsewhere: its octets with the client's question in front, its
    /// RCODE, AA, TC, RA and AD, and the options of its OPT record, which itself is left out.
    pub fn load(&mut self, query: &Query, message: &[u8]) -> Result<(), ReplyError> {
        let response = message.get(2).is_some_and(|flags| flags & 0x80 != 0);
        if !response || !walk::same_question(&query.to_send(), message) {
            return Err(ReplyError::OtherQuestion);
        }
        self.clear();
        self.octets.extend_from_slice(message);
        self.index().inspect_err(|_| self.clear())?;
        // Letter case is the client's (RFC 5452 section 9.2 speaks of clients that rely on it).
        if query.question_unchanged() {
            let question = query.question_octets();
            self.octets[HEADER_OCTETS..HEADER_OCTETS + question.len()].copy_from_slice(question);
        }
        let flags = be16(message, 2).unwrap_or(0);
        (self.started, self.loaded) = (true, true);
        self.rcode = Rcode(self.rcode.0 | flags & 0xf);
        self.authoritative = flags & 0x0400 != 0;
        self.truncated = flags & 0x0200 != 0;
        self.recursion_available = flags & 0x0080 != 0;
        self.authentic_data = flags & 0x0020 != 0;
        Ok(())
    }

    /// Finds the records of a message that has one question, and takes its OPT out.
    fn index(&mut self) -> Result<(), ReplyError> {
        let mut at = HEADER_OCTETS
            + walk::question_octets(&self.octets)
                .ok_or(ReplyError::Malformed)?
                .len();
        let mut opt = None;
        for (section, count_at) in [
            (Section::Answer, 6),
            (Section::Authority, 8),
            (Section::Additional, 10),
        ] {
            for _ in 0..be16(&self.octets, count_at).unwrap_or(0) {
                let record = walk::record(&self.octets, at)
                    .filter(|r| r.end <= MESSAGE_OCTETS_MAX)
                    .ok_or(ReplyError::Malformed)?;
                if !walk::names_are_sound(&self.octets, at, &record) {
                    return Err(ReplyError::Malformed);
                }
                if record.rtype == RecordType::OPT {
                    if opt.replace((at, record)).is_some() || section != Section::Additional {
                        return Err(ReplyError::Malformed);
                    }
                } else {
                    let (start, rdata, end) = (at as u16, record.rdata as u16, record.end as u16);
                    self.records.push(Record {
                        section,
                        rtype: record.rtype,
                        start,
                        rdata,
                        end,
                    });
                }
                at = record.end;
            }
        }
        self.octets.truncate(at);
        if let Some((start, record)) = opt {
            self.take_out_opt(start, record)?;
        }
        Ok(())
    }

    fn take_out_opt(&mut self, start: usize, opt: walk::RawRecord) -> Result<(), ReplyError> {
        let options = &self.octets[opt.rdata..opt.end];
        if !walk::are_options(options) {
            return Err(ReplyError::Malformed);
        }
        self.rcode = Rcode(u16::from(self.octets[opt.fixed + 4]) << 4);
        self.came_with_edns = true;
        self.options.extend_from_slice(options);
        let length = opt.end - start;
        let behind = self
            .records
            .partition_point(|record| usize::from(record.start) < start);
        // Names behind it may be the target of pointers behind it; those move along.
        let mut names = Vec::new();
        for record in &self.records[behind..] {
            let at = usize::from(record.start);
            let raw = walk::record(&self.octets, at).ok_or(ReplyError::Malformed)?;
            names.push(at);
            walk::names_in_rdata(&self.octets, &raw, |at| names.push(at))
                .ok_or(ReplyError::Malformed)?;
        }
        for at in names {
            let Some(pointer) = walk::pointer(&self.octets, at) else {
                continue;
            };
            let target = be16(&self.octets, pointer).unwrap_or(0);
            let place = usize::from(target) & POINTER_MAX;
            if place >= opt.end {
                let moved = target - length as u16;
                self.octets[pointer..pointer + 2].copy_from_slice(&moved.to_be_bytes());
            } else if place >= start {
                return Err(ReplyError::Malformed);
            }
        }
        self.octets.drain(start..opt.end);
        for record in &mut self.records[behind..] {
            record.start -= length as u16;
            record.rdata -= length as u16;
            record.end -= length as u16;
            // A pointer inside RDATA that holds no names has not moved along.
            let at = usize::from(record.start);
            if !walk::record(&self.octets, at)
                .is_some_and(|raw| walk::names_are_sound(&self.octets, at, &raw))
            {
                return Err(ReplyError::Malformed);
            }
        }
        Ok(())
    }

    /// Adds an EDNS option (RFC 6891 section 6.1.2) in place of one with the same code; it is sent
    /// when the client sent an OPT.
    pub fn set_option(&mut self, code: u16, data: &[u8]) {
        self.remove_option(code);
        let Ok(length) = u16::try_from(data.len()) else {
            return;
        };
        self.options.extend_from_slice(&code.to_be_bytes());
        self.options.extend_from_slice(&length.to_be_bytes());
        self.options.extend_from_slice(data);
    }

    /// Takes out the EDNS options with this code.
    pub fn remove_option(&mut self, code: u16) {
        let mut at = 0;
        while let (Some(found), Some(length)) =
            (be16(&self.options, at), be16(&self.options, at + 2))
        {
            let end = (at + 4 + usize::from(length)).min(self.options.len());
            if found == code {
                self.options.drain(at..end);
            } else {
                at = end;
            }
        }
    }

    /// The records, in their order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Header (not yet filled in), question and records.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// TTL of a record of this reply, in seconds.
    pub fn ttl(&self, record: &Record) -> u32 {
        ttl_at(&self.octets, record)
    }

    /// Number of records in a section.
    pub fn count(&self, section: Section) -> usize {
        self.records
            .iter()
            .filter(|record| record.section == section)
            .count()
    }

    /// Octets of the message without compression and without OPT: what CoreDNS logs and measures as
    /// the response's size.
    pub fn uncompressed_length(&self) -> usize {
        let mut length = self
            .records
            .first()
            .map_or(self.octets.len(), |first| usize::from(first.start));
        for record in &self.records {
            let Some(raw) = walk::record(&self.octets, usize::from(record.start)) else {
                continue;
            };
            length += walk::expanded_length(&self.octets, usize::from(record.start)).unwrap_or(0)
                + 10
                + raw.end
                - raw.rdata;
            let _ = walk::names_in_rdata(&self.octets, &raw, |at| {
                let here = walk::skip_name(&self.octets, at).map_or(0, |end| end - at);
                length = length - here + walk::expanded_length(&self.octets, at).unwrap_or(here);
            });
        }
        length
    }
}

/// The question as it goes into a reply: letter case as the client sent it, unless a plugin asks
/// something else.
fn write_question(query: &Query, octets: &mut Vec<u8>) {
    if query.question_unchanged() {
        octets.extend_from_slice(query.question_octets());
    } else if !query.question_octets().is_empty() {
        octets.extend_from_slice(query.question.name.wire());
        octets.extend_from_slice(&query.question.rtype.0.to_be_bytes());
        octets.extend_from_slice(&query.question.class.0.to_be_bytes());
    }
}

fn ttl_at(octets: &[u8], record: &Record) -> u32 {
    let at = usize::from(record.rdata).saturating_sub(6);
    octets
        .get(at..at + 4)
        .and_then(|octets| octets.try_into().ok())
        .map_or(0, u32::from_be_bytes)
}

#[cfg(test)]
mod tests;
