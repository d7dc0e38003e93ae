//! *cancel*: a bound on the time that a query may take.
use std::time::Duration;

use corten_plugin::corefile::Token;
use corten_plugin::{Directive, Exchange, Flow, Plugin, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "cancel",
    setup,
    readme: include_str!("../README.md"),
};

/// Just longer than most clients wait.
const DEFAULT: Duration = Duration::from_millis(5001);

struct Cancel {
    timeout: Duration,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut timeout = DEFAULT;
    for line in setup.occurrences()? {
        line.no_block()?;
        timeout = match line.args_between(0, 1)? {
            [word] => read(word)?,
            _ => DEFAULT,
        };
    }
    setup.push(Cancel { timeout });
    Ok(())
}

fn read(word: &Token) -> Result<Duration, SetupError> {
    let digits = word.text.strip_prefix('-').unwrap_or(&word.text);
    let positive = Token {
        text: digits.to_owned(),
        ..word.clone()
    };
    let Ok(timeout) = positive.parse_duration() else {
        let error = word.error(format!("invalid duration: \"{}\"", word.text));
        return Err(error
            .help("a duration is a number and a unit (ms, s, m, h), such as '5s'")
            .into());
    };
    if timeout.is_zero() || digits != word.text {
        let error = word.error(format!("invalid negative duration: \"{}\"", word.text));
        return Err(error.help("the time must be greater than zero").into());
    }
    Ok(timeout)
}

impl Plugin for Cancel {
    fn name(&self) -> &'static str {
        "cancel"
    }

    fn any_class(&self) -> bool {
        true
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        // A time beyond the clock's range is no bound.
        ex.deadline = ex.received.checked_add(self.timeout);
        Flow::Pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::corefile::{Source, parse};

    fn timeout(arguments: &str) -> Result<Duration, String> {
        let source = Source {
            name: "Corefile",
            text: &format!(". {{\n cancel {arguments}\n}}\n"),
            path: None,
        };
        let corefile = parse(&source, &["cancel"], &|_| None).unwrap();
        let line = corefile.blocks[0].directives[0].occurrence().unwrap();
        read(line.args[0]).map_err(|error| error.to_string())
    }

    #[test]
    fn times_are_positive_durations() {
        for (text, expected) in [
            ("1s", Ok(Duration::from_secs(1))),
            ("250ms", Ok(Duration::from_millis(250))),
            ("0", Err("invalid negative duration: \"0\"")),
            ("0s", Err("invalid negative duration: \"0s\"")),
            ("-1s", Err("invalid negative duration: \"-1s\"")),
            ("soon", Err("invalid duration: \"soon\"")),
            ("5", Err("invalid duration: \"5\"")),
            ("--1s", Err("invalid duration: \"--1s\"")),
        ] {
            match (timeout(text), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{text}: {found}"),
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_deadline_counts_from_the_query() {
        let mut ex = Exchange::new();
        for (timeout, bounded) in [(DEFAULT, true), (Duration::MAX, false)] {
            assert_eq!(Cancel { timeout }.on_query(&mut ex), Flow::Pass);
            let expected = bounded.then(|| ex.received + timeout);
            assert_eq!(ex.deadline, expected);
        }
    }
}
