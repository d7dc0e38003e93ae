//! What an operator must hear about a certificate that is not renewed.
use std::time::{Duration, SystemTime};

use super::Entry;
use crate::report::span;

/// How often it is said.
const REMINDER: Duration = Duration::from_secs(3600);
/// Part of the time behind the renewal after which it is late.
const LATE: f64 = 0.5;

/// When the alarms were raised last.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Alarms {
    raised: Option<SystemTime>,
    expired: bool,
}

impl Alarms {
    /// Whether it is time to say it, once more or for the first time.
    pub(super) fn raise(&mut self, now: SystemTime, expired: bool) -> bool {
        let silent = self.expired != expired
            || self.raised.is_none_or(|last| {
                // A clock that was set back must not silence it.
                now.duration_since(last)
                    .map_or(true, |since| since >= REMINDER)
            });
        if silent {
            (self.raised, self.expired) = (Some(now), expired);
        }
        silent
    }
}

/// Whether most of the time for a renewal that is due has passed.
fn is_late(until: SystemTime, due: SystemTime, left: Duration) -> bool {
    let room = until.duration_since(due).unwrap_or_default();
    left < room.mul_f64(LATE)
}

impl Entry {
    /// Complains about a certificate that has expired, or is about to.
    pub(super) fn raise_alarms(&self, now: SystemTime) {
        let mut state = self.state();
        let Some(validity) = state.validity else {
            return;
        };
        let names = self.names();
        let why = match &state.last_error {
            Some(error) => format!(": {error}"),
            None => String::new(),
        };
        match validity.until.duration_since(now) {
            Err(since) if state.alarms.raise(now, true) => {
                let since = span(since.duration());
                let meanwhile = match self.spec.options.refuse_expired {
                    true => "handshakes are refused",
                    false => "is still served; clients that check it refuse",
                };
                tracing::error!(target: "plugin/tls", "The certificate for {names} expired {since} ago and {meanwhile}{why}");
            }
            Ok(left) => {
                // One that is borrowed is not the one that is to be renewed.
                let due = state.due.unwrap_or(validity.until);
                // A CA that revokes wants it renewed in the past: nothing is late because of that.
                let due = due.max(state.rest.unwrap_or(due));
                if is_late(validity.until, due, left) && state.alarms.raise(now, false) {
                    let left = span(left);
                    tracing::warn!(target: "plugin/tls", "The certificate for {names} expires in {left} and could not be renewed so far{why}");
                }
            }
            Err(_) => (),
        }
        if now < validity.from && state.alarms.raise(now, false) {
            let ahead = span(validity.from.duration_since(now).unwrap_or_default());
            tracing::error!(target: "plugin/tls", "The certificate for {names} is not good for another {ahead}: this machine's clock is behind");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_late_when_half_of_the_time_for_it_has_passed() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (due, left, late) in [(700, 200, false), (700, 100, true), (1000, 5, false)] {
            assert_eq!(is_late(at(1000), at(due), Duration::from_secs(left)), late);
        }
    }

    #[test]
    fn it_is_said_once_an_hour_and_when_it_gets_worse() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut alarms = Alarms::default();
        for (now, expired, said) in [
            (10_000, false, true),
            (10_100, false, false),
            (10_200, true, true),
            (13_000, true, false),
            (13_800, true, true),
            (5_000, true, true),
        ] {
            assert_eq!(alarms.raise(at(now), expired), said, "{now}");
        }
    }
}
