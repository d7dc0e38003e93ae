//! From a zone and what changes at some of its names to the next version.
//!
//! The memory is copied as it is. Names that change are written behind it, so that all others keep their
//! places; then every node is told its neighbours anew. Octets that nobody leads to any more add up, and
//! when they are too many the zone is made from its records.
use std::collections::BTreeMap;

use corten_wire::{Name, RecordType};

use super::{Builder, is_in, set_number};
use crate::node::{EMPTY, NODE_OCTETS, NONE, Node, RANK_AT, SET_OCTETS};
use crate::order::canonical;
use crate::zone::{Zone, ZoneError};

/// Names in wire form, lower-cased, with all the records that each of them is to have: type, TTL in seconds
/// and RDATA. None: the name goes.
pub type Names = BTreeMap<Vec<u8>, Vec<(RecordType, u32, Box<[u8]>)>>;

/// Of so many octets one may be waste.
const WASTE_PART: usize = 4;

impl Zone {
    /// The version in which these names have these records and all others what they have here. It takes a
    /// fraction of the time that [`Builder`] needs, and as much memory.
    ///
    /// # Errors
    /// They are no zone.
    pub fn with(&self, names: &Names) -> Result<Self, ZoneError> {
        let many = self.waste > self.arena.len() / WASTE_PART
            || names.len() > self.order.len() / WASTE_PART;
        // Names of hashes are names of the zone where something is below them, and else not.
        let of_hashes = |rtype| matches!(rtype, RecordType::NSEC3 | RecordType::NSEC3PARAM);
        let mut records = names.values().flatten();
        let hashes = self.denial_type() == Some(RecordType::NSEC3)
            || records.any(|(rtype, ..)| of_hashes(*rtype));
        match many || hashes {
            true => self.made_anew(names),
            false => Change::of(self, names).make(names),
        }
    }

    fn made_anew(&self, names: &Names) -> Result<Self, ZoneError> {
        let mut builder = Builder::new(self.apex());
        for node in self.nodes() {
            if names.contains_key(node.name()) {
                continue;
            }
            for record in node.records() {
                builder.add_record(record)?;
            }
        }
        for (owner, records) in names {
            for (rtype, ttl, rdata) in records {
                builder.add(owner, *rtype, *ttl, rdata)?;
            }
        }
        builder.build()
    }
}

/// The next version on its way.
struct Change {
    /// Behind the places of the version before, [`NONE`] for those that went, are those of new names.
    builder: Builder,
    /// How many there were before.
    before: usize,
    /// New names in canonical order, each with its place among those before.
    new: Vec<(usize, u32)>,
    waste: usize,
}

impl Change {
    fn of(zone: &Zone, names: &Names) -> Self {
        let octets: usize = names
            .iter()
            .map(|(owner, records)| {
                let records = records.iter();
                let records = records.map(|(.., rdata)| SET_OCTETS + 2 + rdata.len());
                // Names above may be new as well.
                (NODE_OCTETS + owner.len()) * (1 + owner.len() / 2) + records.sum::<usize>()
            })
            .sum();
        let mut builder = Builder::new(zone.apex());
        builder.arena = Vec::with_capacity(zone.arena.len() + octets);
        builder.arena.extend_from_slice(&zone.arena);
        builder.index = zone.index.clone();
        builder.nodes = zone.order.clone();
        Self {
            builder,
            before: zone.order.len(),
            new: Vec::new(),
            waste: zone.waste,
        }
    }

    fn make(mut self, names: &Names) -> Result<Zone, ZoneError> {
        for (owner, records) in names.iter().filter(|(_, records)| !records.is_empty()) {
            self.builder.turn_to(owner)?;
            for (rtype, ttl, rdata) in records {
                self.builder.add(owner, *rtype, *ttl, rdata)?;
            }
            self.settle()?;
        }
        for index in self.before..self.builder.nodes.len() {
            self.builder.lead_to(index)?;
        }
        self.find_places();
        let gone = names.iter().filter(|(_, records)| records.is_empty());
        let mut gone: Vec<_> = gone
            .map(|(owner, _)| Name::from_wire(owner).map_err(|_| ZoneError::Owner))
            .collect::<Result<_, _>>()?;
        // Names below others before those.
        gone.sort_by_key(|name| std::cmp::Reverse(name.label_count()));
        for name in &gone {
            self.empty(name)?;
        }
        self.order();
        self.builder.finish(self.waste)
    }

    fn node(&self, place: u32) -> Node<'_> {
        Node::new(&self.builder.arena, place)
    }

    fn lookup(&self, name: &[u8]) -> (u64, Option<u32>) {
        let hash = self.builder.index.hash(self.builder.relative(name));
        (hash, self.builder.find(hash, name))
    }

    /// Writes the name that records were collected for.
    fn settle(&mut self) -> Result<(), ZoneError> {
        let name = std::mem::take(&mut self.builder.owner);
        let labels = name.label_count() - self.builder.apex_labels;
        let at = self.builder.write_node(name.wire(), labels)?;
        match self.lookup(name.wire()) {
            (hash, Some(old)) => self.replace(hash, old, at),
            (hash, None) => {
                self.builder.index.insert(hash, at);
                self.builder.nodes.push(at);
            }
        }
        Ok(())
    }

    /// A node has a new place.
    fn replace(&mut self, hash: u64, old: u32, new: u32) {
        self.builder.index.replace(hash, old, new);
        let rank = self.forget(old);
        set_number(&mut self.builder.arena, new as usize + RANK_AT, rank as u32);
        if let Some(place) = self.builder.nodes.get_mut(rank) {
            *place = new;
        }
    }

    /// Counts a node that nobody leads to; returns its rank before.
    fn forget(&mut self, old: u32) -> usize {
        let node = self.node(old);
        let octets = NODE_OCTETS + node.name().len() + node.set_octets().len();
        let rank = node.rank();
        self.waste += octets;
        rank
    }

    /// Where new names stand between those of the version before.
    fn find_places(&mut self) {
        let (before, new) = self.builder.nodes.split_at(self.before);
        let name = |place: &u32| self.node(*place).name();
        let mut new = new.to_vec();
        new.sort_by(|one, other| canonical(name(one), name(other)));
        let place =
            |new: &u32| before.partition_point(|old| canonical(name(old), name(new)).is_lt());
        self.new = new.iter().map(|new| (place(new), *new)).collect();
    }

    /// Takes the records of a name away, and it and names above that lead to nothing else with them.
    fn empty(&mut self, name: &Name) -> Result<(), ZoneError> {
        let (hash, Some(old)) = self.lookup(name.wire()) else {
            return Ok(());
        };
        if self.leads_on(old) {
            let labels = name.label_count() - self.builder.apex_labels;
            let at = self.builder.write_node(name.wire(), labels)?;
            self.replace(hash, old, at);
            return Ok(());
        }
        self.remove(hash, old);
        for labels in (self.builder.apex_labels + 1..name.label_count()).rev() {
            let (hash, above) = self.lookup(name.suffix(labels));
            match above.filter(|above| self.node(*above).is(EMPTY) && !self.leads_on(*above)) {
                Some(above) => self.remove(hash, above),
                None => break,
            }
        }
        Ok(())
    }

    fn remove(&mut self, hash: u64, old: u32) {
        self.builder.index.remove(hash, old);
        let rank = self.forget(old);
        if let Some(place) = self.builder.nodes.get_mut(rank) {
            *place = NONE;
        }
    }

    /// Whether there are names below one of the version before.
    fn leads_on(&self, place: u32) -> bool {
        let node = self.node(place);
        let is_below = |other: u32| is_in(self.node(other).name(), node.name());
        let mut behind = self.builder.nodes[..self.before]
            .iter()
            .skip(node.rank() + 1);
        let old = behind.find(|place| **place != NONE);
        let new = self
            .new
            .partition_point(|(_, place)| canonical(self.node(*place).name(), node.name()).is_le());
        old.is_some_and(|old| is_below(*old))
            || self.new.get(new).is_some_and(|(_, new)| is_below(*new))
    }

    /// Puts all places into canonical order.
    fn order(&mut self) {
        let nodes = std::mem::take(&mut self.builder.nodes);
        let mut order = Vec::with_capacity(nodes.len());
        let mut from = 0;
        let copy = |from: usize, to: usize, order: &mut Vec<u32>| {
            let old = nodes.get(from..to).unwrap_or_default();
            order.extend(old.iter().filter(|place| **place != NONE));
        };
        for (rank, place) in &self.new {
            copy(from, *rank, &mut order);
            order.push(*place);
            from = *rank;
        }
        copy(from, self.before, &mut order);
        self.builder.nodes = order;
    }
}
