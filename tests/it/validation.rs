//! What is signed, checked by others: a validating resolver (unbound), and tools that verify zones.
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use corten_dnssec::algorithm::DigestType;
use corten_dnssec::keyfile;
use libtest_mimic::{Failed, Trial};

use crate::certificates;
use crate::client::{self, NoAnswer, Options, Query};
use crate::message::Message;
use crate::server::{Folder, Process, free_port};

const KEY: &str = "257 3 13 5FH4KREs5OvsiSGg9g8H9ylkcb3CYSCRAVn1XKgPfLS5mC6ZEFZt7NT8m3MogOvZ0saJy/j2l4+QloStht+TSg==";
const PRIVATE: &str = "Private-key-format: v1.3\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: pUgsTAV2c6i8w8uT6/LfnAzpCfFTcDBvyMe/82/GPOA=\n";

/// How long a resolver or a CA may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Writes a key for a zone as `Kkey.ZONE.key` and `.private`.
fn write_key(folder: &Folder, zone: &str) {
    folder.write(
        &format!("Kkey.{zone}.key"),
        &format!("{zone}. 3600 IN DNSKEY {KEY}\n"),
    );
    folder.write(&format!("Kkey.{zone}.private"), PRIVATE);
}

/// RDATA of the DS record of a zone with that key.
fn ds(zone: &str) -> String {
    let key = keyfile::read(&format!("{zone}. IN DNSKEY {KEY}"), PRIVATE).unwrap();
    let rdata = key.public().ds(key.owner(), DigestType::Sha256);
    let digest: String = rdata[4..]
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect();
    format!("{} 13 2 {digest}", key.public().tag())
}

/// Starts a resolver that validates with the key of `anchor`, and asks the port for these zones.
fn resolver(folder: &Folder, anchor: &str, zones: &[&str], port: u16) -> (Process, u16) {
    let own = free_port();
    let path = folder.path().display();
    let mut config = format!(
        "server:\n interface: 127.0.0.1\n port: {own}\n do-daemonize: no\n use-syslog: no\n logfile: \"\"\n username: \"\"\n chroot: \"\"\n \
         directory: \"{path}\"\n pidfile: \"\"\n do-ip6: no\n do-not-query-localhost: no\n access-control: 127.0.0.0/8 allow\n \
         module-config: \"validator iterator\"\n trust-anchor: \"{anchor}. DNSKEY {KEY}\"\n val-log-level: 2\n verbosity: 1\n \
         aggressive-nsec: yes\n qname-minimisation: no\n edns-buffer-size: 1232\n tcp-idle-timeout: 3000\n local-zone: \"test.\" nodefault\n\
         remote-control:\n control-enable: no\n"
    );
    for zone in zones {
        config += &format!("stub-zone:\n name: \"{zone}\"\n stub-addr: 127.0.0.1@{port}\n");
    }
    folder.write("unbound.conf", &config);
    let unbound = Path::new("/usr/sbin/unbound");
    assert!(
        unbound.exists(),
        "unbound is not installed (Debian: apt-get install unbound)"
    );
    let mut process = Process::start(
        unbound,
        &["-d", "-c", "unbound.conf"],
        folder.path(),
        &BTreeMap::new(),
        None,
    );
    process.wait_serving(own);
    (process, own)
}

fn options(pairs: &[(&str, &str)]) -> Options {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn ask(folder: &Folder, port: u16, name: &str, rtype: &str) -> Result<Message, NoAnswer> {
    let opts = options(&[("do", ""), ("tcp", ""), ("timeout", "20")]);
    client::send(&Query::new(name, rtype, &opts), &opts, port, folder.path())
}

/// Every kind of answer of *dnssec* convinces a validating resolver, and what it should be is what
/// comes out.
fn online(denial: &str) -> Result<(), Failed> {
    let folder = Folder::new();
    for zone in ["isle.example", "kid.isle.example"] {
        write_key(&folder, zone);
    }
    let large: String = (0..20)
        .map(|number| format!("big IN TXT \"{number:02}{}\"\n", "x".repeat(120)))
        .collect();
    folder.write(
        "db.isle",
        &format!(
            "$TTL 3600\n@ IN SOA ns post 11 3600 600 86400 300\n@ IN NS ns\n@ IN CAA 0 issue \"ca.example.net\"\nns IN A 127.0.0.1\n\
             www IN A 192.0.2.1\nwww IN A 192.0.2.2\nwww IN MX 10 www\nalias IN CNAME www\nlost IN CNAME gone\n*.wild IN TXT star\n\
             a.ent IN A 192.0.2.3\nold IN DNAME wild\nkid IN NS ns\nkid IN DS {}\nplain IN NS ns\n{large}",
            ds("kid.isle.example")
        ),
    );
    for child in ["kid", "plain"] {
        folder.write(
            &format!("db.{child}"),
            "$TTL 3600\n@ IN SOA ns.isle.example. post 1 3600 600 86400 300\n@ IN NS ns.isle.example.\nwww IN A 192.0.2.7\n",
        );
    }
    let port = free_port();
    let dnssec = |zone: &str| format!("dnssec {{\n key file Kkey.{zone}\n denial {denial}\n }}");
    let server = Process::serve(
        &folder,
        &format!(
            "isle.example:{port} {{\n bind 127.0.0.1\n {}\n template IN A t.isle.example {{\n answer \"{{{{ .Name }}}} 60 IN A 192.0.2.9\"\n }}\n file db.isle\n}}\n\
             kid.isle.example:{port} {{\n bind 127.0.0.1\n {}\n file db.kid\n}}\nplain.isle.example:{port} {{\n bind 127.0.0.1\n file db.plain\n}}\n",
            dnssec("isle.example"),
            dnssec("kid.isle.example"),
        ),
    );
    let zones = ["isle.example", "kid.isle.example", "plain.isle.example"];
    let (unbound, resolver) = resolver(&folder, "isle.example", &zones, port);
    // A name that does not exist is one without the type where denials are lies.
    let gone = if denial == "nsec3" {
        "NXDOMAIN"
    } else {
        "NOERROR"
    };
    for (name, rtype, rcode, secure, answers) in [
        ("www.isle.example", "A", "NOERROR", true, 2),
        ("isle.example", "SOA", "NOERROR", true, 1),
        ("isle.example", "DNSKEY", "NOERROR", true, 1),
        ("alias.isle.example", "A", "NOERROR", true, 3),
        ("x.wild.isle.example", "TXT", "NOERROR", true, 1),
        ("x.wild.isle.example", "A", "NOERROR", true, 0),
        ("any.t.isle.example", "A", "NOERROR", true, 1),
        ("a.old.isle.example", "TXT", "NOERROR", true, 3),
        ("big.isle.example", "TXT", "NOERROR", true, 20),
        ("www.isle.example", "AAAA", "NOERROR", true, 0),
        ("isle.example", "TXT", "NOERROR", true, 0),
        ("ent.isle.example", "A", "NOERROR", true, 0),
        ("gone.isle.example", "A", gone, true, 0),
        ("a.b.gone.isle.example", "A", gone, true, 0),
        ("lost.isle.example", "A", gone, true, 1),
        ("kid.isle.example", "DS", "NOERROR", true, 1),
        ("www.kid.isle.example", "A", "NOERROR", true, 1),
        ("www.kid.isle.example", "AAAA", "NOERROR", true, 0),
        ("plain.isle.example", "DS", "NOERROR", true, 0),
        ("www.plain.isle.example", "A", "NOERROR", false, 1),
        ("gone.plain.isle.example", "A", "NXDOMAIN", false, 0),
        // What was denied must not deny what there is (RFC 8198).
        ("www.isle.example", "MX", "NOERROR", true, 1),
        ("isle.example", "CAA", "NOERROR", true, 1),
    ] {
        let reply = ask(&folder, resolver, name, rtype).map_err(|NoAnswer(why)| why)?;
        let records = reply
            .records
            .iter()
            .filter(|r| r.section == 0 && r.rtype != 46);
        let got = (reply.rcode_name(), reply.flags & 0x20 != 0, records.count());
        assert_eq!(
            got,
            (rcode.to_owned(), secure, answers),
            "{name} {rtype} with {denial}: {:?}\n{:?}\n{:?}",
            reply,
            unbound.lines(),
            server.lines()
        );
    }
    Ok(())
}

fn run(folder: &Folder, program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error} (tests/run installs it)"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What *sign* writes is right by the judgement of ldns, BIND and Knot.
fn whole_zones(denial: &str) -> Result<(), Failed> {
    let folder = Folder::new();
    write_key(&folder, "isle.example");
    folder.write(
        "db.isle",
        &format!(
            "$TTL 3600\n@ IN SOA ns post 11 3600 600 86400 300\n@ 7200 IN NS ns\n@ IN CAA 0 issue \"ca.example.net\"\nns IN A 127.0.0.1\n\
             WWW IN A 192.0.2.1\nwww IN AAAA 2001:db8::1\nwww IN HTTPS 1 . alpn=h2\nalias IN CNAME www\n*.wild IN TXT \"st\\\"ar\" \"two\"\n\
             a.b.ent IN A 192.0.2.3\nold IN DNAME wild\nkid IN NS ns.kid\nkid IN DS {}\nns.kid IN A 192.0.2.9\nplain IN NS a.b.plain\na.b.plain IN A 192.0.2.8\n\
             _sip._udp IN SRV 1 2 5060 www\nsip IN NAPTR 1 2 \"s\" \"SIP+D2U\" \"\" _sip._udp\nother IN TYPE65280 \\# 3 010203\n",
            ds("kid.isle.example")
        ),
    );
    let port = free_port();
    let server = Process::serve(
        &folder,
        &format!(
            "isle.example:{port} {{\n bind 127.0.0.1\n file db.isle.example.signed\n sign db.isle {{\n key file Kkey.isle.example\n directory .\n denial {denial}\n zonemd\n }}\n}}\n"
        ),
    );
    server.wait_for_log(r#"plugin/sign: Successfully signed zone "isle.example." in ".*db.isle.example.signed" with key tags "33831" and \d+ SOA serial"#);
    let signed = "db.isle.example.signed";
    run(&folder, "ldns-verify-zone", &[signed]);
    run(
        &folder,
        "dnssec-verify",
        &["-z", "-o", "isle.example", signed],
    );
    run(
        &folder,
        "kzonecheck",
        &["-d", "on", "-o", "isle.example", signed],
    );
    // Nothing lies about that was only on its way.
    let stray = std::fs::read_dir(folder.path()).unwrap().flatten();
    let mut names = stray.map(|entry| entry.file_name().to_string_lossy().into_owned());
    assert!(!names.any(|name| name.starts_with("signed-")));
    // A file that is no zone leaves the signed one alone.
    let good = std::fs::read(folder.path().join(signed)).unwrap();
    folder.write("db.isle", "@ IN SOA broken\n");
    server.wait_for_logs(
        r#"plugin/sign: Error signing "isle.example." with key tags "33831" in .*db.isle"#,
        1,
        PATIENCE,
    );
    assert_eq!(std::fs::read(folder.path().join(signed)).unwrap(), good);
    Ok(())
}

/// A certificate for a name of a signed zone: the CA asks through a validating resolver, as CAs must
/// since March 2026.
fn certificate_of_a_signed_zone() -> Result<(), Failed> {
    let folder = Folder::new();
    certificates::write(folder.path());
    write_key(&folder, "acme.test");
    folder.write(
        "db.acme",
        "$TTL 60\n@ IN SOA ns1 post 1 3600 600 86400 60\n@ IN NS ns1\n@ IN CAA 0 issue \"pebble\"\nns1 IN A 127.0.0.1\n",
    );
    let (ca, management, dns, tls) = (free_port(), free_port(), free_port(), free_port());
    folder.write(
        "pebble.json",
        &format!(
            r#"{{"pebble": {{"listenAddress": "127.0.0.1:{ca}", "managementListenAddress": "127.0.0.1:{management}",
            "certificate": "cert.pem", "privateKey": "key.pem", "httpPort": 5002, "tlsPort": 5001,
            "ocspResponderURL": "", "externalAccountBindingRequired": false, "certificateValidityPeriod": 3600}}}}"#
        ),
    );
    let (_unbound, resolver) = resolver(&folder, "acme.test", &["acme.test"], dns);
    let env = [("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0")];
    let env: BTreeMap<_, _> = env
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    let arguments = [
        "-config",
        "pebble.json",
        "-dnsserver",
        &format!("127.0.0.1:{resolver}"),
    ];
    let mut pebble = Process::start(
        Path::new("/usr/bin/pebble"),
        &arguments,
        folder.path(),
        &env,
        None,
    );
    pebble.wait_serving(ca);
    let server = Process::serve(
        &folder,
        &format!(
            "tls://acme.test:{tls} {{\n bind 127.0.0.1\n tls acme {{\n  domain ns1.acme.test\n  ca https://127.0.0.1:{ca}/dir\n  cacert ca.pem\n  \
             certpath certs\n  port {dns}\n }}\n whoami\n}}\n\
             acme.test:{dns} {{\n bind 127.0.0.1\n dnssec {{\n  key file Kkey.acme.test\n }}\n file db.acme\n}}\n"
        ),
    );
    server.wait_for_logs(
        r"^\[INFO\] plugin/tls: The certificate for ns1\.acme\.test is live",
        1,
        PATIENCE,
    );
    server.wait_for_log(
        r"^\[INFO\] plugin/tls: Answering ACME DNS request:_acme-challenge\.ns1\.acme\.test\.$",
    );
    let reply = ask(&folder, resolver, "ns1.acme.test", "A").map_err(|NoAnswer(why)| why)?;
    assert_eq!(
        (reply.rcode_name().as_str(), reply.flags & 0x20),
        ("NOERROR", 0x20)
    );
    // The certificate is the one that listeners present.
    let opts = options(&[("sni", "localhost")]);
    let address = SocketAddr::from(([127, 0, 0, 1], management));
    let mut stream = client::tls(address, Duration::from_secs(10), &opts, folder.path())?;
    stream.write_all(b"GET /roots/0 HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut text = String::new();
    // The server closes without a word at the end.
    let _ = stream.read_to_string(&mut text);
    let root = text.split_once("\r\n\r\n").expect("an HTTP response").1;
    folder.write("trusted/ca.pem", root);
    let opts = options(&[("tls", ""), ("sni", "ns1.acme.test"), ("timeout", "20")]);
    let query = Query::new("ns1.acme.test", "A", &opts);
    let reply = client::send(&query, &opts, tls, &folder.path().join("trusted"));
    assert_eq!(reply.map_err(|NoAnswer(why)| why)?.rcode_name(), "NOERROR");
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials: Vec<_> = ["black_lies", "compact", "nsec3"]
        .into_iter()
        .map(|denial| {
            Trial::test(format!("validation::online_{denial}"), move || {
                online(denial)
            })
        })
        .collect();
    trials.extend(["nsec", "nsec3"].into_iter().map(|denial| {
        Trial::test(format!("validation::whole_zones_{denial}"), move || {
            whole_zones(denial)
        })
    }));
    trials.push(Trial::test(
        "validation::certificate_of_a_signed_zone",
        certificate_of_a_signed_zone,
    ));
    trials
}
