//! Signed zones, checked record by record.
use corten_wire::text;

use super::*;
use crate::dnskey::Dnskey;
use crate::keyfile;
use crate::zonemd::Verdict;

const ZONE: &str = "isle.example. 1800 SOA ns.isle.example. post.isle.example. 1 2 3 4 600
isle.example. 7200 NS ns.isle.example.
isle.example. 60 RRSIG NS 13 2 60 20200101000000 20190101000000 1 isle.example. AAAA
isle.example. 60 DNSKEY 256 3 8 AwEAAQ==
isle.example. 60 NSEC a.isle.example. A
ns.isle.example. 60 A 192.0.2.1
ns.isle.example. 50 A 192.0.2.2
*.wild.isle.example. 60 TXT star
a.b.ent.isle.example. 60 A 192.0.2.1
kid.isle.example. 60 NS ns.kid.isle.example.
kid.isle.example. 60 DS 12345 13 2 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
ns.kid.isle.example. 60 A 192.0.2.61
old.isle.example. 60 DNAME ns.isle.example.
x.old.isle.example. 60 A 192.0.2.1
plain.isle.example. 60 NS a.b.plain.isle.example.
a.b.plain.isle.example. 60 A 192.0.2.62
plain.isle.example. 60 TXT occluded";

const VALIDITY: Validity = Validity {
    inception: 1000,
    expiration: 2000,
};

fn zone() -> Zone {
    let mut builder = Builder::new(b"\x04isle\x07example\0");
    for line in ZONE.lines() {
        let record = text::record(line, &Name::root(), None).unwrap();
        builder
            .add(&record.owner, record.rtype, record.ttl, &record.rdata)
            .unwrap();
    }
    builder.build().unwrap()
}

fn signed(denial: Denial, digest: Digest) -> (Zone, Dnskey) {
    let (public, private) = keyfile::tests::P256;
    let keys = [keyfile::read(public, private).unwrap()];
    let plan = Plan {
        keys: &keys,
        validity: VALIDITY,
        serial: 77,
        denial,
        digest,
        threads: 2,
    };
    (sign(&zone(), &plan).unwrap(), keys[0].public().clone())
}

fn name(record: &Record<'_>) -> String {
    Name::from_wire(record.owner).unwrap().to_string()
}

/// Owner, covered type and TTL of each signature; each is checked.
fn covered(zone: &Zone, key: &Dnskey) -> Vec<(String, RecordType, u32)> {
    let signatures = zone
        .records()
        .filter(|record| record.rtype == RecordType::RRSIG);
    let check = |record: Record<'_>| {
        let rrsig = rrsig::Rrsig::read(record.rdata).unwrap();
        let covered: Vec<_> = zone
            .records()
            .filter(|other| other.owner == record.owner && other.rtype == rrsig.covered)
            .collect();
        assert!(!covered.is_empty());
        for other in &covered {
            assert_eq!((other.ttl, other.ttl), (record.ttl, rrsig.ttl));
        }
        let owner = Name::from_wire(record.owner).unwrap();
        let set = Rrset::new(
            &owner,
            rrsig.covered,
            covered.iter().map(|other| other.rdata),
        );
        assert_eq!(rrsig::verify(key, &set, record.rdata, 1500), Ok(()));
        (owner.to_string(), rrsig.covered, record.ttl)
    };
    signatures.map(check).collect()
}

#[test]
fn what_is_authoritative_is_signed_and_nothing_else() {
    let (zone, key) = signed(Denial::Nsec, Digest::None);
    assert_eq!(zone.soa().serial, 77);
    let mut covered = covered(&zone, &key);
    covered.retain(|(_, rtype, _)| *rtype != RecordType::NSEC);
    covered.sort();
    let expected = [
        ("*.wild.isle.example.", RecordType::TXT, 60),
        ("a.b.ent.isle.example.", RecordType::A, 60),
        ("isle.example.", RecordType::NS, 7200),
        ("isle.example.", RecordType::SOA, 1800),
        ("isle.example.", RecordType::DNSKEY, 1800),
        ("isle.example.", RecordType::CDS, 1800),
        ("isle.example.", RecordType::CDNSKEY, 1800),
        ("kid.isle.example.", RecordType::DS, 60),
        ("ns.isle.example.", RecordType::A, 50),
        ("old.isle.example.", RecordType::DNAME, 60),
    ];
    assert_eq!(
        covered,
        expected.map(|(owner, rtype, ttl)| (owner.to_owned(), rtype, ttl))
    );
    assert_eq!(
        soa_signatures(&zone).collect::<Vec<_>>(),
        [(VALIDITY, 33831)]
    );
}

#[test]
fn the_nsec_chain_goes_once_around() {
    let (zone, _) = signed(Denial::Nsec, Digest::None);
    let mut chain = Vec::new();
    let nsecs = || {
        zone.records()
            .filter(|record| record.rtype == RecordType::NSEC)
    };
    let mut next = "isle.example.".to_owned();
    loop {
        let record = nsecs().find(|record| name(record) == next).unwrap();
        assert_eq!(record.ttl, 600);
        let mut after = Name::root();
        let end = after.read(record.rdata, 0).unwrap();
        let types = Types::decode(&record.rdata[end..]).unwrap();
        let types: Vec<_> = types.iter().map(|rtype| rtype.to_string()).collect();
        chain.push(format!("{next} {}", types.join(" ")));
        next = after.to_string();
        if next == "isle.example." {
            break;
        }
    }
    assert_eq!(
        chain,
        [
            "isle.example. NS SOA RRSIG NSEC DNSKEY CDS CDNSKEY",
            "a.b.ent.isle.example. A RRSIG NSEC",
            "kid.isle.example. NS DS RRSIG NSEC",
            "ns.isle.example. A RRSIG NSEC",
            "old.isle.example. DNAME RRSIG NSEC",
            "plain.isle.example. NS RRSIG NSEC",
            "*.wild.isle.example. TXT RRSIG NSEC",
        ]
    );
    assert_eq!(nsecs().count(), chain.len());
}

#[test]
fn the_nsec3_chain_has_every_name_and_those_without_records() {
    let (zone, key) = signed(Denial::Nsec3, Digest::None);
    covered(&zone, &key);
    let apex: Name = "isle.example".parse().unwrap();
    let types = |text: &str| {
        let owner =
            denial::nsec3_owner(&denial::hash(&text.parse().unwrap(), 0, &[]), &apex).unwrap();
        let record = zone
            .records()
            .find(|record| record.rtype == RecordType::NSEC3 && record.owner == owner.wire())?;
        assert_eq!(record.rdata[..6], [1, 0, 0, 0, 0, 20]);
        let types = Types::decode(&record.rdata[26..]).unwrap();
        let types: Vec<_> = types.iter().map(|rtype| rtype.to_string()).collect();
        Some(types.join(" "))
    };
    for (name, expected) in [
        (
            "isle.example",
            Some("NS SOA RRSIG DNSKEY NSEC3PARAM CDS CDNSKEY"),
        ),
        ("ent.isle.example", Some("")),
        ("b.ent.isle.example", Some("")),
        ("a.b.ent.isle.example", Some("A RRSIG")),
        ("wild.isle.example", Some("")),
        ("plain.isle.example", Some("NS")),
        ("kid.isle.example", Some("NS DS RRSIG")),
        ("ns.kid.isle.example", None),
        ("b.plain.isle.example", None),
        ("x.old.isle.example", None),
    ] {
        assert_eq!(types(name).as_deref(), expected, "{name}");
    }
    let mut hashes = Vec::new();
    let mut nexts = Vec::new();
    for record in zone
        .records()
        .filter(|record| record.rtype == RecordType::NSEC3)
    {
        hashes.push(record.owner[1..33].to_vec());
        let next: denial::Hash = record.rdata[6..26].try_into().unwrap();
        nexts.push(denial::nsec3_owner(&next, &apex).unwrap().wire()[1..33].to_vec());
    }
    assert_eq!(hashes.len(), 10);
    hashes.sort();
    nexts.sort();
    assert_eq!(hashes, nexts);
}

#[test]
fn the_digest_is_over_the_signed_zone() {
    for denial in [Denial::Nsec, Denial::Nsec3] {
        let (zone, key) = signed(denial, Digest::Zonemd);
        assert_eq!(zonemd::verify(&zone), Verdict::Good);
        let covered = covered(&zone, &key);
        assert!(covered.contains(&("isle.example.".to_owned(), RecordType::ZONEMD, 1800)));
        let has_bit = |record: Record<'_>| {
            let start = match record.rtype {
                RecordType::NSEC => Name::root().read(record.rdata, 0).unwrap(),
                RecordType::NSEC3 => 26,
                _ => return false,
            };
            let types = Types::decode(&record.rdata[start..]).unwrap();
            types.contains(RecordType::ZONEMD)
        };
        assert_eq!(zone.records().filter(|record| has_bit(*record)).count(), 1);
    }
}

#[test]
fn without_a_key_nothing_is_signed() {
    let plan = Plan {
        keys: &[],
        validity: VALIDITY,
        serial: 1,
        denial: Denial::Nsec,
        digest: Digest::None,
        threads: 1,
    };
    assert_eq!(sign(&zone(), &plan).unwrap_err(), SignZoneError::NoKeys);
}
