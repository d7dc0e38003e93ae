//! The servers, each started once with all zones.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use super::questions::Question;
use super::verdict::{self, Answer};
use super::zones::Zone;
use crate::client::{Options, Query};
use crate::message::Message;
use crate::server::{Folder, PATIENCE, Process, free_port};

/// In the order of the answers.
pub(super) const NAMES: [&str; 4] = ["ours", "NSD ", "Knot", "BIND"];

/// How long an answer is waited for before the question is asked again.
const LOST: Duration = Duration::from_millis(700);

/// Four servers with the same zones.
pub(super) struct Servers {
    sockets: [UdpSocket; 4],
    _processes: [Process; 4],
}

impl Servers {
    pub(super) fn start(folder: &Folder, zones: &[Zone]) -> Self {
        let ports = [(); 4].map(|()| free_port());
        let [own, nsd, knot, bind] = ports;
        let processes = [
            Process::serve(
                folder,
                &format!("test:{own} {{\n    auto {{\n        directory zones\n    }}\n}}\n"),
            ),
            start_nsd(folder, nsd, zones),
            start_knot(folder, knot, zones),
            start_bind(folder, bind, zones),
        ];
        let sockets = ports.map(|port| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.connect(("127.0.0.1", port)).unwrap();
            socket.set_read_timeout(Some(LOST)).unwrap();
            socket
        });
        let servers = Self {
            sockets,
            _processes: processes,
        };
        servers.wait(zones);
        servers
    }

    /// Waits until everybody answers from every zone.
    fn wait(&self, zones: &[Zone]) {
        let until = Instant::now() + PATIENCE;
        for zone in zones {
            for (name, socket) in NAMES.iter().zip(&self.sockets) {
                let query = Query::new(&zone.name, "SOA", &options(false));
                loop {
                    let answer = exchange(socket, &query);
                    if answer
                        .as_ref()
                        .is_some_and(|answer| answer.answers().len() == 1)
                    {
                        break;
                    }
                    assert!(
                        Instant::now() < until,
                        "{name} does not serve {}: {answer:?}",
                        zone.name
                    );
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    }

    /// Everybody's answer; nothing if one does not fit into a datagram.
    pub(super) fn ask(&self, question: &Question) -> Option<[Answer; 4]> {
        let query = Query::new(&question.name, question.rtype, &options(question.dnssec_ok));
        for socket in &self.sockets {
            let _ = socket.send(&query.wire);
        }
        let mut answers = Vec::new();
        for (name, socket) in NAMES.iter().zip(&self.sockets) {
            let until = Instant::now() + PATIENCE;
            let message = loop {
                if let Some(message) = receive(socket, &query) {
                    break message;
                }
                assert!(Instant::now() < until, "{name} does not answer {question}");
                let _ = socket.send(&query.wire);
            };
            if *name == NAMES[0]
                && let Some(record) = verdict::doubled(&message)
            {
                panic!("{question}: {record} is there twice");
            }
            answers.push(Answer::of(&message, question)?);
        }
        answers.try_into().ok()
    }
}

fn options(dnssec_ok: bool) -> Options {
    let mut options = Options::new();
    options.insert("nord".to_owned(), String::new());
    options.insert("bufsize".to_owned(), "4096".to_owned());
    if dnssec_ok {
        options.insert("do".to_owned(), String::new());
    }
    options
}

fn exchange(socket: &UdpSocket, query: &Query) -> Option<Message> {
    socket.send(&query.wire).ok()?;
    receive(socket, query)
}

fn receive(socket: &UdpSocket, query: &Query) -> Option<Message> {
    let mut buffer = [0; 65_535];
    loop {
        let length = socket.recv(&mut buffer).ok()?;
        if buffer[..2] == query.wire[..2] {
            return Some(Message::read(&buffer[..length]).expect("a message"));
        }
    }
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

fn start_nsd(folder: &Folder, port: u16, zones: &[Zone]) -> Process {
    let path = folder.path().display();
    let mut conf = format!(
        "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  zonesdir: \"{path}\"\n  pidfile: \"{path}/nsd.pid\"\n  \
         xfrdfile: \"{path}/xfrd.state\"\n  xfrdir: \"{path}\"\n  zonelistfile: \"{path}/zone.list\"\n  server-count: 1\n  \
         ipv4-edns-size: 4096\n  rrl-ratelimit: 0\n  minimal-responses: no\nremote-control:\n  control-enable: no\n"
    );
    for zone in zones {
        writeln!(
            conf,
            "zone:\n  name: {}\n  zonefile: \"{}\"",
            zone.name,
            zone.file()
        )
        .unwrap();
    }
    folder.write("nsd.conf", &conf);
    start("/usr/sbin/nsd", &["-d", "-c", "nsd.conf"], folder)
}

fn start_knot(folder: &Folder, port: u16, zones: &[Zone]) -> Process {
    let path = folder.path().display();
    let mut conf = format!(
        "server:\n  listen: 127.0.0.1@{port}\n  rundir: {path}\n  udp-workers: 1\n  tcp-workers: 1\n  background-workers: 1\n  \
         udp-max-payload: 4096\ndatabase:\n  storage: {path}/knot\nlog:\n  - target: stderr\n    any: warning\ntemplate:\n  - id: default\n    \
         storage: {path}\n    zonefile-sync: -1\n    zonefile-load: whole\n    journal-content: none\n    semantic-checks: off\nzone:\n"
    );
    for zone in zones {
        writeln!(conf, "  - domain: {}\n    file: {}", zone.name, zone.file()).unwrap();
    }
    folder.write("knot.conf", &conf);
    start("/usr/sbin/knotd", &["-c", "knot.conf"], folder)
}

fn start_bind(folder: &Folder, port: u16, zones: &[Zone]) -> Process {
    let path = folder.path().display();
    let mut conf = format!(
        "options {{ directory \"{path}\"; listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; \
         pid-file none; session-keyfile none; lock-file none; dnssec-validation no; minimal-responses no; max-udp-size 4096; \
         edns-udp-size 4096; check-names primary ignore; zero-no-soa-ttl no; empty-zones-enable no; notify no; }};\ncontrols {{ }};\n"
    );
    for zone in zones {
        writeln!(
            conf,
            "zone \"{}\" {{ type primary; file \"{}\"; check-integrity no; }};",
            zone.name,
            zone.file()
        )
        .unwrap();
    }
    folder.write("named.conf", &conf);
    start(
        "/usr/sbin/named",
        &["-g", "-n", "1", "-c", "named.conf"],
        folder,
    )
}
