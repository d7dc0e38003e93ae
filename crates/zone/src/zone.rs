//! A zone that never changes.
use std::fmt;

use corten_wire::{Name, RecordType};

use crate::denial::Denial;
use crate::index::Index;
use crate::node::{HASH, Node, RrSet};
use crate::record::Record;

/// A zone as it is served: one version of it, whole.
pub struct Zone {
    apex: Box<[u8]>,
    apex_labels: usize,
    soa: Soa,
    /// Most labels of a name, those of the apex not included.
    labels_max: usize,
    pub(crate) arena: Vec<u8>,
    pub(crate) index: Index,
    /// Places of all nodes, in canonical order.
    pub(crate) order: Vec<u32>,
    /// Octets of the arena that belong to versions before.
    pub(crate) waste: usize,
    pub(crate) denial: Denial,
}

/// What a zone is made of; nodes are complete and in canonical order.
pub(crate) struct Parts {
    pub(crate) apex: Box<[u8]>,
    pub(crate) apex_labels: usize,
    pub(crate) labels_max: usize,
    pub(crate) arena: Vec<u8>,
    pub(crate) index: Index,
    pub(crate) order: Vec<u32>,
    pub(crate) waste: usize,
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
    /// A SOA record that is not the zone's.
    #[error("the SOA record of '{0}' is not at the zone's apex")]
    SoaBelowApex(Box<Name>),
    /// A record of another zone.
    #[error("'{0}' is not in the zone")]
    OutOfZone(Box<Name>),
    /// An owner that is no name.
    #[error("an owner is not a name")]
    Owner,
    /// More than 4 GiB, more than 65,535 records in one RRset, or RDATA of more octets.
    #[error("the zone is too large")]
    TooLarge,
    /// More rounds of hashing than anybody validates (RFC 9276).
    #[error("NSEC3 with {0} iterations; {max} is the most", max = crate::nsec3::ITERATIONS_MAX)]
    Nsec3Iterations(u16),
}

impl Zone {
    /// Looks at what only a zone as a whole has.
    pub(crate) fn new(parts: Parts) -> Result<Self, ZoneError> {
        let Parts {
            apex,
            apex_labels,
            labels_max,
            arena,
            index,
            order,
            waste,
        } = parts;
        let first = order.first().map(|at| Node::new(&arena, *at));
        let soas = first
            .filter(|first| first.name() == &*apex)
            .and_then(|first| first.set(RecordType::SOA));
        let soas = soas.ok_or(ZoneError::NoSoa)?;
        if soas.count > 1 {
            return Err(ZoneError::SeveralSoas);
        }
        let record = Record {
            owner: &apex,
            rtype: RecordType::SOA,
            ttl: soas.ttl,
            rdata: soas.first(),
        };
        let soa = Soa::read(record).ok_or(ZoneError::MalformedSoa)?;
        let mut zone = Self {
            labels_max,
            apex,
            apex_labels,
            soa,
            arena,
            index,
            order,
            waste,
            denial: Denial::None,
        };
        zone.denial = Denial::of(&zone)?;
        Ok(zone)
    }

    /// Name of the apex in wire form, lower-cased.
    pub fn apex(&self) -> &[u8] {
        &self.apex
    }

    /// Labels of the apex.
    pub fn apex_labels(&self) -> usize {
        self.apex_labels
    }

    /// Numbers of the SOA record.
    pub fn soa(&self) -> Soa {
        self.soa
    }

    /// All records: the SOA record first, then those of each name together, names in canonical
    /// order (RFC 4034 section 6.1). As a transfer has them, but for the SOA record at its end.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.nodes().flat_map(Node::records)
    }

    /// All names in canonical order, those without records and those of NSEC3 records included.
    pub fn nodes(&self) -> impl Iterator<Item = Node<'_>> {
        self.order.iter().map(|at| Node::new(&self.arena, *at))
    }

    /// The apex.
    #[inline]
    pub fn apex_node(&self) -> Node<'_> {
        // A zone has a SOA record, and its owner is the first in canonical order.
        self.at(self.order.first().copied().unwrap_or(0))
    }

    /// The node of a name in wire form, lower-cased; nothing if the zone has neither the name nor one
    /// below it.
    pub fn node(&self, name: &[u8]) -> Option<Node<'_>> {
        let relative = name.len().checked_sub(self.apex.len())?;
        self.named(name, relative)
    }

    /// The RRset of a name in wire form, lower-cased, and a type, wherever it stands: also glue.
    pub fn rrset(&self, name: &[u8], rtype: RecordType) -> Option<RrSet<'_>> {
        self.node(name)?.set(rtype)
    }

    /// The records of a name in wire form, lower-cased, wherever it stands, also of one that is only a
    /// hash (RFC 5155).
    pub fn records_at(&self, name: &[u8]) -> impl Iterator<Item = Record<'_>> {
        let relative = name.len().checked_sub(self.apex.len());
        let place = relative.and_then(|relative| {
            let hash = self.index.hash(name.get(..relative)?);
            self.index.find(hash, |at| self.at(at).name() == name)
        });
        place.into_iter().flat_map(|place| self.at(place).records())
    }

    /// A number that tells names of the zone apart: another one in each version, and not to be
    /// guessed.
    pub fn fingerprint(&self, name: &Name) -> u64 {
        self.index.hash(name.wire())
    }

    /// The same where the octets in front of the apex are counted.
    #[inline]
    pub(crate) fn named(&self, name: &[u8], relative: usize) -> Option<Node<'_>> {
        let hash = self.index.hash(name.get(..relative)?);
        let at = self.index.find(hash, |at| self.at(at).name() == name)?;
        Some(self.at(at)).filter(|node| !node.is(HASH))
    }

    /// The deepest node above a name that is not there, and the number of its labels, those of the
    /// apex not included: its closest encloser (RFC 4592 section 3.3.1).
    #[inline]
    pub(crate) fn closest_encloser(&self, name: &Name) -> Node<'_> {
        let below = name.label_count().saturating_sub(self.apex_labels);
        for labels in (1..below.min(self.labels_max + 1)).rev() {
            let above = name.suffix(labels + self.apex_labels);
            if let Some(node) = self.named(above, above.len().saturating_sub(self.apex.len())) {
                return node;
            }
        }
        self.apex_node()
    }

    #[inline]
    pub(crate) fn at(&self, place: u32) -> Node<'_> {
        Node::new(&self.arena, place)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zone")
            .field("apex", &Name::from_wire(&self.apex))
            .field("soa", &self.soa)
            .field("names", &self.order.len())
            .finish_non_exhaustive()
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
