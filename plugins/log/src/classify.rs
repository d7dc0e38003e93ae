//! What kind of reply a reply is, by the rules of CoreDNS (`plugin/pkg/response`).
use std::time::{SystemTime, UNIX_EPOCH};

use corten_plugin::Exchange;
use corten_plugin::wire::{Opcode, Rcode, Record, RecordType, Reply, Section};

/// Kinds of replies that a rule can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    Success,
    Denial,
    Error,
}

impl Class {
    /// The word in the Corefile, and the value of `log/class`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Denial => "denial",
            Self::Error => "error",
        }
    }
}

/// The finer kinds: the value of `log/type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    NoError,
    NameError,
    ServerError,
    NoData,
    Delegation,
    Meta,
    Update,
    OtherError,
}

impl Kind {
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::NoError => "NOERROR",
            Self::NameError => "NXDOMAIN",
            Self::ServerError => "SERVERERROR",
            Self::NoData => "NODATA",
            Self::Delegation => "DELEGATION",
            Self::Meta => "META",
            Self::Update => "UPDATE",
            Self::OtherError => "OTHERERROR",
        }
    }

    /// Only what was found or denied is no error.
    pub(crate) const fn class(self) -> Class {
        match self {
            Self::NoError | Self::Delegation => Class::Success,
            Self::NameError | Self::NoData => Class::Denial,
            Self::ServerError | Self::Meta | Self::Update | Self::OtherError => Class::Error,
        }
    }
}

/// The kind of an exchange that is over; a dropped query is an error.
pub(crate) fn kind(ex: &Exchange) -> Kind {
    if ex.is_dropped() {
        return Kind::OtherError;
    }
    match ex.query.opcode() {
        Opcode::UPDATE => return Kind::Update,
        Opcode::NOTIFY => return Kind::Meta,
        _ => (),
    }
    if matches!(ex.query.question.rtype, RecordType::AXFR | RecordType::IXFR) {
        return Kind::Meta;
    }
    if ex.query.dnssec_ok() && has_expired_signature(&ex.reply) {
        return Kind::OtherError;
    }
    of_reply(&ex.reply)
}

fn of_reply(reply: &Reply) -> Kind {
    let answered = reply.count(Section::Answer) > 0;
    let authority = |rtype| {
        let mut records = reply.records().iter();
        records.any(|record| record.section == Section::Authority && record.rtype == rtype)
    };
    match reply.rcode {
        Rcode::NOERROR if answered => Kind::NoError,
        Rcode::NOERROR if authority(RecordType::SOA) => Kind::NoData,
        Rcode::NOERROR if authority(RecordType::NS) => Kind::Delegation,
        Rcode::NOERROR => Kind::NoError,
        Rcode::NXDOMAIN if answered => Kind::OtherError,
        Rcode::NXDOMAIN => Kind::NameError,
        Rcode::SERVFAIL | Rcode::NOTIMP => Kind::ServerError,
        _ => Kind::OtherError,
    }
}

/// Whether some RRSIG is not valid yet, or no longer (RFC 4034 section 3.1.5).
fn has_expired_signature(reply: &Reply) -> bool {
    let mut records = reply.records().iter();
    let Some(first) = records.find(|record| record.rtype == RecordType::RRSIG) else {
        return false;
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs() as u32;
    let signatures = records.filter(|record| record.rtype == RecordType::RRSIG);
    std::iter::once(first)
        .chain(signatures)
        .any(|record| !is_valid_at(reply, record, now))
}

fn is_valid_at(reply: &Reply, record: &Record, now: u32) -> bool {
    let rdata = usize::from(record.rdata)..usize::from(record.end);
    let Some(&[_, _, _, _, _, _, _, _, e0, e1, e2, e3, i0, i1, i2, i3]) = reply
        .octets()
        .get(rdata)
        .and_then(|rdata| rdata.first_chunk::<16>())
    else {
        return false;
    };
    let expiration = u32::from_be_bytes([e0, e1, e2, e3]);
    let inception = u32::from_be_bytes([i0, i1, i2, i3]);
    // Serial number arithmetic (RFC 1982).
    expiration.wrapping_sub(now) as i32 >= 0 && now.wrapping_sub(inception) as i32 >= 0
}

#[cfg(test)]
mod tests {
    use corten_plugin::wire::{Gate, Owner};

    use super::*;

    /// A query `www.example. A` with this OPCODE in its header, DO set.
    fn asked(opcode: u8, rtype: u8) -> Exchange {
        let mut ex = Exchange::new();
        let mut query = b"\0\0\0\0\0\x01\0\0\0\0\0\x01\x03www\x07example\0\0\0\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0".to_vec();
        query[2] = opcode << 3;
        query[26] = rtype;
        assert_eq!(ex.query.read(&query), Gate::Pass);
        ex
    }

    #[test]
    fn replies_are_of_the_kinds_that_coredns_knows() {
        use Section::{Answer, Authority};
        let (a, soa, ns) = (RecordType::A, RecordType::SOA, RecordType::NS);
        for (rcode, records, kind, class) in [
            (Rcode::NOERROR, &[(Answer, a)][..], "NOERROR", "success"),
            (Rcode::NOERROR, &[], "NOERROR", "success"),
            (Rcode::NOERROR, &[(Authority, ns)], "DELEGATION", "success"),
            (
                Rcode::NOERROR,
                &[(Authority, ns), (Authority, soa)],
                "NODATA",
                "denial",
            ),
            (
                Rcode::NOERROR,
                &[(Answer, a), (Authority, soa)],
                "NOERROR",
                "success",
            ),
            (Rcode::NXDOMAIN, &[(Authority, soa)], "NXDOMAIN", "denial"),
            (Rcode::NXDOMAIN, &[], "NXDOMAIN", "denial"),
            (Rcode::NXDOMAIN, &[(Answer, a)], "OTHERERROR", "error"),
            (Rcode::SERVFAIL, &[], "SERVERERROR", "error"),
            (Rcode::NOTIMP, &[], "SERVERERROR", "error"),
            (Rcode::REFUSED, &[], "OTHERERROR", "error"),
        ] {
            let mut ex = asked(0, 1);
            let reply = ex.start(rcode);
            for (section, rtype) in records {
                assert!(reply.push(*section, Owner::Question, *rtype, 60, |_| ()));
            }
            let found = super::kind(&ex);
            assert_eq!((found.word(), found.class().word()), (kind, class));
        }
    }

    #[test]
    fn transfers_and_notifications_are_of_their_own() {
        for (opcode, rtype, kind) in [
            (4, 6, Kind::Meta),
            (0, 252, Kind::Meta),
            (0, 251, Kind::Meta),
        ] {
            let mut ex = asked(opcode, rtype);
            let _ = ex.answer(Rcode::NOERROR);
            assert_eq!(super::kind(&ex), kind);
            assert_eq!(kind.class(), Class::Error);
        }
        assert_eq!(
            (Kind::Update.word(), Kind::Update.class()),
            ("UPDATE", Class::Error)
        );
    }

    #[test]
    fn expired_signatures_are_errors_for_those_who_want_signatures() {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs() as u32;
        for (inception, expiration, kind) in [
            (now - 60, now + 60, Kind::NoError),
            (now - 60, now - 30, Kind::OtherError),
            (now + 30, now + 60, Kind::OtherError),
        ] {
            let mut ex = asked(0, 1);
            ex.start(Rcode::NOERROR).push(
                Section::Answer,
                Owner::Question,
                RecordType::RRSIG,
                60,
                |rdata| {
                    rdata.octets(&[0; 8]);
                    rdata.u32(expiration);
                    rdata.u32(inception);
                    rdata.octets(&[0, 0, 0]);
                },
            );
            assert_eq!(super::kind(&ex), kind);
        }
    }
}
