//! *minimal*: positive answers without authority and additional.
use corten_plugin::wire::{Opcode, Rcode, RecordType, Reply, Section};
use corten_plugin::{Directive, Exchange, Flow, Interest, Plugin, Setup, SetupError};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "minimal",
    setup,
    readme: include_str!("../README.md"),
};

struct Minimal;

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    for line in setup.occurrences()? {
        line.no_args()?;
        line.no_block()?;
    }
    setup.push(Minimal);
    Ok(())
}

impl Plugin for Minimal {
    fn name(&self) -> &'static str {
        "minimal"
    }

    fn interest(&self) -> Interest {
        Interest::Response
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        let transfer = matches!(ex.query.question.rtype, RecordType::AXFR | RecordType::IXFR);
        if ex.query.opcode() == Opcode::QUERY && !transfer && is_positive(&ex.reply) {
            ex.reply.drop_authority_and_additional();
        }
        Flow::Respond
    }
}

/// Denials carry an SOA, referrals NS records; clients need both.
fn is_positive(reply: &Reply) -> bool {
    let answered = |section| section == Section::Answer;
    let needed = |rtype| matches!(rtype, RecordType::SOA | RecordType::NS);
    reply.rcode == Rcode::NOERROR
        && (reply
            .records()
            .iter()
            .any(|record| answered(record.section))
            || !reply
                .records()
                .iter()
                .any(|record| record.section == Section::Authority && needed(record.rtype)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::wire::{Class, Owner, Query, Question};

    #[test]
    fn denials_errors_and_referrals_are_left_alone() {
        use RecordType as R;
        use Section::{Additional, Answer, Authority};
        for (rtype, rcode, records, kept) in [
            (
                R::A,
                Rcode::NOERROR,
                &[(Answer, R::A), (Authority, R::NS), (Additional, R::A)][..],
                1,
            ),
            (
                R::A,
                Rcode::NOERROR,
                &[(Authority, R::NS), (Additional, R::A)],
                2,
            ),
            (R::A, Rcode::NOERROR, &[(Authority, R::SOA)], 1),
            (
                R::A,
                Rcode::NOERROR,
                &[(Additional, R::A), (Additional, R::SRV)],
                0,
            ),
            (
                R::A,
                Rcode::NXDOMAIN,
                &[(Answer, R::CNAME), (Authority, R::SOA)],
                2,
            ),
            (
                R::AXFR,
                Rcode::NOERROR,
                &[(Answer, R::SOA), (Additional, R::A)],
                2,
            ),
        ] {
            let mut ex = Exchange::new();
            let question = Question {
                name: "www.example".parse().unwrap(),
                rtype,
                class: Class::IN,
            };
            ex.query = Query::ask(1, &question);
            ex.start(rcode);
            ex.explain(0, "why");
            for (section, rtype) in records {
                ex.reply
                    .push(*section, Owner::Question, *rtype, 1, |rdata| {
                        rdata.octets(&[0; 24])
                    });
            }
            assert_eq!(Minimal.on_response(&mut ex), Flow::Respond);
            assert_eq!(ex.reply.records().len(), kept, "{records:?}");
            assert!(ex.reply.option(15).is_some());
        }
    }
}
