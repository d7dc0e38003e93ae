//! The generation that is being served, and word of another one.
//!
//! Whatever serves asks at each turn whether there is another generation, so that asking must cost
//! next to nothing: everybody has a place for its waker that it shares with nobody, and a version
//! number to look at. The one who publishes looks through the places.
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;

use arc_swap::ArcSwap;
use atomic_waker::AtomicWaker;
use slab::Slab;

use crate::generation::Generation;

/// Where generations are published.
pub(crate) struct Publisher(Arc<Shared>);

struct Shared {
    generation: ArcSwap<Generation>,
    /// How many were published.
    version: AtomicU64,
    /// One for each [`Current`]. The lock is taken when one comes or goes, and to publish.
    places: Mutex<Slab<Arc<AtomicWaker>>>,
}

impl Shared {
    fn places(&self) -> MutexGuard<'_, Slab<Arc<AtomicWaker>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Publisher {
    pub(crate) fn new(generation: Arc<Generation>) -> Self {
        Self(Arc::new(Shared {
            generation: ArcSwap::new(generation),
            version: AtomicU64::new(0),
            places: Mutex::default(),
        }))
    }

    /// Has this generation served from now on.
    pub(crate) fn publish(&self, generation: Arc<Generation>) {
        self.0.generation.store(generation);
        self.0.version.fetch_add(1, Ordering::Release);
        for (_, place) in self.0.places().iter() {
            place.wake();
        }
    }

    /// The generation that is served.
    pub(crate) fn generation(&self) -> Arc<Generation> {
        self.0.generation.load_full()
    }

    /// For somebody who serves it.
    pub(crate) fn subscribe(&self) -> Current {
        Current::new(&self.0, self.0.version.load(Ordering::Acquire))
    }
}

/// The generation that is being served, as every socket's task sees it.
pub(crate) struct Current {
    shared: Arc<Shared>,
    /// The version that its owner knows of, or one before it.
    seen: u64,
    waker: Arc<AtomicWaker>,
    place: usize,
}

impl Current {
    fn new(shared: &Arc<Shared>, seen: u64) -> Self {
        let waker = Arc::new(AtomicWaker::new());
        Self {
            shared: Arc::clone(shared),
            seen,
            place: shared.places().insert(Arc::clone(&waker)),
            waker,
        }
    }

    /// The generation that is served; it is no news any more.
    pub(crate) fn take(&mut self) -> Arc<Generation> {
        // In this order: one that is published in between is reported once too often, not missed.
        self.seen = self.shared.version.load(Ordering::Acquire);
        self.generation()
    }

    /// The generation that is served.
    pub(crate) fn generation(&self) -> Arc<Generation> {
        self.shared.generation.load_full()
    }

    /// Waits for another generation than the one that was taken last, and takes it. Nothing is lost
    /// when the future is dropped.
    pub(crate) async fn changed(&mut self) -> Arc<Generation> {
        poll_fn(|context| {
            self.waker.register(context.waker());
            match self.shared.version.load(Ordering::Acquire) == self.seen {
                true => Poll::Pending,
                false => Poll::Ready(()),
            }
        })
        .await;
        self.take()
    }
}

impl Clone for Current {
    fn clone(&self) -> Self {
        Self::new(&self.shared, self.seen)
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        self.shared.places().remove(self.place);
    }
}

impl fmt::Debug for Current {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Current")
            .field("seen", &self.seen)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn generation() -> Arc<Generation> {
        Arc::new(Generation::nothing())
    }

    async fn is_silent(current: &mut Current) -> bool {
        timeout(Duration::from_millis(1), current.changed())
            .await
            .is_err()
    }

    #[tokio::test]
    async fn everybody_hears_of_a_generation_once() {
        let (first, second) = (generation(), generation());
        let publisher = Publisher::new(Arc::clone(&first));
        let mut one = publisher.subscribe();
        let mut other = one.clone();
        assert!(Arc::ptr_eq(&one.take(), &first) && is_silent(&mut one).await);
        let waits = tokio::spawn(async move { (one.changed().await, one) });
        tokio::task::yield_now().await;
        publisher.publish(Arc::clone(&second));
        let (new, mut one) = waits.await.unwrap();
        assert!(Arc::ptr_eq(&new, &second) && is_silent(&mut one).await);
        // Whoever did not wait at the time hears of it as well, and so does whoever asks for one
        // that has not heard.
        let mut late = other.clone();
        assert!(Arc::ptr_eq(&other.changed().await, &second));
        assert!(Arc::ptr_eq(&late.changed().await, &second));
        assert!(is_silent(&mut publisher.subscribe()).await);
    }

    #[tokio::test]
    async fn those_who_have_gone_leave_nothing_behind() {
        let publisher = Publisher::new(generation());
        let kept = publisher.subscribe();
        for _ in 0..3 {
            let mut gone = kept.clone();
            assert!(is_silent(&mut gone).await);
        }
        publisher.publish(generation());
        assert_eq!(publisher.0.places().len(), 1);
        drop(kept);
        assert!(publisher.0.places().is_empty());
    }
}
