//! When to act: a function of the time and of what is there, without I/O.
//!
//! ```text
//!             nothing, or expired
//!   load ───────────────────────────────┐
//!    │ valid                            ▼
//!    └──────► wait until due ─────► obtain ──► verify ──► store ──► swap ──┐
//!                 ▲     ▲                │                                   │
//!                 │     └── back off ◄───┘ (old certificate goes on)         │
//!                 └──────────────────────────────────────────────────────────┘
//! ```
use std::time::{Duration, SystemTime};

use crate::bundle::Validity;
use crate::spec::RenewAt;

/// Part of the validity that a renewal may be put off by chance, so that the certificates of a
/// fleet spread.
pub(crate) const JITTER: f64 = 0.01;
/// Longest sleep between two looks at the clock, which may jump: timers do not follow it.
const CLOCK_LOOK: Duration = Duration::from_secs(60);
/// Part of the validity for which a new certificate is left alone, within limits.
const REST_PART: u32 = 400;
const REST_MIN: Duration = Duration::from_secs(1);
const REST_MAX: Duration = Duration::from_secs(3600);

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Obtain a certificate.
    Obtain,
    /// Look again after this time.
    Wait(Duration),
}

/// When the CA would like a certificate to be renewed (RFC 9773 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) start: SystemTime,
    pub(crate) end: SystemTime,
}

/// When a certificate is to be renewed; `chance` is between 0 and 1.
///
/// The part of the validity that the operator wants counts, unless the CA's window is over before:
/// then a moment in that window, which is in the past for a certificate that is being revoked.
pub(crate) fn due(
    validity: Validity,
    renew_at: RenewAt,
    window: Option<Window>,
    chance: f64,
) -> SystemTime {
    let chance = chance.clamp(0.0, 1.0);
    let life = validity
        .until
        .duration_since(validity.from)
        .unwrap_or_default();
    let own = validity.from + life.mul_f64(renew_at.part());
    match window {
        Some(window) if window.end < own => {
            let length = window.end.duration_since(window.start).unwrap_or_default();
            window.start + length.mul_f64(chance)
        }
        _ => own + life.mul_f64(JITTER * chance),
    }
}

/// For so long a certificate that has come is not replaced, whatever the CA suggests: one that wants
/// every new certificate to be replaced at once must not be obeyed without end.
pub(crate) fn while_new(validity: Validity) -> Duration {
    let life = validity
        .until
        .duration_since(validity.from)
        .unwrap_or_default();
    (life / REST_PART).clamp(REST_MIN, REST_MAX)
}

/// The same for one that was given at `since`. One that began so long before that it is due at once
/// stays for the wanted part of what was left of it: the next one would be no better.
pub(crate) fn rest(validity: Validity, renew_at: RenewAt, since: SystemTime) -> Duration {
    let new = while_new(validity);
    if due(validity, renew_at, None, 0.0) > since {
        return new;
    }
    let left = validity.until.duration_since(since).unwrap_or_default();
    new.max(left.mul_f64(renew_at.part()))
}

/// What to do at `now`; nothing is tried before `paused`.
pub(crate) fn decide(
    now: SystemTime,
    due: Option<SystemTime>,
    paused: SystemTime,
    check_interval: Duration,
) -> Decision {
    let act = due.unwrap_or(now).max(paused);
    match act.duration_since(now) {
        Ok(rest) if !rest.is_zero() => Decision::Wait(rest.min(check_interval).min(CLOCK_LOOK)),
        _ => Decision::Obtain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    const DAY: u64 = 86_400;

    fn validity(from: u64, until: u64) -> Validity {
        Validity {
            from: at(from),
            until: at(until),
        }
    }

    #[test]
    fn renewal_is_due_after_the_wanted_part_and_never_before() {
        let default = RenewAt::default();
        let long = validity(1000, 1000 + 100 * DAY);
        assert_eq!(due(long, default, None, 0.0), at(1000 + 70 * DAY));
        assert_eq!(due(long, default, None, 1.0), at(1000 + 71 * DAY));
        assert_eq!(due(long, default, None, -5.0), at(1000 + 70 * DAY));
        let half = RenewAt::new(0.5).unwrap();
        assert_eq!(due(long, half, None, 0.0), at(1000 + 50 * DAY));
        assert_eq!(due(validity(1000, 1020), default, None, 0.0), at(1014));
        let senseless = validity(1000, 10);
        assert_eq!(due(senseless, default, None, 0.0), at(1000));
    }

    #[test]
    fn the_ca_may_want_it_sooner_but_not_later() {
        let long = validity(0, 100 * DAY);
        for (what, start, end, chance, expected) in [
            ("before", 50, 60, 0.5, 55 * DAY),
            ("over: revoked", 1, 2, 0.0, DAY),
            ("around", 60, 80, 0.5, 70 * DAY + DAY / 2),
            ("later", 80, 90, 0.0, 70 * DAY),
            ("senseless", 60, 50, 0.9, 60 * DAY),
        ] {
            let window = Window {
                start: at(start * DAY),
                end: at(end * DAY),
            };
            assert_eq!(
                due(long, RenewAt::default(), Some(window), chance),
                at(expected),
                "{what}"
            );
        }
        // The window of a CA for tests: from the issue to the end.
        let short = validity(1000, 1060);
        let window = Window {
            start: at(1000),
            end: at(1059),
        };
        assert_eq!(due(short, RenewAt::default(), Some(window), 0.0), at(1042));
    }

    #[test]
    fn a_new_certificate_is_left_alone_for_a_while() {
        for (life, seconds) in [(20, 1), (3600, 9), (90 * DAY, 3600), (0, 1)] {
            let time = while_new(validity(100, 100 + life));
            assert_eq!(time, Duration::from_secs(seconds), "{life}");
        }
    }

    #[test]
    fn one_that_is_due_when_it_comes_is_used_all_the_same() {
        // A day from midnight on, given at an hour of that day.
        for (hour, seconds) in [(0, 216), (16, 216), (18, 6 * 3600 * 7 / 10), (24, 216)] {
            let time = rest(validity(0, DAY), RenewAt::default(), at(hour * 3600));
            assert_eq!(time, Duration::from_secs(seconds), "{hour}");
        }
    }

    #[test]
    fn decisions_follow_from_the_clock() {
        let interval = Duration::from_secs(900);
        let wait = |seconds| Decision::Wait(Duration::from_secs(seconds));
        for (what, now, due, paused, decision) in [
            ("nothing there", 1000, None, 0, Decision::Obtain),
            ("nothing there, failed lately", 1990, None, 2000, wait(10)),
            (
                "nothing there, pause over",
                2000,
                None,
                2000,
                Decision::Obtain,
            ),
            ("not yet due", 1260, Some(1300), 0, wait(40)),
            ("long to go", 1000, Some(90_000), 0, wait(60)),
            ("due", 1300, Some(1300), 0, Decision::Obtain),
            ("due, failed lately", 1990, Some(1300), 2000, wait(10)),
            (
                "clock jumped ahead",
                9_000_000,
                Some(1300),
                0,
                Decision::Obtain,
            ),
        ] {
            assert_eq!(
                decide(at(now), due.map(at), at(paused), interval),
                decision,
                "{what}"
            );
        }
        let short = Duration::from_secs(7);
        assert_eq!(
            decide(at(0), Some(at(100)), at(0), short),
            wait(7),
            "the operator's interval"
        );
    }
}
