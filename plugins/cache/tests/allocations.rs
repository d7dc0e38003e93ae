//! What a hit costs in memory: nothing.
mod kit;

use corten_plugin::wire::finish::Carrier;
use corten_plugin::wire::{Gate, Rcode, RecordType};
use corten_plugin::{Flow, Progress};

#[tokio::test]
async fn a_hit_allocates_nothing() {
    let below = kit::Below::new(|ex, _| {
        kit::upstream(ex, Rcode::NOERROR, |reply| {
            for last in 0..4 {
                kit::address(reply, 300, last);
            }
        })
    });
    for options in ["cache", "cache {\n prefetch 10000\n keepttl\n}"] {
        let corefile = format!(". {{\n {options}\n}}\n");
        let (chain, _cache) = kit::chain(&corten_cache::PLUGIN, &corefile, &below);
        for flags in ["", "d", "e"] {
            let octets = kit::query("www.example", RecordType::A, flags);
            kit::serve(&chain, &octets).await;
            let before = below.asked();
            let mut out = Vec::with_capacity(512);
            let mut ex = kit::exchange(&octets);
            let mut round = || {
                assert_eq!(ex.query.read(&octets), Gate::Pass);
                assert_eq!(chain.run(&mut ex), Progress::Done(Flow::Respond));
                out.clear();
                ex.reply.finish(&ex.query, Carrier::Datagram, &mut out);
                ex.recycle();
            };
            // Counters are made when they are first needed.
            round();
            let counted = allocation_counter::measure(|| (0..100).for_each(|_| round()));
            assert_eq!(counted.count_total, 0, "{options} {flags}");
            assert_eq!((below.asked(), out[7]), (before, 4));
        }
    }
}
