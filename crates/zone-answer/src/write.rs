//! Writes RRsets into a reply.
use corten_plugin::Exchange;
use corten_plugin::wire::{Owner, Rdata, RecordType, Reply, Section};
use corten_zone::{RrSet, SignedSet, Zone};

/// Octets of an OPT record without options.
const OPT_OCTETS: usize = 11;
/// Octets kept free for options, such as the server's identifier, where the client speaks EDNS.
const OPTIONS_OCTETS: usize = 40;
/// The question begins behind the header.
const QUESTION_AT: usize = 12;

/// How the records of one reply are written.
#[derive(Debug)]
pub(crate) struct Writer<'z> {
    zone: &'z Zone,
    /// The client wants DNSSEC records.
    pub(crate) dnssec: bool,
    /// Where the apex lies in the question.
    apex_at: u16,
    /// Octets that the reply may have with records that may be left out.
    octets_max: usize,
    /// Octets that the client takes at all.
    client_octets_max: usize,
}

impl<'z> Writer<'z> {
    pub(crate) fn new(ex: &Exchange, zone: &'z Zone) -> Self {
        let name = ex.query.question.name.wire().len();
        let opt = ex.query.edns().map_or(0, |_| OPT_OCTETS + OPTIONS_OCTETS);
        Self {
            zone,
            dnssec: ex.query.dnssec_ok(),
            apex_at: (QUESTION_AT + name.saturating_sub(zone.apex().len())) as u16,
            octets_max: usize::from(ex.client_octets_max()) - opt,
            client_octets_max: usize::from(ex.client_octets_max()),
        }
    }

    /// The apex as an owner.
    pub(crate) fn apex(&self) -> Owner<'static> {
        Owner::At(self.apex_at)
    }

    /// Whether the client takes these as well, with their signatures.
    pub(crate) fn fits(&self, reply: &Reply, set: SignedSet<'z>) -> bool {
        let signatures = set.signatures.filter(|_| self.dnssec);
        let signatures = signatures.map_or(0, RrSet::message_octets);
        reply.octets().len() + set.set.message_octets() + signatures <= self.octets_max
    }

    /// Whether there is room for anything at all that may be left out.
    pub(crate) fn has_room(&self, reply: &Reply) -> bool {
        reply.octets().len() < self.octets_max
    }

    /// Whether the reply is cut whatever comes behind: that is work for nobody.
    pub(crate) fn is_overfull(&self, reply: &Reply) -> bool {
        reply.octets().len() > self.client_octets_max
    }

    /// A set, and its signatures where the client wants them.
    pub(crate) fn signed(
        &self,
        reply: &mut Reply,
        section: Section,
        owner: Owner<'_>,
        set: SignedSet<'z>,
    ) {
        self.set(reply, section, owner, set.set, set.set.ttl);
        if let Some(signatures) = set.signatures.filter(|_| self.dnssec) {
            self.set(reply, section, owner, signatures, signatures.ttl);
        }
    }

    /// A set. What a message cannot hold is cut off.
    pub(crate) fn set(
        &self,
        reply: &mut Reply,
        section: Section,
        owner: Owner<'_>,
        set: RrSet<'z>,
        ttl: u32,
    ) {
        let whole = reply.push_set(section, owner, set.rtype, ttl, set.rdata(), |out, rdata| {
            self.rdata(out, &set, rdata);
        });
        reply.truncated |= !whole;
    }

    /// The first of a name's CNAME records, of which there should be one, with its signatures behind
    /// it.
    pub(crate) fn alias(&self, reply: &mut Reply, owner: Owner<'_>, set: SignedSet<'z>) {
        let (section, alias) = (Section::Answer, set.set);
        reply.truncated |= !reply.push(section, owner, alias.rtype, alias.ttl, |out| {
            self.rdata(out, &alias, alias.first());
        });
        if let Some(signatures) = set.signatures.filter(|_| self.dnssec) {
            self.set(reply, section, owner, signatures, signatures.ttl);
        }
    }

    fn rdata(&self, out: &mut Rdata<'_>, set: &RrSet<'z>, rdata: &[u8]) {
        let apex = self.zone.apex().len();
        if set.targets_are_inside() {
            out.octets(&rdata[..rdata.len() - apex]);
            return out.u16(0xc000 | self.apex_at);
        }
        if set.rtype != RecordType::SOA {
            return out.octets(rdata);
        }
        let mut rest = rdata;
        for _ in 0..2 {
            let (name, behind) = rest.split_at(name_octets(rest));
            self.name(out, name);
            rest = behind;
        }
        out.octets(rest);
    }

    /// A name in RDATA, compressed to the apex if it is in the zone.
    pub(crate) fn name(&self, out: &mut Rdata<'_>, name: &[u8]) {
        let apex = self.zone.apex();
        if apex.len() > 2 && corten_zone::is_in(name, apex) {
            out.octets(&name[..name.len() - apex.len()]);
            return out.u16(0xc000 | self.apex_at);
        }
        out.octets(name);
    }
}

/// Octets of the name that octets begin with.
fn name_octets(octets: &[u8]) -> usize {
    let mut at = 0;
    while let Some(&length) = octets.get(at).filter(|length| **length != 0) {
        at += 1 + usize::from(length);
    }
    (at + 1).min(octets.len())
}
