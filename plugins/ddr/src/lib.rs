//! *ddr*: tells clients which encrypted transports there are (Discovery of Designated Resolvers, RFC
//! 9462).
mod config;
mod svcb;

use std::net::IpAddr;
use std::sync::OnceLock;

use corten_plugin::corefile::Transport;
use corten_plugin::wire::{Name, Owner, Rcode, RecordType, Section};
use corten_plugin::{
    BoxError, Context, Directive, Exchange, Flow, Plugin, Setup, SetupError, async_trait,
};

use config::Config;
use svcb::Designation;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "ddr",
    setup,
    readme: include_str!("../README.md"),
};

/// The name that is asked for SVCB records (RFC 9462 section 4).
const ASKED: &str = "_dns.resolver.arpa";
const ZONE: &str = "resolver.arpa";

struct Ddr {
    config: Config,
    asked: Name,
    zone: Name,
    /// RDATA of each record; made when it is known where the server listens.
    records: OnceLock<Vec<Vec<u8>>>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let config = Config::read(&setup.only_occurrence()?)?;
    let name = |text: &str| {
        text.parse()
            .map_err(|error| SetupError::new(format!("{text}: {error}")))
    };
    setup.push(Ddr {
        config,
        asked: name(ASKED)?,
        zone: name(ZONE)?,
        records: OnceLock::new(),
    });
    Ok(())
}

#[async_trait]
impl Plugin for Ddr {
    fn name(&self) -> &'static str {
        "ddr"
    }

    async fn start(&self, context: &Context) -> Result<(), BoxError> {
        let mut designations: Vec<Designation<'_>> = Vec::new();
        for (transport, address) in context.listeners.iter() {
            let is_told = self.config.transports.contains(transport);
            let Some(rank) = svcb::rank(*transport).filter(|_| is_told) else {
                continue;
            };
            let port = address.port();
            let known = designations
                .iter_mut()
                .find(|other| (other.transport, other.port) == (*transport, port));
            let own = match known {
                Some(known) => &mut known.addresses,
                None => {
                    designations.push(Designation {
                        rank,
                        transport: *transport,
                        port,
                        addresses: self.config.hints.clone(),
                        config: &self.config,
                    });
                    &mut designations.last_mut().ok_or("a designation")?.addresses
                }
            };
            // Where the block is bound to an address, that one is the hint.
            if self.config.hints.is_empty() && !address.ip().is_unspecified() {
                own.push(address.ip());
            }
        }
        if designations.is_empty() {
            let all: Vec<_> = self.config.transports.iter().map(|t| t.scheme()).collect();
            tracing::warn!(
                target: "plugin/ddr",
                "There is nothing to discover: no server block listens with {}",
                all.join(", ")
            );
        }
        designations.sort_by_key(|designation| (designation.rank, designation.port));
        let records = designations.iter().map(Designation::rdata).collect();
        let _ = self.records.set(records);
        Ok(())
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let question = &ex.query.question;
        if !question.name.is_in(&self.zone) {
            return Flow::Pass;
        }
        // RFC 9462 section 8.2: everything else here is NODATA, and no query leaves the resolver.
        let is_asked = question.name == self.asked && question.rtype == RecordType::SVCB;
        let records = match self.records.get() {
            Some(records) if is_asked => &records[..],
            _ => &[],
        };
        let ttl = self.config.ttl;
        let reply = ex.start(Rcode::NOERROR);
        reply.authoritative = true;
        for rdata in records {
            reply.push(
                Section::Answer,
                Owner::Question,
                RecordType::SVCB,
                ttl,
                |out| out.octets(rdata),
            );
        }
        if records.is_empty() {
            let owner = Owner::Wire(self.zone.wire());
            reply.push(Section::Authority, owner, RecordType::SOA, ttl, |out| {
                // Nobody serves this zone to others.
                out.octets(self.zone.wire());
                out.octets(b"\x06nobody\x07invalid\0");
                for number in [1, 3600, 1200, 604_800, ttl] {
                    out.u32(number);
                }
            });
        }
        Flow::Respond
    }
}

/// Addresses of one family, in order, each once.
fn of_family(addresses: &[IpAddr], v6: bool) -> Vec<IpAddr> {
    let mut all: Vec<_> = addresses
        .iter()
        .copied()
        .filter(|address| address.is_ipv6() == v6)
        .collect();
    all.sort();
    all.dedup();
    all
}

/// Every transport that can be discovered.
const DISCOVERABLE: [Transport; 4] = [
    Transport::Quic,
    Transport::Tls,
    Transport::Https3,
    Transport::Https,
];
