use super::*;
use crate::bundle::tests::pair;
use crate::tests::Scratch;
use std::fs;
use std::time::Duration;

fn spec(scratch: &Scratch) -> Spec {
    let issuer = Issuer::Acme {
        directory: "https://ca.example:14000/dir".into(),
        roots: None,
        email: None,
    };
    let folder = scratch.path().to_owned();
    Spec::new(&["a.example"], issuer, folder, Duration::from_secs(900)).unwrap()
}

fn bundle(names: &[&str]) -> Bundle {
    let (key, certificate) = pair(names);
    Bundle::read(&format!("{key}{certificate}")).unwrap()
}

fn path(scratch: &Scratch, store: &Store, name: &str) -> std::path::PathBuf {
    scratch.path().join(&store.folder).join(name)
}

#[tokio::test]
async fn the_newest_good_bundle_is_used_and_three_are_kept() {
    let scratch = Scratch::new();
    let store = Store::new(&spec(&scratch));
    assert!(store.load().await.is_none());
    let mut last = None;
    for _ in 0..5 {
        let bundle = bundle(&["a.example"]);
        last = Some((store.save(&bundle).await.unwrap(), bundle));
    }
    let (name, bundle) = last.unwrap();
    let kept = store.bundles().await.unwrap();
    assert_eq!(kept.len(), GENERATIONS);
    let stored = store.load().await.unwrap();
    assert_eq!(stored.bundle.pem(), bundle.pem());
    assert_eq!(stored.name, Some(name.clone()));
    let (now, nothing) = Store::load_now::<u8>(&spec(&scratch), "x.json");
    assert_eq!(now.unwrap().name, Some(name));
    assert_eq!(nothing, None);

    let before = fs::read_to_string(path(&scratch, &store, &kept[1])).unwrap();
    fs::write(path(&scratch, &store, &kept[2]), "-----BEGIN").unwrap();
    let stored = store.load().await.unwrap();
    assert_eq!(stored.bundle.pem(), before, "the one before is used");
    let aside = path(&scratch, &store, &format!("{}.corrupt", kept[2]));
    assert_eq!(fs::read(aside).unwrap(), b"-----BEGIN");
    assert_eq!(store.bundles().await.unwrap().len(), GENERATIONS - 1);
}

#[tokio::test]
async fn a_bundle_is_whole_or_none_at_every_length() {
    let scratch = Scratch::new();
    let store = Store::new(&spec(&scratch));
    let good = bundle(&["a.example"]);
    store.save(&good).await.unwrap();
    let text = bundle(&["a.example"]).pem().trim_end().to_owned();
    for length in 0..text.len() {
        let newer = path(&scratch, &store, "bundle-99999999999999999999.pem");
        fs::write(newer, &text[..length]).unwrap();
        let stored = store.load().await.expect("the one before is used");
        assert_eq!(stored.bundle.pem(), good.pem(), "{length}");
    }
}

#[tokio::test]
async fn a_bundle_for_other_names_is_put_aside() {
    let scratch = Scratch::new();
    let store = Store::new(&spec(&scratch));
    store.save(&bundle(&["b.example"])).await.unwrap();
    assert!(store.load().await.is_none());
    assert!(store.bundles().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_certmagic_left_is_read() {
    let scratch = Scratch::new();
    let store = Store::new(&spec(&scratch));
    let place = scratch
        .path()
        .join("certificates/ca.example-14000-dir/a.example");
    fs::create_dir_all(&place).unwrap();
    let (key, certificate) = pair(&["a.example"]);
    fs::write(place.join("a.example.key"), key).unwrap();
    fs::write(place.join("a.example.crt"), certificate).unwrap();
    assert!(store.load().await.unwrap().name.is_none());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_told_by_name() {
    let scratch = Scratch::new();
    let store = Store::new(&spec(&scratch));
    store.probe().await.unwrap();
    assert!(store.storage.list(&store.folder).await.unwrap().is_empty());
    // A file where the folder should be stops root, too.
    fs::remove_dir_all(scratch.path().join("corten")).unwrap();
    fs::write(scratch.path().join("corten"), "").unwrap();
    let error = store.probe().await.unwrap_err().to_string();
    assert!(
        error.contains("corten/ca.example14000-dir/a.example-"),
        "{error}"
    );
}

#[tokio::test]
async fn small_values_are_kept() {
    let scratch = Scratch::new();
    let store = Store::new(&spec(&scratch));
    assert_eq!(store.load_json::<u8>("x.json").await, None);
    store.save_json("x.json", &7u8).await.unwrap();
    assert_eq!(store.load_json("x.json").await, Some(7u8));
    assert!(
        store
            .account_key("https://ca.example/dir", None)
            .starts_with("corten/ca.example-dir/account-")
    );
    assert_eq!(
        issuer_key("https://acme-v02.api.letsencrypt.org/directory"),
        "acme-v02.api.letsencrypt.org-directory"
    );
}

#[tokio::test]
async fn a_certificate_for_more_names_or_from_another_ca_is_a_stopgap() {
    let scratch = Scratch::new();
    let of = |ca: &str, names: &[&str]| {
        let issuer = Issuer::Acme {
            directory: ca.into(),
            roots: None,
            email: None,
        };
        let folder = scratch.path().to_owned();
        Store::new(&Spec::new(names, issuer, folder, Duration::from_secs(900)).unwrap())
    };
    let old = of("https://old.example/dir", &["a.example", "b.example"]);
    let new = of("https://new.example/dir", &["a.example"]);
    let stranger = of("https://new.example/dir", &["b.example"]);
    assert!(new.stopgap().await.is_none());
    old.save(&bundle(&["a.example", "b.example"]))
        .await
        .unwrap();
    assert!(new.load().await.is_none(), "it is none of its own");
    let found = new.stopgap().await.expect("it is good for the name");
    assert_eq!(found.names(), ["a.example", "b.example"]);
    assert!(stranger.stopgap().await.is_none(), "another first name");
}

#[test]
fn a_file_system_that_does_not_answer_does_not_hold_up_the_start() {
    let scratch = Scratch::new();
    let spec = spec(&scratch);
    let folder = path(&scratch, &Store::new(&spec), "");
    fs::create_dir_all(&folder).unwrap();
    let pipe = folder.join("bundle-00000000000000000001.pem");
    // Whoever opens it to read waits for one who writes.
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let since = std::time::Instant::now();
    // Two hundred certificates that are kept there wait no longer than one.
    for _ in 0..200 {
        let (stored, retry) = Store::load_now::<u8>(&spec, RETRY);
        assert!(stored.is_none() && retry.is_none());
    }
    assert!(since.elapsed() < 3 * AT_START);
    // Once it answers again what is stored counts.
    drop(fs::OpenOptions::new().write(true).open(&pipe));
    fs::remove_file(&pipe).unwrap();
    fs::write(&pipe, bundle(&["a.example"]).pem()).unwrap();
    let until = std::time::Instant::now() + 10 * AT_START;
    while Store::load_now::<u8>(&spec, RETRY).0.is_none() {
        assert!(std::time::Instant::now() < until);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test]
async fn a_look_changes_nothing() {
    let scratch = Scratch::new();
    let store = Store::new(&spec(&scratch));
    let good = store.save(&bundle(&["a.example"])).await.unwrap();
    let damaged = path(&scratch, &store, "bundle-99999999999999999999.pem");
    fs::write(&damaged, "-----BEGIN").unwrap();
    assert_eq!(store.look().await.unwrap().name, Some(good));
    assert!(damaged.exists());
    assert_eq!(
        stored_at("bundle-01800000000000000000.pem"),
        Some(moment(1_800_000_000))
    );
    assert_eq!(stored_at("bundle-x.pem"), None);
}
