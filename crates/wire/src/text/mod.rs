//! Records in presentation form (RFC 1035 section 5), as they stand in zone files.
//!
//! | module | what it is |
//! |---|---|
//! | [`entry`] | a text taken apart into entries of tokens: quotes, escapes, parentheses, comments |
//! | `rdata` | which fields each type has |
//! | `decode` | notations of octets and numbers |
//! | `fields` | how each kind of field is read |
//! | [`write`] | records as text |
//! | `special` | types whose RDATA is no row of fields: LOC, APL, SVCB and the like |
//!
//! Types without a form of their own, and all others as well, are read from the generic one of RFC
//! 3597 section 5. Not here: files, `$INCLUDE`, `$GENERATE`, and what a zone must hold.
mod decode;
pub mod entry;
mod fields;
mod rdata;
mod special;
pub mod write;

use crate::codes::{Class, RecordType};
use crate::name::{Name, NameError};
use crate::walk;
use entry::{Entries, Entry};
use fields::Words;

/// Seconds: the largest TTL (RFC 2181 section 8).
pub const TTL_MAX: u32 = 0x7fff_ffff;

/// One record, in wire form; names in it are not compressed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextRecord {
    /// Owner, letter case as written.
    pub owner: Vec<u8>,
    /// TYPE.
    pub rtype: RecordType,
    /// CLASS.
    pub class: Class,
    /// Seconds.
    pub ttl: u32,
    /// RDATA.
    pub rdata: Vec<u8>,
}

/// Where a record's TTL is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TtlFrom {
    /// The record states it.
    Record,
    /// The default that the reader was given.
    Default,
}

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct TextError {
    /// The first is 1.
    pub line: u32,
    /// Counted in octets; the first is 1.
    pub column: u32,
    /// What it is.
    pub what: TextErrorKind,
}

/// What can be wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextErrorKind {
    /// There is nothing but blanks and comments.
    #[error("there is no record")]
    Empty,
    /// A second record.
    #[error("there is more than one record")]
    Several,
    /// The line begins with a blank, and there is no record before it whose owner it could have.
    #[error("the owner is missing")]
    NoOwner,
    /// A quote is not closed on its line.
    #[error("a quote is never closed")]
    OpenQuote,
    /// A parenthesis is not closed.
    #[error("a parenthesis is never closed")]
    OpenParenthesis,
    /// A closing parenthesis without an opening one.
    #[error("a parenthesis is closed that was never opened")]
    StrayParenthesis,
    /// A backslash with neither three digits up to 255 nor another character behind it.
    #[error("an escape is not \\DDD or \\X")]
    Escape,
    /// A name that is none.
    #[error("'{text}' is not a name: {error}")]
    Name {
        /// The name.
        text: String,
        /// Why not.
        error: NameError,
    },
    /// No TTL, and no default one.
    #[error("the TTL is missing")]
    NoTtl,
    /// A TTL over [`TTL_MAX`].
    #[error("TTL '{0}' is greater than 2147483647 (RFC 2181, section 8)")]
    TtlTooLarge(String),
    /// A word that is neither TTL, class nor type.
    #[error("'{0}' is not a type, class or TTL")]
    UnknownWord(String),
    /// A type that records do not have, such as `ANY`.
    #[error("'{0}' is not a type of records")]
    QueryType(RecordType),
    /// A type that has no form but the generic one.
    #[error("type '{0}' has no presentation form; write '\\# LENGTH HEX' (RFC 3597, section 5)")]
    NoForm(RecordType),
    /// The RDATA ends too early.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field cannot be read.
    #[error("'{text}' is not {expected}")]
    Field {
        /// The word.
        text: String,
        /// What it should be.
        expected: &'static str,
    },
    /// Words behind the last field.
    #[error("'{0}' is more than the record's type has")]
    Trailing(String),
    /// The generic form holds another number of octets than it says.
    #[error("the generic RDATA does not hold as many octets as it says")]
    Length,
    /// The generic form of a type that has names or addresses does not hold them.
    #[error("the octets are no RDATA of type '{0}'")]
    Malformed(RecordType),
    /// RDATA of more than 65,535 octets.
    #[error("the RDATA has more than 65535 octets")]
    TooLong,
}

/// Reads a text that is one record.
///
/// Names without a final dot end in `origin`, `@` is `origin` itself. A record without a class is of
/// class IN, one without a TTL has `default_ttl`.
///
/// # Errors
/// With the place of the first thing that is wrong.
pub fn record(
    text: &str,
    origin: &Name,
    default_ttl: Option<u32>,
) -> Result<TextRecord, TextError> {
    let mut entries = Entries::new(text.as_bytes());
    let Some(entry) = entries.next().transpose()? else {
        return Err(TextError::new((1, 1), TextErrorKind::Empty));
    };
    let record = entry.record(origin, default_ttl, None)?;
    match entries.next().transpose()? {
        None => Ok(record),
        Some(second) => Err(second.error(TextErrorKind::Several)),
    }
}

impl TextError {
    /// At a place.
    pub fn new((line, column): (u32, u32), what: TextErrorKind) -> Self {
        Self { line, column, what }
    }
}

impl Entry<'_> {
    /// Reads the entry as a record. `last` is the owner of the record before, which a line that
    /// begins with a blank belongs to.
    ///
    /// # Errors
    /// With the place of the first thing that is wrong.
    pub fn record(
        &self,
        origin: &Name,
        default_ttl: Option<u32>,
        last: Option<&[u8]>,
    ) -> Result<TextRecord, TextError> {
        let mut record = TextRecord {
            owner: last.unwrap_or_default().to_owned(),
            ..TextRecord::default()
        };
        self.read(origin, default_ttl, &mut record)?;
        Ok(record)
    }

    /// Reads the entry into a record that is there already, so that its memory is used again. A line
    /// that begins with a blank keeps the owner that is there, if there is one. Says where the TTL is
    /// from.
    ///
    /// # Errors
    /// With the place of the first thing that is wrong.
    pub fn read(
        &self,
        origin: &Name,
        default_ttl: Option<u32>,
        record: &mut TextRecord,
    ) -> Result<TtlFrom, TextError> {
        record.rdata.clear();
        let mut words = Words::new(self, origin, &mut record.rdata);
        match (self.begins_with_blank, record.owner.is_empty()) {
            (false, _) => words.owner(&mut record.owner)?,
            (true, false) => (),
            (true, true) => return Err(self.error(TextErrorKind::NoOwner)),
        }
        let (mut ttl, mut class) = (None, None);
        let (token, rtype) = loop {
            let token = words.next("the type")?;
            let error = |what| TextError::new(token.place, what);
            let word = token.text().unwrap_or_default();
            // Types and classes begin with a letter.
            if word.starts_with(|first: char| first.is_ascii_digit()) {
                if ttl.is_none()
                    && let Some(seconds) = duration(word)
                {
                    let seconds = u32::try_from(seconds).ok().filter(|ttl| *ttl <= TTL_MAX);
                    ttl = seconds;
                    if ttl.is_none() {
                        return Err(error(TextErrorKind::TtlTooLarge(token.shown())));
                    }
                    continue;
                }
            } else if !token.quoted {
                if class.is_none()
                    && let Some(found) = class_of(word)
                {
                    class = Some(found);
                    continue;
                }
                if let Ok(found) = word.parse() {
                    break (token, found);
                }
            }
            return Err(error(TextErrorKind::UnknownWord(token.shown())));
        };
        let error = |what| TextError::new(token.place, what);
        if is_query_type(rtype) {
            return Err(error(TextErrorKind::QueryType(rtype)));
        }
        record.rtype = rtype;
        record.class = class.unwrap_or(Class::IN);
        record.ttl = ttl
            .or(default_ttl)
            .ok_or_else(|| error(TextErrorKind::NoTtl))?;
        rdata::read(rtype, &mut words, token)?;
        words.finish()?;
        Ok(match ttl {
            Some(_) => TtlFrom::Record,
            None => TtlFrom::Default,
        })
    }
}

/// The class of a word; those of queries only are none.
fn class_of(word: &str) -> Option<Class> {
    word.parse()
        .ok()
        .filter(|class| !matches!(*class, Class::ANY))
}

/// Types that only queries and messages have (RFC 6895 section 3.1), and 0.
fn is_query_type(rtype: RecordType) -> bool {
    matches!(rtype.0, 0 | 41 | 128..=255)
}

/// Seconds, or a sum of numbers with units, such as `1h30m` (BIND's form).
pub fn duration(word: &str) -> Option<u64> {
    if !word.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let (mut total, mut number) = (0u64, None::<u64>);
    for octet in word.bytes() {
        let unit = match octet {
            b'0'..=b'9' => {
                let digit = u64::from(octet - b'0');
                // More than any TTL; it stays too large.
                number = Some(number.unwrap_or(0).saturating_mul(10).saturating_add(digit));
                continue;
            }
            b's' | b'S' => 1,
            b'm' | b'M' => 60,
            b'h' | b'H' => 3_600,
            b'd' | b'D' => 86_400,
            b'w' | b'W' => 604_800,
            _ => return None,
        };
        total = total.saturating_add(number.take()?.saturating_mul(unit));
    }
    Some(total.saturating_add(number.unwrap_or(0)))
}

/// Reads a name into wire form, letter case as written; relative ones end in the origin, `@` is the
/// origin.
///
/// # Errors
/// What is wrong with it.
pub fn relative_name(text: &[u8], origin: &Name) -> Result<Name, NameError> {
    let mut wire = Vec::with_capacity(text.len() + 2);
    fields::read_name(text, origin, &mut wire)?;
    Name::from_wire(&wire)
}

/// Whether octets can be RDATA of this type, as far as the server looks into it. Names in them are not
/// compressed.
pub fn is_sound(rtype: RecordType, rdata: &[u8]) -> bool {
    match rtype {
        RecordType::A => return rdata.len() == 4,
        RecordType::AAAA => return rdata.len() == 16,
        _ => (),
    }
    let record = walk::RawRecord {
        rtype,
        fixed: 0,
        rdata: 0,
        end: rdata.len(),
    };
    let (mut sound, mut last) = (true, None);
    let read = walk::names_in_rdata(rdata, &record, |at| {
        sound &= walk::pointer(rdata, at).is_none() && walk::expanded_length(rdata, at).is_some();
        last = walk::skip_name(rdata, at);
    });
    // Behind the last name there is nothing, but for the numbers of an SOA.
    let behind = if rtype == RecordType::SOA { 20 } else { 0 };
    sound && read.is_some() && last.is_none_or(|end| end + behind == rdata.len())
}

/// Characters of a text that are shown, at most.
const SHOWN_MAX: usize = 80;

/// Octets as they may stand in a message: escapes as they are written, what controls a terminal as `\DDD`, and
/// not too much of it.
pub fn shown(octets: &[u8]) -> String {
    let mut shown = String::new();
    // A character has four octets at most.
    let part = octets.get(..4 * SHOWN_MAX + 4).unwrap_or(octets);
    for (count, character) in String::from_utf8_lossy(part).chars().enumerate() {
        if count == SHOWN_MAX {
            shown.push('…');
            break;
        }
        match character.is_control() {
            true => shown.push_str(&format!("\\{:03}", u32::from(character))),
            false => shown.push(character),
        }
    }
    shown
}

#[cfg(test)]
mod tests;
