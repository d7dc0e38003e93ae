//! A client that *acl* denies gets nothing and changes nothing, whichever plugins stand in the block,
//! over every transport (CVE-2026-26017), and is who its connection says.
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use corten_tsig::{Key, Query as Signed, Secret};
use http::Request;
use libtest_mimic::{Failed, Trial};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};

use crate::certificates;
use crate::client::{self, Options, Query};
use crate::everywhere::{Everywhere, WAYS, notify, now, query, tells, update};
use crate::message::Message;
use crate::quic::{Client, exchange, frame, response};
use crate::server::{Folder, Process, free_port};
use crate::{http as http1, proxied, web};

const SECRET: &str = "NoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk=";
const OPEN: &str = "$ORIGIN open.example.
$TTL 60
@ SOA ns post 1 1 1 1 1
@ NS ns
ns A 192.0.2.1
to CNAME www.isle.example.
* CNAME www.isle.example.
sub DNAME isle.example.
";
const PATIENCE: Duration = Duration::from_secs(10);

/// Blocks, by the plugins in them; what they do to those who are denied stands in front.
const BLOCKS: [(&str, &str); 9] = [
    ("file", "file db.isle"),
    (
        "rewrite",
        "rewrite name exact www.isle.example hidden.isle.example\n file db.isle",
    ),
    ("cache", "cache\n file db.isle"),
    ("autopath", "autopath resolv.conf\n cache\n file db.isle"),
    (
        "made answers",
        "dns64\n minimal\n loadbalance\n header {\n  response set ra\n }\n nsid here\n bufsize\n \
         template IN ANY . {\n  match wild\n  answer \"{{ .Name }} 60 IN TXT data\"\n  fallthrough\n }\n \
         hosts {\n  192.0.2.9 www.isle.example\n  fallthrough\n }\n file db.isle",
    ),
    ("whoami", "whoami"),
    ("erratic", "erratic {\n  drop 0\n  delay 1 5ms\n }"),
    (
        "transfer and update",
        "transfer {\n  to *\n }\n file db.isle\n tsig {\n  \
         secret one.key. NoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk=\n }\n \
         update {\n  allow one.key.\n  rate 0\n }",
    ),
    ("dnssec", "dnssec\n cache\n file db.isle"),
];

/// What a client might want.
fn wishes() -> Vec<Vec<u8>> {
    let names = [
        ("www.isle.example", "A"),
        ("www.isle.example", "TXT"),
        ("www.isle.example", "AAAA"),
        ("www.isle.example", "ANY"),
        ("WWW.isle.EXAMPLE", "TXT"),
        ("alias.isle.example", "A"),
        ("x.wild.isle.example", "TXT"),
        ("gone.isle.example", "A"),
        ("isle.example", "SOA"),
        ("isle.example", "NS"),
        ("isle.example", "DNSKEY"),
        ("isle.example", "AXFR"),
        ("isle.example", "IXFR"),
        // By its search path it is a name that there is.
        ("www.search.isle.example", "A"),
    ];
    let mut all: Vec<_> = names
        .iter()
        .map(|(name, rtype)| query(name, rtype))
        .collect();
    let key = Key::new(
        "one.key".parse().unwrap(),
        None,
        Secret::from_base64(SECRET).unwrap(),
    );
    let key = Arc::new(key);
    for mut wire in [
        query("isle.example", "AXFR"),
        query("www.isle.example", "A"),
        update("new"),
    ] {
        Signed::sign(&mut wire, &key, now());
        all.push(wire);
    }
    all.extend([update("new"), notify()]);
    all
}

/// Everything that the client at 127.0.0.2 may have, so that it is in caches; nobody else gets any.
fn blocked_clients_get_nothing() -> Result<(), Failed> {
    for (block, (what, plugins)) in BLOCKS.into_iter().enumerate() {
        let server = everywhere(&format!(
            "acl {{\n  allow net 127.0.0.2/32\n  block\n }}\n {plugins}"
        ));
        let mut told = 0;
        for wire in wishes().iter().take(11) {
            let message = server.send_with(&WAYS[0], wire, &[("from", "127.0.0.2")])?;
            told += usize::from(tells(&message));
        }
        assert!(told > 3, "{what}: the other client is told {told} times");
        let serial = has_serial(plugins).then(|| server.serial());
        for (number, way) in WAYS.iter().enumerate() {
            // Each connection has its handshake: over most ways it is a part of the wishes, of each
            // block another one.
            let (turn, step) = match way.name {
                "udp" | "tcp" => (0, 1),
                _ => ((number + block) % 3, 3),
            };
            for wire in wishes().into_iter().skip(turn).step_by(step) {
                let opcode = wire[2] >> 3 & 15;
                let found = server.send(way, &wire);
                if opcode != 0 && way.name.ends_with("get") {
                    assert!(found.is_err(), "{what}, {}: {wire:02x?}", way.name);
                    continue;
                }
                let message = found?;
                let mut expected = 5;
                if opcode == 5 && !has_serial(plugins) {
                    // NOTIMP: nobody there takes updates.
                    expected = 4;
                }
                let found = (message.rcode, tells(&message));
                assert_eq!(
                    found,
                    (expected, false),
                    "{what}, {}: {wire:02x?}",
                    way.name
                );
            }
        }
        if let Some(serial) = serial {
            assert_eq!(server.serial(), serial, "{what}");
        }
    }
    Ok(())
}

/// *filter* says that there is nothing, *drop* says nothing.
fn filtered_and_dropped_clients_get_nothing() -> Result<(), Failed> {
    for action in ["filter", "drop"] {
        let server = everywhere(&format!(
            "acl {{\n  allow net 127.0.0.2/32\n  {action}\n }}\n {}",
            BLOCKS[7].1
        ));
        let serial = server.serial();
        for way in &WAYS {
            for wire in wishes().into_iter().skip(8) {
                let patience = if action == "drop" { "0.1" } else { "5" };
                let found = server.send_with(way, &wire, &[("timeout", patience)]);
                match found {
                    Ok(message) if action == "filter" => {
                        let found = (message.rcode, tells(&message));
                        assert_eq!(found, (0, false), "{}: {wire:02x?}", way.name);
                    }
                    Ok(message) => panic!("{}: {message:?}", way.name),
                    // Nor does a GET request change anything.
                    Err(_) => assert!(
                        action == "drop" || way.name.ends_with("get") && wire[2] >> 3 & 15 != 0,
                        "{}: {wire:02x?}",
                        way.name
                    ),
                }
            }
        }
        assert_eq!(server.serial(), serial, "{action}");
    }
    Ok(())
}

fn everywhere(directives: &str) -> Everywhere {
    let directives = directives.replace("resolv.conf", "RESOLV");
    let folder = Folder::new();
    let path = folder.path().join("resolv.conf");
    std::fs::write(
        &path,
        "search search.isle.example isle.example\nnameserver 127.0.0.1\n",
    )
    .unwrap();
    let path = path.display().to_string();
    Everywhere::serve("isle.example", &directives.replace("RESOLV", &path))
}

fn has_serial(plugins: &str) -> bool {
    plugins.contains("update")
}

/// The rule is for one name; what the name is called before *rewrite* makes no difference.
fn rewritten_names_are_denied_as_what_they_are() -> Result<(), Failed> {
    let server = Everywhere::serve(
        "isle.example",
        " rewrite name exact open.isle.example www.isle.example
 rewrite name regex (.*)-of[.]isle[.]example {1}.isle.example answer auto
 acl www.isle.example {
  block net 127.0.0.1/32
 }
 cache
 file db.isle",
    );
    let names = [
        "open.isle.example",
        "www-of.isle.example",
        "www.isle.example",
    ];
    for name in names {
        let message = server.send_with(&WAYS[0], &query(name, "A"), &[("from", "127.0.0.2")])?;
        assert!(tells(&message), "{name}");
    }
    for way in &WAYS {
        for name in names {
            let message = server.send(way, &query(name, "A"))?;
            let found = (message.rcode, tells(&message));
            assert_eq!(found, (5, false), "{} {name}", way.name);
        }
        let message = server.send(way, &query("ns.isle.example", "A"))?;
        assert!(tells(&message), "others are answered: {}", way.name);
    }
    Ok(())
}

/// An alias in one block does not lead into another that denies the client, also when the cache has
/// just told somebody else.
fn aliases_do_not_lead_around_the_rules() -> Result<(), Failed> {
    let key = format!("secret one.key. {SECRET}");
    let signed = format!("one.key.:hmac-sha256:{SECRET}");
    let by_address = ("from", "127.0.0.2");
    for (rules, privilege) in [
        (
            "acl {\n  allow net 127.0.0.2/32\n  block\n }".to_owned(),
            by_address,
        ),
        (
            "view inside {\n  expr client_ip() == '127.0.0.2'\n }".to_owned(),
            by_address,
        ),
        (
            format!("tsig {{\n  {key}\n  require A\n }}"),
            ("tsig", &*signed),
        ),
    ] {
        let (folder, port) = (Folder::new(), free_port());
        folder.write("db.open", OPEN);
        folder.write("db.isle", crate::everywhere::ZONE);
        let corefile = format!(
            "open.example:{port} {{\n bind 127.0.0.1\n tsig {{\n  {key}\n }}\n cache\n \
             template IN A made.open.example {{\n  answer \"{{{{ .Name }}}} 60 IN CNAME www.isle.example.\"\n }}\n \
             file db.open\n}}\n\
             isle.example:{port} {{\n bind 127.0.0.1\n {rules}\n cache\n file db.isle\n}}\n"
        );
        let _process = Process::serve(&folder, &corefile);
        for name in [
            "to.open.example",
            "x.open.example",
            "www.sub.open.example",
            "made.open.example",
        ] {
            for is_told in [false, true, false, true] {
                let mut opts = Options::new();
                if is_told {
                    opts.insert(privilege.0.to_owned(), privilege.1.to_owned());
                }
                let query = Query::new(name, "A", &opts);
                let message = client::send(&query, &opts, port, Path::new("."))?;
                let has_address = message.answers().contains(&"192.0.2.1");
                assert_eq!(has_address, is_told, "{name} {rules}");
            }
        }
    }
    Ok(())
}

/// A primary's notification from a client that is denied does not lead to a transfer.
fn notifications_are_denied() -> Result<(), Failed> {
    let primary = TcpListener::bind("127.0.0.1:0")?;
    let address = primary.local_addr()?;
    let server = Everywhere::serve(
        "isle.example",
        &format!(" acl {{\n  block\n }}\n secondary {{\n  transfer from {address}\n }}"),
    );
    for way in WAYS.iter().filter(|way| !way.name.ends_with("get")) {
        let message = server.send(way, &notify())?;
        assert_eq!((message.rcode, tells(&message)), (5, false), "{}", way.name);
    }
    let lines = server.process.lines();
    assert!(!lines.iter().any(|line| line.contains("Notify from")));
    Ok(())
}

/// Who is not a proxy may claim what it likes, by HTTP field or PROXY header.
fn claimed_addresses_are_not_believed() -> Result<(), Failed> {
    let server = everywhere(
        "https {\n  trusted_proxies 192.0.2.0/24\n }\n proxyproto {\n  allow 192.0.2.0/24\n }\n \
         acl {\n  allow net 127.0.0.2/32\n  block\n }\n file db.isle",
    );
    let asked = query("www.isle.example", "A");
    let refused = |message: &Message, what: &str| {
        assert_eq!((message.rcode, tells(message)), (5, false), "{what}");
    };
    let opts = |more: &[&str]| -> Options {
        let pairs = more
            .iter()
            .map(|option| option.split_once('=').unwrap_or((option, "")));
        pairs
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    };
    let wire = |wire: &[u8]| Query {
        wire: wire.to_vec(),
        asked: (String::new(), 0, 0),
        signature: None,
    };
    // PROXY headers, of datagrams and of streams, alone and in front of TLS.
    for version in ["1", "2"] {
        let claim = format!("proxy={version}:127.0.0.2");
        let message = proxied::send(&wire(&asked), &opts(&["tcp", &claim]), server.port())?;
        refused(&message, &format!("tcp, version {version}"));
        let header = proxied::header(&format!("{version}:127.0.0.2"), server.tls_port(), true);
        let mut stream = client::tcp(([127, 0, 0, 1], server.tls_port()).into(), PATIENCE)?;
        stream.write_all(&header)?;
        let config = client::config(&Options::new(), server.folder.path());
        let name = ServerName::try_from("dns.example.org").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name)?;
        let mut stream = StreamOwned::new(connection, stream);
        let message = client::converse(&mut stream, &wire(&asked))?;
        refused(&message, &format!("tls, version {version}"));
    }
    let message = proxied::send(&wire(&asked), &opts(&["proxy=2:127.0.0.2"]), server.port())?;
    refused(&message, "udp");
    // Fields of requests.
    for field in ["x-forwarded-for", "forwarded"] {
        let claim = match field {
            "forwarded" => "for=127.0.0.2",
            _ => "127.0.0.2",
        };
        let url = format!(
            "https://localhost:{}/dns-query?dns={}",
            server.https_port(),
            web::base64url(&asked)
        );
        let answer = http1::request(
            "GET",
            &url,
            &[(field, claim)],
            &Options::new(),
            server.folder.path(),
        )?;
        refused(&Message::read(&answer.body).unwrap(), "http/1.1");
        let answer = web::wait(PATIENCE, async {
            let address = ([127, 0, 0, 1], server.https_port()).into();
            let mut requests = web::connect(address, Some(("localhost", server.folder.path())))
                .await
                .unwrap();
            let request = Request::get(&url).header(field, claim).body(()).unwrap();
            web::exchange(&mut requests, request, Vec::new())
                .await
                .unwrap()
        });
        refused(&Message::read(&answer.unwrap().body).unwrap(), "http/2");
        let client = Client::new("h3", server.folder.path());
        let connection = client.connect(server.https3_port()).expect("a connection");
        // :method POST, :scheme https, :path, :authority, content-type, and the field.
        let mut block = b"\0\0\xd4\xd7\x51\x0a/dns-query\x50\x09localhost\xec".to_vec();
        block.extend([0x27, field.len() as u8 - 7]);
        block.extend(field.as_bytes());
        block.push(claim.len() as u8);
        block.extend(claim.as_bytes());
        let request = [frame(1, &block), frame(0, &asked)].concat();
        let answer = client.run(exchange(&connection, &request)).flatten();
        let (status, body) = response(&answer.expect("an answer"));
        assert_eq!(status, "200");
        refused(&Message::read(&body).unwrap(), "http/3");
    }
    Ok(())
}

/// A proxy that is trusted is believed: whom it tells of is denied, though the proxy is not.
fn clients_behind_proxies_are_denied() -> Result<(), Failed> {
    let (folder, port, tls) = (Folder::new(), free_port(), free_port());
    certificates::write(folder.path());
    folder.write("db.isle", crate::everywhere::ZONE);
    let corefile = format!(
        "isle.example:{port} tls://isle.example:{tls} {{\n bind 127.0.0.1\n tls cert.pem key.pem\n \
         proxyproto {{\n  allow 127.0.0.0/8\n }}\n acl {{\n  allow net 127.0.0.1/32\n  block\n }}\n \
         transfer {{\n  to *\n }}\n cache\n file db.isle\n}}\n"
    );
    let _process = Process::serve(&folder, &corefile);
    for (name, rtype) in [("www.isle.example", "A"), ("isle.example", "AXFR")] {
        for (source, rcode) in [("127.0.0.1", 0), ("203.0.113.7", 5), ("127.0.0.1", 0)] {
            let mut stream = client::tcp(([127, 0, 0, 1], tls).into(), PATIENCE)?;
            stream.write_all(&proxied::header(&format!("2:{source}"), tls, true))?;
            let config = client::config(&Options::new(), folder.path());
            let server = ServerName::try_from("dns.example.org").unwrap();
            let connection = ClientConnection::new(Arc::new(config), server)?;
            let mut stream = StreamOwned::new(connection, stream);
            let asked = Query::new(name, rtype, &Options::new());
            let message = client::converse(&mut stream, &asked)?;
            let found = (message.rcode, tells(&message));
            assert_eq!(found, (rcode, rcode == 0), "tls {source} {rtype}");
            for tcp in [true, false] {
                if rtype == "AXFR" && !tcp {
                    continue;
                }
                let mut opts = Options::from([("proxy".to_owned(), format!("2:{source}"))]);
                if tcp {
                    opts.insert("tcp".to_owned(), String::new());
                }
                let message = proxied::send(&asked, &opts, port)?;
                let found = (message.rcode, tells(&message));
                assert_eq!(found, (rcode, rcode == 0), "tcp {tcp} {source} {rtype}");
            }
        }
    }
    // A second header is no header: the proxy speaks once.
    let mut stream = client::tcp(([127, 0, 0, 1], port).into(), PATIENCE)?;
    stream.write_all(&proxied::header("2:203.0.113.7", port, true))?;
    stream.write_all(&proxied::header("2:127.0.0.1", port, true))?;
    let asked = Query::new("www.isle.example", "A", &Options::new());
    let mut all = Vec::new();
    let sent = stream
        .write_all(&(asked.wire.len() as u16).to_be_bytes())
        .and_then(|()| stream.write_all(&asked.wire))
        .and_then(|()| stream.shutdown(std::net::Shutdown::Write));
    if sent.is_ok() {
        let _ = stream.read_to_end(&mut all);
    }
    let told = all.get(2..).and_then(Message::read);
    assert!(!told.is_some_and(|message| tells(&message)));
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    type Test = fn() -> Result<(), Failed>;
    let tests: [(&str, Test); 7] = [
        ("blocked_clients_get_nothing", blocked_clients_get_nothing),
        (
            "filtered_and_dropped_clients_get_nothing",
            filtered_and_dropped_clients_get_nothing,
        ),
        (
            "rewritten_names_are_denied_as_what_they_are",
            rewritten_names_are_denied_as_what_they_are,
        ),
        (
            "aliases_do_not_lead_around_the_rules",
            aliases_do_not_lead_around_the_rules,
        ),
        ("notifications_are_denied", notifications_are_denied),
        (
            "claimed_addresses_are_not_believed",
            claimed_addresses_are_not_believed,
        ),
        (
            "clients_behind_proxies_are_denied",
            clients_behind_proxies_are_denied,
        ),
    ];
    tests
        .into_iter()
        .map(|(name, test)| Trial::test(format!("denied::{name}"), test))
        .collect()
}
