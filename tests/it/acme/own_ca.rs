//! A CA of our own, which does what no real one can be made to do.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, CertificateSigningRequestParams, Issuer, KeyPair, SanType, date_time_ymd,
};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::scene::{NAME, Scene};
use crate::{base64, upstream};

/// How a response begins that has all that it should.
const GOOD: &str = "HTTP/1.1 200 OK\r\nReplay-Nonce: bm9uY2U\r\nConnection: close\r\n";

/// What the CA does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// As it should be.
    Good,
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
    /// It wants its first certificate back, as CAs may (RFC 9773).
    Recall,
}

/// What the CA has been sent.
#[derive(Default)]
pub(super) struct Seen {
    /// The last request for a certificate.
    csr: Csr,
    /// Orders.
    pub(super) orders: Vec<serde_json::Value>,
    /// The certificates it was asked about, each of them once.
    pub(super) certificates: Vec<String>,
}

/// Serves in this manner, a connection for each request, as long as the process lives.
pub(super) fn start(scene: &Scene, manner: Manner) -> Arc<Mutex<Seen>> {
    let listener = TcpListener::bind(("127.0.0.1", scene.ca)).unwrap();
    let config = upstream::tls_config(scene.folder.path());
    let ca = scene.ca;
    let seen = Arc::new(Mutex::new(Seen::default()));
    let own = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let config: Arc<ServerConfig> = Arc::clone(&config);
            let connection = ServerConnection::new(config).unwrap();
            // A client that gives up is what some of this is for.
            let _ = answer(StreamOwned::new(connection, stream), ca, manner, &own);
        }
    });
    seen
}

type Csr = Option<CertificateSigningRequestParams>;

fn answer(
    stream: StreamOwned<ServerConnection, std::net::TcpStream>,
    ca: u16,
    manner: Manner,
    seen: &Mutex<Seen>,
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
    let response = {
        let mut seen = seen.lock().unwrap();
        match path.as_str() {
            "/finalize" => seen.csr = payload(&body).and_then(|payload| read_request(&payload)),
            "/order" => {
                seen.csr = None;
                seen.orders.extend(payload(&body));
            }
            _ => (),
        }
        respond(&path, ca, manner, &mut seen)
    };
    let mut stream = stream.into_inner();
    stream.write_all(response.as_bytes())?;
    let endless = match manner {
        Manner::EndlessChain => path == "/certificate",
        Manner::EndlessDirectory | Manner::EndlessHead => path == "/dir",
        _ => false,
    };
    let filler = match manner {
        Manner::EndlessHead => "X-More: and more\r\n".repeat(1000),
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

fn decode(value: &serde_json::Value, name: &str) -> Option<Vec<u8>> {
    let url = value[name].as_str()?.replace('-', "+").replace('_', "/");
    Some(base64::decode(&url))
}

/// What a signed message says.
fn payload(body: &[u8]) -> Option<serde_json::Value> {
    let signed: serde_json::Value = serde_json::from_slice(body).ok()?;
    serde_json::from_slice(&decode(&signed, "payload")?).ok()
}

fn read_request(payload: &serde_json::Value) -> Csr {
    let request = decode(payload, "csr")?;
    CertificateSigningRequestParams::from_der(&request.into()).ok()
}

fn respond(path: &str, ca: u16, manner: Manner, seen: &mut Seen) -> String {
    let csr = seen.csr.as_ref();
    let at = |path: &str| format!("https://127.0.0.1:{ca}/{path}");
    let name = match manner {
        Manner::OtherIdentifier => "bank.example",
        _ => NAME,
    };
    // What an order replaces is said again (RFC 9773 section 5).
    let replaced = seen.orders.last().map(|order| &order["replaces"]);
    let replaced = replaced.filter(|value| value.is_string());
    let replaced = replaced.map_or_else(String::new, |value| format!(r#""replaces":{value},"#));
    let order = |status: &str| {
        format!(
            r#"{{{replaced}"status":"{status}","identifiers":[{{"type":"dns","value":"{name}"}}],"authorizations":["{}"],"finalize":"{}","certificate":"{}"}}"#,
            at("authorization"),
            at("finalize"),
            at("certificate")
        )
    };
    let (location, body) = match path {
        "/dir" if manner == Manner::EndlessDirectory => return format!("{GOOD}\r\n"),
        "/dir" if manner == Manner::EndlessHead => return GOOD.to_owned(),
        "/dir" => (
            "",
            format!(
                r#"{{"newNonce":"{}","newAccount":"{}","newOrder":"{}","revokeCert":"{}","renewalInfo":"{}","meta":{{"profiles":{{"short":"a day"}}}}}}"#,
                at("nonce"),
                at("account"),
                at("order"),
                at("revoke"),
                at("renewal")
            ),
        ),
        "/nonce" if manner == Manner::NoNonce => {
            return "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned();
        }
        "/nonce" => ("", String::new()),
        _ if manner == Manner::BadNonces => {
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
        "/authorization" if manner == Manner::OtherIdentifier => (
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
        _ if path.starts_with("/renewal/") => (
            "",
            window(&path["/renewal/".len()..], manner, &mut seen.certificates),
        ),
        "/certificate" if manner == Manner::Elsewhere => {
            return GOOD.replace("200 OK", "302 Found")
                + &format!("Location: {}\r\nContent-Length: 0\r\n\r\n", at("other"));
        }
        "/certificate" if manner == Manner::EndlessChain => return format!("{GOOD}\r\n"),
        "/certificate" => ("", csr.map_or_else(String::new, |csr| chain(csr, manner))),
        // Where the redirection leads.
        "/other" => (
            "",
            csr.map_or_else(String::new, |csr| chain(csr, Manner::Good)),
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

/// When the CA would like a certificate to be renewed.
fn window(certificate: &str, manner: Manner, asked: &mut Vec<String>) -> String {
    if !asked.iter().any(|known| known == certificate) {
        asked.push(certificate.to_owned());
    }
    let year = match manner {
        Manner::Recall if asked[0] == certificate => 2021,
        _ => 2080,
    };
    format!(
        r#"{{"suggestedWindow":{{"start":"{year}-01-01T00:00:00Z","end":"{year}-01-02T00:00:00Z"}}}}"#
    )
}

/// What the CA makes of a request.
fn chain(csr: &CertificateSigningRequestParams, manner: Manner) -> String {
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(CertificateParams::default(), key);
    let mut csr = csr.clone();
    csr.params.not_before = date_time_ymd(2020, 1, 1);
    csr.params.not_after = date_time_ymd(2090, 1, 1);
    csr.params.use_authority_key_identifier_extension = true;
    match manner {
        Manner::OtherName => {
            csr.params.subject_alt_names =
                vec![SanType::DnsName("bank.example".try_into().unwrap())];
        }
        // A new certificate is left alone for a four-hundredth part of its life.
        Manner::Recall => {
            let now = SystemTime::now();
            csr.params.not_before = (now - Duration::from_secs(10)).into();
            csr.params.not_after = (now + Duration::from_secs(390)).into();
        }
        Manner::Expired => csr.params.not_after = date_time_ymd(2021, 1, 1),
        Manner::InTheFuture => csr.params.not_before = date_time_ymd(2080, 1, 1),
        Manner::OtherKey | Manner::OwnPair => {
            let own = KeyPair::generate().unwrap();
            let certificate = csr.params.signed_by(&own, &issuer).unwrap().pem();
            return match manner {
                Manner::OwnPair => own.serialize_pem() + &certificate,
                _ => certificate,
            };
        }
        Manner::NoChain => return String::new(),
        Manner::NotText => return "\0-----BEGIN".repeat(10),
        _ => (),
    }
    let certificate = csr.signed_by(&issuer).unwrap().pem();
    match manner {
        Manner::LongChain => certificate.repeat(500),
        _ => certificate,
    }
}
