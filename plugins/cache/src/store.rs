//! Entries by hash, in 256 shards of a bounded size each; a look-up takes no lock and writes nothing
//! that cores share.
//!
//! A shard is a table of sets with seven places, each set one cache line. An entry lies in the set that its hash names or in
//! the next one. Readers compare tags, load the place's pointer and compare the whole key, so that
//! whatever a writer is about to do they see an entry of theirs or none. Writers, who come with an
//! answer from elsewhere, take the shard's lock.
//!
//! Tables begin small and grow by four until they have about two places for each entry of the
//! capacity: a table that is read is never freed, and those before it are a third of its size.
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU8, AtomicUsize};
use std::sync::{Mutex, OnceLock, PoisonError};

use arc_swap::{ArcSwapAny, Guard};

use crate::entry::{Entry, Head, Kept};

/// CoreDNS's number; capacities are multiples of it.
pub(crate) const SHARDS: usize = 256;
/// Places of a set: as many as a cache line holds with their tags.
const WAYS: usize = 7;
/// Tables of a shard, each four times the one before.
const TABLES: usize = 14;

/// A bounded number of entries.
pub(crate) struct Store {
    shards: Box<[OnceLock<Box<Shard>>]>,
    shard_entries: usize,
    entries: AtomicUsize,
}

struct Shard {
    tables: [OnceLock<Box<[Set]>>; TABLES],
    /// The table that is read.
    current: AtomicUsize,
    writer: Mutex<Writer>,
}

struct Writer {
    entries: usize,
    random: u64,
}

#[repr(align(64))]
#[derive(Default)]
struct Set {
    places: [Place; WAYS],
    /// Part of the hash; 0 for a free place.
    tags: [AtomicU8; WAYS],
}

const _: () = assert!(size_of::<Set>() == 64, "a set is a cache line");

type Place = ArcSwapAny<Option<Entry>>;

/// An entry that was found, kept from being freed.
pub(crate) struct Found(Guard<Option<Entry>>);

impl Found {
    /// The entry.
    pub(crate) fn entry(&self) -> Option<&Entry> {
        self.0.as_ref()
    }

    /// A reference that may be kept.
    pub(crate) fn into_entry(self) -> Option<Entry> {
        Guard::into_inner(self.0)
    }
}

/// Sets of the table of this number, where the last has `last` of them.
fn sets(last: usize, tables: usize, number: usize) -> usize {
    (last >> (2 * (tables - 1 - number))).max(1)
}

impl Store {
    /// An empty one with this many entries for each shard; memory comes with the entries.
    pub(crate) fn new(shard_entries: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| OnceLock::new()).collect(),
            shard_entries,
            entries: AtomicUsize::new(0),
        }
    }

    /// How many entries there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.load(Relaxed)
    }

    /// Sets of the largest table: two places for each entry.
    fn sets_max(&self) -> usize {
        let sets = self.shard_entries.saturating_mul(2).div_ceil(WAYS);
        // More than there is memory for.
        sets.min(4 << (2 * (TABLES - 1)))
    }

    /// Tables that a shard may come to have.
    fn tables(&self) -> usize {
        let (mut tables, mut sets) = (1, self.sets_max());
        while sets > 4 && tables < TABLES {
            (tables, sets) = (tables + 1, sets / 4);
        }
        tables
    }

    /// The entry with this hash for which `is` holds.
    pub(crate) fn find(&self, hash: u64, is: impl Fn(&Entry) -> bool) -> Option<Found> {
        let shard = self.shards[shard_of(hash)].get()?;
        let table = shard.tables[shard.current.load(Acquire)].get()?;
        for set in two_sets(table, hash) {
            for (tag, place) in set.tags.iter().zip(&set.places) {
                if tag.load(Acquire) == tag_of(hash) {
                    let found = Found(place.load());
                    if found.entry().is_some_and(&is) {
                        return Some(found);
                    }
                }
            }
        }
        None
    }

    /// Adds an entry in place of the one for which `is` holds; returns whether another one had to
    /// go. When the shard is full one of those goes that are `gone`, else a random one.
    pub(crate) fn insert(
        &self,
        hash: u64,
        entry: &Entry,
        is: impl Fn(&Entry) -> bool,
        gone: impl Fn(&Head) -> bool,
    ) -> bool {
        let shard = self.shards[shard_of(hash)].get_or_init(|| Box::new(Shard::new(hash)));
        let mut writer = shard.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, place)) = shard.table(self).and_then(|table| lookup(table, hash, &is)) {
            place.store(Some(entry.clone()));
            return false;
        }
        shard.grow(&mut writer, self);
        let Some(table) = shard.table(self) else {
            return false;
        };
        let Some((tag, place)) = free(table, hash) else {
            // Both sets are full: something of the first goes.
            let [set, _] = two_sets(table, hash);
            let way = writer.pick(set, &gone);
            set.places[way].store(Some(entry.clone()));
            set.tags[way].store(tag_of(hash), Release);
            return true;
        };
        let full = writer.entries >= self.shard_entries;
        let evicted = full && shard.evict(&mut writer, self, &gone);
        place.store(Some(entry.clone()));
        tag.store(tag_of(hash), Release);
        writer.entries += 1;
        self.entries.fetch_add(1, Relaxed);
        evicted
    }

    /// Takes out the entry for which `is` holds.
    pub(crate) fn remove(&self, hash: u64, is: impl Fn(&Entry) -> bool) {
        let Some(shard) = self.shards[shard_of(hash)].get() else {
            return;
        };
        let mut writer = shard.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((tag, place)) = shard.table(self).and_then(|table| lookup(table, hash, &is)) {
            clear(tag, place);
            self.count_out(&mut writer);
        }
    }

    fn count_out(&self, writer: &mut Writer) {
        writer.entries -= 1;
        self.entries.fetch_sub(1, Relaxed);
    }
}

impl Shard {
    fn new(seed: u64) -> Self {
        Self {
            tables: [const { OnceLock::new() }; TABLES],
            current: AtomicUsize::new(0),
            writer: Mutex::new(Writer {
                entries: 0,
                random: seed | 1,
            }),
        }
    }

    /// The table that is read; the first one is made here.
    fn table(&self, store: &Store) -> Option<&[Set]> {
        let number = self.current.load(Relaxed);
        let table = self.tables.get(number)?;
        Some(table.get_or_init(|| new_table(sets(store.sets_max(), store.tables(), number))))
    }

    /// Goes on to a larger table when half of this one is full.
    fn grow(&self, writer: &mut Writer, store: &Store) {
        let number = self.current.load(Relaxed);
        let Some(table) = self.table(store) else {
            return;
        };
        if number + 1 >= store.tables() || 2 * writer.entries < table.len() * WAYS {
            return;
        }
        let larger = new_table(sets(store.sets_max(), store.tables(), number + 1));
        for entry in table
            .iter()
            .flat_map(|set| &set.places)
            .filter_map(Place::load_full)
        {
            // An eighth of the places is taken; should two sets be full all the same, one entry is
            // lost.
            let hash = entry.head().hash;
            match free(&larger, hash) {
                Some((tag, place)) => {
                    place.store(Some(entry));
                    tag.store(tag_of(hash), Release);
                }
                None => store.count_out(writer),
            }
        }
        let _ = self.tables[number + 1].set(larger);
        self.current.store(number + 1, Release);
        for set in table {
            for (tag, place) in set.tags.iter().zip(&set.places) {
                clear(tag, place);
            }
        }
    }

    /// Takes one entry out, from a random set.
    fn evict(&self, writer: &mut Writer, store: &Store, gone: &impl Fn(&Head) -> bool) -> bool {
        let Some(table) = self.table(store) else {
            return false;
        };
        let start = (writer.next() % table.len() as u64) as usize;
        let around = table[start..].iter().chain(&table[..start]);
        for set in around {
            if set.tags.iter().any(|tag| tag.load(Relaxed) != 0) {
                let way = writer.pick(set, gone);
                clear(&set.tags[way], &set.places[way]);
                store.count_out(writer);
                return true;
            }
        }
        false
    }
}

impl Writer {
    /// Xorshift; which entry goes need not be a secret.
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// A taken place of the set: that of an entry that is gone, else a random one.
    fn pick(&mut self, set: &Set, gone: &impl Fn(&Head) -> bool) -> usize {
        let taken = |way: &usize| set.tags[*way].load(Relaxed) != 0;
        let is_gone = |way: &usize| {
            let entry = set.places[*way].load();
            entry.as_ref().is_some_and(|entry| gone(entry.head()))
        };
        if let Some(way) = (0..WAYS).filter(taken).find(is_gone) {
            return way;
        }
        let count = (0..WAYS).filter(taken).count().max(1);
        let nth = (self.next() % count as u64) as usize;
        (0..WAYS).filter(taken).nth(nth).unwrap_or(0)
    }
}

fn new_table(sets: usize) -> Box<[Set]> {
    (0..sets).map(|_| Set::default()).collect()
}

/// The set that a hash names, and the next one.
fn two_sets(table: &[Set], hash: u64) -> [&Set; 2] {
    let first = ((u64::from(hash as u32) * table.len() as u64) >> 32) as usize;
    let second = if first + 1 == table.len() {
        0
    } else {
        first + 1
    };
    [&table[first], &table[second]]
}

fn shard_of(hash: u64) -> usize {
    (hash >> 56) as usize
}

fn tag_of(hash: u64) -> u8 {
    ((hash >> 40) as u8).max(1)
}

/// The place of the entry for which `is` holds.
fn lookup(table: &[Set], hash: u64, is: impl Fn(&Entry) -> bool) -> Option<(&AtomicU8, &Place)> {
    two_sets(table, hash)
        .into_iter()
        .flat_map(|set| set.tags.iter().zip(&set.places))
        .find(|(tag, place)| {
            tag.load(Relaxed) == tag_of(hash) && place.load().as_ref().is_some_and(&is)
        })
}

/// A free place for this hash.
fn free(table: &[Set], hash: u64) -> Option<(&AtomicU8, &Place)> {
    two_sets(table, hash)
        .into_iter()
        .flat_map(|set| set.tags.iter().zip(&set.places))
        .find(|(tag, _)| tag.load(Relaxed) == 0)
}

/// Frees a place.
fn clear(tag: &AtomicU8, place: &Place) {
    tag.store(0, Release);
    place.store(None);
}

#[cfg(test)]
mod tests;
