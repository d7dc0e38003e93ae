//! *local*: answers for names that mean this machine, so that they never leave it (RFC 6303, RFC
//! 6761 section 6.3).
use corten_plugin::metrics::{Counter, registry};
use corten_plugin::wire::{Name, Owner, Rcode, RecordType, Section};
use corten_plugin::{Directive, Exchange, Flow, Plugin, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "local",
    setup,
    readme: include_str!("../README.md"),
};

/// Seconds: a week, as CoreDNS has it.
const TTL: u32 = 604_800;
const LOCALHOST: &[u8] = b"\x09localhost\0";
/// `root.localhost.`, the zone's mailbox.
const MAILBOX: &[u8] = b"\x04root\x09localhost\0";

struct Local {
    /// Names that begin with `localhost.` count.
    prefix: bool,
    localhost: Name,
    loopback: Name,
    /// Reverse zones of "this network", loopback and broadcast.
    reverse: [Name; 3],
    hits: Counter,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut prefix = true;
    for line in setup.occurrences()? {
        line.no_args()?;
        for option in line.lines() {
            match option.name.text.as_str() {
                "localhost_prefix" => {
                    prefix = match option.one_arg()? {
                        on if on.text == "on" => true,
                        off if off.text == "off" => false,
                        other => {
                            return Err(other
                                .error(format!("'{}' is neither 'on' nor 'off'", other.text))
                                .into());
                        }
                    }
                }
                _ => return Err(option.unknown_property(&["localhost_prefix"]).into()),
            }
        }
    }
    let name = |text: &str| {
        text.parse::<Name>()
            .map_err(|error| SetupError::new(format!("{text}: {error}")))
    };
    setup.push(Local {
        prefix,
        localhost: name("localhost")?,
        loopback: name("1.0.0.127.in-addr.arpa")?,
        reverse: [
            name("0.in-addr.arpa")?,
            name("127.in-addr.arpa")?,
            name("255.in-addr.arpa")?,
        ],
        hits: registry().counter(
            "coredns_local_localhost_requests_total",
            "Counter of localhost.<domain> requests.",
            &[],
        ),
    });
    Ok(())
}

impl Plugin for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let (name, rtype) = (&ex.query.question.name, ex.query.question.rtype);
        let below = name.is_in(&self.localhost);
        let before = self.prefix && name.label_count() > 1 && name.label(0) == Some(b"localhost");
        if below || before {
            if *name != self.localhost {
                self.hits.increment();
                tracing::debug!(target: "plugin/local", "Intercepting localhost query for \"{name}\" {rtype}, from {}", ex.client.ip());
            }
            return Self::localhost(ex, rtype);
        }
        let Some(zone) = self.reverse.iter().find(|zone| name.is_in(zone)).cloned() else {
            return Flow::Pass;
        };
        self.reverse(ex, rtype, &zone)
    }
}

impl Local {
    fn localhost(ex: &mut Exchange, rtype: RecordType) -> Flow {
        let reply = ex.start(Rcode::NOERROR);
        match rtype {
            RecordType::A => reply.push(Section::Answer, Owner::Question, rtype, TTL, |rdata| {
                rdata.octets(&[127, 0, 0, 1])
            }),
            RecordType::AAAA => reply.push(Section::Answer, Owner::Question, rtype, TTL, |rdata| {
                rdata.octets(&1u128.to_be_bytes())
            }),
            RecordType::NS => reply.push(Section::Answer, Owner::Question, rtype, TTL, |rdata| {
                rdata.octets(LOCALHOST)
            }),
            RecordType::SOA => soa(ex, Section::Answer, Owner::Question),
            _ => soa(ex, Section::Authority, Owner::Question),
        };
        Flow::Respond
    }

    fn reverse(&self, ex: &mut Exchange, rtype: RecordType, zone: &Name) -> Flow {
        let name = &ex.query.question.name;
        let (apex, loopback) = (name == zone, *name == self.loopback);
        let reply = ex.start(if apex || loopback {
            Rcode::NOERROR
        } else {
            Rcode::NXDOMAIN
        });
        match rtype {
            RecordType::SOA if apex => soa(ex, Section::Answer, Owner::Question),
            RecordType::NS if apex => {
                reply.push(Section::Answer, Owner::Question, rtype, TTL, |rdata| {
                    rdata.octets(LOCALHOST)
                })
            }
            RecordType::PTR if loopback => {
                reply.push(Section::Answer, Owner::Question, rtype, TTL, |rdata| {
                    rdata.octets(LOCALHOST)
                })
            }
            _ => soa(ex, Section::Authority, Owner::Wire(zone.wire())),
        };
        Flow::Respond
    }
}

/// The SOA record that every local zone has.
fn soa(ex: &mut Exchange, section: Section, owner: Owner<'_>) -> bool {
    ex.reply
        .push(section, owner, RecordType::SOA, TTL, |rdata| {
            rdata.octets(LOCALHOST);
            rdata.octets(MAILBOX);
            for number in [1, 0, 0, 0, TTL] {
                rdata.u32(number);
            }
        })
}
