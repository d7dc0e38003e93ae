//! Files that are damaged, and places that cannot be written.
use std::time::{Duration, Instant};

use libtest_mimic::Failed;

use super::scene::{LIVE, NAME, ORDER, Scene};
use super::side::{Test, test};
use crate::server::{Process, free_port};

/// A key and a certificate of its own, as one text.
fn pair(name: &str, expired: bool) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2021, 1, 1);
    }
    let certificate = parameters.self_signed(&key).unwrap();
    (key.serialize_pem(), certificate.pem())
}

/// Where the server keeps its certificate: it says so by trying.
fn folder(scene: &Scene, block: &str) -> std::path::PathBuf {
    let server = Process::serve(&scene.folder, block);
    server.wait_for_log("next attempt in");
    drop(server);
    let retry = scene.files("certs/corten");
    let retry = retry.iter().find(|path| path.ends_with("retry.json"));
    retry.unwrap().parent().unwrap().to_owned()
}

/// What is damaged, cut off, of another name or of another key is put aside; the one before it is
/// used, and none without a new one.
fn damaged_bundles() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let block = scene.tls_block("");
    let folder = folder(&scene, &block);
    let (key, certificate) = pair(NAME, false);
    let (other, _) = pair(NAME, false);
    let (stray_key, stray) = pair("stray.test", false);
    let good = format!("{key}{certificate}");
    let bundles = [
        good.clone(),
        good[..good.len() / 2].to_owned(),
        format!("{other}{certificate}"),
        format!("{stray_key}{stray}"),
        "\0\u{7f}garbage".to_owned(),
    ];
    for (at, text) in bundles.iter().enumerate() {
        std::fs::write(folder.join(format!("bundle-{at:020}.pem")), text)?;
    }
    let server = Process::serve(&scene.folder, &block);
    for why in [
        "no usable private key",
        "do not belong together",
        "is not for 'ns1.acme.test'",
    ] {
        server.wait_for_log(&format!("{why}.*put aside"));
    }
    let lines = server.lines();
    assert!(
        lines.iter().all(|line| !line.contains("Obtaining")),
        "{lines:?}"
    );
    // The last line comes before its file.
    let until = Instant::now() + ORDER;
    let aside = || {
        let files = scene.files("certs/corten");
        let aside = files
            .iter()
            .filter(|path| path.to_string_lossy().ends_with(".corrupt"));
        aside.count()
    };
    while aside() < bundles.len() - 1 {
        assert!(Instant::now() < until, "{} are put aside", aside());
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(server);
    // Nothing that can be used: a new one.
    std::fs::write(folder.join(format!("bundle-{:020}.pem", 0)), "damaged")?;
    std::fs::remove_file(folder.join("retry.json"))?;
    let _ca = scene.start_ca();
    let server = Process::serve(&scene.folder, &block);
    server.wait_for_logs(LIVE, 1, ORDER);
    scene.trust();
    scene.expect_answer();
    Ok(())
}

/// An expired certificate is served, or refused, as the operator wants; the log complains.
fn expired_at_start() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let block = scene.tls_block("");
    let folder = folder(&scene, &block);
    let (key, certificate) = pair(NAME, true);
    std::fs::write(
        folder.join(format!("bundle-{:020}.pem", 1)),
        format!("{key}{certificate}"),
    )?;
    // A client that checks never takes it; how the handshake fails tells what it was shown.
    let failure = || {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], scene.tls));
        let opts = super::scene::options(&[("sni", NAME)]);
        let patience = Duration::from_secs(20);
        let stream = crate::client::tls(address, patience, &opts, scene.folder.path());
        stream.map(|_| ()).unwrap_err().to_string()
    };
    let server = Process::serve(&scene.folder, &block);
    server.wait_for_log(r"^\[ERROR\] plugin/tls: The certificate for ns1.acme.test expired \d+ days ago and is still served");
    let told = failure();
    assert!(told.contains("invalid peer certificate"), "{told}");
    drop(server);
    let server = Process::serve(&scene.folder, &scene.tls_block("expired refuse"));
    server.wait_for_log("expired .* ago and handshakes are refused");
    let told = failure();
    assert!(told.contains("alert"), "{told}");
    Ok(())
}

/// The place for certificates goes away: the one that is live goes on, metrics and log tell, and
/// nothing is ordered that could not be kept.
fn place_goes_away() -> Result<(), Failed> {
    let scene = Scene::new(16);
    let _ca = scene.start_ca();
    let metrics = free_port();
    let block =
        scene
            .tls_block("")
            .replacen("{\n", &format!("{{\n prometheus 127.0.0.1:{metrics}\n"), 1);
    let server = Process::serve(&scene.folder, &block);
    server.wait_for_logs(LIVE, 1, ORDER);
    scene.trust();
    let certs = scene.folder.path().join("certs");
    // A file in the way stops root as well.
    std::fs::rename(&certs, scene.folder.path().join("away"))?;
    std::fs::write(&certs, "")?;
    server.wait_for_logs(
        "the storage cannot be used: .*the old certificate goes on",
        1,
        ORDER,
    );
    scene.expect_answer();
    let page = || {
        let url = format!("http://127.0.0.1:{metrics}/metrics");
        let (opts, folder) = (Default::default(), scene.folder.path());
        crate::http::request("GET", &url, &[], &opts, folder)
            .unwrap()
            .text()
    };
    let told = page();
    for sample in [
        r#"coredns_tls_acme_storage_ok{name="ns1.acme.test"} 0"#,
        r#"kind="storage",name="ns1.acme.test"} 1"#,
        r#"coredns_tls_acme_expiry_timestamp_seconds{name="ns1.acme.test"} 1"#,
    ] {
        assert!(told.contains(sample), "{sample} in {told}");
    }
    std::fs::remove_file(&certs)?;
    std::fs::rename(scene.folder.path().join("away"), &certs)?;
    server.wait_for_logs(LIVE, 2, ORDER);
    assert!(page().contains(r#"coredns_tls_acme_storage_ok{name="ns1.acme.test"} 1"#));
    scene.expect_answer();
    Ok(())
}

pub(super) fn tests() -> Vec<Test> {
    vec![
        test("acme::damaged_bundles", damaged_bundles),
        test("acme::expired_at_start", expired_at_start),
        test("acme::place_goes_away", place_goes_away),
    ]
}
