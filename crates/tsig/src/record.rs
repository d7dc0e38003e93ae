//! The TSIG record in a message (RFC 8945 section 4.2).
use corten_wire::{Class, HEADER_OCTETS, Name, RecordType};

/// What a message's TSIG record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'m> {
    /// The key's name.
    pub key: Name,
    /// The algorithm's name in wire form, as it was sent.
    pub algorithm: &'m [u8],
    /// When it was signed, in seconds since 1970.
    pub time: u64,
    /// Seconds by which clocks may differ.
    pub fudge: u16,
    /// The message authentication code.
    pub mac: &'m [u8],
    /// The message's ID when it was signed.
    pub original_id: u16,
    /// TSIG error.
    pub error: u16,
    /// Other data: the server's time where `error` is BADTIME.
    pub other: &'m [u8],
    /// Where the record begins.
    pub start: usize,
}

/// Why a record is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the TSIG record is malformed or not the last record")]
pub struct RecordError;

/// Reads a name that is not compressed; what is behind it.
fn name(octets: &[u8], at: usize) -> Option<usize> {
    Name::root().read(octets, at).ok()
}

fn be16(octets: &[u8], at: usize) -> Option<u16> {
    let octets = octets.get(at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*octets))
}

impl<'m> Record<'m> {
    /// Finds the record that ends a message; nothing when no record is one.
    ///
    /// # Errors
    /// A message that breaks the format, and a TSIG record that is not the last, or none by RFC 8945
    /// section 4.2.
    pub fn find(message: &'m [u8]) -> Result<Option<Self>, RecordError> {
        let Some(start) = find(message).ok_or(RecordError)? else {
            return Ok(None);
        };
        Self::read(message, start).map(Some).ok_or(RecordError)
    }

    fn read(message: &'m [u8], start: usize) -> Option<Self> {
        let mut key = Name::root();
        let fixed = match key.read(message, start) {
            Ok(end) => end,
            Err(_) => compressed(message, start, &mut key)?,
        };
        let rdata = fixed + 10;
        let end = rdata + usize::from(be16(message, fixed + 8)?);
        // RFC 8945 section 4.2: CLASS is ANY and TTL 0.
        if end != message.len()
            || be16(message, fixed + 2)? != Class::ANY.0
            || message.get(fixed + 4..fixed + 8)? != [0; 4]
        {
            return None;
        }
        let numbers = name(message, rdata)?;
        let algorithm = message.get(rdata..numbers)?;
        let [a, b, c, d, e, f] = *message.get(numbers..)?.first_chunk()?;
        let fudge = be16(message, numbers + 6)?;
        let mac_start = numbers + 10;
        let mac_end = mac_start + usize::from(be16(message, numbers + 8)?);
        let mac = message.get(mac_start..mac_end)?;
        let other_end = mac_end + 6 + usize::from(be16(message, mac_end + 4)?);
        if other_end != end {
            return None;
        }
        Some(Self {
            key,
            algorithm,
            time: u64::from_be_bytes([0, 0, a, b, c, d, e, f]),
            fudge,
            mac,
            original_id: be16(message, mac_end)?,
            error: be16(message, mac_end + 2)?,
            other: message.get(mac_end + 6..other_end)?,
            start,
        })
    }

    /// Appends the record to a message, and counts it.
    pub(crate) fn write(&self, out: &mut Vec<u8>, message_start: usize) {
        out.extend_from_slice(self.key.wire());
        out.extend_from_slice(&RecordType::TSIG.0.to_be_bytes());
        out.extend_from_slice(&Class::ANY.0.to_be_bytes());
        out.extend_from_slice(&[0; 4]);
        let length = self.algorithm.len() + 16 + self.mac.len() + self.other.len();
        out.extend_from_slice(&(length as u16).to_be_bytes());
        out.extend_from_slice(self.algorithm);
        out.extend_from_slice(&self.timers());
        out.extend_from_slice(&(self.mac.len() as u16).to_be_bytes());
        out.extend_from_slice(self.mac);
        out.extend_from_slice(&self.original_id.to_be_bytes());
        out.extend_from_slice(&self.error.to_be_bytes());
        out.extend_from_slice(&(self.other.len() as u16).to_be_bytes());
        out.extend_from_slice(self.other);
        let count = be16(out, message_start + 10).unwrap_or(0).wrapping_add(1);
        if let Some(place) = out.get_mut(message_start + 10..message_start + 12) {
            place.copy_from_slice(&count.to_be_bytes());
        }
    }

    /// Time and fudge as they are signed (RFC 8945 section 4.3.3).
    pub(crate) fn timers(&self) -> [u8; 8] {
        let [_, _, time @ ..] = self.time.to_be_bytes();
        let mut timers = [0; 8];
        timers[..6].copy_from_slice(&time);
        timers[6..].copy_from_slice(&self.fudge.to_be_bytes());
        timers
    }

    /// What is signed of the record, besides its code (RFC 8945 section 4.3.3).
    pub(crate) fn variables(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(128);
        octets.extend_from_slice(self.key.wire());
        octets.extend_from_slice(&Class::ANY.0.to_be_bytes());
        octets.extend_from_slice(&[0; 4]);
        octets.extend(self.algorithm.iter().map(u8::to_ascii_lowercase));
        octets.extend_from_slice(&self.timers());
        octets.extend_from_slice(&self.error.to_be_bytes());
        octets.extend_from_slice(&(self.other.len() as u16).to_be_bytes());
        octets.extend_from_slice(self.other);
        octets
    }

    /// The message as it was before it was signed (RFC 8945 section 4.3.2): calls `each` with its
    /// pieces, one behind the other.
    pub(crate) fn unsigned(&self, message: &[u8], mut each: impl FnMut(&[u8])) {
        let Some((header, rest)) = message
            .get(..self.start)
            .and_then(|message| message.split_at_checked(HEADER_OCTETS))
        else {
            return;
        };
        let count = be16(header, 10).unwrap_or(0).wrapping_sub(1);
        each(&self.original_id.to_be_bytes());
        each(&header[2..10]);
        each(&count.to_be_bytes());
        each(rest);
    }
}

/// Some servers compress the key's name, though nobody should.
fn compressed(message: &[u8], start: usize, key: &mut Name) -> Option<usize> {
    let (mut wire, mut at, mut end) = (Vec::with_capacity(64), start, None);
    loop {
        match *message.get(at)? {
            0 => {
                wire.push(0);
                end = end.or(Some(at + 1));
                break;
            }
            length @ 1..=63 => {
                let behind = at + 1 + usize::from(length);
                wire.extend_from_slice(message.get(at..behind)?);
                at = behind;
            }
            192.. => {
                end = end.or(Some(at + 2));
                let target = usize::from(be16(message, at)? & 0x3fff);
                // Only backwards, so it ends.
                if target >= at.min(start) || target < HEADER_OCTETS {
                    return None;
                }
                at = target;
            }
            _ => return None,
        }
        if wire.len() > 255 {
            return None;
        }
    }
    *key = Name::from_wire(&wire).ok()?;
    end
}

/// Where the TSIG record of a message begins; outer nothing for a message that breaks the format, or
/// has records behind it.
fn find(message: &[u8]) -> Option<Option<usize>> {
    let mut at = HEADER_OCTETS;
    for _ in 0..be16(message, 4)? {
        at = skip(message, at)? + 4;
        message.get(..at)?;
    }
    let counts = [6, 8, 10].map(|place| be16(message, place).map_or(0, u32::from));
    let all: u32 = counts.iter().sum();
    for number in 1..=all {
        let fixed = skip(message, at)?;
        let end = fixed + 10 + usize::from(be16(message, fixed + 8)?);
        message.get(..end)?;
        if be16(message, fixed)? == RecordType::TSIG.0 {
            return (number == all && counts[2] > 0).then_some(Some(at));
        }
        at = end;
    }
    Some(None)
}

fn skip(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += usize::from(length) + 1,
            192.. => return Some(at + 2),
            _ => return None,
        }
    }
}
