//! A query that is answered from memory allocates nothing, whatever it passes on its way.
use std::sync::Arc;

use corten_plugin::wire::finish::Carrier;
use corten_plugin::wire::{Class, Owner, Query, Question, Rcode, RecordType, Section};
use corten_plugin::{Chain, Exchange, Flow, Interest, Plugin, Progress};

struct Pass;

impl Plugin for Pass {
    fn name(&self) -> &'static str {
        "pass"
    }

    fn on_query(&self, _: &mut Exchange) -> Flow {
        Flow::Watch
    }
}

struct Look;

impl Plugin for Look {
    fn name(&self) -> &'static str {
        "look"
    }

    fn interest(&self) -> Interest {
        Interest::Response
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        ex.reply.set_option(3, b"identifier");
        Flow::Respond
    }
}

struct Answer;

impl Plugin for Answer {
    fn name(&self) -> &'static str {
        "answer"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let reply = ex.start(Rcode::NOERROR);
        for last in 1..=4 {
            let (section, owner) = (Section::Answer, Owner::Question);
            reply.push(section, owner, RecordType::A, 60, |rdata| {
                rdata.octets(&[192, 0, 2, last]);
            });
        }
        Flow::Respond
    }
}

#[test]
fn an_answer_from_memory_allocates_nothing() {
    let mut links: Vec<Arc<dyn Plugin>> = Vec::new();
    for _ in 0..5 {
        links.push(Arc::new(Pass));
        links.push(Arc::new(Look));
    }
    links.push(Arc::new(Answer));
    let chain = Chain::new(links).unwrap();
    let question = Question {
        name: "www.example".parse().unwrap(),
        rtype: RecordType::A,
        class: Class::IN,
    };
    let message = Query::ask(7, &question).octets().to_vec();
    let (mut ex, mut out) = (Exchange::new(), Vec::with_capacity(4096));
    let mut serve = || {
        ex.recycle();
        out.clear();
        let _ = ex.query.read(&message);
        assert_eq!(chain.run(&mut ex), Progress::Done(Flow::Respond));
        ex.reply.finish(&ex.query, Carrier::Datagram, &mut out);
        assert_eq!(ex.reply.records().len(), 4);
    };
    // The first finds out how much memory a query takes.
    serve();
    let counted = allocation_counter::measure(|| (0..100).for_each(|_| serve()));
    assert_eq!(counted.count_total, 0);
}
