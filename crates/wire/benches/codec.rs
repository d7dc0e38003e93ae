//! What messages cost: reading a query, building and finishing replies, taking over a response.
use std::hint::black_box;

use corten_wire::finish::Carrier;
use corten_wire::{Gate, Owner, Query, Rcode, RecordType, Reply, Section};
use criterion::{Criterion, criterion_group, criterion_main};

/// `www.example.org A` with EDNS: 1232 octets, DO, a cookie (RFC 7873).
const QUERY: &[u8] = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01\x03www\x07example\x03org\0\0\x01\0\x01\
    \0\0\x29\x04\xd0\0\0\x80\0\0\x0c\0\x0a\0\x08abcdefgh";

fn query() -> Query {
    let mut query = Query::new();
    assert_eq!(query.read(QUERY), Gate::Pass);
    query
}

/// A response with a CNAME, two addresses and an OPT, as a resolver sends it.
fn response() -> Vec<u8> {
    let mut message =
        b"\x12\x34\x81\x80\0\x01\0\x03\0\0\0\x01\x03www\x07example\x03org\0\0\x01\0\x01".to_vec();
    message.extend(b"\xc0\x0c\0\x05\0\x01\0\0\x01\x2c\0\x06\x03web\xc0\x10");
    for last in [1, 2] {
        message.extend(b"\xc0\x2d\0\x01\0\x01\0\0\x01\x2c\0\x04\xc0\0\x02");
        message.push(last);
    }
    message.extend(b"\0\0\x29\x04\xd0\0\0\x80\0\0\0");
    message
}

fn queries(c: &mut Criterion) {
    let mut query = Query::new();
    c.bench_function("query/read", |b| {
        b.iter(|| black_box(&mut query).read(black_box(QUERY)))
    });
}

fn replies(c: &mut Criterion) {
    let (query, mut reply, mut out) = (query(), Reply::new(), Vec::with_capacity(4096));
    c.bench_function("reply/one A record", |b| {
        b.iter(|| {
            reply.start(black_box(&query), Rcode::NOERROR);
            reply.push(
                Section::Answer,
                Owner::Question,
                RecordType::A,
                60,
                |rdata| rdata.octets(&[192, 0, 2, 1]),
            );
            out.clear();
            reply.finish(&query, Carrier::Datagram, &mut out);
            black_box(out.len())
        })
    });

    reply.start(&query, Rcode::NOERROR);
    for _ in 0..20 {
        reply.push(
            Section::Answer,
            Owner::Question,
            RecordType::TXT,
            60,
            |rdata| rdata.string(&[b'x'; 80]),
        );
    }
    c.bench_function("reply/20 records cut to 1232", |b| {
        b.iter(|| {
            out.clear();
            black_box(&reply).finish(&query, Carrier::Datagram, &mut out);
            black_box(out.len())
        })
    });
    assert!(out.len() <= 1232 && out[2] & 2 != 0, "it was cut");

    let message = response();
    c.bench_function("reply/load", |b| {
        b.iter(|| reply.load(black_box(&query), black_box(&message)))
    });
    assert_eq!(reply.records().len(), 3);
}

criterion_group!(benches, queries, replies);
criterion_main!(benches);
