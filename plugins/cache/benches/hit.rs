//! What a hit costs: one name again and again, and 10,000 names by turns, which do not fit the
//! fastest caches of a processor. A miss of a name that nobody keeps is for comparison.
//!
//! That a hit allocates nothing is a test (`tests/allocations.rs`).
#[path = "../tests/kit/mod.rs"]
mod kit;

use std::hint::black_box;

use corten_plugin::wire::finish::Carrier;
use corten_plugin::wire::{Rcode, RecordType};
use criterion::{Criterion, criterion_group, criterion_main};

fn hits(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let below = kit::Below::new(|ex, _| {
        kit::upstream(ex, Rcode::NOERROR, |reply| kit::address(reply, 86_400, 1))
    });
    let corefile = ". {\n cache {\n success 100000 86400\n denial 100000 86400\n }\n}\n";
    let (chain, _cache) = kit::chain(&corten_cache::PLUGIN, corefile, &below);
    let mut group = c.benchmark_group("cache");
    for names in [1, 10_000] {
        let queries: Vec<_> = (0..names)
            .map(|number| kit::query(&format!("h{number}.example.org"), RecordType::A, ""))
            .collect();
        for query in &queries {
            runtime.block_on(kit::serve(&chain, query));
        }
        let (mut ex, mut out) = (kit::exchange(&queries[0]), Vec::with_capacity(512));
        let mut next = 0;
        group.bench_function(format!("hit of {names}"), |b| {
            b.iter(|| {
                next = (next + 7919) % names;
                let _ = ex.query.read(black_box(&queries[next]));
                let end = chain.run(&mut ex);
                out.clear();
                ex.reply.finish(&ex.query, Carrier::Datagram, &mut out);
                ex.recycle();
                end
            });
        });
    }
    let query = kit::query("none.example.org", RecordType::AXFR, "");
    let mut ex = kit::exchange(&query);
    group.bench_function("passed", |b| {
        b.iter(|| {
            let _ = ex.query.read(black_box(&query));
            let end = chain.run(&mut ex);
            ex.recycle();
            end
        });
    });
    group.finish();
}

criterion_group!(benches, hits);
criterion_main!(benches);
