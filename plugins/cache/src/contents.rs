//! The two stores, and which entry counts when both have one.
use std::time::Instant;

use foldhash::quality::RandomState;

use crate::config::Config;
use crate::entry::{Entry, Kept, Key};
use crate::judge::{Kind, Shelf};
use crate::store::{Found, Store};

/// Everything that is kept for a server block.
///
/// Time is milliseconds since the contents were made, of a clock that never goes back.
pub(crate) struct Contents {
    success: Store,
    denial: Store,
    /// Seeded anew for each, so that nobody can choose names of one shard.
    hasher: RandomState,
    start: Instant,
}

/// An entry that was found, and where.
pub(crate) struct Hit {
    pub(crate) shelf: Shelf,
    found: Held,
}

enum Held {
    Found(Found),
    /// The last good answer behind an entry that is none.
    Good(Entry),
}

impl Contents {
    pub(crate) fn new(config: &Config, start: Instant) -> Self {
        Self {
            success: Store::new(config.success.shard_entries),
            denial: Store::new(config.denial.shard_entries),
            hasher: RandomState::default(),
            start,
        }
    }

    /// A moment in this clock's milliseconds.
    pub(crate) fn time(&self, moment: Instant) -> u64 {
        moment.saturating_duration_since(self.start).as_millis() as u64
    }

    pub(crate) fn hash(&self, key: Key<'_>) -> u64 {
        key.hash(&self.hasher)
    }

    /// How many entries a store has.
    pub(crate) fn len(&self, shelf: Shelf) -> usize {
        self.shelf(shelf).len()
    }

    fn shelf(&self, shelf: Shelf) -> &Store {
        match shelf {
            Shelf::Success => &self.success,
            Shelf::Denial => &self.denial,
        }
    }

    /// The entry that counts for a question: a denial before a positive answer, but SERVFAIL behind
    /// one. With `prefer_positive` an answer before everything else.
    pub(crate) fn find(&self, config: &Config, key: Key<'_>, hash: u64, now: u64) -> Option<Hit> {
        let stale = config.stale_seconds();
        let usable = |entry: &Entry| key.is(entry) && entry.head().is_usable(now, stale);
        let hit = |shelf, found| Hit {
            shelf,
            found: Held::Found(found),
        };
        if config.prefers_positive()
            && let Some(found) = self.success.find(hash, |entry| key.is(entry))
        {
            let answering = |entry: &Entry| entry.head().answering && usable(entry);
            if found.entry().is_some_and(answering) {
                return Some(hit(Shelf::Success, found));
            }
            if let Some(good) = good(found)
                && good.head().is_usable(now, stale)
            {
                return Some(Hit {
                    shelf: Shelf::Success,
                    found: Held::Good(good),
                });
            }
        }
        if let Some(denial) = self.denial.find(hash, usable) {
            let failed = denial
                .entry()
                .is_some_and(|entry| entry.head().kind == Kind::Failure);
            let found = failed.then(|| self.success.find(hash, usable)).flatten();
            return Some(match found {
                Some(found) => hit(Shelf::Success, found),
                None => hit(Shelf::Denial, denial),
            });
        }
        let found = self.success.find(hash, usable)?;
        Some(hit(Shelf::Success, found))
    }

    /// The positive answer that an entry that is none would hide.
    pub(crate) fn good(&self, key: Key<'_>, hash: u64) -> Option<Entry> {
        good(self.success.find(hash, |entry| key.is(entry))?)
    }

    /// Keeps an entry; returns whether another one had to go. A positive answer is newer than the
    /// denial that may be there.
    pub(crate) fn keep(
        &self,
        config: &Config,
        key: Key<'_>,
        entry: &Entry,
        shelf: Shelf,
        now: u64,
    ) -> bool {
        let (hash, stale) = (entry.head().hash, config.stale_seconds());
        let is = |entry: &Entry| key.is(entry);
        let evicted = self
            .shelf(shelf)
            .insert(hash, entry, is, |head| !head.is_usable(now, stale));
        if shelf == Shelf::Success && (entry.head().answering || !config.prefers_positive()) {
            self.denial.remove(hash, is);
        }
        evicted
    }
}

/// The answer that an entry is or has behind it.
fn good(found: Found) -> Option<Entry> {
    let entry = found.into_entry()?;
    match entry.head().answering {
        true => Some(entry),
        false => entry.head().good.clone(),
    }
}

impl Hit {
    /// Takes the entry along.
    pub(crate) fn with<R>(&self, use_it: impl FnOnce(&Entry) -> R) -> Option<R> {
        match &self.found {
            Held::Found(found) => found.entry().map(use_it),
            Held::Good(entry) => Some(use_it(entry)),
        }
    }

    /// A reference that may be kept.
    pub(crate) fn into_entry(self) -> Option<Entry> {
        match self.found {
            Held::Found(found) => found.into_entry(),
            Held::Good(entry) => Some(entry),
        }
    }
}
