//! A zone signed as a whole (RFC 4035 section 2).
//!
//! What is signed: every RRset that the zone is authoritative for. At a delegation that is the DS RRset; below it,
//! and below a DNAME record, nothing. Names without records have no NSEC record, but an NSEC3 one.
use std::collections::BTreeMap;

use corten_wire::{Name, RecordType};
use corten_zone::{Builder, Record, RecordBuf, Zone, ZoneError, is_in};

use crate::algorithm::DigestType;
use crate::bitmap::Types;
use crate::canonical::Rrset;
use crate::denial;
use crate::key::{SignError, SigningKey};
use crate::rrsig::{self, Terms, Validity};
use crate::zonemd::{self, HashAlgorithm};

/// How a zone is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The keys; each signs everything.
    pub keys: &'a [SigningKey],
    /// When the signatures are valid.
    pub validity: Validity,
    /// The new zone's serial.
    pub serial: u32,
    /// What denies that names and types exist.
    pub denial: Denial,
    /// Whether the zone gets a digest of itself.
    pub digest: Digest,
    /// Threads that sign side by side.
    pub threads: usize,
}

/// What denies that names and types exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Denial {
    /// NSEC records.
    #[default]
    Nsec,
    /// NSEC3 records without iterations, salt and opt-out (RFC 9276).
    Nsec3,
}

/// Whether a zone has a ZONEMD record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Digest {
    /// No.
    #[default]
    None,
    /// One with SHA-384.
    Zonemd,
}

/// Why a zone was not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignZoneError {
    /// Without a key there is nothing to sign with.
    #[error("there is no key to sign with")]
    NoKeys,
    /// A key cannot sign.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// What came out is no zone.
    #[error(transparent)]
    Zone(#[from] ZoneError),
    /// Hashed names are longer than those of the zone.
    #[error("the zone's name is too long for NSEC3 records")]
    NameTooLong,
    /// Two names with one hash (RFC 5155 section 7.1).
    #[error("two names have the same NSEC3 hash")]
    Collision,
}

/// One RRset of the zone.
struct Set {
    owner: Name,
    rtype: RecordType,
    ttl: u32,
    rdatas: Vec<Box<[u8]>>,
    signed: bool,
}

/// A name that the zone is authoritative for, or a delegation.
struct Place {
    owner: Name,
    types: Types,
    /// There is an RRset that the zone signs.
    has_signed: bool,
}

/// Signs a zone: what was there of keys, signatures and denials is left out and made anew.
///
/// # Errors
/// When a key cannot sign, or the names are too long.
pub fn sign(zone: &Zone, plan: &Plan<'_>) -> Result<Zone, SignZoneError> {
    if plan.keys.is_empty() {
        return Err(SignZoneError::NoKeys);
    }
    let apex = Name::from_wire(zone.apex()).map_err(|_| ZoneError::Owner)?;
    let mut sets = rrsets(zone, plan, &apex)?;
    let soa = zone.soa();
    let mut places = mark_authoritative(&mut sets, &apex);
    if let Some(first) = places.first_mut().filter(|_| plan.digest == Digest::Zonemd) {
        first.types.insert(RecordType::ZONEMD);
    }
    let ttl = soa.ttl.min(soa.minimum);
    match plan.denial {
        Denial::Nsec => add_nsec(&mut sets, &places, ttl),
        Denial::Nsec3 => add_nsec3(&mut sets, &places, &apex, ttl)?,
    }
    let mut records = signatures(&sets, &apex, plan)?;
    records.extend(sets.iter().flat_map(Set::records));
    if plan.digest == Digest::Zonemd {
        let all = records.iter().map(RecordBuf::as_record);
        let digest = zonemd::digest(apex.wire(), all, HashAlgorithm::Sha384);
        let rdata = zonemd::rdata(plan.serial, HashAlgorithm::Sha384, &digest);
        let set = Set::one(&apex, RecordType::ZONEMD, soa.ttl, rdata);
        records.extend(signatures(std::slice::from_ref(&set), &apex, plan)?);
        records.extend(set.records());
    }
    let mut builder = Builder::new(apex.wire());
    for record in &records {
        builder.add(&record.owner, record.rtype, record.ttl, &record.rdata)?;
    }
    Ok(builder.build()?)
}

/// Whether a zone's own records of a type are made anew.
fn is_replaced(rtype: RecordType) -> bool {
    matches!(
        rtype,
        RecordType::RRSIG
            | RecordType::NSEC
            | RecordType::NSEC3
            | RecordType::NSEC3PARAM
            | RecordType::DNSKEY
            | RecordType::CDS
            | RecordType::CDNSKEY
            | RecordType::ZONEMD
    )
}

/// The RRsets of the zone that is signed, with its new serial and its keys, in canonical order.
fn rrsets(zone: &Zone, plan: &Plan<'_>, apex: &Name) -> Result<Vec<Set>, SignZoneError> {
    let mut sets: Vec<Set> = Vec::new();
    for record in zone.records().filter(|record| !is_replaced(record.rtype)) {
        let mut rdata: Box<[u8]> = record.rdata.into();
        if record.rtype == RecordType::SOA && record.owner == apex.wire() {
            set_serial(&mut rdata, plan.serial);
        }
        match sets.last_mut() {
            Some(last) if last.rtype == record.rtype && last.owner.wire() == record.owner => {
                // One RRset has one TTL (RFC 2181 section 5.2).
                last.ttl = last.ttl.min(record.ttl);
                last.rdatas.push(rdata);
            }
            _ => sets.push(Set {
                owner: Name::from_wire(record.owner).map_err(|_| ZoneError::Owner)?,
                rtype: record.rtype,
                ttl: record.ttl,
                rdatas: vec![rdata],
                signed: false,
            }),
        }
    }
    let apex_ends = sets.partition_point(|set| set.owner == *apex);
    let ttl = zone.soa().ttl;
    let own = |rtype, rdatas: Vec<Box<[u8]>>| Set {
        owner: apex.clone(),
        rtype,
        ttl,
        rdatas,
        signed: false,
    };
    let public = || plan.keys.iter().map(SigningKey::public);
    let keys = || public().map(|key| key.rdata().into()).collect();
    let digests = public()
        .flat_map(|key| {
            [DigestType::Sha1, DigestType::Sha256].map(|digest| key.ds(apex, digest).into())
        })
        .collect();
    let mut more = vec![
        own(RecordType::DNSKEY, keys()),
        own(RecordType::CDS, digests),
        own(RecordType::CDNSKEY, keys()),
    ];
    if plan.denial == Denial::Nsec3 {
        // Resolvers have no use for it: no TTL.
        let rdata: Box<[u8]> = denial::NSEC3PARAM.into();
        more.push(Set {
            ttl: 0,
            ..own(RecordType::NSEC3PARAM, vec![rdata])
        });
    }
    sets.splice(apex_ends..apex_ends, more);
    Ok(sets)
}

/// Finds out which RRsets the zone is authoritative for.
fn mark_authoritative(sets: &mut [Set], apex: &Name) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    // Everything below this name is somebody else's.
    let mut cut: Option<Name> = None;
    let mut rest = sets;
    while let Some(owner) = rest.first().map(|set| set.owner.clone()) {
        let count = rest.partition_point(|set| set.owner == owner);
        let (here, behind) = std::mem::take(&mut rest).split_at_mut(count);
        rest = behind;
        if cut
            .as_ref()
            .is_some_and(|cut| is_in(owner.wire(), cut.wire()))
        {
            continue;
        }
        let has = |rtype| here.iter().any(|set| set.rtype == rtype);
        let delegated = owner != *apex && has(RecordType::NS);
        if delegated || has(RecordType::DNAME) {
            cut = Some(owner.clone());
        }
        let mut place = Place {
            owner,
            types: Types::new(),
            has_signed: false,
        };
        for set in here {
            set.signed = !delegated || set.rtype == RecordType::DS;
            place.has_signed |= set.signed;
            if set.signed || set.rtype == RecordType::NS {
                place.types.insert(set.rtype);
            }
        }
        places.push(place);
    }
    places
}

fn add_nsec(sets: &mut Vec<Set>, places: &[Place], ttl: u32) {
    let next = places.iter().cycle().skip(1);
    sets.extend(places.iter().zip(next).map(|(place, next)| {
        let mut types = place.types.clone();
        types.extend([RecordType::RRSIG, RecordType::NSEC]);
        let rdata = denial::nsec(next.owner.wire(), &types);
        Set::one(&place.owner, RecordType::NSEC, ttl, rdata)
    }));
}

fn add_nsec3(
    sets: &mut Vec<Set>,
    places: &[Place],
    apex: &Name,
    ttl: u32,
) -> Result<(), SignZoneError> {
    let mut chain: BTreeMap<denial::Hash, (Name, Types)> = BTreeMap::new();
    let mut add = |name: &Name, types: Types| match chain
        .insert(denial::hash(name, 0, &[]), (name.clone(), types))
    {
        Some((other, _)) if other != *name => Err(SignZoneError::Collision),
        _ => Ok(()),
    };
    let mut last: Option<&Name> = None;
    for place in places {
        // Names between this one and what it shares with the last one exist without records.
        let shared = last.map_or(0, |last| shared_labels(last, &place.owner));
        for labels in (shared.max(apex.label_count()) + 1)..place.owner.label_count() {
            let between = place.owner.parent(place.owner.label_count() - labels);
            add(&between, Types::new())?;
        }
        let mut types = place.types.clone();
        if place.has_signed {
            types.insert(RecordType::RRSIG);
        }
        add(&place.owner, types)?;
        last = Some(&place.owner);
    }
    let next = chain.keys().cycle().skip(1);
    for ((hash, (_, types)), next) in chain.iter().zip(next) {
        let owner = denial::nsec3_owner(hash, apex).ok_or(SignZoneError::NameTooLong)?;
        sets.push(Set::one(
            &owner,
            RecordType::NSEC3,
            ttl,
            denial::nsec3(next, types),
        ));
    }
    Ok(())
}

/// Labels that two names have in common at their ends.
fn shared_labels(one: &Name, other: &Name) -> usize {
    let least = one.label_count().min(other.label_count());
    (1..=least)
        .take_while(|labels| one.suffix(*labels) == other.suffix(*labels))
        .last()
        .unwrap_or(0)
}

/// The RRSIG records over what is to be signed.
fn signatures(sets: &[Set], apex: &Name, plan: &Plan<'_>) -> Result<Vec<RecordBuf>, SignError> {
    let share = sets.len().div_ceil(plan.threads.max(1)).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = sets
            .chunks(share)
            .map(|part| scope.spawn(move || sign_sets(part, apex, plan)))
            .collect();
        let mut all = Vec::new();
        for part in parts {
            all.extend(part.join().map_err(|_| SignError)??);
        }
        Ok(all)
    })
}

fn sign_sets(sets: &[Set], apex: &Name, plan: &Plan<'_>) -> Result<Vec<RecordBuf>, SignError> {
    let mut made = Vec::new();
    for set in sets.iter().filter(|set| set.signed) {
        let rrset = Rrset::new(
            &set.owner,
            set.rtype,
            set.rdatas.iter().map(|rdata| &**rdata),
        );
        let terms = Terms {
            signer: apex,
            ttl: set.ttl,
            validity: plan.validity,
        };
        for key in plan.keys {
            let rdata = rrsig::sign(key, &rrset, &terms)?;
            made.push(RecordBuf {
                owner: set.owner.wire().into(),
                rtype: RecordType::RRSIG,
                ttl: set.ttl,
                rdata: rdata.into(),
            });
        }
    }
    Ok(made)
}

impl Set {
    fn one(owner: &Name, rtype: RecordType, ttl: u32, rdata: Vec<u8>) -> Self {
        Self {
            owner: owner.clone(),
            rtype,
            ttl,
            rdatas: vec![rdata.into()],
            signed: true,
        }
    }

    fn records(&self) -> impl Iterator<Item = RecordBuf> {
        self.rdatas.iter().map(|rdata| RecordBuf {
            owner: self.owner.wire().into(),
            rtype: self.rtype,
            ttl: self.ttl,
            rdata: rdata.clone(),
        })
    }
}

/// Writes the serial into RDATA of a SOA record, where it stands 20 octets before the end.
fn set_serial(rdata: &mut [u8], serial: u32) {
    let at = rdata.len().saturating_sub(20);
    if let Some(place) = rdata.get_mut(at..at + 4) {
        place.copy_from_slice(&serial.to_be_bytes());
    }
}

/// When the signatures over a signed zone's SOA record are valid, with the tags of their keys.
pub fn soa_signatures(zone: &Zone) -> impl Iterator<Item = (Validity, u16)> {
    let at_apex =
        |record: &Record<'_>| record.rtype == RecordType::RRSIG && record.owner == zone.apex();
    zone.records().filter(at_apex).filter_map(|record| {
        let rrsig = rrsig::Rrsig::read(record.rdata)?;
        (rrsig.covered == RecordType::SOA).then_some((rrsig.validity, rrsig.tag))
    })
}

#[cfg(test)]
mod tests;
