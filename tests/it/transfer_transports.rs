//! Zone transfers over the encrypted transports: those that carry them, and those that do not.
use std::fmt::Write;

use libtest_mimic::{Failed, Trial};
use quinn::{TransportConfig, VarInt};

use crate::certificates;
use crate::client::{self, Options, Query};
use crate::message::Message;
use crate::quic::{Client, exchange, framed};
use crate::server::{Folder, Process, free_port};

const SOA: u16 = 6;
/// Records of the zone, without SOA and NS: much more than a message has room for.
const RECORDS: usize = 4000;

struct Served {
    folder: Folder,
    ports: [u16; 4],
    _process: Process,
}

fn serve() -> Served {
    let (folder, ports) = (Folder::new(), [(); 4].map(|()| free_port()));
    certificates::write(folder.path());
    let mut zone = String::from(
        "$ORIGIN example.\n$TTL 300\n@ SOA ns.invalid. nobody.invalid. 7 3600 600 86400 300\n@ NS ns.invalid.\n",
    );
    for number in 0..RECORDS {
        writeln!(zone, "n{number} TXT \"{}\"", "x".repeat(100)).unwrap();
    }
    folder.write("db.example", &zone);
    let [quic, https, https3, grpc] = ports;
    let corefile = format!(
        "quic://example.:{quic} https://example.:{https} https3://example.:{https3} grpc://example.:{grpc} {{\n \
         bind 127.0.0.1\n tls cert.pem key.pem\n file db.example\n transfer {{\n  to *\n }}\n}}\n"
    );
    let process = Process::serve(&folder, &corefile);
    Served {
        folder,
        ports,
        _process: process,
    }
}

/// RFC 9250 section 4.2: every message of the response on the one stream, each with its length in
/// front and the ID 0, also to a client that takes a little at a time.
fn transfers_over_quic_are_whole() -> Result<(), Failed> {
    let served = serve();
    let asked = framed(&Query::new("example", "AXFR", &Options::new()));
    let mut slow = TransportConfig::default();
    slow.stream_receive_window(VarInt::from_u32(4096));
    for transport in [TransportConfig::default(), slow] {
        let client = Client::with("doq", served.folder.path(), transport);
        let connection = client.connect(served.ports[0]).expect("a connection");
        // One that loses interest holds up nobody.
        client.run(async {
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            send.write_all(&asked).await.unwrap();
            send.finish().unwrap();
            recv.read_chunk(100, true).await.unwrap();
            recv.stop(VarInt::from_u32(3)).unwrap();
        });
        let answer = client.run(async {
            let (mut send, mut recv) = connection.open_bi().await.ok()?;
            send.write_all(&asked).await.ok()?;
            send.finish().ok()?;
            recv.read_to_end(1 << 22).await.ok()
        });
        let answer = answer.flatten().expect("a transfer");
        let (mut rest, mut types, mut messages) = (&answer[..], Vec::new(), 0);
        while let Some((length, behind)) = rest.split_first_chunk::<2>() {
            let length = usize::from(u16::from_be_bytes(*length));
            let message = Message::read(&behind[..length]).expect("a message");
            assert_eq!((message.id, message.rcode), (0, 0));
            types.extend(message.records.iter().map(|record| record.rtype));
            rest = &behind[length..];
            messages += 1;
        }
        assert!(messages > 4, "{messages} messages");
        assert_eq!(types.len(), RECORDS + 3);
        assert_eq!((types[0], types[RECORDS + 2]), (SOA, SOA));
        // The connection goes on.
        let soa = framed(&Query::new("example", "SOA", &Options::new()));
        let answer = client.run(exchange(&connection, &soa)).flatten();
        assert_eq!(Message::read(&answer.unwrap()[2..]).unwrap().rcode, 0);
    }
    Ok(())
}

/// HTTP and gRPC carry one message for a query.
fn transfers_over_http_are_refused() -> Result<(), Failed> {
    let served = serve();
    let [_, https, https3, grpc] = served.ports;
    for (options, port) in [
        (&["https"][..], https),
        (&["get"], https),
        (&["http1"], https),
        (&["https3"], https3),
        (&["grpc", "grpctls"], grpc),
    ] {
        let opts: Options = options
            .iter()
            .map(|option| ((*option).to_owned(), String::new()))
            .collect();
        for (rtype, rcode) in [("AXFR", "REFUSED"), ("SOA", "NOERROR")] {
            let query = Query::new("example", rtype, &opts);
            let reply = client::send(&query, &opts, port, served.folder.path())?;
            assert_eq!(reply.rcode_name(), rcode, "{options:?} {rtype}");
        }
    }
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "transfer_transports/transfers_over_quic_are_whole",
            transfers_over_quic_are_whole,
        ),
        Trial::test(
            "transfer_transports/transfers_over_http_are_refused",
            transfers_over_http_are_refused,
        ),
    ]
}
