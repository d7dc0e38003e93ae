//! Certificates in etcd, Debian's: one that comes and goes, and one with TLS, clients' certificates and
//! users.
use std::collections::BTreeMap;
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use super::fleet::{Fleet, ISSUED, ORDER, count, installed, issued, live};
use crate::certificates;
use crate::server::{Folder, Process, free_port};

/// What no log may show.
const PASSWORD: &str = "p4ss-of-the-server";
const ROOT_PASSWORD: &str = "p4ss-of-root";
/// Seconds for which a token is good that nobody uses.
const TOKEN_SECONDS: &str = "2";

/// One member of a cluster of one; its data are in the folder.
struct Member<'a> {
    folder: &'a Folder,
    clients: u16,
    peers: u16,
}

impl<'a> Member<'a> {
    fn new(folder: &'a Folder) -> Self {
        let (clients, peers) = (free_port(), free_port());
        Self {
            folder,
            clients,
            peers,
        }
    }

    fn start(&self, scheme: &str, more: &[&str]) -> Process {
        let clients = format!("{scheme}://127.0.0.1:{}", self.clients);
        let peers = format!("http://127.0.0.1:{}", self.peers);
        let cluster = format!("default={peers}");
        let mut arguments = vec![
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
        arguments.extend(more);
        let program = installed("/usr/bin/etcd", "etcd-server");
        let folder = self.folder.path();
        let mut etcd = Process::start(program, &arguments, folder, &BTreeMap::new(), None);
        etcd.wait_for_log("ready to serve client requests");
        etcd.wait_serving(self.clients);
        etcd
    }

    /// Starts it with TLS, for clients with a certificate of the CA.
    fn start_secured(&self, tokens: &[&str]) -> Process {
        let mut more = vec![
            "--cert-file",
            "cert.pem",
            "--key-file",
            "key.pem",
            "--client-cert-auth",
            "--trusted-ca-file",
            "ca.pem",
        ];
        more.extend(tokens);
        self.start("https", &more)
    }

    /// Runs etcdctl, as root once there are users.
    fn control(&self, words: &[&str]) {
        let endpoint = format!("https://127.0.0.1:{}", self.clients);
        let done = Command::new(installed("/usr/bin/etcdctl", "etcd-client"))
            .args(["--endpoints", &endpoint, "--cacert", "ca.pem"])
            .args(["--cert", "client-cert.pem", "--key", "client-key.pem"])
            .args(words)
            .env("ETCDCTL_API", "3")
            .current_dir(self.folder.path())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "etcdctl {words:?}: {error}");
    }

    /// Users as the manual has them: one whose role is for the prefix alone, and one without a role.
    fn add_users(&self) {
        let root = format!("root:{ROOT_PASSWORD}");
        for words in [
            &["role", "add", "corten"][..],
            &[
                "role",
                "grant-permission",
                "--prefix=true",
                "corten",
                "readwrite",
                "dns/certificates/",
            ],
            &["user", "add", &format!("corten:{PASSWORD}")],
            &["user", "grant-role", "corten", "corten"],
            &["user", "add", &format!("nobody:{PASSWORD}")],
            &["user", "add", &root],
            &["user", "grant-role", "root", "root"],
            &["auth", "enable"],
        ] {
            self.control(words);
        }
    }

    /// The same as root.
    fn control_as_root(&self, words: &[&str]) {
        let root = format!("root:{ROOT_PASSWORD}");
        let words: Vec<_> = ["--user", &root].iter().chain(words).copied().collect();
        self.control(&words);
    }
}

/// No line of a log shows a password.
fn keeps_secrets(server: &Process) {
    let log = server.lines().join("\n");
    for secret in [PASSWORD, ROOT_PASSWORD, "PRIVATE KEY", "Authorization"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

/// The same in etcd: one of two obtains and renews, the challenge is answered by either; etcd goes
/// away and comes back.
fn etcd_goes_and_comes() -> Result<(), Failed> {
    let mut fleet = Fleet::new(2, 20);
    let folder = Folder::new();
    let member = Member::new(&folder);
    let clients = member.clients;
    // The first member does not exist.
    let nobody = free_port();
    fleet.certpath = format!("etcd://127.0.0.1:{nobody},127.0.0.1:{clients}/dns/certificates");
    let mut etcd = member.start("http", &[]);
    let (_resolver, ca) = (fleet.start_resolver(), fleet.start_ca());
    let servers = fleet.start_all(2, "");
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
        .map(|server| count(server, &live()))
        .max()
        .unwrap_or(0);
    let _etcd = member.start("http", &[]);
    for server in &servers {
        server.wait_for_logs(&live(), before + 2, ORDER);
    }
    fleet.expect_answers();
    let orders: usize = servers.iter().map(|server| count(server, ISSUED)).sum();
    assert_eq!(issued(&ca), orders, "every order is one server's");
    Ok(())
}

/// One of two servers obtains and renews over TLS as a user with a role for the prefix; tokens expire
/// all the time, a permission is taken and given back.
fn etcd_with_users(tokens: &[&str]) -> Result<(), Failed> {
    let mut fleet = Fleet::new(2, 24);
    let folder = Folder::new();
    certificates::write(folder.path());
    folder.write("jwt.key", "a key that nobody knows");
    let member = Member::new(&folder);
    let _etcd = member.start_secured(tokens);
    member.add_users();
    let (clients, path) = (member.clients, folder.path().display());
    fleet.certpath = format!("etcd://127.0.0.1:{clients}/dns/certificates");
    let more = format!(
        "etcd_credentials corten {PASSWORD}\n  etcd_tls {path}/nameless-cert.pem {path}/nameless-key.pem {path}/ca.pem"
    );
    let (_resolver, ca) = (fleet.start_resolver(), fleet.start_ca());
    let servers = fleet.start_all(2, &more);
    fleet.trust();
    fleet.expect_answers();
    // Between two renewals nobody asks for longer than a token is good.
    for server in &servers {
        server.wait_for_logs(&live(), 3, ORDER * 2);
        assert_eq!(count(server, "storage cannot be used|next attempt in"), 0);
    }
    let orders = |servers: &[Process]| servers.iter().map(|s| count(s, ISSUED)).sum::<usize>();
    assert_eq!(issued(&ca), orders(&servers), "every order is one server's");
    let permission = ["--prefix=true", "corten", "dns/certificates/"];
    let revoke = ["role", "revoke-permission"].iter().chain(&permission);
    member.control_as_root(&revoke.copied().collect::<Vec<_>>());
    let denied = format!(
        "the storage cannot be used: etcds://127.0.0.1:{clients}/dns/certificates: etcdserver: permission denied; \
         the user needs a role with readwrite for keys that begin with 'dns/certificates/'; the old certificate goes on"
    );
    servers[0].wait_for_logs(&regex::escape(&denied), 1, ORDER);
    fleet.expect_answers();
    let grant = "role grant-permission --prefix=true corten readwrite dns/certificates/";
    let before = servers.iter().map(|server| count(server, &live())).max();
    member.control_as_root(&grant.split(' ').collect::<Vec<_>>());
    for server in &servers {
        server.wait_for_logs(&live(), before.unwrap_or(0) + 1, ORDER);
        keeps_secrets(server);
    }
    fleet.expect_answers();
    Ok(())
}

/// What is wrong with the way to etcd is told in words that lead on and hold no secret; handshakes are
/// refused and the CA is not asked.
fn etcd_mistakes_are_told() -> Result<(), Failed> {
    let fleet = Fleet::new(7, 3600);
    let folder = Folder::new();
    certificates::write(folder.path());
    let member = Member::new(&folder);
    let _etcd = member.start_secured(&[]);
    member.add_users();
    let path = folder.path().display();
    let tls = |identity: &str, roots: &str| {
        let pair = match identity {
            "" => String::new(),
            name => format!("{path}/{name}-cert.pem {path}/{name}-key.pem"),
        };
        format!("etcd_tls {pair} {path}/{roots}")
    };
    let user = |name: &str, password: &str| format!("etcd_credentials {name} {password}");
    let good = user("corten", PASSWORD);
    let mistakes = [
        (
            format!("{good}\n  {}", tls("nameless", "stray-cert.pem")),
            "UnknownIssuer; the roots of etcd_tls do not fit its certificate",
        ),
        (
            format!("{good}\n  {}", tls("", "ca.pem")),
            "it wants a client's certificate: etcd_tls CERT KEY CA",
        ),
        (
            format!("{good}\n  {}", tls("stray", "ca.pem")),
            "it may not know the CA of the certificate of etcd_tls",
        ),
        (
            format!("{good}\n  {}", tls("client", "ca.pem")),
            "CommonName of client sending a request against gateway",
        ),
        (
            format!(
                "{}\n  {}",
                user("corten", ROOT_PASSWORD),
                tls("nameless", "ca.pem")
            ),
            "etcdserver: authentication failed, invalid user ID or password",
        ),
        (
            format!(
                "{}\n  {}",
                user("nobody", PASSWORD),
                tls("nameless", "ca.pem")
            ),
            "permission denied; the user needs a role with readwrite for keys that begin with 'dns/certificates/'",
        ),
        (good.clone(), "if it speaks TLS, write etcds:// or etcd_tls"),
    ];
    let certpath = format!("etcd://127.0.0.1:{}/dns/certificates", member.clients);
    let fleet = Fleet { certpath, ..fleet };
    let servers: Vec<_> = (0..mistakes.len())
        .map(|at| fleet.start_with(at, &mistakes[at].0))
        .collect();
    for (server, (_, told)) in servers.iter().zip(&mistakes) {
        let told = regex::escape(told);
        server.wait_for_log(&format!(
            r"^\[ERROR\] .*the storage cannot be used: etcds?://127\.0\.0\.1.*{told}.*handshakes are refused"
        ));
        assert_eq!(count(server, "Obtaining TLS Certificate"), 0);
        keeps_secrets(server);
    }
    // Who has no user at all.
    drop(servers);
    let server = fleet.start_with(0, &tls("nameless", "ca.pem"));
    server.wait_for_log("; it has users: write etcd_credentials USER PASSWORD");
    // The place is shown without the password by the commands, too.
    let member = &fleet.members[0];
    let certs = fleet.corefile(member, &format!("{good}\n  {}", tls("nameless", "ca.pem")));
    member.folder.write("Corefile", &certs);
    let done = Command::new(crate::server::binary())
        .args(["certs", "-json"])
        .current_dir(member.folder.path())
        .output()?;
    let told = String::from_utf8(done.stdout)?;
    assert!(
        told.contains("etcds://127.0.0.1") && !told.contains(PASSWORD),
        "{told}"
    );
    Ok(())
}

pub(super) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("sharing::etcd_goes_and_comes", etcd_goes_and_comes),
        Trial::test("sharing::etcd_with_users", || {
            etcd_with_users(&["--auth-token-ttl", TOKEN_SECONDS])
        }),
        Trial::test("sharing::etcd_with_users_and_signed_tokens", || {
            let tokens = format!("jwt,priv-key=jwt.key,sign-method=HS256,ttl={TOKEN_SECONDS}s");
            etcd_with_users(&["--auth-token", &tokens])
        }),
        Trial::test("sharing::etcd_mistakes_are_told", etcd_mistakes_are_told),
    ]
}
