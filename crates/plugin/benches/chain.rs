//! What links cost: one that answers, with ten in front of it that pass, watch or see the reply.
//!
//! Ten passing links may cost 60 ns in all: the difference between `passing/10` and `passing/0`.
//! That nothing here allocates is a test (`tests/allocations.rs`).
use std::hint::black_box;
use std::sync::Arc;

use corten_plugin::wire::{Gate, Rcode};
use corten_plugin::{Chain, Exchange, Flow, Interest, Plugin};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// Answers with an RCODE, so that the links are what is measured.
struct Answers;

impl Plugin for Answers {
    fn name(&self) -> &'static str {
        "answers"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        ex.answer(Rcode::REFUSED)
    }
}

/// Looks at the question and returns this; the types asked for differ from link to link.
struct Looks(u16, Flow);

impl Plugin for Looks {
    fn name(&self) -> &'static str {
        "looks"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        match ex.query.question.rtype.0 == self.0 {
            true => ex.answer(Rcode::NOTIMP),
            false => self.1,
        }
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        ex.reply.authoritative |= ex.query.question.rtype.0 == self.0;
        Flow::Respond
    }
}

/// Changes each reply a little.
struct Sees(u16);

impl Plugin for Sees {
    fn name(&self) -> &'static str {
        "sees"
    }

    fn interest(&self) -> Interest {
        Interest::Response
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        ex.reply.authoritative |= ex.query.question.rtype.0 == self.0;
        Flow::Respond
    }
}

const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";

fn chains(c: &mut Criterion) {
    let mut group = c.benchmark_group("chain");
    let passing: fn(u16) -> Arc<dyn Plugin> = |at| Arc::new(Looks(100 + at, Flow::Pass));
    let watching: fn(u16) -> Arc<dyn Plugin> = |at| Arc::new(Looks(100 + at, Flow::Watch));
    let response: fn(u16) -> Arc<dyn Plugin> = |at| Arc::new(Sees(100 + at));
    for (kind, links, link) in [
        ("passing", 0, passing),
        ("passing", 10, passing),
        ("watching", 10, watching),
        ("response", 10, response),
    ] {
        let mut plugins: Vec<_> = (0..links).map(link).collect();
        plugins.push(Arc::new(Answers));
        let chain = Chain::new(plugins).expect("eleven links fit");
        let mut ex = Exchange::new();
        assert_eq!(ex.query.read(QUERY), Gate::Pass);
        group.bench_function(BenchmarkId::new(kind, links), |b| {
            b.iter(|| {
                let end = black_box(&*chain).run(black_box(&mut ex));
                ex.recycle();
                end
            })
        });
    }
    group.finish();
}

criterion_group!(benches, chains);
criterion_main!(benches);
