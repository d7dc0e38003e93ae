//! *any*: a minimal answer to queries for ANY (RFC 8482 section 4.2).
use corten_plugin::wire::{Owner, Rcode, RecordType, Section};
use corten_plugin::{Directive, Exchange, Flow, Plugin, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "any",
    setup,
    readme: include_str!("../README.md"),
};

/// Seconds; CoreDNS's little joke.
const TTL: u32 = 8482;

struct Any;

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    for line in setup.occurrences()? {
        line.no_args()?;
        line.no_block()?;
    }
    setup.push(Any);
    Ok(())
}

impl Plugin for Any {
    fn name(&self) -> &'static str {
        "any"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        if ex.query.question.rtype != RecordType::ANY {
            return Flow::Pass;
        }
        ex.start(Rcode::NOERROR).push(
            Section::Answer,
            Owner::Question,
            RecordType::HINFO,
            TTL,
            |rdata| {
                rdata.string(b"ANY obsoleted");
                rdata.string(b"See RFC 8482");
            },
        );
        Flow::Respond
    }
}
