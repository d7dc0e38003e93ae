//! A CA that means no good: nothing that it gives is stored or served unless it fits.
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::own_ca::{Manner, start};
use super::scene::{LIVE, NAME, ORDER, Scene};
use super::side::{Test, test};
use crate::server::Process;

/// Octets that the server may grow by.
const GROWTH_MAX: u64 = 32 << 20;

fn tried(manner: Manner, why: &str) -> Result<(), Failed> {
    let scene = Scene::new(3600);
    start(&scene, manner);
    let server = Process::serve(&scene.folder, &scene.tls_block(""));
    let memory = server.memory();
    if manner == Manner::Good {
        server.wait_for_logs(LIVE, 1, ORDER);
        assert_eq!(scene.bundles().len(), 1);
        return Ok(());
    }
    let refused = format!(
        "^\\[ERROR\\] plugin/tls: Certificate for ns1\\.acme\\.test: .*{why}.*; handshakes are refused, next attempt in"
    );
    server.wait_for_logs(&refused, 1, ORDER);
    assert!(scene.bundles().is_empty(), "{manner:?}: nothing is stored");
    let begun = Instant::now();
    std::fs::create_dir_all(scene.folder.path().join("trusted"))?;
    std::fs::copy(
        scene.folder.path().join("ca.pem"),
        scene.folder.path().join("trusted/ca.pem"),
    )?;
    assert!(
        !scene.shakes_hands(Some(NAME)),
        "{manner:?}: nothing is served"
    );
    assert!(begun.elapsed() < Duration::from_secs(20));
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < GROWTH_MAX, "{manner:?}: {} KiB more", grown >> 10);
    Ok(())
}

pub(super) fn tests() -> Vec<Test> {
    vec![
        test("acme::hostile_ca_good", || tried(Manner::Good, "")),
        test("acme::hostile_ca_names", || {
            tried(Manner::OtherName, "is not for 'ns1.acme.test'")?;
            tried(Manner::OtherIdentifier, "bank.example")
        }),
        test("acme::hostile_ca_keys", || {
            tried(Manner::OtherKey, "do not belong together")?;
            tried(Manner::OwnPair, "do not belong together")
        }),
        test("acme::hostile_ca_times", || {
            tried(Manner::Expired, "expired already")?;
            tried(Manner::InTheFuture, "not good yet")
        }),
        test("acme::hostile_ca_chains", || {
            tried(Manner::LongChain, "the chain has [0-9]+ octets")?;
            tried(Manner::EndlessChain, "")?;
            tried(Manner::NoChain, "no readable certificate")?;
            tried(Manner::NotText, "no readable certificate")
        }),
        test("acme::hostile_ca_responses", || {
            tried(Manner::EndlessDirectory, "")?;
            tried(Manner::EndlessHead, "")?;
            tried(Manner::Elsewhere, "")
        }),
        test("acme::hostile_ca_nonces", || {
            tried(Manner::BadNonces, "badNonce")?;
            tried(Manner::NoNonce, "no nonce found")
        }),
    ]
}
