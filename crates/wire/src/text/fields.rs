//! The kinds of fields that RDATA has in presentation form.
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::codes::RecordType;
use crate::name::{NAME_OCTETS_MAX, Name, NameError, read_label};
use crate::text::decode::{
    ALGORITHMS, CERTIFICATES, base32hex, base64, digits, hex, locator, mnemonic, pair, time,
};
use crate::text::entry::{Entry, Token};
use crate::text::{TextError, TextErrorKind, duration, shown};

/// Octets of the longest RDATA.
const RDATA_OCTETS_MAX: usize = 65_535;

/// An entry's tokens, one after the other, and the RDATA made of them so far.
pub(crate) struct Words<'e, 't> {
    entry: &'e Entry<'t>,
    at: usize,
    origin: &'e Name,
    /// RDATA so far.
    pub(crate) out: &'e mut Vec<u8>,
}

impl<'e, 't> Words<'e, 't> {
    /// Appends to `out`.
    pub(crate) fn new(entry: &'e Entry<'t>, origin: &'e Name, out: &'e mut Vec<u8>) -> Self {
        let at = 0;
        Self {
            entry,
            at,
            origin,
            out,
        }
    }

    /// The next token, if there is one.
    pub(crate) fn peek(&self) -> Option<&'e Token<'t>> {
        self.entry.tokens.get(self.at)
    }

    /// Goes on behind the next token.
    pub(crate) fn skip(&mut self) {
        self.at += 1;
    }

    /// The next token; `what` is what should be there.
    pub(crate) fn next(&mut self, what: &'static str) -> Result<&'e Token<'t>, TextError> {
        let Some(token) = self.peek() else {
            let place = self.entry.tokens.last().map_or((1, 1), |token| token.place);
            return Err(TextError::new(place, TextErrorKind::Missing(what)));
        };
        self.skip();
        Ok(token)
    }

    /// Everything has been read, or there is too much.
    pub(crate) fn finish(self) -> Result<(), TextError> {
        if let Some(token) = self.peek() {
            let what = TextErrorKind::Trailing(token.shown());
            return Err(TextError::new(token.place, what));
        }
        match self.out.len() <= RDATA_OCTETS_MAX {
            true => Ok(()),
            false => Err(self.entry.error(TextErrorKind::TooLong)),
        }
    }

    /// A token that `read` understands.
    pub(crate) fn parsed<T>(
        &mut self,
        expected: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, TextError> {
        let token = self.next(expected)?;
        let text = std::str::from_utf8(token.octets).ok();
        text.and_then(read).ok_or_else(|| wrong(token, expected))
    }

    /// Writes the next token into `owner` as an absolute name in wire form; a relative one ends in
    /// the origin.
    pub(crate) fn owner(&mut self, owner: &mut Vec<u8>) -> Result<(), TextError> {
        let token = self.next("the owner")?;
        owner.clear();
        named(read_name(token.octets, self.origin, owner), token)
    }

    /// The same, appended to the RDATA.
    fn name(&mut self) -> Result<(), TextError> {
        let token = self.next("a name")?;
        named(read_name(token.octets, self.origin, self.out), token)
    }

    /// What `decode` makes of all the tokens that are left, put together.
    fn rest(
        &mut self,
        expected: &'static str,
        decode: impl FnOnce(&str) -> Option<Vec<u8>>,
    ) -> Result<Vec<u8>, TextError> {
        let first = self.next(expected)?;
        if self.peek().is_none() {
            let octets = first.text().and_then(decode);
            return octets.ok_or_else(|| wrong(first, expected));
        }
        let mut text = first.lossy().into_owned();
        while let Some(token) = self.peek() {
            text.push_str(&token.lossy());
            self.skip();
        }
        decode(&text).ok_or_else(|| {
            let text = shown(text.as_bytes());
            TextError::new(first.place, TextErrorKind::Field { text, expected })
        })
    }

    /// Octets in hexadecimal to the end; none at all is possible.
    pub(crate) fn hex_to_end(&mut self) -> Result<Vec<u8>, TextError> {
        match self.peek() {
            None => Ok(Vec::new()),
            Some(_) => self.rest("octets in hexadecimal", hex),
        }
    }
}

fn named(read: Result<(), NameError>, token: &Token<'_>) -> Result<(), TextError> {
    read.map_err(|error| {
        let text = token.shown();
        TextError::new(token.place, TextErrorKind::Name { text, error })
    })
}

/// The error for a token that is not what it should be.
pub(crate) fn wrong(token: &Token<'_>, expected: &'static str) -> TextError {
    let text = token.shown();
    TextError::new(token.place, TextErrorKind::Field { text, expected })
}

/// One field of RDATA.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Field {
    U8,
    U16,
    U32,
    /// Seconds, units allowed.
    Ttl,
    Name,
    /// A character-string (RFC 1035 section 3.3).
    Text,
    /// One or more of them, to the end.
    Texts,
    /// Octets without a length in front.
    Octets,
    V4,
    V6,
    /// Hexadecimal to the end.
    Hex,
    /// Base64 to the end.
    Base64,
    /// Hexadecimal in one word behind its length; `-` for none.
    Salt,
    /// Base32hex in one word behind its length.
    Hash,
    /// Types to the end (RFC 4034 section 4.1.2).
    Types,
    /// One type.
    Type,
    /// A moment as `YYYYMMDDHHmmSS` or seconds (RFC 4034 section 3.2).
    Time,
    /// An algorithm of DNSSEC as number or mnemonic.
    Algorithm,
    /// A kind of certificate as number or mnemonic (RFC 4398 section 2.1).
    Certificate,
    /// Four groups of hexadecimal digits (RFC 6742).
    Locator,
    /// This many octets in hexadecimal with hyphens.
    Eui(usize),
    /// `0x` and hexadecimal with dots (RFC 1706).
    Nsap,
}

impl Field {
    /// Reads the field and appends it to the RDATA.
    pub(crate) fn read(self, words: &mut Words<'_, '_>) -> Result<(), TextError> {
        match self {
            Self::U8 => {
                let number = words.parsed("a number up to 255", |t| digits(t)?.parse().ok())?;
                words.out.push(number);
            }
            Self::U16 => {
                let number: u16 =
                    words.parsed("a number up to 65535", |t| digits(t)?.parse().ok())?;
                words.out.extend(number.to_be_bytes());
            }
            Self::U32 => {
                let expected = "a number up to 4294967295";
                let number: u32 = words.parsed(expected, |t| digits(t)?.parse().ok())?;
                words.out.extend(number.to_be_bytes());
            }
            Self::Ttl => {
                let expected = "a number of seconds";
                let seconds = words.parsed(expected, |t| u32::try_from(duration(t)?).ok())?;
                words.out.extend(seconds.to_be_bytes());
            }
            Self::Name => words.name()?,
            Self::Text => text(words)?,
            Self::Texts => {
                text(words)?;
                while words.peek().is_some() {
                    text(words)?;
                }
            }
            Self::Octets => {
                let token = words.next("a text")?;
                unescape_into(token, words.out)?;
            }
            Self::V4 => {
                let address: Ipv4Addr = words.parsed("an IPv4 address", |t| t.parse().ok())?;
                words.out.extend(address.octets());
            }
            Self::V6 => {
                let address: Ipv6Addr = words.parsed("an IPv6 address", |t| t.parse().ok())?;
                words.out.extend(address.octets());
            }
            Self::Hex => {
                let octets = words.rest("octets in hexadecimal", hex)?;
                words.out.extend(octets);
            }
            Self::Base64 => {
                let octets = words.rest("octets in Base64", base64)?;
                words.out.extend(octets);
            }
            Self::Salt => {
                let expected = "octets in hexadecimal, or '-'";
                let salt = words.parsed(expected, |t| match t {
                    "-" => Some(Vec::new()),
                    _ => hex(t).filter(|octets| octets.len() <= 255),
                })?;
                words.out.push(salt.len() as u8);
                words.out.extend(salt);
            }
            Self::Hash => {
                let hash = words.parsed("octets in Base32hex", |t| {
                    base32hex(t).filter(|octets| octets.len() <= 255)
                })?;
                words.out.push(hash.len() as u8);
                words.out.extend(hash);
            }
            Self::Types => types(words)?,
            Self::Type => {
                let rtype: RecordType = words.parsed("a type", |t| t.parse().ok())?;
                words.out.extend(rtype.0.to_be_bytes());
            }
            Self::Time => {
                let moment = words.parsed("a moment, as in 20260131235959", time)?;
                words.out.extend(moment.to_be_bytes());
            }
            Self::Algorithm => {
                let number = words.parsed("an algorithm", |t| mnemonic(t, ALGORITHMS))?;
                words.out.push(number as u8);
            }
            Self::Certificate => {
                let number =
                    words.parsed("a kind of certificate", |t| mnemonic(t, CERTIFICATES))?;
                words.out.extend(number.to_be_bytes());
            }
            Self::Locator => {
                let octets = words.parsed("four groups of hexadecimal digits", locator)?;
                words.out.extend(octets);
            }
            Self::Eui(count) => {
                let octets = words.parsed("octets in hexadecimal with hyphens", |t| {
                    let octets: Option<Vec<u8>> = t.split('-').map(pair).collect();
                    octets.filter(|octets| octets.len() == count)
                })?;
                words.out.extend(octets);
            }
            Self::Nsap => {
                let octets = words.parsed("'0x' and octets in hexadecimal", |t| {
                    hex(&t
                        .strip_prefix("0x")
                        .or_else(|| t.strip_prefix("0X"))?
                        .replace('.', ""))
                })?;
                words.out.extend(octets);
            }
        }
        Ok(())
    }
}

/// A character-string.
fn text(words: &mut Words<'_, '_>) -> Result<(), TextError> {
    let token = words.next("a text")?;
    let at = words.out.len();
    words.out.push(0);
    unescape_into(token, words.out)?;
    let expected = "a text of at most 255 octets; a longer one is several, each in quotes (RFC 1035, section 3.3)";
    let length = u8::try_from(words.out.len() - at - 1).map_err(|_| wrong(token, expected))?;
    if let Some(octet) = words.out.get_mut(at) {
        *octet = length;
    }
    Ok(())
}

/// The octets that a token stands for (RFC 1035 section 5.1).
pub(crate) fn unescape(token: &Token<'_>) -> Result<Vec<u8>, TextError> {
    let mut out = Vec::with_capacity(token.octets.len());
    unescape_into(token, &mut out)?;
    Ok(out)
}

/// Appends the octets that a token stands for.
fn unescape_into(token: &Token<'_>, out: &mut Vec<u8>) -> Result<(), TextError> {
    let mut rest = token.octets;
    if !rest.contains(&b'\\') {
        out.extend_from_slice(rest);
        return Ok(());
    }
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'\\' {
            out.push(*first);
            continue;
        }
        let bad = || TextError::new(token.place, TextErrorKind::Escape);
        match rest {
            [a, b, c, behind @ ..] if a.is_ascii_digit() => {
                let written = [*a, *b, *c];
                let number = std::str::from_utf8(&written).ok().and_then(digits);
                out.push(number.and_then(|t| t.parse().ok()).ok_or_else(bad)?);
                rest = behind;
            }
            [octet, behind @ ..] if !octet.is_ascii_digit() => {
                out.push(*octet);
                rest = behind;
            }
            _ => return Err(bad()),
        }
    }
    Ok(())
}

/// Appends a name in wire form, letter case as written.
pub(crate) fn read_name(text: &[u8], origin: &Name, wire: &mut Vec<u8>) -> Result<(), NameError> {
    let start = wire.len();
    match text {
        b"@" => wire.extend_from_slice(origin.wire()),
        b"." => wire.push(0),
        b"" => return Err(NameError::EmptyLabel),
        _ => return read_labels(text, origin, wire, start),
    }
    Ok(())
}

fn read_labels(
    text: &[u8],
    origin: &Name,
    wire: &mut Vec<u8>,
    start: usize,
) -> Result<(), NameError> {
    let mut rest = text;
    let mut absolute = false;
    while !rest.is_empty() {
        let behind = read_label(rest, wire)?;
        // A dot that is not escaped ended the label: it is what stands before what is left.
        absolute = behind.is_empty() && ends_in_dot(rest);
        rest = behind;
        if wire.len() - start >= NAME_OCTETS_MAX {
            return Err(NameError::TooLong);
        }
    }
    match absolute {
        true => wire.push(0),
        false => wire.extend_from_slice(origin.wire()),
    }
    match wire.len() - start <= NAME_OCTETS_MAX {
        true => Ok(()),
        false => Err(NameError::TooLong),
    }
}

/// Whether a label's text ends in a dot that is not escaped.
fn ends_in_dot(label: &[u8]) -> bool {
    let Some(before) = label.strip_suffix(b".") else {
        return false;
    };
    let slashes = before
        .iter()
        .rev()
        .take_while(|octet| **octet == b'\\')
        .count();
    slashes % 2 == 0
}

/// The types of NSEC and the like as windows of bits (RFC 4034 section 4.1.2).
fn types(words: &mut Words<'_, '_>) -> Result<(), TextError> {
    let mut windows = std::collections::BTreeMap::<u8, [u8; 32]>::new();
    while words.peek().is_some() {
        let rtype: RecordType = words.parsed("a type", |t| t.parse().ok())?;
        let [window, low] = rtype.0.to_be_bytes();
        if let Some(octet) = windows
            .entry(window)
            .or_default()
            .get_mut(usize::from(low / 8))
        {
            *octet |= 0x80 >> (low % 8);
        }
    }
    for (window, bits) in windows {
        let length = bits
            .iter()
            .rposition(|octet| *octet != 0)
            .map_or(0, |last| last + 1);
        words.out.extend([window, length as u8]);
        words
            .out
            .extend_from_slice(bits.get(..length).unwrap_or_default());
    }
    Ok(())
}
