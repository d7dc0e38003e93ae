//! What an answer says, and whether everybody says the same.
//!
//! Left to policy, and so left out: which NS records stand beside an answer that does not need them, and
//! additional records but for the glue of a referral below its cut, which must be there (RFC 9471 section
//! 2.1).
use std::collections::BTreeSet;
use std::fmt;

use super::peers::NAMES;
use super::questions::Question;
use crate::message::{Message, Record};

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const DNAME: u16 = 39;
const RRSIG: u16 = 46;
/// Aliases behind one another that only a loop has.
const CHAIN_MIN: usize = 10;

/// What is compared of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    rcode: String,
    authoritative: bool,
    answer: BTreeSet<String>,
    authority: BTreeSet<String>,
    glue: BTreeSet<String>,
}

/// What became of a question.
pub(super) enum Verdict {
    /// Everybody answers the same.
    Same,
    /// They differ, and a rule says that we are right.
    Rule(&'static str),
    /// We are the only ones who say so, or nobody has decided who is right.
    Wrong,
}

fn line(record: &Record) -> String {
    format!(
        "{} {} {} {}",
        record.owner, record.ttl, record.rtype, record.rdata
    )
    .to_lowercase()
}

/// A record that stands twice in one section (RFC 2181 section 5).
pub(super) fn doubled(message: &Message) -> Option<String> {
    let mut known = BTreeSet::new();
    let mut lines = message
        .records
        .iter()
        .map(|record| (record.section, line(record)));
    lines
        .find(|line| !known.insert(line.clone()))
        .map(|(_, line)| line)
}

impl Answer {
    /// Nothing for an answer that was cut.
    pub(super) fn of(message: &Message, question: &Question) -> Option<Self> {
        if message.flags & 0x0200 != 0 {
            return None;
        }
        let apex = &question.apex;
        let covers_ns = |record: &Record| record.rtype == RRSIG && record.rdata.starts_with("NS ");
        let of = |section| {
            message
                .records
                .iter()
                .filter(move |record| record.section == section)
        };
        let policy = |record: &&Record| {
            let servers = record.rtype == NS || covers_ns(record);
            !(servers && record.owner.eq_ignore_ascii_case(apex))
        };
        let authority: Vec<_> = of(1).filter(policy).collect();
        let cut = authority.iter().find(|record| record.rtype == NS);
        let below = |owner: &str| {
            let cut = cut.map(|cut| cut.owner.to_lowercase());
            cut.is_some_and(|cut| {
                let owner = owner.to_lowercase();
                owner == cut || owner.ends_with(&format!(".{cut}"))
            })
        };
        let glue = of(2).filter(|record| matches!(record.rtype, A | AAAA) && below(&record.owner));
        Some(Self {
            rcode: message.rcode_name(),
            authoritative: message.flags & 0x0400 != 0,
            answer: of(0).map(line).collect(),
            authority: authority.iter().copied().map(line).collect(),
            glue: glue.map(line).collect(),
        })
    }
}

/// Compares: ours first, then the others.
pub(super) fn of(question: &Question, answers: &[Answer; 4]) -> Verdict {
    let [ours, others @ ..] = answers;
    // RFC 8482 section 4: some of what is there is enough.
    let all: BTreeSet<_> = others.iter().flat_map(|other| &other.answer).collect();
    let known = ours.answer.iter().all(|record| all.contains(record));
    let same = others.each_ref().map(|other| match question.rtype {
        "ANY" => known && ours.is_like(other),
        _ => other == ours,
    });
    if same == [true; 3] {
        return Verdict::Same;
    }
    let endless = |other: &Answer| {
        other.answer.is_subset(&ours.answer) || ours.answer.is_subset(&other.answer)
    };
    if ours.count(CNAME) > CHAIN_MIN && others.iter().all(endless) {
        return Verdict::Rule(
            "a DNAME into itself has no end; each server has had enough elsewhere",
        );
    }
    if same == [false; 3] {
        return Verdict::Wrong;
    }
    let mut decided = Verdict::Same;
    for ((name, other), same) in NAMES[1..].iter().zip(others).zip(same) {
        let mut rules = RULES.iter().filter(|rule| rule.who.contains(name));
        match rules.find(|rule| same || (rule.holds)(question, ours, other)) {
            Some(rule) if !same => decided = Verdict::Rule(rule.why),
            Some(_) => (),
            None => return Verdict::Wrong,
        }
    }
    decided
}

/// Where servers differ, and we are right.
struct Rule {
    why: &'static str,
    /// Who differs from us there. Somebody says the same as we.
    who: &'static [&'static str],
    /// Whether it is that case: the question, our answer and theirs.
    holds: fn(&Question, &Answer, &Answer) -> bool,
}

/// Each with the sentence of an RFC that decides.
const RULES: &[Rule] = &[
    Rule {
        why: "a loop of aliases is answered as far as it goes (RFC 1034 section 4.3.2); BIND fails",
        who: &["BIND"],
        holds: |_, ours, other| other.rcode == "SERVFAIL" && ours.answer == other.answer,
    },
    Rule {
        why: "ANY goes on behind a DNAME (RFC 6672 section 3.2); BIND stops there",
        who: &["BIND"],
        holds: |question, ours, _| question.rtype == "ANY" && ours.has(DNAME),
    },
    Rule {
        why: "at a cut NSEC is no exception from referrals, as DS is (RFC 4035 section 3.1.4.1); BIND answers",
        who: &["BIND"],
        holds: |question, ours, other| {
            question.rtype == "TYPE47" && !ours.authoritative && other.authoritative
        },
    },
    Rule {
        why: "NSEC is a record of the alias itself (RFC 4035 section 2.5); NSD follows the alias",
        who: &["NSD "],
        holds: |question, ours, other| {
            question.rtype == "TYPE47" && ours.count(CNAME) < other.count(CNAME)
        },
    },
    Rule {
        why: "for no data at a wildcard one NSEC3 record of the name is enough (RFC 5155 section 7.2.3); NSD sends more",
        who: &["NSD "],
        holds: |_, ours, other| {
            ours.is_but_for_authority(other) && ours.authority.is_subset(&other.authority)
        },
    },
    Rule {
        why: "that no name is closer is proved for the name behind the DNAME (RFC 4035 section 3.1.3.4); NSD proves another",
        who: &["NSD "],
        holds: |_, ours, other| ours.is_but_for_authority(other) && ours.has(DNAME),
    },
    Rule {
        why: "a DNAME that makes a name too long is told of wherever the chain comes to it (RFC 6672 section 2.2); NSD and Knot do not always",
        who: &["NSD ", "Knot"],
        holds: |_, ours, other| ours.rcode == "YXDOMAIN" && other.answer.is_subset(&ours.answer),
    },
    Rule {
        why: "with opt-out the encloser that is proved is one that has an NSEC3 record (RFC 5155 section 7.2.1); NSD and Knot look no further up",
        who: &["NSD ", "Knot"],
        holds: |_, ours, other| {
            ours.is_opt_out() && (&ours.rcode, &ours.answer) == (&other.rcode, &other.answer)
        },
    },
    Rule {
        why: "with opt-out as well what is denied is proved (RFC 5155 section 7.2); Knot has nothing to say but NXDOMAIN below some wildcards",
        who: &["Knot"],
        holds: |_, ours, other| {
            let nothing = other.answer.is_empty() && other.authority.is_empty();
            ours.is_opt_out() && nothing && !other.authoritative && ours.rcode == other.rcode
        },
    },
    Rule {
        why: "a name that begins with '*' and is not there is denied as any other (RFC 4592 section 2.2.1); Knot does not",
        who: &["Knot"],
        holds: |question, ours, other| {
            let star = question.name.starts_with('*')
                || ours.answer.iter().any(|line| line.contains(" 5 *."));
            star && ours.is_but_for_authority(other) && other.authority.is_subset(&ours.authority)
        },
    },
    Rule {
        why: "the proof of a wildcard stands in the authority section, whatever is asked (RFC 4035 section 3.1.3.3); Knot saves it for NSEC",
        who: &["Knot"],
        holds: |question, ours, other| {
            question.rtype == "TYPE47"
                && ours.is_but_for_authority(other)
                && other.authority.is_subset(&ours.authority)
        },
    },
    Rule {
        why: "that a wildcard is an empty non-terminal is proved, too (RFC 4035 section 3.1.3.4); Knot and BIND do not",
        who: &["Knot", "BIND"],
        holds: |_, ours, other| {
            ours.is_but_for_authority(other) && other.authority.is_subset(&ours.authority)
        },
    },
];

impl Answer {
    /// Whether a record of this type is in the answer.
    fn has(&self, rtype: u16) -> bool {
        self.count(rtype) > 0
    }

    /// How many records of this type are in the answer.
    fn count(&self, rtype: u16) -> usize {
        let types = self.answer.iter().filter_map(|line| line.split(' ').nth(2));
        types.filter(|found| found.parse() == Ok(rtype)).count()
    }

    /// Whether something is denied with records that have the opt-out flag.
    fn is_opt_out(&self) -> bool {
        self.authority.iter().any(|line| line.contains(" 50 1 1 "))
    }

    /// Whether they differ in the authority section at most.
    fn is_but_for_authority(&self, other: &Self) -> bool {
        let authority = self.authority.clone();
        *self
            == Self {
                authority,
                ..other.clone()
            }
    }

    /// Whether both find something or both nothing.
    fn is_like(&self, other: &Self) -> bool {
        let found = |answer: &Self| {
            (
                answer.rcode.clone(),
                answer.authoritative,
                answer.answer.is_empty(),
            )
        };
        found(self) == found(other)
    }
}

/// Who differs from us, and in what.
pub(super) fn kind(answers: &[Answer; 4]) -> String {
    let [ours, others @ ..] = answers;
    let mut kind = String::new();
    for (name, other) in NAMES[1..].iter().zip(others) {
        let parts = [
            ("rcode", ours.rcode == other.rcode),
            ("aa", ours.authoritative == other.authoritative),
            ("answer", ours.answer == other.answer),
            ("authority", ours.authority == other.authority),
            ("glue", ours.glue == other.glue),
        ];
        let differ: Vec<_> = parts
            .iter()
            .filter(|(_, same)| !same)
            .map(|(part, _)| *part)
            .collect();
        kind.push_str(&format!("{name}: {}; ", differ.join(" ")));
    }
    kind
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let aa = if self.authoritative { " aa" } else { "" };
        write!(f, "{}{aa}", self.rcode)?;
        for (name, section) in [
            ("answer", &self.answer),
            ("authority", &self.authority),
            ("glue", &self.glue),
        ] {
            for record in section {
                let short: String = record.chars().take(110).collect();
                write!(f, "\n    {name} {short}")?;
            }
        }
        Ok(())
    }
}
