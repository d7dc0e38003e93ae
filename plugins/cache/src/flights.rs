//! Queries under way, so that those who ask the same at the same time wait for one answer.
use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use corten_plugin::wire::Rcode;
use foldhash::fast::RandomState;
use tokio::sync::Notify;

use crate::entry::Entry;

/// Locks that those who miss share.
const SHARDS: usize = 64;

/// What is being asked for, by hash.
pub(crate) struct Flights(Box<[Shard]>);

type Shard = Mutex<HashMap<u64, Arc<Flight>, RandomState>>;

/// One query under way.
pub(crate) struct Flight {
    outcome: OnceLock<Outcome>,
    landed: Notify,
    followers: AtomicUsize,
}

/// How it ended.
#[derive(Clone)]
pub(crate) enum Outcome {
    /// With a reply, whether it is kept or not.
    Reply(Entry),
    /// With a failure of our own, and what it said.
    Failed(Rcode, Arc<str>),
    /// Without anything that others could have.
    Nothing,
}

/// Who asks, and who waits.
pub(crate) enum Join {
    Lead(Lead),
    Follow(Arc<Flight>),
}

/// The duty to ask; whoever drops it leaves it to another.
pub(crate) struct Lead {
    flights: Arc<Flights>,
    hash: u64,
    flight: Arc<Flight>,
    landed: bool,
}

impl Flights {
    pub(crate) fn new() -> Arc<Self> {
        let shards = (0..SHARDS).map(|_| Shard::default()).collect();
        Arc::new(Self(shards))
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, HashMap<u64, Arc<Flight>, RandomState>> {
        self.0[hash as usize % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Leads, or follows whoever leads already. A follower must look whether the outcome is about
    /// its own question: flights are told apart by their hash alone.
    pub(crate) fn join(self: &Arc<Self>, hash: u64) -> Join {
        let mut shard = self.shard(hash);
        if let Some(flight) = shard.get(&hash) {
            flight.followers.fetch_add(1, Relaxed);
            return Join::Follow(Arc::clone(flight));
        }
        let flight = Arc::new(Flight {
            outcome: OnceLock::new(),
            landed: Notify::new(),
            followers: AtomicUsize::new(0),
        });
        shard.insert(hash, Arc::clone(&flight));
        Join::Lead(Lead {
            flights: Arc::clone(self),
            hash,
            flight,
            landed: false,
        })
    }
}

impl Lead {
    /// The flight, for a leader that waits for its end as well.
    pub(crate) fn follow(&self) -> Arc<Flight> {
        self.flight.followers.fetch_add(1, Relaxed);
        Arc::clone(&self.flight)
    }

    /// Ends the flight; `outcome` is only asked for when somebody waits.
    pub(crate) fn land(mut self, outcome: impl FnOnce() -> Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: impl FnOnce() -> Outcome) {
        if std::mem::replace(&mut self.landed, true) {
            return;
        }
        self.flights.shard(self.hash).remove(&self.hash);
        // Nobody joins any more.
        if self.flight.followers.load(Relaxed) > 0 {
            let _ = self.flight.outcome.set(outcome());
            self.flight.landed.notify_waiters();
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.end(|| Outcome::Nothing);
    }
}

impl Flight {
    /// Waits for the end.
    pub(crate) async fn outcome(&self) -> Outcome {
        loop {
            let landed = self.landed.notified();
            tokio::pin!(landed);
            // From here on a notification is not missed.
            landed.as_mut().enable();
            if let Some(outcome) = self.outcome.get() {
                return outcome.clone();
            }
            landed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follow(flights: &Arc<Flights>) -> Arc<Flight> {
        match flights.join(7) {
            Join::Follow(flight) => flight,
            Join::Lead(_) => panic!("somebody leads"),
        }
    }

    fn lead(flights: &Arc<Flights>) -> Lead {
        match flights.join(7) {
            Join::Lead(lead) => lead,
            Join::Follow(_) => panic!("nobody leads"),
        }
    }

    #[tokio::test]
    async fn followers_get_the_outcome_and_the_next_leads() {
        let flights = Flights::new();
        let leader = lead(&flights);
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let flight = follow(&flights);
                tokio::spawn(async move { flight.outcome().await })
            })
            .collect();
        let late = follow(&flights);
        tokio::task::yield_now().await;
        leader.land(|| Outcome::Failed(Rcode::SERVFAIL, "down".into()));
        for task in waiting {
            let outcome = task.await.unwrap();
            assert!(matches!(outcome, Outcome::Failed(Rcode::SERVFAIL, text) if &*text == "down"));
        }
        assert!(matches!(late.outcome().await, Outcome::Failed(..)));
        drop(lead(&flights));
    }

    #[tokio::test]
    async fn a_leader_that_goes_leaves_nothing() {
        let flights = Flights::new();
        let leader = lead(&flights);
        let flight = follow(&flights);
        drop(leader);
        assert!(matches!(flight.outcome().await, Outcome::Nothing));
        lead(&flights).land(|| panic!("nobody waits"));
    }
}
