//! What comes before the first query of a connection: a PROXY header, a handshake.
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{timeout, timeout_at};

use crate::current::Current;
use crate::generation::{Generation, Listener};
use crate::limits;

/// A connection that has been accepted and has asked nothing.
pub(crate) struct Arriving {
    pub(crate) listener: Listener,
    /// The generation that accepted it, or a later one that has its listener: nobody who makes others
    /// wait keeps an old one alive.
    pub(crate) generation: Arc<Generation>,
    pub(crate) current: Current,
    /// When it has to be there, once its address is no longer served.
    until: Option<Instant>,
}

impl Arriving {
    pub(crate) fn new(listener: Listener, generation: Arc<Generation>, current: Current) -> Self {
        let is_served = current.generation().tables.contains_key(&listener);
        Self {
            listener,
            generation,
            current,
            until: (!is_served).then(last_moment),
        }
    }

    /// Waits for something of the client, no longer than `limit`. A client whose address is no longer
    /// served meanwhile may still finish, if it is quick.
    pub(crate) async fn wait<T>(
        &mut self,
        limit: Duration,
        work: impl Future<Output = io::Result<T>>,
    ) -> io::Result<T> {
        let mut work = pin!(timeout(limit, work));
        loop {
            if let Some(until) = self.until {
                return timeout_at(until.into(), work).await??;
            }
            tokio::select! {
                biased;
                done = &mut work => return done?,
                new = self.current.changed() => match new.tables.contains_key(&self.listener) {
                    true => self.generation = new,
                    false => self.until = Some(last_moment()),
                },
            }
        }
    }

    /// The generation that serves it from now on, and word of others; until when it is heard, where its
    /// address is no longer served: then the one that accepted it does.
    pub(crate) fn arrived(mut self) -> (Arc<Generation>, Current, Option<Instant>) {
        let current = self.current.take();
        match current.tables.contains_key(&self.listener) {
            true => (current, self.current, None),
            false => {
                let until = Instant::now() + limits::LAST_WORDS;
                (self.generation, self.current, Some(until))
            }
        }
    }
}

fn last_moment() -> Instant {
    Instant::now() + limits::LAST_HANDSHAKE
}
