//! One answer that is kept: a packed reply in one piece of memory with what is known about it.
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use corten_plugin::wire::{HEADER_OCTETS, Query, Question};
use triomphe::ThinArc;

use crate::config::Prefetch;
use crate::judge::Kind;

/// EDNS Client Subnet (RFC 7871).
pub(crate) const CLIENT_SUBNET: u16 = 8;

/// A reference to an entry: what is known, and octets behind it.
pub(crate) type Entry = ThinArc<Head, u8>;

/// Reading entries.
pub(crate) trait Kept {
    /// What is known.
    fn head(&self) -> &Head;
    /// The packed reply.
    fn packed(&self) -> &[u8];
    /// The wildcard that it was made from.
    fn wildcard(&self) -> Option<&str>;
}

/// What is known about an entry.
pub(crate) struct Head {
    /// The key's hash.
    pub(crate) hash: u64,
    /// When it was made, in milliseconds of the store's clock.
    stored: u64,
    /// What clients are told, and how long it lives, in seconds.
    pub(crate) ttl: u32,
    /// Octets of the packed reply; the name of a wildcard is behind it.
    length: u32,
    /// See [`Key`].
    flags: u8,
    pub(crate) kind: Kind,
    /// The reply holds what was asked.
    pub(crate) answering: bool,
    /// Bit 0: it is being asked for again. The others: not before this time, in milliseconds.
    refresh: AtomicU64,
    /// The upper 40 bits: when it was last asked for, in milliseconds. The others: how often.
    popularity: AtomicU64,
    /// The last answer, where this is none and positive answers are preferred.
    pub(crate) good: Option<Entry>,
}

/// What tells entries apart: the question, and what the reply depends on besides.
///
/// Queries with a client subnet have entries of their own, which hold what is the same for all
/// subnets (RFC 7871 section 7.3.1).
#[derive(Clone, Copy)]
pub(crate) struct Key<'q> {
    question: &'q Question,
    flags: u8,
}

const DNSSEC_OK: u8 = 1;
const CHECKING_DISABLED: u8 = 2;
const SUBNET: u8 = 4;
const HITS_BITS: u32 = 24;

impl<'q> Key<'q> {
    pub(crate) fn of(query: &'q Query) -> Self {
        let mut flags = 0;
        if query.checking_disabled() {
            flags |= CHECKING_DISABLED;
        }
        if let Some(edns) = query.edns() {
            flags |= if edns.dnssec_ok { DNSSEC_OK } else { 0 };
            if query.edns_option(CLIENT_SUBNET).is_some() {
                flags |= SUBNET;
            }
        }
        Self {
            question: &query.question,
            flags,
        }
    }

    pub(crate) fn has_subnet(self) -> bool {
        self.flags & SUBNET != 0
    }

    pub(crate) fn hash(self, state: &impl BuildHasher) -> u64 {
        let mut hasher = state.build_hasher();
        hasher.write(self.question.name.wire());
        let (rtype, class) = (self.question.rtype.0, self.question.class.0);
        hasher.write_u64(u64::from(rtype) << 32 | u64::from(class) << 16 | u64::from(self.flags));
        hasher.finish()
    }

    /// Whether the entry is this key's.
    pub(crate) fn is(self, entry: &Entry) -> bool {
        let name = self.question.name.wire();
        let Some(question) = entry.slice.get(HEADER_OCTETS..) else {
            return false;
        };
        let Some((stored, rest)) = question.split_at_checked(name.len()) else {
            return false;
        };
        entry.head().flags == self.flags
            && stored == name
            && rest.get(..2) == Some(&self.question.rtype.0.to_be_bytes())
            && rest.get(2..4) == Some(&self.question.class.0.to_be_bytes())
    }
}

/// What an entry is made of.
pub(crate) struct Parts<'p> {
    pub(crate) key: Key<'p>,
    pub(crate) hash: u64,
    pub(crate) packed: Vec<u8>,
    /// The wildcard that the answer was made from, as metadata name it.
    pub(crate) wildcard: &'p str,
    pub(crate) kind: Kind,
    pub(crate) answering: bool,
    /// Seconds.
    pub(crate) ttl: u32,
    pub(crate) now: u64,
    pub(crate) popularity: u64,
    pub(crate) good: Option<Entry>,
}

impl Parts<'_> {
    /// Makes the entry: one allocation.
    pub(crate) fn entry(self) -> Entry {
        let mut octets = self.packed;
        let head = Head {
            hash: self.hash,
            stored: self.now,
            ttl: self.ttl,
            length: octets.len() as u32,
            flags: self.key.flags,
            kind: self.kind,
            answering: self.answering,
            refresh: AtomicU64::new(0),
            popularity: AtomicU64::new(self.popularity),
            good: self.good,
        };
        octets.extend_from_slice(self.wildcard.as_bytes());
        Entry::from_header_and_slice(head, &octets)
    }
}

impl Kept for Entry {
    fn head(&self) -> &Head {
        &self.header.header
    }

    fn packed(&self) -> &[u8] {
        &self.slice[..self.head().length as usize]
    }

    fn wildcard(&self) -> Option<&str> {
        let octets = &self.slice[self.head().length as usize..];
        std::str::from_utf8(octets)
            .ok()
            .filter(|name| !name.is_empty())
    }
}

impl Head {
    /// Seconds of the TTL that are left; zero or less when it is over.
    pub(crate) fn left(&self, now: u64) -> i64 {
        let age = now.saturating_sub(self.stored) / 1000;
        i64::from(self.ttl) - i64::try_from(age).unwrap_or(i64::MAX / 2)
    }

    /// Whether it may still be given out, as stale as `stale_seconds` allow; failures never stale
    /// (RFC 2308 section 7.1).
    pub(crate) fn is_usable(&self, now: u64, stale_seconds: i64) -> bool {
        let left = self.left(now);
        left > 0 || self.kind != Kind::Failure && -left < stale_seconds
    }

    /// Claims the next asking; only one at a time, and none within the time after a failure.
    pub(crate) fn begin_refresh(&self, now: u64) -> bool {
        let state = self.refresh.load(Acquire);
        state & 1 == 0
            && state >> 1 <= now
            && self
                .refresh
                .compare_exchange(state, state | 1, Release, Relaxed)
                .is_ok()
    }

    /// Gives the claim back; the next may begin at `again`.
    pub(crate) fn end_refresh(&self, again: u64) {
        self.refresh.store(again << 1, Release);
    }

    /// Counts a hit, and says whether the entry has become popular.
    pub(crate) fn count(&self, prefetch: &Prefetch, now: u64) -> bool {
        let counted = |popularity: u64| {
            let (last, hits) = (popularity >> HITS_BITS, popularity & HITS_MAX);
            let hits = match hits > 0 && now.saturating_sub(last) <= prefetch.gap {
                true => (hits + 1).min(HITS_MAX),
                false => 1,
            };
            now << HITS_BITS | hits
        };
        let mut before = self.popularity.load(Relaxed);
        while let Err(other) =
            self.popularity
                .compare_exchange_weak(before, counted(before), Relaxed, Relaxed)
        {
            before = other;
        }
        counted(before) & HITS_MAX >= u64::from(prefetch.hits).min(HITS_MAX)
    }

    /// Hits so far, for the entry that takes this one's place.
    pub(crate) fn popularity(&self) -> u64 {
        self.popularity.load(Relaxed)
    }
}

const HITS_MAX: u64 = (1 << HITS_BITS) - 1;

/// The claim to ask for an entry again; given back when it is dropped.
pub(crate) struct Claim {
    pub(crate) entry: Entry,
    again: u64,
}

impl Claim {
    /// Claims an entry's next asking.
    pub(crate) fn take(entry: &Entry, now: u64) -> Option<Self> {
        entry.head().begin_refresh(now).then(|| Self {
            entry: entry.clone(),
            again: 0,
        })
    }

    /// The asking failed: no other before this time.
    pub(crate) fn failed(mut self, again: u64) {
        self.again = again;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.entry.head().end_refresh(self.again);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(ttl: u32, now: u64) -> Entry {
        let query = Query::new();
        Parts {
            key: Key::of(&query),
            hash: 0,
            packed: vec![0; 17],
            wildcard: "*.example.",
            kind: Kind::Positive,
            answering: true,
            ttl,
            now,
            popularity: 0,
            good: None,
        }
        .entry()
    }

    #[test]
    fn ttls_count_down_in_whole_seconds() {
        let entry = entry(3, 10_500);
        for (now, left) in [
            (9_000, 3),
            (10_500, 3),
            (11_499, 3),
            (11_500, 2),
            (13_499, 1),
            (13_500, 0),
            (15_500, -2),
        ] {
            assert_eq!(entry.head().left(now), left, "{now}");
        }
        assert!(entry.head().is_usable(13_499, 0) && !entry.head().is_usable(13_500, 0));
        assert!(entry.head().is_usable(15_499, 2) && !entry.head().is_usable(15_500, 2));
        assert_eq!(entry.packed().len(), 17);
        assert_eq!(entry.wildcard(), Some("*.example."));
    }

    #[test]
    fn one_asks_at_a_time_and_waits_after_a_failure() {
        let entry = entry(3, 0);
        let claim = Claim::take(&entry, 5).unwrap();
        assert!(Claim::take(&entry, 5).is_none());
        claim.failed(100);
        assert!(Claim::take(&entry, 99).is_none());
        drop(Claim::take(&entry, 100).unwrap());
        assert!(Claim::take(&entry, 0).is_some(), "a success forgets it");
    }

    #[test]
    fn hits_without_gaps_make_popular() {
        let prefetch = Prefetch {
            hits: 3,
            gap: 1000,
            percent: 10,
        };
        let entry = entry(60, 0);
        let popular: Vec<_> = [0, 10, 1010, 1020, 2021, 2022, 3022]
            .map(|now| entry.head().count(&prefetch, now))
            .into();
        assert_eq!(popular, [false, false, true, true, false, false, true]);
        assert_eq!(entry.head().popularity() & HITS_MAX, 3);
    }

    #[test]
    fn an_entry_has_one_small_head() {
        assert!(size_of::<Head>() <= 56, "{}", size_of::<Head>());
    }
}
