use std::path::PathBuf;

use super::*;
use crate::copy::Store;
use crate::incoming::Step;
use corten_plugin::wire::pack::Packer;
use corten_plugin::wire::{Query, RecordType};
use corten_zone::{Builder, RecordBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

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

/// A primary of the zone that has this version.
async fn primary(listener: &TcpListener, serial: u32) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Ok(length) = stream.read_u16().await {
            let mut octets = vec![0; usize::from(length)];
            stream.read_exact(&mut octets).await.unwrap();
            let mut query = Query::new();
            let _ = query.read(&octets);
            let mut packer = Packer::new(60_000, 60_000);
            packer.start(&query);
            let soa = soa(serial);
            let count = match query.question.rtype {
                RecordType::SOA => 1,
                _ => 2,
            };
            for _ in 0..count {
                assert!(packer.push(&soa.owner, soa.rtype, soa.ttl, &soa.rdata));
            }
            let message = packer.finish();
            stream.write_u16(message.len() as u16).await.unwrap();
            stream.write_all(message).await.unwrap();
        }
    }
}

/// A zone that is taken from a primary on loopback, and that.
async fn scene(store: Option<PathBuf>) -> (Arc<Keeper>, Arc<Held>, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut source = crate::tests::source(&["example"], None);
    source.primaries[0].address = listener.local_addr().unwrap();
    source.store = store.map(Store::new);
    let config = Config {
        sources: vec![Arc::new(source)],
        fallthrough: Fallthrough::None,
    };
    let keeper = Keeper::new(config, None);
    let held = Arc::clone(&keeper.lock().held[0]);
    (keeper, held, listener)
}

/// What comes of asking a primary that has this version.
async fn refreshed(
    keeper: &Arc<Keeper>,
    held: &Arc<Held>,
    listener: &TcpListener,
    serial: u32,
) -> Result<News, String> {
    tokio::select! {
        news = keeper.refresh(held) => news,
        () = primary(listener, serial) => unreachable!(),
    }
}

/// A primary whose serial went back does not keep alive what it no longer has.
#[tokio::test]
async fn an_older_version_confirms_nothing() {
    let (keeper, held, listener) = scene(None).await;
    assert!(matches!(
        refreshed(&keeper, &held, &listener, 7).await,
        Ok(News::Newer)
    ));
    let then = held.refreshed();
    let error = refreshed(&keeper, &held, &listener, 6).await.err().unwrap();
    assert!(error.ends_with("has an older version, serial 6"), "{error}");
    assert_eq!(held.refreshed(), then);
    assert!(matches!(
        refreshed(&keeper, &held, &listener, 7).await,
        Ok(News::None)
    ));
    assert!(held.refreshed() > then);
    // Once the zone is given up, it begins anew.
    expire(&held);
    assert!(matches!(
        refreshed(&keeper, &held, &listener, 6).await,
        Ok(News::Newer)
    ));
}

/// The disk was full, or somebody has removed the copy.
#[tokio::test]
async fn a_copy_that_is_not_there_is_written_later() {
    let folder = std::env::temp_dir().join(format!("corten-later-{:016x}", rand::random::<u64>()));
    std::fs::write(&folder, "in the way").unwrap();
    let (keeper, held, listener) = scene(Some(folder.clone())).await;
    let store = Store::new(folder.clone());
    let serial = || {
        let kept = store.read(&held.name, held.source.bounds).unwrap();
        kept.map(|kept| kept.zone.soa().serial)
    };
    assert!(refreshed(&keeper, &held, &listener, 7).await.is_ok());
    assert!(folder.is_file() && !held.has_copy());
    std::fs::remove_file(&folder).unwrap();
    for _ in 0..2 {
        assert!(refreshed(&keeper, &held, &listener, 7).await.is_ok());
        assert_eq!(serial(), Some(7));
        store.remove(&held.name);
    }
    // An older copy is not touched in place of the one that could not be written.
    let old = builder(3).build().unwrap();
    store.write(&held.name, &old).unwrap();
    held.set_copied(false);
    assert!(refreshed(&keeper, &held, &listener, 7).await.is_ok());
    assert_eq!(serial(), Some(7));
    std::fs::remove_dir_all(&folder).unwrap();
}
