use super::*;
use corten_plugin::wire::pack::Packer;
use corten_tsig::{Keyring, Secret, verify};
use corten_zone::Builder;
use tokio::io::DuplexStream;

#[path = "hostile_tests.rs"]
mod hostile;

const BOUNDS: Bounds = Bounds {
    records_max: 1000,
    octets_max: 100_000,
};

fn name() -> Name {
    "example".parse().unwrap()
}

fn soa(serial: u32) -> Vec<u8> {
    let mut rdata = vec![0, 0];
    rdata.extend(serial.to_be_bytes());
    rdata.extend([0; 16]);
    rdata
}

fn zone(serial: u32) -> Zone {
    let mut builder = Builder::new(name().wire());
    builder
        .add(name().wire(), RecordType::SOA, 60, &soa(serial))
        .unwrap();
    builder.build().unwrap()
}

fn key() -> Arc<Key> {
    let secret = Secret::from_base64("MTIzNA==").unwrap();
    Arc::new(Key::new("one.key".parse().unwrap(), None, secret))
}

/// A primary with this serial; signs with the key, if it has one, all messages but those in `bare`.
async fn primary(mut stream: DuplexStream, serial: u32, keys: &Keyring, bare: &[usize]) {
    while let Ok(length) = stream.read_u16().await {
        let mut octets = vec![0; usize::from(length)];
        stream.read_exact(&mut octets).await.unwrap();
        let mut query = Query::new();
        let _ = query.read(&octets);
        let mut signed = verify(&octets, keys, unix_seconds()).unwrap();
        if let Some(verdict) = &signed {
            assert_eq!(verdict.refusal, None);
        }
        let messages: &[&[(&str, u32)]] = match query.question.rtype {
            RecordType::SOA => &[&[("example", 0)]],
            RecordType::IXFR => {
                assert_eq!(query.ixfr_serial(), Some(serial - 1));
                &[
                    &[("example", 0), ("example", 1), ("example", 0)],
                    &[("a.example", 0), ("example", 0)],
                ]
            }
            _ => &[
                &[("example", 0)],
                &[("a.example", 0)],
                &[("b.example", 0), ("example", 0)],
            ],
        };
        for (number, records) in messages.iter().enumerate() {
            let mut packer = Packer::new(60_000, 60_000);
            packer.start(&query);
            for (owner, behind) in *records {
                let wire = owner.parse::<Name>().unwrap();
                let (rtype, rdata) = match *owner {
                    "example" => (RecordType::SOA, soa(serial - behind)),
                    _ => (RecordType::A, vec![192, 0, 2, 1]),
                };
                assert!(packer.push(wire.wire(), rtype, 60, &rdata));
            }
            let mut message = packer.finish().clone();
            if let Some(verdict) = signed.as_mut().filter(|_| !bare.contains(&number)) {
                verdict.answer.sign(&mut message, 0, unix_seconds());
            }
            stream.write_u16(message.len() as u16).await.unwrap();
            if stream.write_all(&message).await.is_err() {
                return;
            }
        }
    }
}

async fn asked(
    have: Option<&Zone>,
    changes: bool,
    key_wanted: bool,
    bare: &[usize],
) -> Result<String, Failure> {
    let (ours, theirs) = tokio::io::duplex(4096);
    let mut keys = Keyring::default();
    let key = key();
    keys.add((*key).clone());
    let name = name();
    let request = Request {
        zone: &name,
        have,
        key: key_wanted.then_some(&key),
        source: None,
        bounds: BOUNDS,
        changes,
    };
    let answered = tokio::select! {
        answered = talk(ours, &request) => answered?,
        () = primary(theirs, 7, &keys, bare) => panic!("the primary has gone"),
    };
    Ok(match answered.received {
        Received::Current(serial) => format!("current {serial}"),
        Received::Whole(builder) => {
            let zone = builder.build().unwrap();
            format!(
                "{} records of {}",
                zone.records().count(),
                zone.soa().serial
            )
        }
        Received::Changes(steps) => format!("{} steps", steps.len()),
    })
}

#[tokio::test]
async fn a_primary_is_asked_for_what_is_newer() {
    for signed in [false, true] {
        let zones = [zone(6), zone(7), zone(8)];
        for (have, changes, answer) in [
            (None, true, "3 records of 7"),
            (Some(&zones[0]), true, "1 steps"),
            (Some(&zones[0]), false, "3 records of 7"),
            (Some(&zones[1]), true, "current 7"),
            (Some(&zones[2]), true, "current 7"),
        ] {
            assert_eq!(asked(have, changes, signed, &[]).await.unwrap(), answer);
        }
    }
}

#[tokio::test]
async fn what_is_not_signed_as_asked_is_not_taken() {
    // The first and the last must be.
    for bare in [&[0][..], &[2], &[0, 1, 2]] {
        let error = asked(None, true, true, bare).await.unwrap_err();
        assert!(
            matches!(error, Failure::Signature(ResponseError::Unsigned)),
            "{bare:?} {error}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_primary_is_given_up() {
    let (ours, _theirs) = tokio::io::duplex(4096);
    let name = name();
    let request = Request {
        zone: &name,
        have: None,
        key: None,
        source: None,
        bounds: BOUNDS,
        changes: true,
    };
    let error = talk(ours, &request).await.map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "a message of the transfer took too long");
}

/// A zone that does not end is given up, whatever it costs the other side; also when nothing comes
/// of it.
#[tokio::test]
async fn a_zone_without_end_is_given_up() {
    for has_records in [true, false] {
        without_end(has_records).await;
    }
}

async fn without_end(has_records: bool) {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let name = name();
    let request = Request {
        zone: &name,
        have: None,
        key: None,
        source: None,
        bounds: BOUNDS,
        changes: true,
    };
    let endless = async {
        let length = theirs.read_u16().await.unwrap();
        let mut octets = vec![0; usize::from(length)];
        theirs.read_exact(&mut octets).await.unwrap();
        let mut query = Query::new();
        let _ = query.read(&octets);
        let mut packer = Packer::new(60_000, 60_000);
        for number in 0u32.. {
            packer.start(&query);
            if number == 0 {
                packer.push(name.wire(), RecordType::SOA, 60, &soa(1));
            }
            let owner: Name = format!("h{number}.example").parse().unwrap();
            if has_records {
                packer.push(owner.wire(), RecordType::A, 60, &[192, 0, 2, 1]);
            }
            let message = packer.finish().clone();
            if theirs.write_u16(message.len() as u16).await.is_err()
                || theirs.write_all(&message).await.is_err()
            {
                return number;
            }
        }
        0
    };
    let (answered, sent) = tokio::join!(talk(ours, &request), endless);
    let error = answered.map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "the zone has more than 1000 records");
    assert!(!error.is_about_changes());
    assert!(sent < 10_000);
}
