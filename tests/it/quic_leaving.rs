//! How connections of DoQ and of HTTP/3 end when the server wants them to.
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use quinn::{Connection, ReadError, ReadToEndError, TransportConfig};
use tokio::sync::mpsc;

use crate::client::{Options, Query};
use crate::doq::{Served, serve};
use crate::quic::{Client, code, exchange, framed, post, response};

/// H3_NO_ERROR and H3_REQUEST_REJECTED (RFC 9114 section 8.1).
const NO_ERROR: u64 = 0x100;
const REQUEST_REJECTED: u64 = 0x10b;
/// The type of the frame GOAWAY.
const GOAWAY: u64 = 7;
/// The stream that stands for none in particular.
const ANY: u64 = (1 << 62) - 4;
/// No stream: the server has ended its control stream, which is a mistake.
const ENDED: u64 = u64::MAX;

/// Every answer comes so many milliseconds later.
fn slow(milliseconds: u32) -> String {
    format!(" erratic {{\n  drop 0\n  delay 1 {milliseconds}ms\n }}")
}

fn message() -> Vec<u8> {
    Query::new("www.example", "A", &Options::new()).wire
}

/// A number of QUIC, and how many octets it has.
fn number(octets: &[u8]) -> Option<(u64, usize)> {
    let size = 1 << (octets.first()? >> 6);
    let first = u64::from(octets[0] & 0x3f);
    let rest = octets.get(1..size)?;
    let number = rest
        .iter()
        .fold(first, |sum, octet| sum << 8 | u64::from(*octet));
    Some((number, size))
}

/// The streams that the server's GOAWAY frames name, as they come, until the connection ends.
fn farewells(client: &Client, connection: &Connection) -> mpsc::UnboundedReceiver<u64> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let connection = connection.clone();
    client.runtime.spawn(async move {
        let mut control = connection.accept_uni().await.unwrap();
        let mut octets = Vec::new();
        while let Ok(chunk) = control.read_chunk(1 << 16, true).await {
            let Some(chunk) = chunk else {
                let _ = sender.send(ENDED);
                return;
            };
            octets.extend_from_slice(&chunk.bytes);
            // The stream's type stands in front.
            let mut at = 1;
            let mut said = Vec::new();
            while let Some((kind, one)) = octets.get(at..).and_then(number)
                && let Some((length, other)) = octets.get(at + one..).and_then(number)
                && let begin = at + one + other
                && let Some(payload) = octets.get(begin..begin + length as usize)
            {
                if kind == GOAWAY {
                    said.push(number(payload).unwrap().0);
                }
                at = begin + length as usize;
            }
            octets.drain(1..at.max(1));
            for stream in said {
                let _ = sender.send(stream);
            }
        }
    });
    receiver
}

/// A second Corefile without the listener.
pub(crate) fn leave(served: &Served) {
    let port = crate::server::free_port();
    let corefile = format!(".:{port} {{\n bind 127.0.0.1\n whoami\n}}\n");
    served.folder.write("Corefile", &corefile);
    served.process.signal("USR1");
}

/// What is under way when the address is given up is answered, and the client learns what is not.
fn a_listener_that_leaves_says_so() -> Result<(), Failed> {
    let served = serve("https3", &slow(4_000));
    let client = Client::new("h3", served.folder.path());
    let connection = client.connect(served.port).expect("a connection");
    let mut said = farewells(&client, &connection);
    let (_slow, mut slow) = client
        .run(async {
            let (mut send, recv) = connection.open_bi().await.unwrap();
            send.write_all(&post("/dns-query", &message()))
                .await
                .unwrap();
            send.finish().unwrap();
            // Whoever answers what comes behind it has taken it.
            let other = exchange(&connection, &post("/other", &message())).await;
            assert_eq!(response(&other.expect("a response")).0, "404");
            (send, recv)
        })
        .expect("in time");
    leave(&served);
    let end = client.run(async {
        assert_eq!(said.recv().await, Some(ANY), "the end is near");
        // Streams 0 and 4 were there.
        assert_eq!(said.recv().await, Some(8), "the end");
        // RFC 9114 section 5.2: what comes all the same may be asked elsewhere.
        let (mut late, mut refused) = connection.open_bi().await.unwrap();
        // The refusal may be faster.
        let _ = late.write_all(&post("/dns-query", &message())).await;
        let refused = refused.read_to_end(1 << 16).await.unwrap_err();
        let ReadToEndError::Read(ReadError::Reset(reason)) = refused else {
            panic!("{refused}");
        };
        assert_eq!(reason.into_inner(), REQUEST_REJECTED);
        let answer = slow.read_to_end(1 << 16).await.expect("an answer");
        assert_eq!(response(&answer).0, "200");
        let end = connection.closed().await;
        assert_eq!(said.recv().await, None, "no more");
        end
    });
    assert_eq!(code(&end.expect("an end in time")), Some(NO_ERROR));
    Ok(())
}

/// A client that asks nothing hears of the end before it comes.
fn a_silent_client_is_told() -> Result<(), Failed> {
    let served = serve("https3", " timeouts {\n  idle 1s\n }\n whoami");
    // Without a sign of life QUIC would end the connection after the same time.
    let mut transport = TransportConfig::default();
    transport.keep_alive_interval(Some(Duration::from_millis(100)));
    let client = Client::with("h3", served.folder.path(), transport);
    let connection = client.connect(served.port).expect("a connection");
    let mut said = farewells(&client, &connection);
    let end = client.run(async {
        let answer = exchange(&connection, &post("/dns-query", &message())).await;
        assert_eq!(response(&answer.expect("an answer")).0, "200");
        assert_eq!(said.recv().await, Some(ANY));
        assert_eq!(said.recv().await, Some(4));
        let end = connection.closed().await;
        assert_eq!(said.recv().await, None, "no more");
        end
    });
    assert_eq!(code(&end.expect("an end in time")), Some(NO_ERROR));
    Ok(())
}

/// A connection that has had all its queries ends when they are answered.
fn queries_are_counted() -> Result<(), Failed> {
    let directives = format!(" timeouts {{\n  maxtcpqueries 2\n }}\n{}", slow(500));
    for (scheme, protocol, request, bye) in [
        ("https3", "h3", post("/dns-query", &message()), NO_ERROR),
        (
            "quic",
            "doq",
            framed(&Query::new("www.example", "A", &Options::new())),
            0,
        ),
    ] {
        let served = serve(scheme, &directives);
        let client = Client::new(protocol, served.folder.path());
        let connection = client.connect(served.port).expect("a connection");
        let mut said = (protocol == "h3").then(|| farewells(&client, &connection));
        let end = client.run(async {
            let both = [(); 2].map(|()| {
                let (connection, request) = (connection.clone(), request.clone());
                tokio::spawn(async move { exchange(&connection, &request).await })
            });
            for asked in both {
                let answer = asked.await.unwrap().expect("an answer");
                assert!(answer.len() > 14, "{scheme}");
            }
            if let Some(said) = &mut said {
                assert_eq!(said.recv().await, Some(8));
            }
            connection.closed().await
        });
        assert_eq!(code(&end.expect("an end in time")), Some(bye), "{scheme}");
    }
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "quic_leaving/a_listener_that_leaves_says_so",
            a_listener_that_leaves_says_so,
        ),
        Trial::test(
            "quic_leaving/a_silent_client_is_told",
            a_silent_client_is_told,
        ),
        Trial::test("quic_leaving/queries_are_counted", queries_are_counted),
    ]
}
