//! Changing a query in place: plugins further down, upstreams and the reply's OPT see it as it is
//! now.
//!
//! Not here: the question, which plugins set in [`Query::question`]. A TSIG record stays where it
//! is, and no longer fits what it signed.
use std::ops::Range;

use super::{Edns, Query, be16};
use crate::MESSAGE_OCTETS_MAX;
use crate::walk;

/// Octets of an OPT record without options.
const OPT_OCTETS: usize = 11;
/// Furthest place a compression pointer can name.
const POINTER_MAX: usize = 0x3fff;

/// A bit of the header (RFC 1035 section 4.1.1, RFC 4035 section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Flag {
    /// AA: the answer is authoritative.
    Authoritative = 0x0400,
    /// RD: recursion is desired.
    RecursionDesired = 0x0100,
    /// RA: recursion is available.
    RecursionAvailable = 0x0080,
    /// AD: all data is authentic.
    AuthenticData = 0x0020,
    /// CD: signatures need not be checked.
    CheckingDisabled = 0x0010,
}

impl Query {
    /// Whether a bit of the header is set.
    pub fn flag(&self, flag: Flag) -> bool {
        self.flags() & flag as u16 != 0
    }

    /// Sets or clears a bit of the header. RD and CD of the reply are the query's.
    pub fn set_flag(&mut self, flag: Flag, on: bool) {
        let flags = match on {
            true => self.flags() | flag as u16,
            false => self.flags() & !(flag as u16),
        };
        if let Some(octets) = self.octets.get_mut(2..4) {
            octets.copy_from_slice(&flags.to_be_bytes());
        }
    }

    /// Lowers the UDP size in the OPT record to at most `most` octets; without OPT does nothing.
    pub fn cap_udp_size(&mut self, most: u16) {
        if let Some(edns) = &mut self.edns
            && edns.udp_size > most
        {
            edns.udp_size = most;
            let at = edns.options.start - 8;
            self.octets[at..at + 2].copy_from_slice(&most.to_be_bytes());
        }
    }

    /// Whether the client sent an OPT record itself: only then does the reply have one (RFC 6891
    /// section 6.1.1).
    pub fn client_speaks_edns(&self) -> bool {
        self.edns.is_some() && !self.edns_added
    }

    /// Octets of all EDNS options, one behind the other.
    pub fn edns_options(&self) -> &[u8] {
        self.edns
            .as_ref()
            .and_then(|edns| self.octets.get(edns.options.clone()))
            .unwrap_or_default()
    }

    /// Adds an OPT record with this UDP size, unless there is one. The reply has none for it.
    ///
    /// False if the message has no room.
    pub fn add_edns(&mut self, udp_size: u16) -> bool {
        if self.edns.is_some() {
            return true;
        }
        // TSIG is the last record (RFC 8945 section 5.1).
        let at = self.tsig.unwrap_or(self.octets.len());
        let [high, low] = udp_size.to_be_bytes();
        let opt = [0, 0, 41, high, low, 0, 0, 0, 0, 0, 0];
        if self.question_octets().is_empty() || !self.splice(at..at, at..at, &opt) {
            return false;
        }
        self.add_to_arcount(1);
        self.edns = Some(Edns {
            udp_size,
            version: 0,
            dnssec_ok: false,
            options: at + OPT_OCTETS..at + OPT_OCTETS,
        });
        self.edns_added = true;
        true
    }

    /// Takes out the OPT record that [`Query::add_edns`] added, if it did.
    pub fn remove_added_edns(&mut self) {
        if !self.edns_added {
            return;
        }
        if let Some(edns) = self.edns.take() {
            let opt = edns.options.start - OPT_OCTETS..edns.options.end;
            self.splice(opt.clone(), opt, &[]);
            self.add_to_arcount(u16::MAX);
        }
        self.edns_added = false;
    }

    /// Puts these options in place of all that are there. False, and nothing changed, without OPT,
    /// without room, or when they are no options.
    pub fn set_edns_options(&mut self, options: &[u8]) -> bool {
        let Some(edns) = &self.edns else { return false };
        let old = edns.options.clone();
        walk::are_options(options) && self.splice_options(old, options)
    }

    /// Puts an option in the place of the first with its code, or behind the others when there is
    /// none. False as for [`Query::set_edns_options`].
    pub fn set_edns_option(&mut self, code: u16, data: &[u8]) -> bool {
        let Ok(length) = u16::try_from(data.len()) else {
            return false;
        };
        let Some(edns) = &self.edns else { return false };
        let place = self
            .option_place(code)
            .unwrap_or(edns.options.end..edns.options.end);
        let mut option = Vec::with_capacity(4 + data.len());
        option.extend_from_slice(&code.to_be_bytes());
        option.extend_from_slice(&length.to_be_bytes());
        option.extend_from_slice(data);
        self.splice_options(place, &option)
    }

    /// Takes out every option with this code; whether there was one.
    pub fn remove_edns_option(&mut self, code: u16) -> bool {
        let mut found = false;
        while let Some(place) = self.option_place(code) {
            if !self.splice_options(place, &[]) {
                break;
            }
            found = true;
        }
        found
    }

    /// Where the first option with this code lies in the message.
    fn option_place(&self, code: u16) -> Option<Range<usize>> {
        let options = self.edns.as_ref()?.options.clone();
        let mut at = options.start;
        while at < options.end {
            let end = at + 4 + usize::from(be16(&self.octets, at + 2)?);
            if be16(&self.octets, at)? == code {
                return Some(at..end);
            }
            at = end;
        }
        None
    }

    fn splice_options(&mut self, place: Range<usize>, with: &[u8]) -> bool {
        let Some(edns) = &self.edns else { return false };
        let old = edns.options.clone();
        let length = old.len() - place.len() + with.len();
        let Ok(octets) = u16::try_from(length) else {
            return false;
        };
        if !self.splice(old.start - OPT_OCTETS..old.end, place, with) {
            return false;
        }
        self.octets[old.start - 2..old.start].copy_from_slice(&octets.to_be_bytes());
        if let Some(edns) = &mut self.edns {
            edns.options.end = old.start + length;
        }
        true
    }

    /// Puts octets in place of others inside a record; names of the record behind it move along.
    fn splice(&mut self, record: Range<usize>, place: Range<usize>, with: &[u8]) -> bool {
        let grown = self.octets.len() - place.len() + with.len();
        if grown > MESSAGE_OCTETS_MAX || !self.move_pointers(&record, &place, with.len()) {
            return false;
        }
        if let Some(tsig) = self.tsig.as_mut().filter(|tsig| **tsig >= record.end) {
            *tsig = *tsig - place.len() + with.len();
        }
        self.octets.splice(place, with.iter().copied());
        true
    }

    /// Makes pointers of records behind `record` lead to where their targets will be. False, and
    /// nothing changed, when one leads into the record, or will lead too far.
    fn move_pointers(&mut self, record: &Range<usize>, place: &Range<usize>, with: usize) -> bool {
        // The gate lets one record stand behind OPT at most, with its owner and two names.
        let (mut moved, mut count) = ([(0, 0u16); 3], 0);
        let mut at = record.end;
        while at < self.octets.len() {
            let Some(raw) = walk::record(&self.octets, at) else {
                return false;
            };
            let mut sound = true;
            let mut look = |name: usize| {
                let Some(pointer) = walk::pointer(&self.octets, name) else {
                    return;
                };
                let target = usize::from(be16(&self.octets, pointer).unwrap_or(0)) & POINTER_MAX;
                if target < record.start {
                    return;
                }
                let new = (target + with).saturating_sub(place.len());
                sound &= target >= record.end && new <= POINTER_MAX && count < moved.len();
                if sound {
                    moved[count] = (pointer, 0xc000 | new as u16);
                    count += 1;
                }
            };
            look(at);
            if walk::names_in_rdata(&self.octets, &raw, look).is_none() || !sound {
                return false;
            }
            at = raw.end;
        }
        for (pointer, target) in &moved[..count] {
            self.octets[*pointer..*pointer + 2].copy_from_slice(&target.to_be_bytes());
        }
        true
    }

    fn add_to_arcount(&mut self, number: u16) {
        let count = be16(&self.octets, 10).unwrap_or(0).wrapping_add(number);
        self.octets[10..12].copy_from_slice(&count.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gate;

    const QUESTION: &[u8] = b"\x03www\x07example\0\0\x01\0\x01";
    /// Size 1232, DO, options 3 (empty) and 65001.
    const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\x80\0\0\x0a\0\x03\0\0\xfd\xe9\0\x02hi";
    /// A TSIG record, as far as its place goes.
    const TSIG: &[u8] = b"\x03key\0\0\xfa\0\xff\0\0\0\0\0\x02\0\0";
    /// An MX record, the exchange of which is its own owner.
    const MX: &[u8] = b"\x02mx\xc0\x0c\0\x0f\0\x01\0\0\0\0\0\x04\0\x01\xc0\x32";

    fn message(additional: &[&[u8]]) -> Vec<u8> {
        let mut octets = b"\x12\x34\x01\0\0\x01\0\0\0\0\0".to_vec();
        octets.push(additional.len() as u8);
        octets.extend(QUESTION);
        additional.iter().for_each(|record| octets.extend(*record));
        octets
    }

    fn query(additional: &[&[u8]]) -> Query {
        let mut query = Query::new();
        assert_eq!(query.read(&message(additional)), Gate::Pass);
        query
    }

    /// What is edited reads back as the same.
    fn same_when_read(query: &Query) {
        let mut read = Query::new();
        assert_eq!(read.read(query.octets()), Gate::Pass);
        assert_eq!((read.edns(), read.tsig()), (query.edns(), query.tsig()));
        assert_eq!(read.octets(), query.octets());
        // The TSIG record here is one in name only.
        if query.tsig().is_none() {
            let decoded = hickory_proto::op::Message::from_vec(query.octets());
            assert_eq!(
                decoded.map(|message| message.edns.is_some()).ok(),
                Some(query.edns().is_some())
            );
        }
    }

    #[test]
    fn flags_are_set_and_cleared() {
        let mut query = query(&[OPT]);
        for flag in [
            Flag::Authoritative,
            Flag::RecursionAvailable,
            Flag::AuthenticData,
            Flag::CheckingDisabled,
        ] {
            assert!(!query.flag(flag));
            query.set_flag(flag, true);
            assert!(query.flag(flag) && query.recursion_desired());
            query.set_flag(flag, false);
            assert!(!query.flag(flag));
        }
        query.set_flag(Flag::RecursionDesired, false);
        assert_eq!(query.octets()[2..4], [0, 0]);
    }

    #[test]
    fn sizes_are_lowered_and_never_raised() {
        let mut query = query(&[OPT]);
        for (most, size) in [(4096, 1232), (1232, 1232), (900, 900), (1000, 900)] {
            query.cap_udp_size(most);
            assert_eq!(query.edns().map(|edns| edns.udp_size), Some(size));
            same_when_read(&query);
        }
    }

    #[test]
    fn options_are_set_removed_and_put_back() {
        for records in [&[OPT][..], &[OPT, TSIG], &[OPT, MX], &[MX, OPT]] {
            // The pointer in MX holds for the place behind OPT.
            let mx_first = records[0] == MX;
            let mut octets = message(records);
            if mx_first {
                octets[29 + 18] = 29;
            }
            let mut query = Query::new();
            assert_eq!(query.read(&octets), Gate::Pass);
            let before = query.edns_options().to_vec();
            assert!(query.set_edns_option(65_001, b"longer than before"));
            assert_eq!(query.edns_option(65_001), Some(&b"longer than before"[..]));
            same_when_read(&query);
            assert!(query.set_edns_option(65_002, b"\0\x01"));
            assert!(query.remove_edns_option(3) && !query.remove_edns_option(3));
            assert_eq!(query.edns_option(3), None);
            same_when_read(&query);
            assert!(query.set_edns_options(&[]) && query.edns_options().is_empty());
            same_when_read(&query);
            assert!(query.set_edns_options(&before));
            assert_eq!(query.octets(), octets);
            assert!(query.client_speaks_edns());
        }
    }

    #[test]
    fn an_opt_is_added_and_taken_back() {
        for records in [&[][..], &[TSIG], &[MX]] {
            let mut octets = message(records);
            if records == [MX] {
                octets[29 + 18] = 29;
            }
            let mut query = Query::new();
            assert_eq!(query.read(&octets), Gate::Pass);
            assert!(!query.set_edns_option(1, b""));
            assert!(query.add_edns(4096) && query.add_edns(512));
            assert!(query.set_edns_option(65_001, b"x"));
            assert_eq!(query.edns().map(|edns| edns.udp_size), Some(4096));
            assert!(!query.client_speaks_edns());
            same_when_read(&query);
            let other = query.with_question(&query.question);
            assert!(!other.client_speaks_edns() && other.edns_option(65_001) == Some(b"x"));
            query.remove_added_edns();
            assert_eq!((query.octets(), query.edns()), (&octets[..], None));
            same_when_read(&query);
        }
        let mut own = query(&[OPT]);
        own.remove_added_edns();
        assert!(own.client_speaks_edns());
    }

    #[test]
    fn what_has_no_room_or_points_into_the_opt_changes_nothing() {
        let mut query = query(&[OPT]);
        let before = query.octets().to_vec();
        assert!(!query.set_edns_option(9, &vec![0; 65_535]));
        assert!(!query.set_edns_option(9, &vec![0; 65_536]));
        assert!(!query.set_edns_options(b"\0\x01\0"));
        assert_eq!(query.octets(), before);
        // An owner inside the data of an option.
        let into = b"\xc0\x30\0\x01\0\x01\0\0\0\0\0\0";
        let opt = b"\0\0\x29\x04\xd0\0\0\x80\0\0\x08\xfd\xe9\0\x04\x01a\0\0";
        let mut octets = message(&[opt, into]);
        octets[29 + 20] = 29 + 15;
        assert_eq!(query.read(&octets), Gate::Pass);
        let before = query.octets().to_vec();
        assert!(!query.set_edns_option(65_001, b"other") && !query.remove_edns_option(65_001));
        assert_eq!(query.octets(), before);
    }
}
