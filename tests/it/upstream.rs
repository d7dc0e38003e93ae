//! A scripted name server on 127.0.0.1, over UDP and TCP, or TLS.
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::client::read_message;
use crate::message::{Message, TYPES, type_number, wire_name};
use crate::rdata::rdata_wire;

/// What a server does, besides answering from its records.
#[derive(Clone, Default)]
struct Mode {
    name: String,
    argument: u64,
}

/// Records by owner, lower-cased, and type: TTL and RDATA as text.
type Records = BTreeMap<(String, u16), (u32, Vec<String>)>;

struct Shared {
    records: Records,
    mode: Mutex<Mode>,
    seen: Mutex<Vec<String>>,
    count: Mutex<usize>,
    closing: AtomicBool,
}

/// The server; it ends with this value.
pub(crate) struct Upstream {
    shared: Arc<Shared>,
    pub(crate) port: u16,
}

impl Upstream {
    /// Answers from lines `OWNER TTL TYPE RDATA`. `tls`: a folder with `cert.pem` and `key.pem`.
    pub(crate) fn start(text: &str, tls: Option<&Path>) -> Self {
        let mut records = Records::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let fields: Vec<_> = line.splitn(4, char::is_whitespace).map(str::trim).collect();
            let key = (fields[0].to_lowercase(), type_number(fields[2]));
            records
                .entry(key)
                .or_insert_with(|| (fields[1].parse().unwrap(), Vec::new()))
                .1
                .push(fields[3].trim().to_owned());
        }
        let shared = Arc::new(Shared {
            records,
            mode: Mutex::default(),
            seen: Mutex::default(),
            count: Mutex::default(),
            closing: AtomicBool::new(false),
        });
        let (udp, tcp) = loop {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()) {
                break (udp, tcp);
            }
        };
        let port = tcp.local_addr().unwrap().port();
        if tls.is_none() {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || serve_udp(&udp, &shared));
        }
        let config = tls.map(tls_config);
        let own = Arc::clone(&shared);
        std::thread::spawn(move || serve_tcp(&tcp, config.as_ref(), &own));
        Self { shared, port }
    }

    /// Carries out a step `upstream NAME …` and returns what it prints.
    pub(crate) fn step(&self, words: &[&str]) -> Vec<String> {
        let take = || std::mem::take(&mut *self.shared.seen.lock().unwrap());
        match words {
            ["count"] => vec![format!(
                "{} queries",
                std::mem::take(&mut *self.shared.count.lock().unwrap())
            )],
            ["seen"] | ["distinct"] => {
                let mut seen = take();
                seen.sort();
                if words == ["distinct"] {
                    seen.dedup();
                }
                seen
            }
            ["asked", name] => vec![format!(
                "{} queries",
                take()
                    .iter()
                    .filter(|line| line.split(' ').next() == Some(name))
                    .count()
            )],
            [mode, argument @ ..] => {
                let argument = argument
                    .first()
                    .map_or(0, |argument| argument.parse().unwrap());
                *self.shared.mode.lock().unwrap() = Mode {
                    name: (*mode).to_owned(),
                    argument,
                };
                Vec::new()
            }
            [] => panic!("upstream without a word"),
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shared.closing.store(true, Relaxed);
        // Wakes the threads that wait for a client.
        let _ = std::net::TcpStream::connect(("127.0.0.1", self.port));
        let _ = UdpSocket::bind("127.0.0.1:0")
            .and_then(|socket| socket.send_to(b"", ("127.0.0.1", self.port)));
    }
}

pub(crate) fn tls_config(folder: &Path) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(folder.join("cert.pem"))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap();
    Arc::new(
        builder
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap(),
    )
}

fn serve_udp(socket: &UdpSocket, shared: &Arc<Shared>) {
    let mut buffer = vec![0; 65_535];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        if shared.closing.load(Relaxed) {
            return;
        }
        let (query, shared, socket) = (
            buffer[..length].to_vec(),
            Arc::clone(shared),
            socket.try_clone().unwrap(),
        );
        std::thread::spawn(move || {
            if let Some(reply) = shared.answer(&query, "udp", &client.ip().to_string()) {
                let _ = socket.send_to(&reply, client);
            }
        });
    }
}

fn serve_tcp(listener: &TcpListener, config: Option<&Arc<ServerConfig>>, shared: &Arc<Shared>) {
    while let Ok((stream, client)) = listener.accept() {
        if shared.closing.load(Relaxed) {
            return;
        }
        let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
        let (shared, config) = (Arc::clone(shared), config.cloned());
        std::thread::spawn(move || {
            let ip = client.ip().to_string();
            match config {
                Some(config) => shared.converse(
                    StreamOwned::new(ServerConnection::new(config).unwrap(), stream),
                    &ip,
                ),
                None => shared.converse(stream, &ip),
            }
        });
    }
}

impl Shared {
    fn converse(&self, mut stream: impl Read + Write, client: &str) {
        while let Ok(query) = read_message(&mut stream) {
            let Some(reply) = self.answer(&query, "tcp", client) else {
                return;
            };
            let framed = [&(reply.len() as u16).to_be_bytes()[..], &reply].concat();
            if stream
                .write_all(&framed)
                .and_then(|()| stream.flush())
                .is_err()
            {
                return;
            }
        }
    }

    /// The answer, with an OPT record when the query has one.
    fn answer(&self, wire: &[u8], transport: &str, client: &str) -> Option<Vec<u8>> {
        let mut reply = self.answer_plainly(wire, transport, client)?;
        if wire[11] > 0 && reply.len() > 12 {
            reply[11] += 1;
            reply.extend(b"\0\0\x29\x04\xd0\0\0\0\0\0\0");
        }
        Some(reply)
    }

    fn answer_plainly(&self, wire: &[u8], transport: &str, client: &str) -> Option<Vec<u8>> {
        let query = Message::read(wire)?;
        let (name, rtype, _) = query.question.clone()?;
        self.note(&query, &name, rtype, transport, client);
        let mode = self.mode.lock().unwrap().clone();
        let question = &wire[12..12 + wire_name(&name).len() + 4];
        // The answer so far: RCODE, flags beside QR and RA, records of the sections.
        let (mut rcode, mut flags, mut sections) = (
            0u16,
            0x8080 | query.flags & 0x7910,
            [Vec::new(), Vec::new()],
        );
        let (mut id, mut asked) = (query.id, question.to_vec());
        match mode.name.as_str() {
            "drop" => return None,
            "delay" => std::thread::sleep(Duration::from_millis(mode.argument)),
            "servfail" | "refused" | "notimp" | "formerr" => {
                rcode = match mode.name.as_str() {
                    "formerr" => 1,
                    "servfail" => 2,
                    "notimp" => 4,
                    _ => 5,
                };
                return Some(compose(id, flags | rcode, &asked, &sections));
            }
            "tc" if transport == "udp" => {
                return Some(compose(id, flags | 0x0200, &asked, &sections));
            }
            "garbage" => return Some([&wire[..2], &[0xff; 9]].concat()),
            "empty" => return Some(compose(id, flags, &asked, &sections)),
            "wrongid" => id ^= 1,
            "wrongname" => {
                asked = [
                    wire_name("other.invalid."),
                    question[question.len() - 4..].to_vec(),
                ]
                .concat()
            }
            "ad" => flags |= 0x0020,
            _ => (),
        }
        self.fill(&name, rtype, &mode.name, &mut sections, &mut rcode);
        let reply = compose(id, flags | rcode, &asked, &sections);
        let limit = if transport == "tcp" {
            65_535
        } else {
            query.edns.as_ref().map_or(512, |edns| edns.0.max(512))
        };
        if reply.len() > usize::from(limit) {
            return Some(compose(
                id,
                flags | 0x0200,
                &asked,
                &[Vec::new(), Vec::new()],
            ));
        }
        Some(reply)
    }

    fn note(&self, query: &Message, name: &str, rtype: u16, transport: &str, client: &str) {
        let rtype = TYPES
            .iter()
            .find(|(_, known)| *known == rtype)
            .map_or_else(|| format!("TYPE{rtype}"), |(name, _)| (*name).to_owned());
        let mut line = format!("{name} {rtype} {transport}");
        let is_notify = query.opcode_name() == "NOTIFY";
        if is_notify {
            line += " notify";
        }
        if client != "127.0.0.1" {
            line += &format!(" from={client}");
        }
        let dnssec = query.edns.as_ref().is_some_and(|edns| edns.1 & 0x8000 != 0);
        if let Some(edns) = &query.edns {
            line += &format!(" edns={}", edns.0);
        }
        let checking = query.flags & 0x0010 != 0;
        if dnssec || checking {
            line += &format!(
                " {}{}",
                if dnssec { "d" } else { "" },
                if checking { "c" } else { "" }
            );
        }
        if query.flags & 0x0100 == 0 && !is_notify {
            line += " norec";
        }
        for (code, data) in query.edns.iter().flat_map(|edns| &edns.2) {
            line += &format!(
                " option={code}:{}",
                data.iter()
                    .map(|octet| format!("{octet:02x}"))
                    .collect::<String>()
            );
        }
        *self.count.lock().unwrap() += 1;
        self.seen.lock().unwrap().push(line);
    }

    /// Records for a name: its own, or along CNAMEs; else the zone's SOA.
    fn fill(
        &self,
        name: &str,
        rtype: u16,
        mode: &str,
        sections: &mut [Vec<Vec<u8>>; 2],
        rcode: &mut u16,
    ) {
        let (mut owner, mut lower) = (name.to_owned(), name.to_lowercase());
        if !matches!(mode, "nxdomain" | "nodata") {
            for _ in 0..16 {
                let found = [rtype, 5]
                    .into_iter()
                    .find_map(|kind| Some((kind, self.records.get(&(lower.clone(), kind))?)));
                let Some((kind, (ttl, rdatas))) = found else {
                    break;
                };
                sections[0].extend(rdatas.iter().map(|rdata| record(&owner, kind, *ttl, rdata)));
                if kind == rtype {
                    return;
                }
                owner = rdatas[0].clone();
                lower = owner.to_lowercase();
            }
        }
        if !sections[0].is_empty() {
            return;
        }
        let below =
            |zone: &str| lower == zone || zone == "." || lower.ends_with(&format!(".{zone}"));
        let known = self
            .records
            .keys()
            .any(|(other, _)| *other == lower || other.ends_with(&format!(".{lower}")));
        if mode == "nxdomain" || mode != "nodata" && !known {
            *rcode = 3;
        }
        let soas = self
            .records
            .iter()
            .filter(|((zone, kind), _)| *kind == 6 && below(zone));
        if let Some(((zone, _), (ttl, rdatas))) = soas.max_by_key(|((zone, _), _)| zone.len()) {
            sections[1].push(record(zone, 6, *ttl, &rdatas[0]));
        }
    }
}

fn record(owner: &str, rtype: u16, ttl: u32, rdata: &str) -> Vec<u8> {
    let rdata = rdata_wire(rtype, rdata);
    let mut wire = wire_name(owner);
    wire.extend(rtype.to_be_bytes());
    wire.extend([0, 1]);
    wire.extend(ttl.to_be_bytes());
    wire.extend((rdata.len() as u16).to_be_bytes());
    wire.extend(rdata);
    wire
}

fn compose(id: u16, flags: u16, question: &[u8], sections: &[Vec<Vec<u8>>; 2]) -> Vec<u8> {
    let mut wire = id.to_be_bytes().to_vec();
    wire.extend(flags.to_be_bytes());
    wire.extend([0, 1]);
    sections
        .iter()
        .for_each(|section| wire.extend((section.len() as u16).to_be_bytes()));
    wire.extend([0, 0]);
    wire.extend(question);
    sections
        .iter()
        .flatten()
        .for_each(|record| wire.extend(record));
    wire
}
