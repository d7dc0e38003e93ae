//! From what a zone says to a reply.
use corten_plugin::wire::{Opcode, Owner, Rcode, RecordType, Section};
use corten_plugin::{Exchange, Fallthrough, Flow};
use corten_zone::Slot;

use crate::ZoneTable;

/// Extended DNS Error "Not Ready" (RFC 8914 section 4.15).
const NOT_READY: u16 = 14;

/// Answers from a zone that the question is in. For [`corten_plugin::Plugin::on_query`].
///
/// | the exchange | gets |
/// |---|---|
/// | a NOTIFY | nothing: who listens to them does so before |
/// | AXFR, IXFR | REFUSED: *transfer* stands above |
/// | a slot without a version | SERVFAIL |
/// | a name that is not there, with `fallthrough` | [`Flow::Pass`] |
/// | a CNAME that leads out of the zone | [`Flow::Wait`]: call [`follow`] |
pub fn answer(ex: &mut Exchange, slot: &Slot, fallthrough: &Fallthrough) -> Flow {
    if ex.query.opcode() != Opcode::QUERY {
        return Flow::Drop;
    }
    let question = &ex.query.question;
    if matches!(question.rtype, RecordType::AXFR | RecordType::IXFR) {
        return ex.answer(Rcode::REFUSED);
    }
    let zone = slot.load();
    let Some(zone) = &*zone else {
        let flow = ex.answer(Rcode::SERVFAIL);
        ex.explain(NOT_READY, "");
        return flow;
    };
    let question = question.clone();
    let known = |owner: &[u8]| corten_zone::is_in(owner, question.name.wire());
    if !zone.records().any(|record| known(record.owner)) && fallthrough.lets_through(&question.name)
    {
        return Flow::Pass;
    }
    let exists = zone.records().any(|record| known(record.owner));
    let rcode = if exists {
        Rcode::NOERROR
    } else {
        Rcode::NXDOMAIN
    };
    let reply = ex.start(rcode);
    reply.authoritative = true;
    for record in zone.records() {
        if record.owner == question.name.wire() && record.rtype == question.rtype {
            reply.push(
                Section::Answer,
                Owner::Question,
                record.rtype,
                record.ttl,
                |rdata| {
                    rdata.octets(record.rdata);
                },
            );
        }
    }
    if let Some(soa) = zone.records().next().filter(|_| reply.records().is_empty()) {
        reply.push(
            Section::Authority,
            Owner::Wire(zone.apex()),
            soa.rtype,
            soa.ttl,
            |rdata| {
                rdata.octets(soa.rdata);
            },
        );
    }
    Flow::Respond
}

/// The same after [`answer`] wanted to wait: has the server resolve what CNAME records lead to. For
/// [`corten_plugin::Plugin::wait`].
pub async fn follow(ex: &mut Exchange, slot: &Slot, fallthrough: &Fallthrough) -> Flow {
    answer(ex, slot, fallthrough)
}

/// What a query gets that no zone of the table is for and that nobody behind the plugin answers:
/// REFUSED, which is what authoritative servers say. For [`corten_plugin::Plugin::unanswered`].
pub fn refused(zones: &ZoneTable, ex: &Exchange) -> Option<Rcode> {
    zones
        .find(&ex.query.question)
        .is_none()
        .then_some(Rcode::REFUSED)
}
