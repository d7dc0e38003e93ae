//! Zones to and from NSD, Knot and BIND: AXFR, IXFR, NOTIFY, all of it signed; with NSD and BIND over TLS (RFC
//! 9103), too.
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::certificates;
use crate::client;
use crate::server::{Folder, PATIENCE, Process, free_port};

const SECRET: &str = "Y29uZm9ybWFuY2Uta2V5LW51bWJlci1vbmUtYWJjZGU=";

/// Another server.
#[derive(Clone, Copy)]
enum Peer {
    Nsd,
    Knot,
    Bind,
    /// The same, and transfers over TLS both ways.
    NsdTls,
    BindTls,
}

/// Ports of both.
#[derive(Clone, Copy)]
struct Ports {
    own: u16,
    own_tls: u16,
    peer: u16,
    peer_tls: u16,
}

/// A zone of a hundred names; the last one's address is the serial.
fn zone(serial: u8) -> String {
    let mut text = format!(
        "$TTL 3600\n@ IN SOA ns post {serial} 3600 600 86400 3600\n@ IN NS ns\nns IN A 192.0.2.53\nlast IN A 192.0.2.{serial}\n"
    );
    for number in 0..100 {
        text += &format!("h{number} IN TXT \"some text for a record\" \"{number}\"\n");
    }
    text
}

fn start(program: &str, arguments: &[&str], folder: &Folder) -> Process {
    Process::start(
        Path::new(program),
        arguments,
        folder.path(),
        &BTreeMap::new(),
        None,
    )
}

impl Peer {
    fn is_over_tls(self) -> bool {
        matches!(self, Self::NsdTls | Self::BindTls)
    }

    fn start(self, folder: &Folder, ports: Ports) -> Process {
        let (path, own, port) = (folder.path().display().to_string(), ports.own, ports.peer);
        match self {
            Self::Nsd | Self::NsdTls => {
                let (listen, auth, primary) = match self.is_over_tls() {
                    false => (String::new(), "", format!("{own} one.key")),
                    true => (
                        format!(
                            "  ip-address: 127.0.0.1@{tls}\n  tls-port: {tls}\n  tls-service-key: \"{path}/key.pem\"\n  \
                             tls-service-pem: \"{path}/cert.pem\"\n  tls-cert-bundle: \"{path}/ca.pem\"\n",
                            tls = ports.peer_tls
                        ),
                        "tls-auth:\n  name: ours\n  auth-domain-name: dns.example.org\n",
                        format!("{} one.key ours", ports.own_tls),
                    ),
                };
                folder.write(
                    "nsd.conf",
                    &format!(
                        "server:\n  ip-address: 127.0.0.1@{port}\n{listen}  username: \"\"\n  zonesdir: \"{path}\"\n  pidfile: \"{path}/nsd.pid\"\n  \
                         xfrdfile: \"{path}/xfrd.state\"\n  xfrdir: \"{path}\"\n  zonelistfile: \"{path}/zone.list\"\n  server-count: 1\n  \
                         database: \"\"\n  xfrd-reload-timeout: 0\nremote-control:\n  control-enable: no\n{auth}\
                         key:\n  name: one.key\n  algorithm: hmac-sha256\n  secret: \"{SECRET}\"\n\
                         zone:\n  name: up.test\n  zonefile: up.zone\n  create-ixfr: yes\n  notify: 127.0.0.1@{own} one.key\n  provide-xfr: 127.0.0.1 one.key\n\
                         zone:\n  name: down.test\n  zonefile: down.copy\n  allow-notify: 127.0.0.1 one.key\n  request-xfr: 127.0.0.1@{primary}\n"
                    ),
                );
                start("/usr/sbin/nsd", &["-d", "-c", "nsd.conf"], folder)
            }
            Self::Knot => {
                folder.write(
                    "knot.conf",
                    &format!(
                        "server:\n  rundir: \"{path}\"\n  listen: 127.0.0.1@{port}\ndatabase:\n  storage: \"{path}/knot\"\n\
                         log:\n  - target: stderr\n    any: info\n\
                         key:\n  - id: one.key\n    algorithm: hmac-sha256\n    secret: {SECRET}\n\
                         remote:\n  - id: ours\n    address: 127.0.0.1@{own}\n    key: one.key\n\
                         acl:\n  - id: ours\n    address: 127.0.0.1\n    key: one.key\n    action: [transfer, notify]\n\
                         zone:\n  - domain: up.test\n    storage: \"{path}\"\n    file: up.zone\n    zonefile-load: difference\n    notify: ours\n    acl: ours\n  \
                         - domain: down.test\n    storage: \"{path}\"\n    file: down.copy\n    master: ours\n    acl: ours\n"
                    ),
                );
                start("/usr/sbin/knotd", &["-c", "knot.conf"], folder)
            }
            Self::Bind | Self::BindTls => {
                let over_tls = self.is_over_tls();
                let (listen, primary) = match over_tls {
                    false => (String::new(), format!("port {own} key one.key")),
                    true => (
                        format!(
                            "listen-on port {} tls server {{ 127.0.0.1; }};",
                            ports.peer_tls
                        ),
                        format!("port {} key one.key tls ours", ports.own_tls),
                    ),
                };
                let tls = match over_tls {
                    false => "",
                    true => {
                        "tls server { cert-file \"cert.pem\"; key-file \"key.pem\"; };\n\
                         tls ours { ca-file \"ca.pem\"; remote-hostname \"dns.example.org\"; };\n"
                    }
                };
                folder.write(
                    "named.conf",
                    &format!(
                        "{tls}options {{ directory \"{path}\"; listen-on port {port} {{ 127.0.0.1; }}; {listen} listen-on-v6 {{ none; }}; \
                         pid-file \"{path}/named.pid\"; session-keyfile \"{path}/session.key\"; recursion no; dnssec-validation no; \
                         allow-transfer {{ key one.key; }}; notify explicit; notify-delay 0; ixfr-from-differences yes; }};\n\
                         controls {{ }};\nkey one.key {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
                         zone up.test {{ type primary; file \"up.zone\"; also-notify {{ 127.0.0.1 port {own} key one.key; }}; }};\n\
                         zone down.test {{ type secondary; file \"down.copy\"; primaries {{ 127.0.0.1 {primary}; }}; allow-notify {{ key one.key; }}; }};\n"
                    ),
                );
                start("/usr/sbin/named", &["-g", "-c", "named.conf"], folder)
            }
        }
    }

    /// Our side: a secondary of its zone, and a primary of the other.
    fn corefile(self, ports: Ports) -> String {
        let Ports {
            own,
            own_tls,
            peer,
            peer_tls,
        } = ports;
        let over_tls = self.is_over_tls();
        let (from, tls) = match over_tls {
            true => (
                format!("tls://127.0.0.1:{peer_tls}%dns.example.org"),
                "        tls ca.pem\n",
            ),
            false => (format!("127.0.0.1:{peer}"), ""),
        };
        let key = format!(
            "    tsig {{\n        secret one.key {SECRET}\n        require AXFR IXFR\n    }}\n"
        );
        let down = |scheme: &str, port: u16, more: &str| {
            format!(
                "{scheme}down.test:{port} {{\n{more}{key}    file down.zone {{\n        reload 100ms\n    }}\n    \
                 transfer {{\n        to 127.0.0.1:{peer}\n        key one.key\n    }}\n}}\n"
            )
        };
        let mut text = format!(
            "up.test:{own} {{\n{key}    secondary {{\n        transfer from {from}\n        key one.key\n{tls}        \
             store copies\n    }}\n}}\n"
        );
        text += &down("", own, "");
        if over_tls {
            text += &down("tls://", own_tls, "    tls cert.pem key.pem\n");
        }
        text
    }
}

/// Waits until a server answers with the zone's serial.
fn wait_serial(port: u16, zone: &str, serial: u8, who: &Process) -> Result<(), Failed> {
    wait_after(port, zone, serial, who, || ())
}

/// The same after what is done now and, as long as that does not help, again: NSD loses a signal that comes while
/// it is still busy with a transfer.
fn wait_after(
    port: u16,
    zone: &str,
    serial: u8,
    who: &Process,
    mut act: impl FnMut(),
) -> Result<(), Failed> {
    let until = Instant::now() + PATIENCE + Duration::from_secs(20);
    let mut next = Instant::now();
    let expected = format!("192.0.2.{serial}");
    loop {
        if Instant::now() >= next {
            act();
            next = Instant::now() + Duration::from_secs(5);
        }
        let answer = client::ask(port, &format!("last.{zone}"), "A");
        if answer
            .as_ref()
            .is_ok_and(|answer| answer.answers() == [expected.as_str()])
        {
            return Ok(());
        }
        if Instant::now() > until {
            let log = who.lines().join("\n");
            return Err(format!("{zone} {serial} does not come: {answer:?}\n{log}").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn exchange(peer: Peer) -> Result<(), Failed> {
    let folder = Folder::new();
    certificates::write(folder.path());
    std::fs::create_dir(folder.path().join("knot")).unwrap();
    let ports = Ports {
        own: free_port(),
        own_tls: free_port(),
        peer: free_port(),
        peer_tls: free_port(),
    };
    folder.write("up.zone", &zone(1));
    folder.write("down.zone", &zone(1));
    let other = peer.start(&folder, ports);
    wait_serial(ports.peer, "up.test", 1, &other)?;
    let ours = Process::serve(&folder, &peer.corefile(ports));

    // Whole zones, both ways.
    wait_serial(ports.own, "up.test", 1, &ours)?;
    wait_serial(ports.peer, "down.test", 1, &other)?;
    ours.wait_for_log(r#"Outgoing transfer of 105 records of zone "down.test.""#);

    // What changed, after a NOTIFY, both ways. The zone's refresh is an hour away.
    folder.write("up.zone", &zone(2));
    wait_after(ports.own, "up.test", 2, &ours, || other.signal("HUP"))?;
    ours.wait_for_log("Notify from 127.0.0.1 for up.test.: checking transfer");
    folder.write("down.zone", &zone(2));
    wait_serial(ports.peer, "down.test", 2, &other)?;
    ours.wait_for_log(r#"Outgoing incremental transfer of 6 records of zone "down.test.""#);
    // Nobody had to fall back to a whole zone.
    let whole = ours
        .lines()
        .iter()
        .filter(|line| line.contains("asking for the whole zone"))
        .count();
    if whole > 0 {
        return Err(ours.lines().join("\n").into());
    }

    // A restart without a primary.
    drop(other);
    drop(ours);
    let ours = Process::serve(&folder, &peer.corefile(ports));
    let answer = client::ask(ports.own, "last.up.test", "A").map_err(|error| error.to_string())?;
    if answer.answers() != ["192.0.2.2"] {
        return Err(format!("{answer:?}\n{}", ours.lines().join("\n")).into());
    }
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("peers::nsd", || exchange(Peer::Nsd)),
        Trial::test("peers::knot", || exchange(Peer::Knot)),
        Trial::test("peers::bind", || exchange(Peer::Bind)),
        Trial::test("peers::nsd_over_tls", || exchange(Peer::NsdTls)),
        Trial::test("peers::bind_over_tls", || exchange(Peer::BindTls)),
    ]
}
