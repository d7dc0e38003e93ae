//! From records in any order to a zone.
//!
//! Records of one owner that come together are written to their final place at once. Those of an
//! owner that comes again are fragments, which are put together at the end.
use std::collections::HashSet;

use corten_wire::{Name, RecordType};

use crate::index::Index;
use crate::node::{
    ALIAS, CUT_AT, DELEGATION, EMPTY, FLAGS_AT, HASH, INSIDE, LABELS_AT, LENGTH_AT, NODE_OCTETS,
    NONE, Node, RANK_AT, REDIRECTION, SET_OCTETS, SETS_AT, WILDCARD_AT, number, set_number,
};
use crate::order::{canonical, is_in, sort_key};
use crate::record::Record;
use crate::zone::{Parts, Zone, ZoneError};

mod change;

pub use change::Names;

/// Octets of one zone, at most: places are numbers of 32 bits.
const ZONE_OCTETS_MAX: usize = NONE as usize - 1;
/// Sets with more records are searched for equal ones by hash.
const COMPARED_MAX: usize = 16;

/// Takes the records of a zone, in any order.
#[derive(Debug)]
pub struct Builder {
    apex: Box<[u8]>,
    apex_labels: usize,
    arena: Vec<u8>,
    index: Index,
    /// Places of nodes, in order of appearance; fragments that were superseded included.
    nodes: Vec<u32>,
    fragments: usize,
    /// The owner as it was given last, so that it need not be read again.
    given: Vec<u8>,
    /// The owner that records are collected for.
    owner: Name,
    pending: Vec<u8>,
    /// Sort key and place of each pending record.
    entries: Vec<(u32, u32)>,
}

impl Builder {
    /// For the zone of this name in wire form.
    pub fn new(apex: &[u8]) -> Self {
        let apex: Box<[u8]> = apex.to_ascii_lowercase().into();
        Self {
            apex_labels: Name::from_wire(&apex).map_or(0, |name| name.label_count()),
            apex,
            arena: Vec::new(),
            index: Index::new(),
            nodes: Vec::new(),
            fragments: 0,
            given: Vec::new(),
            owner: Name::root(),
            pending: Vec::new(),
            entries: Vec::new(),
        }
    }

    /// Name of the zone in wire form, lower-cased.
    pub fn apex(&self) -> &[u8] {
        &self.apex
    }

    /// Takes a record. One that is there already counts once, and of several TTLs in one RRset the
    /// least (RFC 2181 section 5).
    ///
    /// # Errors
    /// The record does not belong into the zone: another name's, or a SOA record below the apex. It
    /// is left out, and others may follow.
    pub fn add(
        &mut self,
        owner: &[u8],
        rtype: RecordType,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<(), ZoneError> {
        // Nothing is given after an owner that was refused.
        if owner != self.given || owner.is_empty() {
            self.turn_to(owner)?;
        }
        if rtype == RecordType::SOA && self.owner.wire() != &*self.apex {
            return Err(ZoneError::SoaBelowApex(Box::new(self.owner.clone())));
        }
        let length = u16::try_from(rdata.len()).map_err(|_| ZoneError::TooLarge)?;
        let place = u32::try_from(self.pending.len()).map_err(|_| ZoneError::TooLarge)?;
        self.entries.push((key(rtype, rdata), place));
        self.pending.extend_from_slice(&rtype.0.to_ne_bytes());
        self.pending.extend_from_slice(&ttl.to_ne_bytes());
        self.pending.extend_from_slice(&length.to_ne_bytes());
        self.pending.extend_from_slice(rdata);
        Ok(())
    }

    /// The same for a record of another zone or version.
    pub fn add_record(&mut self, record: Record<'_>) -> Result<(), ZoneError> {
        self.add(record.owner, record.rtype, record.ttl, record.rdata)
    }

    /// The zone.
    pub fn build(mut self) -> Result<Zone, ZoneError> {
        self.flush()?;
        self.join_fragments()?;
        self.add_empty_non_terminals()?;
        self.sort();
        self.arena.shrink_to_fit();
        self.finish(0)
    }

    /// The zone, once all nodes are there in canonical order. So many octets are led to by none of them.
    fn finish(mut self, waste: usize) -> Result<Zone, ZoneError> {
        let labels_max = self.link();
        Zone::new(Parts {
            apex: self.apex,
            apex_labels: self.apex_labels,
            labels_max,
            arena: self.arena,
            index: self.index,
            order: self.nodes,
            waste,
        })
    }

    /// Records of another owner come now.
    fn turn_to(&mut self, owner: &[u8]) -> Result<(), ZoneError> {
        self.flush()?;
        self.given.clear();
        self.owner
            .read(owner, 0)
            .ok()
            .filter(|end| *end == owner.len())
            .ok_or(ZoneError::Owner)?;
        if !is_in(self.owner.wire(), &self.apex) {
            return Err(ZoneError::OutOfZone(Box::new(self.owner.clone())));
        }
        self.given.extend_from_slice(owner);
        Ok(())
    }

    fn find(&self, hash: u64, name: &[u8]) -> Option<u32> {
        let arena = &self.arena;
        self.index
            .find(hash, |at| Node::new(arena, at).name() == name)
    }

    /// Octets of a name in front of the apex: what the index knows it by.
    fn relative<'n>(&self, name: &'n [u8]) -> &'n [u8] {
        name.get(..name.len().saturating_sub(self.apex.len()))
            .unwrap_or_default()
    }

    /// Writes what was collected for an owner.
    fn flush(&mut self) -> Result<(), ZoneError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let labels = self.owner.label_count() - self.apex_labels;
        let owner = std::mem::take(&mut self.owner);
        let hash = self.index.hash(self.relative(owner.wire()));
        let at = self.write_node(owner.wire(), labels)?;
        match self.find(hash, owner.wire()) {
            None => {
                self.index.insert(hash, at);
                self.nodes.push(at);
            }
            Some(before) => {
                // Until the end the place of the rank leads to the fragment before.
                set_number(&mut self.arena, at as usize + RANK_AT, before);
                self.index.replace(hash, before, at);
                self.fragments += 1;
            }
        }
        self.owner = owner;
        Ok(())
    }

    /// Appends a node with the pending records, and forgets those.
    fn write_node(&mut self, name: &[u8], labels: usize) -> Result<u32, ZoneError> {
        let most = self.pending.len() + self.entries.len() * SET_OCTETS + NODE_OCTETS + name.len();
        if self.arena.len() + most > ZONE_OCTETS_MAX {
            return Err(ZoneError::TooLarge);
        }
        let at = self.arena.len();
        for _ in 0..3 {
            self.arena.extend_from_slice(&NONE.to_ne_bytes());
        }
        self.arena.extend_from_slice(&[0; 5]);
        self.arena.push(labels as u8);
        self.arena.push(name.len() as u8);
        self.arena.extend_from_slice(name);
        let start = self.arena.len();
        // Stable: records of a set keep their order.
        self.entries.sort_by_key(|(key, _)| *key);
        let (entries, pending) = (
            std::mem::take(&mut self.entries),
            std::mem::take(&mut self.pending),
        );
        let mut flags = if entries.is_empty() { EMPTY } else { HASH };
        for set in entries.chunk_by(|(one, _), (other, _)| one == other) {
            let rtype = self.write_set(&pending, set)?;
            let of_hashes = rtype == RecordType::NSEC3 || set[0].0 == key_of(RecordType::NSEC3) + 1;
            flags &= if of_hashes { u8::MAX } else { !HASH };
            flags |= match rtype {
                RecordType::NS if labels > 0 => DELEGATION,
                RecordType::DNAME => REDIRECTION,
                RecordType::CNAME => ALIAS,
                _ => 0,
            };
        }
        if labels == 0 {
            flags &= !HASH;
        }
        let octets = (self.arena.len() - start) as u32;
        set_number(&mut self.arena, at + SETS_AT, octets);
        self.arena[at + FLAGS_AT] = flags;
        (self.entries, self.pending) = (entries, pending);
        self.entries.clear();
        self.pending.clear();
        Ok(at as u32)
    }

    /// Appends the records of one set.
    fn write_set(
        &mut self,
        pending: &[u8],
        entries: &[(u32, u32)],
    ) -> Result<RecordType, ZoneError> {
        let read = |place: u32| Pending::read(pending, place as usize);
        let start = self.arena.len();
        self.arena.extend_from_slice(&[0; SET_OCTETS]);
        let records = start + SET_OCTETS;
        let (mut ttl, mut count, mut inside, mut rtype) = (u32::MAX, 0u16, true, 0);
        let mut known = HashSet::new();
        for (_, place) in entries {
            let record = read(*place);
            (rtype, ttl) = (record.rtype, ttl.min(record.ttl));
            let again = match entries.len() {
                1 => false,
                ..=COMPARED_MAX => {
                    written(&self.arena[records..]).any(|rdata| rdata == record.rdata)
                }
                _ => !known.insert(record.rdata),
            };
            if again {
                continue;
            }
            inside &= ends_inside(RecordType(rtype), record.rdata, &self.apex);
            count = count.checked_add(1).ok_or(ZoneError::TooLarge)?;
            self.arena
                .extend_from_slice(&(record.rdata.len() as u16).to_ne_bytes());
            self.arena.extend_from_slice(record.rdata);
        }
        let octets = (self.arena.len() - records) as u32;
        let head = &mut self.arena[start..records];
        head[..2].copy_from_slice(&rtype.to_ne_bytes());
        head[2] = if inside { INSIDE } else { 0 };
        head[4..6].copy_from_slice(&count.to_ne_bytes());
        set_number(head, 6, ttl);
        set_number(head, 10, octets);
        Ok(RecordType(rtype))
    }

    /// Puts together what came in several pieces.
    fn join_fragments(&mut self) -> Result<(), ZoneError> {
        if self.fragments == 0 {
            return Ok(());
        }
        for index in 0..self.nodes.len() {
            let first = self.nodes[index];
            let name: Box<[u8]> = Node::new(&self.arena, first).name().into();
            let hash = self.index.hash(self.relative(&name));
            let Some(last) = self.find(hash, &name).filter(|last| *last != first) else {
                continue;
            };
            let mut chain = vec![last];
            while let Some(&newest) = chain.last().filter(|place| **place != first) {
                chain.push(number(&self.arena, newest as usize + RANK_AT));
            }
            for place in chain.into_iter().rev() {
                for record in Node::new(&self.arena, place).records() {
                    let at = self.pending.len() as u32;
                    self.entries.push((key(record.rtype, record.rdata), at));
                    self.pending
                        .extend_from_slice(&record.rtype.0.to_ne_bytes());
                    self.pending.extend_from_slice(&record.ttl.to_ne_bytes());
                    self.pending
                        .extend_from_slice(&(record.rdata.len() as u16).to_ne_bytes());
                    self.pending.extend_from_slice(record.rdata);
                }
            }
            let labels = Node::new(&self.arena, first).labels();
            let joined = self.write_node(&name, labels)?;
            self.index.replace(hash, last, joined);
            self.nodes[index] = joined;
        }
        Ok(())
    }

    /// Every name above one that is there exists (RFC 4592 section 2.2.2, RFC 8020), up to the apex.
    fn add_empty_non_terminals(&mut self) -> Result<(), ZoneError> {
        for index in 0..self.nodes.len() {
            self.lead_to(index)?;
        }
        Ok(())
    }

    /// Adds the names above one of the nodes that are not there yet.
    fn lead_to(&mut self, index: usize) -> Result<(), ZoneError> {
        let node = Node::new(&self.arena, self.nodes[index]);
        let below = node.labels();
        if below < 2 {
            return Ok(());
        }
        let name = Name::from_wire(node.name()).map_err(|_| ZoneError::Owner)?;
        for labels in (1..below).rev() {
            let above = name.suffix(labels + self.apex_labels);
            let hash = self.index.hash(self.relative(above));
            if let Some(there) = self.find(hash, above) {
                // A name that others are below is no hash.
                self.arena[there as usize + FLAGS_AT] &= !HASH;
                break;
            }
            let at = self.write_node(above, labels)?;
            self.index.insert(hash, at);
            self.nodes.push(at);
        }
        Ok(())
    }

    /// Puts the nodes into canonical order.
    fn sort(&mut self) {
        let (arena, apex) = (&self.arena, self.apex.len());
        let name = |place: u32| Node::new(arena, place).name();
        let in_order = |pair: &[u32]| canonical(name(pair[0]), name(pair[1])).is_lt();
        if self.nodes.windows(2).all(in_order) {
            return;
        }
        let mut keyed: Vec<(u64, u32)> = self
            .nodes
            .iter()
            .map(|place| (sort_key(name(*place), apex), *place))
            .collect();
        keyed.sort_by(|(one, a), (other, b)| {
            one.cmp(other).then_with(|| canonical(name(*a), name(*b)))
        });
        self.nodes.clear();
        self.nodes.extend(keyed.into_iter().map(|(_, place)| place));
    }

    /// Tells each node its rank, the cut that it is at or below, and its wildcard. In canonical
    /// order the last node with one label less is the parent. Returns the most labels that one has.
    fn link(&mut self) -> usize {
        let (mut path, mut labels_max) = ([NONE; 128], 0);
        for (rank, &place) in self.nodes.iter().enumerate() {
            let node = Node::new(&self.arena, place);
            let labels = node.labels().min(path.len() - 1);
            let parent = labels.checked_sub(1).map(|above| path[above]);
            labels_max = labels_max.max(labels);
            path[labels] = place;
            let above = parent.map(|parent| Node::new(&self.arena, parent));
            let cut = match above.map(|above| (above.cut(), above.is(REDIRECTION))) {
                Some((Some(cut), _)) => cut.place(),
                Some((None, true)) => parent.unwrap_or(NONE),
                _ if node.is(DELEGATION) => place,
                _ => NONE,
            };
            let wildcard = labels > 0 && node.name().starts_with(b"\x01*");
            let start = place as usize;
            set_number(&mut self.arena, start + CUT_AT, cut);
            set_number(&mut self.arena, start + WILDCARD_AT, NONE);
            set_number(&mut self.arena, start + RANK_AT, rank as u32);
            if let Some(parent) = parent.filter(|_| wildcard) {
                set_number(&mut self.arena, parent as usize + WILDCARD_AT, place);
            }
        }
        labels_max
    }
}

/// Sets of a node stand in this order: the SOA first, then by type, signatures behind what they
/// cover.
fn key(rtype: RecordType, rdata: &[u8]) -> u32 {
    match (rtype, rdata) {
        (RecordType::RRSIG, [high, low, ..]) => {
            key_of(RecordType(u16::from_be_bytes([*high, *low]))) + 1
        }
        (RecordType::RRSIG, _) => 1,
        _ => key_of(rtype),
    }
}

fn key_of(rtype: RecordType) -> u32 {
    match rtype {
        RecordType::SOA => 2,
        other => 4 + 2 * u32::from(other.0),
    }
}

/// A record that waits for its owner to be complete.
struct Pending<'b> {
    rtype: u16,
    ttl: u32,
    rdata: &'b [u8],
}

impl<'b> Pending<'b> {
    fn read(octets: &'b [u8], place: usize) -> Self {
        let rest = octets.get(place..).unwrap_or_default();
        let length = usize::from(crate::node::short(rest, 6));
        Self {
            rtype: crate::node::short(rest, 0),
            ttl: number(rest, 2),
            rdata: rest.get(8..8 + length).unwrap_or_default(),
        }
    }
}

fn written(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = usize::from(crate::node::short(rest, 0));
        let (rdata, behind) = rest.get(2..)?.split_at_checked(length)?;
        rest = behind;
        Some(rdata)
    })
}

/// Whether RDATA ends with a name of the zone that may be compressed (RFC 3597 section 4).
fn ends_inside(rtype: RecordType, rdata: &[u8], apex: &[u8]) -> bool {
    let name = match rtype {
        RecordType::NS | RecordType::CNAME | RecordType::PTR => rdata,
        RecordType::MX => rdata.get(2..).unwrap_or_default(),
        _ => return false,
    };
    // A pointer has two octets; the root's name is shorter.
    apex.len() > 2 && is_name(name) && is_in(name, apex)
}

/// Whether octets are one name in wire form and nothing else.
pub(crate) fn is_name(octets: &[u8]) -> bool {
    let mut at = 0;
    loop {
        match octets.get(at) {
            Some(0) => return at + 1 == octets.len() && at < 255,
            Some(length @ 1..=63) => at += 1 + usize::from(*length),
            _ => return false,
        }
    }
}

const _: () = assert!(LABELS_AT + 1 == LENGTH_AT && LENGTH_AT + 1 == NODE_OCTETS);
