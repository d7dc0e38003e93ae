//! Names, reloads, stops, and a CA that behaves badly.
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::scene::{LIVE, NAME, ORDER, Scene};
use super::side::{Test, test};
use crate::client;
use crate::server::{Process, binary};

/// A wildcard and the name above it share a challenge's name: both values are served at once.
fn wildcard_and_its_parent() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let _ca = scene.start_ca();
    let block = scene.tls_block("domain *.acme.test acme.test\n  key_type p384");
    let server = Process::serve(&scene.folder, &block);
    server.wait_for_logs("is live; it expires in", 1, ORDER);
    scene.trust();
    for name in ["acme.test", "a.acme.test", NAME] {
        assert!(scene.shakes_hands(Some(name)), "{name}");
    }
    assert!(!scene.shakes_hands(Some("a.b.acme.test")), "one label only");
    Ok(())
}

/// A reload that adds a name never takes the old certificate away; the new one follows.
fn reload_that_adds_a_name() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let _ca = scene.start_ca();
    let plain = scene.plain_block();
    let server = Process::serve(&scene.folder, &(scene.tls_block("") + &plain));
    server.wait_for_logs(LIVE, 1, ORDER);
    scene.trust();
    let (stop, handshakes) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let hammer = scope.spawn(|| {
            while !stop.load(Relaxed) {
                scene.expect_answer();
                handshakes.fetch_add(1, Relaxed);
            }
        });
        let block = scene.tls_block("domain www.acme.test");
        scene.folder.write("Corefile", &(block + &plain));
        server.signal("USR1");
        server.wait_for_logs("for ns1.acme.test www.acme.test is live", 1, ORDER);
        assert!(scene.shakes_hands(Some("www.acme.test")));
        stop.store(true, Relaxed);
        hammer.join().expect("no handshake fails");
    });
    assert!(handshakes.load(Relaxed) > 0);
    // And back: what is stored for the old names is used, without a word to the CA.
    scene
        .folder
        .write("Corefile", &(scene.tls_block("") + &plain));
    server.signal("USR1");
    server.wait_for_logs("^.INFO. Reloading complete$", 2, ORDER);
    scene.expect_answer();
    let obtained = server.lines();
    let obtained = obtained
        .iter()
        .filter(|line| line.contains("is live; it expires"));
    assert_eq!(obtained.count(), 2);
    Ok(())
}

/// Half of all nonces are rejected.
fn nonces_are_rejected() -> Result<(), Failed> {
    let scene = Scene {
        rejected_nonces: 50,
        ..Scene::new(3600)
    };
    let _ca = scene.start_ca();
    let server = Process::serve(&scene.folder, &scene.tls_block(""));
    server.wait_for_logs(LIVE, 1, ORDER);
    let lines = server.lines();
    assert!(
        lines.iter().all(|line| !line.contains("next attempt")),
        "{lines:?}"
    );
    Ok(())
}

/// The CA takes the order and says nothing more: the old certificate goes on, and the order ends
/// when the CA is back.
fn ca_freezes_at_renewal() -> Result<(), Failed> {
    let scene = Scene::new(20);
    let ca = scene.start_ca();
    let server = Process::serve(&scene.folder, &scene.tls_block(""));
    server.wait_for_logs(LIVE, 1, ORDER);
    scene.trust();
    ca.freeze();
    server.wait_for_logs("Renewing the certificate for ns1.acme.test", 1, ORDER);
    scene.expect_answer();
    std::thread::sleep(Duration::from_secs(2));
    scene.expect_answer();
    ca.signal("CONT");
    server.wait_for_logs(LIVE, 2, ORDER);
    scene.expect_answer();
    Ok(())
}

/// A stop in the middle of an order is quick, and the next start begins anew.
fn stop_in_an_order() -> Result<(), Failed> {
    let scene = Scene {
        sleep_seconds: 4,
        ..Scene::new(3600)
    };
    let _ca = scene.start_ca();
    let block = scene.tls_block("");
    let mut server = Process::serve(&scene.folder, &block);
    // The account is there: the order is under way.
    let until = Instant::now() + ORDER;
    while scene.files("certs/corten").iter().all(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        !name.starts_with("account-")
    }) {
        assert!(Instant::now() < until, "{:?}", server.lines());
        std::thread::sleep(Duration::from_millis(10));
    }
    server.signal("TERM");
    let ended = server.wait_end(Duration::from_secs(10));
    assert_eq!(ended.and_then(|status| status.code()), Some(0));
    assert!(scene.bundles().is_empty());
    let server = Process::serve(&scene.folder, &block);
    server.wait_for_logs(LIVE, 1, ORDER);
    Ok(())
}

/// `startup wait`: queries are answered at once, the program speaks when it has its certificate.
fn start_waits_for_the_certificate() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let text = scene.tls_block("startup wait") + &scene.plain_block();
    scene.folder.write("Corefile", &text);
    let server = Process::start(
        binary(),
        &["-conf", "Corefile"],
        scene.folder.path(),
        &Default::default(),
        None,
    );
    server.wait_for_log("handshakes are refused, next attempt in");
    let answer = client::ask(scene.dns, NAME, "A").unwrap();
    assert_eq!(answer.answers(), ["192.0.2.2"]);
    let banner = |line: &String| line.starts_with("Corten-");
    assert!(!server.lines().iter().any(banner));
    let _ca = scene.start_ca();
    server.wait_for_logs("^Corten-", 1, ORDER);
    scene.trust();
    scene.expect_answer();
    Ok(())
}

/// Nothing is ordered while a name server that is known says something else: the log says who, and
/// what.
fn a_peer_that_knows_nothing_is_named() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let ca = scene.start_ca();
    let peer = crate::server::free_port();
    let other = crate::server::Folder::new();
    let text = format!(
        "acme.test:{peer} {{\n bind 127.0.0.1\n hosts {{\n  192.0.2.1 acme.test\n }}\n}}\n"
    );
    let _peer = Process::serve(&other, &text);
    let block = scene.tls_block(&format!("peers 127.0.0.1:{peer}"));
    let server = Process::serve(&scene.folder, &block);
    let line = server.wait_for_logs("not ready for the CA: .*next attempt in", 1, ORDER);
    assert!(
        line.contains("_acme-challenge.ns1.acme.test")
            && line.contains("peer (127.0.0.1): it answers over UDP with SERVFAIL"),
        "{line}"
    );
    let orders = ca.lines();
    assert!(
        orders.iter().all(|line| !line.contains("POST")),
        "{orders:?}"
    );
    drop(server);
    // Unless the operator knows better.
    let block = scene.tls_block(&format!("peers 127.0.0.1:{peer}\n  preflight warn"));
    for file in scene.files("certs/corten") {
        std::fs::remove_file(file)?;
    }
    let server = Process::serve(&scene.folder, &block);
    server.wait_for_log("WARNING.* peer .127.0.0.1.: it answers over UDP with SERVFAIL");
    server.wait_for_logs(LIVE, 1, ORDER);
    Ok(())
}

/// The first CA is away: the next one has its turn after three failures.
fn fallback_ca() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let _ca = scene.start_ca();
    let away = crate::server::free_port();
    let working = format!("https://127.0.0.1:{}/dir", scene.ca);
    let block = scene.tls_block(&format!("fallback_ca {working}"));
    let ca = format!("ca {working}\n");
    let block = block.replacen(&ca, &format!("ca https://127.0.0.1:{away}/dir\n"), 1);
    let server = Process::serve(&scene.folder, &block);
    server.wait_for_logs(LIVE, 1, ORDER);
    let lines = server.lines();
    let failed = lines.iter().filter(|line| line.contains("next attempt in"));
    assert_eq!(failed.count(), 3, "{lines:?}");
    scene.trust();
    scene.expect_answer();
    Ok(())
}

pub(super) fn tests() -> Vec<Test> {
    vec![
        test("acme::wildcard_and_its_parent", wildcard_and_its_parent),
        test("acme::reload_that_adds_a_name", reload_that_adds_a_name),
        test("acme::nonces_are_rejected", nonces_are_rejected),
        test("acme::fallback_ca", fallback_ca),
        test("acme::ca_freezes_at_renewal", ca_freezes_at_renewal),
        test("acme::stop_in_an_order", stop_in_an_order),
        test(
            "acme::start_waits_for_the_certificate",
            start_waits_for_the_certificate,
        ),
        test(
            "acme::a_peer_that_knows_nothing_is_named",
            a_peer_that_knows_nothing_is_named,
        ),
    ]
}
