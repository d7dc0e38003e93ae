use std::sync::Arc;

use corten_plugin::wire::{Owner, Query, Question};
use corten_plugin::{Chain, Progress};

use super::*;

fn dns64() -> Dns64 {
    Dns64 {
        prefix: Prefix::WELL_KNOWN,
        translate_all: false,
        allow_ipv4: true,
        translated: BySite::new(|_| Counter::default()),
    }
}

/// Has A records, and answers for AAAA what it is told.
struct Below(Rcode, Rcode);

impl Plugin for Below {
    fn name(&self) -> &'static str {
        "below"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        if ex.query.question.rtype == RecordType::AAAA {
            let reply = ex.start(self.0);
            reply.push(
                Section::Authority,
                Owner::Question,
                RecordType::SOA,
                90,
                |rdata| rdata.octets(&[0; 22]),
            );
            return Flow::Respond;
        }
        let reply = ex.start(self.1);
        (reply.authoritative, reply.recursion_available) = (true, true);
        reply.push(
            Section::Answer,
            Owner::Question,
            RecordType::CNAME,
            300,
            |rdata| rdata.octets(b"\x01a\x04test\0"),
        );
        for ttl in [60, 300] {
            reply.push(
                Section::Answer,
                Owner::Wire(b"\x01a\x04test\0"),
                RecordType::A,
                ttl,
                |rdata| rdata.octets(&[192, 0, 2, 33]),
            );
        }
        Flow::Respond
    }
}

fn ask(dns64: Dns64, below: Below) -> Exchange {
    let chain = Chain::new(vec![Arc::new(dns64), Arc::new(below)]).unwrap();
    let mut ex = Exchange::new();
    let question = Question {
        name: "www.example".parse().unwrap(),
        rtype: RecordType::AAAA,
        class: Class::IN,
    };
    ex.query = Query::ask(7, &question);
    assert_eq!(chain.run(&mut ex), Progress::Done(Flow::Respond));
    assert_eq!(ex.query.question, question);
    let answered = ex.reply.to_message(&ex.query).unwrap();
    assert_eq!(answered.queries[0].query_type().to_string(), "AAAA");
    ex
}

#[test]
fn addresses_are_made_with_the_lower_ttl() {
    for rcode in [Rcode::NOERROR, Rcode::SERVFAIL] {
        let ex = ask(dns64(), Below(rcode, Rcode::NOERROR));
        let answered = ex.reply.to_message(&ex.query).unwrap();
        let records: Vec<_> = answered.answers.iter().map(ToString::to_string).collect();
        assert_eq!(
            records,
            [
                "www.example. 300 IN CNAME a.test.",
                "a.test. 60 IN AAAA 64:ff9b::c000:221",
                "a.test. 90 IN AAAA 64:ff9b::c000:221"
            ]
        );
        assert!(ex.reply.recursion_available && !ex.reply.authoritative);
    }
}

#[test]
fn a_name_that_is_not_stays_so() {
    let ex = ask(dns64(), Below(Rcode::NXDOMAIN, Rcode::NOERROR));
    assert_eq!(ex.reply.rcode, Rcode::NXDOMAIN);
    assert_eq!(ex.reply.records().len(), 1);
}

#[test]
fn the_failure_of_the_second_question_is_the_answer() {
    let ex = ask(dns64(), Below(Rcode::NOERROR, Rcode::REFUSED));
    assert_eq!(ex.reply.rcode, Rcode::REFUSED);
}

#[test]
fn clients_over_ipv4_are_left_alone() {
    let plugin = Dns64 {
        allow_ipv4: false,
        ..dns64()
    };
    let ex = ask(plugin, Below(Rcode::NOERROR, Rcode::NOERROR));
    assert_eq!(ex.reply.count(Section::Answer), 0);
}
