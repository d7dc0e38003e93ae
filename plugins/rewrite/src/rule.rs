//! The rules, as they were read.
use corten_plugin::wire::{Class, Rcode, RecordType};

use crate::edns::EdnsRule;
use crate::pattern::{Change, Match};

/// One rule.
#[derive(Debug)]
pub(crate) struct Rule {
    /// The rules behind it are tried, too, when it matched.
    pub(crate) continues: bool,
    pub(crate) kind: Kind,
}

/// What a rule is about.
#[derive(Debug)]
pub(crate) enum Kind {
    Name(NameRule),
    Type(RecordType, RecordType),
    Class(Class, Class),
    Edns(EdnsRule),
    /// Lowest and highest TTL, in seconds.
    Ttl(Match, u32, u32),
    Rcode(Match, Rcode, Rcode),
    /// Targets of CNAME records in responses, and what is asked for in their place.
    Cname(Change),
}

/// A rule that changes the question's name.
#[derive(Debug)]
pub(crate) struct NameRule {
    pub(crate) question: Change,
    pub(crate) back: Back,
    /// Rules for names in the response, in file order.
    pub(crate) answers: Vec<Answer>,
}

/// How names of the response are mapped back.
#[derive(Debug)]
pub(crate) enum Back {
    /// Not at all.
    No,
    /// The new name and those below it become the old name and those below it.
    Remap,
    /// A suffix for a suffix, whatever the question was.
    Suffix(Change),
}

/// A rule for names in the response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) place: Place,
    pub(crate) change: Change,
}

/// Which names of a record are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Owner,
    /// The name that a record leads to.
    Value,
}
