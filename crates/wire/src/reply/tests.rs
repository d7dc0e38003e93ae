use super::*;
use crate::finish::{Carrier, header_only};
use crate::query::Gate;

fn query(name: &str, edns: Option<u16>) -> Query {
    let mut octets = b"\x12\x34\x01\x10\0\x01\0\0\0\0\0\0".to_vec();
    let name: crate::Name = name.parse().unwrap();
    octets.extend(name.wire());
    octets.extend(b"\0\x01\0\x01");
    if let Some(size) = edns {
        octets[11] = 1;
        octets.extend(b"\0\0\x29");
        octets.extend(size.to_be_bytes());
        octets.extend(b"\0\0\x80\0\0\0");
    }
    let mut query = Query::new();
    assert_eq!(query.read(&octets), Gate::Pass);
    query
}

fn finished(reply: &Reply, query: &Query, carrier: Carrier) -> Vec<u8> {
    let mut out = Vec::new();
    reply.finish(query, carrier, &mut out);
    out
}

#[test]
fn an_answer_is_written_as_the_rfc_draws_it() {
    let query = query("www.example", None);
    let mut reply = Reply::new();
    reply.start(&query, Rcode::NOERROR);
    reply.authoritative = true;
    assert!(reply.push(
        Section::Answer,
        Owner::Question,
        RecordType::A,
        3600,
        |rdata| rdata.octets(&[192, 0, 2, 1])
    ));
    assert_eq!(
        finished(&reply, &query, Carrier::Datagram),
        b"\x12\x34\x85\x10\0\x01\0\x01\0\0\0\0\x03www\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\x0e\x10\0\x04\xc0\0\x02\x01"
    );
    assert_eq!(reply.uncompressed_length(), 56);
    assert_eq!(reply.ttl(&reply.records()[0]), 3600);
}

#[test]
fn owners_are_compressed_against_the_question_only_at_labels() {
    let query = query("www.example", None);
    for (owner, written) in [
        ("www.example", &b"\xc0\x0c"[..]),
        ("example", b"\xc0\x10"),
        ("mail.example", b"\x04mail\xc0\x10"),
        ("other", b"\x05other\0"),
        (".", b"\0"),
    ] {
        let mut reply = Reply::new();
        reply.start(&query, Rcode::NOERROR);
        let owner: crate::Name = owner.parse().unwrap();
        assert!(reply.push(
            Section::Answer,
            Owner::Wire(owner.wire()),
            RecordType::A,
            1,
            |rdata| rdata.octets(&[1; 4])
        ));
        assert_eq!(&reply.octets()[29..29 + written.len()], written, "{owner}");
        assert_eq!(reply.uncompressed_length(), 29 + owner.wire().len() + 14);
    }
}

#[test]
fn the_root_is_not_compressed() {
    let query = query(".", None);
    let mut reply = Reply::new();
    reply.start(&query, Rcode::NOERROR);
    assert!(reply.push(
        Section::Answer,
        Owner::Question,
        RecordType::A,
        1,
        |rdata| rdata.octets(&[1; 4])
    ));
    assert_eq!(reply.octets()[17], 0);
    assert_eq!(reply.octets().len(), 17 + 1 + 14);
}

#[test]
fn what_does_not_fit_is_dropped_from_the_end_and_marked() {
    for (edns, carrier, records, truncated) in [
        (None, Carrier::Datagram, 4, true),
        (Some(100), Carrier::Datagram, 4, true),
        (Some(1232), Carrier::Datagram, 10, false),
        (Some(100), Carrier::Stream, 10, false),
    ] {
        let query = query("www.example", edns);
        let mut reply = Reply::new();
        reply.start(&query, Rcode::NOERROR);
        for _ in 0..10 {
            assert!(reply.push(
                Section::Answer,
                Owner::Question,
                RecordType::TXT,
                1,
                |rdata| rdata.string(&[b'x'; 99])
            ));
        }
        let out = finished(&reply, &query, carrier);
        assert_eq!(
            (out[7], out[2] & 2 != 0),
            (records, truncated),
            "{edns:?} {carrier:?}"
        );
        assert_eq!(out[11], u8::from(edns.is_some()));
        if let (Some(size), Carrier::Datagram) = (edns, carrier) {
            assert!(out.len() <= usize::from(size.max(512)));
            let opt = &out[out.len() - 11..];
            assert_eq!(opt[3..5], size.to_be_bytes());
            assert_eq!(opt[7], 0x80, "DO is copied");
        }
    }
}

#[test]
fn extended_rcodes_go_into_the_opt() {
    let query = query("www.example", Some(1232));
    let mut reply = Reply::new();
    reply.start(&query, Rcode::BADVERS);
    let out = finished(&reply, &query, Carrier::Datagram);
    assert_eq!((out[3] & 0xf, out[out.len() - 6]), (0, 1));
}

#[test]
fn options_replace_one_another() {
    let query = query("www.example", Some(1232));
    let mut reply = Reply::new();
    reply.start(&query, Rcode::NOERROR);
    reply.set_option(3, b"one");
    reply.set_option(15, b"\0\x03");
    reply.set_option(3, b"other");
    let out = finished(&reply, &query, Carrier::Datagram);
    assert!(
        out.ends_with(b"\0\x0f\0\x0f\0\x02\0\x03\0\x03\0\x05other"),
        "{out:x?}"
    );
}

/// A response with the OPT in the middle, and a name behind it that a later record points to.
fn odd_response(query: &Query) -> Vec<u8> {
    let mut message = query.octets()[..29].to_vec();
    message[2] = 0x85;
    message[3] = 0xa0;
    message[7] = 1;
    message[11] = 3;
    message.extend(b"\xc0\x0c\0\x05\0\x01\0\0\0\x05\0\x06\x03foo\xc0\x10");
    message.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\x06\0\x0f\0\x02\0\x16");
    let behind = message.len() as u16 | 0xc000;
    message.extend(b"\x03bar\xc0\x10\0\x01\0\x01\0\0\0\x05\0\x04\x01\x01\x01\x01");
    message.extend(behind.to_be_bytes());
    message.extend(b"\0\x01\0\x01\0\0\0\x05\0\x04\x02\x02\x02\x02");
    message
}

#[test]
fn a_response_from_elsewhere_is_taken_over_without_its_opt() {
    let query = query("www.example", Some(1232));
    let mut reply = Reply::new();
    reply.load(&query, &odd_response(&query)).unwrap();
    assert!(
        reply.authoritative
            && reply.recursion_available
            && reply.authentic_data
            && !reply.truncated
    );
    assert_eq!(
        reply.records().iter().map(|r| r.rtype).collect::<Vec<_>>(),
        [RecordType::CNAME, RecordType::A, RecordType::A]
    );
    let message = reply.to_message(&query).unwrap();
    let owners: Vec<String> = message
        .additionals
        .iter()
        .map(|record| record.name.to_string())
        .collect();
    assert_eq!(owners, ["bar.example.", "bar.example."]);
    let out = finished(&reply, &query, Carrier::Datagram);
    assert!(
        out.ends_with(b"\0\x06\0\x0f\0\x02\0\x16"),
        "its EDNS options are kept"
    );
    assert_eq!(
        reply.uncompressed_length(),
        29 + (13 + 10 + 13) + 2 * (13 + 14)
    );
}

#[test]
fn a_broken_or_foreign_response_is_not_taken_over() {
    let query = query("www.example", Some(1232));
    let good = odd_response(&query);
    let mut reply = Reply::new();
    for cut in 0..good.len() {
        assert!(reply.load(&query, &good[..cut]).is_err(), "{cut}");
        assert!(!reply.is_started());
    }
    let mut other = good.clone();
    other[13] = b'x';
    assert_eq!(reply.load(&query, &other), Err(ReplyError::OtherQuestion));
    let mut request = good.clone();
    request[2] = 1;
    assert_eq!(reply.load(&query, &request), Err(ReplyError::OtherQuestion));
    let mut looped = good;
    looped[29..31].copy_from_slice(&[0xc0, 29]);
    assert_eq!(reply.load(&query, &looped), Err(ReplyError::Malformed));
}

/// A response to a query for `www.example` with these records in its additional section.
fn response(query: &Query, additional: &[&[u8]]) -> Vec<u8> {
    let mut message = query.octets()[..29].to_vec();
    (message[2], message[11]) = (0x80, additional.len() as u8);
    additional.iter().for_each(|record| message.extend(*record));
    message
}

const OPT: &[u8] = b"\0\0\x29\x04\xd0\0\0\0\0\0\x07\0\x0f\0\x03\x01a\0";

#[test]
fn records_behind_the_opt_keep_their_names() {
    let query = query("www.example", Some(1232));
    // The label's last octet and the final zero look like a pointer.
    let mut reply = Reply::new();
    let label = b"\x02a\xc3\0\0\x01\0\x01\0\0\0\x05\0\x04\x01\x01\x01\x01";
    reply
        .load(&query, &response(&query, &[OPT, label]))
        .unwrap();
    assert!(reply.octets().ends_with(label));
    // Into the OPT; through a TXT record to a place that is not there any more.
    let into = b"\xc0\x2c\0\x01\0\x01\0\0\0\x05\0\x04\x01\x01\x01\x01";
    let txt = b"\0\0\x10\0\x01\0\0\0\x05\0\x05\x01a\0\xc0\x3a";
    let through = b"\xc0\x3d\0\x01\0\x01\0\0\0\x05\0\x04\x01\x01\x01\x01";
    for records in [&[OPT, into][..], &[OPT, txt, through]] {
        assert_eq!(
            reply.load(&query, &response(&query, records)),
            Err(ReplyError::Malformed)
        );
    }
}

#[test]
fn options_that_do_not_fill_the_opt_are_not_taken_over() {
    let query = query("www.example", Some(1232));
    let mut cut = OPT.to_vec();
    cut[14] = 4;
    let mut reply = Reply::new();
    assert_eq!(reply.load(&query, &response(&query, &[OPT])), Ok(()));
    assert_eq!(
        reply.load(&query, &response(&query, &[&cut])),
        Err(ReplyError::Malformed)
    );
}

#[test]
fn options_never_lead_past_the_limit() {
    let name = [&"x".repeat(63)[..]; 3].join(".") + "." + &"y".repeat(61);
    for length in (0..600).step_by(4) {
        let query = query(&name, Some(512));
        let mut reply = Reply::new();
        reply.start(&query, Rcode::NOERROR);
        reply.set_option(15, &vec![0; length]);
        let out = finished(&reply, &query, Carrier::Datagram);
        assert!(out.len() <= 512, "{length}: {}", out.len());
        assert_eq!(out.len() > 282, length + 4 <= 230);
    }
}

#[test]
fn a_reply_that_nobody_started_leaves_as_a_header() {
    for (edns, octets) in [(None, 12), (Some(1232), 23)] {
        let query = query("www.example", edns);
        let out = finished(&Reply::new(), &query, Carrier::Datagram);
        assert_eq!((out.len(), out[5]), (octets, 0));
    }
}

#[test]
fn a_header_alone_repeats_id_opcode_and_rd() {
    let mut query = Query::new();
    assert_eq!(
        query.read(b"\xab\xcd\x29\0\0\x01\0\0\0\0\0\0"),
        Gate::Header(Rcode::NOTIMP)
    );
    let mut out = Vec::new();
    header_only(&query, Rcode::NOTIMP, &mut out);
    assert_eq!(out, b"\xab\xcd\xa9\x04\0\0\0\0\0\0\0\0");
}
