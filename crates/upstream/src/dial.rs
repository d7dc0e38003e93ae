//! How long a connection may take to open.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Before anything is known.
const FIRST: Duration = Duration::from_millis(1500);
const LIMIT_MIN: Duration = Duration::from_secs(1);
/// Longer than this no client waits for its answer.
const LIMIT_MAX: Duration = Duration::from_secs(4);
/// Share of the newest value in the average, as one in so many.
const WEIGHT: u64 = 4;

/// A moving average of the time that connections to one server took, in microseconds.
pub(crate) struct Dial(AtomicU64);

impl Dial {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(FIRST.as_micros() as u64))
    }

    /// Twice the average, within bounds.
    pub(crate) fn limit(&self) -> Duration {
        Duration::from_micros(2 * self.0.load(Relaxed)).clamp(LIMIT_MIN, LIMIT_MAX)
    }

    /// Notes how long one took.
    pub(crate) fn took(&self, time: Duration) {
        let (old, new) = (self.0.load(Relaxed), time.as_micros() as u64);
        // Two at a time may lose one of both; it is an average.
        self.0.store(old - old / WEIGHT + new / WEIGHT, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_follows_what_connections_take() {
        let dial = Dial::new();
        assert_eq!(dial.limit(), 2 * FIRST);
        for _ in 0..50 {
            dial.took(Duration::from_millis(3));
        }
        assert_eq!(dial.limit(), LIMIT_MIN);
        for _ in 0..50 {
            dial.took(Duration::from_secs(20));
        }
        assert_eq!(dial.limit(), LIMIT_MAX);
    }
}
