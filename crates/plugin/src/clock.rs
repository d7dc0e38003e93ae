//! The time of day.
use std::time::SystemTime;

/// Seconds since the beginning of 1970; zero on a clock that stands before it.
pub fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
