//! From a zone and what changes at some of its names to the next version.
//!
//! The memory is copied as it is. Names that change are written behind it, so that all others keep their
//! places; then every node is told its neighbours anew. Octets that nobody leads to any more add up, and
//! when they are too many the zone is made from its records.
use std::collections::{BTreeMap, HashMap};

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
    /// For names that went the next one that is still there, by ranks.
    behind: HashMap<usize, usize>,
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
            behind: HashMap::new(),
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
            .filter_map(|(owner, _)| self.lookup(owner).1)
            .filter(|place| self.node(*place).rank() < self.before)
            .collect();
        // Names below others before those.
        gone.sort_by_key(|place| std::cmp::Reverse(self.node(*place).rank()));
        for place in gone {
            self.empty(place)?;
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
    fn empty(&mut self, old: u32) -> Result<(), ZoneError> {
        let name = Name::from_wire(self.node(old).name()).map_err(|_| ZoneError::Owner)?;
        if self.leads_on(old) {
            let labels = name.label_count() - self.builder.apex_labels;
            let at = self.builder.write_node(name.wire(), labels)?;
            let (hash, _) = self.lookup(name.wire());
            self.replace(hash, old, at);
            return Ok(());
        }
        self.remove(old);
        for labels in (self.builder.apex_labels + 1..name.label_count()).rev() {
            let above = self.lookup(name.suffix(labels)).1;
            match above.filter(|above| self.node(*above).is(EMPTY) && !self.leads_on(*above)) {
                Some(above) => self.remove(above),
                None => break,
            }
        }
        Ok(())
    }

    /// Takes a name away; none of those behind it goes later.
    fn remove(&mut self, old: u32) {
        let (hash, _) = self.lookup(self.node(old).name());
        self.builder.index.remove(hash, old);
        let rank = self.forget(old);
        self.behind.insert(rank, self.next(rank));
        if let Some(place) = self.builder.nodes.get_mut(rank) {
            *place = NONE;
        }
    }

    /// The rank of the next name of the version before that is still there.
    fn next(&self, rank: usize) -> usize {
        match self.builder.nodes.get(rank + 1) {
            Some(&NONE) => self.behind.get(&(rank + 1)).copied().unwrap_or(self.before),
            _ => rank + 1,
        }
    }

    /// Whether there are names below one of the version before.
    fn leads_on(&self, place: u32) -> bool {
        let node = self.node(place);
        let is_below = |other: &u32| is_in(self.node(*other).name(), node.name());
        let before = self.builder.nodes.get(..self.before).unwrap_or_default();
        let new = self
            .new
            .partition_point(|(_, place)| canonical(self.node(*place).name(), node.name()).is_le());
        before.get(self.next(node.rank())).is_some_and(is_below)
            || self.new.get(new).is_some_and(|(_, new)| is_below(new))
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever changes, the next version is the one that would be made from its records.
    #[test]
    fn a_changed_zone_is_the_one_of_its_records() {
        const APEX: &[u8] = b"\x04zone\0";
        let mut records: Names = BTreeMap::new();
        let mut soa = vec![0; 22];
        records.insert(APEX.into(), vec![(RecordType::SOA, 1, soa.clone().into())]);
        let build = |records: &Names| {
            let mut builder = Builder::new(APEX);
            for (owner, sets) in records {
                for (rtype, ttl, rdata) in sets {
                    builder.add(owner, *rtype, *ttl, rdata).unwrap();
                }
            }
            builder.build().unwrap()
        };
        let shown = |zone: &Zone| -> Vec<_> {
            let nodes = zone.nodes().enumerate().map(|(rank, node)| {
                let found = zone.node(node.name()).expect("it is found");
                assert_eq!((found.place(), node.rank()), (node.place(), rank));
                let link = |node: Option<Node<'_>>| node.map(|node| node.name().to_vec());
                let records: Vec<_> = node.records().map(|record| record.to_owned()).collect();
                let of = (link(node.cut()), link(node.wildcard()));
                let is = (node.is_empty_non_terminal(), node.is_delegation());
                (node.name().to_vec(), of, is, records)
            });
            nodes.collect()
        };
        let mut number = 1u64;
        let mut random = |most: usize| {
            number ^= number << 13;
            number ^= number >> 7;
            number ^= number << 17;
            (number % most as u64) as usize
        };
        let labels: [&[u8]; 4] = [b"\x01a", b"\x01b", b"\x02cc", b"\x01*"];
        let mut zone = build(&records);
        for round in 0..800u32 {
            let mut names = BTreeMap::new();
            soa[2..6].copy_from_slice(&round.to_be_bytes());
            names.insert(
                APEX.to_vec(),
                vec![(RecordType::SOA, 1, soa.clone().into_boxed_slice())],
            );
            for _ in 0..random(8) + 1 {
                let mut name = APEX.to_vec();
                for _ in 0..random(5) + 1 {
                    name = [labels[random(labels.len())], &name].concat();
                }
                let types = [
                    RecordType::A,
                    RecordType::A,
                    RecordType::NS,
                    RecordType::DNAME,
                ];
                let sets = (0..random(6).saturating_sub(3)).map(|_| match types[random(4)] {
                    RecordType::A => (RecordType::A, 1, vec![random(3) as u8; 4].into()),
                    other => (other, 1, Box::from(&b"\x01x\x04zone\0"[..])),
                });
                let mut sets: Vec<_> = sets.collect();
                sets.sort();
                sets.dedup();
                names.insert(name, sets);
            }
            zone = match round % 16 {
                0 => zone.with(&names).unwrap(),
                _ => Change::of(&zone, &names).make(&names).unwrap(),
            };
            for (name, sets) in names {
                match sets.is_empty() {
                    true => records.remove(&name),
                    false => records.insert(name, sets),
                };
            }
            let made = build(&records);
            assert_eq!(zone.soa(), made.soa());
            assert_eq!(shown(&zone), shown(&made), "round {round}");
            let missing: Name = "x.b.c.a.zone".parse().unwrap();
            assert_eq!(
                zone.closest_encloser(&missing).name(),
                made.closest_encloser(&missing).name()
            );
        }
    }

    /// A hundred thousand names that go are no search through all of them for each.
    #[test]
    fn many_names_go_at_once() {
        let mut builder = Builder::new(b"\x04zone\0");
        let soa = [0; 22];
        builder
            .add(b"\x04zone\0", RecordType::SOA, 1, &soa)
            .unwrap();
        let name = |number: u32| {
            [
                &b"\x06"[..],
                format!("{number:06}").as_bytes(),
                b"\x04zone\0",
            ]
            .concat()
        };
        for number in 0..500_000 {
            builder
                .add(&name(number), RecordType::A, 1, &[0; 4])
                .unwrap();
        }
        let zone = builder.build().unwrap();
        let gone: Names = (0..100_000)
            .map(|number| (name(number), Vec::new()))
            .collect();
        let next = zone.with(&gone).unwrap();
        assert_eq!(next.records().count(), 400_001);
        assert!(next.node(&name(99_999)).is_none() && next.node(&name(100_000)).is_some());
    }
}
