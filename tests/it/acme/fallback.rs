//! `fallback internal`: the local CA's certificate until there is one of the CA.
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::scene::{LIVE, NAME, ORDER, Scene, options};
use super::side::{Test, test};
use crate::client::{self, Query};
use crate::server::{Process, binary, free_port};

/// Runs a command of the program in the scene's folder: status and output.
fn run(scene: &Scene, words: &[&str]) -> (Option<i32>, String) {
    let done = Command::new(binary())
        .args(words)
        .current_dir(scene.folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    (done.status.code(), text)
}

/// Asks over a new TLS connection, and trusts what is in a folder.
fn is_trusted(scene: &Scene, trusted: &Path) -> bool {
    let opts = options(&[("tls", ""), ("sni", NAME), ("timeout", "20")]);
    let reply = client::send(&Query::new(NAME, "A", &opts), &opts, scene.tls, trusted);
    reply.is_ok_and(|reply| reply.answers() == ["192.0.2.2"])
}

/// Without a CA and a certificate handshakes get one of the local CA, and log, metrics and commands
/// say so; a restart does not change that. When the CA comes so does its certificate, without a
/// restart.
fn local_ca_stands_in() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let metrics = free_port();
    let monitored = format!("{{\n prometheus 127.0.0.1:{metrics}\n");
    let block = scene
        .tls_block("fallback internal")
        .replacen("{\n", &monitored, 1);
    let page = || {
        let url = format!("http://127.0.0.1:{metrics}/metrics");
        let (opts, folder) = (Default::default(), scene.folder.path());
        let page = crate::http::request("GET", &url, &[], &opts, folder);
        page.unwrap().text()
    };
    let serves = |server: &Process| {
        server.wait_for_log(
            r"^\[WARNING\] plugin/tls: There is no certificate for ns1\.acme\.test yet; one of the local CA serves until there is, for clients that trust .*certs/corten/internal/root\.pem: .*[Cc]onnection refused",
        );
    };
    let server = Process::serve(&scene.folder, &block);
    serves(&server);
    let local = scene.folder.path().join("local");
    std::fs::create_dir(&local)?;
    let (status, _) = run(&scene, &["trust", "export", "-o", "local/ca.pem"]);
    assert_eq!(status, Some(0));
    assert!(is_trusted(&scene, &local));
    let told = page();
    for sample in [
        r#"coredns_tls_acme_fallback{name="ns1.acme.test"} 1"#,
        r#"coredns_tls_acme_expiry_timestamp_seconds{name="ns1.acme.test"} 0"#,
    ] {
        assert!(told.contains(sample), "{sample} in {told}");
    }
    let (status, table) = run(&scene, &["certs"]);
    assert_eq!(status, Some(1), "{table}");
    assert!(
        table.contains("no certificate; the local CA's serves until 2"),
        "{table}"
    );
    server.wait_for_log("no certificate: .*; the local CA's goes on, next attempt in");
    drop(server);

    let server = Process::serve(&scene.folder, &block);
    let until = Instant::now() + ORDER;
    while !is_trusted(&scene, &local) {
        assert!(Instant::now() < until, "{:#?}", server.lines());
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ca = scene.start_ca();
    server.wait_for_logs(LIVE, 1, ORDER);
    scene.trust();
    scene.expect_answer();
    assert!(!is_trusted(&scene, &local), "the local CA's is gone");
    let told = page();
    assert!(
        told.contains(r#"coredns_tls_acme_fallback{name="ns1.acme.test"} 0"#),
        "{told}"
    );
    let until = Instant::now() + ORDER;
    let is_kept = |path: &std::path::PathBuf| path.ends_with("fallback.pem");
    while scene.files("certs").iter().any(is_kept) {
        assert!(Instant::now() < until, "it is not kept");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (status, table) = run(&scene, &["certs"]);
    assert!(status == Some(0) && !table.contains("local CA"), "{table}");
    Ok(())
}

/// A CA that takes connections and says nothing does not keep the local CA away.
fn silent_ca() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let _listener = std::net::TcpListener::bind(("127.0.0.1", scene.ca))?;
    let server = Process::serve(&scene.folder, &scene.tls_block("fallback internal"));
    let since = Instant::now();
    server.wait_for_log("one of the local CA serves until there is");
    assert!(
        since.elapsed() < Duration::from_secs(19),
        "{:?}",
        since.elapsed()
    );
    Ok(())
}

pub(super) fn tests() -> Vec<Test> {
    vec![
        test("acme::local_ca_stands_in", local_ca_stands_in),
        test("acme::silent_ca", silent_ca),
    ]
}
