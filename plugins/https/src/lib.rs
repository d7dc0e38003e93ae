//! *https*: limits of DNS over HTTPS, and whose word about clients' addresses is taken.
use std::net::IpAddr;
use std::sync::Arc;

use corten_plugin::corefile::{Occurrence, Token};
use corten_plugin::{Directive, ForwardedHeader, HttpProxies, HttpsOptions, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "https",
    setup,
    readme: include_str!("../README.md"),
};

const PROPERTIES: &[&str] = &["forwarded_header", "max_connections", "trusted_proxies"];

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    setup.options.listener.https = read(&setup.only_occurrence()?)?;
    Ok(())
}

fn read(occurrence: &Occurrence<'_>) -> Result<HttpsOptions, SetupError> {
    occurrence.no_args()?;
    let mut options = HttpsOptions::default();
    let (mut trusted, mut header) = (Vec::new(), None);
    for option in occurrence.lines() {
        match option.name.text.as_str() {
            "max_connections" => {
                let number = match option.one_arg()?.parse_bound("max_connections", true)? {
                    0 => usize::MAX,
                    number => number as usize,
                };
                if options.connections_max.replace(number).is_some() {
                    return Err(option.already_defined().into());
                }
            }
            "trusted_proxies" => {
                for word in option.at_least(1)? {
                    trusted.push(network(word)?);
                }
            }
            "forwarded_header" => {
                if header
                    .replace(forwarded_header(option.one_arg()?)?)
                    .is_some()
                {
                    return Err(option.already_defined().into());
                }
                if trusted.is_empty()
                    && !occurrence
                        .lines()
                        .iter()
                        .any(|line| line.name.text == "trusted_proxies")
                {
                    return Err(option
                        .name
                        .error("forwarded_header without trusted_proxies")
                        .help("name the networks of the proxies: trusted_proxies 192.0.2.0/24")
                        .into());
                }
            }
            _ => return Err(option.unknown_property(PROPERTIES).into()),
        }
    }
    if !trusted.is_empty() {
        options.proxies = Some(Arc::new(HttpProxies {
            trusted,
            header: header.unwrap_or(ForwardedHeader::XForwardedFor),
        }));
    }
    Ok(options)
}

/// An address, or an address and how many of its bits count.
fn network(word: &Token) -> Result<(IpAddr, u8), SetupError> {
    let read = || {
        let (address, bits) = match word.text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (word.text.as_str(), None),
        };
        let address: IpAddr = address.parse().ok()?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            Some(bits) if bits.bytes().all(|octet| octet.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
            None => width,
        };
        (bits <= width).then_some((address, bits))
    };
    read().ok_or_else(|| {
        word.error(format!("'{}' is no network", word.text))
            .help("a network is an address, or an address and a number of bits, such as '192.0.2.0/24'")
            .into()
    })
}

fn forwarded_header(word: &Token) -> Result<ForwardedHeader, SetupError> {
    match word.text.to_ascii_lowercase().as_str() {
        "x-forwarded-for" => Ok(ForwardedHeader::XForwardedFor),
        "forwarded" => Ok(ForwardedHeader::Forwarded),
        _ => Err(word
            .error(format!("'{}' is no header field that is read", word.text))
            .help("one of X-Forwarded-For and Forwarded")
            .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::corefile::{Source, parse};

    fn options(lines: &str) -> Result<HttpsOptions, String> {
        let source = Source {
            name: "Corefile",
            text: &format!("https://. {{\n https {lines}\n}}\n"),
            path: None,
        };
        let corefile = parse(&source, &["https"], &|_| None).unwrap();
        let line = corefile.blocks[0].directives[0].occurrence().unwrap();
        read(&line).map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_read() {
        assert_eq!(options(""), Ok(HttpsOptions::default()));
        let some = options("{\n max_connections 50\n }").unwrap();
        assert_eq!(some.connections_max, Some(50));
        let any = options("{\n max_connections 0\n }").unwrap();
        assert_eq!(any.connections_max, Some(usize::MAX));
        assert_eq!(any.proxies, None);
        let text = "{\n forwarded_header Forwarded\n trusted_proxies 192.0.2.0/24 2001:db8::1\n trusted_proxies 10.0.0.0/8\n }";
        let proxies = options(text).unwrap().proxies.unwrap();
        assert_eq!(proxies.header, ForwardedHeader::Forwarded);
        assert_eq!(proxies.trusted.len(), 3);
        assert!(proxies.trusts("2001:db8::1".parse().unwrap()));
        assert!(!proxies.trusts("2001:db8::2".parse().unwrap()));
        assert!(proxies.trusts("::ffff:192.0.2.9".parse().unwrap()));
    }

    #[test]
    fn mistakes_are_told() {
        for (text, error) in [
            ("on", "Wrong argument count"),
            ("{\n max_streams 5\n }", "unknown property 'max_streams'"),
            (
                "{\n max_conections 5\n }",
                "did you mean 'max_connections'?",
            ),
            ("{\n max_connections -1\n }", "non-negative integer: -1"),
            (
                "{\n max_connections many\n }",
                "invalid max_connections value 'many'",
            ),
            ("{\n max_connections\n }", "Wrong argument count"),
            (
                "{\n max_connections 5\n max_connections 6\n }",
                "Corefile:4 - Error during parsing: max_connections already defined for this server block",
            ),
            ("{\n trusted_proxies\n }", "Wrong argument count"),
            (
                "{\n trusted_proxies localhost\n }",
                "'localhost' is no network",
            ),
            ("{\n trusted_proxies 10.0.0.0/33\n }", "is no network"),
            (
                "{\n forwarded_header Forwarded\n }",
                "without trusted_proxies",
            ),
            (
                "{\n trusted_proxies ::1\n forwarded_header X-Real-IP\n }",
                "one of X-Forwarded-For and Forwarded",
            ),
        ] {
            let found = options(text).unwrap_err();
            assert!(found.contains(error), "{text}: {found}");
        }
    }
}
