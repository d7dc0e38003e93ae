//! *grpc_server*: limits of DNS over gRPC.
use corten_plugin::corefile::Occurrence;
use corten_plugin::{Directive, GrpcOptions, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "grpc_server",
    setup,
    readme: include_str!("../README.md"),
};

const PROPERTIES: &[&str] = &["max_connections", "max_streams"];
/// Calls of a connection where any number is allowed: each may hold a message.
const STREAMS_MAX: u32 = 4096;

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    setup.options.listener.grpc = read(&setup.only_occurrence()?)?;
    Ok(())
}

fn read(occurrence: &Occurrence<'_>) -> Result<GrpcOptions, SetupError> {
    occurrence.no_args()?;
    let mut options = GrpcOptions::default();
    for option in occurrence.lines() {
        let before = match option.name.text.as_str() {
            "max_streams" => {
                let streams = match option.one_arg()?.parse_bound("max_streams", true)? {
                    0 => STREAMS_MAX,
                    number => number.min(STREAMS_MAX),
                };
                options.streams_max.replace(streams).is_some()
            }
            "max_connections" => {
                let connections = match option.one_arg()?.parse_bound("max_connections", true)? {
                    0 => usize::MAX,
                    number => number as usize,
                };
                options.connections_max.replace(connections).is_some()
            }
            _ => return Err(option.unknown_property(PROPERTIES).into()),
        };
        if before {
            return Err(option.already_defined().into());
        }
    }
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::corefile::{Source, parse};

    fn options(lines: &str) -> Result<GrpcOptions, String> {
        let source = Source {
            name: "Corefile",
            text: &format!("grpc://. {{\n grpc_server {lines}\n}}\n"),
            path: None,
        };
        let corefile = parse(&source, &["grpc_server"], &|_| None).unwrap();
        let line = corefile.blocks[0].directives[0].occurrence().unwrap();
        read(&line).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_read() {
        assert_eq!(options(""), Ok(GrpcOptions::default()));
        let both = options("{\n max_streams 20\n max_connections 10\n }").unwrap();
        assert_eq!(
            (both.streams_max, both.connections_max),
            (Some(20), Some(10))
        );
        let any = options("{\n max_streams 0\n max_connections 0\n }").unwrap();
        assert_eq!(
            (any.streams_max, any.connections_max),
            (Some(STREAMS_MAX), Some(usize::MAX))
        );
    }

    #[test]
    fn mistakes_are_told() {
        for (text, error) in [
            ("on", "Wrong argument count"),
            ("{\n max_stream 5\n }", "did you mean 'max_streams'?"),
            (
                "{\n max_streams -1\n }",
                "max_streams must be a non-negative integer: -1",
            ),
            (
                "{\n max_connections few\n }",
                "invalid max_connections value 'few'",
            ),
            ("{\n max_streams\n }", "Wrong argument count"),
            (
                "{\n max_streams 5\n max_streams 6\n }",
                "max_streams already defined for this server block",
            ),
        ] {
            let found = options(text).unwrap_err();
            assert!(found.contains(error), "{text}: {found}");
        }
    }
}
