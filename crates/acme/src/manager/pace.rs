//! How fast orders may follow one another, whatever many certificates a configuration wants.
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::MutexGuard;
use tokio::time::Instant;

/// Orders that may begin at once.
const AT_ONCE: u32 = 10;
/// Time between those that follow.
const APART: Duration = Duration::from_secs(1);

/// Hands out beginnings: CAs bar who places hundreds of orders at the same time.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    next: Mutex<Option<Instant>>,
    local_ca: tokio::sync::Mutex<()>,
}

impl Pace {
    /// Returns when it is one's turn.
    pub(crate) async fn turn(&self) {
        let wait = self.wait(Instant::now());
        tokio::time::sleep(wait).await;
    }

    /// Returns when it is one's turn at the local CA, which works for one certificate at a time: who
    /// waits here need not look again and again whether others are done.
    pub(crate) async fn turn_at_local_ca(&self) -> MutexGuard<'_, ()> {
        self.local_ca.lock().await
    }

    fn wait(&self, now: Instant) -> Duration {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        // When everything that was handed out would have begun, one after another.
        let until = next.map_or(now, |next| next.max(now));
        *next = Some(until + APART);
        until
            .duration_since(now)
            .saturating_sub(APART * (AT_ONCE - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_begin_at_once_and_the_others_a_second_apart() {
        let (pace, start) = (Pace::default(), Instant::now());
        let waits: Vec<_> = (0..13).map(|_| pace.wait(start).as_secs()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3]);
        let later = start + Duration::from_secs(60);
        assert_eq!(pace.wait(later), Duration::ZERO);
    }
}
