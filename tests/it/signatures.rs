//! Signatures of every kind over every transport (CVE-2026-33190, CVE-2026-35579): one way of
//! verifying, for *tsig*, *transfer* and *update*.
use std::sync::Arc;

use corten_tsig::{Key, Query as Signed, Record, Secret};
use libtest_mimic::{Failed, Trial};

use crate::everywhere::{Everywhere, WAYS, Way, now, query, tells, update};
use crate::message::Message;

const SECRET: &str = "NoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk=";
const OTHER_SECRET: &str = "Y29uZm9ybWFuY2Uta2V5LW51bWJlci1vbmUtYWJjZGU=";
const DIRECTIVES: &str = "
    tsig {
        secret one.key. NoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk=
        secret two.key. NoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk=
        require TXT
    }
    transfer {
        to *
        key one.key.
    }
    file db.isle
    update {
        allow one.key.
        rate 0
    }";

/// What is wrong with a signature, if anything is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    None,
    /// Half of the code, which RFC 8945 section 5.2.2.1 lets a client send.
    Halved,
    Missing,
    BadCode,
    UnknownKey,
    UnknownAlgorithm,
    Stale,
    Future,
    /// A message that was good once, and comes again when its time is over.
    Replayed,
    OriginalId,
    Truncated,
    NoCode,
    NotLast,
    Twice,
    /// The code is right for another question.
    Changed,
    OtherClass,
    Compressed,
}

const FLAWS: [Flaw; 17] = [
    Flaw::None,
    Flaw::Halved,
    Flaw::Missing,
    Flaw::BadCode,
    Flaw::UnknownKey,
    Flaw::UnknownAlgorithm,
    Flaw::Stale,
    Flaw::Future,
    Flaw::Replayed,
    Flaw::OriginalId,
    Flaw::Truncated,
    Flaw::NoCode,
    Flaw::NotLast,
    Flaw::Twice,
    Flaw::Changed,
    Flaw::OtherClass,
    Flaw::Compressed,
];

impl Flaw {
    /// RCODE, and the error in the TSIG record where there is one.
    fn expected(self) -> (u16, Option<u16>) {
        match self {
            Self::None | Self::Halved | Self::Compressed => (0, Some(0)),
            Self::Missing => (5, None),
            Self::BadCode | Self::OriginalId | Self::Changed => (9, Some(16)),
            Self::UnknownKey | Self::UnknownAlgorithm => (9, Some(17)),
            Self::Stale | Self::Future | Self::Replayed => (9, Some(18)),
            Self::Truncated | Self::NoCode | Self::NotLast | Self::Twice | Self::OtherClass => {
                (1, None)
            }
        }
    }

    fn is_good(self) -> bool {
        self.expected().0 == 0
    }
}

fn key(name: &str, algorithm: &str, secret: &str) -> Arc<Key> {
    Arc::new(Key::new(
        name.parse().unwrap(),
        Some(algorithm.parse().unwrap()),
        Secret::from_base64(secret).unwrap(),
    ))
}

fn own_key() -> Arc<Key> {
    key("one.key", "hmac-sha256", SECRET)
}

/// Adds to a count of the header.
fn count(wire: &mut [u8], at: usize, more: i16) {
    let count = u16::from_be_bytes([wire[at], wire[at + 1]]).wrapping_add_signed(more);
    wire[at..at + 2].copy_from_slice(&count.to_be_bytes());
}

/// Leaves `keep` octets of the code of 32 that ends a message.
fn shorten(wire: &mut Vec<u8>, keep: usize) {
    let code = wire.len() - 6 - 32;
    wire.drain(code + keep..code + 32);
    let number = keep as u16;
    wire[code - 2..code].copy_from_slice(&number.to_be_bytes());
    // Algorithm, time, fudge, length, code, original ID, error, no other data.
    let rdlength = b"\x0bhmac-sha256\0".len() + 10 + keep + 6;
    let place = code - 10 - b"\x0bhmac-sha256\0".len() - 2;
    wire[place..place + 2].copy_from_slice(&(rdlength as u16).to_be_bytes());
}

/// Signs a message, well or badly. What verifies the response comes back as well.
fn signed(mut wire: Vec<u8>, flaw: Flaw) -> (Vec<u8>, Signed) {
    let own = own_key();
    let start = wire.len();
    let with = |wire: &mut Vec<u8>, key: &Arc<Key>, time| Signed::sign(wire, key, time);
    let signature = match flaw {
        Flaw::BadCode => {
            let other = key("one.key", "hmac-sha256", OTHER_SECRET);
            with(&mut wire, &other, now())
        }
        Flaw::UnknownKey => {
            let other = key("three.key", "hmac-sha256", SECRET);
            with(&mut wire, &other, now())
        }
        Flaw::Stale => with(&mut wire, &own, now() - 4000),
        Flaw::Future => with(&mut wire, &own, now() + 4000),
        Flaw::Replayed => with(&mut wire, &own, now() - 302),
        _ => with(&mut wire, &own, now()),
    };
    let end = wire.len();
    match flaw {
        Flaw::Halved => shorten(&mut wire, 16),
        Flaw::Truncated => shorten(&mut wire, 15),
        Flaw::NoCode => shorten(&mut wire, 0),
        Flaw::Missing => {
            wire.truncate(start);
            count(&mut wire, 10, -1);
        }
        Flaw::UnknownAlgorithm => {
            // hmac-sha256 to hmac-sha999.
            let place = start + b"\x03one\x03key\0".len() + 10 + 1 + 8;
            wire[place..place + 3].copy_from_slice(b"999");
        }
        Flaw::OriginalId => wire[end - 6] ^= 1,
        Flaw::NotLast => {
            wire.extend(b"\0\0\x01\0\x01\0\0\0\0\0\x04\xc0\0\x02\x01");
            count(&mut wire, 10, 1);
        }
        Flaw::Twice => {
            let record = wire[start..].to_vec();
            wire.extend(record);
            count(&mut wire, 10, 1);
        }
        // The type: TXT and the like to another of the same kind cannot be had, so a header bit.
        Flaw::Changed => wire[3] ^= 0x10,
        Flaw::OtherClass => wire[start + b"\x03one\x03key\0".len() + 3] = 1,
        Flaw::Compressed => {
            // The key's name ends with a pointer to the root behind the question's name.
            let root = 12 + b"\x04isle\x07example".len();
            let root = if wire[12] == 3 { root + 4 } else { root };
            let place = start + b"\x03one\x03key".len();
            wire.splice(place..=place, [0xc0, root as u8]);
        }
        _ => (),
    }
    (wire, signature)
}

/// What a request with this flaw gets: RCODE, TSIG error, and the response.
fn judge(server: &Everywhere, way: &Way, request: &[u8], flaw: Flaw) -> Message {
    let (wire, mut signature) = signed(request.to_vec(), flaw);
    let message = server
        .send(way, &wire)
        .unwrap_or_else(|error| panic!("{} {flaw:?}: {error}", way.name));
    if flaw.is_good() && flaw != Flaw::Halved {
        let verified = signature.verify(&message.wire, now());
        assert!(verified.is_ok(), "{} {flaw:?}: {verified:?}", way.name);
    }
    message
}

fn tsig_error(message: &Message) -> Option<u16> {
    let record = Record::find(&message.wire).unwrap();
    record.map(|record| record.error)
}

fn required_signatures() -> Result<(), Failed> {
    let server = Everywhere::serve("isle.example", DIRECTIVES);
    let request = query("www.isle.example", "TXT");
    for way in &WAYS {
        for flaw in FLAWS {
            let message = judge(&server, way, &request, flaw);
            let found = (message.rcode, tsig_error(&message));
            assert_eq!(found, flaw.expected(), "{} {flaw:?}", way.name);
            assert_eq!(tells(&message), flaw.is_good(), "{} {flaw:?}", way.name);
        }
    }
    Ok(())
}

fn transfers() -> Result<(), Failed> {
    let server = Everywhere::serve("isle.example", DIRECTIVES);
    for way in &WAYS {
        for flaw in FLAWS {
            for rtype in ["AXFR", "IXFR"] {
                let message = judge(&server, way, &query("isle.example", rtype), flaw);
                let mut expected = flaw.expected();
                // Over UDP the SOA record of an IXFR says that TCP is to be used.
                let is_served = way.carries_transfers || rtype == "IXFR" && way.name == "udp";
                if !is_served && expected.0 == 0 {
                    expected.0 = 5;
                }
                let found = (message.rcode, tsig_error(&message));
                assert_eq!(found, expected, "{} {rtype} {flaw:?}", way.name);
                let is_told = flaw.is_good() && is_served;
                assert_eq!(tells(&message), is_told, "{} {rtype} {flaw:?}", way.name);
            }
        }
        // Another key than the zone's, well signed.
        let mut wire = query("isle.example", "AXFR");
        Signed::sign(&mut wire, &key("two.key", "hmac-sha256", SECRET), now());
        let message = server.send(way, &wire).unwrap();
        assert_eq!((message.rcode, tells(&message)), (5, false), "{}", way.name);
    }
    Ok(())
}

fn updates() -> Result<(), Failed> {
    let server = Everywhere::serve("isle.example", DIRECTIVES);
    let (mut serial, mut number) = (server.serial(), 0);
    for way in &WAYS {
        for flaw in FLAWS {
            number += 1;
            let name = format!("n{number}");
            // What a GET request asks for changes nothing (RFC 9110 section 9.2.1).
            if way.name.ends_with("get") {
                let (wire, _) = signed(update(&name), flaw);
                assert!(server.send(way, &wire).is_err(), "{} {flaw:?}", way.name);
                assert_eq!(server.serial(), serial, "{} {flaw:?}", way.name);
                continue;
            }
            let message = judge(&server, way, &update(&name), flaw);
            let expected = flaw.expected();
            let found = (message.rcode, tsig_error(&message));
            assert_eq!(found, expected, "{} {flaw:?}", way.name);
            serial += u32::from(expected.0 == 0);
            assert_eq!(server.serial(), serial, "{} {flaw:?}", way.name);
        }
        let mut wire = update("other");
        Signed::sign(&mut wire, &key("two.key", "hmac-sha256", SECRET), now());
        let refused = server.send(way, &wire).map_or(5, |message| message.rcode);
        assert_eq!((refused, server.serial()), (5, serial), "{}", way.name);
    }
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("signatures::required_signatures", required_signatures),
        Trial::test("signatures::transfers", transfers),
        Trial::test("signatures::updates", updates),
    ]
}
