//! A name of a question or of configuration: inline, lower-cased, with the places of its labels.
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;

/// Octets of the longest name, final zero included (RFC 1035 section 2.3.4).
pub const NAME_OCTETS_MAX: usize = 255;
/// Octets of the longest label (RFC 1035 section 2.3.4).
pub const LABEL_OCTETS_MAX: usize = 63;
/// Most labels a name can have, the root's not counted.
pub const LABELS_MAX: usize = 127;

/// A name in wire form, lower-cased (RFC 4343), not compressed.
///
/// Lives in place, so that a worker reads one query after the other into the same one.
#[derive(Clone)]
pub struct Name {
    octets: [u8; NAME_OCTETS_MAX],
    starts: [u8; LABELS_MAX],
    length: u8,
    labels: u8,
}

/// Why octets or text are no name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The message ends inside the name.
    #[error("the name is cut off")]
    Short,
    /// A label of a type other than 00, as a question's name may not have.
    #[error("the name is compressed, or has a label of an unknown type")]
    LabelType,
    /// More than 255 octets.
    #[error("the name is longer than 255 octets")]
    TooLong,
    /// A label of more than 63 octets.
    #[error("a label is longer than 63 octets")]
    LabelTooLong,
    /// Two dots in a row, or one in front.
    #[error("a label is empty")]
    EmptyLabel,
    /// A backslash with neither three digits up to 255 nor another character behind it.
    #[error("an escape is not \\DDD or \\X")]
    Escape,
}

impl Name {
    /// The root.
    pub const fn root() -> Self {
        Self {
            octets: [0; NAME_OCTETS_MAX],
            starts: [0; LABELS_MAX],
            length: 1,
            labels: 0,
        }
    }

    /// Becomes the root.
    pub(crate) fn set_root(&mut self) {
        (self.octets[0], self.length, self.labels) = (0, 1, 0);
    }

    /// Reads an uncompressed name that begins at `at`, lower-cases it, and returns the place behind
    /// it. After an error this is the root.
    pub fn read(&mut self, message: &[u8], at: usize) -> Result<usize, NameError> {
        self.read_labels(message, at)
            .inspect_err(|_| self.set_root())
    }

    fn read_labels(&mut self, message: &[u8], at: usize) -> Result<usize, NameError> {
        let (mut from, mut to, mut labels) = (at, 0usize, 0usize);
        loop {
            let length = usize::from(*message.get(from).ok_or(NameError::Short)?);
            if length == 0 {
                break;
            }
            if length > LABEL_OCTETS_MAX {
                return Err(NameError::LabelType);
            }
            let label = message
                .get(from + 1..from + 1 + length)
                .ok_or(NameError::Short)?;
            // One octet is kept for the final zero; with it at most 127 labels fit.
            let Some(room) = self
                .octets
                .get_mut(to..to + length + 1)
                .filter(|_| to + length + 2 <= NAME_OCTETS_MAX)
            else {
                return Err(NameError::TooLong);
            };
            room[0] = length as u8;
            for (octet, from) in room[1..].iter_mut().zip(label) {
                *octet = from.to_ascii_lowercase();
            }
            self.starts[labels] = to as u8;
            labels += 1;
            to += length + 1;
            from += length + 1;
        }
        self.octets[to] = 0;
        self.length = to as u8 + 1;
        self.labels = labels as u8;
        Ok(from + 1)
    }

    /// Reads a name in wire form that is nothing but the name.
    pub fn from_wire(octets: &[u8]) -> Result<Self, NameError> {
        let mut name = Self::root();
        match name.read(octets, 0)? {
            end if end == octets.len() => Ok(name),
            _ => Err(NameError::TooLong),
        }
    }

    /// The wire form, final zero included.
    pub fn wire(&self) -> &[u8] {
        &self.octets[..usize::from(self.length)]
    }

    /// Number of labels; the root has none.
    pub fn label_count(&self) -> usize {
        usize::from(self.labels)
    }

    /// Whether this is the root.
    pub fn is_root(&self) -> bool {
        self.labels == 0
    }

    /// The label at `index`, counted from the left, without its length octet.
    pub fn label(&self, index: usize) -> Option<&[u8]> {
        let start = usize::from(*self.starts[..self.label_count()].get(index)?);
        self.octets
            .get(start + 1..start + 1 + usize::from(self.octets[start]))
    }

    /// The wire form of the last `labels` labels; the whole name when it has fewer.
    pub fn suffix(&self, labels: usize) -> &[u8] {
        let skipped = self.label_count().saturating_sub(labels);
        let start = match skipped < self.label_count() {
            true => usize::from(self.starts[skipped]),
            false => usize::from(self.length) - 1,
        };
        &self.octets[start..usize::from(self.length)]
    }

    /// Whether the name is `zone` or below it.
    pub fn is_in(&self, zone: &Self) -> bool {
        self.labels >= zone.labels && self.suffix(zone.label_count()) == zone.wire()
    }

    /// The name without its first `labels` labels.
    pub fn parent(&self, labels: usize) -> Self {
        let mut parent = Self::root();
        // A suffix of a valid name is a valid name.
        let _ = parent.read(self.suffix(self.label_count().saturating_sub(labels)), 0);
        parent
    }
}

impl Default for Name {
    fn default() -> Self {
        Self::root()
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.wire() == other.wire()
    }
}

impl Eq for Name {}

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.wire().hash(state);
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// Reads the presentation form (RFC 1035 section 5.1), with or without the final dot.
    fn from_str(text: &str) -> Result<Self, NameError> {
        let mut wire = Vec::with_capacity(text.len() + 2);
        if text != "." && !text.is_empty() {
            let mut rest = text.as_bytes();
            while !rest.is_empty() {
                rest = read_label(rest, &mut wire)?;
            }
        }
        wire.push(0);
        if wire.len() > NAME_OCTETS_MAX {
            return Err(NameError::TooLong);
        }
        Self::from_wire(&wire)
    }
}

/// Appends the first label of `text` to `wire`; returns what is behind its dot.
pub(crate) fn read_label<'a>(
    mut text: &'a [u8],
    wire: &mut Vec<u8>,
) -> Result<&'a [u8], NameError> {
    let start = wire.len();
    wire.push(0);
    // Most labels have no escapes.
    let plain = text
        .iter()
        .position(|octet| matches!(octet, b'.' | b'\\'))
        .unwrap_or(text.len());
    let (label, behind) = text.split_at(plain);
    wire.extend_from_slice(label);
    text = behind;
    while let [first, rest @ ..] = text {
        text = rest;
        match (*first, rest) {
            (b'.', _) => break,
            (b'\\', [a, b, c, rest @ ..]) if a.is_ascii_digit() => {
                let digits = [*a, *b, *c];
                let number = std::str::from_utf8(&digits)
                    .ok()
                    .filter(|d| d.bytes().all(|b| b.is_ascii_digit()));
                wire.push(
                    number
                        .and_then(|digits| digits.parse().ok())
                        .ok_or(NameError::Escape)?,
                );
                text = rest;
            }
            (b'\\', [octet, rest @ ..]) if !octet.is_ascii_digit() => {
                wire.push(*octet);
                text = rest;
            }
            (b'\\', _) => return Err(NameError::Escape),
            (octet, _) => wire.push(octet),
        }
    }
    match wire.len() - start - 1 {
        0 => Err(NameError::EmptyLabel),
        length if length > LABEL_OCTETS_MAX => Err(NameError::LabelTooLong),
        length => {
            wire[start] = length as u8;
            Ok(text)
        }
    }
}

impl fmt::Display for Name {
    /// The presentation form with the final dot.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for index in 0..self.label_count() {
            for &octet in self.label(index).unwrap_or_default() {
                match octet {
                    b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => {
                        write!(f, "\\{}", char::from(octet))?
                    }
                    b'!'..=b'~' => fmt::Write::write_char(f, char::from(octet))?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
            f.write_str(".")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn text_and_octets_agree() {
        for (text, wire, shown) in [
            (".", &b"\0"[..], "."),
            ("", b"\0", "."),
            ("Example", b"\x07example\0", "example."),
            ("a.b.", b"\x01a\x01b\0", "a.b."),
            (r"a\.b.c", b"\x03a.b\x01c\0", r"a\.b.c."),
            (r"\032x.\255", b"\x02 x\x01\xff\0", r"\032x.\255."),
            ("*.w", b"\x01*\x01w\0", "*.w."),
        ] {
            assert_eq!(name(text).wire(), wire, "{text}");
            assert_eq!(name(text).to_string(), shown);
            assert_eq!(Name::from_wire(wire).unwrap(), name(text));
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = ["a"; 128].join(".");
        for (text, error) in [
            ("a..b", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            (&"x".repeat(64), NameError::LabelTooLong),
            (&long, NameError::TooLong),
            (r"a\", NameError::Escape),
            (r"\25", NameError::Escape),
            (r"\256", NameError::Escape),
        ] {
            assert_eq!(text.parse::<Name>(), Err(error), "{text}");
        }
        for (wire, error) in [
            (&b"\x03ab"[..], NameError::Short),
            (b"", NameError::Short),
            (b"\x01a", NameError::Short),
            (b"\xc0\x0c", NameError::LabelType),
            (b"\x40a\0", NameError::LabelType),
            (b"\0\0", NameError::TooLong),
        ] {
            assert_eq!(Name::from_wire(wire), Err(error), "{wire:?}");
        }
    }

    #[test]
    fn the_longest_name_fits_and_one_octet_more_does_not() {
        let longest = ["a"; 127].join(".");
        assert_eq!(name(&longest).wire().len(), 255);
        assert_eq!(name(&longest).label_count(), 127);
        let mut wire = b"\x01a".repeat(126);
        wire.extend(b"\x02bb\0");
        assert_eq!(Name::from_wire(&wire), Err(NameError::TooLong));
    }

    #[test]
    fn suffixes_are_cut_at_labels() {
        let www = name("www.b.example");
        assert_eq!(www.suffix(1), b"\x07example\0");
        assert_eq!(www.suffix(0), b"\0");
        assert_eq!(www.suffix(9), www.wire());
        assert!(www.is_in(&name("b.example")) && www.is_in(&Name::root()) && www.is_in(&www));
        assert!(!name("xb.example").is_in(&name("b.example")));
        assert!(!name("example").is_in(&www));
        assert_eq!(www.parent(1), name("b.example"));
        assert_eq!(www.parent(7), Name::root());
    }
}
