//! Several servers that share their certificates: one folder or one etcd, a real CA, and a resolver
//! between them that asks any of the servers.
//!
//! | module | what it is |
//! |---|---|
//! | [`fleet`] | the servers, the CA and the resolver |
//! | [`alias`] | challenges' names that are aliases |
//! | [`etcd`] | certificates in etcd |
mod alias;
mod etcd;
mod fleet;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::client;
use crate::server::{Process, binary};
use fleet::{FOLLOWED, Fleet, ISSUED, ORDER, count, installed, issued, live};

/// When a holder that is gone has been replaced: 30 s without a sign of life, and some for the work.
const REPLACED: Duration = Duration::from_secs(90);

/// Three servers start at once: one asks the CA, which may look at any of them; all have the
/// certificate. The CA's resolver is kept out by *acl*, and the answers by *cache*: both make way for
/// the challenge and for nothing else.
fn one_of_three_obtains() -> Result<(), Failed> {
    let fleet = Fleet::new(3, 3600);
    let (_resolver, ca) = (fleet.start_resolver(), fleet.start_ca());
    let servers = fleet.start_all(3, "");
    fleet.trust();
    fleet.expect_answers();
    let total = |pattern: &str| {
        servers
            .iter()
            .map(|server| count(server, pattern))
            .sum::<usize>()
    };
    assert_eq!((issued(&ca), total(ISSUED), total(FOLLOWED)), (1, 1, 2));
    assert_eq!(
        count(&ca, "(?i)order .* is invalid|authorization .* invalid"),
        0,
        "{:#?}",
        ca.lines()
    );
    assert_eq!(fleet.bundles().len(), 1);
    let denied = client::ask(fleet.members[0].dns, "www.share.test", "A").unwrap();
    assert_eq!(denied.rcode_name(), "REFUSED");
    // What was let in for a challenge gets nothing else.
    let name = "_acme-challenge.ns.share.test";
    let until = Instant::now() + ORDER;
    while client::ask(fleet.members[0].dns, name, "TXT")
        .unwrap()
        .rcode_name()
        != "REFUSED"
    {
        assert!(Instant::now() < until, "the challenge is over");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Three servers with certificates that live for seconds: each renewal is one order, everybody has
/// each certificate, and no handshake fails.
fn one_of_three_renews() -> Result<(), Failed> {
    let fleet = Fleet::new(3, 15);
    let (_resolver, ca) = (fleet.start_resolver(), fleet.start_ca());
    let servers = fleet.start_all(3, "");
    fleet.trust();
    let (stop, handshakes) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let hammer = scope.spawn(|| {
            while !stop.load(Relaxed) {
                fleet.expect_answers();
                handshakes.fetch_add(3, Relaxed);
            }
        });
        for server in &servers {
            server.wait_for_logs(&live(), 3, ORDER);
        }
        stop.store(true, Relaxed);
        hammer.join().expect("no handshake fails");
    });
    assert!(handshakes.load(Relaxed) > 30);
    let orders: usize = servers.iter().map(|server| count(server, ISSUED)).sum();
    assert_eq!(
        issued(&ca),
        orders,
        "every order is one server's, and was needed"
    );
    for server in &servers {
        let seen = count(server, &live());
        assert!(seen <= orders && seen + 1 >= orders, "{seen} of {orders}");
    }
    Ok(())
}

/// The server that is at work is killed; another one finishes, after its lease is over.
///
/// `state` is a line of pebble's log that tells how far the work has come; pebble stands still until
/// the server is gone.
fn killed_at(state: &str) {
    let fleet = Fleet::new(2, 3600);
    let (_resolver, ca) = (fleet.start_resolver(), fleet.start_ca());
    if state.is_empty() {
        ca.freeze();
    }
    let mut first = fleet.start(0);
    first.wait_for_log("Obtaining TLS Certificate");
    let second = fleet.start(1);
    if !state.is_empty() {
        ca.wait_for_logs(state, 1, ORDER);
        ca.freeze();
    }
    first.signal("KILL");
    first.wait_end(ORDER).expect("it is dead");
    ca.signal("CONT");
    second.wait_for_logs(&live(), 1, REPLACED);
    fleet.trust();
    let reply = fleet.ask_tls(1).expect("an answer over TLS");
    assert_eq!(reply.answers(), ["192.0.2.2"]);
    // The one that was killed comes back and takes up what is there.
    let first = fleet.start(0);
    fleet.expect_answers();
    assert_eq!(count(&first, "Obtaining"), 0);
    assert!(issued(&ca) <= 2);
    for bundle in fleet.bundles() {
        let text = std::fs::read_to_string(&bundle).unwrap();
        assert!(
            text.trim_end().ends_with("-----END CERTIFICATE-----"),
            "{text}"
        );
    }
}

/// A server that is stopped in order lets go of its lease: another one goes on at once.
fn holder_is_stopped() -> Result<(), Failed> {
    let fleet = Fleet::new(2, 3600);
    let (_resolver, ca) = (fleet.start_resolver(), fleet.start_ca());
    ca.freeze();
    let mut first = fleet.start(0);
    first.wait_for_log("Obtaining TLS Certificate");
    let second = fleet.start(1);
    second.wait_for_log("another server is at work");
    first.signal("TERM");
    first.wait_end(ORDER).expect("it has ended");
    second.wait_for_logs("Obtaining TLS Certificate", 1, Duration::from_secs(15));
    ca.signal("CONT");
    second.wait_for_logs(ISSUED, 1, ORDER);
    Ok(())
}

/// In every state at the same time, because each takes as long as the lease of a dead holder.
fn holder_is_killed() -> Result<(), Failed> {
    let states = [
        "",
        "Attempting to validate|Pulled a task",
        "POST /finalize-order/",
        "POST /certZ/",
    ];
    std::thread::scope(|scope| {
        let killed = states.map(|state| (state, scope.spawn(move || killed_at(state))));
        for (state, killed) in killed {
            assert!(killed.join().is_ok(), "killed at '{state}'");
        }
    });
    Ok(())
}

/// A server that may only read the folder takes up what others store there.
fn replica_only_reads() -> Result<(), Failed> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("only root can start a server of another user");
        return Ok(());
    }
    let fleet = Fleet::new(2, 20);
    let (_resolver, _ca) = (fleet.start_resolver(), fleet.start_ca());
    let writer = fleet.start(0);
    writer.wait_for_logs(ISSUED, 1, ORDER);
    fleet.trust();
    // The folder belongs to the writer's user; the replica's group may read it.
    let certs = Path::new(&fleet.certpath).display().to_string();
    let open = format!("chmod -R a+rX {certs}; while sleep 0.2; do chmod -R a+rX {certs}; done");
    let _opener = Process::start(
        Path::new("/bin/sh"),
        &["-c", &open],
        fleet.folder.path(),
        &BTreeMap::new(),
        None,
    );
    let member = &fleet.members[1];
    member.folder.write("Corefile", &fleet.corefile(member, ""));
    let program = binary().display().to_string();
    let arguments = [
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        &program,
        "-conf",
        "Corefile",
    ];
    let setpriv = installed("/usr/bin/setpriv", "util-linux");
    let replica = Process::start(
        setpriv,
        &arguments,
        member.folder.path(),
        &BTreeMap::new(),
        None,
    );
    replica.wait_for_log("^Corten-");
    replica.wait_for_logs(FOLLOWED, 2, ORDER);
    fleet.expect_answers();
    assert_eq!(count(&replica, ISSUED), 0);
    Ok(())
}

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = vec![
        Trial::test("sharing::one_of_three_obtains", one_of_three_obtains),
        Trial::test("sharing::one_of_three_renews", one_of_three_renews),
        Trial::test("sharing::holder_is_killed_in_any_state", holder_is_killed),
        Trial::test("sharing::holder_is_stopped", holder_is_stopped),
        Trial::test("sharing::replica_only_reads", replica_only_reads),
    ];
    trials.extend(alias::trials());
    trials.extend(etcd::trials());
    trials
}
