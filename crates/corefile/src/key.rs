//! Zones, schemes and ports of keys.
use std::fmt::Write;
use std::net::IpAddr;

use crate::error::ParseError;
use crate::lex::Token;

/// Octets of the longest name in presentation form that CoreDNS takes.
const ZONE_OCTETS_MAX: usize = 255;
/// Octets of the longest label (RFC 1035 section 2.3.4).
const LABEL_OCTETS_MAX: usize = 63;

/// What carries queries to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// UDP and TCP.
    Dns,
    /// DNS over TLS (RFC 7858).
    Tls,
    /// DNS over QUIC (RFC 9250).
    Quic,
    /// DNS over HTTPS (RFC 8484).
    Https,
    /// DNS over HTTP/3.
    Https3,
    /// CoreDNS's gRPC service.
    Grpc,
}

impl Transport {
    const ALL: [Self; 6] = [
        Self::Dns,
        Self::Tls,
        Self::Quic,
        Self::Https,
        Self::Https3,
        Self::Grpc,
    ];

    /// What stands in front of `://`.
    pub const fn scheme(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Https => "https",
            Self::Https3 => "https3",
            Self::Grpc => "grpc",
        }
    }

    /// The port of a key that names none; plain DNS's can be changed on the command line.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Dns => 53,
            Self::Tls | Self::Quic => 853,
            Self::Https | Self::Https3 | Self::Grpc => 443,
        }
    }
}

/// One zone that a server block is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// What carries its queries.
    pub transport: Transport,
    /// The zone in presentation form, lower-cased, with the final dot.
    pub zone: String,
    /// The port, if the key names one.
    pub port: Option<u16>,
    /// The token that the key, or the CIDR it was made from, stands in.
    pub token: Token,
}

/// A word that names no zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ZoneError {
    /// More than 255 characters.
    #[error("specified zone is too long: {0} > 255")]
    TooLong(usize),
    /// An empty or too long label, or a bad escape.
    #[error("zone is not a valid domain name: {0}")]
    NotAName(String),
    /// A colon with nothing behind it.
    #[error("expecting data after last colon: {0:?}")]
    NoPort(String),
    /// A number that is no port.
    #[error("port '{0}' is not between 1 and 65535")]
    Port(String),
}

/// The keys that a token stands for: one, or several for a CIDR that does not end at an octet or
/// nibble.
pub(crate) fn read(token: &Token) -> Result<Vec<Key>, ParseError> {
    let (transport, rest) = Transport::ALL
        .into_iter()
        .find_map(|transport| {
            Some((
                transport,
                token
                    .text
                    .strip_prefix(transport.scheme())?
                    .strip_prefix("://")?,
            ))
        })
        .unwrap_or((Transport::Dns, &token.text));
    let explain =
        |error: ZoneError| token.error(format!("error inspecting server blocks: {error}"));
    let (zone, port) = split_port(rest).map_err(explain)?;
    let zones = parse_zone_or_cidr(zone).map_err(explain)?;
    Ok(zones
        .into_iter()
        .map(|zone| Key {
            transport,
            zone,
            port,
            token: token.clone(),
        })
        .collect())
}

/// Takes the port off: what follows the last colon, if it is a number.
fn split_port(text: &str) -> Result<(&str, Option<u16>), ZoneError> {
    match text.rsplit_once(':') {
        Some((_, "")) => Err(ZoneError::NoPort(text.to_owned())),
        Some((zone, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => {
            let number = port
                .parse()
                .ok()
                .filter(|port| *port != 0)
                .ok_or_else(|| ZoneError::Port(port.to_owned()))?;
            Ok((zone, Some(number)))
        }
        _ => Ok((text, None)),
    }
}

/// Zones in presentation form, lower-cased and with the final dot, that a word stands for: itself,
/// or the reverse zones that cover a CIDR.
///
/// Reverse zones begin at octets (IPv4) and nibbles (IPv6), so a prefix between them stands for
/// several: a /22 for four. A bare address is a name like any other.
///
/// ```
/// # use corten_corefile::parse_zone_or_cidr;
/// assert_eq!(parse_zone_or_cidr("Example.org").unwrap(), ["example.org."]);
/// assert_eq!(parse_zone_or_cidr("10.0.0.0/8").unwrap(), ["10.in-addr.arpa."]);
/// assert_eq!(parse_zone_or_cidr("10.2.0.0/23").unwrap(), ["0.2.10.in-addr.arpa.", "1.2.10.in-addr.arpa."]);
/// ```
pub fn parse_zone_or_cidr(text: &str) -> Result<Vec<String>, ZoneError> {
    if let Some(zones) = reverse_zones(text) {
        return Ok(zones);
    }
    if text.len() > ZONE_OCTETS_MAX {
        return Err(ZoneError::TooLong(text.len()));
    }
    let mut zone = text.to_lowercase();
    if !is_name(&zone) {
        return Err(ZoneError::NotAName(text.to_owned()));
    }
    if !zone.ends_with('.') {
        zone.push('.');
    }
    Ok(vec![zone])
}

/// Whether the text is a domain name: labels of 1 to 63 octets, escapes counted as one.
fn is_name(text: &str) -> bool {
    if text == "." {
        return true;
    }
    let (mut octets, mut label, mut name) = (text.bytes(), 0, 1);
    while let Some(octet) = octets.next() {
        match octet {
            b'.' if label == 0 => return false,
            b'.' => (label, name) = (0, name + label + 1),
            b'\\' => {
                let escaped = octets.next();
                if escaped.is_some_and(|octet| octet.is_ascii_digit()) {
                    let (Some(b'0'..=b'9'), Some(b'0'..=b'9')) = (octets.next(), octets.next())
                    else {
                        return false;
                    };
                } else if escaped.is_none() {
                    return false;
                }
                label += 1;
            }
            _ => label += 1,
        }
        if label > LABEL_OCTETS_MAX {
            return false;
        }
    }
    let whole = if label == 0 { name } else { name + label + 1 };
    !text.is_empty() && whole <= ZONE_OCTETS_MAX
}

fn reverse_zones(text: &str) -> Option<Vec<String>> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits): (IpAddr, u32) = (address.parse().ok()?, bits.parse().ok()?);
    // The address as digits of the reverse zone: octets in decimal, or nibbles in hexadecimal.
    let (digits, width, suffix): (Vec<u32>, u32, &str) = match address {
        IpAddr::V4(v4) => (v4.octets().map(u32::from).to_vec(), 8, "in-addr.arpa."),
        IpAddr::V6(v6) => (
            v6.octets()
                .iter()
                .flat_map(|octet| [u32::from(octet >> 4), u32::from(octet & 15)])
                .collect(),
            4,
            "ip6.arpa.",
        ),
    };
    if bits > digits.len() as u32 * width {
        return None;
    }
    let kept = bits.div_ceil(width) as usize;
    let free = (kept as u32 * width - bits) as usize;
    let last = kept
        .checked_sub(1)
        .and_then(|last| digits.get(last))
        .map_or(0, |digit| digit >> free << free);
    let zones = (0..1u32 << free).map(|offset| {
        let mut zone = String::new();
        for (index, digit) in digits[..kept].iter().enumerate().rev() {
            let digit = if index + 1 == kept {
                last + offset
            } else {
                *digit
            };
            let _ = if width == 8 {
                write!(zone, "{digit}.")
            } else {
                write!(zone, "{digit:x}.")
            };
        }
        zone + suffix
    });
    Some(zones.collect())
}

/// Whether a zone's labels are letters, digits and hyphens, begin with a letter and do not end with
/// a hyphen (RFC 1035 section 2.3.1). The root and reverse zones count as well-formed.
pub fn follows_preferred_syntax(zone: &str) -> bool {
    if zone == "." || zone.ends_with(".in-addr.arpa.") || zone.ends_with(".ip6.arpa.") {
        return true;
    }
    zone.trim_end_matches('.').split('.').all(|label| {
        label.starts_with(|c: char| c.is_ascii_alphabetic())
            && label.ends_with(|c: char| c.is_ascii_alphanumeric())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::{Location, SourceFile};
    use std::sync::Arc;

    fn keys(text: &str) -> Result<Vec<String>, String> {
        let file = Arc::new(SourceFile {
            name: "Corefile".into(),
            text: text.into(),
        });
        let at = Location {
            file,
            line: 1,
            column: 1,
            imported_from: None,
        };
        let token = Token {
            text: text.into(),
            at,
            quoted: false,
            line_start: true,
        };
        let shown = |key: Key| format!("{}://{}:{:?}", key.transport.scheme(), key.zone, key.port);
        read(&token)
            .map(|keys| keys.into_iter().map(shown).collect())
            .map_err(|error| error.text().to_owned())
    }

    #[test]
    fn keys_have_scheme_zone_and_port() {
        for (text, expected) in [
            ("example.org", &["dns://example.org.:None"][..]),
            ("Example.ORG.:5353", &["dns://example.org.:Some(5353)"]),
            (".:53", &["dns://.:Some(53)"]),
            ("tls://.", &["tls://.:None"]),
            ("https3://a:8443", &["https3://a.:Some(8443)"]),
            ("TLS://a", &["dns://tls://a.:None"]),
            ("192.0.2.1", &["dns://192.0.2.1.:None"]),
            ("10.0.0.0/8:54", &["dns://10.in-addr.arpa.:Some(54)"]),
            (
                "2001:db8::/32:54",
                &["dns://8.b.d.0.1.0.0.2.ip6.arpa.:Some(54)"],
            ),
            ("2001:db8::/32", &["dns://8.b.d.0.1.0.0.2.ip6.arpa.:None"]),
            (r"a\.b.c", &[r"dns://a\.b.c.:None"]),
        ] {
            assert_eq!(keys(text).unwrap(), expected, "{text}");
        }
        assert_eq!(keys("10.2.0.0/22").unwrap().len(), 4);
        assert_eq!(
            keys("10.2.0.0/22").unwrap()[3],
            "dns://3.2.10.in-addr.arpa.:None"
        );
        assert_eq!(keys("2001:db8:1::/49").unwrap().len(), 8);
        assert_eq!(
            keys("2001:db8:1::/49").unwrap()[7],
            "dns://7.1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.:None"
        );
        assert_eq!(keys("0.0.0.0/0").unwrap(), ["dns://in-addr.arpa.:None"]);
        assert_eq!(
            keys("192.0.2.1/32").unwrap(),
            ["dns://1.2.0.192.in-addr.arpa.:None"]
        );
    }

    #[test]
    fn what_is_no_zone_is_refused() {
        let long = "a123456789.".repeat(25);
        for (text, error) in [
            (
                "example.org:",
                r#"expecting data after last colon: "example.org:""#,
            ),
            (
                "example.org:70000",
                "port '70000' is not between 1 and 65535",
            ),
            ("example.org:0", "port '0' is not between 1 and 65535"),
            ("a..example", "zone is not a valid domain name: a..example"),
            (".example", "zone is not a valid domain name: .example"),
            (":53", "zone is not a valid domain name: "),
            (
                &"a".repeat(64),
                &format!("zone is not a valid domain name: {}", "a".repeat(64)),
            ),
            (&long, "specified zone is too long: 275 > 255"),
            ("", "zone is not a valid domain name: "),
        ] {
            assert_eq!(
                keys(text),
                Err(format!("error inspecting server blocks: {error}")),
                "{text}"
            );
        }
    }

    #[test]
    fn preferred_syntax_is_letters_digits_and_hyphens() {
        for (zone, follows) in [
            (".", true),
            ("example.org.", true),
            ("a-1.b2.", true),
            ("under_score.example.", false),
            ("1st.example.", false),
            ("a-.example.", false),
            ("10.in-addr.arpa.", true),
            ("}.", false),
        ] {
            assert_eq!(follows_preferred_syntax(zone), follows, "{zone}");
        }
    }
}
