//! The cache in the whole server: many clients at once, and reloads.
use std::net::UdpSocket;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::client::{self, Options, Query};
use crate::message::Message;
use crate::server::{Folder, Process, free_port};
use crate::upstream::Upstream;

fn corefile(port: u16, upstream: &Upstream, more: &str) -> String {
    format!(
        ".:{port} {{\n bind 127.0.0.1\n cache 300\n forward . 127.0.0.1:{}\n}}\n{more}",
        upstream.port
    )
}

/// A thousand clients that ask the same at the same moment have the upstream asked once, and all
/// are answered.
fn a_thousand_at_once_are_one_query() -> Result<(), Failed> {
    const CLIENTS: usize = 1000;
    let (folder, port) = (Folder::new(), free_port());
    let upstream = Upstream::start("www.example. 60 A 192.0.2.7\n", None);
    upstream.step(&["delay", "700"]);
    let _server = Process::serve(&folder, &corefile(port, &upstream, ""));
    // Several sockets, so that the kernel hands them to different workers.
    let sockets: Vec<_> = (0..20)
        .map(|_| UdpSocket::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    for count in 0..CLIENTS {
        let query = Query::new("www.example", "A", &Options::new());
        sockets[count % sockets.len()].send_to(&query.wire, ("127.0.0.1", port))?;
    }
    let mut buffer = [0; 512];
    for socket in &sockets {
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        for _ in 0..CLIENTS / sockets.len() {
            let length = socket.recv(&mut buffer)?;
            let reply = Message::read(&buffer[..length]).unwrap();
            assert_eq!(reply.answers(), ["192.0.2.7"]);
        }
    }
    assert_eq!(upstream.step(&["count"]), ["1 queries"]);
    Ok(())
}

/// What a block has learnt outlives a reload that leaves it as it is, and no other.
fn contents_survive_a_reload() -> Result<(), Failed> {
    let (folder, port, other) = (Folder::new(), free_port(), free_port());
    let upstream = Upstream::start("www.example. 60 A 192.0.2.7\n", None);
    let server = Process::serve(&folder, &corefile(port, &upstream, ""));
    let asked = || {
        let reply = client::ask(port, "www.example", "A").unwrap();
        assert_eq!(reply.answers(), ["192.0.2.7"]);
        upstream.step(&["count"])
    };
    assert_eq!(
        (asked(), asked()),
        (vec!["1 queries".to_owned()], vec!["0 queries".to_owned()])
    );
    let beside = format!("other.example:{other} {{\n bind 127.0.0.1\n whoami\n}}\n");
    let changed = corefile(port, &upstream, "").replace("cache 300", "cache 300\n errors");
    for (count, text, expected) in [
        (1, corefile(port, &upstream, ""), "0 queries"),
        (
            2,
            format!("{beside}{}", corefile(port, &upstream, "")),
            "0 queries",
        ),
        (3, changed, "1 queries"),
    ] {
        folder.write("Corefile", &text);
        server.signal("USR1");
        server.wait_for_logs("Reloading complete", count, crate::server::PATIENCE);
        assert_eq!(asked(), [expected], "{text}");
    }
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "caching::a_thousand_at_once_are_one_query",
            a_thousand_at_once_are_one_query,
        ),
        Trial::test(
            "caching::contents_survive_a_reload",
            contents_survive_a_reload,
        ),
    ]
}
