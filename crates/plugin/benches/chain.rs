//! What links cost that only pass a query on, or only look at the reply.
use std::hint::black_box;
use std::sync::Arc;

use corten_plugin::wire::{Class, Gate, Query, Question, Rcode, RecordType};
use corten_plugin::{Chain, Exchange, Flow, Interest, Plugin};
use criterion::{Criterion, criterion_group, criterion_main};

/// Looks at the type and passes.
struct Pass(RecordType);

impl Plugin for Pass {
    fn name(&self) -> &'static str {
        "pass"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        match ex.query.question.rtype == self.0 {
            true => ex.answer(Rcode::REFUSED),
            false => Flow::Pass,
        }
    }
}

/// Looks at every reply.
struct Look;

impl Plugin for Look {
    fn name(&self) -> &'static str {
        "look"
    }

    fn interest(&self) -> Interest {
        Interest::Response
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        black_box(ex.reply.rcode);
        Flow::Respond
    }
}

/// Answers without records.
struct Answer;

impl Plugin for Answer {
    fn name(&self) -> &'static str {
        "answer"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        ex.answer(Rcode::NOERROR)
    }
}

fn chain(c: &mut Criterion) {
    let question = Question {
        name: "www.example".parse().expect("a name"),
        rtype: RecordType::A,
        class: Class::IN,
    };
    let mut ex = Exchange::new();
    assert_eq!(ex.query.read(Query::ask(7, &question).octets()), Gate::Pass);
    let passing = || Arc::new(Pass(RecordType::ANY)) as Arc<dyn Plugin>;
    let looking = || Arc::new(Look) as Arc<dyn Plugin>;
    for (name, above) in [
        ("chain/answer", Vec::new()),
        (
            "chain/ten that pass, answer",
            (0..10).map(|_| passing()).collect(),
        ),
        (
            "chain/ten that look, answer",
            (0..10).map(|_| looking()).collect(),
        ),
    ] {
        let mut links: Vec<Arc<dyn Plugin>> = above;
        links.push(Arc::new(Answer));
        let chain = Chain::new(links).expect("a chain");
        c.bench_function(name, |b| {
            b.iter(|| {
                ex.recycle();
                black_box(chain.run(&mut ex))
            });
        });
    }
}

criterion_group!(benches, chain);
criterion_main!(benches);
