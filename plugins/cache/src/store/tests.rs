use std::collections::HashMap;
use std::sync::atomic::AtomicBool;

use foldhash::quality::RandomState;
use proptest::prelude::*;

use super::*;
use crate::entry::{Kept, Key, Parts};
use crate::judge::Kind;
use crate::tests::kit;

/// An entry for a numbered name with a value in its packed octets.
fn entry(number: u32, value: u8, hash: u64, now: u64) -> Entry {
    let query = query(number);
    let mut reply = corten_plugin::wire::Reply::new();
    reply.start(&query, corten_plugin::wire::Rcode::NOERROR);
    kit::address(&mut reply, 60, value);
    let mut packed = Vec::new();
    assert!(reply.pack(&mut packed));
    Parts {
        key: Key::of(&query),
        hash,
        packed,
        wildcard: "",
        kind: Kind::Positive,
        answering: true,
        ttl: 60,
        now,
        popularity: 0,
        good: None,
    }
    .entry()
}

fn query(number: u32) -> corten_plugin::wire::Query {
    let name = format!("host-{number}.example.org");
    kit::asked(&name, corten_plugin::wire::RecordType::A, "")
}

fn value(store: &Store, number: u32, hash: u64) -> Option<u8> {
    let query = query(number);
    let found = store.find(hash, |entry| Key::of(&query).is(entry))?;
    found
        .entry()
        .and_then(|entry| entry.packed().last().copied())
}

fn insert(store: &Store, number: u32, value: u8, hash: u64) -> bool {
    let query = query(number);
    let is = |entry: &Entry| Key::of(&query).is(entry);
    store.insert(hash, &entry(number, value, hash, 0), is, |_| false)
}

#[derive(Clone, Debug)]
enum Step {
    Insert(u32, u8),
    Remove(u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..60u32, any::<u8>()).prop_map(|(number, value)| Step::Insert(number, value)),
        1 => (0..60u32).prop_map(Step::Remove),
    ];
    proptest::collection::vec(step, 1..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// One shard, hashes of which some are the same: what is found was put there last, a full shard
    /// loses one entry for each that comes, and one that is not full loses none.
    #[test]
    fn a_shard_does_what_a_bounded_map_does(steps in steps(), capacity in 4..40usize, equal in 0..3u32) {
        let store = Store::new(capacity);
        // Mixed, in the first shard; some numbers share a hash.
        let hash = |number: u32| {
            (u64::from(number >> equal) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8
        };
        let mut model: HashMap<u32, u8> = HashMap::new();
        for step in steps {
            match step {
                Step::Insert(number, new) => {
                    let known = model.insert(number, new).is_some();
                    let evicted = insert(&store, number, new, hash(number));
                    prop_assert_eq!(value(&store, number, hash(number)), Some(new));
                    let before = model.len();
                    model.retain(|number, _| value(&store, *number, hash(*number)).is_some());
                    let lost = before - model.len();
                    prop_assert!(!known || !evicted && lost == 0);
                    prop_assert_eq!(lost, usize::from(evicted));
                }
                Step::Remove(number) => {
                    model.remove(&number);
                    let query = query(number);
                    store.remove(hash(number), |entry| Key::of(&query).is(entry));
                    prop_assert_eq!(value(&store, number, hash(number)), None);
                }
            }
            for (number, last) in &model {
                prop_assert_eq!(value(&store, *number, hash(*number)), Some(*last));
            }
            prop_assert_eq!(store.len(), model.len());
            prop_assert!(store.len() <= capacity);
        }
    }
}

#[test]
fn those_that_are_gone_go_first() {
    let store = Store::new(4);
    let gone = |head: &Head| head.left(100_000) <= 0;
    for number in 0..400 {
        let (hash, now) = (
            u64::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8,
            u64::from(number % 4) * 30_000,
        );
        let query = query(number);
        let is = |entry: &Entry| Key::of(&query).is(entry);
        store.insert(hash, &entry(number, 0, hash, now), is, gone);
    }
    assert_eq!(store.len(), 4);
}

#[test]
fn tables_grow_to_two_places_for_each_entry() {
    for (capacity, expected) in [
        (4, &[2][..]),
        (39, &[3, 12]),
        (390, &[1, 7, 28, 112]),
        (3906, &[4, 17, 69, 279, 1116]),
    ] {
        let store = Store::new(capacity);
        let made: Vec<_> = (0..store.tables())
            .map(|number| sets(store.sets_max(), store.tables(), number))
            .collect();
        assert_eq!(made, expected, "{capacity}");
    }
    // More than anybody has memory for is no reason to fail.
    let store = Store::new(usize::MAX / SHARDS);
    assert!(!insert(&store, 1, 1, 1) && value(&store, 1, 1) == Some(1));
}

/// At most 200 octets for each entry beside its encoded answer, and none more when it is full.
#[test]
fn memory_is_small_and_flat() {
    const ENTRIES: u32 = 25_600;
    let hasher = RandomState::default();
    let hash = |number: u32| Key::of(&query(number)).hash(&hasher);
    let mut store = None;
    let idle = allocation_counter::measure(|| {
        store = Some(Store::new(ENTRIES as usize / SHARDS));
    });
    assert!(idle.bytes_current < 1 << 14, "{}", idle.bytes_current);
    let store = store.unwrap();
    let fill = |from: u32| {
        let measured = allocation_counter::measure(|| {
            for number in from..from + ENTRIES {
                insert(&store, number, 0, hash(number));
            }
        });
        measured.bytes_current
    };
    let used = fill(0);
    let kept = (0..ENTRIES).filter(|number| value(&store, *number, hash(*number)).is_some());
    let encoded: usize = kept
        .map(|number| entry(number, 0, 0, 0).packed().len())
        .sum();
    let encoded = i64::try_from(encoded).unwrap();
    let overhead = (used - encoded) / i64::try_from(store.len()).unwrap();
    assert!(overhead <= 150, "{overhead} octets");
    assert!(
        store.len() as f64 > 0.9 * f64::from(ENTRIES),
        "{}",
        store.len()
    );
    // Shards fill unevenly, so a little is still to come.
    let more = fill(ENTRIES);
    let again = fill(2 * ENTRIES);
    assert!(
        more < used / 8 && again < used / 50,
        "{used} {more} {again}"
    );
}

/// Readers see whole entries of theirs, or none, whatever writers do.
#[test]
fn readers_need_no_lock() {
    let store = Store::new(8);
    let stop = AtomicBool::new(false);
    let hash = |number: u32| u64::from(number % 4) << 24 | u64::from(number);
    std::thread::scope(|scope| {
        for writer in 0..2 {
            let (store, stop) = (&store, &stop);
            scope.spawn(move || {
                for round in 0..4_000u32 {
                    let number = (round * 7 + writer) % 24;
                    insert(store, number, number as u8, hash(number));
                }
                stop.store(true, Relaxed);
            });
        }
        for _ in 0..2 {
            scope.spawn(|| {
                let mut found = 0;
                while !stop.load(Relaxed) {
                    for number in 0..24 {
                        if let Some(value) = value(&store, number, hash(number)) {
                            assert_eq!(u32::from(value), number);
                            found += 1;
                        }
                    }
                }
                assert!(found > 0);
            });
        }
    });
    assert!(store.len() <= 8);
}
