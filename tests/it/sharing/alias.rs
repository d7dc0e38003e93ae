//! A challenge's name that is an alias: other servers answer for the certificate's name, and lead the
//! CA to a zone of ours.
use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};

use super::fleet::{Fleet, ISSUED, ORDER, count, installed, issued, live};
use crate::server::{Process, binary, free_port};

/// The end of the alias.
const END: &str = "x.dyn.share.test";

/// Starts NSD with the zone of the certificate's name: its challenge is an alias of an alias of a name
/// that our servers answer for.
fn start_others(fleet: &mut Fleet) -> Process {
    let port = free_port();
    let path = fleet.folder.path().display().to_string();
    fleet.names = "ns.away.test *.ns.away.test round.away.test";
    fleet.stubs = format!("stub-zone:\n name: \"away.test\"\n stub-addr: 127.0.0.1@{port}\n");
    fleet.folder.write(
        "away.zone",
        &format!(
            "$ORIGIN away.test.\n$TTL 60\n@ SOA ns post 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\n\
             _acme-challenge.ns CNAME hop\nhop CNAME {END}.\n_acme-challenge.round CNAME one\none CNAME two\ntwo CNAME one\n"
        ),
    );
    fleet.folder.write(
        "nsd.conf",
        &format!(
            "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  zonesdir: \"{path}\"\n  pidfile: \"{path}/nsd.pid\"\n  \
             xfrdfile: \"{path}/xfrd.state\"\n  xfrdir: \"{path}\"\n  zonelistfile: \"{path}/zone.list\"\n  server-count: 1\n  \
             database: \"\"\nremote-control:\n  control-enable: no\nzone:\n  name: away.test\n  zonefile: away.zone\n"
        ),
    );
    let nsd = installed("/usr/sbin/nsd", "nsd");
    let arguments = ["-d", "-c", "nsd.conf"];
    let folder = fleet.folder.path();
    let mut others = Process::start(nsd, &arguments, folder, &BTreeMap::new(), None);
    others.wait_serving(port);
    others
}

/// One of two servers obtains and renews, through an alias that both answer at its end; before that a
/// name whose aliases lead in a circle is refused, and nothing is ordered.
fn obtained_through_an_alias() -> Result<(), Failed> {
    let mut fleet = Fleet::new(2, 30);
    let _others = start_others(&mut fleet);
    let (_resolver, ca) = (fleet.start_resolver(), fleet.start_ca());
    let server = fleet.start(0);
    let line = server.wait_for_logs("not ready for the CA: .*next attempt in", 1, ORDER);
    let circle = "_acme-challenge.round.away.test, as the CA will look for it: its aliases (CNAME records) lead in a circle: \
                  _acme-challenge.round.away.test. -> one.away.test. -> two.away.test. -> one.away.test.";
    assert!(line.contains(circle), "{line}");
    assert_eq!(count(&ca, "POST"), 0, "{:#?}", ca.lines());
    drop(server);

    fleet.names = "ns.away.test *.ns.away.test";
    let servers = fleet.start_all(2, "");
    fleet.trust();
    fleet.expect_answers();
    for server in &servers {
        server.wait_for_logs(&live(), 2, ORDER);
    }
    fleet.expect_answers();
    let total = |pattern: &str| servers.iter().map(|server| count(server, pattern)).sum();
    let answered: usize = total(&format!("Answering ACME DNS request:{END}."));
    assert!(answered > 0, "at the end of the alias");
    let orders: usize = total(ISSUED);
    assert_eq!(issued(&ca), orders, "every order is one server's");
    assert_eq!(
        count(&ca, "(?i)order .* is invalid|authorization .* invalid"),
        0,
        "{:#?}",
        ca.lines()
    );
    Ok(())
}

/// A dry run says in plain words what it looks at.
fn a_dry_run_tells_of_the_alias() -> Result<(), Failed> {
    let mut fleet = Fleet::new(1, 3600);
    let _others = start_others(&mut fleet);
    fleet.names = "ns.away.test";
    let (_resolver, _ca) = (fleet.start_resolver(), fleet.start_ca());
    let member = &fleet.members[0];
    member.folder.write("Corefile", &fleet.corefile(member, ""));
    let directory = format!("https://127.0.0.1:{}/dir", fleet.ca);
    let arguments = ["acme", "test", "-conf", "Corefile", "-ca", &directory];
    let folder = member.folder.path();
    let mut trial = Process::start(binary(), &arguments, folder, &BTreeMap::new(), None);
    let status = trial.wait_end(ORDER * 2).expect("it ends").code();
    let lines = trial.last_lines();
    assert_eq!(status, Some(0), "{lines:#?}");
    let told = format!(
        "ns.away.test: a record of {END}., of which _acme-challenge.ns.away.test is an alias, as the CA will look for it: "
    );
    assert!(
        lines.iter().any(|line| line.starts_with(&told)),
        "{lines:#?}"
    );
    Ok(())
}

pub(super) fn trials() -> Vec<Trial> {
    vec![
        Trial::test(
            "sharing::obtained_through_an_alias",
            obtained_through_an_alias,
        ),
        Trial::test(
            "sharing::a_dry_run_tells_of_the_alias",
            a_dry_run_tells_of_the_alias,
        ),
    ]
}
