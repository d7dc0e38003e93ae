//! When a response is made (RFC 9110 section 6.6.1).
use std::io::Write;
use std::time::{Duration, UNIX_EPOCH};

use corten_plugin::unix_seconds;
use httpdate::HttpDate;

/// Octets of a date: `Thu, 26 Nov 2026 10:00:00 GMT`.
const OCTETS: usize = 29;
/// The last second that has such a date.
const LAST: u64 = 253_402_300_799;

/// The time as HTTP has it, composed anew when another second begins.
#[derive(Default)]
pub(crate) struct Date {
    second: Option<u64>,
    text: [u8; OCTETS],
}

impl Date {
    /// Of now.
    pub(crate) fn now(&mut self) -> &str {
        self.at(unix_seconds())
    }

    fn at(&mut self, second: u64) -> &str {
        if self.second != Some(second) {
            self.second = Some(second);
            let date = HttpDate::from(UNIX_EPOCH + Duration::from_secs(second.min(LAST)));
            let _ = write!(self.text.as_mut_slice(), "{date}");
        }
        std::str::from_utf8(&self.text).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_that_of_its_second() {
        let mut date = Date::default();
        for (second, text) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_778, "Sun, 06 Nov 1994 08:49:38 GMT"),
            (784_111_778, "Sun, 06 Nov 1994 08:49:38 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (LAST, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(date.at(second), text);
        }
        assert_ne!(date.now(), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
