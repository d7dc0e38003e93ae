//! Digests of whole zones (RFC 8976), scheme SIMPLE with SHA-384 or SHA-512.
use corten_wire::{Class, RecordType};
use corten_zone::{Record, Zone, canonical};
use ring::digest::{Algorithm, Context, SHA384, SHA512};

use crate::canonical::lower_names;
use crate::rrsig::Rrsig;

/// SIMPLE: one digest over all records.
const SCHEME_SIMPLE: u8 = 1;

/// How a zone is digested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// SHA-384, which everybody has.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// What a zone's ZONEMD records say about it (RFC 8976 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is no ZONEMD record.
    Absent,
    /// There are some, and none with a scheme and algorithm that are known here.
    Unsupported,
    /// The zone is what its digest says.
    Good,
    /// It is not, or the digest is another version's.
    Bad,
}

impl HashAlgorithm {
    const fn number(self) -> u8 {
        match self {
            Self::Sha384 => 1,
            Self::Sha512 => 2,
        }
    }

    fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Sha384),
            2 => Some(Self::Sha512),
            _ => None,
        }
    }

    fn ring(self) -> &'static Algorithm {
        match self {
            Self::Sha384 => &SHA384,
            Self::Sha512 => &SHA512,
        }
    }
}

/// RDATA of a ZONEMD record.
pub fn rdata(serial: u32, algorithm: HashAlgorithm, digest: &[u8]) -> Vec<u8> {
    let mut rdata = serial.to_be_bytes().to_vec();
    rdata.extend([SCHEME_SIMPLE, algorithm.number()]);
    rdata.extend_from_slice(digest);
    rdata
}

/// The digest over a zone's records; those that section 3.3.1 leaves out are left out.
pub fn digest<'a>(
    apex: &[u8],
    records: impl Iterator<Item = Record<'a>>,
    algorithm: HashAlgorithm,
) -> Vec<u8> {
    let mut parts: Vec<(Record<'a>, Box<[u8]>)> = records
        .filter(|record| !is_left_out(apex, record))
        .map(|record| {
            let mut rdata: Box<[u8]> = record.rdata.into();
            lower_names(record.rtype, &mut rdata);
            (record, rdata)
        })
        .collect();
    parts.sort_by(|(one, one_rdata), (other, other_rdata)| {
        canonical(one.owner, other.owner)
            .then(one.rtype.cmp(&other.rtype))
            .then_with(|| one_rdata.cmp(other_rdata))
    });
    parts.dedup_by(|(later, rdata), (kept, kept_rdata)| {
        later.rtype == kept.rtype && rdata == kept_rdata && later.owner == kept.owner
    });
    let mut context = Context::new(algorithm.ring());
    for (record, rdata) in &parts {
        // RDATA of records have a length of 16 bits.
        let length = rdata.len() as u16;
        context.update(&record.owner.to_ascii_lowercase());
        context.update(&record.rtype.0.to_be_bytes());
        context.update(&Class::IN.0.to_be_bytes());
        context.update(&record.ttl.to_be_bytes());
        context.update(&length.to_be_bytes());
        context.update(rdata);
    }
    context.finish().as_ref().to_vec()
}

/// Checks a zone against its ZONEMD records; one good one is enough.
pub fn verify(zone: &Zone) -> Verdict {
    let mut verdict = Verdict::Absent;
    // Whoever makes the zone decides how many records there are; a digest takes long.
    let mut made: [Option<Vec<u8>>; 2] = [None, None];
    let records = zone
        .records()
        .filter(|record| is_zonemd(zone.apex(), record));
    for record in records {
        let Some((&[s0, s1, s2, s3, scheme, number], expected)) = record.rdata.split_first_chunk()
        else {
            verdict = worse(verdict, Verdict::Unsupported);
            continue;
        };
        let Some(algorithm) = HashAlgorithm::of(number).filter(|_| scheme == SCHEME_SIMPLE) else {
            verdict = worse(verdict, Verdict::Unsupported);
            continue;
        };
        let serial = u32::from_be_bytes([s0, s1, s2, s3]);
        if serial == zone.soa().serial {
            let place = usize::from(algorithm == HashAlgorithm::Sha512);
            let digest =
                made[place].get_or_insert_with(|| digest(zone.apex(), zone.records(), algorithm));
            if *digest == expected {
                return Verdict::Good;
            }
        }
        verdict = Verdict::Bad;
    }
    verdict
}

fn worse(one: Verdict, other: Verdict) -> Verdict {
    match one {
        Verdict::Bad => Verdict::Bad,
        _ => other,
    }
}

fn is_zonemd(apex: &[u8], record: &Record<'_>) -> bool {
    record.rtype == RecordType::ZONEMD && record.owner.eq_ignore_ascii_case(apex)
}

fn is_left_out(apex: &[u8], record: &Record<'_>) -> bool {
    let covers = |record: &Record<'_>| {
        Rrsig::read(record.rdata).is_some_and(|rrsig| rrsig.covered == RecordType::ZONEMD)
    };
    is_zonemd(apex, record)
        || record.rtype == RecordType::RRSIG
            && record.owner.eq_ignore_ascii_case(apex)
            && covers(record)
}

#[cfg(test)]
mod tests {
    use corten_wire::Name;
    use corten_wire::text;
    use corten_zone::Builder;

    use super::*;

    /// RFC 8976 appendix A.1.
    const SIMPLE: &str = "example. 86400 SOA ns1.example. admin.example. 2018031900 1800 900 604800 86400
example. 86400 NS ns1.example.
example. 86400 NS ns2.EXAMPLE.
example. 86400 ZONEMD 2018031900 1 1 c68090d90a7aed716bc459f9340e3d7c1370d4d24b7e2fc3a1ddc0b9a87153b9a9713b3c9ae5cc27777f98b8e730044c
ns1.example. 3600 A 203.0.113.63
ns2.example. 3600 AAAA 2001:db8::63";

    fn zone(text: &str) -> Zone {
        let mut builder = Builder::new(b"\x07example\0");
        for line in text.lines() {
            let record = text::record(line, &Name::root(), None).unwrap();
            builder
                .add(&record.owner, record.rtype, record.ttl, &record.rdata)
                .unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn the_digest_is_that_of_the_rfc() {
        assert_eq!(verify(&zone(SIMPLE)), Verdict::Good);
        for (from, to, verdict) in [
            ("203.0.113.63", "203.0.113.64", Verdict::Bad),
            (
                "SOA ns1.example. admin.example. 2018031900",
                "SOA ns1.example. admin.example. 2018031901",
                Verdict::Bad,
            ),
            (
                "ZONEMD 2018031900 1 1",
                "ZONEMD 2018031900 1 9",
                Verdict::Unsupported,
            ),
            (
                "ZONEMD 2018031900 1 1",
                "ZONEMD 2018031900 7 1",
                Verdict::Unsupported,
            ),
            ("ZONEMD", "TYPE65280 \\# 1 00 ;", Verdict::Absent),
        ] {
            assert_eq!(verify(&zone(&SIMPLE.replace(from, to))), verdict, "{to}");
        }
    }
}
