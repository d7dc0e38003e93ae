//! Very many queries and requests on a few connections: memory is flat, and others are served at once.
use std::io::Write;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use quinn::{Connection, TransportConfig, VarInt};
use tokio::task::JoinSet;

use crate::certificates;
use crate::client::{self, Options, Query};
use crate::message::Message;
use crate::quic::{Client, exchange, frame, framed, post, response};
use crate::server::{Folder, Process, free_port};

/// How long anybody else may wait for an answer meanwhile, handshake included.
const MEANWHILE: Duration = Duration::from_secs(3);
/// Octets that a server may grow by from the first tenth of all on.
const GROWTH_MAX: u64 = 8 << 20;
/// Connections of those that mean no good.
const CONNECTIONS: usize = 8;

struct Served {
    folder: Folder,
    plain: u16,
    tls: u16,
    quic: u16,
    https3: u16,
    process: Process,
}

fn serve() -> Served {
    let (folder, [plain, tls, quic, https3]) = (Folder::new(), [(); 4].map(|()| free_port()));
    certificates::write(folder.path());
    let corefile = format!(
        ".:{plain} tls://.:{tls} quic://.:{quic} https3://.:{https3} {{\n bind 127.0.0.1\n \
         tls cert.pem key.pem\n timeouts {{\n  read 2s\n }}\n whoami\n}}\n"
    );
    let process = Process::serve(&folder, &corefile);
    Served {
        folder,
        plain,
        tls,
        quic,
        https3,
        process,
    }
}

impl Served {
    /// Asks over this transport, and returns how long the answer took.
    fn asks(&self, option: &str) -> Duration {
        let port = match option {
            "quic" => self.quic,
            "https3" => self.https3,
            "tls" => self.tls,
            _ => self.plain,
        };
        let opts = Options::from([(option.to_owned(), String::new())]);
        let (begun, query) = (Instant::now(), Query::new("other.example", "A", &opts));
        let reply = client::send(&query, &opts, port, self.folder.path());
        assert_eq!(reply.unwrap().rcode_name(), "NOERROR", "{option}");
        begun.elapsed()
    }

    /// Runs ten rounds of `work`. Behind each the memory is what it was behind the first, and others
    /// are answered at once.
    fn endures(&self, mut work: impl FnMut(usize)) {
        let mut memory = None;
        let mut waits = Vec::new();
        for round in 0..10 {
            work(round);
            let first = *memory.get_or_insert_with(|| self.process.memory());
            let grown = self.process.memory().saturating_sub(first);
            assert!(
                grown < GROWTH_MAX,
                "{} KiB more in round {round}",
                grown >> 10
            );
            for option in ["udp", "tcp", "tls", "quic", "https3"] {
                waits.push(self.asks(option));
            }
        }
        waits.sort();
        assert!(*waits.last().unwrap() < MEANWHILE, "{waits:?}");
    }
}

/// What one of the streams does.
#[derive(Clone, Copy)]
enum Stream {
    /// Asks and reads.
    Good,
    /// Asks and does not want the answer.
    Deaf,
    /// Begins, and takes it back.
    Reset,
    /// Opens, says nothing, and takes it back.
    Empty,
}

const STREAMS: [Stream; 4] = [Stream::Good, Stream::Deaf, Stream::Reset, Stream::Empty];

async fn stream(connection: &Connection, what: Stream, octets: &[u8]) -> Option<()> {
    const CANCELLED: VarInt = VarInt::from_u32(3);
    if let Stream::Good = what {
        let answer = exchange(connection, octets).await?;
        assert!(answer.len() > 14);
        return Some(());
    }
    let (mut send, mut recv) = connection.open_bi().await.ok()?;
    match what {
        Stream::Deaf => {
            recv.stop(CANCELLED).ok()?;
            send.write_all(octets).await.ok()?;
            send.finish().ok()?;
        }
        Stream::Reset => {
            send.write_all(&octets[..octets.len() / 2]).await.ok()?;
            send.reset(CANCELLED).ok()?;
            let _ = recv.read_to_end(1 << 17).await;
        }
        _ => {
            send.reset(CANCELLED).ok()?;
            let _ = recv.read_to_end(1 << 17).await;
        }
    }
    Some(())
}

/// Opens so many streams on some connections, of every kind; others connect meanwhile.
fn many_streams(served: &Served, protocol: &str, port: u16, octets: &[u8], count: usize) {
    // Answers trickle through windows of some octets.
    let mut small = TransportConfig::default();
    small
        .stream_receive_window(VarInt::from_u32(40))
        .receive_window(VarInt::from_u32(400));
    let clients = [
        Client::new(protocol, served.folder.path()),
        Client::with(protocol, served.folder.path(), small),
    ];
    served.endures(|round| {
        let client = &clients[round % 2];
        client.runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for _ in 0..CONNECTIONS {
                let connecting = client.connecting(port);
                let octets = octets.to_vec();
                tasks.spawn(async move {
                    let connection = connecting.await.expect("a connection");
                    let mut streams = JoinSet::new();
                    for number in 0..count / 10 / CONNECTIONS {
                        let (connection, octets) = (connection.clone(), octets.clone());
                        streams.spawn(async move {
                            stream(&connection, STREAMS[number % 4], &octets).await
                        });
                        if streams.len() >= 100 {
                            let done = streams.join_next().await.unwrap().unwrap();
                            assert!(done.is_some(), "the connection goes on");
                        }
                    }
                    while let Some(done) = streams.join_next().await {
                        assert!(done.unwrap().is_some(), "the connection goes on");
                    }
                    connection.close(VarInt::from_u32(0x100), b"");
                });
            }
            while let Some(done) = tasks.join_next().await {
                done.unwrap();
            }
        });
    });
}

/// A hundred thousand streams (CVE-2025-47950, CVE-2026-32934).
fn streams_of_doq() -> Result<(), Failed> {
    let served = serve();
    let asked = framed(&Query::new("www.example", "A", &Options::new()));
    many_streams(&served, "doq", served.quic, &asked, 100_000);
    Ok(())
}

fn streams_of_http3() -> Result<(), Failed> {
    let served = serve();
    let message = Query::new("www.example", "A", &Options::new()).wire;
    let asked = post("/dns-query", &message);
    many_streams(&served, "h3", served.https3, &asked, 100_000);
    Ok(())
}

/// Header blocks that are small and mean much, and requests that never end
/// (CVE-2025-64702, CVE-2026-40898): each is refused, or ends with its connection.
fn header_blocks_of_http3() -> Result<(), Failed> {
    let served = serve();
    let message = Query::new("www.example", "A", &Options::new()).wire;
    let head = b"\0\0\xd4\xd7\x51\x0a/dns-query\x50\x09localhost\xec".to_vec();
    let with = |lines: &[u8]| frame(1, &[&head[..], lines].concat());
    let long_name = [&[0x27, 0x80 | 0x79, 0x7f][..], &[b'x'; 16_384]].concat();
    // Five bits of a letter each; the value says that it is longer than it is.
    let packed = [&[0x5f, 0x50, 0x7f | 0x80, 0xff, 0x7f][..], &[0; 200]].concat();
    let requests = [
        // Each octet is a field of up to ninety.
        with(&[0xff, 0x15].repeat(8000)),
        with(&[0xdd].repeat(16_000)),
        with(&long_name),
        with(&packed),
        frame(1, &[0; 16_000]),
        frame(1, &[0xff; 16_000]),
        // Of another's table, and numbers without an end.
        frame(1, &[&[0xff; 40][..], &head].concat()),
        frame(1, &[&b"\0\0"[..], &[0xff; 40]].concat()),
        frame(1, b"\x02\0\x80\x81"),
        // Frames of nothing, in front and behind.
        [b"\x21\0".repeat(4000), frame(1, &head)].concat(),
        [with(b""), b"\0\0".repeat(4000), frame(0, &message)].concat(),
        [with(b""), frame(1, &head), frame(1, &head)].concat(),
        // A body that is announced and never comes.
        [with(b""), b"\0\xbf\xff\xff\xff".to_vec()].concat(),
    ];
    let rounds = 30;
    served.endures(|_| {
        let client = Client::new("h3", served.folder.path());
        for number in 0..rounds * requests.len() / 4 {
            let connection = client.connect(served.https3).expect("a connection");
            let request = &requests[number % requests.len()];
            client.run(async {
                for ends in [true, false] {
                    let Ok((mut send, mut recv)) = connection.open_bi().await else {
                        break;
                    };
                    let _ = send.write_all(request).await;
                    if ends {
                        let _ = send.finish();
                        if let Ok(answer) = recv.read_to_end(1 << 17).await
                            && !answer.is_empty()
                        {
                            let (status, body) = response(&answer);
                            let is_answer = Message::read(&body).is_some();
                            assert_eq!(status == "200", is_answer, "{status}");
                        }
                    }
                }
                // What was left open is the connection's end.
                connection.close(VarInt::from_u32(0x100), b"");
            });
        }
    });
    Ok(())
}

/// A million queries on one connection, read as they are answered; in the clear and over TLS.
fn queries_on_one_connection() -> Result<(), Failed> {
    let served = serve();
    let query = Query::new("many.example", "A", &Options::new()).wire;
    let framed = [&(query.len() as u16).to_be_bytes()[..], &query].concat();
    const AT_ONCE: usize = 100;
    let burst = framed.repeat(AT_ONCE);
    let count = 1_000_000;
    let mut plain = client::tcp(
        ([127, 0, 0, 1], served.plain).into(),
        Duration::from_secs(20),
    )?;
    served.endures(|_| {
        for _ in 0..count / 10 / AT_ONCE {
            plain.write_all(&burst).unwrap();
            for _ in 0..AT_ONCE {
                client::read_message(&mut plain).expect("every query has an answer");
            }
        }
    });
    let opts = Options::new();
    let address = ([127, 0, 0, 1], served.tls).into();
    let mut tls = client::tls(
        address,
        Duration::from_secs(20),
        &opts,
        served.folder.path(),
    )?;
    served.endures(|_| {
        for _ in 0..count / 10 / AT_ONCE {
            tls.write_all(&burst).unwrap();
            for _ in 0..AT_ONCE {
                client::read_message(&mut tls).expect("every query has an answer");
            }
        }
    });
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    type Test = fn() -> Result<(), Failed>;
    let tests: [(&str, Test); 4] = [
        ("streams_of_doq", streams_of_doq),
        ("streams_of_http3", streams_of_http3),
        ("header_blocks_of_http3", header_blocks_of_http3),
        ("queries_on_one_connection", queries_on_one_connection),
    ];
    tests
        .into_iter()
        .map(|(name, test)| Trial::test(format!("endurance::{name}"), test))
        .collect()
}
