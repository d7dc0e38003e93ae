//! A folder with a CA beside the server.
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use crate::client::{self, Options, Query};
use crate::server::{Folder, Process, free_port};
use crate::{certificates, message};

/// The name of most certificates here.
pub(crate) const NAME: &str = "ns1.acme.test";
/// How long an order may take; on a busy machine pebble is slow.
pub(crate) const ORDER: Duration = Duration::from_secs(60);
/// What the server says when it has a certificate.
pub(crate) const LIVE: &str = r"^\[INFO\] plugin/tls: The certificate for ns1\.acme\.test is live";
/// An external account that the CA knows.
pub(crate) const ACCOUNT: (&str, &str) = (
    "kid-1",
    "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W",
);

/// A CA with a folder for it and for the server.
pub(crate) struct Scene {
    pub(crate) folder: Folder,
    pub(crate) ca: u16,
    pub(crate) management: u16,
    pub(crate) dns: u16,
    pub(crate) tls: u16,
    pub(crate) validity_seconds: u32,
    /// Per cent of the nonces that the CA rejects.
    pub(crate) rejected_nonces: u32,
    /// Whether the CA wants an external account.
    pub(crate) binding: bool,
    /// Seconds that the CA sleeps before it looks at a challenge.
    pub(crate) sleep_seconds: u32,
}

/// The CA's program: Debian's, or another one that is found first.
pub(crate) fn pebble() -> &'static Path {
    static PEBBLE: OnceLock<PathBuf> = OnceLock::new();
    PEBBLE.get_or_init(|| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path)
            .map(|folder| folder.join("pebble"))
            .find(|file| file.is_file());
        found.expect("pebble is not installed (Debian: apt-get install pebble)")
    })
}

/// Whether the CA's program has renewal information, profiles and the newer challenges: Debian 12's
/// has not.
pub(crate) fn is_modern() -> bool {
    static MODERN: OnceLock<bool> = OnceLock::new();
    *MODERN.get_or_init(|| {
        let output = Command::new(pebble()).arg("-version").output().unwrap();
        output.status.success()
    })
}

impl Scene {
    pub(crate) fn new(validity_seconds: u32) -> Self {
        let folder = Folder::new();
        certificates::write(folder.path());
        Self {
            folder,
            ca: free_port(),
            management: free_port(),
            dns: free_port(),
            tls: free_port(),
            validity_seconds,
            rejected_nonces: 5,
            binding: false,
            sleep_seconds: 0,
        }
    }

    /// Starts pebble, which asks the port `dns` for challenges. It rejects some nonces and never
    /// reuses what it knows.
    pub(crate) fn start_ca(&self) -> Process {
        let Self {
            ca,
            management,
            validity_seconds,
            binding,
            ..
        } = self;
        let (id, key) = ACCOUNT;
        let config = format!(
            r#"{{"pebble": {{"listenAddress": "127.0.0.1:{ca}", "managementListenAddress": "127.0.0.1:{management}",
            "certificate": "cert.pem", "privateKey": "key.pem", "httpPort": 5002, "tlsPort": 5001,
            "ocspResponderURL": "", "certificateValidityPeriod": {validity_seconds},
            "externalAccountBindingRequired": {binding}, "externalAccountMACKeys": {{"{id}": "{key}"}},
            "domainBlocklist": ["blocked.acme.test"], "retryAfter": {{"authz": 1, "order": 1}},
            "profiles": {{"default": {{"description": "a", "validityPeriod": {validity_seconds}, "promoteCommonName": true}}}}}}}}"#
        );
        self.folder.write("pebble.json", &config);
        let rejected = self.rejected_nonces.to_string();
        let sleep = self.sleep_seconds.to_string();
        let mut env = vec![
            ("PEBBLE_WFE_NONCEREJECT", rejected.as_str()),
            ("PEBBLE_AUTHZREUSE", "0"),
        ];
        env.push(match self.sleep_seconds {
            0 => ("PEBBLE_VA_NOSLEEP", "1"),
            _ => ("PEBBLE_VA_SLEEPTIME", sleep.as_str()),
        });
        let env: BTreeMap<_, _> = env
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let arguments = [
            "-config",
            "pebble.json",
            "-dnsserver",
            &format!("127.0.0.1:{}", self.dns),
        ];
        let mut process = Process::start(pebble(), &arguments, self.folder.path(), &env, None);
        process.wait_serving(*ca);
        process
    }

    /// The article's first block.
    pub(crate) fn tls_block(&self, more: &str) -> String {
        let Self { ca, dns, tls, .. } = self;
        format!(
            "tls://acme.test:{tls} {{\n bind 127.0.0.1\n tls acme {{\n  domain {NAME}\n  ca https://127.0.0.1:{ca}/dir\n  cacert ca.pem\n  \
             certpath certs\n  port {dns}\n  {more}\n }}\n hosts {{\n  192.0.2.1 acme.test\n  192.0.2.2 {NAME}\n }}\n}}\n"
        )
    }

    /// The article's second block.
    pub(crate) fn plain_block(&self) -> String {
        format!(
            "acme.test:{} {{\n bind 127.0.0.1\n hosts {{\n  192.0.2.1 acme.test\n  192.0.2.2 {NAME}\n }}\n}}\n",
            self.dns
        )
    }

    /// Makes clients trust what pebble signs: its root, which is a new one with every start.
    pub(crate) fn trust(&self) {
        trust(&self.folder, self.management);
    }

    /// Asks over a new TLS connection; the certificate must be for the name and from pebble.
    pub(crate) fn ask_tls(&self) -> Result<message::Message, client::NoAnswer> {
        let opts = options(&[("tls", ""), ("sni", NAME), ("timeout", "20")]);
        client::send(
            &Query::new(NAME, "A", &opts),
            &opts,
            self.tls,
            &self.folder.path().join("trusted"),
        )
    }

    /// The same for another server name, or none.
    pub(crate) fn shakes_hands(&self, server_name: Option<&str>) -> bool {
        let mut opts = options(&[("tls", ""), ("timeout", "20")]);
        if let Some(name) = server_name {
            opts.insert("sni".to_owned(), name.to_owned());
        }
        let address = SocketAddr::from(([127, 0, 0, 1], self.tls));
        let trusted = self.folder.path().join("trusted");
        let Ok(mut stream) = client::tls(address, Duration::from_secs(20), &opts, &trusted) else {
            return false;
        };
        client::converse(&mut stream, &Query::new(NAME, "A", &opts)).is_ok()
    }

    /// Files below a folder of the scene, sorted.
    pub(crate) fn files(&self, below: &str) -> Vec<PathBuf> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                match entry.path() {
                    path if path.is_dir() => walk(&path, found),
                    path => found.push(path),
                }
            }
        }
        let mut found = Vec::new();
        walk(&self.folder.path().join(below), &mut found);
        found.sort();
        found
    }

    /// Certificates that are stored, oldest first.
    pub(crate) fn bundles(&self) -> Vec<PathBuf> {
        let mut found = self.files("certs/corten");
        found.retain(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with("bundle-") && name.ends_with(".pem")
        });
        found
    }

    /// Asks over TLS and is answered.
    pub(crate) fn expect_answer(&self) {
        let reply = self.ask_tls().expect("an answer over TLS");
        assert_eq!(reply.answers(), ["192.0.2.2"]);
    }
}

/// Makes clients trust what pebble signs: its root, which is a new one with every start.
pub(crate) fn trust(folder: &Folder, management: u16) {
    let opts = options(&[("sni", "localhost")]);
    let address = SocketAddr::from(([127, 0, 0, 1], management));
    let mut stream = client::tls(address, Duration::from_secs(10), &opts, folder.path()).unwrap();
    stream
        .write_all(b"GET /roots/0 HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut text = String::new();
    // The server closes without a word at the end.
    let _ = stream.read_to_string(&mut text);
    let root = text.split_once("\r\n\r\n").expect("an HTTP response").1;
    assert!(root.contains("BEGIN CERTIFICATE"), "{text}");
    folder.write("trusted/ca.pem", root);
}

pub(crate) fn options(pairs: &[(&str, &str)]) -> Options {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}
