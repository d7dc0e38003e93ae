//! Very many clients of encrypted transports that mean no good: what they cost, and that others are
//! served meanwhile.
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};
use quinn::{TransportConfig, VarInt};

use crate::certificates;
use crate::client::{self, Options, Query};
use crate::quic::{Client, code, exchange, framed};
use crate::server::{Folder, Process, free_port};

/// How long anybody else may wait for an answer meanwhile, handshake included.
const MEANWHILE: Duration = Duration::from_secs(5);
/// Octets that a server of these tests may grow by.
const GROWTH_MAX: u64 = 64 << 20;

struct Served {
    folder: Folder,
    quic: u16,
    tls: u16,
    process: Process,
    memory: u64,
}

fn serve(directives: &str) -> Served {
    let (folder, quic, tls) = (Folder::new(), free_port(), free_port());
    certificates::write(folder.path());
    let corefile = format!(
        "quic://.:{quic} tls://.:{tls} {{\n bind 127.0.0.1\n tls cert.pem key.pem\n{directives}\n}}\n"
    );
    let process = Process::serve(&folder, &corefile);
    let memory = process.memory();
    Served {
        folder,
        quic,
        tls,
        process,
        memory,
    }
}

impl Served {
    /// Others are answered over QUIC and over TLS, and soon; and the memory is what it was.
    fn serves_others(&self) {
        for (option, port) in [("quic", self.quic), ("tls", self.tls)] {
            let begun = Instant::now();
            let opts = Options::from([(option.to_owned(), String::new())]);
            let query = Query::new("other.example", "A", &opts);
            let reply = client::send(&query, &opts, port, self.folder.path());
            assert_eq!(reply.unwrap().rcode_name(), "NOERROR", "{option}");
            assert!(
                begun.elapsed() < MEANWHILE,
                "{option}: {:?}",
                begun.elapsed()
            );
        }
        let grown = self.process.memory().saturating_sub(self.memory);
        assert!(grown < GROWTH_MAX, "{} KiB more", grown >> 10);
    }
}

/// Thousands of streams with one octet each, and no more; on more than one worker's share of them
/// connections are closed before their time. Answers that wait, such as from an upstream, are not
/// kept out.
fn unfinished_streams_cost_nothing() -> Result<(), Failed> {
    let served = serve(
        " timeouts {\n  read 3s\n }\n quic {\n  worker_pool_size 2\n }\n erratic {\n  drop 0\n  delay 1 10ms\n }",
    );
    let client = Client::new("doq", served.folder.path());
    let (mut streams, mut connections) = (Vec::new(), Vec::new());
    for _ in 0..60 {
        let connection = client.connect(served.quic).expect("a connection");
        client.run(async {
            for _ in 0..200 {
                let Ok((mut send, recv)) = connection.open_bi().await else {
                    break;
                };
                if send.write_all(&[0]).await.is_err() {
                    break;
                }
                streams.push((send, recv));
            }
        });
        connections.push(connection);
    }
    served.serves_others();
    // The client's own endpoint has to run for its octets to leave.
    for connection in &connections {
        let end = client
            .run(connection.closed())
            .expect("it is ended in time");
        // DOQ_PROTOCOL_ERROR, or DOQ_EXCESSIVE_LOAD.
        assert!(matches!(code(&end), Some(2 | 4)), "{end}");
    }
    served.serves_others();
    Ok(())
}

/// Queries that announce 65,535 octets and come almost whole, on every stream.
fn large_queries_that_never_end_are_bounded() -> Result<(), Failed> {
    let served = serve(" timeouts {\n  read 30s\n }\n whoami");
    let client = Client::new("doq", served.folder.path());
    let octets = vec![0xff; 60_000];
    for _ in 0..10 {
        let connection = client.connect(served.quic).expect("a connection");
        let end = client.run(async {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..100 {
                let (connection, octets) = (connection.clone(), octets.clone());
                tasks.spawn(async move {
                    let (mut send, recv) = connection.open_bi().await.ok()?;
                    send.write_all(&octets).await.ok()?;
                    connection.closed().await;
                    drop((send, recv));
                    Some(())
                });
            }
            connection.closed().await
        });
        // DOQ_EXCESSIVE_LOAD.
        assert_eq!(code(&end.expect("it is ended")), Some(4));
        served.serves_others();
    }
    Ok(())
}

/// A client that asks for much and reads nothing.
fn replies_that_nobody_takes_are_bounded() -> Result<(), Failed> {
    let served = serve(" timeouts {\n  write 1s\n }\n erratic {\n  drop 0\n  large\n }");
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(64))
        .receive_window(VarInt::from_u32(64));
    let client = Client::with("doq", served.folder.path(), transport);
    let asked = framed(&Query::new("deaf.example", "A", &Options::new()));
    let mut kept = Vec::new();
    for _ in 0..10 {
        let connection = client.connect(served.quic).expect("a connection");
        client.run(async {
            for _ in 0..200 {
                let Ok((mut send, recv)) = connection.open_bi().await else {
                    break;
                };
                if send.write_all(&asked).await.is_err() || send.finish().is_err() {
                    break;
                }
                kept.push((send, recv));
            }
        });
        served.serves_others();
    }
    Ok(())
}

/// Handshakes that begin and never end, from many ports: beyond a number clients have to show that
/// they receive, and those who do are served.
fn unfinished_handshakes_do_not_keep_others_out() -> Result<(), Failed> {
    let served = serve(" whoami");
    let begun = Instant::now();
    let mut silent = Vec::new();
    for number in 0..400 {
        let client = Client::new("doq", served.folder.path());
        let connecting = client.connecting(served.quic);
        // The first flight leaves, and nothing else: nobody runs this endpoint any more.
        client.runtime.block_on(async {
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
        silent.push((connecting, client));
        if number % 100 == 99 {
            served.serves_others();
        }
    }
    // And what is no QUIC at all.
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    for octets in [&b"\xc0"[..], &[0xff; 1200], &[0x40; 64], b""] {
        for _ in 0..100 {
            socket.send_to(octets, ("127.0.0.1", served.quic))?;
        }
    }
    served.serves_others();
    assert!(begun.elapsed() < Duration::from_secs(60));
    Ok(())
}

/// A thousand connections that are there and silent, over QUIC and over TLS.
fn a_thousand_silent_connections_cost_little() -> Result<(), Failed> {
    let served = serve(" timeouts {\n  read 60s\n  idle 60s\n }\n whoami");
    let client = Client::new("doq", served.folder.path());
    let asked = framed(&Query::new("www.example", "A", &Options::new()));
    let opened: Option<Vec<_>> = client.runtime.block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        let mut opened = Vec::new();
        for _ in 0..500 {
            let connecting = client.connecting(served.quic);
            let asked = asked.clone();
            tasks.spawn(async move {
                let connection = connecting.await.ok()?;
                exchange(&connection, &asked).await?;
                Some(connection)
            });
            if tasks.len() >= 50 {
                opened.push(tasks.join_next().await?.ok()??);
            }
        }
        while let Some(connection) = tasks.join_next().await {
            opened.push(connection.ok()??);
        }
        Some(opened)
    });
    let opened = opened.expect("all are served");
    let silent: Vec<TcpStream> = (0..500)
        .map(|_| TcpStream::connect(("127.0.0.1", served.tls)).unwrap())
        .collect();
    let begun = Instant::now();
    served.serves_others();
    assert!(begun.elapsed() < 2 * MEANWHILE);
    let grown = served.process.memory().saturating_sub(served.memory);
    assert!(grown / 1000 < 64 << 10, "{} octets for each", grown / 1000);
    drop((opened, silent));
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    type Test = fn() -> Result<(), Failed>;
    let tests: [(&str, Test); 5] = [
        (
            "unfinished_streams_cost_nothing",
            unfinished_streams_cost_nothing,
        ),
        (
            "large_queries_that_never_end_are_bounded",
            large_queries_that_never_end_are_bounded,
        ),
        (
            "replies_that_nobody_takes_are_bounded",
            replies_that_nobody_takes_are_bounded,
        ),
        (
            "unfinished_handshakes_do_not_keep_others_out",
            unfinished_handshakes_do_not_keep_others_out,
        ),
        (
            "a_thousand_silent_connections_cost_little",
            a_thousand_silent_connections_cost_little,
        ),
    ];
    tests
        .into_iter()
        .map(|(name, test)| Trial::test(format!("floods::{name}"), test))
        .collect()
}
