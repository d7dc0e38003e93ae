//! Clients that mean no good: what they cost, and that others are served meanwhile.
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::certificates;
use crate::client::{self, Options, Query};
use crate::proxied;
use crate::server::{Folder, Process, free_port};

/// How long anybody else may wait for an answer meanwhile.
const MEANWHILE: Duration = Duration::from_secs(5);
/// When the server is rid of clients at the latest, on a machine that is busy with other things.
const GIVEN_UP_WITHIN: Duration = Duration::from_secs(60);
/// Octets that a server of these tests may grow by.
const GROWTH_MAX: u64 = 64 << 20;

/// A server, and how to reach it.
struct Served {
    folder: Folder,
    port: u16,
    process: Process,
    /// Octets of memory before anybody came.
    memory: u64,
}

impl Served {
    /// Serves every zone with these directives.
    fn new(directives: &str) -> Self {
        Self::with("", directives)
    }

    fn with(scheme: &str, directives: &str) -> Self {
        let (folder, port) = (Folder::new(), free_port());
        certificates::write(folder.path());
        let corefile = format!("{scheme}.:{port} {{\n bind 127.0.0.1\n{directives}\n}}\n");
        let process = Process::serve(&folder, &corefile);
        let memory = process.memory();
        Self {
            folder,
            port,
            process,
            memory,
        }
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn connect(&self) -> TcpStream {
        client::tcp(self.address(), Duration::from_secs(20)).unwrap()
    }

    /// Others are answered over UDP and, if there is room, over TCP, and soon.
    fn serves_others(&self, streams: bool) {
        for tcp in [false, true].into_iter().filter(|tcp| !tcp || streams) {
            let mut opts = Options::new();
            opts.insert("timeout".to_owned(), MEANWHILE.as_secs().to_string());
            if tcp {
                opts.insert("tcp".to_owned(), String::new());
            }
            let query = Query::new("other.example", "A", &opts);
            let reply = client::send(&query, &opts, self.port, self.folder.path());
            assert_eq!(reply.unwrap().rcode_name(), "NOERROR", "tcp: {tcp}");
        }
    }

    fn has_not_grown(&self) {
        let grown = self.process.memory().saturating_sub(self.memory);
        assert!(grown < GROWTH_MAX, "{} KiB more", grown >> 10);
    }
}

/// A query with its length in front.
fn framed(name: &str) -> Vec<u8> {
    let query = Query::new(name, "A", &Options::new()).wire;
    [&(query.len() as u16).to_be_bytes()[..], &query].concat()
}

/// Whether the server ends the connection, and says nothing before, within its read timeout.
fn is_closed(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0; 16]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == io::ErrorKind::ConnectionReset,
    }
}

/// The same without waiting.
fn is_closed_by_now(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    is_closed(stream)
}

/// Hundreds of clients that send an octet now and then.
fn dripping_clients_are_closed() -> Result<(), Failed> {
    let served = Served::new(" timeouts {\n  read 1s\n }\n whoami");
    let wire = framed("drip.example");
    let mut clients: Vec<_> = (0..300).map(|_| served.connect()).collect();
    let started = Instant::now();
    // As long as they are allowed to, and then somewhat longer.
    for octet in wire.chunks(1).take(8) {
        for client in &mut clients {
            let _ = client.write_all(octet);
        }
        std::thread::sleep(Duration::from_millis(200));
        served.serves_others(true);
    }
    for client in &mut clients {
        assert!(is_closed(client), "no answer, and an end");
    }
    assert!(started.elapsed() < GIVEN_UP_WITHIN);
    served.has_not_grown();
    Ok(())
}

/// More connections than a client may have, and than the server takes: those that were idle longest
/// make room, and newcomers are served.
fn connections_are_bounded() -> Result<(), Failed> {
    // `limits::CONNECTIONS_MAX` of the server, and a client's share of them.
    let (most, share): (u64, u64) = (8192, 2048);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    if hard < 2 * most {
        return Err(format!("this test needs {} open files", 2 * most).into());
    }
    let served = Served::new(" timeouts {\n  read 60s\n }\n whoami");
    let connect = |host: u64| {
        let from = format!("127.0.0.{host}");
        client::tcp_from(&from, served.address(), Duration::from_secs(20)).unwrap()
    };
    let open = |clients: &mut Vec<TcpStream>| {
        clients.retain_mut(|client| !is_closed_by_now(client));
        clients.len() as u64
    };
    // Clients send first, so that the server has taken a connection when another one begins.
    let asks = |mut stream: TcpStream| {
        stream.set_nonblocking(false)?;
        stream.write_all(&framed("new.example"))?;
        client::read_message(&mut stream).map(|_| stream)
    };
    let mut clients: Vec<_> = (0..share).map(|_| connect(2)).collect();
    let _newcomer = asks(connect(2)).expect("a newcomer of the same client is served");
    let until = Instant::now() + Duration::from_secs(10);
    while open(&mut clients) == share {
        assert!(Instant::now() < until, "some of its own had to go");
        std::thread::sleep(Duration::from_millis(20));
    }
    for host in 3..7 {
        clients.extend((0..share).map(|_| connect(host)));
    }
    asks(connect(9)).expect("a newcomer is served");
    let until = Instant::now() + Duration::from_secs(10);
    while open(&mut clients) > most {
        assert!(Instant::now() < until, "some are too many");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(
        open(&mut clients) > most - most / 8,
        "and not all have to go"
    );
    served.serves_others(true);
    served
        .process
        .wait_for_log(r"\[WARNING\] Too many connections: client 127.0.0.2 has 2048");
    let each = (served.process.memory() - served.memory) / most;
    assert!(each < 32 << 10, "{each} octets for a silent connection");
    Ok(())
}

/// Clients that ask and ask and read no answer.
fn clients_that_take_no_replies_are_given_up() -> Result<(), Failed> {
    let served = Served::new(" timeouts {\n  write 1s\n }\n erratic {\n  drop 0\n  large\n }");
    let queries = framed("deaf.example").repeat(1000);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..5)
            .map(|_| {
                let mut client = served.connect();
                let queries = &queries;
                scope.spawn(move || {
                    client
                        .set_write_timeout(Some(Duration::from_secs(20)))
                        .unwrap();
                    // Ends when the connection does; without an end the test fails below.
                    while started.elapsed() < GIVEN_UP_WITHIN {
                        if client.write_all(queries).is_err() {
                            return;
                        }
                    }
                })
            })
            .collect();
        while clients.iter().any(|client| !client.is_finished()) {
            served.serves_others(true);
            served.has_not_grown();
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert!(started.elapsed() < GIVEN_UP_WITHIN, "they are given up");
    Ok(())
}

/// Ten thousand queries at once on one connection, answered from memory or after a wait.
fn ten_thousand_pipelined_queries_are_answered() -> Result<(), Failed> {
    for directives in [" whoami", " erratic {\n  drop 0\n  delay 1 5ms\n }"] {
        let served = Served::new(directives);
        let mut reader = served.connect();
        let mut writer = reader.try_clone()?;
        let queries = framed("many.example").repeat(10_000);
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || writer.write_all(&queries));
            for number in 0..10_000 {
                client::read_message(&mut reader).expect("every query has an answer");
                if number % 1000 == 0 {
                    served.serves_others(true);
                    served.has_not_grown();
                }
            }
            writing.join().unwrap()
        })?;
    }
    Ok(())
}

/// Connections that once had much to do keep little of the memory for it.
fn connections_that_have_been_busy_cost_little() -> Result<(), Failed> {
    let served =
        Served::new(" timeouts {\n  idle 60s\n }\n erratic {\n  drop 0\n  delay 0\n  large\n }");
    let count = 400;
    let queries = framed("busy.example").repeat(128);
    let mut connections = Vec::new();
    for _ in 0..count {
        let mut stream = served.connect();
        stream.write_all(&queries)?;
        for _ in 0..128 {
            client::read_message(&mut stream)?;
        }
        connections.push(stream);
    }
    let grown = served.process.memory().saturating_sub(served.memory);
    assert!(
        grown / count < 48 << 10,
        "{} octets for each",
        grown / count
    );
    Ok(())
}

/// A client that has said all it wants, or all it may, gets its replies however late they are.
fn late_replies_arrive_on_connections_that_end() -> Result<(), Failed> {
    let timeouts = " timeouts {\n  read 1s\n  idle 1s\n  maxtcpqueries 2\n }\n";
    let late = " erratic {\n  drop 0\n  delay 1 2500ms\n }";
    let served = Served::new(&format!("{timeouts}{late}"));
    let mut half_closed = served.connect();
    half_closed.write_all(&framed("late.example"))?;
    half_closed.shutdown(std::net::Shutdown::Write)?;
    let mut exhausted = served.connect();
    exhausted.write_all(&framed("late.example").repeat(3))?;
    client::read_message(&mut half_closed)?;
    for _ in 0..2 {
        client::read_message(&mut exhausted)?;
    }
    for mut stream in [half_closed, exhausted] {
        assert!(is_closed(&mut stream), "and no other reply");
    }
    Ok(())
}

/// TLS clients that say nothing, or stop in the middle of the handshake.
fn half_open_handshakes_are_closed() -> Result<(), Failed> {
    let directives = " tls cert.pem key.pem\n timeouts {\n  read 1s\n }\n whoami";
    let served = Served::with("tls://", directives);
    let tls = Options::from([("tls".to_owned(), String::new())]);
    let started = Instant::now();
    let mut clients: Vec<_> = (0..200).map(|_| served.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        // The beginning of a ClientHello, more of it each time.
        let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
        client.write_all(&hello[..number % 12])?;
    }
    let query = Query::new("other.example", "A", &tls);
    let reply = client::send(&query, &tls, served.port, served.folder.path());
    assert_eq!(reply.unwrap().rcode_name(), "NOERROR");
    for client in &mut clients {
        // An alert may stand in front of the end.
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(rest.len() < 16, "{rest:?}");
    }
    assert!(started.elapsed() < GIVEN_UP_WITHIN);
    served.has_not_grown();
    Ok(())
}

/// What looks like a PROXY header and is none costs its sender the connection, and nobody else
/// anything.
fn broken_proxy_headers_are_refused() -> Result<(), Failed> {
    let served = Served::new(" proxyproto\n timeouts {\n  read 1s\n }\n whoami");
    let signature = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    let with = |tail: &[u8]| [&signature[..], tail].concat();
    let broken = [
        b"PROXY TCP4 203.0.113.7\r\n".to_vec(),
        [&b"PROXY "[..], &[b'x'; 5000]].concat(),
        b"PROXY TCP4 203.0.113.7 192.0.2.1 1 99999\r\n".to_vec(),
        with(&[0x31, 0x11, 0, 12]),
        with(&[0x21, 0x11, 0, 2, 1, 2]),
        with(&[0x21, 0x12, 0xff, 0xff]),
        with(&[0x21, 0x99, 0, 0]),
        // Whole lengths that never come.
        with(&[0x21, 0x11, 0, 200, 1, 2, 3]),
        b"PROXY TCP4 203.0".to_vec(),
        signature.clone(),
    ];
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    for octets in &broken {
        let mut stream = served.connect();
        stream.write_all(octets)?;
        assert!(is_closed(&mut stream), "{octets:?}");
        let query = Query::new("behind.example", "A", &Options::new()).wire;
        socket.send_to(&[&octets[..], &query].concat(), served.address())?;
    }
    assert!(
        socket.recv(&mut [0; 512]).is_err(),
        "no datagram is answered"
    );
    served.serves_others(true);
    served.has_not_grown();
    Ok(())
}

/// The header stands in front of the handshake, in a segment of its own or with the first words of
/// TLS.
fn tls_begins_behind_the_proxy_header() -> Result<(), Failed> {
    let served = Served::with("tls://", " tls cert.pem key.pem\n proxyproto\n whoami");
    for together in [false, true] {
        let opts = Options::new();
        let config = Arc::new(client::config(&opts, served.folder.path()));
        let name = ServerName::try_from("dns.example.org").unwrap();
        let mut connection = ClientConnection::new(config, name)?;
        let mut first = proxied::header("2:203.0.113.7", served.port, true);
        let mut stream = served.connect();
        if together {
            connection.write_tls(&mut first)?;
        }
        stream.write_all(&first)?;
        let mut stream = StreamOwned::new(connection, stream);
        let reply = client::converse(&mut stream, &Query::new("www.example", "A", &opts))?;
        let lines = reply.lines(&("www.example.".to_owned(), 1, 1), &opts);
        assert!(
            lines.iter().any(|line| line.ends_with("A 203.0.113.7")),
            "{lines:?}"
        );
    }
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    type Test = fn() -> Result<(), Failed>;
    let tests: [(&str, Test); 9] = [
        ("dripping_clients_are_closed", dripping_clients_are_closed),
        ("connections_are_bounded", connections_are_bounded),
        (
            "clients_that_take_no_replies_are_given_up",
            clients_that_take_no_replies_are_given_up,
        ),
        (
            "ten_thousand_pipelined_queries_are_answered",
            ten_thousand_pipelined_queries_are_answered,
        ),
        (
            "connections_that_have_been_busy_cost_little",
            connections_that_have_been_busy_cost_little,
        ),
        (
            "late_replies_arrive_on_connections_that_end",
            late_replies_arrive_on_connections_that_end,
        ),
        (
            "half_open_handshakes_are_closed",
            half_open_handshakes_are_closed,
        ),
        (
            "broken_proxy_headers_are_refused",
            broken_proxy_headers_are_refused,
        ),
        (
            "tls_begins_behind_the_proxy_header",
            tls_begins_behind_the_proxy_header,
        ),
    ];
    tests
        .into_iter()
        .map(|(name, test)| Trial::test(format!("transports::{name}"), test))
        .collect()
}
