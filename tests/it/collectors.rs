//! Those whom a server reports to: collectors of dnstap messages and of spans.
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::Value;

use crate::cases::Case;
use crate::message::Message;

/// `Message.Type` of dnstap.
const KINDS: &[&str] = &[
    "AUTH_QUERY",
    "AUTH_RESPONSE",
    "RESOLVER_QUERY",
    "RESOLVER_RESPONSE",
    "CLIENT_QUERY",
    "CLIENT_RESPONSE",
    "FORWARDER_QUERY",
    "FORWARDER_RESPONSE",
];

/// How long what is expected may take, and how long nothing more must come behind it.
const PATIENCE: Duration = Duration::from_secs(10);
const SILENCE: Duration = Duration::from_millis(300);

type Lines = Arc<Mutex<Vec<String>>>;

/// The collectors of a case.
#[derive(Default)]
pub(crate) struct Collectors {
    taps: BTreeMap<String, Lines>,
    spans: BTreeMap<String, Lines>,
}

impl Collectors {
    /// Whether a section is a collector, and not a file.
    pub(crate) fn is_section(name: &str) -> bool {
        name.starts_with("tap ") || name.starts_with("collector ")
    }

    /// Starts those that the case's sections name; `ports` gets theirs.
    pub(crate) fn start(case: &Case, folder: &Path, ports: &mut BTreeMap<String, u16>) -> Self {
        let mut all = Self::default();
        for (name, _) in &case.sections {
            let lines = Lines::default();
            if let Some(name) = name.strip_prefix("tap ") {
                let listener = UnixListener::bind(folder.join(name)).unwrap();
                all.taps.insert(name.to_owned(), Arc::clone(&lines));
                std::thread::spawn(move || {
                    for stream in listener.incoming().map_while(Result::ok) {
                        let lines = Arc::clone(&lines);
                        std::thread::spawn(move || collect_messages(stream, &lines));
                    }
                });
            } else if let Some(name) = name.strip_prefix("collector ") {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                ports.insert(name.to_owned(), listener.local_addr().unwrap().port());
                all.spans.insert(name.to_owned(), Arc::clone(&lines));
                std::thread::spawn(move || {
                    for stream in listener.incoming().map_while(Result::ok) {
                        let lines = Arc::clone(&lines);
                        std::thread::spawn(move || collect_spans(stream, &lines));
                    }
                });
            }
        }
        all
    }

    /// `tap NAME` and `collector NAME`: what came since the last such step, sorted. A tap without a
    /// section is connected to.
    pub(crate) fn step(
        &mut self,
        kind: &str,
        name: &str,
        folder: &Path,
        expected: usize,
        mask: impl Fn(&str) -> String,
    ) -> Result<Vec<String>, String> {
        if kind == "tap" && !self.taps.contains_key(name) {
            let stream =
                UnixStream::connect(folder.join(name)).map_err(|error| error.to_string())?;
            let lines = Lines::default();
            self.taps.insert(name.to_owned(), Arc::clone(&lines));
            std::thread::spawn(move || collect_messages(stream, &lines));
            // The collector is there when the handshake is over.
            std::thread::sleep(SILENCE);
        }
        let all = if kind == "tap" {
            &self.taps
        } else {
            &self.spans
        };
        let lines = all.get(name).ok_or("no such collector")?;
        let until = Instant::now() + PATIENCE;
        while lines.lock().unwrap().len() < expected && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(SILENCE);
        let mut lines: Vec<_> = std::mem::take(&mut *lines.lock().unwrap());
        lines = lines.iter().map(|line| mask(line)).collect();
        lines.sort();
        Ok(lines)
    }
}

/// One dnstap connection, until the server says STOP or goes.
fn collect_messages(mut stream: UnixStream, lines: &Lines) {
    let be32 = |stream: &mut UnixStream| {
        let mut octets = [0; 4];
        stream.read_exact(&mut octets).ok()?;
        Some(u32::from_be_bytes(octets) as usize)
    };
    while let Some(size) = be32(&mut stream) {
        let control = size == 0;
        let Some(size) = (if control {
            be32(&mut stream)
        } else {
            Some(size)
        }) else {
            return;
        };
        let mut frame = vec![0; size];
        if stream.read_exact(&mut frame).is_err() {
            return;
        }
        if !control {
            lines.lock().unwrap().push(describe_message(&frame));
            continue;
        }
        // STOP is answered by FINISH, READY by ACCEPT of the same content type.
        let answer = match frame[3] {
            3 => 5u32.to_be_bytes().to_vec(),
            4 => [&1u32.to_be_bytes()[..], &frame[4..]].concat(),
            _ => continue,
        };
        let length = (answer.len() as u32).to_be_bytes();
        if stream
            .write_all(&[&[0; 4][..], &length, &answer].concat())
            .is_err()
        {
            return;
        }
    }
}

/// The fields of a protobuf message; a number is eight octets, most significant first.
fn fields(mut data: &[u8]) -> Vec<(u64, Vec<u8>)> {
    fn varint(data: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        while let Some((octet, rest)) = data.split_first() {
            *data = rest;
            value |= u64::from(octet & 127) << shift;
            shift += 7;
            if octet & 128 == 0 {
                break;
            }
        }
        value
    }
    let mut all = Vec::new();
    while !data.is_empty() {
        let key = varint(&mut data);
        let size = match key & 7 {
            0 => {
                all.push((key >> 3, varint(&mut data).to_be_bytes().to_vec()));
                continue;
            }
            1 => 8,
            2 => varint(&mut data) as usize,
            _ => 4,
        };
        let (value, rest) = data.split_at(size);
        all.push((key >> 3, value.to_vec()));
        data = rest;
    }
    all
}

fn field(all: &[(u64, Vec<u8>)], number: u64) -> Option<&[u8]> {
    let found = all.iter().find(|(known, _)| *known == number);
    found.map(|(_, value)| value.as_slice())
}

fn text(all: &[(u64, Vec<u8>)], number: u64) -> String {
    String::from_utf8_lossy(field(all, number).unwrap_or_default()).into_owned()
}

fn describe_message(frame: &[u8]) -> String {
    let outer = fields(frame);
    let inner = fields(field(&outer, 14).unwrap());
    let number = |key| field(&inner, key).map_or(0, |value| usize::from(value[7]));
    let mut words = vec![
        KINDS[number(1) - 1].to_owned(),
        ["-", "inet", "inet6"][number(2)].to_owned(),
        ["-", "udp", "tcp", "dot", "doh"][number(3)].to_owned(),
    ];
    for (key, label) in [(4, "from"), (5, "to")] {
        let address = field(&inner, key).map(|octets| match <[u8; 4]>::try_from(octets) {
            Ok(v4) => IpAddr::from(v4),
            Err(_) => IpAddr::from(<[u8; 16]>::try_from(octets).unwrap()),
        });
        words.extend(address.map(|address| format!("{label} {address}")));
    }
    for key in [10, 14] {
        if let Some(message) = field(&inner, key).map(|wire| Message::read(wire).unwrap()) {
            let (name, rtype) = message.asked();
            let what = match key {
                10 => "query".to_owned(),
                _ => message.rcode_name(),
            };
            words.push(format!("{name} {rtype} {what}"));
        }
    }
    let host = nix::unistd::gethostname().unwrap();
    let identity = match text(&outer, 1) {
        own if *own == *host => "<hostname>".to_owned(),
        other => other,
    };
    let version = Regex::new(r"^\w+-\d+\.\d+\.\d+.*").unwrap();
    let version = version.replace(&text(&outer, 2), "<version>").into_owned();
    words.push(format!("identity {identity} version {version}"));
    if field(&outer, 3).is_some() {
        words.push(format!("extra {}", text(&outer, 3)));
    }
    words.join(" ")
}

/// One HTTP connection with spans in the bodies of its requests.
fn collect_spans(mut stream: TcpStream, lines: &Lines) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            match reader.read_line(&mut line) {
                Ok(0) | Err(_) => return,
                Ok(_) if line.trim().is_empty() => break,
                Ok(_) => head.push(line.trim().to_owned()),
            }
        }
        let path = head[0].split(' ').nth(1).unwrap().to_owned();
        let length = head.iter().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            (name.eq_ignore_ascii_case("content-length")).then(|| value.trim().parse().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let new = match path.as_str() {
            "/v1/traces" => otlp_spans(&body),
            "/v0.3/traces" => datadog_spans(&body),
            _ => zipkin_spans(&body),
        };
        let new = new
            .iter()
            .map(|line| format!("{path} {line}").trim_end().to_owned());
        lines.lock().unwrap().extend(new);
        let _ = stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
    }
}

fn tags(tags: &Value) -> String {
    let all: BTreeMap<_, _> = tags.as_object().into_iter().flatten().collect();
    let all = all
        .iter()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap()));
    all.collect::<Vec<_>>().join(" ")
}

fn zipkin_spans(body: &[u8]) -> Vec<String> {
    let spans: Value = serde_json::from_slice(body).unwrap();
    let line = |span: &Value| {
        let service = span["localEndpoint"]["serviceName"].as_str().unwrap();
        let child = if span["parentId"].is_string() {
            "child"
        } else {
            "root"
        };
        let name = span["name"].as_str().unwrap();
        assert!(
            span["timestamp"].is_u64() && span["duration"].as_u64() > Some(0),
            "{span}"
        );
        format!("{service} {child} {name} {}", tags(&span["tags"]))
    };
    spans.as_array().unwrap().iter().map(line).collect()
}

fn datadog_spans(body: &[u8]) -> Vec<String> {
    let traces: Value = serde_json::from_slice(body).unwrap();
    let line = |span: &Value| {
        let child = if span["parent_id"] == 0 {
            "root"
        } else {
            "child"
        };
        let (service, name) = (
            span["service"].as_str().unwrap(),
            span["name"].as_str().unwrap(),
        );
        assert!(
            span["start"].is_u64() && span["trace_id"].as_u64() > Some(0),
            "{span}"
        );
        format!("{service} {child} {name} {}", tags(&span["meta"]))
    };
    let traces = traces.as_array().unwrap().iter();
    traces
        .flat_map(|trace| trace.as_array().unwrap().iter().map(line))
        .collect()
}

fn otlp_spans(body: &[u8]) -> Vec<String> {
    let attributes = |all: &[(u64, Vec<u8>)], number| {
        let found = all.iter().filter(|(known, _)| *known == number);
        let pairs: BTreeMap<_, _> = found
            .map(|(_, pair)| {
                let pair = fields(pair);
                (text(&pair, 1), text(&fields(field(&pair, 2).unwrap()), 1))
            })
            .collect();
        pairs
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let resource_spans = fields(field(&fields(body), 1).unwrap());
    let service = attributes(&fields(field(&resource_spans, 1).unwrap()), 1);
    let scope_spans = fields(field(&resource_spans, 2).unwrap());
    let spans = scope_spans.iter().filter(|(number, _)| *number == 2);
    let line = |span: &[u8]| {
        let span = fields(span);
        let child = if field(&span, 4).is_some() {
            "child"
        } else {
            "root"
        };
        assert_eq!(field(&span, 1).unwrap().len(), 16);
        format!(
            "{service} {child} {} {}",
            text(&span, 5),
            attributes(&span, 9)
        )
    };
    spans.map(|(_, span)| line(span)).collect()
}
