//! Requests of HTTP/1.1 behind one another, HEAD, and clients that share a small listener.
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::client::{self, Options, Query};
use crate::web;
use crate::web_attacks::Served;

/// A request for this path, on a connection that goes on.
fn request(method: &str, path: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

fn get() -> Vec<u8> {
    let query = Query::new("www.example", "A", &Options::new());
    let path = format!("/dns-query?dns={}", web::base64url(&query.wire));
    request("GET", &path)
}

/// The lines of a response's head.
fn head(stream: &mut TcpStream) -> io::Result<Vec<String>> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet)?;
        text.extend_from_slice(&octet);
    }
    let text = String::from_utf8_lossy(&text);
    Ok(text.trim_end().lines().map(str::to_owned).collect())
}

/// RFC 9110 section 9.3.2: a response to HEAD has no body, and what comes next is the next response.
fn head_gets_no_body() -> Result<(), Failed> {
    let served = Served::new(" whoami");
    let mut stream = client::tcp(served.address(), Duration::from_secs(20))?;
    for (path, status) in [("/dns-query", "405"), ("/", "404")] {
        stream.write_all(&[request("HEAD", path), get()].concat())?;
        for status in [status, "200"] {
            let lines = head(&mut stream)?;
            assert_eq!(lines[0].split(' ').nth(1), Some(status), "{lines:?}");
            let length = lines.iter().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                (name == "content-length").then(|| value.parse::<usize>().unwrap())
            });
            if status == "200" {
                let mut body = vec![0; length.unwrap()];
                stream.read_exact(&mut body)?;
            }
        }
    }
    Ok(())
}

/// A client that sends and sends while its first request waits for an answer.
fn what_comes_behind_a_request_that_waits_is_not_kept() -> Result<(), Failed> {
    let served = Served::new(" erratic {\n  drop 0\n  delay 2 4s\n }");
    // Every second query waits, so one of the two does.
    for _ in 0..2 {
        let mut stream = client::tcp(served.address(), Duration::from_secs(20))?;
        stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(&get())?;
        let much = get().repeat(1000);
        let mut sent = 0;
        while sent < 256 << 20 && stream.write_all(&much).is_ok() {
            sent += much.len();
        }
        served.has_not_grown();
        assert!(sent < 256 << 20, "the kernel keeps some of it, and no more");
    }
    Ok(())
}

/// A request that crosses the server's end of an idle connection does not have it reset, because then
/// what was sent before may be lost on its way.
fn the_end_of_an_idle_connection_is_gentle() -> Result<(), Failed> {
    let served = Served::new(" timeouts {\n  idle 1s\n }\n whoami");
    let mut stream = client::tcp(served.address(), Duration::from_secs(20))?;
    stream.write_all(&get())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    for _ in 0..20 {
        stream.write_all(&get()).expect("nothing is reset");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// A client that has every connection of a listener loses one to somebody else.
fn nobody_keeps_others_out() -> Result<(), Failed> {
    let served = Served::new(
        " https {\n  max_connections 5\n }\n timeouts {\n  read 60s\n  idle 60s\n }\n whoami",
    );
    let greedy = |_| {
        let limit = Duration::from_secs(20);
        let mut stream = client::tcp_from("127.0.0.2", served.address(), limit).unwrap();
        stream.write_all(&get()).unwrap();
        let mut octet = [0];
        (stream.read(&mut octet).unwrap_or(0) > 0).then_some(stream)
    };
    let connections: Vec<_> = (0..20).filter_map(greedy).collect();
    assert!((1..=5).contains(&connections.len()));
    served.serves_others();
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("web_requests/head_gets_no_body", head_gets_no_body),
        Trial::test(
            "web_requests/the_end_of_an_idle_connection_is_gentle",
            the_end_of_an_idle_connection_is_gentle,
        ),
        Trial::test(
            "web_requests/what_comes_behind_a_request_that_waits_is_not_kept",
            what_comes_behind_a_request_that_waits_is_not_kept,
        ),
        Trial::test(
            "web_requests/nobody_keeps_others_out",
            nobody_keeps_others_out,
        ),
    ]
}
