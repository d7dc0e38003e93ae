//! Durations as Go prints them; `Token::parse_duration` reads them.
use std::time::Duration;

/// A duration as Go prints it, and so CoreDNS's log lines: `1.5s`, `900ms`, `1m30s`, `1h0m0s`.
pub fn go_duration(duration: Duration) -> String {
    let minutes = duration.as_secs() / 60;
    let seconds = (duration - Duration::from_secs(minutes * 60)).as_secs_f64();
    match minutes {
        0 => format!("{duration:?}"),
        1..=59 => format!("{minutes}m{seconds}s"),
        _ => format!("{}h{}m{seconds}s", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_look_as_in_go() {
        for (millis, text) in [
            (900, "900ms"),
            (1600, "1.6s"),
            (30_000, "30s"),
            (60_500, "1m0.5s"),
            (90_000, "1m30s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }
}
