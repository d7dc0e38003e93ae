//! Certificates from a real ACME CA, pebble: Debian's, or a newer one that is found first.
//!
//! | module | what it is |
//! |---|---|
//! | [`scene`] | the CA beside the server |
//! | [`own_ca`] | a CA of our own beside it |
//! | [`side`] | tests that wait, several at a time |
//! | [`engine`] | names, reloads, stops, nonces |
//! | [`dialects`] | both dialects, what others have left, what newer CAs have |
//! | [`keeping`] | files that are damaged, places that cannot be written |
//! | [`full`] | a place without room |
//! | [`fallback`] | the local CA's certificate until there is one |
//! | [`hostile`] | a CA that means no good |
mod dialects;
mod engine;
mod fallback;
mod full;
mod hostile;
mod keeping;
mod own_ca;
pub(crate) mod scene;
mod side;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::client::{self, Query};
use crate::server::Process;
pub(crate) use scene::trust;
use scene::{LIVE, NAME, ORDER, Scene, options};
use side::{Test, test};

/// No block listens on the challenge port: the bootstrap responder does, and only during the order.
/// Afterwards a restart needs no CA.
fn bootstrap_responder_and_restart() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let ca = scene.start_ca();
    let server = Process::serve(&scene.folder, &scene.tls_block(""));
    server.wait_for_log(r"^\[INFO\] plugin/tls: Obtaining TLS Certificate, may take a moment$");
    server.wait_for_logs(LIVE, 1, ORDER);
    server.wait_for_log(
        r"^\[INFO\] plugin/tls: Answering ACME DNS request:_acme-challenge\.ns1\.acme\.test\.$",
    );
    scene.trust();
    scene.expect_answer();
    assert!(
        std::net::UdpSocket::bind(("127.0.0.1", scene.dns)).is_ok(),
        "the responder is gone"
    );
    drop(server);
    drop(ca);

    let server = Process::serve(&scene.folder, &scene.tls_block(""));
    scene.expect_answer();
    assert!(
        server
            .lines()
            .iter()
            .all(|line| !line.contains("Obtaining")),
        "{:?}",
        server.lines()
    );
    Ok(())
}

/// A block listens on the challenge port: it answers, and its own names as well.
fn own_listener_answers() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let _ca = scene.start_ca();
    let server = Process::serve(
        &scene.folder,
        &(scene.tls_block("email admin@acme.test") + &scene.plain_block()),
    );
    server.wait_for_logs(LIVE, 1, ORDER);
    scene.trust();
    scene.expect_answer();
    assert_eq!(
        client::ask(scene.dns, NAME, "A").unwrap().answers(),
        ["192.0.2.2"]
    );
    // Nothing is pending: the name of the challenge is like any other, once what was remembered of
    // it is forgotten.
    let until = Instant::now() + ORDER;
    let ask = || client::ask(scene.dns, "_acme-challenge.ns1.acme.test", "TXT").unwrap();
    while ask().rcode_name() != "SERVFAIL" {
        assert!(Instant::now() < until);
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Handshakes, a kept connection and plain queries go on while the certificate is renewed twice;
/// nothing is lost.
fn renewal_under_load(more: &str, reloads: bool) -> Result<(), Failed> {
    // On a busy machine an order takes seconds.
    let scene = Scene::new(20);
    let _ca = scene.start_ca();
    let server = Process::serve(
        &scene.folder,
        &(scene.tls_block(more) + &scene.plain_block()),
    );
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
        let kept = scope.spawn(|| {
            let opts = options(&[("sni", NAME)]);
            let address = SocketAddr::from(([127, 0, 0, 1], scene.tls));
            let mut stream = client::tls(
                address,
                Duration::from_secs(10),
                &opts,
                &scene.folder.path().join("trusted"),
            )
            .unwrap();
            while !stop.load(Relaxed) {
                let reply = client::converse(&mut stream, &Query::new(NAME, "A", &opts))
                    .expect("the connection is kept");
                assert_eq!(reply.answers(), ["192.0.2.2"]);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        let plain = scope.spawn(|| {
            while !stop.load(Relaxed) {
                assert_eq!(
                    client::ask(scene.dns, NAME, "A")
                        .expect("no query is lost")
                        .answers(),
                    ["192.0.2.2"]
                );
            }
        });
        server.wait_for_logs(LIVE, 3, ORDER);
        if reloads {
            server.wait_for_logs("^.INFO. Reloading complete$", 2, ORDER);
        }
        scene.expect_answer();
        stop.store(true, Relaxed);
        for thread in [hammer, kept, plain] {
            thread.join().expect("no thread fails");
        }
    });
    assert!(
        handshakes.load(Relaxed) > 50,
        "{} handshakes",
        handshakes.load(Relaxed)
    );
    assert_eq!(
        server
            .lines()
            .iter()
            .any(|line| line.ends_with("Reloading")),
        reloads
    );
    Ok(())
}

/// Without a CA and a certificate: plain DNS is served, TLS is refused and never in the clear; the
/// certificate comes when the CA does.
fn no_ca_and_nothing_stored() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let server = Process::serve(&scene.folder, &(scene.tls_block("") + &scene.plain_block()));
    server.wait_for_log(r"^\[ERROR\] plugin/tls: Certificate for ns1\.acme\.test: no certificate: .*[Cc]onnection refused.*handshakes are refused, next attempt in");
    assert_eq!(
        client::ask(scene.dns, NAME, "A").unwrap().answers(),
        ["192.0.2.2"]
    );
    let opts = options(&[("tcp", ""), ("timeout", "8")]);
    let clear = client::send(
        &Query::new(NAME, "A", &opts),
        &opts,
        scene.tls,
        scene.folder.path(),
    );
    assert!(
        clear.is_err(),
        "nothing is answered in the clear on a TLS port"
    );
    let started = Instant::now();
    let refused = client::send(
        &Query::new(NAME, "A", &opts),
        &options(&[("tls", ""), ("timeout", "20")]),
        scene.tls,
        scene.folder.path(),
    );
    assert!(
        refused.is_err() && started.elapsed() < Duration::from_secs(20),
        "the handshake is refused with an alert"
    );
    let _ca = scene.start_ca();
    server.wait_for_logs(LIVE, 1, ORDER);
    scene.trust();
    scene.expect_answer();
    Ok(())
}

/// The CA goes away: the certificate that is there goes on, and is renewed when the CA is back.
fn ca_away_at_renewal() -> Result<(), Failed> {
    let scene = Scene::new(30);
    let ca = scene.start_ca();
    let server = Process::serve(&scene.folder, &scene.tls_block(""));
    server.wait_for_logs(LIVE, 1, ORDER);
    scene.trust();
    drop(ca);
    server.wait_for_logs("the old certificate goes on, next attempt in", 1, ORDER);
    scene.expect_answer();
    let _ca = scene.start_ca();
    // A new pebble knows neither account nor root.
    server.wait_for_logs(LIVE, 2, ORDER);
    let aside = |path: &std::path::PathBuf| path.to_string_lossy().ends_with(".json.old");
    assert!(
        scene.files("certs/corten").iter().any(aside),
        "the old account is kept"
    );
    scene.trust();
    scene.expect_answer();
    Ok(())
}

/// A CA's page for humans, with a wish: it is told, and obeyed.
fn unavailable_ca_is_obeyed(response: &'static str, told: &str) -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let listener = std::net::TcpListener::bind(("127.0.0.1", scene.ca)).unwrap();
    let config = crate::upstream::tls_config(scene.folder.path());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let connection = rustls::ServerConnection::new(std::sync::Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(response.as_bytes());
        }
    });
    let server = Process::serve(&scene.folder, &scene.tls_block(""));
    let line = server.wait_for_log(told);
    let pause: u32 = line
        .rsplit_once("next attempt in ")
        .unwrap()
        .1
        .trim_end_matches(" s")
        .parse()?;
    assert!((7100..=7201).contains(&pause), "{line}");
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut tests = engine::tests();
    tests.extend(keeping::tests());
    tests.extend(full::tests());
    tests.extend(fallback::tests());
    tests.extend(hostile::tests());
    tests.extend(own_tests());
    tests.extend(dialects::tests());
    side::side_by_side(tests)
}

fn own_tests() -> Vec<Test> {
    vec![
        test(
            "acme::bootstrap_responder_and_restart",
            bootstrap_responder_and_restart,
        ),
        test("acme::own_listener_answers", own_listener_answers),
        test("acme::renewal_under_load", || renewal_under_load("", false)),
        test("acme::renewal_with_reload_under_load", || {
            renewal_under_load("on_renewal reload", true)
        }),
        test("acme::no_ca_and_nothing_stored", no_ca_and_nothing_stored),
        test("acme::ca_away_at_renewal", ca_away_at_renewal),
        test("acme::unavailable_ca_is_obeyed", || {
            let page = "HTTP/1.1 503 Busy\r\nRetry-After: 7200\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\r\n<h1>Busy</h1";
            unavailable_ca_is_obeyed(page, "no certificate: .*503 Service Unavailable")
        }),
        test("acme::busy_ca_is_obeyed", || {
            let page = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7200\r\nContent-Type: application/problem+json\r\nContent-Length: 2\r\n\r\n{}";
            unavailable_ca_is_obeyed(page, "the CA wants fewer requests: .*429")
        }),
    ]
}
