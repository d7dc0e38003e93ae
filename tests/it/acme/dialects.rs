//! Both dialects, what others have left, and what newer CAs have.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use serde_json::Value;

use super::own_ca::{Manner, start};
use super::scene::{ACCOUNT, LIVE, NAME, ORDER, Scene, is_modern};
use super::side::{Test, test};
use crate::server::{Process, binary};

impl Scene {
    /// CoreDNS's form with these names.
    fn coredns_block(&self, names: &str, more: &str) -> String {
        let Self { ca, dns, tls, .. } = self;
        format!(
            "tls://acme.test:{tls} {{\n bind 127.0.0.1\n tls {{\n  acme {names}\n  ca https://127.0.0.1:{ca}/dir\n  ca_root ca.pem\n  \
             storage certs\n  port {dns}\n  {more}\n }}\n hosts {{\n  192.0.2.1 acme.test\n  192.0.2.2 {NAME}\n }}\n}}\n"
        )
    }
}

/// CoreDNS's form: a certificate for each name; the first for clients that name no server, none for
/// those that name another.
fn coredns_form() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let ca = scene.start_ca();
    let block = scene.coredns_block("NS1.acme.test. other.acme.test", "email admin@acme.test");
    let server = Process::serve(&scene.folder, &block);
    server.wait_for_logs(LIVE, 1, ORDER);
    server.wait_for_logs("The certificate for other.acme.test is live", 1, ORDER);
    scene.trust();
    assert!(scene.shakes_hands(Some(NAME)));
    assert!(scene.shakes_hands(Some("other.acme.test")));
    assert!(!scene.shakes_hands(Some("stray.acme.test")));
    assert_eq!(scene.bundles().len(), 2);
    // Both orders begin at the same time, and have one account.
    let lines = ca.lines();
    let accounts = lines
        .iter()
        .filter(|line| line.contains("accounts in memory"));
    assert_eq!(accounts.count(), 1, "{lines:#?}");
    Ok(())
}

/// What CoreDNS or the article's plugin has left is used: the certificate without asking the CA,
/// and the account when it is time to renew.
fn certmagic_tree_is_taken_over() -> Result<(), Failed> {
    let scene = Scene::new(16);
    let ca = scene.start_ca();
    let block = scene.tls_block("email admin@acme.test");
    let server = Process::serve(&scene.folder, &block);
    server.wait_for_logs(LIVE, 1, ORDER);
    drop(server);
    // The same as CertMagic keeps it.
    let account = scene
        .files("certs/corten")
        .into_iter()
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("account-")
        })
        .unwrap();
    let account: Value = serde_json::from_str(&std::fs::read_to_string(account)?)?;
    let issuer = format!("127.0.0.1-{}-dir", scene.ca);
    let users = format!("certs/acme/{issuer}/users/admin@acme.test/admin");
    let registration = format!(r#"{{"status": "valid", "location": {}}}"#, account["id"]);
    let key = account["key_pkcs8"].as_str().unwrap();
    let key = key.replace('-', "+").replace('_', "/");
    let bundle = std::fs::read_to_string(&scene.bundles()[0])?;
    let at = bundle.find("-----BEGIN CERTIFICATE").unwrap();
    std::fs::remove_dir_all(scene.folder.path().join("certs"))?;
    scene.folder.write(&format!("{users}.json"), &registration);
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{key}\n-----END PRIVATE KEY-----\n");
    scene.folder.write(&format!("{users}.key"), &pem);
    let site = format!("certs/certificates/{issuer}/{NAME}/{NAME}");
    scene.folder.write(&format!("{site}.key"), &bundle[..at]);
    scene.folder.write(&format!("{site}.crt"), &bundle[at..]);

    let server = Process::serve(&scene.folder, &block);
    server.wait_for_log("Using the certificate of ns1.acme.test in");
    scene.trust();
    server.wait_for_logs(LIVE, 1, ORDER);
    server.wait_for_log("Using the account of .*admin.json");
    scene.expect_answer();
    let accounts = ca.lines();
    let accounts = accounts
        .iter()
        .filter(|line| line.contains("accounts in memory"));
    assert_eq!(accounts.count(), 1, "no other account was made");
    Ok(())
}

/// A CA that has only customers of its own; and no secret is in the log.
fn external_account() -> Result<(), Failed> {
    let scene = Scene {
        binding: true,
        ..Scene::new(3600)
    };
    let _ca = scene.start_ca();
    let server = Process::serve(&scene.folder, &scene.tls_block(""));
    server.wait_for_logs("eab KID HMAC", 1, ORDER);
    drop(server);
    let (id, key) = ACCOUNT;
    // What was refused is remembered; another setting is another matter for the operator.
    for path in scene.files("certs/corten") {
        std::fs::remove_file(path)?;
    }
    let server = Process::serve(
        &scene.folder,
        &(scene.tls_block(&format!("eab {id} {key}"))
            + &scene.plain_block().replace("hosts", "debug\n hosts")),
    );
    server.wait_for_logs(LIVE, 1, ORDER);
    let log = server.lines().join("\n");
    let stored = scene.files("certs/corten");
    let account = stored
        .iter()
        .find(|path| path.to_string_lossy().contains("account-"));
    let account: Value = serde_json::from_str(&std::fs::read_to_string(account.unwrap())?)?;
    let bundle = std::fs::read_to_string(&scene.bundles()[0])?;
    let secret = bundle.lines().nth(1).unwrap();
    for secret in [
        key,
        account["key_pkcs8"].as_str().unwrap(),
        secret,
        "PRIVATE",
    ] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
    Ok(())
}

/// A profile that the CA does not have is told before anything is ordered, with those it has.
fn profiles() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let _ca = scene.start_ca();
    let server = Process::serve(&scene.folder, &scene.tls_block("profile nosuch"));
    let line = server.wait_for_log("not ready for the CA: .*profile.*next attempt in");
    if !is_modern() {
        assert!(
            line.contains("the CA has no profiles, so none called 'nosuch'"),
            "{line}"
        );
        return Ok(());
    }
    assert!(
        line.contains("no profile 'nosuch'; it has default"),
        "{line}"
    );
    scene
        .folder
        .write("Corefile", &scene.tls_block("profile default"));
    server.signal("USR1");
    server.wait_for_logs(LIVE, 1, ORDER);
    Ok(())
}

/// The newer kinds of challenges; a CA that does not have them says so.
fn kinds_of_challenges() -> Result<(), Failed> {
    for kind in ["dns-account-01", "dns-persist-01"] {
        let scene = Scene::new(3600);
        let _ca = scene.start_ca();
        let block = scene.tls_block(&format!("challenge {kind}\n  domain *.acme.test"));
        let server = Process::serve(&scene.folder, &block);
        match is_modern() {
            true => server.wait_for_logs("is live; it expires in", 1, ORDER),
            false => server.wait_for_log(&format!("does not offer the challenge {kind}")),
        };
    }
    Ok(())
}

/// The CA wants a certificate to be renewed now; the order says what it replaces.
fn renewal_information() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let _ca = scene.start_ca();
    let block = scene.tls_block("");
    let server = Process::serve(&scene.folder, &block);
    server.wait_for_logs(LIVE, 1, ORDER);
    drop(server);
    let suggestion = scene
        .files("certs/corten")
        .into_iter()
        .find(|path| path.ends_with("renewal.json"))
        .expect("what the CA said is kept");
    let mut kept: Value = serde_json::from_str(&std::fs::read_to_string(&suggestion)?)?;
    kept["window"] = serde_json::json!([1, 2]);
    let soon = std::time::SystemTime::now() + Duration::from_secs(3600);
    let soon = soon.duration_since(std::time::UNIX_EPOCH)?.as_secs();
    kept["ask_again"] = serde_json::json!(soon);
    std::fs::write(&suggestion, kept.to_string())?;
    let server = Process::serve(&scene.folder, &block);
    server.wait_for_logs(LIVE, 1, ORDER);
    assert_eq!(scene.bundles().len(), 2);
    // A CA that knows nothing of it gets an order that does not say so.
    let lines = server.lines();
    let without = |line: &String| line.contains("without saying what is replaced");
    assert_eq!(lines.iter().any(without), !is_modern(), "{lines:?}");
    Ok(())
}

/// A dry run: what it says, what it leaves.
fn dry_run() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let ca = scene.start_ca();
    scene.folder.write("Corefile", &scene.tls_block(""));
    let directory = format!("https://127.0.0.1:{}/dir", scene.ca);
    let run = |arguments: &[&str]| {
        let mut process = Process::start(
            binary(),
            arguments,
            scene.folder.path(),
            &BTreeMap::new(),
            None,
        );
        let status = process.wait_end(ORDER).unwrap();
        (status.code(), process)
    };
    let (status, process) = run(&["acme", "test", "-conf", "Corefile"]);
    assert_eq!(status, Some(2), "{:?}", process.lines());
    process.wait_for_log("no staging directory is known");
    let trial = ["acme", "test", "-conf", "Corefile", "-ca", &directory];
    let (status, process) = run(&trial);
    assert_eq!(status, Some(0), "{:?}", process.lines());
    process.wait_for_log("ns1.acme.test: a certificate would be issued");
    assert!(scene.bundles().is_empty(), "nothing is stored");
    drop(ca);
    let (status, process) = run(&trial);
    assert_eq!(status, Some(1), "{:?}", process.lines());
    process.wait_for_log("[Cc]onnection refused");
    Ok(())
}

/// The certificate that the CA wants back is replaced at once, and the order says so; the next one
/// stays. Orders name the profile.
fn recalled() -> Result<(), Failed> {
    let scene = Scene::new(3600);
    let seen = start(&scene, Manner::Recall);
    let server = Process::serve(&scene.folder, &scene.tls_block("profile short"));
    server.wait_for_logs(LIVE, 1, ORDER);
    server.wait_for_logs(
        "^\\[WARNING\\] plugin/tls: The CA wants the certificate for ns1\\.acme\\.test to be renewed now",
        1,
        ORDER,
    );
    server.wait_for_logs(LIVE, 2, ORDER);
    let until = Instant::now() + ORDER;
    while seen.lock().unwrap().certificates.len() < 2 {
        assert!(Instant::now() < until, "the CA is asked about the second");
        std::thread::sleep(Duration::from_millis(20));
    }
    let seen = seen.lock().unwrap();
    let replaced: Vec<_> = seen.orders.iter().map(|order| &order["replaces"]).collect();
    assert_eq!(
        replaced,
        [&Value::Null, &seen.certificates[0].as_str().into()]
    );
    assert!(seen.orders.iter().all(|order| order["profile"] == "short"));
    assert_eq!(scene.bundles().len(), 2);
    Ok(())
}

pub(super) fn tests() -> Vec<Test> {
    vec![
        test("acme::coredns_form", coredns_form),
        test(
            "acme::certmagic_tree_is_taken_over",
            certmagic_tree_is_taken_over,
        ),
        test("acme::external_account", external_account),
        test("acme::profiles", profiles),
        test("acme::recalled", recalled),
        test("acme::kinds_of_challenges", kinds_of_challenges),
        test("acme::renewal_information", renewal_information),
        test("acme::dry_run", dry_run),
    ]
}
