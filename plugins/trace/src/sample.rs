//! Which queries are traced: one of so many.
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Counters; more threads than that share.
const CELLS: usize = 64;

/// Takes every N-th query of each thread, so that threads have nothing to agree on.
pub(crate) struct Sample {
    every: u64,
    cells: Box<[Padded; CELLS]>,
}

/// Cache lines of its own.
#[repr(align(128))]
struct Padded(AtomicU64);

impl Sample {
    /// `every` 0: none.
    pub(crate) fn new(every: u64) -> Self {
        Self {
            every,
            cells: Box::new([const { Padded(AtomicU64::new(0)) }; CELLS]),
        }
    }

    /// Whether this query is one.
    pub(crate) fn takes(&self) -> bool {
        match self.every {
            0 => false,
            1 => true,
            every => {
                (self.cells[place() % CELLS].0.fetch_add(1, Relaxed) + 1).is_multiple_of(every)
            }
        }
    }
}

fn place() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static PLACE: Cell<usize> = Cell::new(THREADS.fetch_add(1, Relaxed)));
    PLACE.try_with(Cell::get).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_so_many_is_taken() {
        for (every, taken) in [(0, 0), (1, 12), (3, 4), (12, 1), (13, 0)] {
            let sample = Sample::new(every);
            assert_eq!((0..12).filter(|_| sample.takes()).count(), taken);
        }
    }
}
