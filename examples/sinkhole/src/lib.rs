//! *sinkhole*: names that lead nowhere. The example of `docs/plugins.md`.
use std::net::IpAddr;

use corten_plugin::metrics::{Counter, registry};
use corten_plugin::wire::{Owner, Rcode, RecordType, Section};
use corten_plugin::{Directive, Exchange, Flow, Plugin, Setup, SetupError, Zones};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "sinkhole",
    setup,
    readme: include_str!("../README.md"),
};

/// Seconds that resolvers may keep an answer; short, for the day a name is taken off the list.
const TTL: u32 = 60;

/// What one `sinkhole` directive says.
struct Sinkhole {
    zones: Zones,
    address: IpAddr,
    caught: Counter,
}

/// Reads `sinkhole ADDRESS ZONE...`.
fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    for line in setup.occurrences()? {
        line.no_block()?;
        let words = line.at_least(2)?;
        let address = words[0].text.parse().map_err(|_| {
            let text = &words[0].text;
            words[0].error(format!(
                "'{text}' is not an IP address; sinkhole ADDRESS ZONE..."
            ))
        })?;
        let zones = setup.zones(&words[1..])?;
        let caught = registry().counter(
            "corten_sinkhole_caught_total",
            "Queries for names in sinkholes.",
            &[],
        );
        setup.push(Sinkhole {
            zones,
            address,
            caught,
        });
    }
    Ok(())
}

impl Plugin for Sinkhole {
    fn name(&self) -> &'static str {
        "sinkhole"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        if self.zones.matches(&ex.query.question.name).is_none() {
            return Flow::Pass;
        }
        self.caught.increment();
        let rtype = ex.query.question.rtype;
        let reply = ex.start(Rcode::NOERROR);
        reply.authoritative = true;
        match (rtype, self.address) {
            (RecordType::A, IpAddr::V4(v4)) => {
                reply.push(Section::Answer, Owner::Question, rtype, TTL, |rdata| {
                    rdata.octets(&v4.octets());
                });
            }
            (RecordType::AAAA, IpAddr::V6(v6)) => {
                reply.push(Section::Answer, Owner::Question, rtype, TTL, |rdata| {
                    rdata.octets(&v6.octets());
                });
            }
            // NODATA: the name is there, this type is not.
            _ => (),
        }
        Flow::Respond
    }
}
