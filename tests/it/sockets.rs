//! Sockets of a listener: how many there are, and what they do with too much load.
use std::collections::HashSet;
use std::net::UdpSocket;
use std::time::Duration;

use libtest_mimic::{Failed, Trial};

use crate::client::{self, Options, Query};
use crate::server::{Folder, Process, free_port};

/// UDP sockets of this machine on an IPv4 port.
fn sockets_on(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let local = format!(":{port:04X}");
    let on_port = |line: &&str| {
        let local_address = line.split_whitespace().nth(1);
        local_address.is_some_and(|address| address.ends_with(&local))
    };
    table.lines().filter(on_port).count()
}

/// The number that is asked for is rounded up to the cores, shown as often as asked for, and grows
/// with a reload.
fn there_are_as_many_sockets_as_asked_for() -> Result<(), Failed> {
    let cores = std::thread::available_parallelism()?.get();
    let (folder, port) = (Folder::new(), free_port());
    let corefile = |number: usize| {
        format!(
            ".:{port} {{\n bind 127.0.0.1\n multisocket {number}\n whoami\n}}\n\
             other.example:{port} {{\n bind 127.0.0.1\n multisocket 99\n whoami\n}}\n"
        )
    };
    let server = Process::serve(&folder, &corefile(2 * cores + 1));
    assert_eq!(sockets_on(port), 3 * cores);
    let banner = format!(".:{port} on 127.0.0.1");
    let shown = server
        .lines()
        .iter()
        .filter(|line| **line == banner)
        .count();
    assert_eq!(shown, 2 * cores + 1);
    for (number, reload) in [(5 * cores, 5), (1, 5)] {
        folder.write("Corefile", &corefile(number));
        server.signal("USR1");
        let reloads = if number == 1 { 2 } else { 1 };
        server.wait_for_logs("Reloading complete", reloads, Duration::from_secs(20));
        assert_eq!(sockets_on(port), reload * cores, "none is closed");
        for _ in 0..50 {
            assert!(client::ask(port, "www.example", "A").is_ok());
        }
    }
    Ok(())
}

/// A server that could not run for a while finds more queries than its queue holds. With *shed* it
/// answers the newest of those that it has, without it the oldest.
fn the_oldest_queries_are_shed() -> Result<(), Failed> {
    for (directive, sheds) in [(" shed\n", true), ("", false)] {
        let (folder, port) = (Folder::new(), free_port());
        let corefile = format!(".:{port} {{\n bind 127.0.0.1\n{directive} whoami\n}}\n");
        let server = Process::serve(&folder, &corefile);
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let reader = socket.try_clone()?;
        let reading = std::thread::spawn(move || {
            let (mut ids, mut buffer) = (HashSet::new(), [0; 512]);
            while reader.recv(&mut buffer).is_ok() {
                ids.insert(u16::from_be_bytes([buffer[0], buffer[1]]));
            }
            ids
        });
        let mut query = Query::new("www.example", "A", &Options::new()).wire;
        server.freeze();
        // More than any queue that the server asks for.
        for id in 0..30_000u16 {
            query[..2].copy_from_slice(&id.to_be_bytes());
            socket.send(&query)?;
        }
        server.signal("CONT");
        let answered = reading.join().unwrap();
        // A server's own batch, received before it was stopped, does not count.
        let oldest = (128..256).filter(|id| answered.contains(id)).count();
        assert!(answered.len() > 100, "{} are answered", answered.len());
        match sheds {
            true => assert_eq!(oldest, 0, "the oldest are dropped"),
            false => assert!(oldest > 100, "the oldest are answered: {oldest}"),
        }
        assert!(client::ask(port, "www.example", "A").is_ok());
    }
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "sockets::there_are_as_many_sockets_as_asked_for",
            there_are_as_many_sockets_as_asked_for,
        ),
        Trial::test(
            "sockets::the_oldest_queries_are_shed",
            the_oldest_queries_are_shed,
        ),
    ]
}
