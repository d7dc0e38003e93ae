//! Whose a zone's journal is, where several want it.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Goes up with every directive that is set up or started.
static CLOCK: AtomicU64 = AtomicU64::new(1);

/// One directive of one generation of the configuration.
#[derive(Debug)]
pub(crate) struct Owner {
    set_up: u64,
    /// 0 for not yet.
    started: AtomicU64,
}

impl Owner {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            set_up: CLOCK.fetch_add(1, Relaxed),
            started: AtomicU64::new(0),
        })
    }

    /// It is about to serve.
    pub(crate) fn start(&self) {
        self.started.store(CLOCK.fetch_add(1, Relaxed), Relaxed);
    }

    /// Whether it is the same, or of a later generation: all directives of one are set up before any
    /// of them is started.
    pub(crate) fn follows(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.set_up > other.started.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_generation_follows_and_a_neighbour_does_not() {
        let (one, other) = (Owner::new(), Owner::new());
        one.start();
        other.start();
        let next = Owner::new();
        next.start();
        assert!(one.follows(&one) && next.follows(&one) && next.follows(&other));
        assert!(!one.follows(&other) && !other.follows(&one) && !one.follows(&next));
    }
}
