//! Servers with equal Corefiles, a CA, and a resolver between them.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::client::{self, Options, Query};
use crate::server::{Folder, Process, free_port};
use crate::{certificates, message};

/// The names of every certificate here; the second has a challenge of the same name.
pub(super) const NAMES: &str = "ns.share.test *.ns.share.test";
/// How long an order may take; on a busy machine pebble is slow.
pub(super) const ORDER: Duration = Duration::from_secs(60);
pub(super) const ISSUED: &str = "The certificate for .* is live; it expires";
pub(super) const FOLLOWED: &str =
    "The certificate for .* has been renewed by another server and is live";

/// What a server says when a certificate is live, whoever has obtained it.
pub(super) fn live() -> String {
    format!("{ISSUED}|{FOLLOWED}")
}

/// A CA, a resolver, and servers with equal Corefiles.
pub(super) struct Fleet {
    pub(super) folder: Folder,
    pub(super) ca: u16,
    pub(super) management: u16,
    pub(super) resolver: u16,
    pub(super) members: Vec<Member>,
    pub(super) certpath: String,
    pub(super) validity_seconds: u32,
    /// Of the certificate.
    pub(super) names: &'static str,
    /// Lines more for the resolver.
    pub(super) stubs: String,
}

/// One server's folder and ports.
pub(super) struct Member {
    pub(super) folder: Folder,
    pub(super) dns: u16,
    pub(super) tls: u16,
}

impl Fleet {
    pub(super) fn new(count: usize, validity_seconds: u32) -> Self {
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
            names: NAMES,
            stubs: String::new(),
            folder,
        }
    }

    /// Starts pebble, which asks the resolver. It reuses no authorization.
    pub(super) fn start_ca(&self) -> Process {
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
    pub(super) fn start_resolver(&self) -> Process {
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
        config += &self.stubs;
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

    pub(super) fn corefile(&self, member: &Member, more: &str) -> String {
        let Self {
            ca,
            certpath,
            resolver,
            names,
            ..
        } = self;
        let Member { dns, tls, .. } = member;
        let roots = self.folder.path().join("ca.pem").display().to_string();
        let data = "hosts {\n  192.0.2.1 share.test\n  192.0.2.2 www.share.test\n }";
        format!(
            "tls://share.test:{tls} {{\n bind 127.0.0.1\n tls acme {{\n  domain {names}\n  ca https://127.0.0.1:{ca}/dir\n  \
             cacert {roots}\n  certpath {certpath}\n  port {dns}\n  resolver 127.0.0.1:{resolver}\n  {more}\n }}\n {data}\n}}\n\
             share.test:{dns} {{\n bind 127.0.0.1\n acl {{\n  allow net 127.0.0.9/32\n  block\n }}\n cache 3600\n {data}\n}}\n"
        )
    }

    /// Starts so many servers, and waits until the certificate of each is live.
    pub(super) fn start_all(&self, count: usize, more: &str) -> Vec<Process> {
        let servers: Vec<_> = (0..count).map(|at| self.start_with(at, more)).collect();
        for server in &servers {
            server.wait_for_logs(&live(), 1, ORDER);
        }
        servers
    }

    /// Starts one server.
    pub(super) fn start(&self, at: usize) -> Process {
        self.start_with(at, "")
    }

    pub(super) fn start_with(&self, at: usize, more: &str) -> Process {
        let member = &self.members[at];
        Process::serve(&member.folder, &self.corefile(member, more))
    }

    /// Asks one server over a new TLS connection.
    pub(super) fn ask_tls(&self, at: usize) -> Result<message::Message, client::NoAnswer> {
        let name = self.names.split(' ').next().unwrap_or_default();
        let pairs = [("tls", ""), ("sni", name), ("timeout", "20")];
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
    pub(super) fn expect_answers(&self) {
        for at in 0..self.members.len() {
            let reply = self.ask_tls(at).expect("an answer over TLS");
            assert_eq!(reply.answers(), ["192.0.2.2"]);
        }
    }

    pub(super) fn trust(&self) {
        crate::acme::trust(&self.folder, self.management);
    }

    /// Names of the stored bundles.
    pub(super) fn bundles(&self) -> Vec<PathBuf> {
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

pub(super) fn installed(path: &str, package: &str) -> &'static Path {
    let path = Box::leak(PathBuf::from(path).into_boxed_path());
    assert!(
        path.exists(),
        "{} is not installed (Debian: apt-get install {package})",
        path.display()
    );
    path
}

pub(super) fn count(process: &Process, pattern: &str) -> usize {
    let pattern = regex::Regex::new(pattern).unwrap();
    let lines = process.lines();
    lines.iter().filter(|line| pattern.is_match(line)).count()
}

/// Certificates that pebble has signed.
pub(super) fn issued(ca: &Process) -> usize {
    count(ca, "Issued certificate serial")
}
