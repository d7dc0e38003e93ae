//! Random numbers that cost a few cycles, of each thread's own.
//!
//! Nobody gains by guessing the order of addresses, so they need not be secret.
use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};

/// A number below `sides`, which is not zero.
pub(crate) fn roll(sides: usize) -> usize {
    thread_local!(static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(0)));
    // SplitMix64 (Steele, Lea, Flood 2014).
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mut number = state;
    number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^= number >> 31;
    // The upper half of the product: no division, and no bias that anybody could see.
    ((u128::from(number) * sides as u128) >> 64) as usize
}

/// Every order is as likely as any other (Fisher and Yates).
pub(crate) fn shuffle<T>(items: &mut [T]) {
    for last in (1..items.len()).rev() {
        items.swap(last, roll(last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_order_comes_about_as_often() {
        let mut seen = HashMap::new();
        for _ in 0..24_000 {
            let mut items = [1, 2, 3, 4];
            shuffle(&mut items);
            *seen.entry(items).or_insert(0) += 1;
        }
        assert_eq!(seen.len(), 24);
        assert!(
            seen.values().all(|count| (700..1300).contains(count)),
            "{seen:?}"
        );
    }
}
