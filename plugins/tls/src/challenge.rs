//! The link that answers ACME challenges in every block.
use std::sync::Arc;

use corten_acme::{Answer, Challenges};
use corten_plugin::wire::{Owner, Query, Rcode, RecordType, Reply, Section};
use corten_plugin::{Exchange, Flow, Plugin};

/// Answers for the names of pending challenges, and for no others.
pub(crate) struct Challenge {
    challenges: Arc<Challenges>,
}

impl Challenge {
    pub(crate) fn new(challenges: Arc<Challenges>) -> Self {
        Self { challenges }
    }
}

impl Plugin for Challenge {
    fn name(&self) -> &'static str {
        "tls"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        match self.challenges.lookup(ex.query.question.name.wire()) {
            Answer::NotOurs => Flow::Pass,
            Answer::Values(values) => {
                respond(&ex.query, &mut ex.reply, &values);
                Flow::Respond
            }
        }
    }
}

/// Writes the reply for a challenge's name: TXT has the values, other types do not exist there
/// (never NXDOMAIN, which would take the TXT along: RFC 8020).
pub(crate) fn respond(query: &Query, reply: &mut Reply, values: &[String]) {
    let name = query.question.name.clone();
    reply.start(query, Rcode::NOERROR);
    reply.authoritative = true;
    if query.question.rtype != RecordType::TXT {
        // For the negative answer's TTL (RFC 2308 section 3): nobody is to remember it.
        reply.push(
            Section::Authority,
            Owner::Question,
            RecordType::SOA,
            0,
            |rdata| {
                rdata.octets(name.wire());
                rdata.octets(name.wire());
                for number in [1, 3600, 600, 86_400, 0] {
                    rdata.u32(number);
                }
            },
        );
        return;
    }
    tracing::info!(target: "plugin/tls", "Answering ACME DNS request:{name}");
    for value in values {
        reply.push(
            Section::Answer,
            Owner::Question,
            RecordType::TXT,
            0,
            |rdata| rdata.string(value.as_bytes()),
        );
    }
}
