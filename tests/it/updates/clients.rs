//! Clients of ACME, unchanged, get certificates for other servers.
use std::path::Path;
use std::process::Command;

use libtest_mimic::{Failed, Trial};

use super::{Primary, SECRET};
use crate::acme::scene::Scene;
use crate::server::Process;

pub(super) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("updates::certbot", certbot),
        Trial::test("updates::lego", lego),
        Trial::test("updates::dehydrated", dehydrated),
    ]
}

/// A CA and a server that takes the updates.
struct Stage {
    primary: Primary,
    scene: Scene,
    server: Process,
    _ca: Process,
}

impl Stage {
    fn new() -> Self {
        let primary = Primary::new("");
        let server = primary.start();
        let mut scene = Scene::new(3_600);
        // Not every client tries again.
        (scene.dns, scene.rejected_nonces) = (primary.port, 0);
        let ca = scene.start_ca();
        Self {
            primary,
            scene,
            server,
            _ca: ca,
        }
    }

    fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.scene.ca)
    }

    /// Runs a client, which must be content.
    fn run(&self, program: &str, arguments: &[&str], env: &[(&str, &str)]) {
        let output = Command::new(program)
            .args(arguments)
            .envs(env.iter().copied())
            .current_dir(self.folder())
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        assert!(
            output.status.success(),
            "{}{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.server.lines().join("\n")
        );
    }

    fn folder(&self) -> &Path {
        self.scene.folder.path()
    }

    /// The certificate is there, no update was refused, and the challenges are gone.
    fn check(&self, certificate: &str, names: &[&str]) {
        let pem = std::fs::read_to_string(self.folder().join(certificate)).unwrap();
        assert!(pem.contains("BEGIN CERTIFICATE"), "{pem}");
        let lines = self.server.lines();
        assert!(
            !lines.iter().any(|line| line.starts_with("[WARNING]")),
            "{lines:?}"
        );
        for name in names {
            let reply = self.primary.ask(&format!("_acme-challenge.{name}"), "TXT");
            assert_eq!(reply.rcode_name(), "NXDOMAIN", "it cleans up {name}");
        }
    }
}

/// It adds a record with each update, and takes that one away.
fn certbot() -> Result<(), Failed> {
    let stage = Stage::new();
    stage.scene.folder.write(
        "credentials.ini",
        &format!(
            "dns_rfc2136_server = 127.0.0.1\ndns_rfc2136_port = {}\ndns_rfc2136_name = web.example.org.\n\
            dns_rfc2136_secret = {SECRET}\ndns_rfc2136_algorithm = HMAC-SHA256\n",
            stage.primary.port
        ),
    );
    let directory = stage.directory();
    let arguments = format!(
        "certonly --non-interactive --agree-tos --register-unsafely-without-email --server {directory} \
        --no-verify-ssl --dns-rfc2136 --dns-rfc2136-credentials credentials.ini \
        --dns-rfc2136-propagation-seconds 0 --config-dir c --work-dir w --logs-dir l \
        -d www.example.org -d *.www.example.org -d a.apps.example.org"
    );
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    stage.run("certbot", &arguments, &[]);
    stage.check("c/live/www.example.org/fullchain.pem", &["www", "a.apps"]);
    Ok(())
}

/// It replaces the whole set with each update, so that two challenges of one name come one after the
/// other; and it looks for the zone by questions for SOA.
fn lego() -> Result<(), Failed> {
    let stage = Stage::new();
    let (directory, dns) = (
        stage.directory(),
        format!("127.0.0.1:{}", stage.primary.port),
    );
    let arguments = format!(
        "--server {directory} --accept-tos --email it@example.org --path lego --dns rfc2136 --dns.disable-cp \
        --dns.resolvers {dns} -d www.example.org -d *.www.example.org run"
    );
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    let env = [
        ("LEGO_CA_CERTIFICATES", "ca.pem"),
        ("RFC2136_NAMESERVER", dns.as_str()),
        ("RFC2136_TSIG_ALGORITHM", "hmac-sha512."),
        ("RFC2136_TSIG_KEY", "web.example.org."),
        ("RFC2136_TSIG_SECRET", SECRET),
        ("RFC2136_SEQUENCE_INTERVAL", "1"),
        ("RFC2136_POLLING_INTERVAL", "1"),
    ];
    stage.run("lego", &arguments, &env);
    stage.check("lego/certificates/www.example.org.crt", &["www"]);
    Ok(())
}

/// Scripts call nsupdate.
fn dehydrated() -> Result<(), Failed> {
    let stage = Stage::new();
    let folder = &stage.scene.folder;
    folder.write(
        "web.key",
        &format!("key \"web.example.org.\" {{\n    algorithm hmac-sha384;\n    secret \"{SECRET}\";\n}};\n"),
    );
    folder.write("hook.sh", &hook(stage.primary.port));
    std::fs::set_permissions(
        folder.path().join("hook.sh"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )?;
    folder.write(
        "config",
        &format!(
            "CA={}\nCURL_OPTS='--cacert ca.pem'\nCHALLENGETYPE=dns-01\nHOOK=./hook.sh\n",
            stage.directory()
        ),
    );
    let run = |arguments: &str| {
        let arguments = format!("--config config {arguments}");
        let arguments: Vec<_> = arguments.split_whitespace().collect();
        stage.run("dehydrated", &arguments, &[]);
    };
    run("--register --accept-terms");
    run("--cron --out certs --domain www.example.org --domain a.apps.example.org");
    stage.check("certs/www.example.org/fullchain.pem", &["www", "a.apps"]);
    Ok(())
}

/// The hook of the manual, for a server on another port.
fn hook(port: u16) -> String {
    let manual = include_str!("../../../plugins/update/README.md");
    let start = manual.find("#!/bin/sh").expect("the hook");
    let length = manual[start..].find("```").expect("its end");
    let hook = &manual[start..start + length];
    let own = hook.replace("server 192.0.2.53", &format!("server 127.0.0.1 {port}"));
    assert_ne!(hook, own, "it names a server");
    own.replace("/etc/dehydrated/web.key", "web.key")
}
