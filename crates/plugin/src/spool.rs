//! Octets that many threads put down and one takes away: log lines, frames for a collector.
use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Memory of a shard that is kept when it is empty, in octets.
const KEPT_OCTETS: usize = 1 << 20;

/// How much may wait in a [`Spool`], for each thread that fills it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolLimit {
    /// Entries.
    pub entries: usize,
    /// Octets.
    pub octets: usize,
}

/// Entries of octets on their way from the threads that answer queries to one that writes them
/// somewhere.
///
/// Every thread fills a shard of its own; the reader exchanges the shard's buffer for an empty one,
/// which takes some nanoseconds, and is the only other who ever holds its lock. Nothing is
/// allocated once the buffers have grown. What finds its shard full is lost, and counted. Entries of
/// one thread keep their order, and so do those that are [put down in order](Self::push_in_order).
pub struct Spool {
    shards: Box<[Shard]>,
    limit: SpoolLimit,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// Cache lines of their own: neighbours belong to other cores.
#[repr(align(128))]
#[derive(Default)]
struct Shard(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    octets: Vec<u8>,
    entries: usize,
    lost: u64,
}

impl Shard {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spool {
    /// An empty one. `wake` is called when a shard that was empty gets an entry: it should have the
    /// reader come soon, and must not wait.
    pub fn new(limit: SpoolLimit, wake: impl Fn() + Send + Sync + 'static) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = 1 + (2 * threads).next_power_of_two();
        Self {
            shards: (0..shards).map(|_| Shard::default()).collect(),
            limit,
            wake: Box::new(wake),
        }
    }

    /// Puts an entry down; false when there was no room for it.
    pub fn push(&self, entry: &[u8]) -> bool {
        // The first shard is for those that keep their order.
        self.put(1 + (place() & (self.shards.len() - 2)), entry)
    }

    /// The same, behind all entries of any thread that were put down so. Threads wait for one another:
    /// not for what comes with each query.
    pub fn push_in_order(&self, entry: &[u8]) -> bool {
        self.put(0, entry)
    }

    fn put(&self, shard: usize, entry: &[u8]) -> bool {
        let mut inner = self.shards[shard].lock();
        let full = inner.entries >= self.limit.entries
            || inner.octets.len() + entry.len() > self.limit.octets;
        if full {
            inner.lost += 1;
            return false;
        }
        inner.octets.extend_from_slice(entry);
        inner.entries += 1;
        let first = inner.entries == 1;
        drop(inner);
        if first {
            (self.wake)();
        }
        true
    }

    /// For the reader: takes away what waits, shard by shard, and hands it to `each` with the
    /// number of entries. `spare` is a buffer that is used again and again.
    pub fn drain(&self, spare: &mut Vec<u8>, mut each: impl FnMut(&[u8], usize)) {
        for shard in &self.shards {
            spare.clear();
            if spare.capacity() > KEPT_OCTETS {
                *spare = Vec::new();
            }
            let mut inner = shard.lock();
            if inner.entries == 0 {
                continue;
            }
            std::mem::swap(&mut inner.octets, spare);
            let entries = std::mem::take(&mut inner.entries);
            drop(inner);
            each(spare, entries);
        }
    }

    /// For the reader: how many entries were lost since it asked last.
    pub fn take_lost(&self) -> u64 {
        let lost = self.shards.iter();
        lost.map(|shard| std::mem::take(&mut shard.lock().lost))
            .sum()
    }
}

impl fmt::Debug for Spool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spool")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A small number of this thread's own.
fn place() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static PLACE: Cell<usize> = Cell::new(THREADS.fetch_add(1, Relaxed)));
    // While a thread ends its locals may be gone; any shard will do then.
    PLACE.try_with(Cell::get).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn read(spool: &Spool) -> (String, usize) {
        let (mut text, mut count) = (String::new(), 0);
        spool.drain(&mut Vec::new(), |octets, entries| {
            text.push_str(std::str::from_utf8(octets).unwrap());
            count += entries;
        });
        (text, count)
    }

    #[test]
    fn entries_keep_their_order_and_the_reader_is_woken_once() {
        let woken = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&woken);
        let limit = SpoolLimit {
            entries: 3,
            octets: 8,
        };
        let spool = Spool::new(limit, move || {
            counter.fetch_add(1, Relaxed);
        });
        assert!(spool.push(b"one ") && spool.push(b"two "));
        assert!(!spool.push(b"x"), "too many octets");
        assert_eq!(
            (read(&spool), woken.load(Relaxed)),
            (("one two ".into(), 2), 1)
        );
        for _ in 0..3 {
            assert!(spool.push(b"."));
        }
        assert!(!spool.push(b"."), "too many entries");
        assert_eq!((read(&spool), woken.load(Relaxed)), (("...".into(), 3), 2));
        assert_eq!((spool.take_lost(), spool.take_lost()), (2, 0));
        assert_eq!(read(&spool), (String::new(), 0));
    }

    #[test]
    fn what_threads_put_down_in_order_stays_in_order() {
        let limit = SpoolLimit {
            entries: 9,
            octets: 99,
        };
        let spool = Arc::new(Spool::new(limit, || ()));
        let push = |text: &'static [u8]| {
            let spool = Arc::clone(&spool);
            let pushes = std::thread::spawn(move || {
                assert!(spool.push(b"-"));
                assert!(spool.push_in_order(text));
            });
            pushes.join().unwrap();
        };
        for text in [b"one ".as_slice(), b"two ", b"three ", b"four "] {
            push(text);
        }
        assert_eq!(read(&spool), ("one two three four ----".into(), 8));
    }

    #[test]
    fn nothing_is_lost_or_torn_between_threads() {
        let limit = SpoolLimit {
            entries: usize::MAX,
            octets: usize::MAX,
        };
        let spool = Arc::new(Spool::new(limit, || ()));
        let writers: Vec<_> = (0..8)
            .map(|number: u8| {
                let spool = Arc::clone(&spool);
                std::thread::spawn(move || {
                    for _ in 0..1000 {
                        spool.push(&[b'a' + number; 10]);
                    }
                })
            })
            .collect();
        let mut all = String::new();
        while all.len() < 80_000 {
            all.push_str(&read(&spool).0);
        }
        for writer in writers {
            writer.join().unwrap();
        }
        let entries: Vec<_> = all.as_bytes().chunks(10).collect();
        assert!(
            entries
                .iter()
                .all(|entry| entry.iter().all(|octet| octet == &entry[0]))
        );
        assert_eq!(
            entries.iter().filter(|entry| entry[0] == b'c').count(),
            1000
        );
    }
}
