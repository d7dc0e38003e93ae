//! What a reply is, whether it is kept, and for how long (RFC 2308).
use corten_plugin::wire::{Query, Rcode, RecordType, Reply, Section};

use crate::config::Config;
use crate::entry::CLIENT_SUBNET;

/// What a reply says about the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It has data, in whatever section.
    Positive,
    /// Somebody else knows.
    Referral,
    /// There is no such name.
    NameError,
    /// The name has no such record.
    NoData,
    /// The server could not tell: SERVFAIL or NOTIMP.
    Failure,
    /// Anything else, such as a refusal.
    Other,
}

/// The store that a kind of reply belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shelf {
    Success,
    Denial,
}

/// What becomes of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) kind: Kind,
    /// The reply holds what was asked.
    pub(crate) answering: bool,
    /// The store that keeps it, if one does.
    pub(crate) keep: Option<Shelf>,
    /// TTL of all its records, in seconds.
    pub(crate) ttl: u32,
}

/// TTL of replies that say nothing about it, in seconds (CoreDNS's value).
const TTL_DEFAULT: u32 = 5;

/// Judges a reply; `clock` tells the seconds since 1970.
pub(crate) fn judge(
    config: &Config,
    query: &Query,
    reply: &Reply,
    clock: impl FnOnce() -> u32,
) -> Verdict {
    let (kind, answering) = kind(query, reply, clock);
    let authority = |rtype| has(reply, Section::Authority, rtype);
    let ttl = reply.ttl_min().unwrap_or(TTL_DEFAULT);
    let ttl = match kind {
        Kind::NameError | Kind::NoData => config
            .denial
            .clamp(ttl.min(reply.soa_minimum().unwrap_or(ttl))),
        Kind::Failure => config.failure_ttl,
        Kind::Positive | Kind::Referral => config.success.clamp(ttl),
        Kind::Other => config.success.clamp(TTL_DEFAULT),
    };
    let keep = match kind {
        // Without an answer and without an SOA this is a denial that nothing bounds (RFC 2308
        // section 5): a CNAME that leads nowhere, or nothing at all.
        Kind::Positive if !answering && reply.count(Section::Answer) > 0 => None,
        Kind::Positive if reply.records().is_empty() => None,
        Kind::Positive | Kind::Referral => Some(Shelf::Success),
        Kind::NameError if !authority(RecordType::SOA) => None,
        // Failures of our own are not kept: who asks next tries again.
        Kind::Failure if !reply.is_loaded() => None,
        Kind::NameError | Kind::NoData | Kind::Failure => Some(Shelf::Denial),
        Kind::Other => None,
    };
    Verdict {
        kind,
        answering,
        keep: keep.filter(|_| ttl > 0 && !reply.truncated && is_for_all(reply)),
        ttl,
    }
}

fn kind(query: &Query, reply: &Reply, clock: impl FnOnce() -> u32) -> (Kind, bool) {
    if query.dnssec_ok()
        && reply
            .records()
            .iter()
            .any(|record| record.rtype == RecordType::RRSIG)
        && reply.has_expired_signature(clock())
    {
        return (Kind::Other, false);
    }
    let authority = |rtype| has(reply, Section::Authority, rtype);
    match reply.rcode {
        Rcode::NOERROR if reply.has_answer() => (Kind::Positive, true),
        Rcode::NOERROR if authority(RecordType::SOA) => (Kind::NoData, false),
        Rcode::NOERROR if reply.count(Section::Answer) == 0 && authority(RecordType::NS) => {
            (Kind::Referral, false)
        }
        Rcode::NOERROR => (Kind::Positive, false),
        Rcode::NXDOMAIN => (Kind::NameError, false),
        Rcode::SERVFAIL | Rcode::NOTIMP => (Kind::Failure, false),
        _ => (Kind::Other, false),
    }
}

fn has(reply: &Reply, section: Section, rtype: RecordType) -> bool {
    reply
        .records()
        .iter()
        .any(|record| record.section == section && record.rtype == rtype)
}

/// Whether the reply is the same for every client: no subnet was named, or its scope is everything
/// (RFC 7871 section 7.3.1).
fn is_for_all(reply: &Reply) -> bool {
    match reply.option(CLIENT_SUBNET) {
        None => true,
        Some(data) => data.get(3) == Some(&0),
    }
}

impl Verdict {
    /// Whether the reply may take the place of a stale one: NOERROR and NXDOMAIN do (RFC 8767
    /// section 5); where positive answers are preferred only those.
    pub(crate) fn refreshes(&self, config: &Config, reply: &Reply) -> bool {
        if reply.truncated {
            return false;
        }
        match self.kind {
            Kind::Positive => self.answering || !config.prefers_positive(),
            Kind::Referral | Kind::NameError | Kind::NoData => !config.prefers_positive(),
            Kind::Failure | Kind::Other => false,
        }
    }
}

#[cfg(test)]
mod tests;
