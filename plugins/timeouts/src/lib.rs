//! *timeouts*: bounds of TCP and TLS connections.
use std::time::Duration;

use corten_plugin::corefile::{Directive as Lines, Token};
use corten_plugin::{Directive, Setup, SetupError, StreamOptions};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "timeouts",
    setup,
    readme: include_str!("../README.md"),
};

const PROPERTIES: &[&str] = &["idle", "maxtcpqueries", "read", "write"];
const TIMEOUT_MIN: Duration = Duration::from_secs(1);
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut options = StreamOptions::default();
    for lines in setup.parts.lines {
        read(lines, &mut options)?;
    }
    setup.options.listener.streams = options;
    Ok(())
}

fn read(lines: &Lines, options: &mut StreamOptions) -> Result<(), SetupError> {
    let line = lines.occurrence()?;
    line.no_args()?;
    if line.lines().is_empty() {
        let end = lines.tokens.last().unwrap_or(&lines.name);
        return Err(end
            .error("timeouts block with no timeouts specified")
            .help("leave the directive out, or set one of read, write, idle and maxtcpqueries")
            .into());
    }
    for option in line.lines() {
        let place = match option.name.text.as_str() {
            "read" => &mut options.read,
            "write" => &mut options.write,
            "idle" => &mut options.idle,
            "maxtcpqueries" => {
                options.queries_max = Some(queries(option.one_arg()?)?);
                continue;
            }
            _ => return Err(option.unknown_property(PROPERTIES).into()),
        };
        *place = Some(timeout(option.one_arg()?)?);
    }
    Ok(())
}

/// A duration; a number alone is seconds.
fn timeout(word: &Token) -> Result<Duration, SetupError> {
    let digits = !word.text.is_empty() && word.text.bytes().all(|octet| octet.is_ascii_digit());
    let timeout = match word.text.parse() {
        Ok(seconds) if digits => Duration::from_secs(seconds),
        _ => word.parse_duration()?,
    };
    if (TIMEOUT_MIN..=TIMEOUT_MAX).contains(&timeout) {
        return Ok(timeout);
    }
    let text = format!(
        "timeout provided '{}' needs to be between 1 second and 24 hours",
        word.text
    );
    Err(word.error(text).into())
}

fn queries(word: &Token) -> Result<u64, SetupError> {
    let text = match word.text.parse::<i64>() {
        Ok(-1) => return Ok(u64::MAX),
        Ok(number) if number > 0 => return Ok(number as u64),
        Ok(number) => format!(
            "maxtcpqueries provided '{number}' needs to be -1 (unlimited) or a positive integer"
        ),
        Err(_) => format!(
            "invalid value for maxtcpqueries '{}': it is not a number",
            word.text
        ),
    };
    Err(word.error(text).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::corefile::{Source, parse};

    fn options(lines: &str) -> Result<StreamOptions, String> {
        let source = Source {
            name: "Corefile",
            text: &format!(". {{\n timeouts {lines}\n}}\n"),
            path: None,
        };
        let corefile = parse(&source, &["timeouts"], &|_| None).unwrap();
        let mut options = StreamOptions::default();
        read(&corefile.blocks[0].directives[0], &mut options).map_err(|error| error.to_string())?;
        Ok(options)
    }

    #[test]
    fn values_are_read() {
        let all = options("{\n read 10s\n write 1m30s\n idle 60\n maxtcpqueries 128\n }");
        let expected = StreamOptions {
            read: Some(Duration::from_secs(10)),
            write: Some(Duration::from_secs(90)),
            idle: Some(Duration::from_secs(60)),
            queries_max: Some(128),
        };
        assert_eq!(all, Ok(expected));
        let unlimited = options("{\n maxtcpqueries -1\n }").unwrap();
        assert_eq!(unlimited.queries_max, Some(u64::MAX));
        assert_eq!(unlimited.read, None);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, error) in [
            ("", "Corefile:2"),
            ("{\n }", "Corefile:3"),
            ("{\n }", "timeouts block with no timeouts specified"),
            ("5s {\n read 5s\n }", "Wrong argument count"),
            ("{\n read\n }", "Wrong argument count"),
            ("{\n read 1s 2s\n }", "Wrong argument count"),
            ("{\n raed 5s\n }", "did you mean 'read'?"),
            (
                "{\n read 500ms\n }",
                "timeout provided '500ms' needs to be between 1 second and 24 hours",
            ),
            ("{\n read 0\n }", "timeout provided '0' needs"),
            ("{\n idle 25h\n }", "timeout provided '25h' needs"),
            ("{\n idle 86401\n }", "timeout provided '86401' needs"),
            ("{\n idle 99999999999999999999\n }", "invalid duration"),
            ("{\n write soon\n }", "invalid duration 'soon'"),
            (
                "{\n maxtcpqueries 0\n }",
                "maxtcpqueries provided '0' needs",
            ),
            (
                "{\n maxtcpqueries -2\n }",
                "maxtcpqueries provided '-2' needs",
            ),
            (
                "{\n maxtcpqueries few\n }",
                "invalid value for maxtcpqueries 'few'",
            ),
        ] {
            let found = options(text).unwrap_err();
            assert!(found.contains(error), "{text}: {found}");
        }
    }
}
