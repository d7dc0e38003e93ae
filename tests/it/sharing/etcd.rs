//! Certificates in etcd.
use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};

use super::fleet::{FOLLOWED, Fleet, ISSUED, ORDER, count, installed, issued};
use crate::server::{Process, free_port};

/// The same in etcd: one of two obtains and renews, the challenge is answered by either; etcd goes
/// away and comes back.
fn etcd_goes_and_comes() -> Result<(), Failed> {
    let mut fleet = Fleet::new(2, 20);
    let (clients, peers) = (free_port(), free_port());
    // The first member does not exist.
    let nobody = free_port();
    fleet.certpath = format!("etcd://127.0.0.1:{nobody},127.0.0.1:{clients}/dns/certificates");
    let start_etcd = || {
        let (clients, peers) = (
            format!("http://127.0.0.1:{clients}"),
            format!("http://127.0.0.1:{peers}"),
        );
        let cluster = format!("default={peers}");
        let arguments = [
            "--data-dir",
            "etcd",
            "--listen-client-urls",
            &clients,
            "--advertise-client-urls",
            &clients,
            "--listen-peer-urls",
            &peers,
            "--initial-advertise-peer-urls",
            &peers,
            "--initial-cluster",
            &cluster,
        ];
        let program = installed("/usr/bin/etcd", "etcd-server");
        let etcd = Process::start(
            program,
            &arguments,
            fleet.folder.path(),
            &BTreeMap::new(),
            None,
        );
        etcd.wait_for_log("ready to serve client requests|serving insecure client requests|serving client traffic insecurely");
        etcd
    };
    let mut etcd = start_etcd();
    let (_resolver, ca) = (fleet.start_resolver(), fleet.start_ca());
    let servers: Vec<_> = (0..2).map(|at| fleet.start(at)).collect();
    let live = format!("{ISSUED}|{FOLLOWED}");
    for server in &servers {
        server.wait_for_logs(&live, 1, ORDER);
    }
    fleet.trust();
    fleet.expect_answers();
    assert_eq!(issued(&ca), 1);
    etcd.signal("KILL");
    etcd.wait_end(ORDER).expect("it is dead");
    let failed = "the storage cannot be used: etcd://.*; the old certificate goes on";
    servers[0].wait_for_logs(failed, 1, ORDER);
    fleet.expect_answers();
    let before = servers
        .iter()
        .map(|server| count(server, &live))
        .max()
        .unwrap_or(0);
    let _etcd = start_etcd();
    for server in &servers {
        server.wait_for_logs(&live, before + 2, ORDER);
    }
    fleet.expect_answers();
    let orders: usize = servers.iter().map(|server| count(server, ISSUED)).sum();
    assert_eq!(issued(&ca), orders, "every order is one server's");
    Ok(())
}

pub(super) fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "sharing::etcd_goes_and_comes",
        etcd_goes_and_comes,
    )]
}
