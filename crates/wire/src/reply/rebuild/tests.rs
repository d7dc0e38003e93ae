//! Messages of every shape are edited, and read with hickory-proto as the judge.
use super::*;
use crate::codes::Rcode;
use crate::{Gate, Owner};
use hickory_proto::op::Message;
use hickory_proto::rr::Record as Decoded;

/// A generator without state of its own (SplitMix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % sides as u64) as usize
    }
}

const NAMES: &[&str] = &[
    "www.example",
    "example",
    "a.www.example",
    "b.example",
    "mail.b.example",
    "other.test",
    "B.Example",
    ".",
    "x.y.z.other.test",
];

fn wire(name: &str) -> Vec<u8> {
    let mut wire = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        wire.push(label.len() as u8);
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    wire
}

fn query(name: &str) -> Query {
    let mut octets = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    octets.extend(wire(name));
    octets.extend(b"\0\x01\0\x01");
    let mut query = Query::new();
    assert_eq!(query.read(&octets), Gate::Pass);
    query
}

/// A response as servers write them: names compressed to anything further up, or not at all.
fn response(query: &Query, dice: &mut Dice) -> Vec<u8> {
    let mut message = query.octets().to_vec();
    message[2] = 0x81;
    let mut seen: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut name = |message: &mut Vec<u8>, dice: &mut Dice| {
        let name = wire(NAMES[dice.roll(NAMES.len())]);
        let known = seen
            .iter()
            .filter(|(at, known)| *at < 0x3000 && name.ends_with(known) && known.len() > 1)
            .max_by_key(|(_, known)| known.len());
        match known.filter(|_| dice.roll(3) > 0) {
            Some((at, known)) => {
                let kept = name.len() - known.len();
                // The end of a name begins at a label, or it is no name.
                let mut label = 0;
                while label < kept {
                    label += usize::from(name[label]) + 1;
                }
                if label == kept {
                    let pointer = 0xc000 | *at as u16;
                    message.extend(&name[..kept]);
                    message.extend(pointer.to_be_bytes());
                    return;
                }
                message.extend(&name);
            }
            None => {
                let mut at = 0;
                while name[at] != 0 {
                    seen.push((message.len() + at, name[at..].to_vec()));
                    at += usize::from(name[at]) + 1;
                }
                message.extend(&name);
            }
        }
    };
    for section in 0..3 {
        let count = dice.roll(6);
        message[7 + 2 * section] = count as u8;
        for _ in 0..count {
            name(&mut message, dice);
            let rtype = [1, 1, 1, 28, 5, 15, 15, 2, 6, 33, 16, 35, 12][dice.roll(13)];
            message.extend([0, rtype, 0, 1, 0, 0, 1, dice.roll(2) as u8, 0, 0]);
            let at = message.len();
            match rtype {
                1 => message.extend([192, 0, 2, dice.roll(9) as u8]),
                28 => message.extend([dice.roll(9) as u8; 16]),
                15 => {
                    message.extend([0, 10]);
                    name(&mut message, dice);
                }
                6 => {
                    name(&mut message, dice);
                    name(&mut message, dice);
                    message.extend([0; 20]);
                }
                33 => {
                    message.extend([0; 6]);
                    name(&mut message, dice);
                }
                16 => message.extend(b"\x04text"),
                35 => {
                    message.extend(b"\0\x01\0\x01\x01s\x07SIP+D2U\0");
                    message.extend(wire(NAMES[dice.roll(NAMES.len())]));
                }
                _ => name(&mut message, dice),
            }
            let length = (message.len() - at) as u16;
            message[at - 2..at].copy_from_slice(&length.to_be_bytes());
        }
    }
    message
}

fn decoded(reply: &Reply, query: &Query) -> Message {
    reply.to_message(query).expect("what was edited is read")
}

/// The records of each section, as text.
fn text(message: &Message) -> [Vec<String>; 3] {
    let all = |records: &[Decoded]| {
        records
            .iter()
            .map(|record| record.to_string().to_lowercase())
            .collect()
    };
    [
        all(&message.answers),
        all(&message.authorities),
        all(&message.additionals),
    ]
}

/// Replies and what they were loaded from.
fn each(mut test: impl FnMut(&mut Dice, &Query, Reply)) {
    for seed in 0..2000 {
        let mut dice = Dice(seed);
        let query = query(["www.example", "example", "other.test"][dice.roll(3)]);
        let message = response(&query, &mut dice);
        let mut reply = Reply::new();
        reply.load(&query, &message).expect("a good response");
        test(&mut dice, &query, reply);
    }
}

#[test]
fn made_anew_it_says_the_same_and_is_no_longer() {
    each(|_, query, mut reply| {
        let before = text(&decoded(&reply, query));
        let length = reply.uncompressed_length();
        reply.map_names(query, |_, _, _| false);
        assert_eq!(text(&decoded(&reply, query)), before);
        assert!(reply.octets().len() <= length);
        for record in reply.records() {
            let raw = walk::record(reply.octets(), usize::from(record.start)).expect("a record");
            assert_eq!(
                (raw.rdata, raw.end, raw.rtype),
                (record.rdata.into(), record.end.into(), record.rtype)
            );
        }
        let once = reply.octets().to_vec();
        reply.map_names(query, |_, _, _| false);
        assert_eq!(reply.octets(), once);
    });
}

#[test]
fn names_are_changed_and_put_back() {
    let (from, to): (Name, Name) = (
        "www.example".parse().unwrap(),
        "a-longer-one.for.example".parse().unwrap(),
    );
    let swap = |name: &mut Name, from: &Name, to: &Name| {
        let hit = name == from;
        if hit {
            *name = to.clone();
        }
        hit
    };
    each(|_, query, mut reply| {
        let before = text(&decoded(&reply, query));
        let mut changed = 0;
        let mut asked = query.clone();
        asked.question.name = to.clone();
        reply.map_names(&asked, |_, _, name| {
            let hit = swap(name, &from, &to);
            changed += usize::from(hit);
            hit
        });
        let message = decoded(&reply, &asked);
        assert_eq!(
            message.queries[0].name().to_string(),
            "a-longer-one.for.example."
        );
        let after = text(&message).concat().concat();
        assert_eq!(after.matches("a-longer-one.for.example.").count(), changed);
        reply.map_names(query, |_, _, name| swap(name, &to, &from));
        assert_eq!(text(&decoded(&reply, query)), before);
    });
}

#[test]
fn any_order_is_what_was_asked_for() {
    each(|dice, query, mut reply| {
        let mut expected = text(&decoded(&reply, query));
        for (index, section) in [Section::Answer, Section::Authority, Section::Additional]
            .into_iter()
            .enumerate()
        {
            let mut order: Vec<u16> = (0..expected[index].len() as u16).collect();
            for at in 0..order.len() {
                let other = dice.roll(order.len());
                if dice.roll(2) == 0 {
                    order.swap(at, other);
                }
            }
            let sorted = order
                .iter()
                .map(|at| expected[index][usize::from(*at)].clone())
                .collect();
            expected[index] = sorted;
            reply.reorder(query, section, &order);
            assert_eq!(text(&decoded(&reply, query)), expected, "{order:?}");
        }
    });
}

/// Every name that a reply holds, and the rest of each record.
fn said(reply: &Reply) -> Vec<(Section, Option<Name>, Option<Name>, u32)> {
    let view = reply.view();
    let records = view.records().iter();
    records
        .map(|record| {
            let (owner, target) = (view.owner(record), view.target(record));
            (record.section, owner, target, view.ttl(record))
        })
        .collect()
}

#[test]
fn whatever_loads_can_be_edited() {
    let mut loaded = 0;
    for seed in 0..20_000 {
        let mut dice = Dice(seed);
        let query = query("www.example");
        let mut message = response(&query, &mut dice);
        let behind = query.octets().len();
        for _ in 0..=dice.roll(3) {
            let at = behind + dice.roll(message.len() - behind + 1);
            let octet = [0xc0, 0x1d, 0x20, 0x2a, 0x40, 0, 1, 63][dice.roll(8)];
            if let Some(place) = message.get_mut(at) {
                *place = octet;
            }
        }
        let mut reply = Reply::new();
        if reply.load(&query, &message).is_err() {
            continue;
        }
        loaded += 1;
        let mut expected = said(&reply);
        for section in [Section::Answer, Section::Authority, Section::Additional] {
            let count = reply.count(section);
            let order: Vec<u16> = (0..count as u16).rev().collect();
            let first = expected.partition_point(|(at, ..)| *at < section);
            expected[first..first + count].reverse();
            reply.reorder(&query, section, &order);
            assert_eq!(said(&reply), expected, "{seed}");
        }
        reply.map_names(&query, |_, _, _| false);
        assert_eq!(said(&reply), expected, "{seed}");
        let mut out = Vec::new();
        reply.finish(&query, crate::finish::Carrier::Stream, &mut out);
        assert_eq!(Reply::new().load(&query, &out), Ok(()), "{seed}");
    }
    assert!(loaded > 1000, "{loaded}");
}

#[test]
fn what_is_no_order_changes_nothing() {
    let query = query("www.example");
    let mut reply = Reply::new();
    reply.start(&query, Rcode::NOERROR);
    for last in 1..4 {
        reply.push(
            Section::Answer,
            Owner::Question,
            RecordType::A,
            1,
            |rdata| rdata.octets(&[192, 0, 2, last]),
        );
    }
    let before = reply.octets().to_vec();
    for order in [&[0, 1][..], &[0, 1, 2, 3], &[0, 0, 1], &[0, 1, 3]] {
        reply.reorder(&query, Section::Answer, order);
        assert_eq!(reply.octets(), before, "{order:?}");
    }
    reply.reorder(&query, Section::Answer, &[2, 0, 1]);
    let last: Vec<u8> = reply
        .records()
        .iter()
        .map(|record| reply.octets()[usize::from(record.end) - 1])
        .collect();
    assert_eq!(last, [3, 1, 2]);
}

#[test]
fn a_record_that_names_lead_into_does_not_move_as_it_is() {
    // Two MX records of one length; the addresses' owners lie in their RDATA.
    let query = query("example");
    let mut message = query.octets().to_vec();
    (message[2], message[7], message[11]) = (0x81, 2, 2);
    let mut places = Vec::new();
    for label in [b'a', b'b'] {
        message.extend(b"\xc0\x0c\0\x0f\0\x01\0\0\0\x05\0\x06\0\x0a");
        places.push(message.len() as u16);
        message.extend([1, label, 0xc0, 0x0c]);
    }
    for (last, place) in places.iter().enumerate() {
        message.extend((0xc000 | place).to_be_bytes());
        message.extend([0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 192, 0, 2, last as u8]);
    }
    let mut reply = Reply::new();
    reply.load(&query, &message).unwrap();
    reply.reorder(&query, Section::Answer, &[1, 0]);
    let [answers, _, additional] = text(&decoded(&reply, &query));
    assert!(answers[0].ends_with("b.example.") && answers[1].ends_with("a.example."));
    assert!(additional[0].starts_with("a.example.") && additional[0].ends_with("192.0.2.0"));
}

#[test]
fn sections_are_dropped_and_ttls_set() {
    each(|_, query, mut reply| {
        let before = text(&decoded(&reply, query));
        reply.map_ttls(|_, ttl| ttl + 7);
        for (record, was) in decoded(&reply, query).answers.iter().zip(&before[0]) {
            assert!(was.contains(&format!(" {} ", record.ttl - 7)), "{was}");
        }
        reply.map_ttls(|_, ttl| ttl - 7);
        reply.drop_authority_and_additional();
        let [answers, authorities, additionals] = text(&decoded(&reply, query));
        assert_eq!(answers, before[0]);
        assert!(authorities.is_empty() && additionals.is_empty());
    });
}

#[test]
fn the_question_comes_back_with_its_letters() {
    each(|_, sent, mut reply| {
        let before = text(&decoded(&reply, sent));
        let mut asked = sent.clone();
        asked.question.rtype = RecordType::AAAA;
        reply.restore_question(&asked);
        let length = reply.octets().len();
        assert_eq!(text(&decoded(&reply, &asked)), before);
        reply.restore_question(sent);
        assert_eq!(reply.octets().len(), length, "only the type is another");
        asked.question.name = "quite.another.name".parse().unwrap();
        reply.restore_question(&asked);
        assert_eq!(text(&decoded(&reply, &asked)), before);
        reply.restore_question(sent);
        assert_eq!(text(&decoded(&reply, sent)), before);
        let question = &reply.octets()[HEADER_OCTETS..];
        assert!(question.starts_with(sent.question_octets()));
    });
}

#[test]
fn what_becomes_too_long_is_cut_and_marked() {
    let query = query("example");
    let mut reply = Reply::new();
    reply.start(&query, Rcode::NOERROR);
    for _ in 0..3000 {
        reply.push(
            Section::Answer,
            Owner::Question,
            RecordType::CNAME,
            1,
            |rdata| rdata.octets(b"\x01a\0"),
        );
    }
    let long: Name = ["x".repeat(60), "y".repeat(60), "z".repeat(60)]
        .join(".")
        .parse()
        .unwrap();
    let mut number = 0;
    reply.map_names(&query, |at, _, name| {
        number += 1;
        *name = match at {
            NameAt::Target => format!("n{number}.{long}").parse().unwrap(),
            _ => return false,
        };
        true
    });
    assert!(!reply.truncated, "compression keeps it short");
    reply.map_names(&query, |at, _, name| {
        number += 1;
        *name = match at {
            NameAt::Target => format!("{}.{number}", "w".repeat(60)).parse().unwrap(),
            _ => return false,
        };
        true
    });
    assert!(reply.truncated && reply.records().len() > 700);
    assert!(reply.octets().len() <= MESSAGE_OCTETS_MAX);
    decoded(&reply, &query);
}

#[test]
fn a_compressed_replacement_is_read_out() {
    let query = query("www.example");
    let mut message = query.octets().to_vec();
    (message[2], message[7]) = (0x81, 1);
    message.extend(b"\xc0\x0c\0\x23\0\x01\0\0\0\x05\0\x0b\0\x01\0\x01\0\0\0\x01r\xc0\x0c");
    let mut reply = Reply::new();
    reply.load(&query, &message).unwrap();
    let mut asked = query.clone();
    asked.question.name = "quite.another.name".parse().unwrap();
    reply.restore_question(&asked);
    let [answers, ..] = text(&decoded(&reply, &asked));
    assert!(answers[0].ends_with("r.www.example."), "{answers:?}");
}

#[test]
fn options_of_the_reply_are_found() {
    let query = query("example");
    let mut reply = Reply::new();
    reply.start(&query, Rcode::NOERROR);
    assert_eq!(reply.option(3), None);
    reply.set_option(15, b"\0\x03");
    reply.set_option(3, b"me");
    assert_eq!(
        (reply.option(3), reply.option(15), reply.option(8)),
        (Some(&b"me"[..]), Some(&b"\0\x03"[..]), None)
    );
}
