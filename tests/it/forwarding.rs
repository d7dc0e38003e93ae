//! Upstreams that fail in every way: bounded work, no forged answer, recovery without help.
use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::client::{self, Options, Query, read_message};
use crate::message::Message;
use crate::server::{Folder, PATIENCE, Process, free_port};

/// Longer than any client waits.
const TOO_LONG: Duration = Duration::from_secs(5);

/// The response to a query: one address, TTL 60.
fn response(query: &[u8], last: u8) -> Vec<u8> {
    let question = 12 + query[12..].iter().position(|octet| *octet == 0).unwrap() + 5;
    let mut message = query[..question].to_vec();
    (message[2], message[3]) = (0x81, 0x80);
    message[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, last]);
    message
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

/// An upstream that does what it is told; its threads end with the process.
#[derive(Clone, Default)]
struct Scripted {
    datagrams: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
}

impl Scripted {
    /// Sends what `script` makes of the number and octets of each query.
    fn udp(&self, port: u16, script: impl Fn(usize, &[u8]) -> Vec<Vec<u8>> + Send + 'static) {
        let socket = UdpSocket::bind(("127.0.0.1", port)).unwrap();
        let count = Arc::clone(&self.datagrams);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                for message in script(count.fetch_add(1, Relaxed), &buffer[..length]) {
                    let _ = socket.send_to(&message, client);
                }
            }
        });
    }

    /// Lets `script` have each connection, with its number.
    fn tcp(&self, port: u16, script: impl Fn(usize, TcpStream) + Clone + Send + 'static) {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let count = Arc::clone(&self.connections);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (number, script) = (count.fetch_add(1, Relaxed), script.clone());
                std::thread::spawn(move || script(number, stream));
            }
        });
    }
}

fn forwarder(folder: &Folder, to: &str, options: &str) -> (Process, u16) {
    let port = free_port();
    let corefile = format!(
        ".:{port} {{\n bind 127.0.0.1\n errors\n forward . {to} {{\n  {options}\n }}\n}}\n"
    );
    (Process::serve(folder, &corefile), port)
}

/// Asks over UDP; the answer must be there before a client gives up.
fn ask(port: u16, name: &str) -> Message {
    let began = Instant::now();
    let reply = client::ask(port, name, "A").expect("a reply, whatever it is");
    assert!(began.elapsed() < TOO_LONG);
    reply
}

fn ask_tcp(port: u16, name: &str) -> Message {
    let mut stream = client::tcp(SocketAddr::from(([127, 0, 0, 1], port)), TOO_LONG).unwrap();
    client::converse(&mut stream, &Query::new(name, "A", &Options::new())).unwrap()
}

/// Asks until the answer is right.
fn until_answered(port: u16, expected: &str) {
    let until = Instant::now() + PATIENCE;
    while ask(port, "www.example").answers() != [expected] {
        assert!(Instant::now() < until, "it never recovers");
    }
}

/// Nobody listens; then somebody does.
fn a_dead_upstream_is_an_error_at_once_and_comes_back() -> Result<(), Failed> {
    let (folder, up) = (Folder::new(), free_port());
    let (server, port) = forwarder(&folder, &format!("127.0.0.1:{up}"), "");
    let opts: Options = [("edns".to_owned(), String::new())].into();
    let query = Query::new("www.example", "A", &opts);
    let began = Instant::now();
    let reply = client::send(&query, &opts, port, folder.path()).unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "nobody waits for what is refused"
    );
    assert_eq!(reply.rcode_name(), "SERVFAIL");
    let option = reply.edns.as_ref().and_then(|edns| edns.2.first());
    let (code, data) = option.expect("an Extended DNS Error");
    let text = String::from_utf8_lossy(&data[2..]);
    assert_eq!((*code, data[1]), (15, 23));
    assert_eq!(
        text,
        format!("read udp 127.0.0.1:{up}: read: connection refused")
    );
    server.wait_for_log(&format!(
        r"www\.example\. A: (read|write) udp 127\.0\.0\.1:\d+->127\.0\.0\.1:{up}: (read|write): connection refused"
    ));
    Scripted::default().udp(up, |_, query| vec![response(query, 1)]);
    until_answered(port, "192.0.2.1");
    Ok(())
}

/// Even where attempts are not limited, a dead upstream is not asked in a tight loop.
fn a_silent_upstream_costs_few_queries() -> Result<(), Failed> {
    let (folder, up, script) = (Folder::new(), free_port(), Scripted::default());
    script.udp(up, |_, _| Vec::new());
    let options = "read_timeout 10ms\n max_connect_attempts 0\n max_fails 0";
    let (_server, port) = forwarder(&folder, &format!("127.0.0.1:{up}"), options);
    assert_eq!(ask(port, "www.example").rcode_name(), "SERVFAIL");
    assert!(script.datagrams.load(Relaxed) < 60);
    Ok(())
}

fn a_slow_upstream_gives_way_to_the_next() -> Result<(), Failed> {
    let (folder, slow, good) = (Folder::new(), free_port(), free_port());
    Scripted::default().udp(slow, |_, query| {
        std::thread::sleep(Duration::from_millis(400));
        vec![response(query, 9)]
    });
    Scripted::default().udp(good, |_, query| vec![response(query, 1)]);
    let to = format!("127.0.0.1:{slow} 127.0.0.1:{good}");
    let (_server, port) = forwarder(&folder, &to, "policy sequential\n  read_timeout 100ms");
    for _ in 0..5 {
        assert_eq!(ask(port, "www.example").answers(), ["192.0.2.1"]);
    }
    Ok(())
}

/// One that answers every third query and one that answers all: no query fails.
fn a_flapping_upstream_costs_no_answers() -> Result<(), Failed> {
    let (folder, flapping, good) = (Folder::new(), free_port(), free_port());
    Scripted::default().udp(flapping, |count, query| match count % 3 {
        0 => vec![response(query, 1)],
        1 => Vec::new(),
        _ => vec![vec![0xff; 40]],
    });
    Scripted::default().udp(good, |_, query| vec![response(query, 1)]);
    let to = format!("127.0.0.1:{flapping} 127.0.0.1:{good}");
    let (_server, port) = forwarder(&folder, &to, "read_timeout 50ms\n  health_check 20ms");
    for number in 0..40 {
        let reply = ask(port, &format!("n{number}.example"));
        assert_eq!(reply.answers(), ["192.0.2.1"]);
    }
    Ok(())
}

/// Messages that are not the response, many of them, in front of the response.
fn forged_answers_are_never_taken() -> Result<(), Failed> {
    let (folder, up) = (Folder::new(), free_port());
    Scripted::default().udp(up, |_, query| {
        let forged = response(query, 66);
        let mut all = Vec::new();
        // A wrong id, name, type and class; a query; octets of a message, garbage, nothing.
        let end = forged.len() - 16;
        for place in [0, 1, 13, end - 3, end - 1] {
            let mut wrong = forged.clone();
            wrong[place] ^= 0x15;
            all.push(wrong);
        }
        all.extend([
            query.to_vec(),
            forged[..20].to_vec(),
            vec![0xff; 60],
            Vec::new(),
        ]);
        let mut flood: Vec<_> = (0..15).flat_map(|_| all.clone()).collect();
        flood.push(response(query, 1));
        flood
    });
    let (_server, port) = forwarder(
        &folder,
        &format!("127.0.0.1:{up}"),
        "max_connect_attempts 1",
    );
    for number in 0..20 {
        let reply = ask(port, &format!("n{number}.example"));
        assert_eq!(reply.answers(), ["192.0.2.1"]);
    }
    Ok(())
}

/// So many forged messages that the genuine one does not come through: it is fetched over TCP.
fn a_flood_of_forged_answers_is_left_for_tcp() -> Result<(), Failed> {
    let (folder, up, script) = (Folder::new(), free_port(), Scripted::default());
    script.udp(up, |_, query| {
        let mut wrong = response(query, 66);
        wrong[1] ^= 1;
        vec![wrong; 20_000]
    });
    script.tcp(up, |_, mut stream| {
        while let Ok(query) = read_message(&mut stream) {
            let _ = stream.write_all(&framed(&response(&query, 1)));
        }
    });
    let (_server, port) = forwarder(&folder, &format!("127.0.0.1:{up}"), "read_timeout 4s");
    assert_eq!(ask(port, "www.example").answers(), ["192.0.2.1"]);
    assert_eq!(script.datagrams.load(Relaxed), 1);
    Ok(())
}

/// Half a reply, then the connection is reset; the next one works.
fn a_connection_that_breaks_in_the_middle_is_replaced() -> Result<(), Failed> {
    let (folder, up, script) = (Folder::new(), free_port(), Scripted::default());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    script.tcp(up, move |_, mut stream| {
        let mut number = None;
        while let Ok(query) = read_message(&mut stream) {
            let whole = framed(&response(&query, 1));
            // Whether the server is well is asked at the root, over connections that do not count.
            let is_probe = query[12] == 0;
            if !is_probe {
                let number = *number.get_or_insert_with(|| count.fetch_add(1, Relaxed));
                if number % 2 == 0 {
                    let _ = stream.write_all(&whole[..whole.len() / 2]);
                    return;
                }
            }
            let _ = stream.write_all(&whole);
        }
    });
    let (_server, port) = forwarder(&folder, &format!("127.0.0.1:{up}"), "force_tcp");
    for _ in 0..10 {
        assert_eq!(ask(port, "www.example").answers(), ["192.0.2.1"]);
    }
    // Workers have connections of their own; each was broken once.
    let workers = std::thread::available_parallelism()?.get();
    let asked = asked.load(Relaxed);
    assert!(asked <= 2 * workers, "{asked} connections");
    Ok(())
}

/// A server that hangs up after each reply: nobody notices.
fn a_server_of_one_query_a_connection_is_served() -> Result<(), Failed> {
    let (folder, up, script) = (Folder::new(), free_port(), Scripted::default());
    script.tcp(up, |_, mut stream| {
        if let Ok(query) = read_message(&mut stream) {
            let _ = stream.write_all(&framed(&response(&query, 1)));
        }
    });
    let (_server, port) = forwarder(&folder, &format!("127.0.0.1:{up}"), "force_tcp");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for number in 0..10 {
                    let reply = ask(port, &format!("n{number}.t{thread}.example"));
                    assert_eq!(reply.answers(), ["192.0.2.1"]);
                }
            });
        }
    });
    Ok(())
}

/// Queries of many clients share a connection, and answers come in any order.
fn queries_share_a_connection() -> Result<(), Failed> {
    const QUERIES: usize = 20;
    let (folder, up, script) = (Folder::new(), free_port(), Scripted::default());
    script.tcp(up, |_, mut stream| {
        loop {
            // Answered backwards, once all of a client's are there.
            let mut queries = Vec::new();
            while queries.len() < QUERIES {
                match read_message(&mut stream) {
                    Ok(query) => queries.push(query),
                    Err(_) => return,
                }
            }
            for query in queries.iter().rev() {
                let _ = stream.write_all(&framed(&response(query, query[13])));
            }
        }
    });
    let (_server, port) = forwarder(&folder, &format!("127.0.0.1:{up}"), "");
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = client::tcp(address, TOO_LONG).unwrap();
    let name = |number: usize| format!("{}.example", char::from(b'a' + number as u8));
    for number in 0..QUERIES {
        let query = Query::new(&name(number), "A", &Options::new());
        stream.write_all(&framed(&query.wire)).unwrap();
    }
    for _ in 0..QUERIES {
        let reply = Message::read(&read_message(&mut stream).unwrap()).unwrap();
        let (asked, _, _) = reply.question.clone().unwrap();
        let expected = format!("192.0.2.{}", asked.as_bytes()[0]);
        assert_eq!(reply.answers(), [expected], "everybody gets their own");
    }
    assert_eq!(script.connections.load(Relaxed), 1);
    Ok(())
}

/// A reload that leaves the block as it is keeps connections and what is known.
fn a_reload_keeps_connections() -> Result<(), Failed> {
    let (folder, up, script) = (Folder::new(), free_port(), Scripted::default());
    script.tcp(up, |number, mut stream| {
        while let Ok(query) = read_message(&mut stream) {
            let _ = stream.write_all(&framed(&response(&query, number as u8)));
        }
    });
    let (server, port) = forwarder(&folder, &format!("127.0.0.1:{up}"), "force_tcp");
    let mut stream = client::tcp(SocketAddr::from(([127, 0, 0, 1], port)), TOO_LONG).unwrap();
    let mut answers = Vec::new();
    for round in 1..=3 {
        // One connection stays with one worker.
        let query = Query::new("www.example", "A", &Options::new());
        let reply = client::converse(&mut stream, &query).unwrap();
        answers.push(reply.answers().join(" "));
        server.signal("USR1");
        server.wait_for_logs("Reloading complete", round, PATIENCE);
    }
    assert_eq!(answers, ["192.0.2.0"; 3]);
    Ok(())
}

/// A file like resolv.conf is followed; a name is resolved by the option `resolver`, and again.
fn names_and_files_are_followed() -> Result<(), Failed> {
    let (folder, resolver, up) = (Folder::new(), free_port(), free_port());
    // The name has an address nobody listens on at first.
    Scripted::default().udp(resolver, |count, query| {
        let mut reply = response(query, 0);
        let end = reply.len();
        // TTL 1: it is asked for again as soon as may be.
        reply[end - 7] = 1;
        reply[end - 4..].copy_from_slice(&[127, 0, 0, if count < 2 { 9 } else { 1 }]);
        // AAAA: nothing.
        if query[query.len() - 3] == 28 {
            reply.truncate(end - 16);
            reply[7] = 0;
        }
        vec![reply]
    });
    Scripted::default().udp(up, |_, query| vec![response(query, 1)]);
    let options = format!("resolver 127.0.0.1:{resolver}\n  read_timeout 200ms");
    let (_server, port) = forwarder(&folder, &format!("up.example:{up}"), &options);
    until_answered(port, "192.0.2.1");

    folder.write("servers", "nameserver 127.77.0.1\n");
    let (_server, port) = forwarder(&folder, "servers", "read_timeout 200ms");
    assert_eq!(ask(port, "www.example").rcode_name(), "SERVFAIL");
    folder.write("servers", "nameserver 127.77.0.2\n");
    let Ok(socket) = UdpSocket::bind("127.77.0.2:53") else {
        // Port 53 is for root alone.
        return Ok(());
    };
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&response(&buffer[..length], 2), client);
        }
    });
    until_answered(port, "192.0.2.2");
    Ok(())
}

/// A resolver that says nothing holds up neither the start nor what needs no upstream.
fn a_dead_resolver_does_not_hold_up_the_start() -> Result<(), Failed> {
    let (folder, resolver, port) = (Folder::new(), free_port(), free_port());
    Scripted::default().udp(resolver, |_, _| Vec::new());
    let corefile = format!(
        ".:{port} {{\n bind 127.0.0.1\n hosts /dev/null {{\n  192.0.2.7 own.example\n  fallthrough\n }}\n \
         forward . up.example {{\n  resolver 127.0.0.1:{resolver}\n }}\n}}\n"
    );
    let began = Instant::now();
    let _server = Process::serve(&folder, &corefile);
    assert!(began.elapsed() < TOO_LONG);
    assert_eq!(ask(port, "own.example").answers(), ["192.0.2.7"]);
    assert_eq!(ask(port, "www.example").rcode_name(), "SERVFAIL");
    Ok(())
}

/// A truncated reply is the client's to fetch over TCP, as CoreDNS has it.
fn truncation_is_told_to_the_client() -> Result<(), Failed> {
    let (folder, up, script) = (Folder::new(), free_port(), Scripted::default());
    script.udp(up, |count, query| {
        let mut cut = response(query, 1);
        match count {
            0 => cut[2] |= 2,
            // The right id and question, and the rest is missing.
            _ => cut.truncate(cut.len() - 7),
        }
        vec![cut]
    });
    script.tcp(up, |_, mut stream| {
        while let Ok(query) = read_message(&mut stream) {
            let _ = stream.write_all(&framed(&response(&query, 1)));
        }
    });
    let (_server, port) = forwarder(&folder, &format!("127.0.0.1:{up}"), "");
    for _ in 0..2 {
        assert!(ask(port, "www.example").flag_names().contains("tc"));
    }
    assert_eq!(ask_tcp(port, "www.example").answers(), ["192.0.2.1"]);
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    macro_rules! trials {
        ($($name:ident),* $(,)?) => {
            vec![$(Trial::test(concat!("forwarding::", stringify!($name)), $name)),*]
        };
    }
    trials![
        a_dead_upstream_is_an_error_at_once_and_comes_back,
        a_silent_upstream_costs_few_queries,
        a_slow_upstream_gives_way_to_the_next,
        a_flapping_upstream_costs_no_answers,
        forged_answers_are_never_taken,
        a_flood_of_forged_answers_is_left_for_tcp,
        a_connection_that_breaks_in_the_middle_is_replaced,
        a_server_of_one_query_a_connection_is_served,
        queries_share_a_connection,
        a_reload_keeps_connections,
        names_and_files_are_followed,
        a_dead_resolver_does_not_hold_up_the_start,
        truncation_is_told_to_the_client,
    ]
}
