//! Clients of HTTP that mean no good, frame by frame: what they cost, and that others are served
//! meanwhile.
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use http::Request;
use libtest_mimic::{Failed, Trial};

use crate::client::{self, Options, Query};
use crate::server::{Folder, Process, free_port};
use crate::web;

/// How long anybody else may wait for an answer meanwhile, on a machine that is busy.
const MEANWHILE: Duration = Duration::from_secs(5);
/// Octets that a server of these tests may grow by.
const GROWTH_MAX: u64 = 48 << 20;
const ENHANCE_YOUR_CALM: u32 = 11;
const REFUSED_STREAM: u32 = 7;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A DoH server in the clear.
pub(crate) struct Served {
    _folder: Folder,
    port: u16,
    process: Process,
    /// Octets of memory before anybody came.
    memory: u64,
}

impl Served {
    pub(crate) fn new(directives: &str) -> Self {
        let (folder, port) = (Folder::new(), free_port());
        let corefile = format!("https://.:{port} {{\n bind 127.0.0.1\n{directives}\n}}\n");
        let process = Process::serve(&folder, &corefile);
        let served = Self {
            _folder: folder,
            port,
            memory: 0,
            process,
        };
        served.serves_others();
        Self {
            memory: served.process.memory(),
            ..served
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Somebody else is answered, and soon.
    pub(crate) fn serves_others(&self) {
        let client = async {
            let mut requests = web::connect(self.address(), None).await.unwrap();
            let query = Query::new("other.example", "A", &Options::new());
            let uri = format!(
                "http://127.0.0.1/dns-query?dns={}",
                web::base64url(&query.wire)
            );
            let request = Request::get(uri).body(()).unwrap();
            let answer = web::exchange(&mut requests, request, Vec::new())
                .await
                .unwrap();
            assert_eq!(answer.head.status, 200);
        };
        web::wait(MEANWHILE, client).expect("others are answered");
    }

    pub(crate) fn has_not_grown(&self) {
        let grown = self.process.memory().saturating_sub(self.memory);
        assert!(grown < GROWTH_MAX, "{} KiB more", grown >> 10);
    }

    /// A connection that has begun HTTP/2 with these settings.
    pub(crate) fn begin(&self, settings: &[u8]) -> Raw {
        let mut raw = Raw(client::tcp(self.address(), Duration::from_secs(20)).unwrap());
        raw.0
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        raw.send(SETTINGS, 0, 0, settings).unwrap();
        raw
    }
}

/// A connection of which every frame is written by hand.
pub(crate) struct Raw(pub(crate) TcpStream);

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, l0, l1, l2] = (payload.len() as u32).to_be_bytes();
    let mut frame = vec![l0, l1, l2, kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A literal field that nobody remembers.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut octets = vec![0];
    for text in [name, value] {
        match text.len() {
            length @ 0..127 => octets.push(length as u8),
            mut rest => {
                octets.push(127);
                rest -= 127;
                while rest >= 0x80 {
                    octets.push(rest as u8 | 0x80);
                    rest >>= 7;
                }
                octets.push(rest as u8);
            }
        }
        octets.extend_from_slice(text.as_bytes());
    }
    octets
}

/// The head of a request.
pub(crate) fn request(method: &str, path: &str) -> Vec<u8> {
    [
        field(":method", method),
        field(":scheme", "http"),
        field(":path", path),
        field(":authority", "dns.example.org"),
    ]
    .concat()
}

fn get() -> Vec<u8> {
    let query = Query::new("flood.example", "A", &Options::new());
    request(
        "GET",
        &format!("/dns-query?dns={}", web::base64url(&query.wire)),
    )
}

impl Raw {
    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.0.write_all(&frame(kind, flags, stream, payload))
    }

    /// The next frame: kind, flags, stream, payload.
    pub(crate) fn receive(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let [l0, l1, l2, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        self.0.read_exact(&mut payload)?;
        Ok((kind, flags, u32::from_be_bytes(stream), payload))
    }

    /// The next frame of this kind, whatever comes before it.
    pub(crate) fn receive_kind(&mut self, wanted: u8) -> io::Result<(u32, Vec<u8>)> {
        loop {
            let (kind, _, stream, payload) = self.receive()?;
            if kind == wanted {
                return Ok((stream, payload));
            }
        }
    }

    /// Why the server ends the connection.
    fn goodbye(&mut self) -> Option<u32> {
        let (_, payload) = self.receive_kind(GOAWAY).ok()?;
        Some(u32::from_be_bytes(*payload.last_chunk()?))
    }

    /// Sends these octets again and again until the server has had enough; returns its reason.
    fn flood(&mut self, mut octets: impl FnMut(u32) -> Vec<u8>) -> Option<u32> {
        let mut other = Self(self.0.try_clone().unwrap());
        let reader = std::thread::spawn(move || other.goodbye());
        for round in 0..20_000 {
            if reader.is_finished() || self.0.write_all(&octets(round)).is_err() {
                break;
            }
        }
        reader.join().unwrap()
    }
}

/// Frames that lead nowhere, thousands of them.
fn floods_end_the_connection() -> Result<(), Failed> {
    let served = Served::new(" whoami");
    let opened = |id: u32| frame(HEADERS, END_STREAM | END_HEADERS, id, &get());
    for (what, mut octets) in [
        (
            "resets",
            Box::new(|round: u32| {
                let id = 2 * round + 1;
                [opened(id), frame(RST_STREAM, 0, id, &[0, 0, 0, 8])].concat()
            }) as Box<dyn FnMut(u32) -> Vec<u8>>,
        ),
        (
            // The server is made to reset (CVE-2025-8671).
            "window updates of zero",
            Box::new(|round| {
                let id = 2 * round + 1;
                let head = frame(HEADERS, END_HEADERS, id, &request("POST", "/dns-query"));
                [head, frame(WINDOW_UPDATE, 0, id, &[0; 4])].concat()
            }),
        ),
        ("pings", Box::new(|_| frame(PING, 0, 0, &[7; 8]))),
        ("settings", Box::new(|_| frame(SETTINGS, 0, 0, &[]))),
        (
            "window updates",
            Box::new(|_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ),
        ("unknown frames", Box::new(|_| frame(200, 0, 0, b"?"))),
        (
            "empty data",
            Box::new(|round| match round {
                0 => frame(HEADERS, END_HEADERS, 1, &request("POST", "/dns-query")),
                _ => frame(DATA, 0, 1, &[]),
            }),
        ),
        (
            "continuations",
            Box::new(|round| match round {
                0 => frame(HEADERS, 0, 1, &request("POST", "/dns-query")),
                _ => frame(CONTINUATION, 0, 1, &[]),
            }),
        ),
        (
            "long continuations",
            Box::new(|round| match round {
                0 => frame(HEADERS, 0, 1, &request("POST", "/dns-query")),
                _ => frame(CONTINUATION, 0, 1, &field("a", &"b".repeat(8000))),
            }),
        ),
    ] {
        let reason = served.begin(&[]).flood(&mut octets);
        // The end may overtake the reason, when octets behind it are still on their way.
        assert!(
            matches!(reason, Some(ENHANCE_YOUR_CALM) | None),
            "{what}: {reason:?}"
        );
        let mut again = served.begin(&[]);
        let mut octets = octets;
        assert_eq!(
            stops(&mut again, &mut octets),
            Ok(()),
            "{what}: the server must not go on"
        );
        served.serves_others();
    }
    served.has_not_grown();
    Ok(())
}

/// Whether the server ends a connection on which it gets so many frames.
fn stops(raw: &mut Raw, octets: &mut dyn FnMut(u32) -> Vec<u8>) -> Result<(), &'static str> {
    let mut reader = Raw(raw.0.try_clone().unwrap());
    let drain = std::thread::spawn(move || while reader.receive().is_ok() {});
    let mut result = Err("it took 20,000 of them");
    for round in 0..20_000 {
        if raw.0.write_all(&octets(round)).is_err() || drain.is_finished() {
            result = Ok(());
            break;
        }
    }
    let _ = raw.0.shutdown(std::net::Shutdown::Both);
    let _ = drain.join();
    result
}

/// A client that asks much and makes no room for the answers.
fn a_client_that_makes_no_room_is_given_up() -> Result<(), Failed> {
    let served = Served::new(" timeouts {\n  write 1s\n  idle 20s\n }\n whoami");
    let initial_window_zero = [0, 4, 0, 0, 0, 0];
    let mut clients = Vec::new();
    for _ in 0..50 {
        let mut raw = served.begin(&initial_window_zero);
        let many: Vec<u8> = (0..200)
            .flat_map(|at| frame(HEADERS, END_STREAM | END_HEADERS, 2 * at + 1, &get()))
            .collect();
        raw.0.write_all(&many)?;
        clients.push(raw);
    }
    served.serves_others();
    served.has_not_grown();
    for raw in &mut clients {
        let (mut answered, mut refused, mut reason) = (0, 0, None);
        while let Ok((kind, _, _, payload)) = raw.receive() {
            match kind {
                HEADERS => answered += 1,
                DATA => panic!("there is no room for {} octets", payload.len()),
                RST_STREAM if payload.ends_with(&REFUSED_STREAM.to_be_bytes()) => refused += 1,
                GOAWAY => reason = payload.last_chunk().map(|code| u32::from_be_bytes(*code)),
                _ => (),
            }
        }
        // `limits::WEB_STREAMS_MAX` of the server.
        assert_eq!((answered, refused), (128, 72));
        assert_eq!(reason, Some(ENHANCE_YOUR_CALM));
    }
    served.serves_others();
    Ok(())
}

/// Responses wait for room and leave as it is made.
fn responses_leave_as_there_is_room() -> Result<(), Failed> {
    let served = Served::new(" whoami");
    let mut raw = served.begin(&[0, 4, 0, 0, 0, 10]);
    raw.send(HEADERS, END_STREAM | END_HEADERS, 1, &get())?;
    let mut body = raw.receive_kind(DATA)?.1;
    assert_eq!(body.len(), 10);
    raw.send(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 5])?;
    body.extend(raw.receive_kind(DATA)?.1);
    assert_eq!(body.len(), 15);
    raw.send(SETTINGS, 0, 0, &[0, 4, 0, 0, 0xff, 0xff])?;
    let (_, flags, _, rest) = loop {
        let next = raw.receive()?;
        if next.0 == DATA {
            break next;
        }
    };
    body.extend(rest);
    assert_eq!(flags, END_STREAM);
    assert_eq!(body.get(2..4), Some(&[0x85, 0x00][..]), "a whole response");
    Ok(())
}

/// Requests that are too large, or never end.
fn oversized_and_endless_requests_are_refused() -> Result<(), Failed> {
    let served = Served::new(" timeouts {\n  read 1s\n }\n whoami");
    let status = |raw: &mut Raw| {
        let (_, block) = raw.receive_kind(HEADERS).unwrap();
        // Literal, with the name of the static table, and three digits.
        assert_eq!(block[..2], [8, 3]);
        String::from_utf8(block[2..5].to_vec()).unwrap()
    };
    let mut raw = served.begin(&[]);
    let long = [
        request("GET", "/dns-query"),
        field("a", &"b".repeat(16_250)),
    ]
    .concat();
    raw.send(HEADERS, END_STREAM | END_HEADERS, 1, &long)?;
    assert_eq!(status(&mut raw), "431");
    // The table of the connection is as it was: the next request is understood.
    let declared = [
        request("POST", "/dns-query"),
        field("content-length", "99999999"),
    ]
    .concat();
    raw.send(HEADERS, END_HEADERS, 3, &declared)?;
    assert_eq!(status(&mut raw), "413");
    raw.send(HEADERS, END_HEADERS, 5, &request("POST", "/dns-query"))?;
    for _ in 0..5 {
        raw.send(DATA, 0, 5, &[0; 16_384])?;
    }
    assert_eq!(status(&mut raw), "413");
    raw.send(HEADERS, END_HEADERS, 7, &request("POST", "/dns-query"))?;
    raw.send(DATA, 0, 7, &[0; 12])?;
    assert_eq!(status(&mut raw), "408", "the rest does not come");
    // Bodies of many requests are bounded by the window of the connection.
    let mut raw = served.begin(&[]);
    let mut flooded = None;
    for at in 0..100u32 {
        let id = 2 * at + 1;
        let head = frame(HEADERS, END_HEADERS, id, &request("POST", "/dns-query"));
        let body = frame(DATA, 0, id, &[0; 16_384]).repeat(3);
        if raw.0.write_all(&[head, body].concat()).is_err() {
            flooded = Some(at);
            break;
        }
    }
    assert!(
        flooded.is_some() || raw.goodbye().is_some(),
        "a window is a window"
    );
    served.serves_others();
    served.has_not_grown();
    Ok(())
}

/// Heads of HTTP/1.1 in drips, and heads without an end.
fn slow_and_long_heads_are_given_up() -> Result<(), Failed> {
    let served = Served::new(" timeouts {\n  read 1s\n }\n whoami");
    let connect = || client::tcp(served.address(), Duration::from_secs(20)).unwrap();
    let mut slow: Vec<_> = (0..100).map(|_| connect()).collect();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        for client in &mut slow {
            let _ = client.write_all(b"G");
        }
        served.serves_others();
        std::thread::sleep(Duration::from_millis(200));
    }
    for client in &mut slow {
        let mut octet = [0];
        assert!(
            !matches!(client.read(&mut octet), Ok(1)),
            "no answer, and an end"
        );
    }
    let mut long = connect();
    let _ = long.write_all(b"GET /dns-query HTTP/1.1\r\nHost: x\r\n");
    for _ in 0..100 {
        if long.write_all(&b"A: b\r\n".repeat(100)).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let _ = long.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    served.has_not_grown();
    Ok(())
}

/// More connections than the block allows.
fn connections_are_bounded_and_make_room_again() -> Result<(), Failed> {
    let served = Served::new(" https {\n  max_connections 20\n }\n whoami");
    let mut clients: Vec<_> = (0..200)
        .map(|_| client::tcp(served.address(), Duration::from_secs(20)).unwrap())
        .collect();
    let open = |client: &mut TcpStream| {
        client
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        match client.read_exact(&mut [0]) {
            Ok(()) => false,
            Err(error) => matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ),
        }
    };
    let count = clients
        .iter_mut()
        .rev()
        .filter_map(|client| open(client).then_some(()))
        .count();
    assert!(count <= 20, "{count} are open");
    assert!(count > 0, "and some are");
    drop(clients);
    let until = Instant::now() + Duration::from_secs(20);
    while std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| served.serves_others())).is_err()
    {
        assert!(Instant::now() < until, "there is room again");
    }
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "web_attacks/floods_end_the_connection",
            floods_end_the_connection,
        ),
        Trial::test(
            "web_attacks/a_client_that_makes_no_room_is_given_up",
            a_client_that_makes_no_room_is_given_up,
        ),
        Trial::test(
            "web_attacks/responses_leave_as_there_is_room",
            responses_leave_as_there_is_room,
        ),
        Trial::test(
            "web_attacks/oversized_and_endless_requests_are_refused",
            oversized_and_endless_requests_are_refused,
        ),
        Trial::test(
            "web_attacks/slow_and_long_heads_are_given_up",
            slow_and_long_heads_are_given_up,
        ),
        Trial::test(
            "web_attacks/connections_are_bounded_and_make_room_again",
            connections_are_bounded_and_make_room_again,
        ),
    ]
}
