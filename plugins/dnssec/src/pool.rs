//! Threads that sign, so that query workers need not.
//!
//! One pool serves the process. Its queue is bounded, and so is the time that work waits in it: what
//! cannot be signed soon is better refused, since the client has asked again by then. RRsets that several queries
//! want at once are signed once.
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use corten_dnssec::canonical::Rrset;
use corten_dnssec::rrsig::{Terms, Validity};
use corten_plugin::wire::Name;
use foldhash::fast::RandomState;
use tokio::sync::oneshot;

use crate::cache::{Cache, Key, Signed};
use crate::keyring::Keyring;

/// RRsets that wait for a thread, at most.
const QUEUE_MAX: usize = 4_096;
/// Queries that wait for the same RRset, at most.
const WAITERS_MAX: usize = 1_024;
/// How long work waits in the queue.
const PATIENCE: Duration = Duration::from_secs(2);
/// Most threads: those of a large machine have other work as well.
const THREADS_MAX: usize = 16;

/// Keys and what was signed with them.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) keys: Arc<Keyring>,
    pub(crate) cache: Arc<Cache>,
}

/// One RRset to sign.
pub(crate) struct Job {
    pub(crate) key: Key,
    pub(crate) rrset: Rrset,
    /// The zone that signs.
    pub(crate) zone: Name,
    /// Original TTL in seconds.
    pub(crate) ttl: u32,
    pub(crate) validity: Validity,
}

/// Why there is no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotSigned {
    /// Too much work waits.
    Overload,
    /// A key could not sign.
    Failed,
}

impl fmt::Display for NotSigned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Overload => "too many RRsets wait to be signed",
            Self::Failed => "a key could not sign",
        })
    }
}

impl std::error::Error for NotSigned {}

type Outcome = Result<Arc<Signed>, NotSigned>;

/// The threads, started with the first work.
#[derive(Default)]
pub(crate) struct Pool {
    shared: Arc<Shared>,
    started: OnceLock<bool>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<(Instant, Signer, Job)>,
    /// Who waits for what, by the cache that it goes into and its key there.
    waiting: HashMap<(usize, Key), Vec<oneshot::Sender<Outcome>>, RandomState>,
    /// The pool is gone.
    over: bool,
}

fn cache_of(signer: &Signer) -> usize {
    Arc::as_ptr(&signer.cache).addr()
}

impl Pool {
    /// Has an RRset signed.
    ///
    /// # Errors
    /// When too much waits already.
    pub(crate) fn submit(
        &self,
        signer: &Signer,
        job: Job,
    ) -> Result<oneshot::Receiver<Outcome>, NotSigned> {
        if !self.started.get_or_init(|| self.start()) {
            return Err(NotSigned::Failed);
        }
        let (sender, receiver) = oneshot::channel();
        let mut state = self.shared.state();
        let full = state.queue.len() >= QUEUE_MAX;
        let place = (cache_of(signer), job.key);
        if let Some(waiters) = state.waiting.get_mut(&place) {
            waiters.retain(|waiter| !waiter.is_closed());
            if waiters.len() >= WAITERS_MAX {
                return Err(NotSigned::Overload);
            }
            waiters.push(sender);
            return Ok(receiver);
        }
        if full {
            return Err(NotSigned::Overload);
        }
        state.waiting.insert(place, vec![sender]);
        state.queue.push_back((Instant::now(), signer.clone(), job));
        drop(state);
        self.shared.work.notify_one();
        Ok(receiver)
    }

    /// Half the cores sign: the others receive and send.
    fn start(&self) -> bool {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut running = false;
        for number in 0..cores.div_ceil(2).min(THREADS_MAX) {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new()
                .name(format!("corten-sign-{number}"))
                .spawn(move || shared.run());
            match thread {
                Ok(_) => running = true,
                Err(error) => {
                    tracing::error!(target: "plugin/dnssec", "no thread to sign with: {error}");
                }
            }
        }
        running
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.state().over = true;
        self.shared.work.notify_all();
    }
}

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        while let Some((submitted, signer, job)) = self.next() {
            let place = (cache_of(&signer), job.key);
            let outcome = match submitted.elapsed() > PATIENCE {
                true => Err(NotSigned::Overload),
                false => sign(&signer, job),
            };
            let waiters = self.state().waiting.remove(&place);
            for waiter in waiters.into_iter().flatten() {
                // Whoever no longer waits has been answered otherwise.
                let _ = waiter.send(outcome.clone());
            }
        }
    }

    fn next(&self) -> Option<(Instant, Signer, Job)> {
        let mut state = self.state();
        loop {
            if state.over {
                return None;
            }
            if let Some(work) = state.queue.pop_front() {
                return Some(work);
            }
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn sign(signer: &Signer, job: Job) -> Outcome {
    let terms = Terms {
        signer: &job.zone,
        ttl: job.ttl,
        validity: job.validity,
    };
    let made = signer.keys.sign(&job.rrset, &terms);
    let rdatas = made.map_err(|_| NotSigned::Failed)?;
    let signed = Arc::new(Signed::new(job.key, job.validity, &rdatas));
    signer.cache.insert(Arc::clone(&signed));
    Ok(signed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::wire::RecordType;

    fn signer() -> Signer {
        Signer {
            keys: Arc::default(),
            cache: Arc::new(Cache::new(1_024)),
        }
    }

    fn job(number: u64) -> Job {
        let zone: Name = "example".parse().unwrap();
        Job {
            key: [number, 0],
            rrset: Rrset::new(&zone, RecordType::A, [&[192, 0, 2, 1][..]]),
            zone,
            ttl: 3600,
            validity: Validity {
                inception: 0,
                expiration: 1,
            },
        }
    }

    #[test]
    fn what_is_signed_is_kept() {
        let (pool, signer) = (Pool::default(), signer());
        let receiver = pool.submit(&signer, job(7)).unwrap();
        assert!(receiver.blocking_recv().unwrap().is_ok());
        assert_eq!(signer.cache.len(), 1);
    }

    /// A pool whose threads never come: the queue fills and then refuses.
    #[test]
    fn the_queue_is_bounded() {
        let (pool, signer) = (Pool::default(), signer());
        pool.started.set(true).unwrap();
        let mut kept = Vec::new();
        for number in 0..QUEUE_MAX as u64 {
            kept.push(pool.submit(&signer, job(number)).unwrap());
        }
        assert_eq!(
            pool.submit(&signer, job(9_999)).err(),
            Some(NotSigned::Overload)
        );
        // Those who want what is signed anyway may wait, up to a bound.
        for _ in 1..WAITERS_MAX {
            kept.push(pool.submit(&signer, job(5)).unwrap());
        }
        assert_eq!(
            pool.submit(&signer, job(5)).err(),
            Some(NotSigned::Overload)
        );
        assert_eq!(pool.shared.state().queue.len(), QUEUE_MAX);
        // Threads that come late refuse what has waited too long.
        for (submitted, _, _) in &mut pool.shared.state().queue {
            *submitted -= 2 * PATIENCE;
        }
        assert!(pool.start());
        for receiver in kept {
            assert_eq!(
                receiver.blocking_recv().unwrap().err(),
                Some(NotSigned::Overload)
            );
        }
        assert!(pool.shared.state().waiting.is_empty());
    }
}
