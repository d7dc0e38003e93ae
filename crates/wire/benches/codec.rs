//! Reading queries, writing replies, taking over responses.
use std::hint::black_box;

use corten_wire::finish::Carrier;
use corten_wire::{Class, Owner, Query, Question, Rcode, RecordType, Reply, Section};
use criterion::{Criterion, criterion_group, criterion_main};

fn question() -> Question {
    Question {
        name: "www.some-name.example".parse().expect("a name"),
        rtype: RecordType::A,
        class: Class::IN,
    }
}

/// A query with EDNS, DO and a cookie.
fn message() -> Vec<u8> {
    let mut octets = Query::ask(7, &question()).octets().to_vec();
    octets[11] = 1;
    octets.extend_from_slice(
        b"\0\0\x29\x04\xd0\0\0\x80\0\0\x0c\0\x0a\0\x08\x01\x02\x03\x04\x05\x06\x07\x08",
    );
    octets
}

fn fill(reply: &mut Reply, query: &Query, records: u8) {
    reply.start(query, Rcode::NOERROR);
    for last in 0..records {
        reply.push(
            Section::Answer,
            Owner::Question,
            RecordType::AAAA,
            60,
            |rdata| {
                rdata.octets(&[last; 16]);
            },
        );
    }
}

fn codec(c: &mut Criterion) {
    let (message, mut query, mut reply) = (message(), Query::new(), Reply::new());
    let mut out = Vec::with_capacity(65_535);
    c.bench_function("codec/read a query", |b| {
        b.iter(|| black_box(query.read(black_box(&message))));
    });
    for (name, records) in [
        ("codec/reply with a record", 1),
        ("codec/reply with 60 records, cut", 60),
    ] {
        c.bench_function(name, |b| {
            b.iter(|| {
                fill(&mut reply, &query, records);
                out.clear();
                reply.finish(&query, Carrier::Datagram, &mut out);
            });
        });
    }
    for (name, records) in [("codec/load a record", 1), ("codec/load 20 records", 20)] {
        fill(&mut reply, &query, records);
        out.clear();
        reply.finish(&query, Carrier::Stream, &mut out);
        let response = out.clone();
        c.bench_function(name, |b| {
            b.iter(|| {
                reply
                    .load(&query, black_box(&response))
                    .expect("a response")
            });
        });
    }
}

criterion_group!(benches, codec);
criterion_main!(benches);
