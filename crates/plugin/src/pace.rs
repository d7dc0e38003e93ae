//! How many lines strangers may cause.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::unix_seconds;

/// A bound of log lines that anybody can cause: so many in a second, and the others are not written.
#[derive(Debug)]
pub struct Pace {
    a_second: u64,
    /// Second in the upper part, lines of that second below.
    lines: AtomicU64,
}

impl Pace {
    /// One with so many lines a second, fewer than 65,536.
    pub const fn new(a_second: u16) -> Self {
        Self {
            a_second: a_second as u64,
            lines: AtomicU64::new(0),
        }
    }

    /// Whether there is room for one more line now.
    pub fn admits(&self) -> bool {
        self.admits_at(unix_seconds())
    }

    fn admits_at(&self, second: u64) -> bool {
        let now = second << 16;
        // Another thread may count at the same time: a line more or less does no harm.
        let last = self.lines.load(Relaxed);
        let lines = if last >> 16 == second { last } else { now };
        let room = lines - now < self.a_second;
        if room {
            self.lines.store(lines + 1, Relaxed);
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_a_second_whatever_the_clock_does() {
        let pace = Pace::new(2);
        for (second, room) in [(7, 2), (8, 2), (8, 0), (3, 2), (3, 0), (0, 2)] {
            let admitted = (0..70_000).filter(|_| pace.admits_at(second)).count();
            assert_eq!(admitted, room, "{second}");
        }
    }
}
