//! The client's address as a trusted proxy tells it: `X-Forwarded-For`, or `Forwarded` (RFC 7239).
//!
//! Each proxy adds the address that it sees at the end, so the list is read from there: the first
//! address that is no trusted proxy is the client. What stands before it anybody may have written.
use std::net::{IpAddr, SocketAddr};

/// Proxies in a row that are looked at.
const HOPS_MAX: usize = 16;

/// The client that the last of the trusted proxies saw; nothing when the list does not tell.
pub(crate) fn client(values: &[u8], trusted: impl Fn(IpAddr) -> bool) -> Option<SocketAddr> {
    let mut client = None;
    for element in values.rsplit(|octet| *octet == b',').take(HOPS_MAX) {
        let address = node(element)?;
        client = Some(address);
        if !trusted(address.ip()) {
            break;
        }
    }
    client
}

/// The address in an element: `192.0.2.1`, `[2001:db8::1]:4711`, or the parameter `for=` of one.
fn node(element: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(element).ok()?.trim();
    let parameter = text.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.eq_ignore_ascii_case("for").then_some(value)
    });
    let text = parameter.unwrap_or(text).trim_matches('"');
    let address = text
        .parse::<SocketAddr>()
        .or_else(|_| text.parse::<IpAddr>().map(|ip| (ip, 0).into()))
        .or_else(|_| {
            let inner = text
                .strip_prefix('[')
                .and_then(|text| text.strip_suffix(']'));
            inner
                .unwrap_or("")
                .parse::<IpAddr>()
                .map(|ip| (ip, 0).into())
        })
        .ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_from_the_end_that_is_no_proxy_is_the_client() {
        let trusted = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if ip.octets()[0] == 10);
        for (values, expected) in [
            ("192.0.2.1", Some("192.0.2.1:0")),
            ("198.51.100.1, 192.0.2.1", Some("192.0.2.1:0")),
            ("192.0.2.1, 10.0.0.1, 10.0.0.2", Some("192.0.2.1:0")),
            ("10.0.0.1", Some("10.0.0.1:0")),
            ("192.0.2.1:4711", Some("192.0.2.1:4711")),
            ("::ffff:192.0.2.1", Some("192.0.2.1:0")),
            ("[2001:db8::1]", Some("[2001:db8::1]:0")),
            (
                "for=192.0.2.60;proto=http;by=203.0.113.43",
                Some("192.0.2.60:0"),
            ),
            ("For=\"[2001:db8::17]:4711\"", Some("[2001:db8::17]:4711")),
            ("for=192.0.2.43, for=10.1.1.1", Some("192.0.2.43:0")),
            ("for=unknown", None),
            ("for=_hidden, for=10.1.1.1", None),
            ("", None),
            ("192.0.2.1, garbage", None),
        ] {
            let found = client(values.as_bytes(), trusted);
            assert_eq!(
                found,
                expected.map(|text| text.parse().unwrap()),
                "{values}"
            );
        }
    }
}
