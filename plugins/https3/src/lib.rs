//! *https3*: bounds of DNS over HTTP/3.
use corten_plugin::corefile::Directive as Lines;
use corten_plugin::{Directive, Https3Options, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "https3",
    setup,
    readme: include_str!("../README.md"),
};

/// What `max_streams 0` means to CoreDNS: the number that its QUIC library has by itself.
const STREAMS_OF_THE_LIBRARY: u32 = 100;
const PROPERTIES: &[&str] = &["max_connections", "max_streams"];

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut options = Https3Options::default();
    for lines in setup.parts.lines {
        read(lines, &mut options)?;
    }
    setup.options.listener.https3 = options;
    Ok(())
}

fn read(lines: &Lines, options: &mut Https3Options) -> Result<(), SetupError> {
    let line = lines.occurrence()?;
    line.no_args()?;
    for option in line.lines() {
        let is_again = match option.name.text.as_str() {
            "max_streams" => {
                let number = match option.one_arg()?.parse_bound("max_streams", true)? {
                    0 => STREAMS_OF_THE_LIBRARY,
                    number => number,
                };
                options.streams_max.replace(number).is_some()
            }
            "max_connections" => {
                let number = match option.one_arg()?.parse_bound("max_connections", true)? {
                    0 => usize::MAX,
                    number => number as usize,
                };
                options.connections_max.replace(number).is_some()
            }
            _ => return Err(option.unknown_property(PROPERTIES).into()),
        };
        if is_again {
            return Err(option.already_defined().into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::corefile::{Source, parse};

    fn options(text: &str) -> Result<Https3Options, String> {
        let source = Source {
            name: "Corefile",
            text: &format!("https3://. {{\n https3 {text}\n}}\n"),
            path: None,
        };
        let corefile = parse(&source, &["https3"], &|_| None).unwrap();
        let mut options = Https3Options::default();
        read(&corefile.blocks[0].directives[0], &mut options).map_err(|error| error.to_string())?;
        Ok(options)
    }

    #[test]
    fn numbers_are_read() {
        assert_eq!(options(""), Ok(Https3Options::default()));
        assert_eq!(options("{\n }"), Ok(Https3Options::default()));
        let both = Https3Options {
            streams_max: Some(16),
            connections_max: Some(65),
        };
        assert_eq!(
            options("{\n max_streams 16\n max_connections 65\n }"),
            Ok(both)
        );
    }

    #[test]
    fn zero_is_no_bound() {
        let none = Https3Options {
            streams_max: Some(100),
            connections_max: Some(usize::MAX),
        };
        assert_eq!(
            options("{\n max_streams 0\n max_connections 0\n }"),
            Ok(none)
        );
    }

    #[test]
    fn mistakes_are_told() {
        for (text, error) in [
            ("fast", "Wrong argument count"),
            ("{\n max_streams\n }", "Wrong argument count"),
            ("{\n max_streams 1 2\n }", "Wrong argument count"),
            (
                "{\n max_connections -1\n }",
                "max_connections must be a non-negative integer: -1",
            ),
            (
                "{\n max_connections some\n }",
                "invalid max_connections value 'some'",
            ),
            ("{\n max_streams 4294967296\n }", "is greater than"),
            (
                "{\n max_streams 5\n max_streams 5\n }",
                "Corefile:4 - Error during parsing: max_streams already defined for this server block",
            ),
            ("{\n max_stream 5\n }", "unknown property 'max_stream'"),
        ] {
            let found = options(text).unwrap_err();
            assert!(found.contains(error), "{text}: {found}");
        }
    }
}
