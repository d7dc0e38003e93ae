//! One server on every transport: what one of them refuses no other lets through.
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::certificates;
use crate::client::{self, NoAnswer, Options, Query};
use crate::message::{Message, wire_name};
use crate::server::{Folder, Process, free_port};

/// How a message travels: a word for failures, options of the client, and which of the listeners.
pub(crate) struct Way {
    pub(crate) name: &'static str,
    options: &'static [&'static str],
    listener: usize,
    /// Whether a response may be several messages.
    pub(crate) carries_transfers: bool,
}

const fn way(
    name: &'static str,
    options: &'static [&'static str],
    listener: usize,
    carries_transfers: bool,
) -> Way {
    Way {
        name,
        options,
        listener,
        carries_transfers,
    }
}

pub(crate) const WAYS: [Way; 10] = [
    way("udp", &[], 0, false),
    way("tcp", &["tcp"], 0, true),
    way("tls", &["tls"], 1, true),
    way("http/1.1 post", &["http1"], 2, false),
    way("http/1.1 get", &["http1", "get"], 2, false),
    way("http/2 post", &["https"], 2, false),
    way("http/2 get", &["https", "get"], 2, false),
    way("http/3", &["https3"], 3, false),
    way("quic", &["quic"], 4, true),
    way("grpc", &["grpc", "grpctls"], 5, false),
];

/// A zone with some of everything.
pub(crate) const ZONE: &str = "$ORIGIN isle.example.
$TTL 300
@     IN SOA ns post 7 3600 600 86400 300
@     IN NS  ns
ns    IN A   192.0.2.53
www   IN A   192.0.2.1
www   IN TXT \"the data\"
alias IN CNAME www
*.wild IN TXT \"the data\"
";

/// A server with one block on six listeners.
pub(crate) struct Everywhere {
    pub(crate) folder: Folder,
    ports: [u16; 6],
    pub(crate) process: Process,
}

impl Everywhere {
    /// Serves `isle.example` and all other names of `keys` with these directives.
    pub(crate) fn serve(zone: &str, directives: &str) -> Self {
        let (folder, ports) = (Folder::new(), [(); 6].map(|()| free_port()));
        certificates::write(folder.path());
        folder.write("db.isle", ZONE);
        let schemes = ["", "tls://", "https://", "https3://", "quic://", "grpc://"];
        let keys: Vec<_> = schemes
            .iter()
            .zip(ports)
            .map(|(scheme, port)| format!("{scheme}{zone}:{port}"))
            .collect();
        let corefile = format!(
            "{} {{\n bind 127.0.0.1\n tls cert.pem key.pem\n{directives}\n}}\n",
            keys.join(" ")
        );
        let process = Process::serve(&folder, &corefile);
        Self {
            folder,
            ports,
            process,
        }
    }

    /// Port of UDP and TCP.
    pub(crate) fn port(&self) -> u16 {
        self.ports[0]
    }

    pub(crate) fn tls_port(&self) -> u16 {
        self.ports[1]
    }

    pub(crate) fn https_port(&self) -> u16 {
        self.ports[2]
    }

    pub(crate) fn https3_port(&self) -> u16 {
        self.ports[3]
    }

    /// Sends a message as it is, and reads the first of the response.
    pub(crate) fn send(&self, way: &Way, wire: &[u8]) -> Result<Message, NoAnswer> {
        self.send_with(way, wire, &[])
    }

    /// The same with more options of the client.
    pub(crate) fn send_with(
        &self,
        way: &Way,
        wire: &[u8],
        more: &[(&str, &str)],
    ) -> Result<Message, NoAnswer> {
        let mut opts: Options = way
            .options
            .iter()
            .map(|option| ((*option).to_owned(), String::new()))
            .collect();
        for (name, value) in more {
            opts.insert((*name).to_owned(), (*value).to_owned());
        }
        let query = Query {
            wire: wire.to_vec(),
            asked: (String::new(), 0, 0),
            signature: None,
        };
        client::send(&query, &opts, self.ports[way.listener], self.folder.path())
    }

    /// The zone's serial, as its own records say.
    pub(crate) fn serial(&self) -> u32 {
        let opts = Options::from([("from".to_owned(), "127.0.0.2".to_owned())]);
        let query = Query::new("isle.example", "SOA", &opts);
        let message = client::send(&query, &opts, self.port(), Path::new(".")).unwrap();
        let answers = message.answers();
        answers[0].split(' ').nth(2).unwrap().parse().unwrap()
    }
}

/// A query, unsigned.
pub(crate) fn query(name: &str, rtype: &str) -> Vec<u8> {
    let mut query = Query::new(name, rtype, &Options::new()).wire;
    if rtype == "IXFR" {
        query[9] = 1;
        query.extend(wire_name("isle.example"));
        query.extend([0, 6, 0, 1, 0, 0, 0, 0, 0, 22, 0, 0, 0, 0, 0, 1]);
        query.extend([0; 16]);
    }
    query
}

/// An update that adds `NAME.isle.example. 60 A 192.0.2.66`, unsigned.
pub(crate) fn update(name: &str) -> Vec<u8> {
    let opts = Options::from([("opcode".to_owned(), "UPDATE".to_owned())]);
    let mut update = Query::new("isle.example", "SOA", &opts).wire;
    update[9] = 1;
    update.extend(wire_name(&format!("{name}.isle.example")));
    update.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 66]);
    update
}

/// A notification of a new version of the zone.
pub(crate) fn notify() -> Vec<u8> {
    let opts = Options::from([("opcode".to_owned(), "NOTIFY".to_owned())]);
    Query::new("isle.example", "SOA", &opts).wire
}

/// Whether a response has anything of the zone.
pub(crate) fn tells(message: &Message) -> bool {
    let is_data = |rtype| rtype != 250;
    message.records.iter().any(|record| is_data(record.rtype))
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}
