//! Clients of QUIC whose address changes, whose queries come in pieces, who tell their trace or look at the date.
use std::net::Ipv4Addr;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use tokio::time::{sleep, timeout};

use crate::client::{Options, Query};
use crate::doq::serve;
use crate::message::Message;
use crate::quic::{Client, code, exchange, frame, framed, post, response};

fn query() -> Vec<u8> {
    framed(&Query::new("www.example", "A", &Options::new()))
}

fn rcode(answer: &[u8]) -> String {
    Message::read(&answer[2..]).unwrap().rcode_name()
}

/// An address that a client did not shake hands with says nothing about it: packets that claim it may
/// be forged. The client connects anew, and is who it is then.
fn an_address_is_not_believed_before_a_handshake() -> Result<(), Failed> {
    let served = serve(
        "quic",
        " acl {\n  allow net 127.0.0.2/32\n  block\n }\n whoami",
    );
    // Some of them come to the same worker as before.
    for _ in 0..6 {
        let client = Client::new("doq", served.folder.path());
        let connection = client.connect(served.port).expect("a connection");
        let answer = client.run(exchange(&connection, &query())).flatten();
        assert_eq!(rcode(&answer.expect("an answer")), "REFUSED");
        client.rebind(Ipv4Addr::new(127, 0, 0, 2));
        let asked = async {
            let soon = Duration::from_secs(1);
            timeout(soon, exchange(&connection, &query())).await.ok()
        };
        let answer = client.run(asked).flatten().flatten();
        if let Some(answer) = answer {
            assert_eq!(rcode(&answer), "REFUSED");
        }
        let connection = client.connect(served.port).expect("a connection");
        let answer = client.run(exchange(&connection, &query())).flatten();
        assert_eq!(rcode(&answer.expect("an answer")), "NOERROR");
    }
    Ok(())
}

/// Whoever sends the length first and the message then asks as much as anybody.
fn queries_in_pieces_are_no_silence() -> Result<(), Failed> {
    let served = serve("quic", " timeouts {\n  idle 1s\n }\n whoami");
    let client = Client::new("doq", served.folder.path());
    let connection = client.connect(served.port).expect("a connection");
    let query = query();
    for number in 0..8 {
        let answer = client.run(async {
            let (mut send, mut recv) = connection.open_bi().await.ok()?;
            send.write_all(&query[..5]).await.ok()?;
            sleep(Duration::from_millis(100)).await;
            send.write_all(&query[5..]).await.ok()?;
            send.finish().ok()?;
            let answer = recv.read_to_end(1 << 17).await.ok();
            sleep(Duration::from_millis(200)).await;
            answer
        });
        let answer = answer
            .flatten()
            .ok_or_else(|| format!("no answer to {number}"))?;
        assert_eq!(rcode(&answer), "NOERROR");
    }
    assert!(connection.close_reason().is_none());
    Ok(())
}

/// RFC 9114 section 6.2.1: one control stream, and one of each kind for header compression.
fn streams_for_the_connection_are_there_once() -> Result<(), Failed> {
    let served = serve("https3", " whoami");
    let client = Client::new("h3", served.folder.path());
    for octets in [&b"\0\x04\0"[..], b"\x02", b"\x03"] {
        let connection = client.connect(served.port).expect("a connection");
        let mut streams = Vec::new();
        let end = client.run(async {
            for _ in 0..2 {
                let mut stream = connection.open_uni().await.unwrap();
                stream.write_all(octets).await.unwrap();
                streams.push(stream);
            }
            connection.closed().await
        });
        let end = end.ok_or_else(|| format!("{octets:?}: the connection goes on"))?;
        assert_eq!(code(&end), Some(0x103), "{octets:?}");
    }
    Ok(())
}

/// A request of HTTP/3 that belongs to its client's trace goes on with it.
fn requests_tell_their_trace() -> Result<(), Failed> {
    let served = serve(
        "https3",
        " metadata\n trace 127.0.0.1:9\n log . \"trace {/trace/traceid}\"\n whoami",
    );
    let message = Query::new("www.example", "A", &Options::new()).wire;
    let mut block = b"\0\0\xd4\xd7\x51\x0a/dns-query\x50\x09localhost\xec".to_vec();
    block.extend_from_slice(b"\x27\x04traceparent\x37");
    block.extend_from_slice(b"00-463ac35c9f6413ad48485a3953bb6125-a2fb4a1d1a96d312-01");
    let request = [frame(1, &block), frame(0, &message)].concat();
    let client = Client::new("h3", served.folder.path());
    let connection = client.connect(served.port).expect("a connection");
    let answer = client.run(exchange(&connection, &request)).flatten();
    assert_eq!(response(&answer.expect("an answer")).0, "200");
    served
        .process
        .wait_for_log("trace 463ac35c9f6413ad48485a3953bb6125");
    Ok(())
}

/// Responses of HTTP/3 say when they were made (RFC 9110 section 6.6.1).
fn responses_are_dated() -> Result<(), Failed> {
    let served = serve("https3", " whoami");
    let client = Client::new("h3", served.folder.path());
    let connection = client.connect(served.port).expect("a connection");
    let message = Query::new("www.example", "A", &Options::new()).wire;
    for (path, status) in [("/dns-query", "200"), ("/other", "404")] {
        let answer = client.run(exchange(&connection, &post(path, &message)));
        let answer = answer.flatten().expect("an answer");
        assert_eq!(response(&answer).0, status);
        // The name's place in the static table, and the length.
        let is_date = |field: &[u8]| field.starts_with(&[0x56, 29]) && field.ends_with(b" GMT");
        assert!(answer.windows(31).any(is_date), "{answer:?}");
    }
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("quic_clients/responses_are_dated", responses_are_dated),
        Trial::test(
            "quic_clients/an_address_is_not_believed_before_a_handshake",
            an_address_is_not_believed_before_a_handshake,
        ),
        Trial::test(
            "quic_clients/queries_in_pieces_are_no_silence",
            queries_in_pieces_are_no_silence,
        ),
        Trial::test(
            "quic_clients/streams_for_the_connection_are_there_once",
            streams_for_the_connection_are_there_once,
        ),
        Trial::test(
            "quic_clients/requests_tell_their_trace",
            requests_tell_their_trace,
        ),
    ]
}
