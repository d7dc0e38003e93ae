//! What a CA's resolver is told at a challenge's name, and what an operator sees; no CA is needed:
//! values lie where another server would have left them.
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::client::{self, Options, Query};
use crate::message::Message;
use crate::server::{Folder, PATIENCE, Process, binary, free_port};

/// A resolver asks with any mixture of letter case (0x20), and compares.
const NAME: &str = "_AcMe-challenge.NS.Share.test.";

/// A server whose CA cannot be reached.
struct Scene {
    folder: Folder,
    dns: u16,
    other: u16,
}

impl Scene {
    fn new() -> Self {
        Self {
            folder: Folder::new(),
            dns: free_port(),
            other: free_port(),
        }
    }

    fn corefile(&self, more: &str) -> String {
        let Self { dns, other, .. } = self;
        let tls = free_port();
        format!(
            "tls://share.test:{tls} {{\n bind 127.0.0.1\n tls acme {{\n  domain ns.share.test *.ns.share.test\n  ca https://127.0.0.1:9/dir\n  \
             certpath certs\n  port {dns}\n  resolver 127.0.0.1:9\n  {more}\n }}\n whoami\n}}\n\
             share.test:{dns} {{\n bind 127.0.0.1\n rewrite name exact _acme-challenge.ns.share.test www.share.test\n cache 3600\n \
             acl {{\n  block net 127.0.0.9\n  filter type TXT net 127.0.0.1\n }}\n template IN A share.test {{\n  rcode NXDOMAIN\n }}\n}}\n\
             other.test:{other} {{\n bind 127.0.0.1\n whoami\n}}\n"
        )
    }

    fn start(&self, more: &str) -> Process {
        Process::serve(&self.folder, &self.corefile(more))
    }

    /// Leaves a value as another server of the certificate would.
    fn leave(&self, file: &str, name: &str, value: &str) {
        let text = format!(r#"{{"name":"{name}","value":"{value}","expires":99999999999}}"#);
        let path = format!("certs/corten/challenges/ns.share.test/{file}.json");
        self.folder.write(&path, &text);
    }

    fn take_away(&self, file: &str) {
        let path = format!("certs/corten/challenges/ns.share.test/{file}.json");
        std::fs::remove_file(self.folder.path().join(path)).unwrap();
    }
}

fn ask(port: u16, name: &str, rtype: &str, pairs: &[(&str, &str)]) -> Message {
    let opts: Options = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let query = Query::new(name, rtype, &opts);
    client::send(&query, &opts, port, std::path::Path::new(".")).expect("an answer")
}

/// Asks until the answer is as wanted: servers look once a second.
fn until(what: &str, wanted: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !wanted() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn sorted(message: &Message) -> Vec<&str> {
    let mut answers = message.answers();
    answers.sort_unstable();
    answers
}

/// A value that another server has left is answered as a CA wants it, by every block, whatever the
/// block's rules say; and only as long as it is there.
fn answers_are_as_a_ca_wants_them() -> Result<(), Failed> {
    let scene = Scene::new();
    let record = "_acme-challenge.ns.share.test";
    scene.leave("one", record, "first");
    scene.leave("two", record, "second");
    scene.leave("old", "_acme-challenge.ns.share.test", "third");
    scene
        .folder
        .write("certs/corten/challenges/ns.share.test/bad.json", "{");
    scene.leave("account", "_abc._acme-challenge.ns.share.test", "fourth");
    // However long an interval is.
    let _server = scene.start("checkinterval 18446744073709551615");
    for carrier in [&[][..], &[("tcp", "")]] {
        let reply = ask(scene.dns, NAME, "TXT", carrier);
        assert_eq!(sorted(&reply), ["\"first\"", "\"second\"", "\"third\""]);
        assert!(reply.flag_names().contains("aa"), "{}", reply.flag_names());
        let question = reply.question.as_ref().expect("the question");
        assert_eq!(question.0, NAME, "letter case is kept");
        for record in &reply.records {
            assert_eq!((record.ttl, record.owner.as_str()), (0, NAME));
        }
    }
    for rtype in ["CAA", "AAAA", "A", "NS", "DS", "SOA"] {
        let reply = ask(scene.dns, NAME, rtype, &[]);
        assert_eq!(reply.rcode_name(), "NOERROR", "{rtype}");
        let records: Vec<_> = reply
            .records
            .iter()
            .map(|record| {
                (
                    record.section,
                    record.owner.to_ascii_lowercase(),
                    record.rtype,
                )
            })
            .collect();
        assert_eq!(
            records,
            [(1, "share.test.".to_owned(), 6)],
            "{rtype}: an SOA of the zone"
        );
    }
    // Below an account's label, and the name above it.
    assert_eq!(
        ask(scene.dns, "_abc._acme-challenge.ns.share.test", "TXT", &[]).answers(),
        ["\"fourth\""]
    );
    // The name exists, though the zone's data do not have it; others do not.
    for (name, rcode) in [("ns.share.test", "NOERROR"), ("x.share.test", "NXDOMAIN")] {
        assert_eq!(ask(scene.dns, name, "A", &[]).rcode_name(), rcode, "{name}");
    }
    for not_ours in [
        "_acme-challenge.share.test",
        "_acme-challenge.x.share.test",
        "_x.ns.share.test",
    ] {
        let reply = ask(scene.dns, not_ours, "TXT", &[]);
        assert!(reply.answers().is_empty(), "{not_ours}");
    }
    // A listener that does not even have the zone.
    assert_eq!(sorted(&ask(scene.other, NAME, "TXT", &[])).len(), 3);
    for file in ["one", "two", "old"] {
        scene.take_away(file);
    }
    until("only the account's is left", || {
        let reply = ask(scene.dns, NAME, "TXT", &[]);
        reply.rcode_name() == "NOERROR" && reply.answers().is_empty()
    });
    scene.take_away("account");
    until("nothing is left, and nobody has kept it", || {
        ask(scene.dns, NAME, "TXT", &[]).rcode_name() == "REFUSED"
            && ask(scene.other, NAME, "TXT", &[]).rcode_name() == "REFUSED"
    });
    Ok(())
}

/// Where the alias of a challenge's name leads TXT records are as they are at the challenge's name
/// itself; everything else is the zone's.
fn the_end_of_an_alias_is_answered() -> Result<(), Failed> {
    let scene = Scene::new();
    let end = "End.dyn.share.test.";
    scene.leave("end", "end.dyn.share.test", "value");
    scene.folder.write(
        "certs/corten/aliases/ns.share.test.json",
        r#"{"_acme-challenge.ns.share.test": "end.dyn.share.test.", "x": "..", "y": "www.elsewhere.test."}"#,
    );
    let _server = scene.start("");
    until("the alias is known", || {
        ask(scene.other, end, "TXT", &[]).answers() == ["\"value\""]
    });
    for carrier in [&[][..], &[("tcp", "")]] {
        let reply = ask(scene.dns, end, "TXT", carrier);
        assert_eq!(reply.answers(), ["\"value\""], "whatever acl says");
        assert!(reply.flag_names().contains("aa"), "{}", reply.flag_names());
        let (ttl, owner) = (reply.records[0].ttl, reply.records[0].owner.as_str());
        assert_eq!((ttl, owner), (0, end));
    }
    // The zone has no such name: it exists now. Others do not, and none is another zone's.
    for (name, rcode) in [
        (end, "NOERROR"),
        ("dyn.share.test", "NOERROR"),
        ("dne.dyn.share.test", "NXDOMAIN"),
    ] {
        assert_eq!(ask(scene.dns, name, "A", &[]).rcode_name(), rcode, "{name}");
    }
    for (name, rtype) in [
        (end, "A"),
        ("www.elsewhere.test", "TXT"),
        ("end.test", "TXT"),
    ] {
        let reply = ask(scene.other, name, rtype, &[]);
        assert_eq!(reply.rcode_name(), "REFUSED", "{name} {rtype}");
    }
    scene.take_away("end");
    until("nothing is left, and nobody has kept it", || {
        ask(scene.dns, end, "TXT", &[]).rcode_name() == "REFUSED"
            && ask(scene.other, end, "TXT", &[]).rcode_name() == "REFUSED"
    });
    Ok(())
}

/// Servers without a common folder ask one another, and never in a circle.
fn peers_are_asked() -> Result<(), Failed> {
    let (one, other) = (Scene::new(), Scene::new());
    for scene in [&one, &other] {
        let file = "certs/corten/aliases/ns.share.test.json";
        let alias = r#"{"_acme-challenge.ns.share.test": "end.dyn.share.test."}"#;
        scene.folder.write(file, alias);
    }
    let _one = one.start(&format!("peers 127.0.0.1:{}", other.dns));
    let _other = other.start(&format!("peers 127.0.0.1:{}", one.dns));
    let record = "_acme-challenge.ns.share.test";
    let since = Instant::now();
    assert!(ask(one.dns, record, "TXT", &[]).answers().is_empty());
    assert!(
        since.elapsed() < Duration::from_secs(2),
        "{:?}",
        since.elapsed()
    );
    other.leave("one", record, "there");
    until("the peer's value", || {
        ask(one.dns, record, "TXT", &[]).answers() == ["\"there\""]
    });
    one.leave("two", record, "here");
    until("both values", || {
        sorted(&ask(other.dns, record, "TXT", &[])) == ["\"here\"", "\"there\""]
    });
    // Where an alias leads, too.
    other.leave("end", "end.dyn.share.test", "at the end");
    until("the peer's value at the end of the alias", || {
        ask(one.dns, "end.dyn.share.test", "TXT", &[]).answers() == ["\"at the end\""]
    });
    Ok(())
}

/// `corten certs` tells what is stored while a server runs, and `corten trust export` hands out the
/// local CA's root.
fn certificates_are_seen() -> Result<(), Failed> {
    let folder = Folder::new();
    let port = free_port();
    let corefile = format!(
        "tls://.:{port} {{\n bind 127.0.0.1\n tls internal dns.example {{\n  certpath certs\n }}\n whoami\n}}\n\
         tls://x.test:{} {{\n bind 127.0.0.1\n tls acme {{\n  domain ns.x.test\n  ca https://127.0.0.1:9/dir\n  certpath certs\n }}\n whoami\n}}\n",
        free_port()
    );
    let run = |words: &[&str]| {
        let mut command = Command::new(binary());
        let done = command
            .args(words)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (done.status.code(), text(done.stdout), text(done.stderr))
    };
    folder.write("Corefile", &corefile);
    let (status, before, _) = run(&["certs"]);
    assert_eq!(status, Some(1), "{before}");
    assert!(!folder.path().join("certs").exists(), "nothing is written");
    let (status, _, error) = run(&["trust", "export"]);
    assert_eq!(status, Some(1));
    assert!(error.contains("there is no local CA"), "{error}");

    let server = Process::serve(&folder, &corefile);
    server.wait_for_log("The certificate for dns.example is live");
    server.wait_for_log("Certificate for ns.x.test: ");
    let (status, table, error) = run(&["certs", "-conf", "Corefile"]);
    assert_eq!(
        (status, error.as_str()),
        (Some(1), ""),
        "one is missing: {table}"
    );
    let lines: Vec<_> = table.lines().collect();
    assert!(
        lines[0].starts_with("NAMES ") && lines.len() == 3,
        "{table}"
    );
    assert!(
        lines[1].contains("Corten Local Authority - intermediate")
            && lines[1].contains("(23 hours)"),
        "{table}"
    );
    assert!(
        lines[2].contains("no certificate") && lines[2].contains("https://127.0.0.1:9/dir"),
        "{table}"
    );
    let (_, json, _) = run(&["certs", "-json"]);
    let told: serde_json::Value = serde_json::from_str(&json)?;
    assert_eq!(told[0]["names"], serde_json::json!(["dns.example"]));
    assert!(told[0]["renewal"].is_string() && told[0]["last_error"].is_null());
    assert!(
        told[1]["last_error"].is_string() && told[1]["failed_attempts"].as_u64() > Some(0),
        "{json}"
    );

    let (status, root, _) = run(&["trust", "export"]);
    let stored = std::fs::read_to_string(folder.path().join("certs/corten/internal/root.pem"))?;
    assert_eq!((status, root.trim()), (Some(0), stored.trim()));
    let (status, _, error) = run(&["trust"]);
    assert_eq!(status, Some(2));
    assert!(error.contains("Usage of corten trust"), "{error}");
    // A client that has it trusts the server.
    std::fs::create_dir_all(folder.path().join("trusted"))?;
    let (status, _, _) = run(&["trust", "export", "-o", "trusted/ca.pem"]);
    assert_eq!(status, Some(0));
    let opts: Options = BTreeMap::from(
        [("tls", ""), ("sni", "dns.example")]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    let query = Query::new("x.dns.example", "TXT", &opts);
    client::send(&query, &opts, port, &folder.path().join("trusted")).expect("an answer");
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "challenges::answers_are_as_a_ca_wants_them",
            answers_are_as_a_ca_wants_them,
        ),
        Trial::test(
            "challenges::the_end_of_an_alias_is_answered",
            the_end_of_an_alias_is_answered,
        ),
        Trial::test("challenges::peers_are_asked", peers_are_asked),
        Trial::test("challenges::certificates_are_seen", certificates_are_seen),
    ]
}
