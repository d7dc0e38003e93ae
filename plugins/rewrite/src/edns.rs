//! Rules that set EDNS options of the query.
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use corten_plugin::Exchange;
use corten_plugin::wire::Query;

/// Octets that an OPT record says when the client sent none; CoreDNS's number.
const UDP_SIZE: u16 = 4096;
/// Option codes (IANA "DNS EDNS0 Option Codes").
pub(crate) const NSID: u16 = 3;
pub(crate) const SUBNET: u16 = 8;

/// What is done with an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Added, or changed where there is one.
    Set,
    /// Added where there is none.
    Append,
    /// Changed where there is one.
    Replace,
    /// Taken out.
    Unset,
}

/// What an option holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Data {
    Octets(Vec<u8>),
    Variable(Variable),
    /// The client's network, with so many bits of an IPv4 and of an IPv6 address (RFC 7871).
    Subnet(u8, u8),
}

/// Something about the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Variable {
    Qname,
    Qtype,
    ClientIp,
    ClientPort,
    Protocol,
    ServerIp,
    ServerPort,
    /// A label such as `geoip/country/code`.
    Metadata(String),
}

impl Variable {
    /// Reads the word between the braces.
    pub(crate) fn read(word: &str) -> Option<Self> {
        Some(match word {
            "qname" => Self::Qname,
            "qtype" => Self::Qtype,
            "client_ip" => Self::ClientIp,
            "client_port" => Self::ClientPort,
            "protocol" => Self::Protocol,
            "server_ip" => Self::ServerIp,
            "server_port" => Self::ServerPort,
            label => match label.split_once('/') {
                Some((space, name)) if !space.is_empty() && !name.is_empty() => {
                    Self::Metadata(label.to_owned())
                }
                _ => return None,
            },
        })
    }
}

/// A rule for one option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EdnsRule {
    pub(crate) code: u16,
    pub(crate) action: Action,
    pub(crate) data: Data,
    /// The response has the option as it was before.
    pub(crate) revert: bool,
}

/// What a rule did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Done {
    Nothing,
    /// The option is another; here as it was, if it was there.
    Changed(Option<Vec<u8>>),
    Removed,
}

impl EdnsRule {
    /// Whether the query has the option, or lacks it, as the action wants.
    pub(crate) fn may_apply(&self, query: &Query) -> bool {
        match self.action {
            Action::Set | Action::Unset => true,
            Action::Append => query.edns_option(self.code).is_none(),
            Action::Replace => query.edns_option(self.code).is_some(),
        }
    }

    pub(crate) fn apply(&self, ex: &mut Exchange) -> Done {
        if self.action == Action::Unset {
            ex.query.remove_edns_option(self.code);
            return Done::Removed;
        }
        if !self.may_apply(&ex.query) {
            return Done::Nothing;
        }
        let before = ex.query.edns_option(self.code).map(<[u8]>::to_vec);
        let Some(data) = self.data.of(ex) else {
            return Done::Nothing;
        };
        match ex.query.add_edns(UDP_SIZE) && ex.query.set_edns_option(self.code, &data) {
            true => Done::Changed(before),
            false => Done::Nothing,
        }
    }
}

impl Data {
    fn of(&self, ex: &Exchange) -> Option<Vec<u8>> {
        let variable = match self {
            Self::Octets(octets) => return Some(octets.clone()),
            Self::Subnet(v4, v6) => return Some(subnet(ex.client.ip(), *v4, *v6)),
            Self::Variable(variable) => variable,
        };
        Some(match variable {
            Variable::Qname => qname(&ex.query).into_bytes(),
            Variable::Qtype => ex.query.question.rtype.0.to_be_bytes().to_vec(),
            Variable::ClientIp => address(ex.client),
            Variable::ServerIp => address(ex.local),
            Variable::ClientPort => ex.client.port().to_be_bytes().to_vec(),
            Variable::ServerPort => ex.local.port().to_be_bytes().to_vec(),
            Variable::Protocol => ex.transport.network().into(),
            Variable::Metadata(label) => {
                let value = ex.metadata(label)?;
                match value.is_empty() {
                    true => return None,
                    false => value.into_owned().into_bytes(),
                }
            }
        })
    }
}

fn address(address: SocketAddr) -> Vec<u8> {
    match address.ip().to_canonical() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// RFC 7871 section 6: as many octets as the prefix needs, the bits behind it zero.
fn subnet(client: IpAddr, v4: u8, v6: u8) -> Vec<u8> {
    let (family, bits, octets) = match client.to_canonical() {
        IpAddr::V4(address) => (1u16, v4, address.octets().to_vec()),
        IpAddr::V6(address) => (2, v6, address.octets().to_vec()),
    };
    let mut data = family.to_be_bytes().to_vec();
    data.extend([bits, 0]);
    let mut left = usize::from(bits);
    for octet in octets {
        if left == 0 {
            break;
        }
        let kept = left.min(8);
        data.push(octet & (0xff00 >> kept) as u8);
        left -= kept;
    }
    data
}

/// The question's name as text, in the client's letters unless a rule put another in its place.
fn qname(query: &Query) -> String {
    let sent = query.question_octets();
    let sent = sent.get(..sent.len().saturating_sub(4)).unwrap_or_default();
    let wire = query.question.name.wire();
    let wire = match sent.eq_ignore_ascii_case(wire) {
        true => sent,
        false => wire,
    };
    let (mut text, mut rest) = (String::new(), wire);
    while let Some((length, behind)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let (label, behind) = behind
            .split_at_checked(usize::from(*length))
            .unwrap_or_default();
        for octet in label {
            // Writing to a string cannot fail.
            let _ = match octet {
                b'.' | b'\\' | b'"' | b'(' | b')' | b';' | b'@' | b'$' => {
                    write!(text, "\\{}", char::from(*octet))
                }
                b'!'..=b'~' => write!(text, "{}", char::from(*octet)),
                _ => write!(text, "\\{octet:03}"),
            };
        }
        text.push('.');
        rest = behind;
    }
    if text.is_empty() {
        text.push('.');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::wire::Gate;

    fn exchange(options: &[u8]) -> Exchange {
        let mut octets = b"\0\x07\x01\0\0\x01\0\0\0\0\0\x01\x01A\x07Exam.le\0\0\x1c\0\x01".to_vec();
        octets.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0");
        octets.push(options.len() as u8);
        octets.extend(options);
        let mut ex = Exchange::new();
        assert_eq!(ex.query.read(&octets), Gate::Pass);
        ex.client = "192.0.2.77:1053".parse().unwrap();
        ex.local = "[::1]:53".parse().unwrap();
        ex
    }

    fn rule(action: Action, data: Data) -> EdnsRule {
        EdnsRule {
            code: 65_001,
            action,
            data,
            revert: false,
        }
    }

    #[test]
    fn actions_do_what_they_are_called() {
        let old = || Done::Changed(Some(b"old".to_vec()));
        for (action, present, done, after) in [
            (Action::Set, true, old(), Some(&b"new"[..])),
            (Action::Set, false, Done::Changed(None), Some(b"new")),
            (Action::Append, true, Done::Nothing, Some(b"old")),
            (Action::Append, false, Done::Changed(None), Some(b"new")),
            (Action::Replace, true, old(), Some(b"new")),
            (Action::Replace, false, Done::Nothing, None),
            (Action::Unset, true, Done::Removed, None),
            (Action::Unset, false, Done::Removed, None),
        ] {
            let mut ex = exchange(if present { b"\xfd\xe9\0\x03old" } else { b"" });
            let rule = rule(action, Data::Octets(b"new".to_vec()));
            assert_eq!(rule.apply(&mut ex), done, "{action:?} {present}");
            assert_eq!(ex.query.edns_option(65_001), after, "{action:?} {present}");
        }
    }

    #[test]
    fn variables_are_filled_in() {
        for (word, value) in [
            ("qname", &b"A.Exam\\.le."[..]),
            ("qtype", &[0, 28]),
            ("client_ip", &[192, 0, 2, 77]),
            ("client_port", &[4, 29]),
            ("protocol", b"udp"),
            (
                "server_ip",
                &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
            ),
            ("server_port", &[0, 53]),
        ] {
            let mut ex = exchange(b"");
            let variable = Variable::read(word).unwrap();
            let _ = rule(Action::Set, Data::Variable(variable)).apply(&mut ex);
            assert_eq!(ex.query.edns_option(65_001), Some(value), "{word}");
        }
        let unknown = Variable::read("some/label").unwrap();
        let rule = rule(Action::Set, Data::Variable(unknown));
        assert_eq!(rule.apply(&mut exchange(b"")), Done::Nothing);
        assert_eq!(Variable::read("nonsense"), None);
        assert_eq!(Variable::read("/x"), None);
    }

    #[test]
    fn subnets_have_the_octets_they_need() {
        let (v4, v6) = (
            "192.0.2.255".parse().unwrap(),
            "2001:db8:ffff::1".parse().unwrap(),
        );
        for (client, bits, data) in [
            (v4, (24, 56), &[0, 1, 24, 0, 192, 0, 2][..]),
            (v4, (25, 56), &[0, 1, 25, 0, 192, 0, 2, 128]),
            (v4, (0, 56), &[0, 1, 0, 0]),
            (v4, (32, 56), &[0, 1, 32, 0, 192, 0, 2, 255]),
            (v6, (24, 36), &[0, 2, 36, 0, 0x20, 1, 0x0d, 0xb8, 0xf0]),
        ] {
            assert_eq!(subnet(client, bits.0, bits.1), data);
        }
    }
}
