use super::*;
use crate::spec::Issuer;
use crate::storage::{Folder, Lease};
use crate::tests::Scratch;
use std::time::Duration;

fn values(values: &[&str]) -> Answer {
    Answer::Values(values.iter().map(|value| (*value).to_owned()).collect())
}

#[test]
fn values_are_served_as_long_as_somebody_keeps_them() {
    let challenges = Arc::new(Challenges::default());
    let name = wire("_acme-challenge.example");
    assert_eq!(challenges.lookup(&name), Answer::NotOurs);
    let one = challenges.publish_name("_acme-challenge.Example", "one".into());
    let other = challenges.publish_name("_acme-challenge.example", "other".into());
    assert_eq!(challenges.lookup(&name), values(&["one", "other"]));
    for not_ours in ["_acme-challenge.other", "example", "x.example", "."] {
        assert_eq!(challenges.lookup(&wire(not_ours)), Answer::NotOurs);
    }
    assert!(challenges.exists(&wire("example")) && !challenges.exists(&wire("")));
    drop(one);
    assert_eq!(challenges.lookup(&name), values(&["other"]));
    drop(other);
    assert_eq!(challenges.lookup(&name), Answer::NotOurs);
    assert!(!challenges.any() && !challenges.exists(&wire("example")));
}

#[test]
fn a_name_above_a_challenge_exists_without_a_record() {
    let challenges = Arc::new(Challenges::default());
    let _one = challenges.publish_name("_abc._acme-challenge.a.example", "one".into());
    let ask = |name: &str| challenges.lookup(&wire(name));
    assert_eq!(ask("_abc._acme-challenge.a.example"), values(&["one"]));
    assert_eq!(ask("_acme-challenge.a.example"), values(&[]));
    assert_eq!(ask("_def._acme-challenge.a.example"), Answer::NotOurs);
    for parent in ["a.example", "example"] {
        assert!(challenges.exists(&wire(parent)));
    }
    assert!(!challenges.exists(&wire("b.example")));
}

#[test]
fn thousands_of_names_are_taken_up_and_go() {
    let challenges = Arc::new(Challenges::default());
    let since = std::time::Instant::now();
    let name = |at: usize| format!("_acme-challenge.n{at}.example");
    let pending: Vec<_> = (0..5000)
        .map(|at| challenges.publish_name(&name(at), at.to_string()))
        .collect();
    // A copy of everything for each would take minutes.
    assert!(since.elapsed() < Duration::from_secs(20));
    assert_eq!(challenges.lookup(&wire(&name(4321))), values(&["4321"]));
    assert!(challenges.exists(&wire("n7.example")) && challenges.exists(&wire("example")));
    drop(pending);
    assert!(!challenges.any() && !challenges.exists(&wire("example")));
    assert!(challenges.places.iter().all(|place| {
        let place = place.load();
        place.bases.is_empty() && place.parents.is_empty()
    }));
}

/// A certificate that is kept in a folder.
fn spec(folder: &std::path::Path) -> Spec {
    let acme = Issuer::Acme {
        directory: "https://ca.example/dir".into(),
        roots: None,
        email: None,
    };
    let names = ["*.a.example", "a.example"];
    Spec::new(&names, acme, folder.to_owned(), Duration::from_secs(900)).unwrap()
}

#[tokio::test]
async fn servers_of_one_folder_answer_for_one_another() {
    let scratch = Scratch::new();
    let folder = scratch.path().to_owned();
    let spec = spec(&folder);
    let server = || {
        let storage: Arc<dyn Storage> = Arc::new(Folder::new(folder.clone()));
        let challenges = Arc::new(Challenges::default());
        let managed = challenges.manage(&spec, &storage);
        (challenges, managed)
    };
    let ((one, _one), (other, managed)) = (server(), server());
    let name = wire("_acme-challenge.a.example");
    let token = one.publish_name("_acme-challenge.a.example", "here".into());
    token.share().await;
    assert_eq!(other.lookup(&name), Answer::Elsewhere, "nobody has looked");
    assert_eq!(other.find(&name, Asker::Client).await, values(&["here"]));
    assert_eq!(other.lookup(&name), values(&["here"]), "remembered");
    let own = other.publish_name("_acme-challenge.a.example", "mine".into());
    assert_eq!(other.lookup(&name), values(&["mine", "here"]));
    assert_eq!(
        other
            .find(&wire("_acme-challenge.b.example"), Asker::Client)
            .await,
        Answer::NotOurs
    );
    drop((token, own));
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while other.find(&name, Asker::Client).await != Answer::NotOurs {
        assert!(std::time::Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(managed);
    assert!(!other.any() && !other.is_managed(&name));
    assert_eq!(other.lookup(&name), Answer::NotOurs);
}

#[tokio::test]
async fn whoever_ends_can_wait_until_its_values_are_gone() {
    let scratch = Scratch::new();
    let storage: Arc<dyn Storage> = Arc::new(Folder::new(scratch.path().to_owned()));
    let challenges = Arc::new(Challenges::default());
    let _managed = challenges.manage(&spec(scratch.path()), &storage);
    let token = challenges.publish_name("_acme-challenge.a.example", "here".into());
    token.share().await;
    let kept = || storage.list("corten/challenges/a.example");
    assert_eq!(kept().await.unwrap().len(), 1);
    drop(token);
    challenges.withdrawn().await;
    assert!(kept().await.unwrap().is_empty());
}

/// A storage that never answers.
struct Hanging;

#[async_trait]
impl Storage for Hanging {
    fn place(&self, key: &str) -> String {
        key.to_owned()
    }

    async fn get(&self, _: &str) -> std::io::Result<Option<Vec<u8>>> {
        std::future::pending().await
    }

    async fn put(&self, _: &str, _: &[u8]) -> std::io::Result<()> {
        std::future::pending().await
    }

    async fn delete(&self, _: &str) -> std::io::Result<()> {
        std::future::pending().await
    }

    async fn list(&self, _: &str) -> std::io::Result<Vec<String>> {
        std::future::pending().await
    }

    async fn lease(&self, _: &str) -> std::io::Result<Option<Arc<dyn Lease>>> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn many_that_ask_while_the_storage_hangs_do_not_wait_for_one_another() {
    let challenges = Arc::new(Challenges::default());
    let storage: Arc<dyn Storage> = Arc::new(Hanging);
    let _managed = challenges.manage(&spec(std::path::Path::new("x")), &storage);
    let name = wire("_acme-challenge.a.example");
    let since = tokio::time::Instant::now();
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (challenges, name) = (Arc::clone(&challenges), name.clone());
        asking.spawn(async move { challenges.find(&name, Asker::Client).await });
    }
    let answers = asking.join_all().await;
    assert!(answers.iter().all(|answer| *answer == Answer::NotOurs));
    let passed = since.elapsed();
    assert!(passed < Duration::from_secs(5), "{passed:?}");
}
