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
