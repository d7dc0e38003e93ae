//! Connections that have only just begun when the configuration changes, and those that last longer.
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use libtest_mimic::{Failed, Trial};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::certificates;
use crate::client::{self, Options, Query};
use crate::doq;
use crate::quic::{self, Client};
use crate::quic_leaving;
use crate::server::{Folder, PATIENCE, Process, free_port};
use crate::web;

/// A session whose client has all that it needs, and has yet to say its last word of the handshake.
fn half_shaken(port: u16, folder: &Path) -> StreamOwned<ClientConnection, TcpStream> {
    let mut stream = client::tcp(SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE).unwrap();
    let config = Arc::new(client::config(&Options::new(), folder));
    let name = ServerName::try_from("dns.example.org").unwrap();
    let mut session = ClientConnection::new(config, name).unwrap();
    while session.wants_write() {
        session.write_tls(&mut stream).unwrap();
    }
    while session.is_handshaking() {
        assert!(session.read_tls(&mut stream).unwrap() > 0);
        session.process_new_packets().unwrap();
    }
    StreamOwned::new(session, stream)
}

/// Who shakes hands while the listener ends is still answered, over TLS and HTTPS.
fn handshakes_outlive_their_listener() -> Result<(), Failed> {
    let (folder, plain) = (Folder::new(), free_port());
    let (tls, https) = (free_port(), free_port());
    certificates::write(folder.path());
    let stays = format!(".:{plain} {{\n bind 127.0.0.1\n whoami\n}}\n");
    let ends =
        |key: String| format!("{key} {{\n bind 127.0.0.1\n tls cert.pem key.pem\n whoami\n}}\n");
    let corefile = [
        stays.clone(),
        ends(format!("tls://.:{tls}")),
        ends(format!("https://.:{https}")),
    ]
    .concat();
    let server = Process::serve(&folder, &corefile);
    let mut dot = half_shaken(tls, folder.path());
    let mut doh = half_shaken(https, folder.path());
    folder.write("Corefile", &stays);
    server.signal("USR1");
    server.wait_for_log("Reloading complete");
    let query = Query::new("www.example", "A", &Options::new());
    client::converse(&mut dot, &query).expect("an answer over TLS");
    let path = format!("/dns-query?dns={}", web::base64url(&query.wire));
    write!(doh, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut status = [0; 12];
    doh.read_exact(&mut status).expect("an answer over HTTPS");
    assert_eq!(status, *b"HTTP/1.1 200");
    Ok(())
}

const QUIC: [(&str, &str); 2] = [("quic", "doq"), ("https3", "h3")];

/// What asks one of them for an address.
fn quic_request(protocol: &str) -> Vec<u8> {
    let query = Query::new("www.example", "A", &Options::new());
    match protocol {
        "doq" => quic::framed(&query),
        _ => quic::post("/dns-query", &query.wire),
    }
}

/// A client that has said its first words, and goes on when it is asked to.
fn first_words(client: &Client, port: u16) -> quinn::Connecting {
    let connecting = client.connecting(port);
    client.run(async {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    });
    connecting
}

/// Whether who shakes hands over QUIC while the listener ends is answered.
fn quic_handshake_is_answered(scheme: &str, protocol: &str) -> bool {
    let served = doq::serve(scheme, " whoami");
    let client = Client::new(protocol, served.folder.path());
    served.process.freeze();
    let connecting = first_words(&client, served.port);
    served.process.signal("CONT");
    client.until_it_hears();
    quic_leaving::leave(&served);
    served.process.wait_for_log("Reloading complete");
    let answer = client.run(async {
        let connection = connecting.await.ok()?;
        quic::exchange(&connection, &quic_request(protocol)).await
    });
    answer.flatten().is_some()
}

/// The same over QUIC. The client has to be quick, which it may fail to be where much else goes on.
fn quic_handshakes_outlive_their_listener() -> Result<(), Failed> {
    for (scheme, protocol) in QUIC {
        let answered = (0..4).any(|_| quic_handshake_is_answered(scheme, protocol));
        assert!(answered, "no answer over {scheme}");
    }
    Ok(())
}

/// Who has been told to show that he receives, because there are so many others, may do so after a
/// reload.
fn a_retry_outlives_a_reload() -> Result<(), Failed> {
    let served = doq::serve("quic", " timeouts {\n  read 60s\n }\n whoami");
    served.process.freeze();
    let crowd: Vec<_> = (0..400)
        .map(|_| {
            let client = Client::new("doq", served.folder.path());
            (first_words(&client, served.port), client)
        })
        .collect();
    let told = Client::new("doq", served.folder.path());
    let connecting = first_words(&told, served.port);
    served.process.signal("CONT");
    told.until_it_hears();
    served.process.signal("USR1");
    served.process.wait_for_log("Reloading complete");
    let answer = told.run(async {
        let connection = connecting.await.ok()?;
        quic::exchange(&connection, &quic_request("doq")).await
    });
    assert!(answer.flatten().is_some(), "no answer");
    drop(crowd);
    Ok(())
}

/// What lay in the kernel on a connection of QUIC when the server was told to stop is answered.
fn a_stop_answers_what_quic_has_brought() -> Result<(), Failed> {
    for (scheme, protocol) in QUIC.repeat(4) {
        let served = doq::serve(scheme, " whoami");
        let client = Client::new(protocol, served.folder.path());
        let connection = client.connect(served.port).expect("a connection");
        let request = quic_request(protocol);
        let first = client.run(quic::exchange(&connection, &request));
        assert!(first.flatten().is_some(), "no answer over {scheme}");
        served.process.freeze();
        let sent = connection.stats().frame_tx.stream;
        let streams = client.run(async {
            let mut streams = Vec::new();
            for _ in 0..20 {
                let (mut send, recv) = connection.open_bi().await.unwrap();
                send.write_all(&request).await.unwrap();
                send.finish().unwrap();
                streams.push(recv);
            }
            while connection.stats().frame_tx.stream < sent + 20 {
                tokio::task::yield_now().await;
            }
            streams
        });
        served.process.signal("TERM");
        served.process.signal("CONT");
        client.run(async {
            for mut stream in streams.expect("queries leave") {
                let answer = stream.read_to_end(1 << 16).await;
                assert!(!answer.expect("an answer").is_empty(), "{scheme}");
            }
        });
    }
    Ok(())
}

/// What lay in the kernel for HTTP is answered as well, on connections that were not accepted, too.
fn a_stop_answers_what_http_has_brought() -> Result<(), Failed> {
    const EACH: usize = 20;
    let query = Query::new("www.example", "A", &Options::new());
    let path = format!("/dns-query?dns={}", web::base64url(&query.wire));
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answers = |stream: &mut TcpStream, count: usize| {
        let (mut text, mut found) = (Vec::new(), 0);
        while found < count {
            let mut octets = [0; 4096];
            let length = stream.read(&mut octets).expect("an answer");
            assert!(length > 0, "{found} of {count} answers");
            text.extend_from_slice(&octets[..length]);
            let whole = text.windows(12).filter(|part| part == b"HTTP/1.1 200");
            found = whole.count();
        }
    };
    for _ in 0..4 {
        let (folder, port) = (Folder::new(), free_port());
        let corefile = format!("https://.:{port} {{\n bind 127.0.0.1\n whoami\n}}\n");
        let mut server = Process::serve(&folder, &corefile);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let connect = || client::tcp(address, PATIENCE).unwrap();
        let mut streams: Vec<_> = (0..8).map(|_| connect()).collect();
        for stream in &mut streams {
            stream.write_all(request.as_bytes())?;
            answers(stream, 1);
        }
        server.freeze();
        streams.extend((0..8).map(|_| connect()));
        for stream in &mut streams {
            stream.write_all(request.repeat(EACH).as_bytes())?;
        }
        server.signal("TERM");
        server.signal("CONT");
        for stream in &mut streams {
            answers(stream, EACH);
        }
        drop(streams);
        let ended = server.wait_end(PATIENCE).and_then(|status| status.code());
        assert_eq!(ended, Some(0));
    }
    Ok(())
}

/// A connection that lasts does not keep the configuration that it began with.
fn connections_keep_no_old_configuration() -> Result<(), Failed> {
    const ROUNDS: usize = 10;
    /// Less than the data of four rounds.
    const GROWTH_MAX: u64 = 15 << 20;
    let (folder, port, tls) = (Folder::new(), free_port(), free_port());
    certificates::write(folder.path());
    let corefile = |round: usize| {
        let lines: String = (0..40_000)
            .map(|host| format!("192.0.2.1 host-{host}.round-{round}.of-a-long-name.example\n"))
            .collect();
        folder.write(&format!("hosts-{round}"), &lines);
        format!(
            ".:{port} tls://.:{tls} {{\n bind 127.0.0.1\n tls cert.pem key.pem\n hosts hosts-{round}\n}}\n"
        )
    };
    let server = Process::serve(&folder, &corefile(0));
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let (mut kept, mut kept_secret) = (Vec::new(), Vec::new());
    let mut memory = Vec::new();
    for round in 0..ROUNDS {
        kept.push(client::tcp(local(port), PATIENCE)?);
        kept_secret.push(client::tls(
            local(tls),
            PATIENCE,
            &Options::new(),
            folder.path(),
        )?);
        let name = format!("host-1.round-{round}.of-a-long-name.example");
        let query = Query::new(&name, "A", &Options::new());
        for stream in &mut kept {
            let reply = client::converse(stream, &query)?;
            assert_eq!(reply.answers(), ["192.0.2.1"]);
        }
        for stream in &mut kept_secret {
            let reply = client::converse(stream, &query)?;
            assert_eq!(reply.answers(), ["192.0.2.1"]);
        }
        memory.push(server.memory());
        folder.write("Corefile", &corefile(round + 1));
        server.signal("USR1");
        server.wait_for_logs("Reloading complete", round + 1, PATIENCE);
    }
    // Two configurations are there for a while, and what was freed may be kept for the next.
    let grown = memory[ROUNDS - 1].saturating_sub(memory[2]);
    assert!(grown < GROWTH_MAX, "{memory:?}");
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "arriving/handshakes_outlive_their_listener",
            handshakes_outlive_their_listener,
        ),
        Trial::test(
            "arriving/quic_handshakes_outlive_their_listener",
            quic_handshakes_outlive_their_listener,
        ),
        Trial::test(
            "arriving/a_retry_outlives_a_reload",
            a_retry_outlives_a_reload,
        ),
        Trial::test(
            "arriving/a_stop_answers_what_quic_has_brought",
            a_stop_answers_what_quic_has_brought,
        ),
        Trial::test(
            "arriving/a_stop_answers_what_http_has_brought",
            a_stop_answers_what_http_has_brought,
        ),
        Trial::test(
            "arriving/connections_keep_no_old_configuration",
            connections_keep_no_old_configuration,
        ),
    ]
}
