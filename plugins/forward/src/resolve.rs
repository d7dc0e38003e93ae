//! Addresses of upstreams that are written as names.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use corten_plugin::wire::{Class, Name, Query, Question, RecordType, Reply, Section};
use corten_upstream::{Group, Protocol, Server, Settings};
use tokio::time::timeout;

/// The system's resolver does not tell TTLs.
const KEEP_SYSTEM: Duration = Duration::from_secs(30);
/// Bounds of a TTL.
const KEEP_MIN: Duration = Duration::from_secs(5);
const KEEP_MAX: Duration = Duration::from_secs(300);
/// Longest wait for the system's resolver.
const WAIT: Duration = Duration::from_secs(15);

/// Addresses and how long they may be kept.
pub(crate) type Found = (Vec<IpAddr>, Duration);

/// Who is asked.
pub(crate) enum Resolver {
    /// What `getaddrinfo` asks: `/etc/hosts`, `/etc/resolv.conf`.
    System,
    /// The option `resolver`.
    Servers(Group),
}

impl Resolver {
    pub(crate) fn new(addresses: &[SocketAddr]) -> Self {
        if addresses.is_empty() {
            return Self::System;
        }
        let server = |address: &SocketAddr| Server {
            address: *address,
            protocol: Protocol::Plain,
        };
        let settings = Settings {
            prefer_udp: true,
            proxy_name: "forward_resolver",
            // Bootstrap servers are asked seldom; checks in between tell nothing.
            max_fails: 0,
            ..Settings::default()
        };
        Self::Servers(Group::new(addresses.iter().map(server).collect(), settings))
    }

    /// The addresses of a host name; at least one.
    pub(crate) async fn resolve(&self, host: &str) -> Result<Found, String> {
        let (mut ips, keep) = match self {
            Self::System => {
                let found = timeout(WAIT, tokio::net::lookup_host((host, 0)))
                    .await
                    .map_err(|_| "the system's resolver does not answer".to_owned())?
                    .map_err(|error| format!("does not resolve: {error}"))?;
                (found.map(|found| found.ip()).collect(), KEEP_SYSTEM)
            }
            Self::Servers(group) => {
                let name: Name = host.parse().map_err(|error| format!("no name: {error}"))?;
                let (v4, v6) = tokio::join!(
                    ask(group, &name, RecordType::A),
                    ask(group, &name, RecordType::AAAA)
                );
                match (v4, v6) {
                    (Err(reason), Err(_)) => return Err(reason),
                    (v4, v6) => {
                        let ((mut ips, one), (more, other)) =
                            (v4.unwrap_or_else(none), v6.unwrap_or_else(none));
                        ips.extend(more);
                        (ips, one.min(other).clamp(KEEP_MIN, KEEP_MAX))
                    }
                }
            }
        };
        // An order of its own would look like a change each time.
        ips.sort_unstable();
        ips.dedup();
        match ips.is_empty() {
            true => Err("has no address".to_owned()),
            false => Ok((ips, keep)),
        }
    }
}

fn none(_: String) -> Found {
    (Vec::new(), KEEP_MIN)
}

async fn ask(group: &Group, name: &Name, rtype: RecordType) -> Result<Found, String> {
    let question = Question {
        name: name.clone(),
        rtype,
        class: Class::IN,
    };
    let query = Query::ask(0, &question);
    let answered = group
        .ask(query.octets(), true, &())
        .await
        .map_err(|error| error.to_string())?;
    let mut reply = Reply::new();
    reply
        .load(&query, &answered.octets)
        .map_err(|error| error.to_string())?;
    Ok(addresses(&reply, rtype))
}

/// The addresses of an answer, whatever CNAMEs stand in front of them.
fn addresses(reply: &Reply, rtype: RecordType) -> Found {
    let (mut ips, mut keep) = (Vec::new(), KEEP_MAX);
    for record in reply.records() {
        if record.section != Section::Answer {
            continue;
        }
        keep = keep.min(Duration::from_secs(u64::from(reply.ttl(record))));
        let rdata = reply
            .octets()
            .get(usize::from(record.rdata)..usize::from(record.end))
            .unwrap_or_default();
        if record.rtype != rtype {
            continue;
        }
        if let Ok(octets) = <[u8; 4]>::try_from(rdata) {
            ips.push(Ipv4Addr::from(octets).into());
        } else if let Ok(octets) = <[u8; 16]>::try_from(rdata) {
            ips.push(Ipv6Addr::from(octets).into());
        }
    }
    (ips, keep)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_stand_behind_their_aliases() {
        let mut message =
            b"\0\0\x81\x80\0\x01\0\x02\0\0\0\0\x01a\x07example\0\0\x01\0\x01".to_vec();
        message.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01b\xc0\x0e");
        message.extend(b"\xc0\x27\0\x01\0\x01\0\0\0\x1e\0\x04\xc0\0\x02\x01");
        let question = Question {
            name: "a.example".parse().unwrap(),
            rtype: RecordType::A,
            class: Class::IN,
        };
        let mut reply = Reply::new();
        reply.load(&Query::ask(0, &question), &message).unwrap();
        let expected = (vec!["192.0.2.1".parse().unwrap()], Duration::from_secs(30));
        assert_eq!(addresses(&reply, RecordType::A), expected);
    }
}
