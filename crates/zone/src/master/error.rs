//! What is wrong with a master file, and where.
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use corten_wire::text::{TextError, TextErrorKind};
use corten_wire::{Class, Name, NameError, RecordType};

use crate::zone::ZoneError;

/// Warnings that are kept of one zone, at most; the others are counted.
const WARNINGS_MAX: usize = 16;

/// Why a file is no zone.
#[derive(Debug)]
pub struct MasterError {
    /// The file, which may be an included one.
    pub path: Arc<Path>,
    /// Line and column, counted from 1, where it is one place.
    pub place: Option<(u32, u32)>,
    /// What it is.
    pub what: MasterErrorKind,
}

/// What can be wrong with a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MasterErrorKind {
    /// The file, or one that it includes, cannot be opened.
    #[error("{error}")]
    Open {
        /// Why.
        error: io::Error,
    },
    /// It cannot be read to its end.
    #[error("cannot be read: {0}")]
    Read(io::Error),
    /// A directory, a pipe, a device.
    #[error("is not a file")]
    NotAFile,
    /// Somebody wrote into the file while it was read.
    #[error("the file changed while it was read")]
    Changed,
    /// The zone's name is none.
    #[error("the zone's name is not a name: {0}")]
    Apex(NameError),
    /// No token, no record.
    #[error("{0}")]
    Text(TextErrorKind),
    /// A directive without what belongs behind it.
    #[error("{directive} has no {missing}")]
    Missing {
        /// Such as `$TTL`.
        directive: &'static str,
        /// Such as `name`.
        missing: &'static str,
    },
    /// More behind a directive than belongs there.
    #[error("'{0}' is more than the directive has")]
    Trailing(String),
    /// A word with a dollar in front that begins no record.
    #[error("'{0}' is not a directive; they are $ORIGIN, $TTL, $INCLUDE and $GENERATE")]
    Directive(String),
    /// `$TTL` with something else behind it.
    #[error("'{0}' is not a TTL")]
    Ttl(String),
    /// An included file cannot be opened.
    #[error("cannot include '{path}': {error}")]
    Include {
        /// Where it would be.
        path: String,
        /// Why not.
        error: io::Error,
    },
    /// A text without a file includes one.
    #[error("$INCLUDE is not allowed here")]
    IncludeForbidden,
    /// Files included in files included in files.
    #[error("files are included more than {0} deep")]
    TooDeep(usize),
    /// A file that includes itself, or one that it is included by.
    #[error("'{0}' includes itself")]
    Loop(String),
    /// More files than anybody has.
    #[error("more than {0} files are included")]
    TooManyFiles(u32),
    /// More records than memory.
    #[error("there are more than {0} records")]
    TooManyRecords(u32),
    /// A range of `$GENERATE` that is none, or too long.
    #[error("'{0}' is not a range such as 1-20 or 1-20/2, of at most 65536 numbers")]
    Range(String),
    /// Braces of `$GENERATE` with something else in them.
    #[error("'${{{0}}}' is not ${{OFFSET,WIDTH,BASE}}; BASE is one of d o x X n N")]
    Modifier(String),
    /// A number under zero or over 2147483647.
    #[error("the offset {0} leads out of the numbers from 0 to 2147483647")]
    Offset(i64),
    /// A record of `$GENERATE` that is none.
    #[error("for {number} $GENERATE makes '{line}': {error}")]
    Generated {
        /// The number in whose place the dollar stands.
        number: u32,
        /// What came out.
        line: String,
        /// What is wrong with it.
        error: TextErrorKind,
    },
    /// An entry longer than any record can be written.
    #[error("an entry is longer than {0} octets")]
    EntryTooLong(usize),
    /// There is no SOA record.
    #[error("has no SOA record for origin {0}")]
    NoSoa(Box<Name>),
    /// The records make no zone.
    #[error("{0}")]
    Zone(ZoneError),
}

impl MasterError {
    pub(super) fn text(path: &Arc<Path>, error: TextError) -> Self {
        Self {
            path: Arc::clone(path),
            place: Some((error.line, error.column)),
            what: MasterErrorKind::Text(error.what),
        }
    }
}

impl fmt::Display for MasterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match (&self.what, self.place) {
            // CoreDNS's words.
            (MasterErrorKind::NoSoa(_), _) => write!(f, "file \"{path}\" {}", self.what),
            (what, Some((line, column))) => write!(f, "{path}:{line}:{column}: {what}"),
            (what, None) => write!(f, "{path}: {what}"),
        }
    }
}

impl std::error::Error for MasterError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.what {
            MasterErrorKind::Open { error } | MasterErrorKind::Include { error, .. } => Some(error),
            MasterErrorKind::Read(error) => Some(error),
            _ => None,
        }
    }
}

/// Something in a zone that its author should know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The file.
    pub path: Arc<Path>,
    /// Number of the line, where it is one.
    pub line: Option<u32>,
    /// What it is.
    pub what: WarningKind,
}

/// What an author should know of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WarningKind {
    /// A record of another zone; left out.
    #[error("'{0}' is not in the zone; the record is left out")]
    OutOfZone(Box<Name>),
    /// A record of another class; left out.
    #[error("a record of class {0} is left out")]
    Class(Class),
    /// A SOA record that is not the zone's; left out.
    #[error("'{0}' has a SOA record, but is not the zone's apex; the record is left out")]
    SoaBelowApex(Box<Name>),
    /// The SOA record has no TTL, and nothing says which.
    #[error("there is no TTL yet; the SOA record's minimum, {0}, is used")]
    TtlFromMinimum(u32),
    /// A name that ends with the zone's twice, as one does that was written as a whole but for its final dot.
    #[error("'{0}' has the zone's name twice: is a final dot missing?")]
    NameTwice(Box<Name>),
    /// The last line has no end.
    #[error("the last line does not end: is the file complete?")]
    CutShort,
    /// A CNAME record beside others (RFC 1034 section 3.6.2).
    #[error("'{0}' has a CNAME record and others as well")]
    CnameAndOther(Box<Name>),
    /// More than one CNAME or DNAME record (RFC 2181 section 10.1, RFC 6672 section 2.4).
    #[error("'{0}' has more than one {1} record")]
    Several(Box<Name>, RecordType),
    /// No NS record at the apex.
    #[error("the zone has no NS records")]
    NoNs,
    /// A name server in the zone that has no address there.
    #[error("the name server '{0}' has no address")]
    NoAddress(Box<Name>),
    /// A name server that is an alias (RFC 2181 section 10.3).
    #[error("the name server '{0}' is an alias")]
    AliasedServer(Box<Name>),
    /// Many rounds of hashing (RFC 9276 section 3.2).
    #[error(
        "NSEC3 records with {0} iterations: validators take the zone for unsigned where there are more than {max}, and some of its \
         names for failures; sign it with 0 (RFC 9276)", max = crate::nsec3::ITERATIONS_VALIDATED
    )]
    Nsec3Iterations(u16),
    /// Data that no query finds: below a delegation or a DNAME record.
    #[error("'{owner}' is not served: it is below the {under} record of '{of}'")]
    Occluded {
        /// Where the data are.
        owner: Box<Name>,
        /// NS or DNAME.
        under: RecordType,
        /// Where that is.
        of: Box<Name>,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        match self.line {
            Some(line) => write!(f, "{path}:{line}: {}", self.what),
            None => write!(f, "{path}: {}", self.what),
        }
    }
}

/// The warnings of one zone, the first ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Warnings {
    /// In the order in which they came.
    pub first: Vec<Warning>,
    /// How many there were beside.
    pub more: usize,
}

impl Warnings {
    pub(super) fn push(&mut self, warning: Warning) {
        match self.first.len() < WARNINGS_MAX {
            true => self.first.push(warning),
            false => self.more += 1,
        }
    }
}
