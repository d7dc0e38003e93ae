//! Random zones, sound ones and others: whatever they hold, replies are in order.
use std::collections::HashSet;

use corten_plugin::wire::finish::Carrier;
use corten_plugin::wire::{Rcode, Section};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const LABELS: [&str; 3] = ["a", "b", "*"];
/// Hashes that nobody has made.
const HASHES: [&str; 3] = [
    "00000000000000000000000000000000",
    "g0000000000000000000000000000000",
    "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv",
];
/// Types with what stands in front of the target, if they have one.
const RECORDS: [&str; 10] = [
    "A 192.0.2.1",
    "AAAA 2001:db8::1",
    "TXT text",
    "DS 1 13 2 00",
    "NS >",
    "CNAME >",
    "DNAME >",
    "MX 1 >",
    "SRV 1 2 3 >",
    "HTTPS 1 >",
];
const ASKED: [&str; 12] = [
    "A", "TXT", "DS", "NS", "CNAME", "DNAME", "MX", "SRV", "SOA", "ANY", "RRSIG", "NSEC",
];

fn path() -> impl Strategy<Value = String> {
    vec(select(&LABELS[..]), 0..4).prop_map(|labels| match labels.is_empty() {
        true => "@".to_owned(),
        false => labels.join("."),
    })
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![8 => path(), 1 => Just("elsewhere.example.".to_owned()), 1 => Just(".".to_owned())]
}

fn line() -> impl Strategy<Value = String> {
    (path(), select(&RECORDS[..]), target())
        .prop_map(|(owner, record, target)| format!("{owner} {}\n", record.replace('>', &target)))
}

/// What the zone denies with, if it does.
fn denial() -> impl Strategy<Value = String> {
    let nsec = vec(path(), 0..8).prop_map(|owners| {
        let owners: HashSet<String> = owners.into_iter().collect();
        let lines = owners.iter().map(|owner| format!("{owner} NSEC a A\n"));
        format!("@ NSEC a SOA\n{}", lines.collect::<String>())
    });
    let nsec3 = vec(select(&HASHES[..]), 0..4).prop_map(|hashes| {
        let lines = hashes
            .iter()
            .map(|hash| format!("{hash} NSEC3 1 1 1 - {hash} A\n"));
        format!("@ NSEC3PARAM 1 0 1 -\n{}", lines.collect::<String>())
    });
    prop_oneof![Just(String::new()), nsec, nsec3]
}

/// The records of a reply: each with its section, owner, type and RDATA.
fn records(ex: &Exchange) -> Vec<(u8, String, RecordType, Vec<u8>)> {
    let message = ex.reply.to_message(&ex.query).expect("a well-formed reply");
    let sections = [&message.answers, &message.authorities, &message.additionals];
    let owners = sections.into_iter().flatten();
    owners
        .zip(ex.reply.records())
        .map(|(record, place)| {
            let rdata = usize::from(place.rdata)..usize::from(place.end);
            let rdata = ex.reply.octets()[rdata].to_vec();
            (
                place.section as u8,
                record.name.to_string(),
                place.rtype,
                rdata,
            )
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_reply_is_in_order(
        lines in vec(line(), 0..20),
        denial in denial(),
        questions in vec((path(), select(&ASKED[..]), any::<[bool; 2]>(), select(&[512u16, 1232, 4096][..])), 1..20),
    ) {
        let zone = isle(&format!("{}{denial}", lines.concat()));
        let zones = [slot(signed(&zone)), slot(zone)];
        for ((owner, rtype, [dnssec, tcp], size), zone) in questions.iter().flat_map(|question| {
            zones.iter().map(move |zone| (question, zone))
        }) {
            let owner = match owner.as_str() {
                "@" => String::new(),
                owner => format!("{owner}."),
            };
            let question = format!(
                "{owner}isle.example {rtype} size={size}{}{}",
                if *dnssec { " do" } else { "" },
                if *tcp { " tcp" } else { "" },
            );
            let mut ex = asked(&question);
            match answer(&mut ex, zone, &Fallthrough::None) {
                Flow::Wait => {
                    prop_assert!(!ex.reply.is_started());
                    continue;
                }
                flow => prop_assert_eq!(flow, Flow::Respond),
            }
            let records = records(&ex);
            let is = |section: Section, rtype| {
                records.iter().any(|record| record.0 == section as u8 && record.2 == rtype)
            };
            let each: HashSet<_> = records.iter().collect();
            prop_assert_eq!(each.len(), records.len(), "{}: a record is there twice: {}", question, shown(&ex));
            let empty = !records.iter().any(|record| record.0 == Section::Answer as u8);
            let denied = ex.reply.rcode == Rcode::NXDOMAIN || empty && ex.reply.authoritative;
            if denied && ex.reply.rcode != Rcode::YXDOMAIN {
                prop_assert!(is(Section::Authority, RecordType::SOA), "{}: {}", question, shown(&ex));
            }
            if !ex.reply.authoritative {
                prop_assert!(empty && is(Section::Authority, RecordType::NS), "{}: {}", question, shown(&ex));
            }
            let (carrier, most) = match tcp {
                true => (Carrier::Stream, 65_535),
                false => (Carrier::Datagram, usize::from(*size)),
            };
            let mut sent = Vec::new();
            ex.reply.finish(&ex.query, carrier, &mut sent);
            prop_assert!(sent.len() <= most);
        }
    }
}
