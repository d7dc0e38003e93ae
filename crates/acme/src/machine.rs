//! When to act: a function of the time and of what is there, without I/O.
//!
//! ```text
//!             nothing, or expired
//!   load ───────────────────────────────┐
//!    │ valid                            ▼
//!    └──────► wait until 70 % ──────► obtain ──► verify ──► store ──► swap ──┐
//!                 ▲     ▲                │                                   │
//!                 │     └── back off ◄───┘ (old certificate goes on)         │
//!                 └──────────────────────────────────────────────────────────┘
//! ```
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::bundle::Validity;

/// Part of the validity after which a certificate is renewed.
pub(crate) const RENEW_AT: f64 = 0.7;
/// Part of the validity that a renewal may be put off by chance, so that the certificates of a
/// fleet spread.
pub(crate) const JITTER: f64 = 0.01;
/// Minutes between attempts that the CA refused; each may have cost some of its quota (CertMagic's
/// schedule).
const REFUSED_MINUTES: [u64; 15] = [1, 2, 2, 5, 10, 10, 10, 20, 20, 30, 30, 60, 120, 180, 360];
/// Seconds before the second attempt when the CA could not be reached, which costs nobody anything;
/// doubled each time.
const UNREACHABLE_SECONDS: u64 = 2;
/// Longest pause while the CA cannot be reached.
const UNREACHABLE_MAX: Duration = Duration::from_secs(600);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Obtain a certificate.
    Obtain,
    /// Look again after this time.
    Wait(Duration),
}

/// Attempts that failed since the last success; kept on disk, so that a crash loop does not hammer
/// the CA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Backoff {
    /// How many.
    pub(crate) attempts: u32,
    /// Seconds since 1970 before which nothing is tried.
    pub(crate) not_before: u64,
}

/// Why an attempt failed, as far as it matters for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The CA was not reached, or nothing was asked of it.
    Unreachable,
    /// The CA said no.
    Refused,
}

/// When a certificate is to be renewed; `chance` is between 0 and 1.
pub(crate) fn due(validity: Validity, chance: f64) -> SystemTime {
    let life = validity
        .until
        .duration_since(validity.from)
        .unwrap_or_default();
    validity.from + life.mul_f64(RENEW_AT + JITTER * chance.clamp(0.0, 1.0))
}

/// What to do at `now`.
pub(crate) fn decide(
    now: SystemTime,
    due: Option<SystemTime>,
    backoff: Backoff,
    check_interval: Duration,
) -> Decision {
    let paused = SystemTime::UNIX_EPOCH + Duration::from_secs(backoff.not_before);
    let act = due.unwrap_or(now).max(paused);
    match act.duration_since(now) {
        // The clock may jump: no sleep is longer than the check interval.
        Ok(rest) if !rest.is_zero() => Decision::Wait(rest.min(check_interval)),
        _ => Decision::Obtain,
    }
}

impl Backoff {
    /// After one more failure. The pause is never longer than a twentieth of what the certificate
    /// has left, so that the last days of a certificate, or the last seconds of a test's, see
    /// enough attempts; the CA's own wish goes before everything.
    pub(crate) fn after(
        self,
        failure: Failure,
        now: SystemTime,
        left: Option<Duration>,
        retry_after: Option<Duration>,
    ) -> Self {
        let index = self.attempts as usize;
        let pause = match failure {
            Failure::Unreachable => {
                Duration::from_secs(UNREACHABLE_SECONDS << index.min(16)).min(UNREACHABLE_MAX)
            }
            Failure::Refused => {
                Duration::from_secs(60 * REFUSED_MINUTES[index.min(REFUSED_MINUTES.len() - 1)])
            }
        };
        let pause = left.map_or(pause, |left| {
            pause.min((left / 20).max(Duration::from_secs(1)))
        });
        let until = now + retry_after.unwrap_or(pause);
        let not_before = until
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64()
            .ceil() as u64;
        Self {
            attempts: self.attempts.saturating_add(1),
            not_before,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    const DAY: u64 = 86_400;

    #[test]
    fn renewal_is_due_after_seventy_percent_and_never_before() {
        let validity = Validity {
            from: at(1000),
            until: at(1000 + 100 * DAY),
        };
        assert_eq!(due(validity, 0.0), at(1000 + 70 * DAY));
        assert_eq!(due(validity, 1.0), at(1000 + 71 * DAY));
        assert_eq!(due(validity, -5.0), at(1000 + 70 * DAY));
        let short = Validity {
            from: at(1000),
            until: at(1020),
        };
        assert_eq!(due(short, 0.0), at(1014));
        let senseless = Validity {
            from: at(1000),
            until: at(10),
        };
        assert_eq!(due(senseless, 0.0), at(1000));
    }

    #[test]
    fn decisions_follow_from_the_clock() {
        let (interval, none) = (Duration::from_secs(900), Backoff::default());
        let paused = Backoff {
            attempts: 2,
            not_before: 2000,
        };
        for (what, now, due, backoff, decision) in [
            ("nothing there", 1000, None, none, Decision::Obtain),
            (
                "nothing there, failed lately",
                1000,
                None,
                paused,
                Decision::Wait(Duration::from_secs(900)),
            ),
            (
                "nothing there, pause over",
                2000,
                None,
                paused,
                Decision::Obtain,
            ),
            (
                "not yet due",
                1000,
                Some(1300),
                none,
                Decision::Wait(Duration::from_secs(300)),
            ),
            (
                "long to go",
                1000,
                Some(90_000),
                none,
                Decision::Wait(Duration::from_secs(900)),
            ),
            ("due", 1300, Some(1300), none, Decision::Obtain),
            (
                "due, failed lately",
                1990,
                Some(1300),
                paused,
                Decision::Wait(Duration::from_secs(10)),
            ),
            (
                "clock jumped ahead",
                9_000_000,
                Some(1300),
                none,
                Decision::Obtain,
            ),
        ] {
            assert_eq!(
                decide(at(now), due.map(at), backoff, interval),
                decision,
                "{what}"
            );
        }
    }

    #[test]
    fn pauses_grow_and_obey_the_ca() {
        let now = at(10_000);
        let pause = |attempts, failure, left: Option<u64>, retry: Option<u64>| {
            let before = Backoff {
                attempts,
                not_before: 0,
            };
            before
                .after(
                    failure,
                    now,
                    left.map(Duration::from_secs),
                    retry.map(Duration::from_secs),
                )
                .not_before
                - 10_000
        };
        assert_eq!(pause(0, Failure::Refused, None, None), 60);
        assert_eq!(pause(3, Failure::Refused, None, None), 300);
        assert_eq!(pause(99, Failure::Refused, None, None), 6 * 3600);
        assert_eq!(pause(0, Failure::Unreachable, None, None), 2);
        assert_eq!(pause(3, Failure::Unreachable, None, None), 16);
        assert_eq!(pause(99, Failure::Unreachable, None, None), 600);
        assert_eq!(pause(9, Failure::Refused, Some(10 * DAY), None), 1800);
        assert_eq!(
            pause(9, Failure::Refused, Some(6), None),
            1,
            "a test's certificate"
        );
        assert_eq!(pause(0, Failure::Unreachable, Some(6), Some(3600)), 3600);
    }
}
