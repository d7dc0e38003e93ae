//! What a plugin calls.
use corten_plugin::wire::{Opcode, Question, Rcode, RecordType, Reply, Section};
use corten_plugin::{Exchange, Fallthrough, Flow};
use corten_zone::{Slot, Zone};

use crate::ZoneTable;
use crate::compose::{Composer, End};

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
    if matches!(ex.query.question.rtype, RecordType::AXFR | RecordType::IXFR) {
        return ex.answer(Rcode::REFUSED);
    }
    let zone = slot.load();
    let Some(zone) = zone.as_deref() else {
        return not_ready(ex);
    };
    let mut composer = Composer::new(ex, zone);
    match composer.chain(ex, fallthrough) {
        End::Missing => Flow::Pass,
        End::Outside(_) => {
            ex.reply.clear();
            Flow::Wait
        }
        end => {
            composer.finish(&mut ex.reply, &ex.query.question, &end);
            Flow::Respond
        }
    }
}

/// The same after [`answer`] wanted to wait: has the server resolve what CNAME records lead to. For
/// [`corten_plugin::Plugin::wait`].
///
/// The target's RCODE is the reply's (RFC 6604 section 3), and a denial is proved by the records of
/// the zone that denies (RFC 2308 section 2.1). A target that nobody here answers for, one that leads
/// back, and one too many are left to the client.
pub async fn follow(ex: &mut Exchange, slot: &Slot, fallthrough: &Fallthrough) -> Flow {
    let Some(zone) = slot.zone() else {
        return not_ready(ex);
    };
    let zone: &Zone = &zone;
    let mut composer = Composer::new(ex, zone);
    let end = match composer.chain(ex, fallthrough) {
        End::Missing => return Flow::Pass,
        End::Outside(target) => {
            let question = Question {
                name: *target,
                ..ex.query.question.clone()
            };
            match ex.resolve(&question).await {
                Ok(found) => join(&mut ex.reply, &found.reply),
                Err(_) => End::Data,
            }
        }
        end => end,
    };
    composer.finish(&mut ex.reply, &ex.query.question, &end);
    Flow::Respond
}

/// What a query gets that no zone of the table is for and that nobody behind the plugin answers:
/// REFUSED, which is what authoritative servers say. For [`corten_plugin::Plugin::unanswered`].
pub fn refused(zones: &ZoneTable, ex: &Exchange) -> Option<Rcode> {
    let none = zones.find(&ex.query.question).is_none();
    none.then_some(Rcode::REFUSED)
}

fn not_ready(ex: &mut Exchange) -> Flow {
    let flow = ex.answer(Rcode::SERVFAIL);
    ex.explain(NOT_READY, "");
    flow
}

/// Puts the target's answer behind the alias.
fn join<'z>(reply: &mut Reply, target: &Reply) -> End<'z> {
    match target.rcode {
        Rcode::NOERROR => (),
        Rcode::NXDOMAIN | Rcode::SERVFAIL | Rcode::YXDOMAIN => reply.rcode = target.rcode,
        // Not answered here; the client may know where.
        _ => return End::Data,
    }
    let of = |section| {
        let records = target.records().iter();
        records.filter(move |record| record.section == section)
    };
    for record in of(Section::Answer) {
        reply.truncated |= !reply.push_copy(Section::Answer, target, record);
    }
    reply.truncated |= target.truncated;
    let denied = target.rcode == Rcode::NXDOMAIN || !target.has_answer();
    let has_soa = of(Section::Authority).any(|record| record.rtype == RecordType::SOA);
    if !denied || !has_soa {
        return End::Data;
    }
    for record in of(Section::Authority) {
        reply.truncated |= !reply.push_copy(Section::Authority, target, record);
    }
    End::Denied
}
