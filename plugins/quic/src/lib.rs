//! *quic*: bounds of DNS over QUIC.
use corten_plugin::corefile::Directive as Lines;
use corten_plugin::{Directive, QuicOptions, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "quic",
    setup,
    readme: include_str!("../README.md"),
};

const PROPERTIES: &[&str] = &["max_streams", "worker_pool_size"];

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut options = QuicOptions::default();
    for lines in setup.parts.lines {
        read(lines, &mut options)?;
    }
    setup.options.listener.quic = options;
    Ok(())
}

fn read(lines: &Lines, options: &mut QuicOptions) -> Result<(), SetupError> {
    let line = lines.occurrence()?;
    line.no_args()?;
    for option in line.lines() {
        let is_again = match option.name.text.as_str() {
            "max_streams" => {
                let number = option.one_arg()?.parse_bound("max_streams", false)?;
                options.streams_max.replace(number).is_some()
            }
            "worker_pool_size" => {
                let number = option.one_arg()?.parse_bound("worker_pool_size", false)?;
                options.waiting_max.replace(number as usize).is_some()
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

    fn options(text: &str) -> Result<QuicOptions, String> {
        let source = Source {
            name: "Corefile",
            text: &format!("quic://. {{\n quic {text}\n}}\n"),
            path: None,
        };
        let corefile = parse(&source, &["quic"], &|_| None).unwrap();
        let mut options = QuicOptions::default();
        read(&corefile.blocks[0].directives[0], &mut options).map_err(|error| error.to_string())?;
        Ok(options)
    }

    #[test]
    fn numbers_are_read() {
        assert_eq!(options(""), Ok(QuicOptions::default()));
        assert_eq!(options("{\n }"), Ok(QuicOptions::default()));
        let both = QuicOptions {
            streams_max: Some(16),
            waiting_max: Some(65),
        };
        assert_eq!(
            options("{\n max_streams 16\n worker_pool_size 65\n }"),
            Ok(both)
        );
    }

    #[test]
    fn mistakes_are_told() {
        for (text, error) in [
            ("fast", "Wrong argument count"),
            ("{\n max_streams\n }", "Wrong argument count"),
            ("{\n max_streams 1 2\n }", "Wrong argument count"),
            (
                "{\n max_streams 0\n }",
                "max_streams must be a positive integer: 0",
            ),
            (
                "{\n worker_pool_size -1\n }",
                "worker_pool_size must be a positive integer: -1",
            ),
            (
                "{\n worker_pool_size some\n }",
                "invalid worker_pool_size value 'some'",
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
