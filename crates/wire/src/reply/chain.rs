//! Whether a reply answers what is asked: the chain of CNAME records from the question on.
//!
//! Reads names where they lie; nothing here allocates.
use super::{Record, Reply, Section};
use crate::codes::{Class, RecordType};
use crate::query::{Query, be16};
use crate::{HEADER_OCTETS, walk};

/// CNAME records followed in one reply.
const CHAIN_MAX: usize = 32;

/// What the CNAME records of one owner lead to.
enum Target {
    None,
    At(usize),
    Several,
}

impl Reply {
    /// Whether the reply's question is the query's, as plugins see it now.
    pub fn answers(&self, query: &Query) -> bool {
        let question = &query.question;
        let Some(end) = walk::skip_name(&self.octets, HEADER_OCTETS) else {
            return false;
        };
        self.octets[HEADER_OCTETS..end].eq_ignore_ascii_case(question.name.wire())
            && be16(&self.octets, end) == Some(question.rtype.0)
            && be16(&self.octets, end + 2) == Some(question.class.0)
    }

    /// Whether the answer section holds what is asked: a record of the type at the end of the chain
    /// of CNAME records that begins at the question's name (RFC 1034 section 3.6.2).
    ///
    /// A name with two different targets, a loop, and a chain of more than 32 links have
    /// no end.
    pub fn has_answer(&self) -> bool {
        let Some(fixed) = walk::skip_name(&self.octets, HEADER_OCTETS) else {
            return false;
        };
        let (Some(rtype), Some(class)) = (be16(&self.octets, fixed), be16(&self.octets, fixed + 2))
        else {
            return false;
        };
        let (rtype, class) = (RecordType(rtype), Class(class));
        match rtype {
            RecordType::ANY => self.at_owner(HEADER_OCTETS, class).next().is_some(),
            RecordType::CNAME => matches!(self.target(HEADER_OCTETS, class), Target::At(_)),
            _ => self.chain_end(class).is_some_and(|end| {
                self.at_owner(end, class)
                    .any(|record| record.rtype == rtype)
            }),
        }
    }

    /// Where the name lies that the question's name stands for in the end.
    fn chain_end(&self, class: Class) -> Option<usize> {
        let mut at = HEADER_OCTETS;
        for _ in 0..=CHAIN_MAX {
            match self.target(at, class) {
                Target::None => return Some(at),
                Target::At(next) => at = next,
                Target::Several => return None,
            }
        }
        None
    }

    /// The target of the CNAME records that the name at `owner` has.
    fn target(&self, owner: usize, class: Class) -> Target {
        let mut target = Target::None;
        for record in self.at_owner(owner, class) {
            let at = usize::from(record.rdata);
            target = match target {
                _ if record.rtype != RecordType::CNAME => continue,
                Target::None => Target::At(at),
                Target::At(other) if walk::same_name(&self.octets, at, other) => continue,
                _ => return Target::Several,
            };
        }
        target
    }

    /// Records of the answer section whose owner is the name at `owner`.
    fn at_owner(&self, owner: usize, class: Class) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(move |record| {
            record.section == Section::Answer
                && (class == Class::ANY
                    || be16(&self.octets, usize::from(record.rdata) - 8) == Some(class.0))
                && walk::same_name(&self.octets, usize::from(record.start), owner)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reply::Owner;
    use crate::{Question, Rcode};

    fn query(name: &str, rtype: RecordType) -> Query {
        let (name, class) = (name.parse().unwrap(), Class::IN);
        Query::ask(1, &Question { name, rtype, class })
    }

    fn wire(name: &str) -> Vec<u8> {
        name.parse::<crate::Name>().unwrap().wire().to_vec()
    }

    #[test]
    fn a_reply_answers_its_own_question_only() {
        let asked = query("q.test", RecordType::A);
        let mut reply = Reply::new();
        assert!(!reply.answers(&asked));
        reply.start(&query("Q.test", RecordType::A), Rcode::NOERROR);
        assert!(reply.answers(&asked));
        assert!(!reply.answers(&query("q.test", RecordType::AAAA)));
        assert!(!reply.answers(&query("a.q.test", RecordType::A)));
    }

    #[test]
    fn an_answer_stands_at_the_end_of_the_chain() {
        // Owner, type, target or nothing for an address.
        type Line = (&'static str, RecordType, &'static str);
        const A: RecordType = RecordType::A;
        const CNAME: RecordType = RecordType::CNAME;
        let table: &[(RecordType, &[Line], bool)] = &[
            (A, &[], false),
            (A, &[("q.test", A, "")], true),
            (A, &[("Q.TEST", A, "")], true),
            (A, &[("other.test", A, "")], false),
            (A, &[("q.test", CNAME, "b.test")], false),
            (A, &[("q.test", CNAME, "b.test"), ("B.test", A, "")], true),
            (A, &[("b.test", A, ""), ("q.test", CNAME, "b.test")], true),
            (A, &[("q.test", CNAME, "b.test"), ("q.test", A, "")], false),
            (
                A,
                &[
                    ("q.test", CNAME, "b.test"),
                    ("q.test", CNAME, "c.test"),
                    ("b.test", A, ""),
                ],
                false,
            ),
            (
                A,
                &[
                    ("q.test", CNAME, "b.test"),
                    ("q.test", CNAME, "B.test"),
                    ("b.test", A, ""),
                ],
                true,
            ),
            (
                A,
                &[("q.test", CNAME, "b.test"), ("b.test", CNAME, "q.test")],
                false,
            ),
            (CNAME, &[("q.test", CNAME, "b.test")], true),
            (CNAME, &[("b.test", CNAME, "q.test")], false),
            (RecordType::ANY, &[("q.test", A, "")], true),
            (RecordType::ANY, &[("b.test", A, "")], false),
        ];
        for (rtype, lines, answered) in table {
            let mut reply = Reply::new();
            reply.start(&query("q.test", *rtype), Rcode::NOERROR);
            for (owner, rtype, target) in *lines {
                reply.push(
                    Section::Answer,
                    Owner::Wire(&wire(owner)),
                    *rtype,
                    60,
                    |rdata| match *rtype {
                        RecordType::CNAME => rdata.octets(&wire(target)),
                        _ => rdata.octets(&[192, 0, 2, 1]),
                    },
                );
            }
            assert_eq!(reply.has_answer(), *answered, "{rtype} {lines:?}");
        }
    }
}
