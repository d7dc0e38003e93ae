//! The entries: immutable, compact, replaced as a whole.
//!
//! Names stand one behind the other in one buffer, addresses in one array per family; a name is
//! found through an open hash table of 32-bit indices. A hundred thousand entries take some 12 MB,
//! and a lookup touches four cache lines.
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use corten_plugin::Zones;
use corten_plugin::wire::Name;

/// A free place of the hash table.
const FREE: u32 = u32::MAX;
/// Octets of names that one table holds; indices are 32 bits wide.
const NAMES_OCTETS_MAX: usize = 1 << 31;

/// Names and their addresses.
#[derive(Default)]
pub(crate) struct Table {
    hasher: foldhash::fast::RandomState,
    /// Indices into `entries`; a power of two, at most half full.
    slots: Box<[u32]>,
    entries: Box<[Entry]>,
    names: Box<[u8]>,
    v4: Box<[Ipv4Addr]>,
    v6: Box<[Ipv6Addr]>,
    /// Addresses with the index of a name, sorted by address and then by appearance.
    reverse: Box<[(IpAddr, u32)]>,
    has_wildcards: bool,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    name: u32,
    length: u8,
    v4: Span,
    v6: Span,
}

#[derive(Clone, Copy, Default)]
struct Span {
    start: u32,
    count: u16,
}

/// Addresses of a name that is there.
pub(crate) struct Found<'t> {
    pub(crate) v4: &'t [Ipv4Addr],
    pub(crate) v6: &'t [Ipv6Addr],
}

impl Table {
    /// The entry of `name`, or of the wildcard that stands for its first label (RFC 4592: only when
    /// there is no entry of the name itself).
    pub(crate) fn find(&self, name: &Name) -> Option<Found<'_>> {
        let entry = self.entry(name.wire()).or_else(|| self.wildcard(name))?;
        let span = |span: Span| span.start as usize..span.start as usize + usize::from(span.count);
        Some(Found {
            v4: &self.v4[span(entry.v4)],
            v6: &self.v6[span(entry.v6)],
        })
    }

    fn wildcard(&self, name: &Name) -> Option<&Entry> {
        if !self.has_wildcards || name.is_root() {
            return None;
        }
        let parent = name.suffix(name.label_count() - 1);
        let mut wire = [0; 256];
        wire[..2].copy_from_slice(b"\x01*");
        wire.get_mut(2..2 + parent.len())?.copy_from_slice(parent);
        self.entry(&wire[..2 + parent.len()])
    }

    fn entry(&self, wire: &[u8]) -> Option<&Entry> {
        let mut slot = self.hasher.hash_one(wire) as usize;
        loop {
            slot &= self.slots.len().checked_sub(1)?;
            match self.slots[slot] {
                FREE => return None,
                index => {
                    let entry = &self.entries[index as usize];
                    if self.name(entry) == wire {
                        return Some(entry);
                    }
                }
            }
            slot += 1;
        }
    }

    fn name(&self, entry: &Entry) -> &[u8] {
        &self.names[entry.name as usize..entry.name as usize + usize::from(entry.length)]
    }

    /// Names of an address, in wire form, in order of appearance.
    pub(crate) fn names_of(&self, address: IpAddr) -> impl Iterator<Item = &[u8]> {
        let start = self.reverse.partition_point(|(other, _)| *other < address);
        self.reverse[start..]
            .iter()
            .take_while(move |(other, _)| *other == address)
            .map(|(_, index)| self.name(&self.entries[*index as usize]))
    }

    /// Entries as CoreDNS counts them: addresses of names and names of addresses.
    pub(crate) fn entries(&self) -> usize {
        self.v4.len() + self.v6.len() + self.reverse.len()
    }
}

/// Collects entries of one or several texts.
pub(crate) struct Builder<'z> {
    zones: &'z Zones,
    reverse_wanted: bool,
    table: Table,
    slots: Vec<u32>,
    entries: Vec<Entry>,
    names: Vec<u8>,
    v4: Vec<(u32, Ipv4Addr)>,
    v6: Vec<(u32, Ipv6Addr)>,
    reverse: Vec<(IpAddr, u32)>,
}

impl<'z> Builder<'z> {
    /// Names outside `zones` are passed over.
    pub(crate) fn new(zones: &'z Zones, reverse_wanted: bool) -> Self {
        Self {
            zones,
            reverse_wanted,
            table: Table::default(),
            slots: vec![FREE; 64],
            entries: Vec::new(),
            names: Vec::new(),
            v4: Vec::new(),
            v6: Vec::new(),
            reverse: Vec::new(),
        }
    }

    /// Adds the lines of a hosts file; what is no entry is passed over.
    pub(crate) fn add_text(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line
                .split('#')
                .next()
                .unwrap_or_default()
                .split_ascii_whitespace();
            if let Some(address) = words.next().and_then(address) {
                words.for_each(|name| self.add(address, name));
            }
        }
    }

    /// Adds one name of an address.
    pub(crate) fn add(&mut self, address: IpAddr, name: &str) {
        let Ok(name) = name.parse::<Name>() else {
            return;
        };
        if name.is_root() || self.zones.matches(&name).is_none() {
            return;
        }
        let Some(index) = self.index(&name) else {
            return;
        };
        let wildcard = name.label(0) == Some(b"*");
        self.table.has_wildcards |= wildcard;
        match address {
            IpAddr::V4(v4) => self.v4.push((index, v4)),
            IpAddr::V6(v6) => self.v6.push((index, v6)),
        }
        if self.reverse_wanted && !wildcard {
            self.reverse.push((address, index));
        }
    }

    /// The index of a name's entry, which is made if there is none. Nothing when the table is full.
    fn index(&mut self, name: &Name) -> Option<u32> {
        if (self.entries.len() + 1) * 2 > self.slots.len() {
            self.grow();
        }
        let wire = name.wire();
        let mut slot = self.table.hasher.hash_one(wire) as usize;
        loop {
            slot &= self.slots.len() - 1;
            let index = self.slots[slot];
            if index == FREE {
                break;
            }
            let entry = &self.entries[index as usize];
            if &self.names[entry.name as usize..entry.name as usize + usize::from(entry.length)]
                == wire
            {
                return Some(index);
            }
            slot += 1;
        }
        if self.names.len() + wire.len() > NAMES_OCTETS_MAX {
            return None;
        }
        let index = self.entries.len() as u32;
        self.entries.push(Entry {
            name: self.names.len() as u32,
            length: wire.len() as u8,
            ..Entry::default()
        });
        self.names.extend_from_slice(wire);
        self.slots[slot] = index;
        Some(index)
    }

    fn grow(&mut self) {
        let mask = self.slots.len() * 2 - 1;
        let mut slots = vec![FREE; mask + 1];
        for (index, entry) in self.entries.iter().enumerate() {
            let wire =
                &self.names[entry.name as usize..entry.name as usize + usize::from(entry.length)];
            let mut slot = self.table.hasher.hash_one(wire) as usize & mask;
            while slots[slot] != FREE {
                slot = (slot + 1) & mask;
            }
            slots[slot] = index as u32;
        }
        self.slots = slots;
    }

    /// The finished table.
    pub(crate) fn finish(mut self) -> Table {
        let v4 = spread(self.v4, &mut self.entries, |entry| &mut entry.v4);
        let v6 = spread(self.v6, &mut self.entries, |entry| &mut entry.v6);
        self.reverse.sort_by_key(|(address, _)| *address);
        let mut reverse: Vec<(IpAddr, u32)> = Vec::with_capacity(self.reverse.len());
        for (address, index) in self.reverse {
            let same = reverse
                .iter()
                .rev()
                .take_while(|(other, _)| *other == address);
            // Many names of one address are rare, except where an address stands for "blocked";
            // those are not compared.
            if !same.take(64).any(|(_, other)| *other == index) {
                reverse.push((address, index));
            }
        }
        Table {
            slots: self.slots.into(),
            entries: self.entries.into(),
            names: self.names.into(),
            v4: v4.into(),
            v6: v6.into(),
            reverse: reverse.into(),
            ..self.table
        }
    }
}

/// Brings addresses into the order of their entries, each once, and notes where those of an entry
/// are.
fn spread<A: Copy + PartialEq>(
    mut pairs: Vec<(u32, A)>,
    entries: &mut [Entry],
    span: impl Fn(&mut Entry) -> &mut Span,
) -> Vec<A> {
    // Stable: the addresses of a name keep their order.
    pairs.sort_by_key(|(index, _)| *index);
    let mut addresses: Vec<A> = Vec::with_capacity(pairs.len());
    for (index, address) in pairs {
        let here = addresses.len() as u32;
        let span = span(&mut entries[index as usize]);
        if span.count == 0 {
            span.start = here;
        }
        let own = &addresses[span.start as usize..];
        if span.count < u16::MAX && !own.iter().take(64).any(|other| *other == address) {
            span.count += 1;
            addresses.push(address);
        }
    }
    addresses
}

/// The address in front of a line: a scope behind `%` is dropped, an IPv4 address in IPv6 form is
/// taken out of it.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    let text = text.split('%').next().unwrap_or(text);
    text.parse::<IpAddr>()
        .ok()
        .map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    fn table(text: &str) -> Table {
        let zones = Zones::new(vec![name("example"), name("w.test")]);
        let mut builder = Builder::new(&zones, true);
        builder.add_text(text);
        builder.finish()
    }

    #[test]
    fn lines_that_are_no_entries_are_passed_over() {
        let table = table(
            "# whole line\n192.0.2.1\twww.example  example # behind\n192.0.2.2 www.example\n192.0.2.300 wrong.example\n\
             192.0.2.4\nnot an entry\n192.0.2.5 www.other a..example\nfe80::1%lo0 scoped.example\n\
             ::ffff:192.0.2.9 mapped.example\n192.0.2.1 WWW.Example.\n",
        );
        let v4 = |text: &str| table.find(&name(text)).map(|found| found.v4.to_vec());
        assert_eq!(
            v4("www.example"),
            Some(vec![[192, 0, 2, 1].into(), [192, 0, 2, 2].into()])
        );
        assert_eq!(v4("example"), Some(vec![[192, 0, 2, 1].into()]));
        assert_eq!(v4("mapped.example"), Some(vec![[192, 0, 2, 9].into()]));
        assert_eq!(v4("wrong.example"), None);
        assert_eq!(v4("www.other"), None);
        let scoped = table.find(&name("scoped.example")).unwrap();
        assert_eq!(
            (scoped.v4.len(), scoped.v6),
            (0, &["fe80::1".parse().unwrap()][..])
        );
        let reverse: Vec<_> = table
            .names_of([192, 0, 2, 1].into())
            .map(<[u8]>::to_vec)
            .collect();
        assert_eq!(
            reverse,
            [name("www.example").wire(), name("example").wire()]
        );
        assert_eq!(table.entries(), 5 + 5);
    }

    #[test]
    fn a_wildcard_stands_for_one_label_and_only_where_nothing_else_is() {
        let table = table("192.0.2.10 *.w.test\n2001:db8::1 *.w.test\n192.0.2.11 exact.w.test\n");
        let v4 = |text: &str| table.find(&name(text)).map(|found| found.v4.to_vec());
        assert_eq!(v4("any.w.test"), Some(vec![[192, 0, 2, 10].into()]));
        assert_eq!(v4("exact.w.test"), Some(vec![[192, 0, 2, 11].into()]));
        assert!(
            table.find(&name("exact.w.test")).unwrap().v6.is_empty(),
            "the exact entry alone counts"
        );
        assert_eq!(v4("*.w.test"), v4("any.w.test"));
        assert_eq!(v4("w.test"), None);
        assert_eq!(v4("a.b.w.test"), None);
        assert_eq!(table.names_of([192, 0, 2, 10].into()).count(), 0);
        assert!(Table::default().find(&name("a")).is_none());
    }

    #[test]
    fn many_names_are_all_found() {
        let zones = Zones::new(vec![Name::root()]);
        let mut builder = Builder::new(&zones, true);
        for number in 0..10_000u32 {
            builder.add(Ipv4Addr::from(number).into(), &format!("h{number}.example"));
        }
        let table = builder.finish();
        for number in 0..10_000u32 {
            assert_eq!(
                table.find(&name(&format!("h{number}.example"))).unwrap().v4,
                [Ipv4Addr::from(number)]
            );
            assert_eq!(table.names_of(Ipv4Addr::from(number).into()).count(), 1);
        }
        assert!(table.find(&name("h10000.example")).is_none());
    }
}
