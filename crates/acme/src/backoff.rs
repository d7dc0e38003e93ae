//! How long to leave a CA alone after attempts that failed.
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::bundle::Validity;

/// Minutes between attempts that the CA refused; each may have cost some of its quota (CertMagic's
/// schedule).
const REFUSED_MINUTES: [u64; 15] = [1, 2, 2, 5, 10, 10, 10, 20, 20, 30, 30, 60, 120, 180, 360];
/// Seconds before the second attempt when the CA could not be reached, which costs nobody anything;
/// doubled each time.
const UNREACHABLE_SECONDS: u64 = 2;
/// Longest pause while the CA cannot be reached.
const UNREACHABLE_MAX: Duration = Duration::from_secs(600);
/// Attempts at one CA before it is the next one's turn.
const ATTEMPTS_EACH: u32 = 3;
/// Validations of a name that may fail within [`VALIDATION_WINDOW`]; Let's Encrypt bars an account
/// after five.
const VALIDATIONS_MAX: usize = 3;
const VALIDATION_WINDOW: u64 = 3600;
/// Seconds behind which nothing that is noted lies: the longest wish of a CA that is obeyed, and some
/// room for clocks. What lies further was noted while the clock was wrong.
const AHEAD_MAX: u64 = 25 * 3600;
/// Seconds by which the clocks of servers that share what is noted may differ.
const CLOCKS_SECONDS: u64 = 600;
/// The last second of the year 9999, the last that a certificate can name.
const LAST_SECOND: u64 = 253_402_300_799;

/// Why an attempt failed, as far as it matters for the next one and for those who watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// Nothing can be kept.
    Storage,
    /// What the CA would see is wrong; nothing was asked of it.
    Preflight,
    /// The clock of this machine is wrong.
    Clock,
    /// The CA was not reached, or answered with a page for humans.
    Unreachable,
    /// Too many requests.
    RateLimited,
    /// The CA said no.
    Refused,
    /// The CA did not see the challenge's answer.
    Validation,
    /// What came cannot be used.
    Certificate,
}

impl Failure {
    /// Every kind, for metrics.
    pub(crate) const ALL: [Self; 8] = [
        Self::Storage,
        Self::Preflight,
        Self::Clock,
        Self::Unreachable,
        Self::RateLimited,
        Self::Refused,
        Self::Validation,
        Self::Certificate,
    ];

    /// Its name in metrics.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Preflight => "preflight",
            Self::Clock => "clock",
            Self::Unreachable => "unreachable",
            Self::RateLimited => "rate_limited",
            Self::Refused => "refused",
            Self::Validation => "validation",
            Self::Certificate => "certificate",
        }
    }

    /// Whether the CA has worked for it, so that the next attempt comes later.
    fn cost_quota(self) -> bool {
        match self {
            Self::Storage | Self::Preflight | Self::Clock | Self::Unreachable => false,
            Self::RateLimited | Self::Refused | Self::Validation | Self::Certificate => true,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Storage => "the storage cannot be used",
            Self::Preflight => "not ready for the CA",
            Self::Clock => "the clock is wrong",
            Self::Unreachable => "no certificate",
            Self::RateLimited => "the CA wants fewer requests",
            Self::Refused | Self::Validation => "the CA refused",
            Self::Certificate => "what the CA sent cannot be used",
        })
    }
}

/// Attempts that failed since the last success; kept beside the certificate, so that a crash loop
/// does not hammer the CA.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Backoff {
    /// How many.
    pub(crate) attempts: u32,
    /// Seconds since 1970 before which nothing is tried.
    pub(crate) not_before: u64,
    /// When that was noted, in seconds since 1970.
    #[serde(default)]
    pub(crate) noted: u64,
    /// When validations failed, in seconds since 1970; the last hour's.
    #[serde(default)]
    pub(crate) validations: Vec<u64>,
    /// Until when CAs want to be left alone, in seconds since 1970, by directory.
    #[serde(default)]
    pub(crate) wishes: BTreeMap<String, u64>,
    /// Whether the next attempt begins with the CA's staging directory: a validation was refused.
    #[serde(default)]
    pub(crate) rehearse: bool,
}

impl Backoff {
    /// Which of `count` CAs is asked next.
    pub(crate) fn turn(&self, count: usize) -> usize {
        (self.attempts / ATTEMPTS_EACH) as usize % count.max(1)
    }

    /// Before then nothing is tried. What was noted in the future was noted while the clock was wrong.
    pub(crate) fn paused_until(&self, now: SystemTime) -> SystemTime {
        let noted_before = self.noted <= seconds(now).saturating_add(CLOCKS_SECONDS);
        moment(match noted_before && is_plausible(self.not_before, now) {
            true => self.not_before,
            false => 0,
        })
    }

    /// Counts one more failure, of the CA whose turn it was. The pause is never longer than
    /// `longest`; the CA's own wish goes before everything.
    pub(crate) fn failed(
        &mut self,
        failure: Failure,
        now: SystemTime,
        longest: Option<Duration>,
        retry_after: Option<Duration>,
        directories: &[&str],
    ) {
        self.wishes.retain(|_, until| is_plausible(*until, now));
        let now = seconds(now);
        self.noted = now;
        let index = self.attempts as usize;
        let pause = match failure.cost_quota() {
            false => Duration::from_secs(UNREACHABLE_SECONDS << index.min(16)).min(UNREACHABLE_MAX),
            true => Duration::from_secs(60 * REFUSED_MINUTES[index.min(REFUSED_MINUTES.len() - 1)]),
        };
        let pause = longest.map_or(pause, |longest| pause.min(longest));
        let mut not_before = now + round_up(pause);
        self.validations
            .retain(|at| (now.saturating_sub(VALIDATION_WINDOW)..=now).contains(at));
        if failure == Failure::Validation {
            self.validations.push(now);
            self.rehearse = true;
        }
        let surplus = self.validations.len().checked_sub(VALIDATIONS_MAX);
        if let Some(oldest) = surplus.and_then(|at| self.validations.get(at)) {
            not_before = not_before.max(oldest + VALIDATION_WINDOW);
        }
        if let (Some(wish), Some(directory)) =
            (retry_after, directories.get(self.turn(directories.len())))
        {
            self.wishes
                .insert((*directory).to_owned(), now + round_up(wish));
        }
        self.attempts = self.attempts.saturating_add(1);
        self.wishes.retain(|_, until| *until > now);
        let wish = directories
            .get(self.turn(directories.len()))
            .and_then(|next| self.wishes.get(*next));
        self.not_before = not_before.max(wish.copied().unwrap_or(0));
    }
}

/// The longest pause while there is a certificate: a twentieth of what it has left, so that its last
/// days, or the last seconds of a test's, see enough attempts. Once it has expired haste helps
/// nobody: then its lifetime counts.
pub(crate) fn longest_pause(validity: Validity, now: SystemTime) -> Duration {
    let left = validity.until.duration_since(now).unwrap_or_default();
    let life = validity
        .until
        .duration_since(validity.from)
        .unwrap_or_default();
    (left / 20).max(life / 80).max(Duration::from_secs(1))
}

/// Seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// A time in seconds since 1970; what no calendar has is cut off.
pub(crate) fn moment(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.min(LAST_SECOND))
}

/// Whether a time that was noted for later, in seconds since 1970, can have been meant so.
pub(crate) fn is_plausible(noted: u64, now: SystemTime) -> bool {
    noted <= seconds(now).saturating_add(AHEAD_MAX)
}

fn round_up(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400;
    const ONE: &[&str] = &["https://one.example/dir"];
    const TWO: &[&str] = &["https://one.example/dir", "https://two.example/dir"];

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn pauses_grow_and_obey_the_ca() {
        let pause = |attempts, failure, longest: Option<u64>, retry: Option<u64>| {
            let mut backoff = Backoff {
                attempts,
                ..Backoff::default()
            };
            let (longest, retry) = (
                longest.map(Duration::from_secs),
                retry.map(Duration::from_secs),
            );
            backoff.failed(failure, at(10_000), longest, retry, ONE);
            backoff.not_before - 10_000
        };
        use Failure::{Preflight, Refused, Unreachable};
        for (attempts, failure, longest, retry, expected) in [
            (0, Refused, None, None, 60),
            (3, Refused, None, None, 300),
            (99, Refused, None, None, 6 * 3600),
            (0, Unreachable, None, None, 2),
            (3, Preflight, None, None, 16),
            (99, Unreachable, None, None, 600),
            (9, Refused, Some(DAY), None, 1800),
            (9, Refused, Some(6), None, 6),
            (0, Unreachable, Some(1), Some(3600), 3600),
        ] {
            assert_eq!(
                pause(attempts, failure, longest, retry),
                expected,
                "{attempts} {failure:?} {longest:?} {retry:?}"
            );
        }
    }

    #[test]
    fn haste_fits_the_lifetime() {
        let validity = |from, until| Validity {
            from: at(from),
            until: at(until),
        };
        let days = validity(0, 90 * DAY);
        for (what, validity, now, seconds) in [
            ("due", days, 63 * DAY, 27 * DAY / 20),
            ("an hour left", days, 90 * DAY - 3600, 90 * DAY / 80),
            ("expired", days, 100 * DAY, 90 * DAY / 80),
            ("a test's", validity(0, 30), 29, 1),
            ("a test's, expired", validity(0, 30), 300, 1),
        ] {
            let longest = longest_pause(validity, at(now));
            assert_eq!(longest, Duration::from_secs(seconds), "{what}");
        }
    }

    #[test]
    fn three_failed_validations_fill_an_hour() {
        let mut backoff = Backoff::default();
        let mut now = 100_000;
        for _ in 0..3 {
            backoff.failed(Failure::Validation, at(now), None, None, ONE);
            assert!(backoff.rehearse);
            now = backoff.not_before;
        }
        assert_eq!(backoff.validations, [100_000, 100_060, 100_180]);
        assert_eq!(now, 103_600);
        backoff.failed(Failure::Validation, at(now), None, None, ONE);
        assert_eq!(
            backoff.not_before, 103_900,
            "a place is free before the usual pause is over"
        );
    }

    #[test]
    fn the_next_ca_has_its_turn_after_three_failures() {
        let mut backoff = Backoff::default();
        let hours = Some(Duration::from_secs(7200));
        assert_eq!(backoff.turn(2), 0);
        backoff.failed(Failure::RateLimited, at(0), None, hours, TWO);
        assert_eq!((backoff.not_before, backoff.turn(2)), (7200, 0));
        backoff.failed(Failure::RateLimited, at(7200), None, hours, TWO);
        backoff.failed(Failure::RateLimited, at(14_400), None, hours, TWO);
        assert_eq!(backoff.turn(2), 1);
        assert_eq!(
            backoff.not_before,
            14_400 + 120,
            "the first one's wish does not bind the second"
        );
        backoff.attempts = 5;
        backoff.failed(Failure::Unreachable, at(14_600), None, None, TWO);
        assert_eq!(
            (backoff.turn(2), backoff.not_before),
            (0, 14_400 + 7200),
            "and is kept until its turn comes again"
        );
        assert_eq!(Backoff::default().turn(0), 0);
    }

    #[test]
    fn what_was_noted_while_the_clock_was_wrong_does_not_count() {
        let mut backoff = Backoff::default();
        let wish = Duration::from_secs(7200);
        let wrong = at(10_000 * DAY);
        backoff.failed(Failure::Clock, wrong, None, Some(wish), ONE);
        assert_eq!(backoff.paused_until(wrong), wrong + wish);
        let right = at(9_000 * DAY);
        assert!(backoff.paused_until(right) <= right);
        backoff.failed(Failure::Unreachable, right, None, None, ONE);
        assert_eq!(
            backoff.paused_until(right),
            right + Duration::from_secs(4),
            "the old wish is forgotten"
        );
        // A clock that was wrong by a time zone is set right after the start.
        let mut backoff = Backoff::default();
        backoff.failed(Failure::Clock, right + 8 * wish, None, None, ONE);
        assert!(backoff.paused_until(right) <= right);
        // A file may say anything.
        backoff.not_before = u64::MAX;
        assert!(backoff.paused_until(right) <= right);
        assert!(moment(u64::MAX) > right);
    }

    #[test]
    fn what_an_older_release_kept_is_read() {
        let old: Backoff = serde_json::from_str(r#"{"attempts": 2, "not_before": 7}"#).unwrap();
        assert_eq!((old.attempts, old.not_before, old.rehearse), (2, 7, false));
    }
}
