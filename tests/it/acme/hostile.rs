//! A CA that means no good: nothing that it gives is stored or served unless it fits.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::scene::{LIVE, NAME, ORDER, Scene};
use super::side::{Test, test};
use crate::server::Process;
use crate::{base64, upstream};

/// Octets that the server may grow by.
const GROWTH_MAX: u64 = 32 << 20;
/// How a response begins that has all that it should.
const GOOD: &str = "HTTP/1.1 200 OK\r\nReplay-Nonce: bm9uY2U\r\nConnection: close\r\n";

/// What the CA does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crime {
    /// None: the test's CA works.
    None,
    OtherName,
    OtherKey,
    /// A key of its own stands before its certificate.
    OwnPair,
    Expired,
    InTheFuture,
    LongChain,
    EndlessChain,
    EndlessDirectory,
    EndlessHead,
    NoChain,
    Elsewhere,
    BadNonces,
    NoNonce,
    OtherIdentifier,
    NotText,
}

/// Serves what the crime is about, a connection for each request, as long as the process lives.
fn start(scene: &Scene, crime: Crime) {
    let listener = TcpListener::bind(("127.0.0.1", scene.ca)).unwrap();
    let config = upstream::tls_config(scene.folder.path());
    let ca = scene.ca;
    std::thread::spawn(move || {
        let mut request = None;
        for stream in listener.incoming().map_while(Result::ok) {
            let config: Arc<ServerConfig> = Arc::clone(&config);
            let connection = ServerConnection::new(config).unwrap();
            // A client that gives up is what some of this is for.
            let _ = answer(
                StreamOwned::new(connection, stream),
                ca,
                crime,
                &mut request,
            );
        }
    });
}

type Csr = Option<CertificateSigningRequestParams>;

fn answer(
    stream: StreamOwned<ServerConnection, std::net::TcpStream>,
    ca: u16,
    crime: Crime,
    csr: &mut Csr,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    stream.read_line(&mut line)?;
    let path = line.split(' ').nth(1).unwrap_or("").to_owned();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let lower = line.trim().to_lowercase();
        if lower.is_empty() {
            break;
        }
        if let Some(octets) = lower.strip_prefix("content-length:") {
            length = octets.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    if path == "/finalize" {
        *csr = read_request(&body);
    }
    let mut stream = stream.into_inner();
    let response = respond(&path, ca, crime, csr.as_ref());
    stream.write_all(response.as_bytes())?;
    let endless = match crime {
        Crime::EndlessChain => path == "/certificate",
        Crime::EndlessDirectory | Crime::EndlessHead => path == "/dir",
        _ => false,
    };
    let filler = match crime {
        Crime::EndlessHead => "X-More: and more\r\n".repeat(1000),
        _ => "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".repeat(300),
    };
    if endless {
        // Until the client has had enough.
        loop {
            stream.write_all(filler.as_bytes())?;
            stream.flush()?;
        }
    }
    stream.conn.send_close_notify();
    stream.flush()
}

/// The certificate request in a signed message.
fn read_request(body: &[u8]) -> Csr {
    let text = |value: &serde_json::Value, name: &str| {
        let url = value[name].as_str()?.replace('-', "+").replace('_', "/");
        Some(base64::decode(&url))
    };
    let signed: serde_json::Value = serde_json::from_slice(body).ok()?;
    let payload: serde_json::Value = serde_json::from_slice(&text(&signed, "payload")?).ok()?;
    let request = text(&payload, "csr")?;
    CertificateSigningRequestParams::from_der(&request.into()).ok()
}

fn respond(
    path: &str,
    ca: u16,
    crime: Crime,
    csr: Option<&CertificateSigningRequestParams>,
) -> String {
    let at = |path: &str| format!("https://127.0.0.1:{ca}/{path}");
    let name = match crime {
        Crime::OtherIdentifier => "bank.example",
        _ => NAME,
    };
    let order = |status: &str| {
        format!(
            r#"{{"status":"{status}","identifiers":[{{"type":"dns","value":"{name}"}}],"authorizations":["{}"],"finalize":"{}","certificate":"{}"}}"#,
            at("authorization"),
            at("finalize"),
            at("certificate")
        )
    };
    let (location, body) = match path {
        "/dir" if crime == Crime::EndlessDirectory => return format!("{GOOD}\r\n"),
        "/dir" if crime == Crime::EndlessHead => return GOOD.to_owned(),
        "/dir" => (
            "",
            format!(
                r#"{{"newNonce":"{}","newAccount":"{}","newOrder":"{}","revokeCert":"{}"}}"#,
                at("nonce"),
                at("account"),
                at("order"),
                at("revoke")
            ),
        ),
        "/nonce" if crime == Crime::NoNonce => {
            return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned();
        }
        "/nonce" => ("", String::new()),
        _ if crime == Crime::BadNonces => {
            let problem = r#"{"type":"urn:ietf:params:acme:error:badNonce","detail":"no"}"#;
            return GOOD.replace("200 OK", "400 Bad Request")
                + &format!(
                    "Content-Type: application/problem+json\r\nContent-Length: {}\r\n\r\n{problem}",
                    problem.len()
                );
        }
        "/account" => ("account/1", r#"{"status":"valid"}"#.to_owned()),
        "/order" => ("order/1", order("ready")),
        "/order/1" if csr.is_none() => ("", order("ready")),
        "/order/1" | "/finalize" => ("", order("valid")),
        "/authorization" if crime == Crime::OtherIdentifier => (
            "",
            format!(
                r#"{{"identifier":{{"type":"dns","value":"{name}"}},"status":"pending","challenges":[{{"type":"dns-01","url":"{}","token":"AAAA","status":"pending"}}]}}"#,
                at("challenge")
            ),
        ),
        "/authorization" => (
            "",
            format!(
                r#"{{"identifier":{{"type":"dns","value":"{name}"}},"status":"valid","challenges":[]}}"#
            ),
        ),
        "/certificate" if crime == Crime::Elsewhere => {
            return GOOD.replace("200 OK", "302 Found")
                + &format!("Location: {}\r\nContent-Length: 0\r\n\r\n", at("other"));
        }
        "/certificate" if crime == Crime::EndlessChain => return format!("{GOOD}\r\n"),
        "/certificate" => ("", csr.map_or_else(String::new, |csr| chain(csr, crime))),
        // Where the redirection leads.
        "/other" => (
            "",
            csr.map_or_else(String::new, |csr| chain(csr, Crime::None)),
        ),
        _ => ("", String::new()),
    };
    let location = match location {
        "" => String::new(),
        path => format!("Location: {}\r\n", at(path)),
    };
    format!(
        "{GOOD}{location}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// What the CA makes of a request.
fn chain(csr: &CertificateSigningRequestParams, crime: Crime) -> String {
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(CertificateParams::default(), key);
    let mut csr = csr.clone();
    csr.params.not_before = date_time_ymd(2020, 1, 1);
    csr.params.not_after = date_time_ymd(2090, 1, 1);
    match crime {
        Crime::OtherName => {
            csr.params.subject_alt_names =
                vec![SanType::DnsName("bank.example".try_into().unwrap())];
        }
        Crime::Expired => csr.params.not_after = date_time_ymd(2021, 1, 1),
        Crime::InTheFuture => csr.params.not_before = date_time_ymd(2080, 1, 1),
        Crime::OtherKey | Crime::OwnPair => {
            let own = KeyPair::generate().unwrap();
            let certificate = csr.params.signed_by(&own, &issuer).unwrap().pem();
            return match crime {
                Crime::OwnPair => own.serialize_pem() + &certificate,
                _ => certificate,
            };
        }
        Crime::NoChain => return String::new(),
        Crime::NotText => return "\0-----BEGIN".repeat(10),
        _ => (),
    }
    let certificate = csr.signed_by(&issuer).unwrap().pem();
    match crime {
        Crime::LongChain => certificate.repeat(500),
        _ => certificate,
    }
}

fn tried(crime: Crime, why: &str) -> Result<(), Failed> {
    let scene = Scene::new(3600);
    start(&scene, crime);
    let server = Process::serve(&scene.folder, &scene.tls_block(""));
    let memory = server.memory();
    if crime == Crime::None {
        server.wait_for_logs(LIVE, 1, ORDER);
        assert_eq!(scene.bundles().len(), 1);
        return Ok(());
    }
    let refused = format!(
        "^\\[ERROR\\] plugin/tls: Certificate for ns1\\.acme\\.test: .*{why}.*; handshakes are refused, next attempt in"
    );
    server.wait_for_logs(&refused, 1, ORDER);
    assert!(scene.bundles().is_empty(), "{crime:?}: nothing is stored");
    let begun = Instant::now();
    std::fs::create_dir_all(scene.folder.path().join("trusted"))?;
    std::fs::copy(
        scene.folder.path().join("ca.pem"),
        scene.folder.path().join("trusted/ca.pem"),
    )?;
    assert!(
        !scene.shakes_hands(Some(NAME)),
        "{crime:?}: nothing is served"
    );
    assert!(begun.elapsed() < Duration::from_secs(20));
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < GROWTH_MAX, "{crime:?}: {} KiB more", grown >> 10);
    Ok(())
}

pub(super) fn tests() -> Vec<Test> {
    vec![
        test("acme::hostile_ca_none", || tried(Crime::None, "")),
        test("acme::hostile_ca_names", || {
            tried(Crime::OtherName, "is not for 'ns1.acme.test'")?;
            tried(Crime::OtherIdentifier, "bank.example")
        }),
        test("acme::hostile_ca_keys", || {
            tried(Crime::OtherKey, "do not belong together")?;
            tried(Crime::OwnPair, "do not belong together")
        }),
        test("acme::hostile_ca_times", || {
            tried(Crime::Expired, "expired already")?;
            tried(Crime::InTheFuture, "not good yet")
        }),
        test("acme::hostile_ca_chains", || {
            tried(Crime::LongChain, "the chain has [0-9]+ octets")?;
            tried(Crime::EndlessChain, "")?;
            tried(Crime::NoChain, "no readable certificate")?;
            tried(Crime::NotText, "no readable certificate")
        }),
        test("acme::hostile_ca_responses", || {
            tried(Crime::EndlessDirectory, "")?;
            tried(Crime::EndlessHead, "")?;
            tried(Crime::Elsewhere, "")
        }),
        test("acme::hostile_ca_nonces", || {
            tried(Crime::BadNonces, "badNonce")?;
            tried(Crime::NoNonce, "no nonce found")
        }),
    ]
}
