//! The directive's options.
use std::net::IpAddr;

use corten_plugin::SetupError;
use corten_plugin::corefile::{Occurrence, Transport};
use corten_plugin::wire::Name;

use crate::DISCOVERABLE;

/// Seconds; RFC 9462 wants nothing in particular.
const TTL: u32 = 300;
/// RFC 2181 section 8.
const TTL_MAX: u32 = i32::MAX as u32;
/// Addresses that are hinted at, at most.
const HINTS_MAX: usize = 16;
const PROPERTIES: &[&str] = &["hint", "transports", "ttl"];

/// What is told.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// Whom the certificates are made for.
    pub(crate) name: Name,
    /// Addresses of that name.
    pub(crate) hints: Vec<IpAddr>,
    /// Transports that may be told of.
    pub(crate) transports: Vec<Transport>,
    /// Seconds.
    pub(crate) ttl: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: Name::root(),
            hints: Vec::new(),
            transports: DISCOVERABLE.to_vec(),
            ttl: TTL,
        }
    }
}

impl Config {
    pub(crate) fn read(line: &Occurrence<'_>) -> Result<Self, SetupError> {
        let word = line.args_between(1, 1)?[0];
        let name: Name = word
            .text
            .parse()
            .map_err(|error| word.error(format!("'{}': {error}", word.text)))?;
        if name.label_count() == 0 {
            let error = word.error("the root is no server's name");
            return Err(error
                .help("the name that the certificates are made for")
                .into());
        }
        let mut config = Self {
            name,
            ..Self::default()
        };
        for option in line.lines() {
            match option.name.text.as_str() {
                "hint" => {
                    for word in option.at_least(1)? {
                        let address: IpAddr = word.text.parse().map_err(|_| {
                            word.error(format!("'{}' is not an IP address", word.text))
                        })?;
                        config.hints.push(address);
                        if config.hints.len() > HINTS_MAX {
                            let text = format!("more than {HINTS_MAX} addresses");
                            return Err(word.error(text).into());
                        }
                    }
                }
                "transports" => {
                    config.transports.clear();
                    for word in option.at_least(1)? {
                        let known = DISCOVERABLE
                            .iter()
                            .find(|transport| transport.scheme() == word.text);
                        let Some(transport) = known else {
                            let text = format!("'{}' cannot be discovered", word.text);
                            let error = word.error(text);
                            return Err(error.help("quic, tls, https3 and https can").into());
                        };
                        config.transports.push(*transport);
                    }
                }
                "ttl" => {
                    let word = option.one_arg()?;
                    let ttl = word.text.parse().ok().filter(|ttl| *ttl <= TTL_MAX);
                    config.ttl = ttl.ok_or_else(|| {
                        word.error(format!("'{}' is not a number of seconds", word.text))
                    })?;
                }
                _ => return Err(option.unknown_property(PROPERTIES).into()),
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::corefile::{Source, parse};

    fn config(text: &str) -> Result<Config, String> {
        let source = Source {
            name: "Corefile",
            text: &format!(". {{\n ddr {text}\n}}\n"),
            path: None,
        };
        let corefile = parse(&source, &["ddr"], &|_| None).unwrap();
        let line = corefile.blocks[0].directives[0].occurrence().unwrap();
        Config::read(&line).map_err(|error| error.to_string())
    }

    #[test]
    fn options_are_read() {
        let all = config(
            "dns.example.org {\n hint 192.0.2.1 2001:db8::1\n transports tls https\n ttl 60\n }",
        );
        let all = all.unwrap();
        assert_eq!(all.name.to_string(), "dns.example.org.");
        assert_eq!(all.hints.len(), 2);
        assert_eq!(all.transports, [Transport::Tls, Transport::Https]);
        assert_eq!(all.ttl, 60);
        let usual = config("dns.example.org").unwrap();
        assert_eq!((usual.transports.len(), usual.ttl), (4, 300));
    }

    #[test]
    fn mistakes_are_told() {
        for (text, error) in [
            ("", "Wrong argument count"),
            ("a.example b.example", "Wrong argument count"),
            (".", "the root is no server's name"),
            ("a..example", "'a..example'"),
            (
                "d.example {\n hint here\n }",
                "Corefile:3 - Error during parsing: 'here' is not an IP address",
            ),
            (
                "d.example {\n transports tls grpc\n }",
                "'grpc' cannot be discovered",
            ),
            (
                "d.example {\n ttl -1\n }",
                "'-1' is not a number of seconds",
            ),
            ("d.example {\n ttl 2147483648\n }", "is not a number"),
            ("d.example {\n hints 192.0.2.1\n }", "did you mean 'hint'?"),
        ] {
            let found = config(text).unwrap_err();
            assert!(found.contains(error), "{text}: {found}");
        }
    }
}
