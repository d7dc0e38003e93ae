//! A zone that never changes.
use corten_wire::{Name, RecordType};

use crate::order::{canonical, is_in};
use crate::record::{Record, RecordBuf};

/// A zone as it is served: one version of it, whole.
#[derive(Debug)]
pub struct Zone {
    apex: Box<[u8]>,
    soa: Soa,
    /// The SOA record first, then in canonical order.
    records: Vec<RecordBuf>,
}

/// What stands in a zone's SOA record (RFC 1035 section 3.3.13), but for its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Soa {
    /// Version of the zone.
    pub serial: u32,
    /// Seconds after which a secondary asks for a newer version.
    pub refresh: u32,
    /// Seconds after which it asks again when that failed.
    pub retry: u32,
    /// Seconds after which it no longer serves a zone that it could not refresh.
    pub expire: u32,
    /// Seconds for which denials may be kept, at most (RFC 2308 section 4).
    pub minimum: u32,
    /// The record's own TTL in seconds.
    pub ttl: u32,
}

/// Takes the records of a zone, in any order.
#[derive(Debug)]
pub struct Builder {
    apex: Box<[u8]>,
    records: Vec<RecordBuf>,
}

/// Why records do not make a zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ZoneError {
    /// No SOA record at the apex.
    #[error("the zone has no SOA record")]
    NoSoa,
    /// More than one.
    #[error("the zone has more than one SOA record")]
    SeveralSoas,
    /// A SOA record that is none.
    #[error("the SOA record's RDATA is malformed")]
    MalformedSoa,
    /// A record of another zone.
    #[error("'{0}' is not in the zone")]
    OutOfZone(Box<Name>),
    /// An owner that is no name.
    #[error("an owner is not a name")]
    Owner,
}

impl Zone {
    /// Name of the apex in wire form, lower-cased.
    pub fn apex(&self) -> &[u8] {
        &self.apex
    }

    /// Numbers of the SOA record.
    pub fn soa(&self) -> Soa {
        self.soa
    }

    /// All records: the SOA record first, then those of each name together, names in canonical
    /// order (RFC 4034 section 6.1). As a transfer has them, but for the SOA record at its end.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.records.iter().map(RecordBuf::as_record)
    }
}

impl Builder {
    /// For the zone of this name in wire form.
    pub fn new(apex: &[u8]) -> Self {
        Self {
            apex: apex.to_ascii_lowercase().into(),
            records: Vec::new(),
        }
    }

    /// Takes a record. One that is there already counts once.
    pub fn add(
        &mut self,
        owner: &[u8],
        rtype: RecordType,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<(), ZoneError> {
        let name = Name::from_wire(owner).map_err(|_| ZoneError::Owner)?;
        if !is_in(name.wire(), &self.apex) {
            return Err(ZoneError::OutOfZone(Box::new(name)));
        }
        self.records.push(RecordBuf {
            owner: name.wire().into(),
            rtype,
            ttl,
            rdata: rdata.into(),
        });
        Ok(())
    }

    /// The zone.
    pub fn build(mut self) -> Result<Zone, ZoneError> {
        let rank = |record: &RecordBuf| (record.rtype != RecordType::SOA, record.rtype.0);
        self.records.sort_by(|one, other| {
            canonical(&one.owner, &other.owner)
                .then_with(|| rank(one).cmp(&rank(other)))
                .then_with(|| one.rdata.cmp(&other.rdata))
        });
        self.records.dedup_by(|later, kept| {
            later.owner == kept.owner && later.rtype == kept.rtype && later.rdata == kept.rdata
        });
        let soas = self
            .records
            .iter()
            .filter(|record| record.rtype == RecordType::SOA && record.owner == self.apex);
        let first = soas.clone().next().ok_or(ZoneError::NoSoa)?;
        if soas.count() > 1 {
            return Err(ZoneError::SeveralSoas);
        }
        let soa = Soa::read(first.as_record()).ok_or(ZoneError::MalformedSoa)?;
        Ok(Zone {
            apex: self.apex,
            soa,
            records: self.records,
        })
    }
}

impl Soa {
    /// Reads the numbers of a SOA record; nothing if it is malformed.
    pub fn read(record: Record<'_>) -> Option<Self> {
        let mut rest = record.rdata;
        for _ in 0..2 {
            loop {
                let (length, behind) = rest.split_first()?;
                rest = behind.get(usize::from(*length)..)?;
                if *length == 0 {
                    break;
                }
            }
        }
        let mut number = || {
            let (octets, behind) = rest.split_first_chunk()?;
            rest = behind;
            Some(u32::from_be_bytes(*octets))
        };
        Some(Self {
            serial: number()?,
            refresh: number()?,
            retry: number()?,
            expire: number()?,
            minimum: number()?,
            ttl: record.ttl,
        })
    }
}
