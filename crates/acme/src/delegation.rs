//! Which servers the CA will ask about a name: from the delegation, not from the configuration.
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use corten_wire::typed::op::{Message, ResponseCode};
use corten_wire::typed::rr::{RData, Record};
use corten_wire::{Name, RecordType};

use crate::dns::{self, Carrier, rcode};
use crate::problem::told;

/// Delegations that are followed.
const DELEGATIONS_MAX: usize = 16;
/// Servers of a zone that are asked about another.
const ASKED_MAX: usize = 3;
/// Name servers of a zone that are looked up.
const SERVERS_MAX: usize = 16;
/// Addresses that are asked.
const ADDRESSES_MAX: usize = 32;

/// The authoritative servers of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authority {
    /// The name that holds the answer.
    pub(crate) name: Name,
    /// Its zone.
    pub(crate) zone: Name,
    pub(crate) servers: Vec<Server>,
}

/// An address of a name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, address) = (self.name.trim_end_matches('.'), self.address.ip());
        write!(f, "{name} ({address})")
    }
}

/// What a server says about TXT records of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Saw {
    /// The wanted value is among them.
    Value,
    /// It answered something else, in words.
    Other(String),
    /// It cannot be asked from here, in words.
    Silent(String),
}

/// Why the servers of a name are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotFound {
    /// Nobody could be asked.
    Unknown(String),
    /// The name is in no zone that anybody could ask.
    Missing(String),
}

/// Finds the servers that answer for a name, from the nearest zone that resolvers know down through
/// the delegations. What a zone says of itself is not needed: many small servers have no NS records.
pub(crate) async fn find(
    resolvers: &[SocketAddr],
    name: &Name,
    port: u16,
) -> Result<Authority, NotFound> {
    let (mut zone, hosts) = nearest_zone(resolvers, name).await?;
    let mut servers = Servers::default();
    servers.add_hosts(resolvers, &hosts, port).await;
    // What the zone above hands out may differ from what the zone says of itself; both are asked.
    if let Ok((above, hosts)) = nearest_zone(resolvers, &zone.parent(1)).await {
        let mut parents = Servers::default();
        parents.add_hosts(resolvers, &hosts, port).await;
        if let Some(referral) = parents.refer(&above, &zone).await {
            servers.add_referral(resolvers, &referral, port).await;
        }
    }
    for _ in 0..DELEGATIONS_MAX {
        let Some(referral) = servers.refer(&zone, name).await else {
            break;
        };
        servers = Servers::default();
        servers.add_referral(resolvers, &referral, port).await;
        zone = referral.zone;
    }
    match servers.found.is_empty() {
        true => Err(NotFound::Missing(format!(
            "the name servers of {zone} have no address: {}",
            servers.nowhere.join("; ")
        ))),
        false => Ok(Authority {
            name: name.clone(),
            zone,
            servers: servers.found,
        }),
    }
}

/// What a server says about a zone below its own.
struct Referral {
    zone: Name,
    hosts: Vec<Name>,
    glue: Vec<(Name, IpAddr)>,
}

/// Addresses of a zone's servers, and names of those that have none.
#[derive(Default)]
struct Servers {
    found: Vec<Server>,
    nowhere: Vec<String>,
}

impl Servers {
    fn add(&mut self, host: &Name, address: IpAddr, port: u16) {
        let address = SocketAddr::new(address, port);
        if self.found.len() < ADDRESSES_MAX && self.found.iter().all(|s| s.address != address) {
            let name = host.to_string();
            self.found.push(Server { name, address });
        }
    }

    async fn add_hosts(&mut self, resolvers: &[SocketAddr], hosts: &[Name], port: u16) {
        for host in hosts.iter().take(SERVERS_MAX) {
            match dns::addresses(resolvers, host).await {
                Ok(found) if found.is_empty() => self.nowhere.push(format!("{host} has none")),
                Ok(found) => {
                    for address in found {
                        self.add(host, address, port);
                    }
                }
                Err(error) => self.nowhere.push(error),
            }
        }
    }

    async fn add_referral(&mut self, resolvers: &[SocketAddr], referral: &Referral, port: u16) {
        for (host, address) in &referral.glue {
            self.add(host, *address, port);
        }
        let glued = |host: &&Name| referral.glue.iter().any(|(other, _)| other == *host);
        let others: Vec<_> = referral
            .hosts
            .iter()
            .filter(|host| !glued(host))
            .cloned()
            .collect();
        self.add_hosts(resolvers, &others, port).await;
    }

    /// Asks one of the servers who serves a name below their zone.
    async fn refer(&self, zone: &Name, name: &Name) -> Option<Referral> {
        for server in self.found.iter().take(ASKED_MAX) {
            let asked = dns::ask(server.address, name, RecordType::NS, Carrier::Datagram).await;
            if let Ok(message) = asked {
                return referral(&message, zone, name);
            }
        }
        None
    }
}

/// A referral to a zone between `zone` and `name`, if a response is one.
fn referral(message: &Message, zone: &Name, name: &Name) -> Option<Referral> {
    let answers = message.answers.iter().chain(&message.authorities);
    let named: Vec<_> = answers
        .filter_map(|record| match &record.data {
            RData::NS(host) => Some((ours(&record.name)?, ours(&host.0)?)),
            _ => None,
        })
        .filter(|(owner, _)| {
            owner.is_in(zone) && owner.label_count() > zone.label_count() && name.is_in(owner)
        })
        .collect();
    let below = named.first()?.0.clone();
    let of_zone = named.into_iter().filter(|(owner, _)| *owner == below);
    let hosts: Vec<_> = of_zone.map(|(_, host)| host).collect();
    let glue = message.additionals.iter().filter_map(|record| {
        let owner = ours(&record.name).filter(|owner| hosts.contains(owner))?;
        Some((owner, record.data.ip_addr()?))
    });
    Some(Referral {
        zone: below,
        glue: glue.collect(),
        hosts,
    })
}

/// The nearest zone above a name whose NS records resolvers know.
async fn nearest_zone(
    resolvers: &[SocketAddr],
    name: &Name,
) -> Result<(Name, Vec<Name>), NotFound> {
    let mut why = None;
    for skipped in 0..=name.label_count() {
        let zone = name.parent(skipped);
        let message = match dns::resolve(resolvers, &zone, RecordType::NS).await {
            Ok(message) => message,
            Err(error) => {
                why = Some(error);
                continue;
            }
        };
        let answers = message.answers.iter();
        let hosts: Vec<_> = answers
            .filter(|record| owned(record, &zone))
            .filter_map(|record| match &record.data {
                RData::NS(host) => ours(&host.0),
                _ => None,
            })
            .collect();
        if !hosts.is_empty() {
            return Ok((zone, hosts));
        }
    }
    Err(match why {
        Some(why) => NotFound::Unknown(why),
        None => NotFound::Missing(format!("no zone above {name} is known to the resolver")),
    })
}

/// What a server has for the TXT records of a name: over UDP, and once that is right over TCP,
/// because CAs use either.
pub(crate) async fn look(server: SocketAddr, name: &Name, wanted: &str) -> Saw {
    for carrier in [Carrier::Datagram, Carrier::Stream] {
        let over = match carrier {
            Carrier::Datagram => "UDP",
            Carrier::Stream => "TCP",
        };
        match dns::ask(server, name, RecordType::TXT, carrier).await {
            Ok(message) => {
                let values = values(&message, name);
                if values.iter().any(|value| shows(value, wanted)) {
                    continue;
                }
                if is_in_between(&message) {
                    return Saw::Silent(format!(
                        "what answers over {over} resolves names for clients, as a router does that answers in its place"
                    ));
                }
                return Saw::Other(words(&message, &values, over));
            }
            Err(error) if carrier == Carrier::Stream => {
                return Saw::Other(format!(
                    "it answers over UDP, but not over TCP, which it must (RFC 7766): {error}"
                ));
            }
            Err(error) => return Saw::Silent(format!("no answer over UDP: {error}")),
        }
    }
    Saw::Value
}

/// Whether a value has everything that is wanted: one of dns-persist-01 may say more.
fn shows(value: &str, wanted: &str) -> bool {
    let parts = |text| str::split(text, ';').map(str::trim);
    value == wanted
        || wanted.contains(';')
            && parts(wanted).all(|part| parts(value).any(|other| other.eq_ignore_ascii_case(part)))
}

/// Whether a resolver has answered: no name server of a zone does so, but a router may when a machine
/// behind it asks for its own public address, and so may a network that catches all questions.
fn is_in_between(message: &Message) -> bool {
    let answered = matches!(
        message.metadata.response_code,
        ResponseCode::NoError | ResponseCode::NXDomain
    );
    answered && message.metadata.recursion_available && !message.metadata.authoritative
}

fn values(message: &Message, name: &Name) -> Vec<String> {
    message
        .answers
        .iter()
        .filter(|record| owned(record, name))
        .filter_map(|record| match &record.data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        })
        .collect()
}

fn words(message: &Message, values: &[String], over: &str) -> String {
    let lame = match message.metadata.authoritative {
        true => "",
        false => ", and not as an authoritative server",
    };
    match message.metadata.response_code {
        ResponseCode::NoError if values.is_empty() => {
            format!("it answers over {over} that there is no TXT record{lame}")
        }
        ResponseCode::NoError => format!(
            "it answers over {over} with other values: {}{lame}",
            told(&values.join(" "))
        ),
        code => format!("it answers over {over} with {}{lame}", rcode(code)),
    }
}

pub(crate) fn owned(record: &Record, name: &Name) -> bool {
    ours(&record.name).is_some_and(|owner| owner == *name)
}

/// A name of the library as one of ours; letter case does not count.
pub(crate) fn ours(name: &corten_wire::typed::rr::Name) -> Option<Name> {
    name.to_ascii().parse().ok()
}
