//! From names to nodes: open addressing, keyed by a hash that is another one in every zone.
use std::hash::{BuildHasher, Hasher};

/// A free place.
const FREE: u64 = u64::MAX;
const ENTRIES_MIN: usize = 16;

/// Places of nodes by the hashes of their names. An entry holds 32 bits of the hash above the place,
/// so that other names are passed over without a look at them, and the table grows without them.
#[derive(Clone, Debug)]
pub(crate) struct Index {
    hasher: foldhash::fast::RandomState,
    /// A power of two, at most half full.
    entries: Vec<u64>,
    count: usize,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            hasher: foldhash::fast::RandomState::default(),
            entries: vec![FREE; ENTRIES_MIN],
            count: 0,
        }
    }

    /// Hash of a name's octets.
    #[inline]
    pub(crate) fn hash(&self, name: &[u8]) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(name);
        hasher.finish()
    }

    /// The place that `is` recognizes, of those with this hash.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.entries.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let entry = self.entries[slot];
            if entry == FREE {
                return None;
            }
            if (entry >> 32) as u32 == hash as u32 && is(entry as u32) {
                return Some(entry as u32);
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Adds a place; its name must not be there yet.
    pub(crate) fn insert(&mut self, hash: u64, place: u32) {
        if (self.count + 1) * 2 > self.entries.len() {
            self.grow();
        }
        self.count += 1;
        put(&mut self.entries, hash << 32 | u64::from(place));
    }

    /// Another place for a name that is there.
    pub(crate) fn replace(&mut self, hash: u64, old: u32, new: u32) {
        let mask = self.entries.len() - 1;
        let mut slot = hash as usize & mask;
        while self.entries[slot] != FREE {
            if self.entries[slot] as u32 == old {
                self.entries[slot] = hash << 32 | u64::from(new);
                return;
            }
            slot = (slot + 1) & mask;
        }
    }

    /// Takes out a place that is there.
    pub(crate) fn remove(&mut self, hash: u64, place: u32) {
        let mask = self.entries.len() - 1;
        let mut gap = hash as usize & mask;
        while self.entries[gap] != FREE && self.entries[gap] as u32 != place {
            gap = (gap + 1) & mask;
        }
        if self.entries[gap] == FREE {
            return;
        }
        self.count -= 1;
        // What stands behind may have come here because of it.
        let mut next = gap;
        loop {
            next = (next + 1) & mask;
            let entry = self.entries[next];
            if entry == FREE {
                break;
            }
            let first = (entry >> 32) as usize & mask;
            if next.wrapping_sub(first) & mask >= next.wrapping_sub(gap) & mask {
                self.entries[gap] = entry;
                gap = next;
            }
        }
        self.entries[gap] = FREE;
    }

    fn grow(&mut self) {
        let mut entries = vec![FREE; self.entries.len() * 2];
        for &entry in self.entries.iter().filter(|entry| **entry != FREE) {
            put(&mut entries, entry);
        }
        self.entries = entries;
    }
}

fn put(entries: &mut [u64], entry: u64) {
    let mask = entries.len() - 1;
    let mut slot = (entry >> 32) as usize & mask;
    while entries[slot] != FREE {
        slot = (slot + 1) & mask;
    }
    entries[slot] = entry;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_found() {
        let mut index = Index::new();
        let name = |number: u32| format!("name {number}");
        for number in 0..1000 {
            let hash = index.hash(name(number).as_bytes());
            assert_eq!(index.find(hash, |place| place == number), None);
            index.insert(hash, number);
        }
        for number in 0..1000 {
            let hash = index.hash(name(number).as_bytes());
            index.replace(hash, number, number + 5000);
            assert_eq!(
                index.find(hash, |place| place == number + 5000),
                Some(number + 5000)
            );
        }
        let other = index.hash(b"other");
        assert_eq!(index.find(other, |_| true), None);
        // Every third goes; the others are found past the gaps, and may be put in again.
        for number in (0..1000).step_by(3) {
            let hash = index.hash(name(number).as_bytes());
            index.remove(hash, number + 5000);
            index.remove(hash, number + 5000);
        }
        for number in 0..1000 {
            let hash = index.hash(name(number).as_bytes());
            let found = index.find(hash, |place| place == number + 5000);
            assert_eq!(found.is_some(), number % 3 != 0, "{number}");
            if number % 3 == 0 {
                index.insert(hash, number + 5000);
            }
        }
        assert_eq!(index.count, 1000);
    }
}
