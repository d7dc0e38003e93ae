//! The small zone that *erratic* transfers.
use corten_plugin::wire::{Name, Owner, Rcode, RecordType, Section};
use corten_plugin::{Exchange, Flow};

const SERIAL: u32 = 2_018_050_825;
/// SOA's MNAME and RNAME, as CoreDNS has them.
const SERVER: &[u8] = b"\x03sns\x03dns\x05icann\x03org\0";
const MAILBOX: &[u8] = b"\x03noc\x03dns\x05icann\x03org\0";
/// Refresh, retry, expire, minimum.
const TIMES: [u32; 4] = [7200, 3600, 1_209_600, 3600];
const A: [u8; 16] = [
    0x20, 0x01, 0x0b, 0xd8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x53,
];
const B: [u8; 16] = [
    0x20, 0x01, 0x05, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x54,
];

/// The zone in one message; without its last SOA record when it is `cut`.
pub(crate) fn respond(ex: &mut Exchange, cut: bool) -> Flow {
    let zone = ex.query.question.name.clone();
    let (Some(a), Some(b)) = (below(b'a', &zone), below(b'b', &zone)) else {
        return ex.answer(Rcode::SERVFAIL);
    };
    ex.start(Rcode::NOERROR).authoritative = true;
    soa(ex);
    for server in [&b, &a] {
        let owner = Owner::Question;
        push(ex, owner, RecordType::NS, server);
    }
    push(ex, Owner::Wire(&a), RecordType::AAAA, &A);
    push(ex, Owner::Wire(&b), RecordType::AAAA, &B);
    if !cut {
        soa(ex);
    }
    Flow::Respond
}

/// A label in front of the zone's name, if there is room.
fn below(label: u8, zone: &Name) -> Option<Vec<u8>> {
    let name = [&[1, label], zone.wire()].concat();
    (name.len() <= 255).then_some(name)
}

fn push(ex: &mut Exchange, owner: Owner<'_>, rtype: RecordType, data: &[u8]) {
    let reply = &mut ex.reply;
    reply.push(Section::Answer, owner, rtype, 0, |rdata| {
        rdata.octets(data);
    });
}

fn soa(ex: &mut Exchange) {
    let reply = &mut ex.reply;
    let owner = Owner::Question;
    reply.push(Section::Answer, owner, RecordType::SOA, 0, |rdata| {
        rdata.octets(SERVER);
        rdata.octets(MAILBOX);
        rdata.u32(SERIAL);
        TIMES.iter().for_each(|number| rdata.u32(*number));
    });
}
