//! A message from another server, read record by record: for transfers and notifications.
//!
//! Not here: the reply to a client's query ([`crate::Reply`]), which is taken over whole.
use crate::codes::{Class, Opcode, Rcode, RecordType};
use crate::copy::{rdata_written_out, write_out};
use crate::query::be16;
use crate::reply::Section;
use crate::{HEADER_OCTETS, walk};

/// A message whose header and questions have been read.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    octets: &'m [u8],
    records: usize,
}

/// A record of a message with the names written out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Owner in wire form, letter case kept.
    pub owner: Vec<u8>,
    /// TYPE.
    pub rtype: RecordType,
    /// CLASS.
    pub class: Class,
    /// Seconds.
    pub ttl: u32,
    /// RDATA; names in it are not compressed.
    pub rdata: Vec<u8>,
}

/// Goes through the records of a message.
#[derive(Clone, Debug)]
pub struct Records<'m> {
    octets: &'m [u8],
    at: usize,
    left: [u16; 3],
    /// Records may have no RDATA, whatever their type.
    bare: bool,
}

/// A message that breaks the format (RFC 1035 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message is malformed")]
pub struct Malformed;

impl<'m> Message<'m> {
    /// Reads the header and skips the questions.
    ///
    /// # Errors
    /// A message that ends before its records begin.
    pub fn read(octets: &'m [u8]) -> Result<Self, Malformed> {
        let mut at = HEADER_OCTETS;
        for _ in 0..be16(octets, 4).ok_or(Malformed)? {
            at = walk::skip_name(octets, at).ok_or(Malformed)? + 4;
            // Each takes five octets at least, so this ends with the message.
            octets.get(..at).ok_or(Malformed)?;
        }
        octets.get(..at).ok_or(Malformed)?;
        Ok(Self {
            octets,
            records: at,
        })
    }

    /// ID.
    pub fn id(&self) -> u16 {
        be16(self.octets, 0).unwrap_or(0)
    }

    /// QR: a response.
    pub fn is_response(&self) -> bool {
        self.flags() & 0x8000 != 0
    }

    /// OPCODE.
    pub fn opcode(&self) -> Opcode {
        Opcode(self.flags() >> 11 & 0xf)
    }

    /// RCODE of the header; without the upper bits of EDNS.
    pub fn rcode(&self) -> Rcode {
        Rcode(self.flags() & 0xf)
    }

    /// AA.
    pub fn authoritative(&self) -> bool {
        self.flags() & 0x0400 != 0
    }

    /// TC.
    pub fn truncated(&self) -> bool {
        self.flags() & 0x0200 != 0
    }

    /// Number of questions.
    pub fn questions(&self) -> u16 {
        be16(self.octets, 4).unwrap_or(0)
    }

    /// Number of records in the answer section, as announced.
    pub fn answers(&self) -> u16 {
        be16(self.octets, 6).unwrap_or(0)
    }

    /// The records, first to last.
    pub fn records(&self) -> Records<'m> {
        Records {
            octets: self.octets,
            at: self.records,
            left: [6, 8, 10].map(|at| be16(self.octets, at).unwrap_or(0)),
            bare: false,
        }
    }

    /// The same for a dynamic update, where a record without RDATA stands for a whole RRset (RFC 2136
    /// sections 2.4 and 2.5).
    pub fn update_records(&self) -> Records<'m> {
        Records {
            bare: true,
            ..self.records()
        }
    }

    fn flags(&self) -> u16 {
        be16(self.octets, 2).unwrap_or(0)
    }
}

impl Records<'_> {
    /// Reads the next record into `found`, and says which section it is of; nothing behind the last.
    ///
    /// # Errors
    /// A record that is announced and not there, or has names that cannot be read. Nothing can be
    /// read behind it.
    pub fn next_into(&mut self, found: &mut Found) -> Result<Option<Section>, Malformed> {
        let sections = [Section::Answer, Section::Authority, Section::Additional];
        let Some(place) = self.left.iter().position(|left| *left > 0) else {
            return Ok(None);
        };
        self.read(found).ok_or_else(|| {
            self.left = [0; 3];
            Malformed
        })?;
        self.left[place] -= 1;
        Ok(Some(sections[place]))
    }

    fn read(&mut self, found: &mut Found) -> Option<()> {
        let record = walk::record(self.octets, self.at)?;
        found.owner.clear();
        found.rdata.clear();
        if self.bare && record.rdata == record.end {
            walk::expanded_length(self.octets, self.at)?;
            write_out(self.octets, self.at, &mut found.owner)?;
        } else {
            if !walk::names_are_sound(self.octets, self.at, &record) {
                return None;
            }
            write_out(self.octets, self.at, &mut found.owner)?;
            rdata_written_out(self.octets, &record, &mut found.rdata)?;
        }
        found.rtype = record.rtype;
        found.class = Class(be16(self.octets, record.fixed + 2)?);
        let ttl = self.octets.get(record.fixed + 4..)?.first_chunk()?;
        found.ttl = u32::from_be_bytes(*ttl);
        self.at = record.end;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &[u8] = b"\x12\x34\x84\x05\0\x01\0\x01\0\0\0\x01\x07example\0\0\x0f\0\x01\
        \xc0\x0c\0\x0f\0\x01\0\0\0\x3c\0\x07\0\x0a\x02MX\xc0\x0c\0\0\x29\x04\xd0\0\0\0\0\0\0";

    #[test]
    fn records_are_read_with_their_names() {
        let message = Message::read(MESSAGE).unwrap();
        assert_eq!((message.id(), message.questions()), (0x1234, 1));
        assert_eq!(
            (message.rcode(), message.opcode()),
            (Rcode::REFUSED, Opcode::QUERY)
        );
        assert!(message.is_response() && message.authoritative() && !message.truncated());
        let (mut records, mut found) = (message.records(), Found::default());
        assert_eq!(records.next_into(&mut found), Ok(Some(Section::Answer)));
        assert_eq!(found.owner, b"\x07example\0");
        assert_eq!((found.rtype, found.ttl), (RecordType::MX, 60));
        assert_eq!(found.rdata, b"\0\x0a\x02MX\x07example\0");
        assert_eq!(records.next_into(&mut found), Ok(Some(Section::Additional)));
        assert_eq!(found.rtype, RecordType::OPT);
        assert_eq!(records.next_into(&mut found), Ok(None));
    }

    #[test]
    fn every_cut_is_noticed() {
        for length in 0..MESSAGE.len() {
            let read = Message::read(&MESSAGE[..length]).map(|message| {
                let (mut records, mut found) = (message.records(), Found::default());
                while records.next_into(&mut found)?.is_some() {}
                assert_eq!(records.next_into(&mut found), Ok(None));
                Ok::<_, Malformed>(())
            });
            assert!(!matches!(read, Ok(Ok(()))), "{length}");
        }
    }
}
