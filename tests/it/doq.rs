//! What RFC 9250 demands of a server, and DNS over HTTP/3 beyond what cases can ask.
use std::io::Write;
use std::process::Command;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};
use quinn::VarInt;

use crate::certificates;
use crate::client::{self, Options, Query};
use crate::message::Message;
use crate::quic::{Client, code, exchange, frame, framed, post, response};
use crate::server::{Folder, Process, free_port};

/// A server with one block.
pub(crate) struct Served {
    pub(crate) folder: Folder,
    pub(crate) port: u16,
    pub(crate) process: Process,
}

/// Serves every zone with these directives.
pub(crate) fn serve(scheme: &str, directives: &str) -> Served {
    let (folder, port) = (Folder::new(), free_port());
    certificates::write(folder.path());
    let corefile = format!(
        "{scheme}://.:{port} {{\n bind 127.0.0.1\n tls cert.pem key.pem\n{directives}\n}}\n"
    );
    let process = Process::serve(&folder, &corefile);
    Served {
        folder,
        port,
        process,
    }
}

fn query() -> Vec<u8> {
    framed(&Query::new("www.example", "A", &Options::new()))
}

/// With which code the server ended the connection.
fn ended(client: &Client, connection: &quinn::Connection) -> Option<u64> {
    let end = client.run(connection.closed())?;
    Some(code(&end).unwrap_or_else(|| panic!("{end}")))
}

/// RFC 9250 section 4.3.3: mistakes are fatal, with DOQ_PROTOCOL_ERROR.
fn mistakes_end_the_connection() -> Result<(), Failed> {
    let served = serve("quic", " timeouts {\n  read 1s\n }\n whoami");
    let good = query();
    let mut with_id = good.clone();
    with_id[3] = 1;
    let mut a_response = good.clone();
    a_response[4] |= 0x80;
    let options = Options::from([("option".to_owned(), "11:".to_owned())]);
    let keepalive = framed(&Query::new("www.example", "A", &options));
    let cases: [(&str, Vec<u8>, bool); 8] = [
        ("an ID", with_id, true),
        ("a response", a_response, true),
        ("edns-tcp-keepalive", keepalive, true),
        ("two queries", [&good[..], &good].concat(), true),
        ("an early end", good[..good.len() - 1].to_vec(), true),
        ("no query", Vec::new(), true),
        ("a query of no octets", vec![0, 0], true),
        ("no end", good[..7].to_vec(), false),
    ];
    for (what, octets, ends) in cases {
        let client = Client::new("doq", served.folder.path());
        let connection = client.connect(served.port).expect("a connection");
        // What is right is answered before.
        let answer = client.run(exchange(&connection, &good)).flatten();
        assert!(answer.is_some_and(|answer| answer.len() > 14), "{what}");
        let streams = client.run(async {
            let (mut send, recv) = connection.open_bi().await.unwrap();
            send.write_all(&octets).await.unwrap();
            if ends {
                send.finish().unwrap();
            }
            // Dropping them would reset the stream.
            (send, recv)
        });
        assert_eq!(ended(&client, &connection), Some(2), "{what}");
        drop(streams);
    }
    // An answered query without an end is one as well, once the client has had its time.
    let client = Client::new("doq", served.folder.path());
    let connection = client.connect(served.port).expect("a connection");
    let streams = client.run(async {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&good).await.unwrap();
        let answer = recv.read_to_end(65_537).await.unwrap();
        assert!(answer.len() > 14, "the answer does not wait for the end");
        (send, recv)
    });
    assert_eq!(ended(&client, &connection), Some(2));
    drop(streams);
    Ok(())
}

/// A stream that the client resets costs nothing but its own answer.
fn a_reset_stream_is_nobodys_mistake() -> Result<(), Failed> {
    let served = serve("quic", " whoami");
    let client = Client::new("doq", served.folder.path());
    let connection = client.connect(served.port).expect("a connection");
    client.run(async {
        for _ in 0..10 {
            let (mut send, _recv) = connection.open_bi().await.unwrap();
            send.write_all(&query()[..5]).await.unwrap();
            send.reset(VarInt::from_u32(3)).unwrap();
        }
    });
    let answer = client.run(exchange(&connection, &query())).flatten();
    assert!(answer.is_some_and(|answer| answer.len() > 14));
    Ok(())
}

/// Streams are answered as their answers are ready, each on its own.
fn streams_do_not_wait_for_one_another() -> Result<(), Failed> {
    let served = serve("quic", " erratic {\n  drop 0\n  delay 2 500ms\n }");
    let client = Client::new("doq", served.folder.path());
    let connection = client.connect(served.port).expect("a connection");
    let order = client.run(async {
        let (done, mut order) = tokio::sync::mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..100 {
            let (connection, done) = (connection.clone(), done.clone());
            tasks.spawn(async move {
                let answer = exchange(&connection, &query()).await;
                assert!(answer.is_some_and(|answer| answer.len() > 14));
                done.send(number).unwrap();
            });
        }
        while let Some(result) = tasks.join_next().await {
            result.unwrap();
        }
        let mut numbers = Vec::new();
        while let Ok(number) = order.try_recv() {
            numbers.push(number);
        }
        numbers
    });
    let order = order.expect("all are answered in time");
    assert_eq!(order.len(), 100);
    assert!(!order.is_sorted(), "those that wait hold up nobody");
    Ok(())
}

/// Clients resume sessions with their first query in 0-RTT; what may not be replayed is answered
/// once the handshake is over.
fn the_first_flight_may_carry_queries() -> Result<(), Failed> {
    let served = serve("quic", " whoami");
    let client = Client::new("doq", served.folder.path());
    let first = client.connect(served.port).expect("a connection");
    client.run(exchange(&first, &query())).flatten().unwrap();
    let mut accepted_with = Vec::new();
    // A zone transfer may not be replayed.
    for rtype in ["A", "TYPE252"] {
        let asked = framed(&Query::new("www.example", rtype, &Options::new()));
        let connecting = client.connecting(served.port);
        let Ok((connection, accepted)) = connecting.into_0rtt() else {
            return Err("the client has no session to resume".into());
        };
        let answer = client.run(async {
            let answer = exchange(&connection, &asked).await;
            assert!(accepted.await, "0-RTT is accepted for {rtype}");
            // Each session is resumed once; the next one comes behind the handshake.
            exchange(&connection, &query()).await?;
            answer
        });
        let answer = answer.flatten().expect("an answer");
        accepted_with.push(Message::read(&answer[2..]).unwrap().rcode_name().to_owned());
    }
    assert_eq!(accepted_with.len(), 2);
    assert_eq!(accepted_with[0], "NOERROR");
    Ok(())
}

/// A reload takes over at once on connections that are open, and an address that is no longer served
/// is left with DOQ_NO_ERROR.
fn reloads_do_not_break_connections() -> Result<(), Failed> {
    let served = serve(
        "quic",
        " template IN TXT {\n  answer \"{{ .Name }} TXT one\"\n }",
    );
    let client = Client::new("doq", served.folder.path());
    let connection = client.connect(served.port).expect("a connection");
    let asked = framed(&Query::new("www.example", "TXT", &Options::new()));
    let says = |text: &[u8]| {
        let answer = client.run(exchange(&connection, &asked)).flatten();
        answer.is_some_and(|answer| answer.windows(text.len()).any(|octets| octets == text))
    };
    assert!(says(b"one"));
    let old = std::fs::read_to_string(served.folder.path().join("Corefile"))?;
    served
        .folder
        .write("Corefile", &old.replace("TXT one", "TXT two"));
    served.process.signal("USR1");
    served.process.wait_for_log("Reloading complete");
    assert!(says(b"two"), "the connection goes on with what is new");
    let other = free_port();
    let moved = old.replace(&format!(":{} ", served.port), &format!(":{other} "));
    served.folder.write("Corefile", &moved);
    served.process.signal("USR1");
    assert_eq!(ended(&client, &connection), Some(0));
    Ok(())
}

/// Requests that carry no query, and clients that break HTTP/3.
fn http3_refuses_what_is_no_query() -> Result<(), Failed> {
    let served = serve("https3", " timeouts {\n  read 1s\n }\n whoami");
    let message = Query::new("www.example", "A", &Options::new()).wire;
    let get = |path: &str| {
        let mut block = b"\0\0\xd1\xd7\x51".to_vec();
        block.push(path.len() as u8);
        block.extend_from_slice(path.as_bytes());
        frame(1, &block)
    };
    let client = Client::new("h3", served.folder.path());
    let connection = client.connect(served.port).expect("a connection");
    for (what, request, status) in [
        ("a query", post("/dns-query", &message), "200"),
        ("another path", post("/", &message), "404"),
        ("a slash behind", post("/dns-query/", &message), "404"),
        ("no query", get("/dns-query"), "400"),
        ("base64 that is none", get("/dns-query?dns=A+A"), "400"),
        ("padding", get("/dns-query?dns=AAA="), "400"),
        ("a short message", post("/dns-query", &message[..11]), "400"),
        ("a long body", post("/dns-query", &[0; 70_000]), "413"),
        (
            "long fields",
            [frame(1, &[b'x'; 20_000]), frame(0, &message)].concat(),
            "431",
        ),
    ] {
        // The rest of what is too long is not read, and then it cannot be sent.
        let answer = client.run(async {
            let (mut send, mut recv) = connection.open_bi().await.ok()?;
            let _ = send.write_all(&request).await;
            let _ = send.finish();
            recv.read_to_end(1 << 17).await.ok()
        });
        let answer = answer
            .flatten()
            .ok_or_else(|| format!("{what}: no answer"))?;
        assert_eq!(response(&answer).0, status, "{what}");
    }
    for (what, octets, code) in [
        ("DATA first", frame(0, &message), 0x105),
        ("SETTINGS in a request", frame(4, b""), 0x105),
        ("a dynamic table", frame(1, b"\0\0\x80"), 0x200),
    ] {
        let connection = client.connect(served.port).expect("a connection");
        client.run(exchange(&connection, &octets));
        assert_eq!(ended(&client, &connection), Some(code), "{what}");
    }
    for (what, octets, code) in [
        ("no SETTINGS", &b"\0\x07\x01\0"[..], 0x10a),
        ("a push stream", b"\x01\0", 0x103),
        ("instructions for a table", b"\x02\x3f\xe1\x1f", 0x201),
    ] {
        let connection = client.connect(served.port).expect("a connection");
        let stream = client.run(async {
            let mut send = connection.open_uni().await.unwrap();
            send.write_all(octets).await.unwrap();
            send
        });
        assert_eq!(ended(&client, &connection), Some(code), "{what}");
        drop(stream);
    }
    // A request that does not end is answered with 408.
    let connection = client.connect(served.port).expect("a connection");
    let answer = client.run(async {
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        send.write_all(&post("/dns-query", &message)[..20])
            .await
            .unwrap();
        recv.read_to_end(1 << 16).await.unwrap()
    });
    assert_eq!(response(&answer.expect("an answer")).0, "408");
    Ok(())
}

/// RFC 8467: a reply is padded when its query was, and the transport is encrypted.
fn replies_are_padded_where_queries_are() -> Result<(), Failed> {
    let (folder, [plain, tls, quic, https3]) = (Folder::new(), [(); 4].map(|()| free_port()));
    certificates::write(folder.path());
    let corefile = format!(
        ".:{plain} {{\n bind 127.0.0.1\n whoami\n}}\ntls://.:{tls} quic://.:{quic} https3://.:{https3} {{\n \
         bind 127.0.0.1\n tls cert.pem key.pem\n whoami\n}}\n"
    );
    let _process = Process::serve(&folder, &corefile);
    for (option, is_padded) in [("12:0000", true), ("10:0102030405060708", false)] {
        let opts = Options::from([("option".to_owned(), option.to_owned())]);
        let query = Query::new("www.example", "A", &opts);
        let client = Client::new("doq", folder.path());
        let connection = client.connect(quic).expect("a connection");
        let over_quic = client.run(exchange(&connection, &framed(&query))).flatten();
        let client = Client::new("h3", folder.path());
        let connection = client.connect(https3).expect("a connection");
        let request = post("/dns-query", &query.wire);
        let over_http = client.run(exchange(&connection, &request)).flatten();
        let address = ([127, 0, 0, 1], tls).into();
        let patience = Duration::from_secs(10);
        let mut stream = client::tls(address, patience, &opts, folder.path())?;
        stream.write_all(&framed(&query))?;
        let over_tls = client::read_message(&mut stream)?;
        let mut stream = client::tcp(([127, 0, 0, 1], plain).into(), patience)?;
        stream.write_all(&framed(&query))?;
        let over_tcp = client::read_message(&mut stream)?;
        for (what, length) in [
            ("quic", over_quic.expect("an answer").len() - 2),
            ("https3", response(&over_http.expect("an answer")).1.len()),
            ("tls", over_tls.len()),
        ] {
            assert_eq!(
                length == 468,
                is_padded,
                "{what}: {length} octets, {option}"
            );
        }
        assert!(over_tcp.len() < 200, "never in the clear");
    }
    Ok(())
}

/// RFC 9462: kdig reads what *ddr* says about the listeners that there are.
fn listeners_are_discovered() -> Result<(), Failed> {
    let (folder, [plain, tls, quic, https3]) = (Folder::new(), [(); 4].map(|()| free_port()));
    certificates::write(folder.path());
    let corefile = format!(
        ".:{plain} {{\n bind 127.0.0.1\n ddr dns.example.org\n whoami\n}}\n\
         tls://.:{tls} quic://.:{quic} https3://.:{https3} {{\n \
         bind 127.0.0.1\n tls cert.pem key.pem\n whoami\n}}\n"
    );
    let _process = Process::serve(&folder, &corefile);
    let port = plain.to_string();
    let kdig = Command::new("kdig")
        .args([
            "@127.0.0.1",
            "-p",
            &port,
            "+short",
            "_dns.resolver.arpa",
            "TYPE64",
        ])
        .output()?;
    let said = String::from_utf8(kdig.stdout)?;
    let hint = "ipv4hint=127.0.0.1";
    let expected = format!(
        "1 dns.example.org. alpn=doq port={quic} {hint}\n\
         2 dns.example.org. alpn=dot port={tls} {hint}\n\
         3 dns.example.org. alpn=h3 port={https3} {hint} dohpath=/dns-query{{?dns}}\n"
    );
    // Older ones have no name for the key of the path.
    let said = said.replace('"', "").replace("key7=", "dohpath=");
    assert_eq!(said, expected);
    Ok(())
}

/// One connection more than a listener may have.
fn http3_connections_are_bounded() -> Result<(), Failed> {
    let served = serve("https3", " https3 {\n  max_connections 5\n }\n whoami");
    let message = Query::new("www.example", "A", &Options::new()).wire;
    let client = Client::new("h3", served.folder.path());
    let mut connections = Vec::new();
    for _ in 0..5 {
        let connection = client.connect(served.port).expect("a connection");
        let answer = client.run(exchange(&connection, &post("/dns-query", &message)));
        assert_eq!(response(&answer.flatten().expect("an answer")).0, "200");
        connections.push(connection);
    }
    let one_more = client
        .connect(served.port)
        .expect("the handshake is over first");
    assert_eq!(ended(&client, &one_more), Some(0x107));
    connections
        .pop()
        .unwrap()
        .close(VarInt::from_u32(0x100), b"");
    for attempt in 0.. {
        let connection = client.connect(served.port).expect("a connection");
        let answer = client.run(exchange(&connection, &post("/dns-query", &message)));
        if answer
            .flatten()
            .is_some_and(|answer| response(&answer).0 == "200")
        {
            return Ok(());
        }
        assert!(attempt < 100, "there is room again");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    type Test = fn() -> Result<(), Failed>;
    let tests: [(&str, Test); 9] = [
        ("mistakes_end_the_connection", mistakes_end_the_connection),
        (
            "a_reset_stream_is_nobodys_mistake",
            a_reset_stream_is_nobodys_mistake,
        ),
        (
            "streams_do_not_wait_for_one_another",
            streams_do_not_wait_for_one_another,
        ),
        (
            "the_first_flight_may_carry_queries",
            the_first_flight_may_carry_queries,
        ),
        (
            "reloads_do_not_break_connections",
            reloads_do_not_break_connections,
        ),
        (
            "http3_refuses_what_is_no_query",
            http3_refuses_what_is_no_query,
        ),
        (
            "replies_are_padded_where_queries_are",
            replies_are_padded_where_queries_are,
        ),
        ("listeners_are_discovered", listeners_are_discovered),
        (
            "http3_connections_are_bounded",
            http3_connections_are_bounded,
        ),
    ];
    tests
        .into_iter()
        .map(|(name, test)| Trial::test(format!("doq::{name}"), test))
        .collect()
}
