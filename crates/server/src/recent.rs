//! A table of bounded size that forgets what was not used for longest.
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Entries by key, each as old as its last use.
pub(crate) struct Recent<K, V> {
    entries: HashMap<K, Entry<V>, foldhash::fast::RandomState>,
    /// Every use, oldest first. Only the last use of a key counts, the others are passed over.
    uses: VecDeque<(K, u64)>,
    used: u64,
}

struct Entry<V> {
    value: V,
    seen: Instant,
    used: u64,
}

/// How much a table holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Time since the last use.
    pub(crate) ttl: Duration,
    pub(crate) entries_max: usize,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::default(),
            uses: VecDeque::new(),
            used: 0,
        }
    }
}

impl<K: Hash + Eq + Copy, V: Copy> Recent<K, V> {
    /// What is there by a key, however old; no use.
    pub(crate) fn peek(&self, key: &K) -> Option<V> {
        self.entries.get(key).map(|entry| entry.value)
    }

    /// What is there by a key, unless it is too old; a use.
    pub(crate) fn get(&mut self, key: K, bounds: Bounds, now: Instant) -> Option<V> {
        let entry = self.entries.get(&key)?;
        if is_old(entry, bounds, now) {
            self.entries.remove(&key);
            return None;
        }
        let value = entry.value;
        self.put(key, value, bounds, now);
        Some(value)
    }

    /// Notes what there is by a key; a use. What is too old is forgotten, and so is what was not used
    /// for longest when there is too much.
    pub(crate) fn put(&mut self, key: K, value: V, bounds: Bounds, now: Instant) {
        self.used += 1;
        let entry = Entry {
            value,
            seen: now,
            used: self.used,
        };
        self.entries.insert(key, entry);
        self.uses.push_back((key, self.used));
        while let Some((oldest, used)) = self.uses.front().copied() {
            let last = self.entries.get(&oldest).filter(|last| last.used == used);
            match last {
                None => (),
                Some(last)
                    if is_old(last, bounds, now) || self.entries.len() > bounds.entries_max =>
                {
                    self.entries.remove(&oldest);
                }
                Some(_) => break,
            }
            self.uses.pop_front();
        }
        // Seldom, so that its cost for one use is small: uses that no longer count are dropped.
        if self.uses.len() > 2 * bounds.entries_max + 64 {
            let entries = &self.entries;
            self.uses
                .retain(|(key, used)| entries.get(key).is_some_and(|entry| entry.used == *used));
        }
    }

    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.entries.len(), self.uses.len())
    }
}

fn is_old<V>(entry: &Entry<V>, bounds: Bounds, now: Instant) -> bool {
    now.saturating_duration_since(entry.seen) > bounds.ttl
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_the_rest_goes() {
        let bounds = Bounds {
            ttl: Duration::from_secs(5),
            entries_max: 3,
        };
        let (mut table, start) = (Recent::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        for key in 1..=3 {
            table.put(key, key * 10, bounds, at(0));
        }
        assert_eq!(table.get(1, bounds, at(1)), Some(10));
        table.put(4, 40, bounds, at(1));
        // The second was not used for longest.
        assert_eq!(
            [1, 2, 3, 4].map(|key| table.peek(&key)),
            [Some(10), None, Some(30), Some(40)]
        );
        // By its age; a look is no use.
        table.put(4, 41, bounds, at(6));
        assert_eq!(table.peek(&3), None);
        assert_eq!(table.peek(&1), Some(10));
        table.put(4, 42, bounds, at(7));
        assert_eq!(table.sizes().0, 1);
        assert_eq!(table.get(4, bounds, at(13)), None);
        for use_ in 0..1_000 {
            table.put(use_ % 2, 0, bounds, at(13));
            assert!(table.sizes().0 <= 3 && table.sizes().1 <= 71);
        }
    }
}
