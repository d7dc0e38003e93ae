//! The target that reads zones as text.
use std::fmt::Write;
use std::path::Path;

use corten_wire::{Name, RecordType};
use corten_zone::master::{Loaded, read};
use corten_zone::{Found, Proof, Zone};

/// `isle.example.`
const APEX: &[u8] = b"\x04isle\x07example\x00";
/// Records of a file that makes more of them with `$GENERATE` than a smoke test has time for.
const RECORDS_MAX: usize = 5_000;
/// Names that questions are asked about.
const NAMES_MAX: usize = 40;

/// A text is a zone or the error says where it is none; the zone's records written down in the generic
/// form are the same zone. Whatever it holds, it has something to say to every question.
pub fn master(octets: &[u8]) {
    let path = Path::new("fuzz");
    let zone = match read(octets, path, APEX) {
        Ok(Loaded { zone, warnings, .. }) => {
            for warning in &warnings.first {
                assert!(warning.to_string().starts_with("fuzz"), "{warning}");
            }
            zone
        }
        Err(error) => {
            let lines = octets.iter().filter(|octet| **octet == b'\n').count() + 1;
            if let Some((line, column)) = error.place {
                assert!(
                    (1..=lines).contains(&(line as usize)) && column > 0,
                    "{error}"
                );
            }
            assert!(error.to_string().contains("fuzz"), "{error}");
            return;
        }
    };
    let records = zone.records().count();
    assert!(records > 0, "a zone has a SOA record");
    if records > RECORDS_MAX {
        return;
    }
    for node in zone.nodes().take(NAMES_MAX) {
        let below = [b"\x01x", node.name()].concat();
        let names = [node.name(), &below[..]].map(Name::from_wire);
        names.iter().flatten().for_each(|name| asked(&zone, name));
    }
    let text = written(&zone);
    let again = match read(text.as_bytes(), path, APEX) {
        Ok(again) => again.zone,
        Err(error) => panic!("{error}\n{text}"),
    };
    assert!(
        zone.records().eq(again.records()),
        "what is written is read\n{text}"
    );
}

/// Questions about one name, with the proofs that belong to their answers.
fn asked(zone: &Zone, name: &Name) {
    for rtype in [
        RecordType::A,
        RecordType::NS,
        RecordType::DS,
        RecordType::CNAME,
        RecordType::NSEC,
        RecordType::ANY,
    ] {
        let (lookup, mut proof) = (zone.lookup(name, rtype), Proof::new());
        match (lookup.found, lookup.node, lookup.encloser) {
            (Found::Data(set), ..) => {
                assert_eq!(set.set.rtype, rtype);
                assert_eq!(set.set.rdata().count(), usize::from(set.set.count));
            }
            (Found::Delegation(cut, _), ..) => {
                assert!(cut.is_delegation());
                zone.prove_no_data(cut, &mut proof);
            }
            (Found::NoData, Some(node), None) => zone.prove_no_data(node, &mut proof),
            (Found::NoData, Some(node), Some(encloser)) => {
                zone.prove_no_wildcard_data(name, encloser, node, &mut proof);
            }
            (Found::NameError, _, encloser) => {
                let encloser = encloser.expect("the apex is there");
                zone.prove_name_error(name, encloser, &mut proof);
            }
            _ => (),
        }
        for node in proof.nodes(zone) {
            let rtype = zone.denial_type().expect("only then something is proved");
            assert!(node.set(rtype).is_some());
        }
    }
}

/// All records in the form of RFC 3597 section 5.
fn written(zone: &Zone) -> String {
    let mut text = String::new();
    for record in zone.records() {
        let owner = Name::from_wire(record.owner).unwrap_or_default();
        let _ = write!(
            text,
            "{owner} {} TYPE{} \\# {} ",
            record.ttl,
            record.rtype.0,
            record.rdata.len()
        );
        for octet in record.rdata {
            let _ = write!(text, "{octet:02x}");
        }
        text.push('\n');
    }
    text
}
