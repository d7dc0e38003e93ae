//! Dynamic updates: nsupdate, clients of ACME, and a server that is killed while it takes them.
mod alone;
mod clients;
mod gone;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::client::{self, Options, Query};
use crate::message::Message;
use crate::server::{Folder, PATIENCE, Process, free_port};

const SECRET: &str = "NoTCJU+DMqFWywaPyxSijrDEA/eC3nK0xi3AMEZuPVk=";
/// Times that the server is killed where `CORTEN_UPDATE_KILLS` does not say how often.
const KILLS: u32 = 12;
const ZONE: &str = "$TTL 3600
@    IN SOA ns post 1 7200 3600 1209600 3600
@    IN NS  ns
ns   IN A   192.0.2.53
www  IN A   192.0.2.1
www  IN A   192.0.2.2
";

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("updates::nsupdate", with_nsupdate),
        Trial::test("updates::challenges", challenges),
        Trial::test("updates::expiry", expiry),
        Trial::test("updates::kill", kill),
        Trial::test("updates::one_process", alone::one_process),
        Trial::test("updates::gone", gone::a_zone_that_went),
    ];
    trials.extend(clients::trials());
    trials
}

/// A server with a zone that two keys may update.
struct Primary {
    folder: Folder,
    port: u16,
    more: &'static str,
}

impl Primary {
    fn new(more: &'static str) -> Self {
        let folder = Folder::new();
        folder.write("db.example.org", ZONE);
        Self {
            folder,
            port: free_port(),
            more,
        }
    }

    fn start(&self) -> Process {
        let corefile = format!(
            "example.org:{} {{
    tsig {{
        secret all.example.org. {SECRET}
        secret web.example.org. {SECRET}
    }}
    transfer {{
        to *
    }}
    file db.example.org {{
        reload 100ms
    }}
    update {{
        allow all.example.org.
        acme web.example.org. www.example.org *.apps.example.org
        rate 0
        {}
    }}
}}
",
            self.port, self.more
        );
        Process::serve(&self.folder, &corefile)
    }

    /// Runs nsupdate with a key of that name.
    fn nsupdate(&self, algorithm: &str, key: &str, commands: &str) -> Output {
        let key = format!("{algorithm}:{key}.example.org:{SECRET}");
        let mut child = Command::new("nsupdate")
            .args(["-v", "-t", "5", "-y", &key])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let text = format!(
            "server 127.0.0.1 {}\nzone example.org\n{commands}\nsend\nanswer\n",
            self.port
        );
        // It ends early when an update is refused.
        let _ = child.stdin.take().unwrap().write_all(text.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// What becomes of an update: an RCODE.
    fn update(&self, key: &str, commands: &str) -> String {
        let output = self.nsupdate("hmac-sha256", key, commands);
        let error = String::from_utf8(output.stderr).unwrap();
        match error.trim().strip_prefix("update failed: ") {
            Some(rcode) => rcode.to_owned(),
            None if output.status.success() => "NOERROR".to_owned(),
            None => error,
        }
    }

    fn ask(&self, name: &str, rtype: &str) -> Message {
        let mut options = Options::new();
        options.insert("tcp".to_owned(), String::new());
        let query = Query::new(&format!("{name}.example.org"), rtype, &options);
        client::send(&query, &options, self.port, Path::new(".")).unwrap()
    }

    fn answers(&self, name: &str, rtype: &str) -> Vec<String> {
        let message = self.ask(name, rtype);
        let mut answers: Vec<_> = message
            .answers()
            .iter()
            .map(|text| (*text).to_owned())
            .collect();
        answers.sort();
        answers
    }

    fn serial(&self) -> u32 {
        let query = Query::new("example.org", "SOA", &Options::new());
        let message = client::send(&query, &Options::new(), self.port, Path::new(".")).unwrap();
        message.answers()[0]
            .split(' ')
            .nth(2)
            .unwrap()
            .parse()
            .unwrap()
    }
}

/// RFC 2136 section 2.4 and 2.5, as nsupdate says it.
fn with_nsupdate() -> Result<(), Failed> {
    let primary = Primary::new("");
    let server = primary.start();
    let all = |commands: &str| primary.update("all", commands);
    for (commands, rcode) in [
        ("update add a.example.org 60 A 192.0.2.7", "NOERROR"),
        (
            "prereq nxdomain a.example.org\nupdate delete a.example.org",
            "YXDOMAIN",
        ),
        (
            "prereq yxdomain b.example.org\nupdate delete a.example.org",
            "NXDOMAIN",
        ),
        (
            "prereq nxrrset a.example.org A\nupdate delete a.example.org",
            "YXRRSET",
        ),
        (
            "prereq yxrrset a.example.org TXT\nupdate delete a.example.org",
            "NXRRSET",
        ),
        (
            "prereq yxrrset a.example.org A 192.0.2.8\nupdate delete a.example.org",
            "NXRRSET",
        ),
        (
            "prereq yxrrset www.example.org A 192.0.2.1\nupdate delete a.example.org",
            "NXRRSET",
        ),
        (
            "prereq yxrrset www.example.org A 192.0.2.1\nprereq yxrrset www.example.org A 192.0.2.2\nupdate add c.example.org 60 TXT \"yes\"",
            "NOERROR",
        ),
        ("update add x.example.com 60 A 192.0.2.7", "NOTZONE"),
        ("update delete www.example.org A 192.0.2.2", "NOERROR"),
        // Both or none.
        (
            "update add d.example.org 60 A 192.0.2.7\nupdate add e.example.org 60 NSEC a.example.org A",
            "REFUSED",
        ),
        // An alias is alone, and the zone keeps its own records.
        ("update add a.example.org 60 CNAME b.example.org", "NOERROR"),
        ("update delete example.org", "NOERROR"),
        ("update delete example.org NS", "NOERROR"),
    ] {
        assert_eq!(all(commands), rcode, "{commands}");
    }
    assert_eq!(primary.answers("a", "A"), ["192.0.2.7"]);
    assert_eq!(primary.answers("c", "TXT"), ["\"yes\""]);
    assert_eq!(primary.answers("www", "A"), ["192.0.2.1"]);
    assert_eq!(primary.ask("d", "A").rcode_name(), "NXDOMAIN");
    assert_eq!(primary.serial(), 4);

    let unsigned = Command::new("nsupdate")
        .arg("-v")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut unsigned = unsigned.unwrap();
    let text = format!(
        "server 127.0.0.1 {}\nzone example.org\nupdate delete www.example.org\nsend\n",
        primary.port
    );
    unsigned
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let told = unsigned.wait_with_output().unwrap().stderr;
    assert_eq!(
        String::from_utf8_lossy(&told).trim(),
        "update failed: REFUSED"
    );
    server.wait_for_log("REFUSED, it is not signed");
    let _ = primary.nsupdate("hmac-md5", "all", "update delete www.example.org");
    server.wait_for_log("HMAC-MD5.*dns_rfc2136_algorithm = HMAC-SHA256");
    assert_eq!(primary.answers("www", "A"), ["192.0.2.1"]);

    // What changed goes out as such.
    let changes = Command::new("kdig")
        .args([
            "@127.0.0.1",
            "-p",
            &primary.port.to_string(),
            "+tcp",
            "+noall",
            "+answer",
            "IXFR=2",
            "example.org",
        ])
        .output();
    let changes = String::from_utf8(changes.unwrap().stdout).unwrap();
    let soas = changes.lines().filter(|line| line.contains("SOA")).count();
    assert_eq!(
        soas, 6,
        "from 2 to 3 and to 4, between two of 4:\n{changes}"
    );

    // By UDP, too, if it fits.
    let changes = Command::new("dig")
        .args(["@127.0.0.1", "-p", &primary.port.to_string(), "+notcp"])
        .args(["+noall", "+answer", "+comments", "example.org", "IXFR=3"])
        .output();
    let changes = String::from_utf8(changes.unwrap().stdout).unwrap();
    let soas = changes.lines().filter(|line| line.contains("SOA")).count();
    assert!(
        soas == 4 && changes.contains("NOERROR"),
        "from 3 to 4, between two of 4:\n{changes}"
    );

    // The file has its own changes; the updates stay, and so does what they deleted. Its serial is by
    // chance the one that updates have come to.
    let file = ZONE.replace(" 1 7200", " 4 7200") + "new IN A 192.0.2.99\n";
    primary.folder.write("db.example.org", &file);
    server.wait_for_log("Successfully reloaded");
    let until = Instant::now() + PATIENCE;
    while primary.answers("new", "A").is_empty() {
        assert!(Instant::now() < until, "the file's record does not come");
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(primary.answers("a", "A"), ["192.0.2.7"]);
    assert_eq!(primary.answers("www", "A"), ["192.0.2.1"]);
    assert_eq!(primary.serial(), 5);
    Ok(())
}

/// A key for challenges writes those and nothing else.
fn challenges() -> Result<(), Failed> {
    let primary = Primary::new("ttl 5 10\n        values 2\n        length 50");
    let _server = primary.start();
    let long = "x".repeat(60);
    for (commands, rcode) in [
        (
            "update add _acme-challenge.www.example.org 600 TXT \"one\"".to_owned(),
            "NOERROR",
        ),
        (
            "update add _acme-challenge.www.example.org 1 TXT \"two\"".to_owned(),
            "NOERROR",
        ),
        (
            "update add _acme-challenge.www.example.org 60 TXT \"three\"".to_owned(),
            "REFUSED",
        ),
        (
            format!("update add _acme-challenge.a.apps.example.org 60 TXT \"{long}\""),
            "REFUSED",
        ),
        (
            "update add _acme-challenge.a.apps.example.org 60 TXT \"deep\"".to_owned(),
            "NOERROR",
        ),
        (
            "update add _acme-challenge.apps.example.org 60 TXT \"itself\"".to_owned(),
            "REFUSED",
        ),
        (
            "update add _acme-challenge.example.org 60 TXT \"apex\"".to_owned(),
            "REFUSED",
        ),
        (
            "update add _acme-challenge.www.example.org 60 CNAME www.example.org".to_owned(),
            "REFUSED",
        ),
        (
            "update add www.example.org 60 TXT \"x\"".to_owned(),
            "REFUSED",
        ),
        ("update delete www.example.org".to_owned(), "REFUSED"),
        // The whole name, as some clients do when they are done.
        (
            "update add _acme-challenge.c.apps.example.org 60 TXT \"x\"".to_owned(),
            "NOERROR",
        ),
        (
            "update delete _acme-challenge.c.apps.example.org".to_owned(),
            "NOERROR",
        ),
        (
            "prereq nxdomain _acme-challenge.c.apps.example.org\nupdate delete _acme-challenge.c.apps.example.org".to_owned(),
            "NOERROR",
        ),
    ] {
        assert_eq!(primary.update("web", &commands), rcode, "{commands}");
    }
    let message = primary.ask("_acme-challenge.www", "TXT");
    let ttls: Vec<_> = message
        .records
        .iter()
        .filter(|record| record.rtype == 16)
        .map(|record| record.ttl)
        .collect();
    assert_eq!(ttls, [5, 5], "brought between 5 and 10; a set has one");
    Ok(())
}

/// Challenges go by themselves.
fn expiry() -> Result<(), Failed> {
    let primary = Primary::new("expire 2s");
    let server = primary.start();
    let commands = "update add _acme-challenge.www.example.org 60 TXT \"one\"";
    assert_eq!(primary.update("web", commands), "NOERROR");
    server.wait_for_logs("have expired", 1, PATIENCE);
    let until = Instant::now() + PATIENCE;
    while primary.ask("_acme-challenge.www", "TXT").rcode_name() != "NXDOMAIN" {
        assert!(Instant::now() < until, "challenges do not expire");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Whatever was acknowledged is there after `kill -9`.
fn kill() -> Result<(), Failed> {
    let kills = std::env::var("CORTEN_UPDATE_KILLS").ok();
    let kills: u32 = kills.map_or(KILLS, |text| text.parse().unwrap());
    let primary = Primary::new("");
    let mut expected = 0;
    for round in 0..kills {
        let server = primary.start();
        assert!(
            primary.serial() > expected,
            "round {round}: the serial went back"
        );
        expected = check(&primary, round);
        let commands: Vec<_> = (0..400)
            .map(|number| {
                format!("update add r{round}n{number}.example.org 60 A 192.0.2.1\nsend\nanswer")
            })
            .collect();
        let acknowledged = std::thread::scope(|scope| {
            let client =
                scope.spawn(|| primary.nsupdate("hmac-sha256", "all", &commands.join("\n")));
            // Once it takes updates, at any moment.
            server.wait_for_logs(&format!("r{round}n0"), 1, PATIENCE);
            std::thread::sleep(Duration::from_millis(rand::random_range(0..60)));
            server.signal("KILL");
            let output = client.join().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            text.lines()
                .filter(|line| line.contains("opcode: UPDATE, status: NOERROR"))
                .count()
        });
        assert!(acknowledged < 400, "it was killed too late");
        primary
            .folder
            .write(&format!("round{round}"), &acknowledged.to_string());
    }
    let _server = primary.start();
    check(&primary, kills);
    Ok(())
}

/// Looks for everything that was acknowledged in the last rounds; returns the serial.
fn check(primary: &Primary, rounds: u32) -> u32 {
    for round in rounds.saturating_sub(3)..rounds {
        let path = primary.folder.path().join(format!("round{round}"));
        let acknowledged: u32 = std::fs::read_to_string(path).unwrap().parse().unwrap();
        for number in 0..acknowledged {
            let found = primary.answers(&format!("r{round}n{number}"), "A");
            assert_eq!(
                found,
                ["192.0.2.1"],
                "round {round}, update {number} of {acknowledged} is lost"
            );
        }
    }
    primary.serial()
}
