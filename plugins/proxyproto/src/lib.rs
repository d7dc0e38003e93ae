//! *proxyproto*: the client's address from PROXY protocol headers.
use std::net::IpAddr;
use std::sync::Arc;

use corten_plugin::corefile::{Line, Occurrence, Token};
use corten_plugin::{Directive, HeaderPolicy, ProxyProtocol, SessionTracking, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "proxyproto",
    setup,
    readme: include_str!("../README.md"),
};

const PROPERTIES: &[&str] = &["allow", "default", "udp_session_tracking"];
/// CoreDNS's number.
const SESSIONS: usize = 10_240;
/// More would take gigabytes.
const SESSIONS_MAX: usize = 10_000_000;

#[derive(Default)]
struct Config {
    trusted: Vec<(IpAddr, u8)>,
    others: Option<HeaderPolicy>,
    sessions: Option<SessionTracking>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut config = Config::default();
    for line in setup.occurrences()? {
        config.read(&line)?;
    }
    setup.options.listener.proxy = Some(Arc::new(config.finish()));
    Ok(())
}

impl Config {
    fn read(&mut self, line: &Occurrence<'_>) -> Result<(), SetupError> {
        line.no_args()?;
        for option in line.lines() {
            option.no_block()?;
            match option.name.text.as_str() {
                "allow" => {
                    for word in option.at_least(1)? {
                        self.trusted.push(network(word)?);
                    }
                }
                "default" => self.others = Some(policy(option)?),
                "udp_session_tracking" => self.sessions = tracking(option)?,
                _ => return Err(option.unknown_property(PROPERTIES).into()),
            }
        }
        Ok(())
    }

    fn finish(self) -> ProxyProtocol {
        let others = match self.trusted.is_empty() {
            true => HeaderPolicy::Use,
            false => HeaderPolicy::Ignore,
        };
        ProxyProtocol {
            trusted: self.trusted,
            others: self.others.unwrap_or(others),
            sessions: self.sessions,
        }
    }
}

/// An address and how many of its bits count.
fn network(word: &Token) -> Result<(IpAddr, u8), SetupError> {
    let read = || {
        let (address, bits) = word.text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let digits = bits.bytes().all(|octet| octet.is_ascii_digit());
        let bits: u8 = bits.parse().ok().filter(|_| digits)?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        (bits <= width).then_some((address, bits))
    };
    read().ok_or_else(|| {
        let text = format!("{}: invalid CIDR address: {}", word.text, word.text);
        let help = match word.text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => format!("a single address is '{address}/32'"),
            Ok(IpAddr::V6(address)) => format!("a single address is '{address}/128'"),
            Err(_) => "a network is an address and a number of bits, such as '192.0.2.0/24'".into(),
        };
        word.error(text).help(help).into()
    })
}

fn policy(option: &Line<'_>) -> Result<HeaderPolicy, SetupError> {
    let word = option.one_arg()?;
    match word.text.to_ascii_lowercase().as_str() {
        "use" => Ok(HeaderPolicy::Use),
        "ignore" => Ok(HeaderPolicy::Ignore),
        "reject" => Ok(HeaderPolicy::Reject),
        "skip" => Ok(HeaderPolicy::Skip),
        _ => Err(option
            .argument_error()
            .help("the default is one of use, ignore, reject and skip")
            .into()),
    }
}

/// How long a header counts, and for how many peers; nothing for a time of zero.
fn tracking(option: &Line<'_>) -> Result<Option<SessionTracking>, SetupError> {
    let words = option.args_between(1, 2)?;
    let name = "udp_session_tracking";
    let text = &words[0].text;
    let ttl = words[0].parse_duration().map_err(|_| {
        words[0]
            .error(format!("{name}: invalid duration \"{text}\""))
            .help("a duration is a number and a unit (ms, s, m, h), such as '28s'")
    })?;
    let sessions_max = match words.get(1) {
        None => SESSIONS,
        Some(word) => {
            let number = word.text.parse().ok();
            number
                .filter(|number| (1..=SESSIONS_MAX).contains(number))
                .ok_or_else(|| {
                    word.error(format!(
                        "{name}: invalid max sessions \"{}\": must be a positive integer",
                        word.text
                    ))
                    .help(format!("{SESSIONS_MAX} is the most"))
                })?
        }
    };
    Ok((!ttl.is_zero()).then_some(SessionTracking { ttl, sessions_max }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use corten_plugin::corefile::{Source, parse};

    fn config(lines: &str) -> Result<ProxyProtocol, String> {
        let source = Source {
            name: "Corefile",
            text: &format!(". {{\n proxyproto {lines}\n}}\n"),
            path: None,
        };
        let corefile = parse(&source, &["proxyproto"], &|_| None).unwrap();
        let line = corefile.blocks[0].directives[0].occurrence().unwrap();
        let mut config = Config::default();
        config.read(&line).map_err(|error| error.to_string())?;
        Ok(config.finish())
    }

    #[test]
    fn options_are_read() {
        let nets = vec![
            (IpAddr::from([192, 0, 2, 0]), 24),
            ("2001:db8::".parse().unwrap(), 32),
        ];
        for (text, trusted, others) in [
            ("", vec![], HeaderPolicy::Use),
            ("{\n default skip\n }", vec![], HeaderPolicy::Skip),
            (
                "{\n allow 192.0.2.0/24 2001:db8::/32\n }",
                nets.clone(),
                HeaderPolicy::Ignore,
            ),
            (
                "{\n default Reject\n allow 192.0.2.0/24\n allow 2001:db8::/32\n }",
                nets,
                HeaderPolicy::Reject,
            ),
        ] {
            let expected = ProxyProtocol {
                trusted,
                others,
                sessions: None,
            };
            assert_eq!(config(text), Ok(expected), "{text}");
        }
        for (text, sessions) in [
            ("28s", Some((28, SESSIONS))),
            ("28s 20000", Some((28, 20_000))),
            ("0", None),
        ] {
            let found = config(&format!("{{\n udp_session_tracking {text}\n }}")).unwrap();
            let expected = sessions.map(|(seconds, sessions_max)| SessionTracking {
                ttl: Duration::from_secs(seconds),
                sessions_max,
            });
            assert_eq!(found.sessions, expected, "{text}");
        }
    }

    #[test]
    fn mistakes_are_told() {
        for (text, error) in [
            ("on", "Wrong argument count"),
            ("{\n allow\n }", "Wrong argument count"),
            (
                "{\n allow 192.0.2.1\n }",
                "192.0.2.1: invalid CIDR address: 192.0.2.1",
            ),
            (
                "{\n allow 192.0.2.1\n }",
                "a single address is '192.0.2.1/32'",
            ),
            ("{\n allow 192.0.2.0/33\n }", "invalid CIDR address"),
            ("{\n allow 192.0.2.0/+8\n }", "invalid CIDR address"),
            ("{\n allow example.org/8\n }", "such as '192.0.2.0/24'"),
            ("{\n default\n }", "after 'default'"),
            ("{\n default drop\n }", "after 'drop'"),
            ("{\n default drop\n }", "use, ignore, reject and skip"),
            (
                "{\n udp_session_tracking long\n }",
                "udp_session_tracking: invalid duration \"long\"",
            ),
            (
                "{\n udp_session_tracking 28s 0\n }",
                "udp_session_tracking: invalid max sessions \"0\": must be a positive integer",
            ),
            ("{\n udp_session_tracking\n }", "Wrong argument count"),
            ("{\n alow 192.0.2.0/24\n }", "did you mean 'allow'?"),
        ] {
            let found = config(text).unwrap_err();
            assert!(found.contains(error), "{text}: {found}");
        }
    }
}
