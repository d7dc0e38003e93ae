//! Targets that read messages.
use corten_wire::finish::{Carrier, header_only};
use corten_wire::{Class, Gate, Owner, Query, Question, RecordType, Reply, Section};

use crate::message::{Message, OPT};

/// Whatever the gate lets through, and whatever it wants answered, gets an answer that can be read,
/// is about the same question and fits.
pub fn query(octets: &[u8]) {
    let mut query = Query::new();
    match query.read(octets) {
        Gate::Ignore => (),
        Gate::Header(rcode) => {
            let mut out = Vec::new();
            header_only(&query, rcode, &mut out);
            let answer = Message::read(&out).expect("a header can be read");
            assert_eq!((answer.id, out.len()), (query.id(), 12));
            assert_eq!(answer.flags & 0x800f, 0x8000 | rcode.0 & 0xf);
            assert!(query.question.name.is_root());
        }
        Gate::Whole(rcode) => answer(&query, rcode),
        Gate::Pass => {
            let asked = Message::read(query.octets()).expect("what passes can be read");
            assert_eq!(asked.end, query.octets().len());
            assert!(octets.starts_with(query.octets()));
            for code in 0..16 {
                let _ = query.edns_option(code);
            }
            answer(&query, corten_wire::Rcode::NOERROR);
            another_question(&query);
        }
    }
}

/// Answers with more and more records.
fn answer(query: &Query, rcode: corten_wire::Rcode) {
    let mut reply = Reply::new();
    reply.start(query, rcode);
    reply.set_option(3, b"fuzz");
    for records in 0..40usize {
        let carriers: &[_] = match records {
            0 | 1 | 8 | 39 => &[Carrier::Datagram, Carrier::Stream],
            _ => &[],
        };
        for &carrier in carriers {
            let sent = finished(&reply, query, carrier);
            let [(name, rtype, class)] = &sent.questions[..] else {
                panic!("one question: {sent:?}");
            };
            let question = &query.question;
            assert_eq!(
                (&name[..], *rtype, *class),
                (question.name.wire(), question.rtype.0, question.class.0)
            );
            let cut = sent.flags & 0x0200 != 0;
            assert_eq!(cut, sent.sections[0].len() < records);
        }
        let owner = match records % 2 {
            0 => Owner::Question,
            _ => Owner::Wire(b"\x04mail\x07example\0"),
        };
        assert!(
            reply.push(Section::Answer, owner, RecordType::TXT, 60, |rdata| {
                rdata.string(&[b'x'; 40])
            })
        );
    }
}

/// The query with another question passes the gate and keeps header and EDNS.
fn another_question(query: &Query) {
    let question = Question {
        name: "other.example".parse().expect("a name"),
        rtype: RecordType::AAAA,
        class: Class::IN,
    };
    let other = query.with_question(&question);
    let mut read = Query::new();
    assert_eq!(read.read(other.octets()), Gate::Pass);
    assert_eq!(read.question, question);
    assert_eq!(
        (read.id(), read.opcode(), read.dnssec_ok()),
        (query.id(), query.opcode(), query.dnssec_ok())
    );
    assert_eq!(read.edns(), other.edns());
    for code in 0..16 {
        assert_eq!(read.edns_option(code), query.edns_option(code));
    }
}

/// What loads as the response to a query for `www.example` is finished within every limit, can be
/// read, and has the records that came, in their order, from the first on.
pub fn reply(octets: &[u8]) {
    for size in [None, Some(512), Some(1232), Some(4096)] {
        let query = ask(size);
        let mut reply = Reply::new();
        if let Err(error) = reply.load(&query, octets) {
            assert!(!reply.is_started() && !error.to_string().is_empty());
            continue;
        }
        assert!(reply.is_started());
        let _ = reply.uncompressed_length();
        let came = Message::read(octets).expect("what loads can be read");
        packed(&reply, &query, octets.len() < 60_000);
        let plain = came.records().filter(|record| record.rtype != OPT).count();
        assert_eq!(plain, reply.records().len());
        for carrier in [Carrier::Datagram, Carrier::Stream, Carrier::Encrypted] {
            let sent = finished(&reply, &query, carrier);
            same_records(&came, &sent);
            let room = octets.len() <= 65_000;
            if carrier == Carrier::Stream && room {
                let sent = sent.records().filter(|record| record.rtype != OPT).count();
                assert_eq!(sent, plain, "a stream carries all");
            }
        }
        reply.set_option(15, b"\0\x16");
        reply.set_option(3, &[0; 200]);
        let _ = finished(&reply, &query, Carrier::Datagram);
        reply.remove_option(15);
        if reply.count(Section::Additional) < 100 && octets.len() < 65_000 {
            assert!(reply.push(
                Section::Additional,
                Owner::Question,
                RecordType::A,
                5,
                |rdata| { rdata.octets(&[192, 0, 2, 1]) }
            ));
        }
        let _ = finished(&reply, &query, Carrier::Datagram);
    }
}

/// What is packed comes out as it went in, but for EDNS options and TTLs.
fn packed(reply: &Reply, query: &Query, room: bool) {
    let _ = (reply.has_answer(), reply.has_expired_signature(1 << 30));
    let (mut octets, mut one, mut other) = (Vec::new(), reply.clone(), Reply::new());
    let packed = one.pack(&mut octets);
    assert_eq!(packed, reply.rcode.0 < 16);
    if packed {
        assert!(other.unpack(query, &octets, 77), "what is packed comes out");
        one.set_ttls(77);
        assert!(one.answers(query) && other.answers(query));
        let plain = |reply: &Reply| {
            let sent = finished(reply, query, Carrier::Stream);
            let records = sent.sections.into_iter().flatten();
            let plain: Vec<_> = records.filter(|record| record.rtype != OPT).collect();
            (sent.flags, sent.questions, plain)
        };
        // Options of an upstream may leave less room.
        assert!(!room || plain(&one) == plain(&other));
    }
    octets.truncate(octets.len() / 2);
    let _ = other.unpack(query, &octets, 1);
}

/// The records sent are the first of those that came. Only octets of names may differ: an OPT that
/// was taken out from in front of them moves their pointers.
fn same_records(came: &Message, sent: &Message) {
    let fields = |message: &Message| {
        let records = message
            .sections
            .iter()
            .enumerate()
            .flat_map(|(at, section)| {
                let plain = section.iter().filter(|record| record.rtype != OPT);
                plain.map(move |record| {
                    (
                        at,
                        record.rtype,
                        record.class,
                        record.ttl,
                        record.rdata.len(),
                    )
                })
            });
        records.collect::<Vec<_>>()
    };
    assert!(fields(came).starts_with(&fields(sent)));
    let additional = &came.sections[2];
    let in_front = additional
        .iter()
        .position(|record| record.rtype == OPT)
        .is_some_and(|at| at + 1 < additional.len());
    if !in_front {
        let plain = |message: &Message| -> Vec<_> {
            let plain = message.records().filter(|record| record.rtype != OPT);
            plain
                .map(|record| (record.owner.clone(), record.rdata.clone()))
                .collect()
        };
        assert!(plain(came).starts_with(&plain(sent)));
    }
}

/// A query for `www.example`, type A, with this EDNS size.
fn ask(size: Option<u16>) -> Query {
    let mut octets = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\0\0\x01\0\x01".to_vec();
    if let Some(size) = size {
        octets[11] = 1;
        octets.extend(b"\0\0\x29");
        octets.extend(size.to_be_bytes());
        octets.extend(b"\0\0\0\0\0\0");
    }
    let mut query = Query::new();
    assert_eq!(query.read(&octets), Gate::Pass);
    query
}

/// Finishes and reads back; checks what holds for every reply.
fn finished(reply: &Reply, query: &Query, carrier: Carrier) -> Message {
    // Something in front: the message is appended.
    let mut out = vec![0xff; 2];
    reply.finish(query, carrier, &mut out);
    let sent = Message::read(&out[2..]).expect("what is sent can be read");
    let limit = match (carrier, query.edns()) {
        (Carrier::Stream | Carrier::Encrypted, _) => 65_535,
        (Carrier::Datagram, edns) => edns.map_or(512, |edns| usize::from(edns.udp_size.max(512))),
    };
    assert_eq!(sent.end, out.len() - 2, "nothing behind the message");
    assert!(sent.end <= limit, "{} > {limit}", sent.end);
    assert_eq!(sent.id, query.id());
    assert_ne!(sent.flags & 0x8000, 0);
    let opts = sent.records().filter(|record| record.rtype == OPT).count();
    assert_eq!(opts, usize::from(query.edns().is_some()));
    sent
}
