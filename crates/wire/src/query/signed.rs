//! A query with a transaction signature (TSIG, RFC 8945).
//!
//! Not here: keys and signatures; `corten-tsig` has them.
use super::{Query, be16};
use crate::RecordType;
use crate::walk;

impl Query {
    /// A message with a TSIG record exactly as it came, whatever plugins have changed since: what
    /// was signed. Nothing for a query without one, and for a question of our own.
    pub fn signed_octets(&self) -> Option<&[u8]> {
        (!self.received.is_empty()).then_some(&self.received[..])
    }

    /// Takes the TSIG record out, so that nobody further down sees it (RFC 8945 section 5.2).
    pub fn remove_tsig(&mut self) {
        let Some(at) = self.tsig.take() else { return };
        // It is the last record.
        self.octets.truncate(at);
        let count = be16(&self.octets, 10).unwrap_or(0).saturating_sub(1);
        if let Some(octets) = self.octets.get_mut(10..12) {
            octets.copy_from_slice(&count.to_be_bytes());
        }
    }

    /// The serial in the authority section of an IXFR query (RFC 1995 section 3): the version that
    /// the client has. Nothing when there is no SOA record of the zone.
    pub fn ixfr_serial(&self) -> Option<u32> {
        let octets = &self.octets;
        if [be16(octets, 6)?, be16(octets, 8)?] != [0, 1] {
            return None;
        }
        let at = self.question_end;
        let record = walk::record(octets, at)?;
        let mut names = 0;
        let mut end = record.rdata;
        walk::names_in_rdata(octets, &record, |name| {
            names += 1;
            end = walk::skip_name(octets, name).unwrap_or(usize::MAX);
        })?;
        if record.rtype != RecordType::SOA
            || names != 2
            || end.checked_add(20)? != record.end
            || !walk::same_name(octets, at, crate::HEADER_OCTETS)
        {
            return None;
        }
        let serial = octets.get(end..)?.first_chunk()?;
        Some(u32::from_be_bytes(*serial))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Gate, Query, Rcode};

    const QUESTION: &[u8] = b"\x07example\0\0\xfb\0\x01";
    const TSIG: &[u8] = b"\x03key\0\0\xfa\0\xff\0\0\0\0\0\x02\0\0";
    const SOA: &[u8] =
        b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\x16\0\0\0\0\0\x07\0\0\0\x01\0\0\0\x01\0\0\0\x01\0\0\0\x01";

    fn message(authority: &[&[u8]], additional: &[&[u8]]) -> Vec<u8> {
        let mut octets = b"\0\x01\0\0\0\x01\0\0\0".to_vec();
        octets.extend([authority.len() as u8, 0, additional.len() as u8]);
        octets.extend(QUESTION);
        octets.extend(authority.concat());
        octets.extend(additional.concat());
        octets
    }

    #[test]
    fn what_was_signed_stays_as_it_came() {
        let octets = message(&[], &[TSIG]);
        let mut query = Query::new();
        assert_eq!(query.read(&octets), Gate::Pass);
        query.set_authentic_data(true);
        query.remove_tsig();
        assert_eq!(query.octets().len(), message(&[], &[]).len());
        assert_eq!((query.octets()[11], query.tsig()), (0, None));
        assert_eq!(query.signed_octets(), Some(&octets[..]));
        assert_eq!(query.read(&message(&[], &[])), Gate::Pass);
        assert_eq!(query.signed_octets(), None);
    }

    #[test]
    fn a_signature_stands_at_the_end_or_nowhere() {
        let opt = b"\0\0\x29\x04\xd0\0\0\0\0\0\0";
        for (authority, additional, gate) in [
            (&[][..], &[opt, TSIG][..], Gate::Pass),
            (&[], &[TSIG, opt], Gate::Whole(Rcode::FORMERR)),
            (&[], &[TSIG, TSIG], Gate::Whole(Rcode::FORMERR)),
        ] {
            assert_eq!(Query::new().read(&message(authority, additional)), gate);
        }
    }

    #[test]
    fn an_ixfr_names_the_version_that_is_there() {
        let mut query = Query::new();
        let mut other_owner = SOA.to_vec();
        other_owner.splice(..2, *b"\0");
        let mut short = SOA.to_vec();
        short[11] -= 1;
        short.pop();
        for (authority, serial) in [
            (&[SOA][..], Some(7)),
            (&[], None),
            (&[&other_owner], None),
            (&[&short], None),
        ] {
            assert_eq!(query.read(&message(authority, &[])), Gate::Pass);
            assert_eq!(query.ixfr_serial(), serial);
        }
    }
}
