//! SVCB records for DNS servers (RFC 9460, RFC 9461).
use std::net::IpAddr;

use corten_plugin::corefile::Transport;

use crate::config::Config;
use crate::{DISCOVERABLE, of_family};

/// SvcParamKeys (RFC 9460 section 14.3.2, RFC 9461 section 5), in the order in which they must stand.
const ALPN: u16 = 1;
const PORT: u16 = 3;
const IPV4HINT: u16 = 4;
const IPV6HINT: u16 = 6;
const DOHPATH: u16 = 7;

/// One encrypted transport on one port.
pub(crate) struct Designation<'c> {
    /// Its place in the clients' preference.
    pub(crate) rank: u16,
    pub(crate) transport: Transport,
    pub(crate) port: u16,
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) config: &'c Config,
}

/// The place of a transport in what clients should try: what costs them and us less comes first.
pub(crate) fn rank(transport: Transport) -> Option<u16> {
    let place = DISCOVERABLE.iter().position(|other| *other == transport)?;
    Some(place as u16 + 1)
}

impl Designation<'_> {
    /// The record's data.
    pub(crate) fn rdata(&self) -> Vec<u8> {
        let mut out = self.rank.to_be_bytes().to_vec();
        out.extend_from_slice(self.config.name.wire());
        // A client that does not know the protocol cannot use the record; `alpn` says which.
        let protocols: &[&str] = match self.transport {
            Transport::Quic => &["doq"],
            Transport::Https => &["h2", "http/1.1"],
            Transport::Https3 => &["h3"],
            _ => &["dot"],
        };
        let mut value = Vec::new();
        for protocol in protocols {
            value.push(protocol.len() as u8);
            value.extend_from_slice(protocol.as_bytes());
        }
        parameter(&mut out, ALPN, &value);
        if self.port != self.transport.default_port() {
            parameter(&mut out, PORT, &self.port.to_be_bytes());
        }
        for (key, v6) in [(IPV4HINT, false), (IPV6HINT, true)] {
            let mut value = Vec::new();
            for address in of_family(&self.addresses, v6) {
                match address {
                    IpAddr::V4(address) => value.extend_from_slice(&address.octets()),
                    IpAddr::V6(address) => value.extend_from_slice(&address.octets()),
                }
            }
            if !value.is_empty() {
                parameter(&mut out, key, &value);
            }
        }
        if matches!(self.transport, Transport::Https | Transport::Https3) {
            parameter(&mut out, DOHPATH, b"/dns-query{?dns}");
        }
        out
    }
}

fn parameter(out: &mut Vec<u8>, key: u16, value: &[u8]) {
    out.extend_from_slice(&key.to_be_bytes());
    // Values are short: protocols, and as many addresses as `config::HINTS_MAX`.
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_in_order() {
        let config = Config {
            name: "d.example".parse().unwrap(),
            ..Config::default()
        };
        let of = |transport, port, addresses: &[&str]| {
            let designation = Designation {
                rank: rank(transport).unwrap(),
                transport,
                port,
                addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
                config: &config,
            };
            designation.rdata()
        };
        let name = b"\x01d\x07example\0";
        let expected = [&b"\0\x02"[..], name, b"\0\x01\0\x04\x03dot"].concat();
        assert_eq!(of(Transport::Tls, 853, &[]), expected);
        let expected = [
            &b"\0\x03"[..],
            name,
            b"\0\x01\0\x03\x02h3\0\x03\0\x02\x20\xfb",
            b"\0\x04\0\x08\xc0\0\x02\x01\xc0\0\x02\x02",
            b"\0\x06\0\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01",
            b"\0\x07\0\x10/dns-query{?dns}",
        ]
        .concat();
        let hints = ["192.0.2.2", "2001:db8::1", "192.0.2.1", "192.0.2.2"];
        assert_eq!(of(Transport::Https3, 8443, &hints), expected);
        assert_eq!(rank(Transport::Dns), None);
        assert_eq!(rank(Transport::Grpc), None);
    }
}
