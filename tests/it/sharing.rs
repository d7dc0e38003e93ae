//! Several servers that share their certificates: one folder or one etcd, a real CA, and a resolver
//! between them that asks any of the servers.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use libtest_mimic::{Failed, Trial};

use crate::client::{self, Options, Query};
use crate::server::{Folder, Process, binary, free_port};
use crate::{certificates, message};

/// The names of every certificate here; the second has a challenge of the same name.
const NAMES: &str = "ns.share.test *.ns.share.test";
const NAME: &str = "ns.share.test";
/// How long an order may take; on a busy machine pebble is slow.
const ORDER: Duration = Duration::from_secs(60);
/// When a holder that is gone has been replaced: 30 s without a sign of life, and some for the work.
const REPLACED: Duration = Duration::from_secs(90);

const ISSUED: &str = "The certificate for .* is live; it expires";
const FOLLOWED: &str = "The certificate for .* has been renewed by another server and is live";

/// A CA, a resolver, and servers with equal Corefiles.
struct Fleet {
    folder: Folder,
    ca: u16,
    management: u16,
    resolver: u16,
    members: Vec<Member>,
    certpath: String,
    validity_seconds: u32,
}

/// One server's folder and ports.
struct Member {
    folder: Folder,
    dns: u16,
    tls: u16,
}

impl Fleet {
    fn new(count: usize, validity_seconds: u32) -> Self {
        let folder = Folder::new();
        certificates::write(folder.path());
        let member = |_| Member {
            folder: Folder::new(),
            dns: free_port(),
            tls: free_port(),
        };
        Self {
            ca: free_port(),
            management: free_port(),
            resolver: free_port(),
            members: (0..count).map(member).collect(),
            certpath: folder.path().join("certs").display().to_string(),
            validity_seconds,
            folder,
        }
    }

    /// Starts pebble, which asks the resolver. It reuses no authorization.
    fn start_ca(&self) -> Process {
        let Self {
            ca,
            management,
            validity_seconds,
            ..
        } = self;
        let config = format!(
            r#"{{"pebble": {{"listenAddress": "127.0.0.1:{ca}", "managementListenAddress": "127.0.0.1:{management}",
            "certificate": "cert.pem", "privateKey": "key.pem", "httpPort": 5002, "tlsPort": 5001,
            "ocspResponderURL": "", "externalAccountBindingRequired": false, "certificateValidityPeriod": {validity_seconds}}}}}"#
        );
        self.folder.write("pebble.json", &config);
        let env = [
            ("PEBBLE_VA_NOSLEEP", "1"),
            ("PEBBLE_WFE_NONCEREJECT", "0"),
            ("PEBBLE_AUTHZREUSE", "0"),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let resolver = format!("127.0.0.1:{}", self.resolver);
        let arguments = ["-config", "pebble.json", "-dnsserver", &resolver];
        let mut process = Process::start(
            installed("/usr/bin/pebble", "pebble"),
            &arguments,
            self.folder.path(),
            &env.into(),
            None,
        );
        process.wait_serving(*ca);
        process
    }

    /// Starts unbound, for which the servers are the name servers of the zone. It goes down label by
    /// label, and takes any of them.
    fn start_resolver(&self) -> Process {
        let mut config = format!(
            "server:\n use-syslog: no\n do-daemonize: no\n username: \"\"\n chroot: \"\"\n directory: \"{}\"\n pidfile: \"\"\n \
             interface: 127.0.0.1@{}\n access-control: 127.0.0.0/8 allow\n do-not-query-localhost: no\n do-ip6: no\n \
             module-config: \"iterator\"\n qname-minimisation: yes\n unknown-server-time-limit: 50\n local-zone: \"test.\" nodefault\n\
             remote-control:\n control-enable: no\nstub-zone:\n name: \"share.test\"\n",
            self.folder.path().display(),
            self.resolver
        );
        for member in &self.members {
            config += &format!(" stub-addr: 127.0.0.1@{}\n", member.dns);
        }
        self.folder.write("unbound.conf", &config);
        let unbound = installed("/usr/sbin/unbound", "unbound");
        let folder = self.folder.path();
        let process = Process::start(
            unbound,
            &["-c", "unbound.conf"],
            folder,
            &BTreeMap::new(),
            None,
        );
        process.wait_for_log("start of service");
        process
    }

    fn corefile(&self, member: &Member, more: &str) -> String {
        let Self {
            ca,
            certpath,
            resolver,
            ..
        } = self;
        let Member { dns, tls, .. } = member;
        let roots = self.folder.path().join("ca.pem").display().to_string();
        let data = "hosts {\n  192.0.2.1 share.test\n  192.0.2.2 www.share.test\n }";
        format!(
            "tls://share.test:{tls} {{\n bind 127.0.0.1\n tls acme {{\n  domain {NAMES}\n  ca https://127.0.0.1:{ca}/dir\n  \
             cacert {roots}\n  certpath {certpath}\n  port {dns}\n  resolver 127.0.0.1:{resolver}\n  {more}\n }}\n {data}\n}}\n\
             share.test:{dns} {{\n bind 127.0.0.1\n acl {{\n  allow net 127.0.0.9/32\n  block\n }}\n cache 3600\n {data}\n}}\n"
        )
    }

    /// Starts one server.
    fn start(&self, at: usize) -> Process {
        self.start_with(at, "")
    }

    fn start_with(&self, at: usize, more: &str) -> Process {
        let member = &self.members[at];
        Process::serve(&member.folder, &self.corefile(member, more))
    }

    /// Asks one server over a new TLS connection.
    fn ask_tls(&self, at: usize) -> Result<message::Message, client::NoAnswer> {
        let pairs = [("tls", ""), ("sni", NAME), ("timeout", "20")];
        let opts: Options = pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        let trusted = self.folder.path().join("trusted");
        client::send(
            &Query::new("www.share.test", "A", &opts),
            &opts,
            self.members[at].tls,
            &trusted,
        )
    }

    /// Every server has a certificate that pebble has signed.
    fn expect_answers(&self) {
        for at in 0..self.members.len() {
            let reply = self.ask_tls(at).expect("an answer over TLS");
            assert_eq!(reply.answers(), ["192.0.2.2"]);
        }
    }

    fn trust(&self) {
        crate::acme::trust(&self.folder, self.management);
    }

    /// Names of the stored bundles.
    fn bundles(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![PathBuf::from(&self.certpath)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "pem") {
                    found.push(path);
                }
            }
        }
        found
    }
}

fn installed(path: &str, package: &str) -> &'static Path {
    let path = Box::leak(PathBuf::from(path).into_boxed_path());
    assert!(
        path.exists(),
        "{} is not installed (Debian: apt-get install {package})",
        path.display()
    );
    path
}

fn count(process: &Process, pattern: &str) -> usize {
    let pattern = regex::Regex::new(pattern).unwrap();
    let lines = process.lines();
    lines.iter().filter(|line| pattern.is_match(line)).count()
}

/// Certificates that pebble has signed.
fn issued(ca: &Process) -> usize {
    count(ca, "Issued certificate serial")
}

/// Three servers start at once: one asks the CA, which may look at any of them; all have the
/// certificate. The CA's resolver is kept out by *acl*, and the answers by *cache*: both make way for
/// the challenge and for nothing else.
fn one_of_three_obtains() -> Result<(), Failed> {
    let fleet = Fleet::new(3, 3600);
    let (_resolver, ca) = (fleet.start_resolver(), fleet.start_ca());
    let servers: Vec<_> = (0..3).map(|at| fleet.start(at)).collect();
    for server in &servers {
        server.wait_for_logs(&format!("{ISSUED}|{FOLLOWED}"), 1, ORDER);
    }
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
    let servers: Vec<_> = (0..3).map(|at| fleet.start(at)).collect();
    let live = format!("{ISSUED}|{FOLLOWED}");
    for server in &servers {
        server.wait_for_logs(&live, 1, ORDER);
    }
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
            server.wait_for_logs(&live, 3, ORDER);
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
        let seen = count(server, &live);
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
    second.wait_for_logs(&format!("{ISSUED}|{FOLLOWED}"), 1, REPLACED);
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
            "--unsafe-no-fsync",
        ];
        let arguments: Vec<_> = arguments
            .into_iter()
            .filter(|word| *word != "--unsafe-no-fsync")
            .collect();
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

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("sharing::one_of_three_obtains", one_of_three_obtains),
        Trial::test("sharing::one_of_three_renews", one_of_three_renews),
        Trial::test("sharing::holder_is_killed_in_any_state", holder_is_killed),
        Trial::test("sharing::replica_only_reads", replica_only_reads),
        Trial::test("sharing::etcd_goes_and_comes", etcd_goes_and_comes),
    ]
}
