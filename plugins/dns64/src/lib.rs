//! *dns64*: IPv6 addresses for names that have only IPv4 ones (RFC 6147).
//!
//! | module | what it is |
//! |---|---|
//! | `prefix` | where an IPv4 address stands in an IPv6 one (RFC 6052) |
//! | here | the directive, and when an answer is made |
mod prefix;

use corten_plugin::corefile::{Line, ParseError};
use corten_plugin::metrics::{Counter, registry};
use corten_plugin::wire::{Class, Rcode, Record, RecordType, Reply, Section};
use corten_plugin::{BySite, Directive, Exchange, Flow, Plugin, Setup, SetupError};

use prefix::Prefix;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "dns64",
    setup,
    readme: include_str!("../README.md"),
};

/// Seconds that an answer may live when no SOA record says so (RFC 6147 section 5.1.7).
const TTL_WITHOUT_SOA: u32 = 600;
const PROPERTIES: &[&str] = &["allow_ipv4", "prefix", "translate_all"];

struct Dns64 {
    prefix: Prefix,
    /// Answers are made even where there are IPv6 addresses.
    translate_all: bool,
    /// Clients over IPv4 are served, too.
    allow_ipv4: bool,
    translated: BySite<Counter>,
}

/// Kept while the question for A runs: the TTL that the denial of AAAA allows.
struct Denied {
    ttl: u32,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let mut dns64 = Dns64 {
        prefix: Prefix::WELL_KNOWN,
        translate_all: false,
        allow_ipv4: false,
        translated: BySite::new(|site| {
            registry().counter(
                "coredns_dns64_requests_translated_total",
                "Counter of DNS requests translated by dns64.",
                &[("server", site.server())],
            )
        }),
    };
    for line in setup.occurrences()? {
        if let [word, ..] = line.args_between(0, 1)? {
            dns64.prefix =
                Prefix::read(&word.text).map_err(|error| word.error(error.to_string()))?;
        }
        for option in line.lines() {
            dns64.option(option)?;
        }
    }
    setup.push(dns64);
    Ok(())
}

impl Dns64 {
    fn option(&mut self, line: &Line<'_>) -> Result<(), ParseError> {
        match line.name.text.as_str() {
            "prefix" => {
                let word = line.one_arg()?;
                self.prefix =
                    Prefix::read(&word.text).map_err(|error| word.error(error.to_string()))?;
            }
            "translate_all" => {
                line.no_args()?;
                self.translate_all = true;
            }
            "allow_ipv4" => {
                line.no_args()?;
                self.allow_ipv4 = true;
            }
            _ => return Err(line.unknown_property(PROPERTIES)),
        }
        Ok(())
    }

    /// Whether the answer to the question for AAAA is to be replaced.
    fn replaces(&self, reply: &Reply) -> bool {
        // RFC 6147 section 5.1.2: a name that is not has no A record either; every other error is
        // taken for an empty answer.
        reply.is_started()
            && reply.rcode != Rcode::NXDOMAIN
            && (self.translate_all || !reply.records().iter().any(is_answer(RecordType::AAAA)))
    }

    /// Makes AAAA records of the A records.
    fn synthesize(&self, ex: &mut Exchange, denied: &Denied) {
        let is_a = is_answer(RecordType::A);
        ex.reply.rebuild(&ex.query, |old, new| {
            for record in old.records() {
                let address = Some(record).filter(|record| is_a(record));
                let address = address.and_then(|record| old.rdata(record).try_into().ok());
                match address {
                    Some(v4) => {
                        let ttl = old.ttl(record).min(denied.ttl);
                        let v6 = self.prefix.embed(v4);
                        new.like(old, record, RecordType::AAAA, ttl, |rdata| {
                            rdata.octets(&v6)
                        });
                    }
                    None => new.copy(old, record),
                }
            }
        });
        // Nobody signed what was made here (RFC 6147 section 5.5).
        (ex.reply.authoritative, ex.reply.authentic_data) = (false, false);
    }
}

fn is_answer(rtype: RecordType) -> impl Fn(&Record) -> bool {
    move |record| record.section == Section::Answer && record.rtype == rtype
}

impl Plugin for Dns64 {
    fn name(&self) -> &'static str {
        "dns64"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let question = &ex.query.question;
        let asked = question.rtype == RecordType::AAAA && question.class == Class::IN;
        match asked && (self.allow_ipv4 || ex.client.ip().to_canonical().is_ipv6()) {
            true => Flow::Watch,
            false => Flow::Pass,
        }
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        if let Some(denied) = ex.kept::<Denied>() {
            ex.query.question.rtype = RecordType::AAAA;
            self.translated.at(ex.site).increment();
            match ex.reply.rcode {
                Rcode::NOERROR => self.synthesize(ex, &denied),
                // That there is no answer to the second question is the answer to the first.
                _ => ex.reply.restore_question(&ex.query),
            }
            return Flow::Respond;
        }
        if ex.is_dropped() || !self.replaces(&ex.reply) {
            return Flow::Respond;
        }
        let reply = ex.reply.view();
        let soa = reply.records().iter().rfind(|record| {
            record.section == Section::Authority && record.rtype == RecordType::SOA
        });
        let ttl = soa.map_or(TTL_WITHOUT_SOA, |soa| reply.ttl(soa));
        ex.keep(Denied { ttl });
        ex.query.question.rtype = RecordType::A;
        Flow::Again
    }
}

#[cfg(test)]
mod tests;
