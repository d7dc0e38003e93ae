//! Reloads and stops while queries go on.
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::client::{self, Options, Query};
use crate::server::{Folder, Process, free_port};

fn hosts(port: u16, address: &str, more: &str) -> String {
    format!(
        ".:{port} {{\n bind 127.0.0.1\n hosts /dev/null {{\n  {address} www.example\n }}\n}}\n{more}"
    )
}

/// Fifty reloads, some of which fail: every query is answered, from the old or the new
/// configuration.
fn reloads_lose_nothing() -> Result<(), Failed> {
    let (folder, port, other) = (Folder::new(), free_port(), free_port());
    let server = Process::serve(&folder, &hosts(port, "192.0.2.0", ""));
    let (stop, asked) = (AtomicBool::new(false), AtomicUsize::new(0));
    let check = |answers: Vec<&str>| {
        assert!(
            answers.len() == 1 && answers[0].starts_with("192.0.2."),
            "{answers:?}"
        )
    };
    std::thread::scope(|scope| {
        let datagrams: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(Relaxed) {
                        check(
                            client::ask(port, "www.example", "A")
                                .expect("no query is lost")
                                .answers(),
                        );
                        asked.fetch_add(1, Relaxed);
                    }
                })
            })
            .collect();
        let kept = scope.spawn(|| {
            let mut stream = client::tcp(
                SocketAddr::from(([127, 0, 0, 1], port)),
                Duration::from_secs(5),
            )
            .unwrap();
            while !stop.load(Relaxed) {
                let reply = client::converse(
                    &mut stream,
                    &Query::new("www.example", "A", &Options::new()),
                );
                check(reply.expect("the connection is kept").answers());
            }
        });
        for round in 1..=50 {
            // Another listener comes and goes; each fifth file is broken.
            let more = match round % 5 {
                0 => "broken {".to_owned(),
                1 => format!("other.example:{other} {{\n bind 127.0.0.1\n whoami\n}}\n"),
                _ => String::new(),
            };
            folder.write("Corefile", &hosts(port, &format!("192.0.2.{round}"), &more));
            server.signal("USR1");
            let (pattern, count) = if round % 5 == 0 {
                ("Restart failed", round / 5)
            } else {
                ("Reloading complete", round - round / 5)
            };
            server.wait_for_logs(pattern, count, Duration::from_secs(20));
        }
        stop.store(true, Relaxed);
        for thread in datagrams.into_iter().chain([kept]) {
            thread.join().expect("no thread fails");
        }
    });
    assert_eq!(
        client::ask(port, "www.example", "A").unwrap().answers(),
        ["192.0.2.49"]
    );
    assert!(asked.load(Relaxed) > 100);
    Ok(())
}

/// A port that is no longer served closes; one that somebody else has keeps the old configuration
/// running.
fn a_reload_that_cannot_bind_changes_nothing() -> Result<(), Failed> {
    let (folder, port) = (Folder::new(), free_port());
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let server = Process::serve(&folder, &hosts(port, "192.0.2.1", ""));
    let more = format!(
        "taken.example:{} {{\n bind 127.0.0.1\n whoami\n}}\n",
        taken.local_addr()?.port()
    );
    folder.write("Corefile", &hosts(port, "192.0.2.2", &more));
    server.signal("USR1");
    server.wait_for_log(
        r"Restart failed: Listen: listen tcp 127\.0\.0\.1:\d+: bind: address already in use",
    );
    assert_eq!(
        client::ask(port, "www.example", "A").unwrap().answers(),
        ["192.0.2.1"]
    );
    let moved = free_port();
    folder.write("Corefile", &hosts(moved, "192.0.2.3", ""));
    server.signal("USR1");
    server.wait_for_log("Reloading complete");
    assert_eq!(
        client::ask(moved, "www.example", "A").unwrap().answers(),
        ["192.0.2.3"]
    );
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_ok() {
        assert!(Instant::now() < until, "the old port closes");
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A query that waits for its upstream is answered although the server has been told to stop.
fn a_stop_answers_what_was_asked() -> Result<(), Failed> {
    let (folder, port) = (Folder::new(), free_port());
    let upstream = crate::upstream::Upstream::start("slow.example. 60 A 192.0.2.7\n", None);
    upstream.step(&["delay", "700"]);
    let corefile = format!(
        ".:{port} {{\n bind 127.0.0.1\n forward . 127.0.0.1:{}\n}}\n",
        upstream.port
    );
    let mut server = Process::serve(&folder, &corefile);
    let asker = std::thread::spawn(move || {
        client::ask(port, "slow.example", "A").map(|reply| reply.answers().join(" "))
    });
    while upstream.step(&["count"]) == ["0 queries"] {
        std::thread::sleep(Duration::from_millis(5));
    }
    server.signal("TERM");
    assert_eq!(asker.join().unwrap().unwrap(), "192.0.2.7");
    assert_eq!(
        server
            .wait_end(Duration::from_secs(10))
            .and_then(|status| status.code()),
        Some(0)
    );
    Ok(())
}

/// Whatever lay in the kernel when the server was told to stop is answered: queries on connections
/// that it knows, over TCP and TLS, and on such as it has not accepted yet.
fn a_stop_answers_what_has_arrived() -> Result<(), Failed> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let opts = Options::new();
    for _ in 0..5 {
        let (folder, port, tls) = (Folder::new(), free_port(), free_port());
        crate::certificates::write(folder.path());
        let more = format!(
            "tls://.:{tls} {{\n bind 127.0.0.1\n tls cert.pem key.pem\n hosts /dev/null {{\n  192.0.2.1 www.example\n }}\n}}\n"
        );
        let mut server = Process::serve(&folder, &hosts(port, "192.0.2.1", &more));
        let connect = || client::tcp(SocketAddr::from(([127, 0, 0, 1], port)), PATIENCE).unwrap();
        let query = Query::new("www.example", "A", &opts);
        let framed = [&(query.wire.len() as u16).to_be_bytes()[..], &query.wire].concat();
        let mut known: Vec<_> = (0..8).map(|_| connect()).collect();
        for stream in &mut known {
            client::converse(stream, &query)?;
        }
        let address = SocketAddr::from(([127, 0, 0, 1], tls));
        let mut secret = client::tls(address, PATIENCE, &opts, folder.path())?;
        client::converse(&mut secret, &query)?;
        server.freeze();
        known.extend((0..8).map(|_| connect()));
        for stream in &mut known {
            stream.write_all(&framed.repeat(20))?;
        }
        secret.write_all(&framed)?;
        secret.flush()?;
        server.signal("TERM");
        server.signal("CONT");
        for stream in &mut known {
            for _ in 0..20 {
                client::read_message(stream)?;
            }
        }
        client::read_message(&mut secret)?;
        let ended = server.wait_end(PATIENCE).and_then(|status| status.code());
        assert_eq!(ended, Some(0));
    }
    Ok(())
}

/// Pipelined queries are answered as they are ready: one that waits does not hold up the others.
fn pipelined_queries_overtake() -> Result<(), Failed> {
    let (folder, port) = (Folder::new(), free_port());
    let upstream = crate::upstream::Upstream::start("slow.test. 60 A 192.0.2.7\n", None);
    upstream.step(&["delay", "500"]);
    let corefile = format!(
        ".:{port} {{\n bind 127.0.0.1\n hosts /dev/null example {{\n  192.0.2.1 fast.example\n }}\n forward . 127.0.0.1:{}\n}}\n",
        upstream.port
    );
    let _server = Process::serve(&folder, &corefile);
    let mut stream = client::tcp(
        SocketAddr::from(([127, 0, 0, 1], port)),
        Duration::from_secs(5),
    )?;
    let queries = [
        Query::new("slow.test", "A", &Options::new()),
        Query::new("fast.example", "A", &Options::new()),
    ];
    for query in &queries {
        stream.write_all(&[&(query.wire.len() as u16).to_be_bytes()[..], &query.wire].concat())?;
    }
    let mut order = Vec::new();
    for _ in &queries {
        let reply = crate::message::Message::read(&client::read_message(&mut stream)?).unwrap();
        order.push(reply.answers().join(" "));
        assert!(
            queries
                .iter()
                .any(|query| query.wire[..2] == reply.id.to_be_bytes())
        );
    }
    assert_eq!(order, ["192.0.2.1", "192.0.2.7"]);
    Ok(())
}

/// A client that drips octets is closed as one that says nothing; others are served meanwhile.
fn slow_senders_are_closed() -> Result<(), Failed> {
    let (folder, port) = (Folder::new(), free_port());
    let _server = Process::serve(&folder, &hosts(port, "192.0.2.1", ""));
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut drip = client::tcp(address, Duration::from_secs(20))?;
    let started = Instant::now();
    let wire = Query::new("www.example", "A", &Options::new()).wire;
    for octet in [
        &(wire.len() as u16).to_be_bytes()[..],
        &wire[..wire.len() - 1],
    ]
    .concat()
    {
        if drip.write_all(&[octet]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(150));
    }
    assert!(
        client::read_message(&mut drip).is_err(),
        "no answer to half a query"
    );
    assert!(started.elapsed() < Duration::from_secs(15));
    assert_eq!(
        client::ask(port, "www.example", "A").unwrap().answers(),
        ["192.0.2.1"]
    );
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("life::reloads_lose_nothing", reloads_lose_nothing),
        Trial::test(
            "life::a_reload_that_cannot_bind_changes_nothing",
            a_reload_that_cannot_bind_changes_nothing,
        ),
        Trial::test(
            "life::a_stop_answers_what_was_asked",
            a_stop_answers_what_was_asked,
        ),
        Trial::test(
            "life::a_stop_answers_what_has_arrived",
            a_stop_answers_what_has_arrived,
        ),
        Trial::test(
            "life::pipelined_queries_overtake",
            pipelined_queries_overtake,
        ),
        Trial::test("life::slow_senders_are_closed", slow_senders_are_closed),
    ]
}
