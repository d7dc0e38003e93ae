//! Names in messages: read out in full, and written with compression (RFC 1035 section 4.1.4).
use super::POINTER_MAX;
use crate::codes::RecordType;
use crate::name::NAME_OCTETS_MAX;
use crate::query::be16;
use crate::{HEADER_OCTETS, walk};

/// Places that names are compressed to; those of the question come first.
const PLACES_MAX: usize = 64;

/// Whether a name may be written as a pointer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Compress {
    Yes,
    No,
}

/// RFC 3597 section 4: only names in types of RFC 1035 are compressed.
pub(super) fn compress(rtype: RecordType) -> Compress {
    match rtype {
        RecordType::NS
        | RecordType::CNAME
        | RecordType::PTR
        | RecordType::MB
        | RecordType::MD
        | RecordType::MF
        | RecordType::MG
        | RecordType::MR
        | RecordType::SOA
        | RecordType::MINFO
        | RecordType::MX => Compress::Yes,
        _ => Compress::No,
    }
}

/// The name at a place with its pointers followed, letter case kept.
pub(super) fn expand(message: &[u8], at: usize) -> Option<([u8; NAME_OCTETS_MAX], usize)> {
    // Proves that the walk below ends, stays inside, and fits.
    let length = walk::expanded_length(message, at)?;
    let (mut name, mut written, mut at) = ([0; NAME_OCTETS_MAX], 0, at);
    while written < length {
        match *message.get(at)? {
            192.. => at = usize::from(be16(message, at)?) & POINTER_MAX,
            label => {
                let end = written + 1 + usize::from(label);
                name.get_mut(written..end)?
                    .copy_from_slice(message.get(at..at + 1 + usize::from(label))?);
                (written, at) = (end, at + 1 + usize::from(label));
            }
        }
    }
    Some((name, length))
}

/// Places of the new message where names, or their ends, can be found.
#[derive(Debug)]
pub(super) struct Places {
    /// Where it begins, and its octets without compression.
    at: [(u16, u8); PLACES_MAX],
    count: usize,
}

impl Places {
    /// Those of the question.
    pub(super) fn new(message: &[u8]) -> Self {
        let mut places = Self {
            at: [(0, 0); PLACES_MAX],
            count: 0,
        };
        let mut at = HEADER_OCTETS;
        let mut left = walk::expanded_length(message, at).unwrap_or(0);
        while left > 1 {
            places.remember(at, left);
            let label = usize::from(message[at]) + 1;
            (at, left) = (at + label, left - label);
        }
        places
    }

    fn remember(&mut self, at: usize, length: usize) {
        if self.count < PLACES_MAX && at <= POINTER_MAX {
            self.at[self.count] = (at as u16, length as u8);
            self.count += 1;
        }
    }

    pub(super) fn write(&mut self, message: &mut Vec<u8>, name: &[u8], compress: Compress) {
        let mut kept = 0;
        while name.get(kept).is_some_and(|&label| label != 0) {
            let rest = &name[kept..];
            if compress == Compress::Yes
                && let Some(place) = self.find(message, rest)
            {
                message.extend_from_slice(&(0xc000 | place).to_be_bytes());
                return;
            }
            let label = usize::from(rest[0]) + 1;
            if compress == Compress::Yes {
                self.remember(message.len(), rest.len());
            }
            message.extend_from_slice(rest.get(..label).unwrap_or(rest));
            kept += label;
        }
        message.push(0);
    }

    fn find(&self, message: &[u8], name: &[u8]) -> Option<u16> {
        self.at[..self.count]
            .iter()
            .find(|(at, length)| {
                usize::from(*length) == name.len() && is_at(message, usize::from(*at), name)
            })
            .map(|(at, _)| *at)
    }
}

/// Whether the name at a place is this one, without regard to case.
fn is_at(message: &[u8], mut at: usize, mut name: &[u8]) -> bool {
    loop {
        let Some(&length) = message.get(at) else {
            // The name that is being written ends here, and goes on with what `name` begins with.
            return false;
        };
        match length {
            0 => return name == [0],
            192.. => match be16(message, at) {
                Some(pointer) => at = usize::from(pointer) & POINTER_MAX,
                None => return false,
            },
            _ => {
                let label = usize::from(length) + 1;
                let (Some(here), Some((there, rest))) =
                    (message.get(at..at + label), name.split_at_checked(label))
                else {
                    return false;
                };
                if !here.eq_ignore_ascii_case(there) {
                    return false;
                }
                (at, name) = (at + label, rest);
            }
        }
    }
}
