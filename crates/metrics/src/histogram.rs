//! Distributions.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::cells::{self, Line, Own};

/// How often values lay below each of some bounds, and their sum.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: &'static [f64],
    /// Lines of one cell: for each bound the values up to it and above the one before, then those
    /// above all bounds, then the sum as the bits of an `f64`.
    lines_per_cell: usize,
    lines: Box<[Line]>,
}

impl Histogram {
    /// An empty one; the bounds rise, and belong to the values below them.
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        debug_assert!(bounds.is_sorted(), "bounds rise");
        let lines_per_cell = (bounds.len() + 2).div_ceil(Line::NUMBERS);
        Self(Arc::new(Inner {
            bounds,
            lines_per_cell,
            lines: Line::zeros(cells::count() * lines_per_cell),
        }))
    }

    /// Counts a value, in the unit that the metric's name ends in.
    pub fn observe(&self, value: f64) {
        let inner = &*self.0;
        // Most values lie below one of the first bounds, so looking in order is quickest.
        let place = inner.bounds.iter().position(|bound| value <= *bound);
        let own = Own::get();
        own.add(
            inner.number(own.index(), place.unwrap_or(inner.bounds.len())),
            1,
        );
        own.add_float(inner.number(own.index(), inner.bounds.len() + 1), value);
    }

    /// How many values there were, and their sum.
    pub fn total(&self) -> (u64, f64) {
        let counts = (0..=self.0.bounds.len()).map(|place| self.0.count(place));
        (counts.sum(), self.sum())
    }

    pub(crate) fn sum(&self) -> f64 {
        (0..cells::count())
            .map(|cell| self.0.number(cell, self.0.bounds.len() + 1))
            .map(|bits| f64::from_bits(bits.load(Relaxed)))
            .sum()
    }

    /// Each bound with the number of values up to it; the last is infinity.
    pub(crate) fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = self.0.bounds.iter().copied().chain([f64::INFINITY]);
        let mut below = 0;
        bounds
            .enumerate()
            .map(|(place, bound)| {
                below += self.0.count(place);
                (bound, below)
            })
            .collect()
    }
}

impl Inner {
    fn number(&self, cell: usize, place: usize) -> &AtomicU64 {
        let line = cell * self.lines_per_cell + place / Line::NUMBERS;
        &self.lines[line].0[place % Line::NUMBERS]
    }

    fn count(&self, place: usize) -> u64 {
        (0..cells::count())
            .map(|cell| self.number(cell, place).load(Relaxed))
            .sum()
    }
}
