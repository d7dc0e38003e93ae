//! `$GENERATE RANGE OWNER [TTL] [CLASS] TYPE RDATA`: a record for each number of a range (BIND's
//! reference manual, "BIND Primary File Extension").
use std::io::Write;

use corten_wire::text::entry::{Entry, Token};
use corten_wire::text::shown;

use super::error::MasterErrorKind;

/// Numbers of one directive (CoreDNS's limit).
const NUMBERS_MAX: u32 = 65_536;
/// The largest number, offset included.
const NUMBER_MAX: i64 = 0x7fff_ffff;

/// A directive, read.
#[derive(Debug)]
pub(super) struct Generate {
    start: u32,
    stop: u32,
    step: u32,
    pieces: Vec<Piece>,
}

/// What a line is made of.
#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Octets(Vec<u8>),
    Number {
        offset: i64,
        width: usize,
        base: Base,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Decimal,
    Octal,
    Hexadecimal,
    HexadecimalUpper,
    /// Hexadecimal digits, last first, a dot between them: as ip6.arpa has them.
    Nibbles,
    NibblesUpper,
}

impl Generate {
    /// Reads the directive. The error comes with the number of the token that it is about.
    pub(super) fn read(entry: &Entry<'_>) -> Result<Self, (usize, MasterErrorKind)> {
        let missing = |missing| {
            let directive = "$GENERATE";
            (0, MasterErrorKind::Missing { directive, missing })
        };
        let range = entry.tokens.get(1).ok_or_else(|| missing("range"))?;
        let (start, stop, step) =
            numbers(range).ok_or_else(|| (1, MasterErrorKind::Range(range.shown())))?;
        let words = entry.tokens.get(2..).unwrap_or_default();
        if words.len() < 3 {
            return Err(missing("owner, type and data"));
        }
        let mut pieces = Pieces::default();
        for (at, token) in words.iter().enumerate() {
            if at > 0 && !token.attached {
                pieces.octets.push(b' ');
            }
            pieces.token(token).map_err(|error| (at + 2, error))?;
        }
        let pieces = pieces.finish();
        let out_of_range = pieces.iter().find_map(|piece| match piece {
            Piece::Number { offset, .. } => {
                let reach = [start, stop].map(|number| i64::from(number).saturating_add(*offset));
                reach
                    .iter()
                    .any(|number| !(0..=NUMBER_MAX).contains(number))
                    .then_some(*offset)
            }
            Piece::Octets(_) => None,
        });
        match out_of_range {
            Some(offset) => Err((0, MasterErrorKind::Offset(offset))),
            None => Ok(Self {
                start,
                stop,
                step,
                pieces,
            }),
        }
    }

    /// The numbers.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        (self.start..=self.stop).step_by(self.step as usize)
    }

    /// Writes the line for a number into `line`.
    pub(super) fn line(&self, number: u32, line: &mut Vec<u8>) {
        line.clear();
        for piece in &self.pieces {
            match piece {
                Piece::Octets(octets) => line.extend_from_slice(octets),
                Piece::Number {
                    offset,
                    width,
                    base,
                } => base.write(i64::from(number) + offset, *width, line),
            }
        }
    }
}

/// `START-STOP[/STEP]`.
fn numbers(token: &Token<'_>) -> Option<(u32, u32, u32)> {
    let number = |text: &str| -> Option<u32> {
        let plain = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        let number = plain.then(|| text.parse().ok()).flatten()?;
        (i64::from(number) <= NUMBER_MAX).then_some(number)
    };
    let text = token.text()?;
    let (range, step) = match text.split_once('/') {
        Some((range, step)) => (range, number(step)?),
        None => (text, 1),
    };
    let (start, stop) = range.split_once('-')?;
    let (start, stop) = (number(start)?, number(stop)?);
    let sound = step > 0 && start <= stop && (stop - start) / step < NUMBERS_MAX;
    sound.then_some((start, stop, step))
}

/// Pieces in the making.
#[derive(Default)]
struct Pieces {
    done: Vec<Piece>,
    octets: Vec<u8>,
}

impl Pieces {
    fn token(&mut self, token: &Token<'_>) -> Result<(), MasterErrorKind> {
        if token.quoted {
            self.octets.push(b'"');
        }
        let mut rest = token.octets;
        while let [first, behind @ ..] = rest {
            rest = match (first, behind) {
                (b'\\', [b'$', behind @ ..]) | (b'$', [b'$', behind @ ..]) => {
                    self.octets.push(b'$');
                    behind
                }
                (b'\\', [octet, behind @ ..]) => {
                    self.octets.extend([b'\\', *octet]);
                    behind
                }
                (b'$', [b'{', behind @ ..]) => {
                    let end = behind.iter().position(|octet| *octet == b'}');
                    let (inside, behind) = behind.split_at(end.unwrap_or(behind.len()));
                    let bad = || {
                        let text = shown(inside);
                        MasterErrorKind::Modifier(text)
                    };
                    self.number(modifier(inside).filter(|_| end.is_some()).ok_or_else(bad)?);
                    behind.get(1..).unwrap_or_default()
                }
                (b'$', _) => {
                    self.number(Piece::Number {
                        offset: 0,
                        width: 0,
                        base: Base::Decimal,
                    });
                    behind
                }
                (octet, _) => {
                    self.octets.push(*octet);
                    behind
                }
            };
        }
        if token.quoted {
            self.octets.push(b'"');
        }
        Ok(())
    }

    fn number(&mut self, number: Piece) {
        self.done
            .push(Piece::Octets(std::mem::take(&mut self.octets)));
        self.done.push(number);
    }

    fn finish(mut self) -> Vec<Piece> {
        self.done.push(Piece::Octets(self.octets));
        self.done
    }
}

/// `OFFSET[,WIDTH[,BASE]]`.
fn modifier(text: &[u8]) -> Option<Piece> {
    let text = std::str::from_utf8(text).ok()?;
    let mut parts = text.split(',');
    let offset = parts.next()?.parse().ok()?;
    let width: u8 = parts.next().unwrap_or("0").parse().ok()?;
    let base = match parts.next().unwrap_or("d") {
        "d" => Base::Decimal,
        "o" => Base::Octal,
        "x" => Base::Hexadecimal,
        "X" => Base::HexadecimalUpper,
        "n" => Base::Nibbles,
        "N" => Base::NibblesUpper,
        _ => return None,
    };
    let width = usize::from(width);
    parts.next().is_none().then_some(Piece::Number {
        offset,
        width,
        base,
    })
}

impl Base {
    /// Writes a number, which is at least 0, `width` characters wide or wider.
    fn write(self, number: i64, width: usize, line: &mut Vec<u8>) {
        // Writing to memory cannot fail.
        let _ = match self {
            Self::Decimal => write!(line, "{number:0width$}"),
            Self::Octal => write!(line, "{number:0width$o}"),
            Self::Hexadecimal => write!(line, "{number:0width$x}"),
            Self::HexadecimalUpper => write!(line, "{number:0width$X}"),
            Self::Nibbles => {
                nibbles(number, width, b"0123456789abcdef", line);
                Ok(())
            }
            Self::NibblesUpper => {
                nibbles(number, width, b"0123456789ABCDEF", line);
                Ok(())
            }
        };
    }
}

/// Digits with dots between them. The width counts the dots as well; where it is even there is one at
/// the end.
fn nibbles(mut number: i64, width: usize, digits: &[u8; 16], line: &mut Vec<u8>) {
    let start = line.len();
    loop {
        line.push(digits[(number & 15) as usize]);
        number >>= 4;
        if number == 0 && line.len() - start >= width {
            return;
        }
        line.push(b'.');
        if number == 0 && line.len() - start >= width {
            return;
        }
    }
}
