//! What a line costs: filling a format, and handing the line to the writer.
//!
//! Both together should stay well below a microsecond.
use std::hint::black_box;

use corten_plugin::wire::{Gate, Owner, Rcode, RecordType, Section};
use corten_plugin::{Exchange, Format, Spool, SpoolLimit, Told};
use criterion::{Criterion, criterion_group, criterion_main};

const QUERY: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01";

fn lines(c: &mut Criterion) {
    let mut ex = Exchange::new();
    assert_eq!(ex.query.read(QUERY), Gate::Pass);
    ex.client = "192.0.2.137:53124".parse().expect("an address");
    let reply = ex.start(Rcode::NOERROR);
    reply.push(
        Section::Answer,
        Owner::Question,
        RecordType::A,
        60,
        |rdata| {
            rdata.octets(&[192, 0, 2, 1]);
        },
    );
    let (format, mut line) = (Format::common(), Vec::new());
    c.bench_function("log/fill", |b| {
        b.iter(|| {
            line.clear();
            format.fill(black_box(&ex), Told::Reply, &mut line);
            line.len()
        })
    });
    let limit = SpoolLimit {
        entries: usize::MAX,
        octets: usize::MAX,
    };
    let (spool, mut spare, mut count) = (Spool::new(limit, || ()), Vec::new(), 0u32);
    c.bench_function("log/push", |b| {
        b.iter(|| {
            // The writer comes now and then.
            count = count.wrapping_add(1);
            if count.is_multiple_of(1024) {
                spool.drain(&mut spare, |octets, _| {
                    black_box(octets);
                });
            }
            spool.push(black_box(&line))
        })
    });
}

criterion_group!(benches, lines);
criterion_main!(benches);
