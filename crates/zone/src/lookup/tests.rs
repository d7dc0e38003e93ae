//! Lookup against the algorithm of RFC 1034 section 4.3.2 taken literally, and the store against a
//! list.
use std::collections::BTreeMap;

use corten_wire::{Name, RecordType};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;
use crate::{Builder, Delta, RecordBuf, canonical};

const TYPES: [RecordType; 6] = [
    RecordType::A,
    RecordType::NS,
    RecordType::CNAME,
    RecordType::DNAME,
    RecordType::DS,
    RecordType::TXT,
];
const LABELS: [&str; 3] = ["a", "b", "*"];

/// Labels in front of the apex, last one first.
type Path = Vec<&'static str>;
type Owned = (Path, RecordType);

fn wire(path: &Path) -> Vec<u8> {
    let text = path
        .iter()
        .rev()
        .fold(String::new(), |text, label| text + label + ".");
    let name: Name = format!("{text}zone").parse().unwrap();
    name.wire().to_vec()
}

/// What is found, as text.
fn literal(records: &[Owned], name: &Path, rtype: RecordType) -> String {
    let exists =
        |path: &[&str]| path.is_empty() || records.iter().any(|(owner, _)| owner.starts_with(path));
    let has = |path: &[&str], rtype| {
        records
            .iter()
            .any(|(owner, t)| owner == path && *t == rtype)
    };
    let shown = |path: &[&str]| format!("{:?}", path);
    let data = |path: &[&str], how: &str| {
        if has(path, RecordType::CNAME) && rtype != RecordType::CNAME {
            return format!("alias at {}{how}", shown(path));
        }
        let soa = path.is_empty() && rtype == RecordType::SOA;
        match has(path, rtype) || soa {
            true => format!("data at {}{how}", shown(path)),
            false => format!("no data at {}{how}", shown(path)),
        }
    };
    for depth in 0..=name.len() {
        let here = &name[..depth];
        if !exists(here) {
            let mut wildcard = name[..depth - 1].to_vec();
            wildcard.push("*");
            return match exists(&wildcard) {
                true => data(&wildcard, " expanded"),
                false => "name error".to_owned(),
            };
        }
        let last = depth == name.len();
        if depth > 0 && has(here, RecordType::NS) && !(last && rtype == RecordType::DS) {
            return format!("delegation {}", shown(here));
        }
        if !last && has(here, RecordType::DNAME) {
            return format!("redirection {}", shown(here));
        }
    }
    data(name, "")
}

fn found(zone: &Zone, name: &Path, rtype: RecordType) -> String {
    let asked = Name::from_wire(&wire(name)).unwrap();
    let lookup = zone.lookup(&asked, rtype);
    let shown = |node: Node<'_>| {
        let name = Name::from_wire(node.name()).unwrap();
        let labels = (0..name.label_count() - 1)
            .rev()
            .map(|index| name.label(index).unwrap());
        let labels: Vec<_> = labels
            .map(|label| std::str::from_utf8(label).unwrap())
            .collect();
        format!("{labels:?}")
    };
    let how = if lookup.encloser.is_some() {
        " expanded"
    } else {
        ""
    };
    let at = || shown(lookup.node.unwrap()) + how;
    match lookup.found {
        Found::Data(set) => {
            assert_eq!(set.set.rtype, rtype);
            format!("data at {}", at())
        }
        Found::Several => format!("several at {}", at()),
        Found::Alias(set) => {
            assert_eq!(set.set.rtype, RecordType::CNAME);
            format!("alias at {}", at())
        }
        Found::NoData => format!("no data at {}", at()),
        Found::NameError => "name error".to_owned(),
        Found::Delegation(node, _) => format!("delegation {}", shown(node)),
        Found::Redirection(node, _) => format!("redirection {}", shown(node)),
    }
}

fn build(records: &[Owned]) -> Zone {
    let mut builder = Builder::new(b"\x04zone\0");
    let soa = [&[0, 0][..], &[0; 20]].concat();
    for (index, (path, rtype)) in records.iter().enumerate() {
        builder
            .add(&wire(path), *rtype, index as u32, b"\x01x\0")
            .unwrap();
        if index == records.len() / 2 {
            builder
                .add(b"\x04ZONE\0", RecordType::SOA, 1, &soa)
                .unwrap();
        }
    }
    if records.is_empty() {
        builder
            .add(b"\x04zone\0", RecordType::SOA, 1, &soa)
            .unwrap();
    }
    builder.build().unwrap()
}

fn path() -> impl Strategy<Value = Path> {
    vec(select(&LABELS[..]), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn lookup_is_that_of_rfc_1034(records in vec((path(), select(&TYPES[..])), 0..12)) {
        let zone = build(&records);
        let mut names: Vec<Path> = vec![Vec::new()];
        for length in 1..=4 {
            let longer: Vec<Path> = names.iter().filter(|name| name.len() == length - 1)
                .flat_map(|name| LABELS.iter().map(|label| [&name[..], &[label]].concat()))
                .collect();
            names.extend(longer);
        }
        for name in &names {
            for rtype in TYPES {
                prop_assert_eq!(
                    found(&zone, name, rtype), literal(&records, name, rtype), "{:?} {}", name, rtype
                );
            }
        }
    }

    #[test]
    fn the_store_keeps_what_it_is_given(
        records in vec((path(), select(&TYPES[..]), 0u32..9, 0u8..4), 0..60),
        others in vec((path(), select(&TYPES[..]), 0u32..9, 0u8..4), 0..60),
    ) {
        let zones = [&records, &others].map(|records| {
            let mut builder = Builder::new(b"\x04zone\0");
            builder.add(b"\x04zone\0", RecordType::SOA, 1, &[0; 22]).unwrap();
            let mut model: BTreeMap<(Vec<u8>, RecordType), (u32, Vec<u8>)> = BTreeMap::new();
            for (path, rtype, ttl, octet) in records {
                builder.add(&wire(path), *rtype, *ttl, &[1, *octet, 0]).unwrap();
                let set = model.entry((wire(path), *rtype)).or_insert((*ttl, Vec::new()));
                set.0 = set.0.min(*ttl);
                if !set.1.contains(octet) {
                    set.1.push(*octet);
                }
            }
            (builder.build().unwrap(), model)
        });
        for (zone, model) in &zones {
            let owners: Vec<_> = zone.nodes().map(|node| node.name().to_vec()).collect();
            prop_assert!(owners.windows(2).all(|pair| canonical(&pair[0], &pair[1]).is_lt()));
            for (rank, node) in zone.nodes().enumerate() {
                prop_assert_eq!(node.rank(), rank);
                prop_assert_eq!(zone.node(node.name()).map(Node::place), Some(node.place()));
            }
            let count: usize = model.values().map(|(_, octets)| octets.len()).sum();
            prop_assert_eq!(zone.records().count(), count + 1);
            for ((owner, rtype), (ttl, octets)) in model {
                let set = zone.rrset(owner, *rtype).unwrap();
                let rdata: Vec<u8> = set.rdata().map(|rdata| rdata[1]).collect();
                prop_assert_eq!((set.ttl, usize::from(set.count), &rdata), (*ttl, octets.len(), octets));
            }
        }
        // One with what changed is the other.
        let [(before, _), (after, _)] = &zones;
        let delta = Delta::between(before, after);
        let sorted = |zone: &Zone| {
            let mut records: Vec<RecordBuf> = zone.records().skip(1).map(|record| record.to_owned()).collect();
            records.sort();
            records
        };
        let mut patched = sorted(before);
        patched.retain(|record| !delta.removed.contains(record));
        patched.extend(delta.added.iter().cloned());
        patched.sort();
        prop_assert_eq!(patched, sorted(after));
        prop_assert!(delta.added.iter().all(|record| !delta.removed.contains(record)));
    }
}

#[test]
fn what_does_not_belong_is_told_and_left_out() {
    let mut builder = Builder::new(b"\x04zone\0");
    let soa = [0; 22];
    assert!(matches!(
        builder.add(b"\x01a\x05other\0", RecordType::A, 1, &[0; 4]),
        Err(crate::ZoneError::OutOfZone(_))
    ));
    assert!(matches!(
        builder.add(b"\x01a\x04zone\0", RecordType::SOA, 1, &soa),
        Err(crate::ZoneError::SoaBelowApex(_))
    ));
    assert!(matches!(
        builder.add(b"\x01a", RecordType::A, 1, &[]),
        Err(crate::ZoneError::Owner)
    ));
    assert!(matches!(
        builder.add(b"", RecordType::A, 1, &[]),
        Err(crate::ZoneError::Owner)
    ));
    builder
        .add(b"\x04zone\0", RecordType::SOA, 1, &soa)
        .unwrap();
    let zone = builder.build().unwrap();
    assert_eq!(zone.records().count(), 1);
    let none = Builder::new(b"\x04zone\0").build();
    assert!(matches!(none, Err(crate::ZoneError::NoSoa)));
}

#[test]
fn iterations_beyond_reason_are_refused() {
    for (iterations, taken) in [(crate::nsec3::ITERATIONS_MAX, true), (u16::MAX, false)] {
        let mut builder = Builder::new(b"\x04zone\0");
        builder
            .add(b"\x04zone\0", RecordType::SOA, 1, &[0; 22])
            .unwrap();
        let [high, low] = iterations.to_be_bytes();
        builder
            .add(
                b"\x04zone\0",
                RecordType::NSEC3PARAM,
                1,
                &[1, 0, high, low, 0],
            )
            .unwrap();
        assert_eq!(builder.build().is_ok(), taken, "{iterations}");
    }
}

#[test]
fn a_part_of_a_zone_is_told_from_another_zone() {
    let zone = |names: &[&[u8]], ttl| {
        let mut builder = Builder::new(b"\x04zone\0");
        let soa = [0; 22];
        builder
            .add(b"\x04zone\0", RecordType::SOA, ttl, &soa)
            .unwrap();
        for name in names {
            let owner = [&[1][..], name, b"\x04zone\0"].concat();
            builder.add(&owner, RecordType::A, ttl, &[0; 4]).unwrap();
        }
        builder.build().unwrap()
    };
    let (part, whole) = (zone(&[b"b", b"d"], 1), zone(&[b"a", b"b", b"c", b"d"], 1));
    assert!(whole.has_records_of(&part) && whole.has_records_of(&whole));
    assert!(!part.has_records_of(&whole));
    assert!(!whole.has_records_of(&zone(&[b"e"], 1)));
    assert!(!whole.has_records_of(&zone(&[b"b"], 2)), "another TTL");
}

/// What is slow is done before others have to wait, and what was not the version before is no history.
#[test]
fn changes_from_another_version_are_not_kept() {
    let zone = |serial: u8| {
        let mut builder = Builder::new(b"\x04zone\0");
        let mut soa = [0; 22];
        soa[5] = serial;
        builder
            .add(b"\x04zone\0", RecordType::SOA, 1, &soa)
            .unwrap();
        std::sync::Arc::new(builder.build().unwrap())
    };
    let slot = crate::Slot::new(b"\x04zone\0");
    slot.set(zone(1));
    slot.set(zone(2));
    assert!(matches!(slot.since(1), crate::History::Deltas(deltas) if deltas.len() == 1));
    slot.set_with(zone(4), Delta::between(&zone(3), &zone(4)));
    assert!(matches!(slot.since(2), crate::History::Unknown));
    slot.set_with(zone(5), Delta::between(&zone(4), &zone(5)));
    assert!(matches!(slot.since(4), crate::History::Deltas(_)));
}
