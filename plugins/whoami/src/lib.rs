//! *whoami*: echoes the client's address and port.
//!
//! Everything goes into the additional section, as CoreDNS has it: A or AAAA of the client, and an
//! SRV record `_udp.NAME` or `_tcp.NAME` with its port.
use std::net::IpAddr;

use corten_plugin::wire::{Owner, Rcode, RecordType, Section};
use corten_plugin::{Directive, Exchange, Flow, Plugin, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "whoami",
    setup,
    readme: include_str!("../README.md"),
};

struct Whoami;

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    for line in setup.occurrences()? {
        line.no_args()?;
        line.no_block()?;
    }
    setup.push(Whoami);
    Ok(())
}

impl Plugin for Whoami {
    fn name(&self) -> &'static str {
        "whoami"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let (client, network) = (ex.client, ex.transport.network());
        let name = &ex.query.question.name;
        // `_udp.` may not fit in front of the longest names; then the port is left out.
        let mut owner = [0; 5 + 255];
        let length = 5 + name.wire().len();
        owner[..2].copy_from_slice(b"\x04_");
        owner[2..5].copy_from_slice(network.as_bytes());
        owner[5..length].copy_from_slice(name.wire());
        let reply = ex.start(Rcode::NOERROR);
        reply.authoritative = true;
        match client.ip().to_canonical() {
            IpAddr::V4(v4) => reply.push(
                Section::Additional,
                Owner::Question,
                RecordType::A,
                0,
                |rdata| rdata.octets(&v4.octets()),
            ),
            IpAddr::V6(v6) => reply.push(
                Section::Additional,
                Owner::Question,
                RecordType::AAAA,
                0,
                |rdata| rdata.octets(&v6.octets()),
            ),
        };
        if length <= 255 {
            reply.push(
                Section::Additional,
                Owner::Wire(&owner[..length]),
                RecordType::SRV,
                0,
                |rdata| {
                    rdata.u32(0);
                    rdata.u16(client.port());
                    rdata.octets(&[0]);
                },
            );
        }
        Flow::Respond
    }
}
