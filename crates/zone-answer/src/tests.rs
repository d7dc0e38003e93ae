//! What zones answer, RFC by RFC: whole replies as text.
mod chains;
mod denial;
mod follow;
mod random;
mod rules;
mod size;

use std::path::Path;
use std::sync::Arc;

use corten_plugin::wire::typed::rr::Record;
use corten_plugin::wire::{Gate, Name, RecordType};
use corten_plugin::{Exchange, Fallthrough, Flow, Transport};
use corten_zone::{Builder, Slot, Zone, master};

use crate::answer;

/// A zone from a text; `$TTL` is 300.
fn zone(apex: &str, text: &str) -> Zone {
    let name: Name = apex.parse().unwrap();
    let text = format!("$TTL 300\n{text}");
    let loaded = master::read(text.as_bytes(), Path::new("db"), name.wire()).unwrap();
    loaded.zone
}

/// `isle.example` with a SOA record and one name server, and what `text` adds.
fn isle(text: &str) -> Zone {
    zone(
        "isle.example",
        &format!("@ SOA ns post 7 1 2 3 60\n@ NS ns\nns A 192.0.2.53\n{text}"),
    )
}

/// The same zone with a signature for each RRset that is the zone's own to sign (RFC 4035 section
/// 2.2). They hold nothing that could be checked.
fn signed(zone: &Zone) -> Zone {
    let mut builder = Builder::new(zone.apex());
    for node in zone.nodes() {
        for set in node.sets() {
            for rdata in set.rdata() {
                builder.add(node.name(), set.rtype, set.ttl, rdata).unwrap();
            }
            let own = node.cut().is_none()
                || node.is_delegation() && matches!(set.rtype, RecordType::DS | RecordType::NSEC);
            if own {
                let mut rdata = set.rtype.0.to_be_bytes().to_vec();
                rdata.extend([13, 2, 0, 0, 0, 60, 0x70, 0, 0, 0, 0x60, 0, 0, 0, 0, 1]);
                rdata.extend_from_slice(zone.apex());
                rdata.extend([1, 2, 3]);
                builder
                    .add(node.name(), RecordType::RRSIG, set.ttl, &rdata)
                    .unwrap();
            }
        }
    }
    builder.build().unwrap()
}

fn slot(zone: Zone) -> Slot {
    let slot = Slot::new(zone.apex());
    slot.set(Arc::new(zone));
    slot
}

/// An exchange with a question such as `www.isle.example A`, behind it `do`, `tcp` and `size=N`.
fn asked(question: &str) -> Exchange {
    let mut words = question.split(' ');
    let name: Name = words.next().unwrap().parse().unwrap();
    let rtype: RecordType = words.next().unwrap().parse().unwrap();
    let mut octets = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    octets.extend_from_slice(name.wire());
    octets.extend(rtype.0.to_be_bytes());
    octets.extend([0, 1]);
    let (mut size, mut dnssec, mut ex) = (None, false, Exchange::new());
    for word in words {
        match word.strip_prefix("size=") {
            Some(number) => size = Some(number.parse().unwrap()),
            None if word == "do" => dnssec = true,
            None => ex.transport = Transport::Tcp,
        }
    }
    if dnssec || size.is_some() {
        octets[11] = 1;
        octets.extend([0, 0, 41]);
        octets.extend(size.unwrap_or(4096u16).to_be_bytes());
        octets.extend([0, 0, if dnssec { 0x80 } else { 0 }, 0, 0, 0]);
    }
    assert_eq!(ex.query.read(&octets), Gate::Pass);
    ex
}

/// RCODE, AA and TC, and the records of each section in their order. Signatures are a star behind
/// what they sign; they must be right behind it.
fn shown(ex: &Exchange) -> String {
    let message = ex.reply.to_message(&ex.query).expect("a well-formed reply");
    let mut text = ex.reply.rcode.to_string();
    for (flag, name) in [
        (message.metadata.authoritative, " aa"),
        (message.metadata.truncation, " tc"),
    ] {
        text.push_str(if flag { name } else { "" });
    }
    let sections = [
        ("answer", &message.answers),
        ("authority", &message.authorities),
        ("additional", &message.additionals),
    ];
    let records = sections
        .into_iter()
        .flat_map(|(section, records)| records.iter().map(move |record| (section, record)));
    let mut last: Option<(RecordType, &Record)> = None;
    for ((section, record), place) in records.zip(ex.reply.records()) {
        let rdata = &ex.reply.octets()[usize::from(place.rdata)..usize::from(place.end)];
        let rtype = place.rtype;
        if rtype == RecordType::RRSIG
            && let Some((before, signed)) = last
            && before != rtype
        {
            let covered = RecordType(u16::from_be_bytes([rdata[0], rdata[1]]));
            assert_eq!((before, &signed.name), (covered, &record.name));
            text.push('*');
            continue;
        }
        let data = match rtype {
            RecordType::NSEC | RecordType::NSEC3 => String::new(),
            RecordType::SOA => "SOA".to_owned(),
            RecordType::RRSIG => format!(
                "of {}",
                RecordType(u16::from_be_bytes([rdata[0], rdata[1]]))
            ),
            // The others are not known to the decoder.
            RecordType::DNAME => Name::from_wire(rdata).unwrap().to_string(),
            RecordType::DS => rdata.iter().map(|octet| format!("{octet:02x}")).collect(),
            _ => record.data.to_string(),
        };
        let line = format!("\n{section} {} {} {rtype} {data}", record.name, record.ttl);
        text.push_str(line.trim_end());
        last = Some((rtype, record));
    }
    text
}

/// What a zone answers.
fn reply(slot: &Slot, question: &str) -> String {
    let mut ex = asked(question);
    match answer(&mut ex, slot, &Fallthrough::None) {
        Flow::Respond => shown(&ex),
        other => format!("{other:?}"),
    }
}

/// Compares what a zone answers with what it should: lines, blanks in front of them aside.
fn check(slot: &Slot, question: &str, expected: &str) {
    let expected: Vec<_> = expected.trim().lines().map(str::trim).collect();
    assert_eq!(reply(slot, question), expected.join("\n"), "{question}");
}

const SOA: &str = "authority isle.example. 60 SOA SOA";
const NS: &str = "authority isle.example. 300 NS ns.isle.example.";
