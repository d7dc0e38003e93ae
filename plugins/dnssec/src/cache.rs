//! Signatures that were made, by what they are over.
//!
//! A table of sets with eight places, about two places for each signature of the capacity. Readers compare
//! tags, load a place's pointer and compare the whole key: no lock, nothing written. Writers, who have just made a
//! signature, take the one lock. An entry's octets are bounded by the keys' sizes, so the capacity bounds the
//! memory.
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use corten_dnssec::rrsig::Validity;
use foldhash::quality::RandomState;

/// Places of a set.
const WAYS: usize = 8;

/// What a signature is over: two independent hashes with seeds that nobody knows.
pub(crate) type Key = [u64; 2];

/// The signatures over one RRset.
#[derive(Debug)]
pub(crate) struct Signed {
    key: Key,
    validity: Validity,
    /// Each RDATA with its length in two octets before.
    octets: Box<[u8]>,
}

/// Signatures as they are copied out of the cache: nobody counts who uses them, since cores would
/// write the same number.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    octets: Vec<u8>,
}

/// The signatures over one RRset among the copies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    start: usize,
    end: usize,
}

impl Copies {
    pub(crate) fn clear(&mut self) {
        self.octets.clear();
    }

    pub(crate) fn add(&mut self, signed: &Signed) -> Place {
        let start = self.octets.len();
        self.octets.extend_from_slice(&signed.octets);
        Place {
            start,
            end: self.octets.len(),
        }
    }

    /// RDATA of the RRSIG records.
    pub(crate) fn rdatas(&self, place: Option<Place>) -> impl Iterator<Item = &[u8]> {
        let octets = place.and_then(|place| self.octets.get(place.start..place.end));
        let mut rest = octets.unwrap_or_default();
        std::iter::from_fn(move || {
            let (length, behind) = rest.split_first_chunk()?;
            let length = usize::from(u16::from_be_bytes(*length));
            let (rdata, behind) = behind.split_at_checked(length)?;
            rest = behind;
            Some(rdata)
        })
    }
}

/// A bounded number of signatures.
pub(crate) struct Cache {
    sets: Box<[Set]>,
    capacity: usize,
    entries: AtomicUsize,
    /// Seeds of the keys.
    pub(crate) hashers: [RandomState; 2],
    /// Held by writers; where the next victim is looked for when the cache is full.
    hand: Mutex<usize>,
}

#[derive(Default)]
struct Set {
    /// Part of the key; 0 for a free place.
    tags: [AtomicU32; WAYS],
    places: [ArcSwapOption<Signed>; WAYS],
}

impl Signed {
    pub(crate) fn new(key: Key, validity: Validity, rdatas: &[Vec<u8>]) -> Self {
        let mut octets = Vec::with_capacity(rdatas.iter().map(|rdata| rdata.len() + 2).sum());
        for rdata in rdatas {
            // Signatures have 512 octets at most, and names 255.
            octets.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
            octets.extend_from_slice(rdata);
        }
        Self {
            key,
            validity,
            octets: octets.into(),
        }
    }
}

fn tag_of(key: &Key) -> u32 {
    (key[1] >> 32) as u32 | 1
}

impl Cache {
    /// An empty one.
    pub(crate) fn new(capacity: usize) -> Self {
        let sets = (2 * capacity).div_ceil(WAYS).next_power_of_two();
        Self {
            sets: (0..sets).map(|_| Set::default()).collect(),
            capacity,
            entries: AtomicUsize::new(0),
            hashers: Default::default(),
            hand: Mutex::new(0),
        }
    }

    /// How many RRsets have signatures here.
    pub(crate) fn len(&self) -> usize {
        self.entries.load(Relaxed)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    fn set_of(&self, key: &Key) -> &Set {
        // The number of sets is a power of two.
        &self.sets[key[0] as usize & (self.sets.len() - 1)]
    }

    /// Copies the signatures of a key that are valid at a moment in seconds since 1970, and tells
    /// when they are.
    pub(crate) fn copy(&self, key: &Key, now: u32, to: &mut Copies) -> Option<(Place, Validity)> {
        let set = self.set_of(key);
        let tagged = |tag: &AtomicU32| tag.load(Acquire) == tag_of(key);
        set.tags
            .iter()
            .zip(&set.places)
            .filter(|(tag, _)| tagged(tag))
            .find_map(|(_, place)| {
                let place = place.load();
                let signed = place.as_ref().filter(|signed| signed.key == *key)?;
                let valid = signed.validity.contains(now);
                valid.then(|| (to.add(signed), signed.validity))
            })
    }

    /// Keeps signatures, in place of older ones of the same key. A full cache, or set, loses another.
    pub(crate) fn insert(&self, signed: Arc<Signed>) {
        let mut hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
        let set = self.set_of(&signed.key);
        let is_same = |place: &ArcSwapOption<Signed>| {
            place
                .load()
                .as_ref()
                .is_some_and(|old| old.key == signed.key)
        };
        if let Some(place) = set.places.iter().find(|place| is_same(place)) {
            place.store(Some(signed));
            return;
        }
        let free = set.tags.iter().position(|tag| tag.load(Relaxed) == 0);
        let way = match free {
            Some(way) => {
                if self.len() >= self.capacity {
                    self.evict(&mut hand);
                }
                self.entries.fetch_add(1, Relaxed);
                way
            }
            None => {
                *hand = hand.wrapping_add(1);
                *hand % WAYS
            }
        };
        let tag = tag_of(&signed.key);
        set.tags[way].store(0, Release);
        set.places[way].store(Some(signed));
        set.tags[way].store(tag, Release);
    }

    /// Frees the next place that is taken, as the hand of a clock goes.
    fn evict(&self, hand: &mut usize) {
        for _ in 0..self.sets.len() * WAYS {
            *hand = hand.wrapping_add(1);
            let set = &self.sets[*hand / WAYS % self.sets.len()];
            if set.free(*hand % WAYS) {
                self.entries.fetch_sub(1, Relaxed);
                return;
            }
        }
    }

    /// Forgets signatures that are no longer valid at a moment in seconds since 1970.
    pub(crate) fn sweep(&self, moment: u32) {
        let _hand = self.hand.lock().unwrap_or_else(PoisonError::into_inner);
        for set in &self.sets {
            for (way, place) in set.places.iter().enumerate() {
                let over = place
                    .load()
                    .as_ref()
                    .is_some_and(|signed| !signed.validity.contains(moment));
                if over && set.free(way) {
                    self.entries.fetch_sub(1, Relaxed);
                }
            }
        }
    }
}

impl Set {
    /// Frees a place; returns whether it was taken.
    fn free(&self, way: usize) -> bool {
        if self.tags[way].swap(0, Release) == 0 {
            return false;
        }
        self.places[way].store(None);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(number: u64, expiration: u32) -> Arc<Signed> {
        let validity = Validity {
            inception: 0,
            expiration,
        };
        let key = [number, number << 33];
        Arc::new(Signed::new(key, validity, &[vec![1, 2], vec![3]]))
    }

    fn find(cache: &Cache, number: u64) -> Option<Validity> {
        let mut copies = Copies::default();
        let (place, validity) = cache.copy(&[number, number << 33], 5, &mut copies)?;
        let rdatas: Vec<_> = copies.rdatas(Some(place)).collect();
        assert_eq!(rdatas, [&[1, 2][..], &[3]]);
        Some(validity)
    }

    #[test]
    fn signatures_are_found_until_another_needs_the_place() {
        let cache = Cache::new(100);
        for number in 0..1_000u64 {
            cache.insert(signed(number, 10));
            assert!(find(&cache, number).is_some());
            assert!(cache.len() <= 100);
        }
        let kept = (0..1_000).filter(|number| find(&cache, *number).is_some());
        assert_eq!(kept.count(), cache.len());
        assert!(cache.len() > 90, "{}", cache.len());
    }

    #[test]
    fn a_newer_signature_takes_the_older_ones_place() {
        let cache = Cache::new(1_024);
        cache.insert(signed(1, 10));
        cache.insert(signed(1, 20));
        assert_eq!(cache.len(), 1);
        assert_eq!(find(&cache, 1).unwrap().expiration, 20);
        let mut copies = Copies::default();
        assert!(cache.copy(&[1, 1], 5, &mut copies).is_none());
        // What is no longer valid is not found.
        assert!(cache.copy(&[1, 1 << 33], 21, &mut copies).is_none());
        assert_eq!(copies.rdatas(None).count(), 0);
    }

    #[test]
    fn what_has_expired_is_swept() {
        let cache = Cache::new(1_024);
        cache.insert(signed(1, 10));
        cache.insert(signed(2, 20));
        cache.sweep(15);
        assert_eq!(cache.len(), 1);
        assert!(find(&cache, 1).is_none() && find(&cache, 2).is_some());
    }
}
