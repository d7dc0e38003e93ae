//! A place for certificates without room.
//!
//! A limit of the process for the size of its files does what a full file system does, for any user
//! and in any container: files can be made, and what is written to them fails, behind some octets or
//! at once. That it does is seen by what the server says.
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::scene::{LIVE, ORDER, Scene};
use super::side::{Test, test};
use crate::server::{Process, binary, free_port};

/// Room for small files, and none for a certificate.
const LITTLE: &str = "8192:";
const NONE: &str = "0:";
const PLENTY: &str = "unlimited:";

/// Starts the server so that a limit of files makes writes fail; the signal that comes with it would
/// end the process.
fn start(scene: &Scene, corefile: &str, limit: &str) -> Process {
    scene.folder.write("Corefile", corefile);
    let script = format!(
        "trap '' XFSZ && prlimit --pid $$ --fsize={limit} && exec {} -conf Corefile",
        binary().display()
    );
    let arguments = ["-c", &script];
    let (shell, folder) = (Path::new("/bin/sh"), scene.folder.path());
    let server = Process::start(shell, &arguments, folder, &Default::default(), None);
    server.wait_for_log("^Corten-");
    server
}

/// Sets how large files may become that the server writes.
fn limit(server: &Process, limit: &str) {
    let (process, limit) = (server.id().to_string(), format!("--fsize={limit}"));
    let done = Command::new("prlimit")
        .args(["--pid", &process, &limit])
        .status();
    assert!(done.unwrap().success(), "prlimit {limit}");
}

/// Every bundle that anybody can see is whole.
fn expect_whole(scene: &Scene) {
    for path in scene.bundles() {
        // Old ones go at any time.
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let end = text.trim_end().ends_with("-----END CERTIFICATE-----");
        let key = text.starts_with("-----BEGIN PRIVATE KEY-----");
        assert!(key && end, "{}: {text}", path.display());
    }
}

fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with('.') && name.contains(".new.")
}

/// The storage is full when the certificate is to be renewed, first for what is large, then for
/// everything: what is in memory serves, nothing is ordered, log and metrics tell what and where.
/// With room the renewal goes on by itself.
fn no_room() -> Result<(), Failed> {
    let scene = Scene::new(24);
    let ca = scene.start_ca();
    let orders = || {
        let lines = ca.lines();
        lines
            .iter()
            .filter(|line| line.contains("/order-plz"))
            .count()
    };
    let metrics = free_port();
    let monitored = format!("{{\n prometheus 127.0.0.1:{metrics}\n");
    let block = scene.tls_block("").replacen("{\n", &monitored, 1);
    let storage_ok = || {
        let url = format!("http://127.0.0.1:{metrics}/metrics");
        let (opts, folder) = (Default::default(), scene.folder.path());
        let page = crate::http::request("GET", &url, &[], &opts, folder);
        let page = page.unwrap().text();
        let name = r#"coredns_tls_acme_storage_ok{name="ns1.acme.test"} "#;
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().to_owned()
    };
    let server = start(&scene, &block, PLENTY);
    server.wait_for_logs(LIVE, 1, ORDER);
    scene.trust();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !stop.load(Relaxed) {
                expect_whole(&scene);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        for (round, (room, what)) in [(LITTLE, "probe-"), (NONE, "lock")].into_iter().enumerate() {
            limit(&server, room);
            let before = orders();
            let told = format!(
                r"^\[ERROR\] .*the storage cannot be used: .*/?certs/corten/.*{what}.*: File too large.*; the old certificate goes on"
            );
            server.wait_for_logs(&told, 1, ORDER);
            scene.expect_answer();
            assert_eq!((storage_ok().as_str(), orders()), ("0", before));
            limit(&server, PLENTY);
            server.wait_for_logs(LIVE, round + 2, ORDER);
            assert_eq!(storage_ok(), "1");
            scene.expect_answer();
        }
        stop.store(true, Relaxed);
        reader.join().expect("no half of a certificate is seen");
    });
    let lines = server.lines();
    assert!(
        lines
            .iter()
            .all(|line| !line.contains("could not be stored")),
        "{lines:#?}"
    );
    // What could not be written to its end is gone; one that is killed may leave something.
    let until = Instant::now() + ORDER;
    while scene.files("certs").iter().any(|path| is_unfinished(path)) {
        assert!(Instant::now() < until, "{:?}", scene.files("certs"));
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(server);

    // A start without room has what is stored.
    let server = start(&scene, &block, NONE);
    scene.expect_answer();
    server.wait_for_logs(
        "the storage cannot be used: .*the old certificate",
        1,
        ORDER,
    );
    limit(&server, PLENTY);
    server.wait_for_logs(LIVE, 1, ORDER);
    scene.expect_answer();
    Ok(())
}

pub(super) fn tests() -> Vec<Test> {
    vec![test("acme::no_room", no_room)]
}
