//! Which of a number's cells a thread counts in.
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Threads beyond the processor's that get a cell of their own: the main thread, the log's writer.
const SPARE: usize = 4;
/// Most cells of a number; machines with more cores have the rest share one.
const CELLS_MAX: usize = 128;
/// A thread that has not counted yet.
const NOT_YET: usize = usize::MAX;
/// The cell of all threads that came too late for one of their own.
const SHARED: usize = 0;

/// Cells of every number: one that is shared, and one for each of the first threads that count.
pub(crate) fn count() -> usize {
    static COUNT: OnceLock<usize> = OnceLock::new();
    *COUNT.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        (1 + cores + SPARE).min(CELLS_MAX)
    })
}

/// The calling thread's cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own(usize);

impl Own {
    /// Finds it; the first call of a thread takes one.
    pub(crate) fn get() -> Self {
        thread_local!(static OWN: Cell<usize> = const { Cell::new(NOT_YET) });
        Self(OWN.with(|own| match own.get() {
            NOT_YET => {
                own.set(take());
                own.get()
            }
            index => index,
        }))
    }

    /// Its place among the cells.
    pub(crate) fn index(self) -> usize {
        self.0
    }

    /// Adds to a number in this cell.
    ///
    /// A cell that belongs to one thread is written by nobody else, ever: reading and storing is
    /// enough, and cheaper than an instruction that locks the line.
    pub(crate) fn add(self, number: &AtomicU64, more: u64) {
        match self.0 {
            SHARED => {
                number.fetch_add(more, Relaxed);
            }
            _ => number.store(number.load(Relaxed).wrapping_add(more), Relaxed),
        }
    }

    /// The same for the bits of an `f64`.
    pub(crate) fn add_float(self, number: &AtomicU64, more: f64) {
        let add = |bits| (f64::from_bits(bits) + more).to_bits();
        match self.0 {
            SHARED => {
                let _ = number.fetch_update(Relaxed, Relaxed, |bits| Some(add(bits)));
            }
            _ => number.store(add(number.load(Relaxed)), Relaxed),
        }
    }
}

/// Gives out cells in order; none is given twice, also when its thread has ended.
#[cold]
fn take() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(SHARED + 1);
    match NEXT.fetch_add(1, Relaxed) {
        index if index < count() => index,
        _ => {
            // Not to overflow, should there be very many threads.
            NEXT.store(count(), Relaxed);
            SHARED
        }
    }
}

/// Numbers on cache lines of their own; 128 octets, because processors fetch lines in pairs.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Line(pub(crate) [AtomicU64; Self::NUMBERS]);

impl Line {
    /// Numbers of a line.
    pub(crate) const NUMBERS: usize = 16;

    /// Lines of zeros.
    pub(crate) fn zeros(count: usize) -> Box<[Self]> {
        (0..count)
            .map(|_| Self([const { AtomicU64::new(0) }; Self::NUMBERS]))
            .collect()
    }
}
