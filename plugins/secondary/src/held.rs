//! One zone, and when its primaries are asked.
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use corten_plugin::wire::Name;
use corten_zone::{Slot, Soa};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::config::Source;

/// Waits without a zone double from here (CoreDNS's values) …
const RETRY_FIRST: Duration = Duration::from_millis(250);
/// … up to here.
const RETRY_MAX: Duration = Duration::from_secs(10);
/// What is added to a wait by chance, so that zones do not come in step (CoreDNS's values).
const JITTER_REFRESH: Duration = Duration::from_secs(5);
const JITTER_RETRY: Duration = Duration::from_secs(2);
/// Time between notifications that lead to nothing: they may be forged.
const NOTIFIED_IN_VAIN: Duration = Duration::from_secs(1);

/// A zone of ours.
pub(crate) struct Held {
    pub(crate) name: Name,
    pub(crate) slot: Arc<Slot>,
    pub(crate) source: Arc<Source>,
    /// What brought the zone; nothing for one of the Corefile.
    pub(crate) member: Option<Membership>,
    /// Ends the task.
    pub(crate) stop: CancellationToken,
    wake: Notify,
    state: Mutex<State>,
}

/// A catalog's part in a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Membership {
    /// The catalog.
    pub(crate) catalog: Name,
    /// The member's label in it.
    pub(crate) id: Box<[u8]>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// When the zone was last known to be the primary's.
    refreshed: Option<Instant>,
    /// Who says that there is a newer version.
    notified_by: Option<IpAddr>,
    /// The copy on disk could not be written: it is an older version, or none.
    uncopied: bool,
}

/// When what is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// Ask the primaries.
    pub(crate) ask: Instant,
    /// Give the zone up.
    pub(crate) expire: Option<Instant>,
}

/// Waits of a zone: refresh after success, retry after failure, and growing ones without a zone.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    failures: u32,
}

impl Schedule {
    /// Primaries have answered.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// None of them has.
    pub(crate) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// The wait after failures without a zone.
    pub(crate) fn backoff(&self) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(16);
        (RETRY_FIRST * 2u32.pow(doublings)).min(RETRY_MAX)
    }

    /// What comes next. `chance` is between 0 and 1.
    pub(crate) fn next(
        &self,
        now: Instant,
        refreshed: Option<Instant>,
        soa: Option<Soa>,
        chance: f64,
    ) -> Due {
        let (Some(soa), Some(refreshed)) = (soa, refreshed) else {
            return Due {
                ask: now + self.backoff(),
                expire: None,
            };
        };
        let ask = match self.failures {
            0 => refreshed + timer(soa.refresh) + JITTER_REFRESH.mul_f64(chance),
            _ => now + timer(soa.retry) + JITTER_RETRY.mul_f64(chance),
        };
        Due {
            ask: ask.max(now),
            expire: Some(refreshed + timer(soa.expire)),
        }
    }
}

/// A time that an SOA record names; a zero would make us ask without end.
fn timer(seconds: u32) -> Duration {
    Duration::from_secs(seconds.max(1).into())
}

impl Held {
    pub(crate) fn new(
        name: &Name,
        source: &Arc<Source>,
        member: Option<Membership>,
        like: Option<&Self>,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.clone(),
            slot: match like {
                Some(like) => Arc::clone(&like.slot),
                None => Arc::new(Slot::new(name.wire())),
            },
            source: Arc::clone(source),
            member,
            stop: CancellationToken::new(),
            wake: Notify::new(),
            state: Mutex::new(State {
                refreshed: like.and_then(Self::refreshed),
                notified_by: None,
                uncopied: like.is_some_and(|like| !like.has_copy()),
            }),
        })
    }

    /// When the zone was last known to be the primary's.
    pub(crate) fn refreshed(&self) -> Option<Instant> {
        self.state().refreshed
    }

    pub(crate) fn set_refreshed(&self, when: Instant) {
        self.state().refreshed = Some(when);
    }

    /// Whether the copy on disk, if there is to be one, is the version that is served.
    pub(crate) fn has_copy(&self) -> bool {
        !self.state().uncopied
    }

    /// Whether it could be written.
    pub(crate) fn set_copied(&self, copied: bool) {
        self.state().uncopied = !copied;
    }

    /// A primary says that there is a newer version.
    pub(crate) fn notify(&self, by: IpAddr) {
        self.state().notified_by = Some(by);
        self.wake.notify_one();
    }

    /// Who said so, once.
    pub(crate) fn take_notifier(&self) -> Option<IpAddr> {
        self.state().notified_by.take()
    }

    /// Waits for the time to ask, or a notification; `expired` is called when the zone's time is
    /// over before. After a notification in vain the next is not heard at once.
    pub(crate) async fn until_due(&self, due: Due, in_vain: bool, mut expired: impl FnMut()) {
        let ask = tokio::time::sleep_until(due.ask.into());
        let deaf = tokio::time::sleep(if in_vain {
            NOTIFIED_IN_VAIN
        } else {
            Duration::ZERO
        });
        let far = Instant::now() + Duration::from_secs(u32::MAX.into());
        let expire = tokio::time::sleep_until(due.expire.unwrap_or(far).into());
        tokio::pin!(ask, deaf, expire);
        let mut open = due.expire.is_some();
        let mut hears = !in_vain;
        loop {
            tokio::select! {
                () = &mut expire, if open => {
                    open = false;
                    expired();
                }
                () = &mut deaf, if !hears => hears = true,
                () = self.wake.notified(), if hears => return,
                () = &mut ask => return,
            }
        }
    }

    /// Waits for `work`; `expired` is called when the zone's time is over before: primaries that take
    /// long do not keep a zone.
    pub(crate) async fn until_done<T>(
        &self,
        work: impl Future<Output = T>,
        expired: impl FnOnce(),
    ) -> T {
        tokio::pin!(work);
        let Some(expire) = self.expiry() else {
            return work.await;
        };
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep_until(expire.into()) => (),
        }
        // Another generation of the configuration may have asked meanwhile.
        if self.expiry().is_some_and(|expire| expire <= Instant::now()) {
            expired();
        }
        work.await
    }

    /// When the zone that is there expires.
    fn expiry(&self) -> Option<Instant> {
        let soa = self.slot.load().as_ref().map(|zone| zone.soa())?;
        Some(self.refreshed()? + timer(soa.expire))
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::wire::RecordType;
    use corten_zone::Builder;

    const SOA: Soa = Soa {
        serial: 1,
        refresh: 100,
        retry: 10,
        expire: 1000,
        minimum: 60,
        ttl: 60,
    };

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn waits_are_the_soa_records() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let next =
            |schedule: &Schedule, soa, chance| schedule.next(now, Some(now), Some(soa), chance);
        let due = |ask, expire| Due {
            ask: now + ask,
            expire: Some(now + expire),
        };
        assert_eq!(next(&schedule, SOA, 0.0), due(seconds(100), seconds(1000)));
        assert_eq!(next(&schedule, SOA, 1.0), due(seconds(105), seconds(1000)));
        schedule.failed();
        assert_eq!(next(&schedule, SOA, 0.5), due(seconds(11), seconds(1000)));
        schedule.succeeded();
        let nothing = Soa {
            refresh: 0,
            retry: 0,
            expire: 0,
            ..SOA
        };
        assert_eq!(next(&schedule, nothing, 0.0), due(seconds(1), seconds(1)));
        // A zone that was kept over a restart is late.
        let past = now.checked_sub(seconds(200)).unwrap_or(now);
        assert_eq!(schedule.next(now, Some(past), Some(SOA), 0.0).ask, now);
    }

    /// A primary that sends a little now and then keeps nobody's zone alive.
    #[tokio::test]
    async fn a_zone_expires_while_its_primaries_are_asked() {
        let mut builder = Builder::new(b"\x07example\0");
        let mut soa = vec![0, 0];
        soa.extend([1, 1, 1, 1, 1].map(u32::to_be_bytes).concat());
        builder
            .add(b"\x07example\0", RecordType::SOA, 60, &soa)
            .unwrap();
        let zone = Arc::new(builder.build().unwrap());
        let name: Name = "example".parse().unwrap();
        let source = crate::tests::source(&["example"], None);
        let held = Held::new(&name, &Arc::new(source), None, None);
        for (age, expires) in [(seconds(0), false), (seconds(60), true)] {
            held.slot.set(Arc::clone(&zone));
            held.set_refreshed(Instant::now() - age);
            let asked = async {
                // Longer than it takes to see that it is over, and shorter than until it is.
                tokio::time::sleep(Duration::from_millis(100)).await;
                held.slot.load().is_none()
            };
            let gone = held.until_done(asked, || held.slot.clear()).await;
            assert_eq!(gone, expires);
        }
    }

    #[test]
    fn waits_without_a_zone_grow() {
        let (mut schedule, now) = (Schedule::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..8 {
            schedule.failed();
            let due = schedule.next(now, None, None, 1.0);
            assert_eq!(due.expire, None);
            waits.push((due.ask - now).as_millis());
        }
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
        for _ in 0..100 {
            schedule.failed();
        }
        assert_eq!(schedule.backoff(), RETRY_MAX);
    }
}
