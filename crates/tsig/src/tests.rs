//! Messages of others and our own.
use std::sync::Arc;

use corten_wire::{Class, Gate, Question, RecordType};

use crate::*;

const SECRET: &str = "Y29uZm9ybWFuY2Uta2V5LW51bWJlci1vbmUtYWJjZGU=";
const NOW: u64 = 1_790_000_000;

fn key(name: &str, algorithm: Option<Algorithm>) -> Key {
    Key::new(
        name.parse().unwrap(),
        algorithm,
        Secret::from_base64(SECRET).unwrap(),
    )
}

fn keys(list: Vec<Key>) -> Keyring {
    let mut keys = Keyring::default();
    for key in list {
        assert!(keys.add(key));
    }
    keys
}

fn asked() -> Vec<u8> {
    let question = Question {
        name: "www.example".parse().unwrap(),
        rtype: RecordType::A,
        class: Class::IN,
    };
    corten_wire::Query::ask(0x1234, &question).octets().to_vec()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// RFC 4231 section 4.3 and RFC 2202 section 3: test case 2.
#[test]
fn codes_are_those_of_the_rfcs() {
    for (algorithm, mac) in [
        (Algorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (
            Algorithm::Sha224,
            "a30e01098bc6dbbf45690f3a7e9e6d0f8bbea2a39e6148008fd05e44",
        ),
        (
            Algorithm::Sha256,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        (
            Algorithm::Sha384,
            "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
        ),
        (
            Algorithm::Sha512,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
    ] {
        let mut code = algorithm.start(b"Jefe");
        code.add(b"what do ya want ");
        code.add(b"for nothing?");
        let made = code.finish();
        assert_eq!(made.octets(), hex(mac), "{algorithm}");
        assert_eq!(made.octets().len(), algorithm.octets());
    }
}

/// A message that dnspython signed with the key above at 1574691265, well in the past.
#[test]
fn a_message_of_another_program_is_verified() {
    let message = hex(
        "123401000001000000000001037777770469736c65076578616d706c650000010001036f6e65036b65790000fa00ff\
         00000000003d0b686d61632d7368613235360000005e0be100012c00200961c863c0bd68cde4288a95b6575766a479\
         a5c6eba3910f8069fd14ba66e79b123400000000",
    );
    let record = Record::find(&message).unwrap().unwrap();
    let keys = keys(vec![key("one.key", None)]);
    let found = verify(&message, &keys, record.time + 300).unwrap().unwrap();
    assert_eq!(found.refusal, None);
    let found = verify(&message, &keys, record.time + 301).unwrap().unwrap();
    assert_eq!(found.refusal, Some(Refusal::BadTime));
}

#[test]
fn every_algorithm_goes_both_ways() {
    for algorithm in Algorithm::ALL {
        let mut message = asked();
        let own = Arc::new(key("one.key", Some(algorithm)));
        let mut query = Query::sign(&mut message, &own, NOW);
        assert_eq!(corten_wire::Query::new().read(&message), Gate::Pass);
        let keys = keys(vec![key("ONE.key", None)]);
        let mut found = verify(&message, &keys, NOW + 5).unwrap().unwrap();
        assert_eq!(found.refusal, None, "{algorithm}");
        let mut out = b"before".to_vec();
        out.extend(asked());
        let length = out.len();
        found.answer.sign(&mut out, 6, NOW + 5);
        assert!(out.len() - length <= found.answer.room());
        assert_eq!(query.verify(&out[6..], NOW), Ok(length - 6));
        assert!(query.is_complete());
    }
}

#[test]
fn what_is_wrong_is_told_as_the_rfc_says() {
    let mut message = asked();
    let own = Arc::new(key("one.key", None));
    let mut query = Query::sign(&mut message, &own, NOW);
    let other = Key::new(
        "one.key".parse().unwrap(),
        None,
        Secret::from_base64("b3RoZXI=").unwrap(),
    );
    let mut changed = message.clone();
    changed[3] ^= 0x10;
    for (what, message, key, now, refusal, signed) in [
        (
            "unknown key",
            &message,
            key("two.key", None),
            NOW,
            Refusal::BadKey,
            false,
        ),
        (
            "a key for another algorithm",
            &message,
            key("one.key", Some(Algorithm::Sha512)),
            NOW,
            Refusal::BadKey,
            false,
        ),
        (
            "another secret",
            &message,
            other.clone(),
            NOW,
            Refusal::BadSignature,
            false,
        ),
        // A message that is both forged and old tells nothing about the clock.
        (
            "another secret, late",
            &message,
            other,
            NOW + 999,
            Refusal::BadSignature,
            false,
        ),
        (
            "changed",
            &changed,
            key("one.key", None),
            NOW,
            Refusal::BadSignature,
            false,
        ),
        (
            "late",
            &message,
            key("one.key", None),
            NOW + 301,
            Refusal::BadTime,
            true,
        ),
        (
            "early",
            &message,
            key("one.key", None),
            NOW - 301,
            Refusal::BadTime,
            true,
        ),
    ] {
        let mut found = verify(message, &keys(vec![key]), now).unwrap().unwrap();
        assert_eq!(found.refusal, Some(refusal), "{what}");
        let mut out = asked();
        found.answer.sign(&mut out, 0, now);
        let record = Record::find(&out).unwrap().unwrap();
        assert_eq!(Rcode(record.error), refusal.code(), "{what}");
        assert_eq!(!record.mac.is_empty(), signed, "{what}");
        if refusal == Refusal::BadTime {
            assert_eq!((record.time, record.other.len()), (NOW, 6), "{what}");
            assert_eq!(record.other, &now.to_be_bytes()[2..], "{what}");
        }
    }
    let mut found = verify(&message, &keys(vec![]), NOW).unwrap().unwrap();
    let mut out = asked();
    found.answer.sign(&mut out, 0, NOW);
    assert_eq!(
        query.verify(&out, NOW),
        Err(ResponseError::Refused(Rcode::BADKEY))
    );
}

use corten_wire::Rcode;

/// RFC 8945 section 5.2.2.1: at least half of the code, and ten octets.
#[test]
fn short_codes_count_down_to_half() {
    let own = Arc::new(key("one.key", None));
    let longer = [7; 40];
    for (octets, taken) in [
        (32, true),
        (16, true),
        (33, false),
        (15, false),
        (10, false),
        (9, false),
        (0, false),
    ] {
        let mut message = asked();
        let _ = Query::sign(&mut message, &own, NOW);
        let whole = message.clone();
        let record = Record::find(&whole).unwrap().unwrap();
        message.truncate(record.start);
        message[11] = 0;
        let cut = Record {
            mac: record.mac.get(..octets).unwrap_or(&longer[..octets]),
            ..record.clone()
        };
        cut.write(&mut message, 0);
        let keys = keys(vec![key("one.key", None)]);
        let found = verify(&message, &keys, NOW).map(|verdict| verdict.unwrap().refusal);
        let expected = if taken { Ok(None) } else { Err(RecordError) };
        assert_eq!(found, expected, "{octets}");
    }
}

/// RFC 8945 section 5.3.1: codes of a stream hang together.
#[test]
fn messages_of_a_stream_are_verified_in_their_order() {
    let own = Arc::new(key("one.key", None));
    let keys = keys(vec![key("one.key", None)]);
    let mut message = asked();
    let mut query = Query::sign(&mut message, &own, NOW);
    let mut found = verify(&message, &keys, NOW).unwrap().unwrap();
    let mut stream = Vec::new();
    for _ in 0..4 {
        let mut out = asked();
        found.answer.sign(&mut out, 0, NOW);
        stream.push(out);
    }
    assert_eq!(query.verify(&stream[0], NOW), Ok(asked().len()));
    assert_eq!(query.verify(&stream[1], NOW), Ok(asked().len()));
    // One was left out.
    assert_eq!(
        query.verify(&stream[3], NOW),
        Err(ResponseError::BadSignature)
    );

    // Others sign only some of them.
    let mut query = Query::sign(&mut asked(), &own, NOW);
    assert_eq!(query.verify(&asked(), NOW), Err(ResponseError::Unsigned));
    let mut signed = asked();
    let mut query = Query::sign(&mut signed, &own, NOW);
    let mut found = verify(&signed, &keys, NOW).unwrap().unwrap();
    let mut first = asked();
    found.answer.sign(&mut first, 0, NOW);
    let bare = asked();
    // The code of the third covers the second, which has none.
    let mut code = own.start(Algorithm::Sha256);
    server::add_before(
        &mut code,
        &Mac::received(Record::find(&first).unwrap().unwrap().mac),
    );
    code.add(&bare);
    code.add(&bare);
    let mut record = Record {
        original_id: 0x1234,
        start: bare.len(),
        ..Record::find(&first).unwrap().unwrap()
    };
    code.add(&record.timers());
    let mac = code.finish();
    record.mac = mac.octets();
    let mut third = bare.clone();
    record.write(&mut third, 0);
    assert_eq!(query.verify(&first, NOW), Ok(bare.len()));
    assert_eq!(query.verify(&bare, NOW), Ok(bare.len()));
    assert!(!query.is_complete());
    assert_eq!(query.verify(&third, NOW), Ok(bare.len()));
    assert!(query.is_complete());
    for _ in 0..99 {
        assert_eq!(query.verify(&bare, NOW), Ok(bare.len()));
    }
    assert_eq!(query.verify(&bare, NOW), Err(ResponseError::Unsigned));
}

#[test]
fn every_octet_counts() {
    let own = Arc::new(key("one.key", None));
    let keys = keys(vec![key("one.key", None)]);
    let mut message = asked();
    let _ = Query::sign(&mut message, &own, NOW);
    for at in 0..message.len() {
        for bit in [1, 0x20, 0x80] {
            let mut other = message.clone();
            other[at] ^= bit;
            let taken = matches!(
                verify(&other, &keys, NOW),
                Ok(Some(Verdict { refusal: None, .. }))
            );
            // The ID of the header is not signed, the original one is; letter case of the names of
            // key and algorithm does not count.
            let start = Record::find(&message).unwrap().unwrap().start;
            let names =
                (start + 1..start + 9).contains(&at) || (start + 20..start + 31).contains(&at);
            assert!(!taken || at < 2 || names && bit == 0x20, "{at} {bit}");
        }
    }
    for length in 0..message.len() {
        assert!(
            !matches!(verify(&message[..length], &keys, NOW), Ok(Some(_))),
            "{length}"
        );
    }
}

#[test]
fn secrets_are_not_shown() {
    let key = key("one.key", None);
    let shown = format!("{key:?} {:?}", keys(vec![key.clone()]));
    assert!(
        !shown.contains("Y29u") && !shown.contains("conf") && shown.contains("Secret"),
        "{shown}"
    );
    assert_eq!(Secret::from_base64(""), Err(KeyError::Length));
    assert_eq!(Secret::from_base64("not base64"), Err(KeyError::Base64));
}
