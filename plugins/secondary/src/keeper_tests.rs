use super::*;
use crate::incoming::Step;
use corten_plugin::wire::RecordType;
use corten_zone::{Builder, RecordBuf};

const APEX: &[u8] = b"\x07example\0";

fn soa(serial: u32) -> RecordBuf {
    let mut rdata = vec![0, 0];
    rdata.extend(serial.to_be_bytes());
    rdata.extend([0; 16]);
    RecordBuf {
        owner: APEX.into(),
        rtype: RecordType::SOA,
        ttl: 60,
        rdata: rdata.into(),
    }
}

fn builder(serial: u32) -> Builder {
    let (mut builder, soa) = (Builder::new(APEX), soa(serial));
    builder
        .add(&soa.owner, soa.rtype, soa.ttl, &soa.rdata)
        .unwrap();
    builder
}

/// What a primary says of its serial does not count: what it sends does, and never leads back
/// (RFC 1982).
#[test]
fn no_version_leads_back() {
    let have = |serial| Some(Arc::new(builder(serial).build().unwrap()));
    let whole = |serial| Received::Whole(Box::new(builder(serial)));
    for (have_serial, serial, fits) in [
        (7, 8, true),
        (7, 7, false),
        (7, 6, false),
        (7, 7 + (1 << 31), false),
        (7, 6 + (1 << 31), true),
        (u32::MAX, 0, true),
        (0, u32::MAX, false),
    ] {
        let made = make(whole(serial), have(have_serial), false);
        assert_eq!(made.is_ok(), fits, "{have_serial} to {serial}");
        if let Err(error) = made {
            assert!(matches!(error, Unfit::Old { .. }), "{error}");
        }
    }
    assert!(make(whole(0), None, false).is_ok());
    // Changes that go on and come back.
    let step = |before, after| Step {
        before: soa(before),
        after: soa(after),
        removed: Vec::new(),
        added: Vec::new(),
    };
    let back = Received::Changes(vec![step(7, 9), step(9, 5)]);
    let made = make(back, have(7), false).map(|_| ()).unwrap_err();
    assert!(matches!(made, Unfit::Old { got: 5, have: 7 }), "{made}");
    // Changes of a version that is not there.
    let none = make(Received::Changes(vec![step(7, 8)]), None, false);
    assert!(none.is_err());
}

/// What would make each query costly is not taken from anybody.
#[test]
fn costly_denials_are_not_taken() {
    for (iterations, fits) in [(500_u16, true), (501, false), (u16::MAX, false)] {
        let mut builder = builder(8);
        let [high, low] = iterations.to_be_bytes();
        builder
            .add(APEX, RecordType::NSEC3PARAM, 0, &[1, 0, high, low, 0])
            .unwrap();
        let made = make(Received::Whole(Box::new(builder)), None, false);
        assert_eq!(made.is_ok(), fits, "{iterations}");
    }
}
