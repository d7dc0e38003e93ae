//! Catalog zones (RFC 9432) made here, for Knot, BIND and a server of our own: zones come and go there with files
//! in a folder here.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::client;
use crate::server::{Folder, PATIENCE, Process, free_port};

const SECRET: &str = "Y29uZm9ybWFuY2Uta2V5LW51bWJlci1vbmUtYWJjZGU=";

/// Who reads the catalog.
#[derive(Clone, Copy)]
enum Consumer {
    Knot,
    Bind,
    Ours,
}

fn zone(address: u8) -> String {
    format!(
        "$TTL 3600\n@ IN SOA ns post {address} 3600 600 86400 3600\n@ IN NS ns\nns IN A 192.0.2.{address}\n"
    )
}

/// The server that has the folder; `consumer` is told of changes.
fn primary(folder: &Folder, port: u16, consumer: u16) -> Process {
    let corefile = format!(
        ".:{port} {{
    tsig {{
        secret one.key {SECRET}
        require AXFR IXFR
    }}
    transfer {{
        to 127.0.0.1:{consumer}
        key one.key
        catalog catalog.test gold
    }}
    auto {{
        directory zones
        reload 200ms
    }}
}}
"
    );
    Process::serve(folder, &corefile)
}

impl Consumer {
    fn start(self, folder: &Folder, port: u16, primary: u16) -> Process {
        let path = folder.path().display().to_string();
        let run = |program: &str, arguments: &[&str]| {
            let program = Path::new(program);
            Process::start(program, arguments, folder.path(), &BTreeMap::new(), None)
        };
        match self {
            Self::Knot => {
                folder.write(
                    "knot.conf",
                    &format!(
                        "server:\n  rundir: \"{path}\"\n  listen: 127.0.0.1@{port}\ndatabase:\n  storage: \"{path}/knot\"\n\
                         log:\n  - target: stderr\n    any: info\n\
                         key:\n  - id: one.key\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
                         remote:\n  - id: primary\n    address: 127.0.0.1@{primary}\n    key: one.key\n\
                         acl:\n  - id: primary\n    address: 127.0.0.1\n    key: one.key\n    action: notify\n\
                         template:\n  - id: member\n    storage: \"{path}/knot\"\n    master: primary\n    acl: primary\n\
                         zone:\n  - domain: catalog.test\n    storage: \"{path}/knot\"\n    master: primary\n    acl: primary\n    \
                         catalog-role: interpret\n    catalog-template: member\n"
                    ),
                );
                run("/usr/sbin/knotd", &["-c", "knot.conf"])
            }
            Self::Bind => {
                folder.write(
                    "named.conf",
                    &format!(
                        "options {{ directory \"{path}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; \
                         pid-file \"{path}/named.pid\"; session-keyfile \"{path}/session.key\"; recursion no; dnssec-validation no; \
                         allow-notify {{ key one.key; }}; \
                         catalog-zones {{ zone \"catalog.test\" default-primaries {{ 127.0.0.1 port {primary} key one.key; }} \
                         in-memory yes min-update-interval 0; }}; }};\n\
                         controls {{ }};\nkey one.key {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
                         zone catalog.test {{ type secondary; file \"catalog.copy\"; primaries {{ 127.0.0.1 port {primary} key one.key; }}; }};\n"
                    ),
                );
                run("/usr/sbin/named", &["-g", "-c", "named.conf"])
            }
            Self::Ours => {
                let corefile = format!(
                    "test:{port} {{
    tsig {{
        secret one.key {SECRET}
    }}
    secondary catalog.test {{
        transfer from 127.0.0.1:{primary}
        key one.key
        catalog test
    }}
}}
"
                );
                Process::serve(folder, &corefile)
            }
        }
    }
}

/// Waits until the name server of a zone has this address at a server; nothing: until the zone is not there.
fn wait(port: u16, zone: &str, address: Option<u8>, who: &[&Process]) -> Result<(), Failed> {
    let until = Instant::now() + PATIENCE + Duration::from_secs(30);
    let name = format!("ns.{zone}");
    loop {
        let answer = client::ask(port, &name, "A");
        let done = answer.as_ref().is_ok_and(|answer| match address {
            Some(address) => answer.answers() == [format!("192.0.2.{address}")],
            None => matches!(&*answer.rcode_name(), "REFUSED" | "SERVFAIL"),
        });
        if done {
            return Ok(());
        }
        if Instant::now() > until {
            let logs: Vec<_> = who.iter().map(|who| who.lines().join("\n")).collect();
            let logs = logs.join("\n---\n");
            return Err(format!("{zone} {address:?}: {answer:?}\n{logs}").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn follow(consumer: Consumer) -> Result<(), Failed> {
    let (here, there) = (Folder::new(), Folder::new());
    fs::create_dir(there.path().join("knot")).unwrap();
    fs::create_dir(here.path().join("zones")).unwrap();
    let (port, other) = (free_port(), free_port());
    here.write("zones/db.one.test", &zone(1));
    let first = primary(&here, port, other);
    first.wait_for_log("Catalog zone catalog.test. has 1 member zones");
    let reader = consumer.start(&there, other, port);
    wait(other, "one.test", Some(1), &[&first, &reader])?;

    // A file comes, and then the zone; one goes, and so does its zone. A file that is no zone takes none away.
    here.write("zones/db.two.test", &zone(2));
    wait(other, "two.test", Some(2), &[&first, &reader])?;
    here.write("zones/db.one.test", "this is no zone");
    here.write("zones/db.three.test", &zone(3));
    wait(other, "three.test", Some(3), &[&first, &reader])?;
    wait(other, "one.test", Some(1), &[&first, &reader])?;
    fs::remove_file(here.path().join("zones/db.two.test")).unwrap();
    wait(other, "two.test", None, &[&first, &reader])?;

    // Nor does a restart, or one without the folder.
    drop(first);
    let away = here.path().join("away");
    fs::rename(here.path().join("zones"), &away).unwrap();
    let second = primary(&here, port, other);
    second.wait_for_log("Catalog zone catalog.test. is not served");
    fs::rename(&away, here.path().join("zones")).unwrap();
    second.wait_for_log("Catalog zone catalog.test. has 2 member zones");
    // A reload keeps the catalog as it is.
    let versions = |server: &Process| {
        let lines = server.lines();
        lines
            .iter()
            .filter(|line| line.contains("member zones, SOA serial"))
            .count()
    };
    let before = versions(&second);
    second.signal("USR1");
    second.wait_for_log("Reloading complete");
    assert_eq!(versions(&second), before);
    here.write("zones/db.four.test", &zone(4));
    wait(other, "four.test", Some(4), &[&second, &reader])?;
    wait(other, "three.test", Some(3), &[&second, &reader])?;
    wait(other, "one.test", Some(1), &[&second, &reader])
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("catalogs::knot", || follow(Consumer::Knot)),
        Trial::test("catalogs::bind", || follow(Consumer::Bind)),
        Trial::test("catalogs::ours", || follow(Consumer::Ours)),
    ]
}
