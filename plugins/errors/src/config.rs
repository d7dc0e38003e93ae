//! The directive's lines.
use std::sync::atomic::AtomicU32;

use corten_plugin::SetupError;
use corten_plugin::corefile::{Line, Occurrence, Token};
use regex::Regex;

use crate::{Level, Pattern};

/// Characters of the longest pattern.
const PATTERN_CHARS_MAX: usize = 10_000;

#[derive(Default)]
pub(crate) struct Config {
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) stacktrace: bool,
}

pub(crate) fn read(line: &Occurrence<'_>) -> Result<Config, SetupError> {
    match &line.args[..] {
        [] => (),
        [only] if only.text == "stdout" => (),
        [only] => {
            return Err(only
                .error(format!("invalid log file: {}", only.text))
                .help("errors go to standard output")
                .into());
        }
        _ => return Err(line.argument_error().into()),
    }
    let mut config = Config::default();
    for option in line.lines() {
        match option.name.text.as_str() {
            "stacktrace" => {
                option.no_args()?;
                config.stacktrace = true;
            }
            "consolidate" => config.patterns.push(pattern(option)?),
            _ => {
                return Err(option
                    .unknown_property(&["consolidate", "stacktrace"])
                    .into());
            }
        }
    }
    Ok(config)
}

/// `consolidate DURATION REGEXP [LEVEL] [show_first]`
fn pattern(line: &Line<'_>) -> Result<Pattern, SetupError> {
    let [period, regex, options @ ..] = line.at_least(2)? else {
        return Err(line.argument_error().into());
    };
    let (mut level, mut show_first) = (None, false);
    for option in options {
        let wanted = match option.text.as_str() {
            "warning" => Level::Warning,
            "error" => Level::Error,
            "info" => Level::Info,
            "debug" => Level::Debug,
            "show_first" => {
                show_first = true;
                continue;
            }
            other => {
                return Err(option
                    .error(format!("unknown option in consolidate: {other}"))
                    .into());
            }
        };
        if show_first {
            return Err(option
                .error("log level must come before show_first in consolidate")
                .into());
        }
        if level.replace(wanted).is_some() {
            return Err(option
                .error("multiple log levels specified in consolidate")
                .into());
        }
    }
    Ok(Pattern {
        period: period.parse_duration()?,
        regex: compile(regex)?,
        level: level.unwrap_or(Level::Error),
        show_first,
        count: AtomicU32::new(0),
    })
}

fn compile(token: &Token) -> Result<Regex, SetupError> {
    if token.text.chars().count() > PATTERN_CHARS_MAX {
        return Err(token
            .error(format!(
                "the pattern has more than {PATTERN_CHARS_MAX} characters"
            ))
            .into());
    }
    Regex::new(&token.text).map_err(|error| {
        token
            .error(format!(
                "'{}' is no regular expression: {error}",
                token.text
            ))
            .into()
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use corten_plugin::corefile::{Source, parse};

    use super::*;

    fn config(line: &str) -> Result<Config, String> {
        let text = format!(". {{\n {line}\n}}");
        let source = Source {
            name: "Corefile",
            text: &text,
            path: None,
        };
        let corefile = parse(&source, &["errors"], &|_| None).unwrap();
        let line = corefile.blocks[0].directives[0].occurrence().unwrap();
        read(&line).map_err(|error| error.to_string())
    }

    #[test]
    fn lines_are_read() {
        let plain = config("errors stdout").unwrap();
        assert!(plain.patterns.is_empty() && !plain.stacktrace);
        let all = config(
            "errors {\n stacktrace\n consolidate 5m ^a info show_first\n consolidate 1s b\n}",
        )
        .unwrap();
        assert!(all.stacktrace);
        let read: Vec<_> = all
            .patterns
            .iter()
            .map(|pattern| {
                let Pattern {
                    regex,
                    period,
                    level,
                    show_first,
                    ..
                } = pattern;
                (regex.as_str(), *period, *level, *show_first)
            })
            .collect();
        let seconds = Duration::from_secs;
        assert_eq!(
            read,
            [
                ("^a", seconds(300), Level::Info, true),
                ("b", seconds(1), Level::Error, false)
            ]
        );
    }

    #[test]
    fn mistakes_are_told() {
        let long = "x".repeat(PATTERN_CHARS_MAX + 1);
        for (line, error) in [
            ("errors file", "invalid log file: file"),
            ("errors stdout more", "Wrong argument count"),
            ("errors {\n stacktrace on\n}", "Wrong argument count"),
            (
                "errors {\n consolidat 1m x\n}",
                "unknown property 'consolidat'",
            ),
            ("errors {\n consolidate 1m\n}", "Wrong argument count"),
            (
                "errors {\n consolidate soon x\n}",
                "invalid duration 'soon'",
            ),
            (
                "errors {\n consolidate 1m (x\n}",
                "'(x' is no regular expression",
            ),
            (
                "errors {\n consolidate 1m x fatal\n}",
                "unknown option in consolidate: fatal",
            ),
            (
                "errors {\n consolidate 1m x info error\n}",
                "multiple log levels specified in consolidate",
            ),
            (
                "errors {\n consolidate 1m x show_first info\n}",
                "log level must come before show_first in consolidate",
            ),
            (
                &format!("errors {{\n consolidate 1m {long}\n}}"),
                "more than 10000 characters",
            ),
        ] {
            let Err(text) = config(line) else {
                panic!("{line} is taken");
            };
            assert!(text.contains(error), "{line}: {text}");
        }
    }
}
