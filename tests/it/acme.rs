//! Certificates from a real ACME CA: Debian's `pebble`.
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::client::{self, Options, Query};
use crate::server::{Folder, Process, free_port};
use crate::{certificates, message};

/// The name of every certificate here.
const NAME: &str = "ns1.acme.test";
/// How long an order may take; on a busy machine pebble is slow.
const ORDER: Duration = Duration::from_secs(60);

/// A folder with a CA beside the server.
struct Scene {
    folder: Folder,
    ca: u16,
    management: u16,
    dns: u16,
    tls: u16,
    validity_seconds: u32,
}

impl Scene {
    fn new(validity_seconds: u32) -> Self {
        let folder = Folder::new();
        certificates::write(folder.path());
        Self {
            folder,
            ca: free_port(),
            management: free_port(),
            dns: free_port(),
            tls: free_port(),
            validity_seconds,
        }
    }

    /// Starts pebble, which asks the port `dns` for challenges. It rejects some nonces and never
    /// reuses what it knows.
    fn start_ca(&self) -> Process {
        let Self {
            ca,
            management,
            validity_seconds,
            ..
        } = self;
        let config = format!(
            r#"{{"pebble": {{"listenAddress": "127.0.0.1:{ca}", "managementListenAddress": "127.0.0.1:{management}",
            "certificate": "cert.pem", "privateKey": "key.pem", "httpPort": 5002, "tlsPort": 5001,
            "ocspResponderURL": "", "externalAccountBindingRequired": false, "certificateValidityPeriod": {validity_seconds}}}}}"#
        );
        self.folder.write("pebble.json", &config);
        let pebble = Path::new("/usr/bin/pebble");
        assert!(
            pebble.exists(),
            "pebble is not installed (Debian: apt-get install pebble)"
        );
        let env = [
            ("PEBBLE_VA_NOSLEEP", "1"),
            ("PEBBLE_WFE_NONCEREJECT", "5"),
            ("PEBBLE_AUTHZREUSE", "0"),
        ];
        let env: BTreeMap<_, _> = env
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let arguments = [
            "-config",
            "pebble.json",
            "-dnsserver",
            &format!("127.0.0.1:{}", self.dns),
        ];
        let mut process = Process::start(pebble, &arguments, self.folder.path(), &env, None);
        process.wait_serving(*ca);
        process
    }

    /// The article's first block.
    fn tls_block(&self, more: &str) -> String {
        let Self { ca, dns, tls, .. } = self;
        format!(
            "tls://acme.test:{tls} {{\n bind 127.0.0.1\n tls acme {{\n  domain {NAME}\n  ca https://127.0.0.1:{ca}/dir\n  cacert ca.pem\n  \
             certpath certs\n  port {dns}\n  {more}\n }}\n hosts {{\n  192.0.2.1 acme.test\n  192.0.2.2 {NAME}\n }}\n}}\n"
        )
    }

    /// The article's second block.
    fn plain_block(&self) -> String {
        format!(
            "acme.test:{} {{\n bind 127.0.0.1\n hosts {{\n  192.0.2.1 acme.test\n  192.0.2.2 {NAME}\n }}\n}}\n",
            self.dns
        )
    }

    /// Makes clients trust what pebble signs: its root, which is a new one with every start.
    fn trust(&self) {
        trust(&self.folder, self.management);
    }

    /// Asks over a new TLS connection; the certificate must be for the name and from pebble.
    fn ask_tls(&self) -> Result<message::Message, client::NoAnswer> {
        let opts = options(&[("tls", ""), ("sni", NAME), ("timeout", "20")]);
        client::send(
            &Query::new(NAME, "A", &opts),
            &opts,
            self.tls,
            &self.folder.path().join("trusted"),
        )
    }

    fn expect_answer(&self) {
        let reply = self.ask_tls().expect("an answer over TLS");
        assert_eq!(reply.answers(), ["192.0.2.2"]);
    }
}

/// Makes clients trust what pebble signs: its root, which is a new one with every start.
pub(crate) fn trust(folder: &Folder, management: u16) {
    let opts = options(&[("sni", "localhost")]);
    let address = SocketAddr::from(([127, 0, 0, 1], management));
    let mut stream = client::tls(address, Duration::from_secs(10), &opts, folder.path()).unwrap();
    stream
        .write_all(b"GET /roots/0 HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    // The server closes without a word at the end.
    let _ = stream.read_to_string(&mut text);
    let root = text.split_once("\r\n\r\n").expect("an HTTP response").1;
    assert!(root.contains("BEGIN CERTIFICATE"), "{text}");
    folder.write("trusted/ca.pem", root);
}

fn options(pairs: &[(&str, &str)]) -> Options {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

const LIVE: &str = r"^\[INFO\] plugin/tls: The certificate for ns1\.acme\.test is live";

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
    // Nothing is pending: the name of the challenge is like any other.
    assert_eq!(
        client::ask(scene.dns, "_acme-challenge.ns1.acme.test", "TXT")
            .unwrap()
            .rcode_name(),
        "SERVFAIL"
    );
    Ok(())
}

/// Handshakes, a kept connection and plain queries go on while the certificate is renewed twice;
/// nothing is lost.
fn renewal_under_load(more: &str, reloads: bool) -> Result<(), Failed> {
    let scene = Scene::new(12);
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
    scene.trust();
    scene.expect_answer();
    Ok(())
}

/// A CA's page for humans, with a wish: it is told, and obeyed.
fn unavailable_ca_is_obeyed() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let listener = std::net::TcpListener::bind(("127.0.0.1", scene.ca)).unwrap();
    let config = crate::upstream::tls_config(scene.folder.path());
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let connection = rustls::ServerConnection::new(std::sync::Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream);
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(b"HTTP/1.1 503 Busy\r\nRetry-After: 7200\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\r\n<h1>Busy</h1");
        }
    });
    let server = Process::serve(&scene.folder, &scene.tls_block(""));
    let line = server.wait_for_log("503 Busy|503 Service Unavailable");
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
    vec![
        Trial::test(
            "acme::bootstrap_responder_and_restart",
            bootstrap_responder_and_restart,
        ),
        Trial::test("acme::own_listener_answers", own_listener_answers),
        Trial::test("acme::renewal_under_load", || renewal_under_load("", false)),
        Trial::test("acme::renewal_with_reload_under_load", || {
            renewal_under_load("on_renewal reload", true)
        }),
        Trial::test("acme::no_ca_and_nothing_stored", no_ca_and_nothing_stored),
        Trial::test("acme::ca_away_at_renewal", ca_away_at_renewal),
        Trial::test("acme::unavailable_ca_is_obeyed", unavailable_ca_is_obeyed),
    ]
}
