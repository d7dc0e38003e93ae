//! What a query costs that no rule is for, by how many networks the rules name: it must not grow with
//! them.
use std::hint::black_box;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use corten_plugin::corefile::{Source, parse};
use corten_plugin::wire::Gate;
use corten_plugin::{Block, Chain, Exchange, Parts, Peers, Process, ServerOptions, Setup};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";

/// The chain of a server block with these lines.
fn chain(lines: &str) -> Arc<Chain> {
    let text = format!(".{{\n{lines}\n}}\n").replace(".{", ". {");
    let source = Source {
        name: "Corefile",
        text: &text,
        path: None,
    };
    let corefile = parse(&source, &["acl"], &|_| None).expect("a Corefile");
    let block = Block {
        zones: vec![".".parse().expect("a name")],
        transports: Vec::new(),
    };
    let (mut options, mut offers) = (ServerOptions::default(), Peers::default());
    let (mut made, mut everywhere) = (Vec::new(), Vec::new());
    let mut setup = Setup {
        directive: "acl",
        block: &block,
        options: &mut options,
        process: &Arc::new(Process::default()),
        parts: Parts {
            lines: &corefile.blocks[0].directives,
            before: &[],
            made: &mut made,
            everywhere: &mut everywhere,
            offers: &mut offers,
        },
    };
    (corten_acl::PLUGIN.setup)(&mut setup).expect("rules");
    Chain::new(made).expect("one link")
}

/// A block list of so many addresses, in one line and in a line each.
fn rules(networks: u32, own_line: bool) -> String {
    let address = |n: u32| IpAddr::V4((0x0a00_0000 + n * 7).into()).to_string();
    let all: Vec<_> = (0..networks).map(address).collect();
    let lines = match own_line {
        true => all.iter().map(|one| format!("block net {one}\n")).collect(),
        false => format!("block net {}\n", all.join(" ")),
    };
    format!("acl {{\n{lines}}}")
}

fn networks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("acl");
    for (own_line, name) in [(false, "one line"), (true, "a line each")] {
        for count in [1, 100, 10_000] {
            let chain = chain(&rules(count, own_line));
            let mut ex = Exchange::new();
            assert_eq!(ex.query.read(QUERY), Gate::Pass);
            let mut client = 0u32;
            group.bench_function(BenchmarkId::new(name, count), |bencher| {
                bencher.iter(|| {
                    // Clients from all over, so that the search goes other ways each time.
                    client = client.wrapping_add(0x9e37_79b9);
                    ex.client =
                        SocketAddr::new(IpAddr::V4((0x0a00_0000 | client >> 15).into()), 53);
                    let _ = black_box(chain.run(&mut ex));
                    ex.recycle();
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, networks);
criterion_main!(benches);
