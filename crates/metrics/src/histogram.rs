//! Distributions.
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::{CELLS, cell};

/// How often values lay below each of some bounds, and their sum.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bounds: &'static [f64],
    cells: Box<[Cell]>,
}

/// One worker's share, on cache lines of its own.
#[derive(Debug)]
#[repr(align(128))]
struct Cell {
    /// Values up to each bound and above the one before; the last counts those above all bounds.
    counts: Box<[AtomicU64]>,
    /// Bits of an `f64`.
    sum: AtomicU64,
}

impl Histogram {
    /// An empty one; the bounds rise, and belong to the values below them.
    pub(crate) fn new(bounds: &'static [f64]) -> Self {
        debug_assert!(bounds.is_sorted(), "bounds rise");
        let cells = (0..CELLS)
            .map(|_| Cell {
                // Whole cache lines, so that neighbours on the heap do not share one.
                counts: (0..(bounds.len() + 1).next_multiple_of(16))
                    .map(|_| AtomicU64::new(0))
                    .collect(),
                sum: AtomicU64::new(0f64.to_bits()),
            })
            .collect();
        Self(Arc::new(Inner { bounds, cells }))
    }

    /// Counts a value, in the unit that the metric's name ends in.
    pub fn observe(&self, value: f64) {
        let cell = &self.0.cells[cell()];
        let place = self.0.bounds.partition_point(|bound| *bound < value);
        cell.counts[place].fetch_add(1, Relaxed);
        // The cell is nearly always this thread's alone.
        let mut sum = cell.sum.load(Relaxed);
        while let Err(other) = cell.sum.compare_exchange_weak(
            sum,
            (f64::from_bits(sum) + value).to_bits(),
            Relaxed,
            Relaxed,
        ) {
            sum = other;
        }
    }

    /// How many values there were, and their sum.
    pub fn total(&self) -> (u64, f64) {
        let counts = self.0.cells.iter().flat_map(|cell| &cell.counts);
        let sums = self.0.cells.iter().map(|cell| cell.sum.load(Relaxed));
        (
            counts.map(|count| count.load(Relaxed)).sum(),
            sums.map(f64::from_bits).sum(),
        )
    }

    /// Writes the samples; `labels` is what stands between the braces, without `le`.
    pub(crate) fn expose(&self, text: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut below = 0;
        for (place, bound) in self.0.bounds.iter().enumerate() {
            below += self.count(place);
            let _ = writeln!(
                text,
                "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}"
            );
        }
        below += self.count(self.0.bounds.len());
        let _ = writeln!(text, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {below}");
        let braces = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{labels}}}"),
        };
        let (_, sum) = self.total();
        let _ = writeln!(
            text,
            "{name}_sum{braces} {sum}\n{name}_count{braces} {below}"
        );
    }

    fn count(&self, place: usize) -> u64 {
        let cells = self.0.cells.iter();
        cells.map(|cell| cell.counts[place].load(Relaxed)).sum()
    }
}
