//! RRsets: several records of one owner and type at once; and what adding any record ends with.
use super::{Owner, POINTER_MAX, Rdata, Record, Reply, Section};
use crate::MESSAGE_OCTETS_MAX;
use crate::codes::{Class, RecordType};

/// Octets of owner, TYPE, CLASS and TTL where the owner is a pointer.
const FRONT_OCTETS: usize = 10;

impl Reply {
    /// Adds records of class IN behind all others, one for each item of `each`, as
    /// [`Reply::push`] does; the owner is written once, and the others point to it.
    ///
    /// False when a record is not added; those before it are.
    pub fn push_set<T>(
        &mut self,
        section: Section,
        owner: Owner<'_>,
        rtype: RecordType,
        ttl: u32,
        each: impl Iterator<Item = T>,
        mut rdata: impl FnMut(&mut Rdata<'_>, T),
    ) -> bool {
        if !self.may_begin(section) {
            return false;
        }
        let first = self.octets.len();
        let mut front = [0; FRONT_OCTETS];
        for (count, item) in each.enumerate() {
            let start = self.octets.len();
            match count {
                0 => {
                    self.write_owner(owner);
                    let pointer = match self.octets.get(first..) {
                        Some(&[high, low]) if high >= 0xc0 => [high, low],
                        // The root's name is shorter than a pointer.
                        Some(&[0]) => [0; 2],
                        _ if first <= POINTER_MAX => (0xc000 | first as u16).to_be_bytes(),
                        _ => [0; 2],
                    };
                    front[..2].copy_from_slice(&pointer);
                    front[2..4].copy_from_slice(&rtype.0.to_be_bytes());
                    front[4..6].copy_from_slice(&Class::IN.0.to_be_bytes());
                    front[6..].copy_from_slice(&ttl.to_be_bytes());
                    self.octets.extend_from_slice(&front[2..]);
                }
                // No pointer reaches the owner, or it would be longer.
                _ if front[0] == 0 => {
                    self.write_owner(owner);
                    self.octets.extend_from_slice(&front[2..]);
                }
                _ => self.octets.extend_from_slice(&front),
            }
            let at = self.octets.len() + 2;
            self.octets.extend_from_slice(&[0; 2]);
            rdata(&mut Rdata(&mut self.octets), item);
            if !self.end_record(section, rtype, start, at) {
                return false;
            }
        }
        true
    }

    /// Whether a record of this section may stand behind those that are there.
    #[inline]
    pub(super) fn may_begin(&self, section: Section) -> bool {
        let in_order = self
            .records
            .last()
            .is_none_or(|last| last.section <= section);
        debug_assert!(in_order, "sections come in their order");
        in_order
    }

    /// Ends a record that begins at `start` and whose RDATA begins at `at`, two octets for its length in
    /// front: notes both. False, and the record is gone, when the message would be too long.
    #[inline]
    pub(super) fn end_record(
        &mut self,
        section: Section,
        rtype: RecordType,
        start: usize,
        at: usize,
    ) -> bool {
        if self.octets.len() > MESSAGE_OCTETS_MAX {
            self.octets.truncate(start);
            return false;
        }
        let length = (self.octets.len() - at) as u16;
        self.octets[at - 2..at].copy_from_slice(&length.to_be_bytes());
        self.records.push(Record {
            section,
            rtype,
            start: start as u16,
            rdata: at as u16,
            end: self.octets.len() as u16,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Query, Question, Rcode};

    #[test]
    fn a_set_is_what_its_records_are() {
        let question = Question {
            name: "www.example".parse().unwrap(),
            rtype: RecordType::A,
            class: Class::IN,
        };
        let query = Query::ask(1, &question);
        let name = b"\x05other\x07example\0";
        let far = b"\x02ns\x04test\0";
        for owner in [
            Owner::Question,
            Owner::Wire(name),
            Owner::Wire(far),
            Owner::At(16),
            Owner::At(24),
        ] {
            let (mut one, mut other) = (Reply::new(), Reply::new());
            one.start(&query, Rcode::NOERROR);
            other.start(&query, Rcode::NOERROR);
            for octet in 1..4 {
                one.push(Section::Answer, owner, RecordType::A, 60, |rdata| {
                    rdata.octets(&[octet; 4])
                });
            }
            let octets = 1..4;
            assert!(other.push_set(
                Section::Answer,
                owner,
                RecordType::A,
                60,
                octets,
                |rdata, octet| {
                    rdata.octets(&[octet; 4]);
                }
            ));
            let shown = |reply: &Reply| {
                let message = reply.to_message(&query).unwrap();
                message
                    .answers
                    .iter()
                    .map(|record| record.to_string())
                    .collect::<Vec<_>>()
            };
            assert_eq!(shown(&one), shown(&other), "{owner:?}");
            assert_eq!(one.records().len(), other.records().len());
            assert!(other.octets().len() <= one.octets().len());
        }
    }

    #[test]
    fn what_a_message_cannot_hold_is_left_out() {
        let query = Query::ask(
            1,
            &Question {
                name: crate::Name::root(),
                rtype: RecordType::TXT,
                class: Class::IN,
            },
        );
        let mut reply = Reply::new();
        reply.start(&query, Rcode::NOERROR);
        let owner = Owner::Wire(b"\x01a\0");
        let long = [7; 20_000];
        let whole = reply.push_set(
            Section::Answer,
            owner,
            RecordType::TXT,
            1,
            0..9,
            |rdata, _| rdata.octets(&long),
        );
        assert!(!whole);
        assert_eq!(reply.records().len(), 3);
        assert!(reply.to_message(&query).is_ok());
    }
}
