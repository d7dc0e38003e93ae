//! What the chain costs in memory: nothing, when the answer comes from memory.
use std::sync::Arc;

use corten_plugin::wire::{Gate, Owner, Rcode, RecordType, Section};
use corten_plugin::{Chain, Exchange, Flow, Interest, Plugin, Progress};

/// One address, always the same.
struct Address;

impl Plugin for Address {
    fn name(&self) -> &'static str {
        "address"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let reply = ex.start(Rcode::NOERROR);
        reply.push(
            Section::Answer,
            Owner::Question,
            RecordType::A,
            60,
            |rdata| rdata.octets(&[192, 0, 2, 1]),
        );
        Flow::Respond
    }
}

/// Hands every query on: without a second look, or to see the reply.
struct Passes(Flow);

impl Plugin for Passes {
    fn name(&self) -> &'static str {
        "passes"
    }

    fn on_query(&self, _: &mut Exchange) -> Flow {
        self.0
    }
}

/// Sees every reply.
struct Sees;

impl Plugin for Sees {
    fn name(&self) -> &'static str {
        "sees"
    }

    fn interest(&self) -> Interest {
        Interest::Response
    }
}

const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x03www\x07example\0\0\x01\0\x01\
    \0\0\x29\x04\xd0\0\0\x80\0\0\0";

/// A worker's round: read, run, finish, recycle.
fn serve(chain: &Chain, ex: &mut Exchange, out: &mut Vec<u8>) {
    assert_eq!(ex.query.read(QUERY), Gate::Pass);
    assert_eq!(chain.run(ex), Progress::Done(Flow::Respond));
    out.clear();
    ex.reply.finish(
        &ex.query,
        corten_plugin::wire::finish::Carrier::Datagram,
        out,
    );
    ex.recycle();
}

#[test]
fn ten_links_and_an_answer_from_memory_allocate_nothing() {
    let links: [fn() -> Arc<dyn Plugin>; 3] = [
        || Arc::new(Passes(Flow::Pass)),
        || Arc::new(Passes(Flow::Watch)),
        || Arc::new(Sees),
    ];
    for link in links {
        let mut plugins: Vec<_> = (0..10).map(|_| link()).collect();
        plugins.push(Arc::new(Address));
        let chain = Chain::new(plugins).unwrap();
        let (mut ex, mut out) = (Exchange::new(), Vec::with_capacity(512));
        let counted = allocation_counter::measure(|| {
            for _ in 0..100 {
                serve(&chain, &mut ex, &mut out);
            }
        });
        assert_eq!(counted.count_total, 0, "{chain:?}");
        assert_eq!(out[7], 1, "there is an answer");
    }
}
