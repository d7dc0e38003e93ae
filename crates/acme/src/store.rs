//! What is kept of one certificate, and of its issuer.
//!
//! ```text
//! corten/ISSUER/account-HASH.json      account of the CA
//! corten/ISSUER/NAME-HASH/
//!     bundle-NANOSECONDS.pem           key and chain, newest last; three are kept
//!     retry.json                       failed attempts
//!     lock                             who works at it
//! certificates/ISSUER/NAME/NAME.crt    CertMagic's layout: read, never written
//! ```
//!
//! Several servers may use the same storage at the same time.
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::bundle::Bundle;
use crate::certmagic;
use crate::spec::{Issuer, Spec};
use crate::storage::{Lease, Storage};

/// File of the failed attempts.
pub(crate) const RETRY: &str = "retry.json";
/// File of what the CA has said about the time to renew.
pub(crate) const SUGGESTION: &str = "renewal.json";
/// Bundles that are kept, the one in use included.
const GENERATIONS: usize = 3;

/// Where one certificate is kept.
#[derive(Clone)]
pub(crate) struct Store {
    storage: Arc<dyn Storage>,
    /// CertMagic's folders of the issuers.
    certmagic: Vec<String>,
    issuer: String,
    folder: String,
    names: Vec<String>,
}

/// A bundle, and what it is called.
pub(crate) struct Stored {
    pub(crate) bundle: Bundle,
    /// Later ones are greater; nothing for one in CertMagic's layout.
    pub(crate) name: Option<String>,
}

impl Store {
    pub(crate) fn new(spec: &Spec) -> Self {
        Self::with(spec, spec.storage.open())
    }

    /// In another storage than the one that is named.
    pub(crate) fn with(spec: &Spec, storage: Arc<dyn Storage>) -> Self {
        let issuer_name = match &spec.issuer {
            Issuer::Acme { directory, .. } => issuer_key(directory),
            Issuer::Internal => "internal".to_owned(),
        };
        let issuer = format!("corten/{issuer_name}");
        let first = spec
            .names
            .first()
            .map_or("none", String::as_str)
            .replace('*', "wildcard_");
        Self {
            storage,
            certmagic: spec
                .directories()
                .into_iter()
                .flat_map(certmagic::issuers)
                .map(|issuer| format!("certificates/{issuer}"))
                .collect(),
            folder: format!("{issuer}/{first}-{}", short_hash(&spec.names.join(" "))),
            issuer,
            names: spec.names.clone(),
        }
    }

    /// What is kept of a specification, for callers that cannot wait; nothing where that takes a
    /// network.
    pub(crate) fn load_now<T: DeserializeOwned>(
        spec: &Spec,
        json: &str,
    ) -> (Option<Stored>, Option<T>) {
        let Some(storage) = spec.storage.open_inline() else {
            return (None, None);
        };
        let store = Self::with(spec, storage);
        (
            now(store.load()).flatten(),
            now(store.load_json(json)).flatten(),
        )
    }

    /// The storage itself.
    pub(crate) fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// The issuer's folder.
    pub(crate) fn issuer_folder(&self) -> &str {
        &self.issuer
    }

    /// The newest bundle that can be used. One that cannot is put aside under another name.
    pub(crate) async fn load(&self) -> Option<Stored> {
        for name in self.bundles().await.into_iter().rev() {
            let key = format!("{}/{name}", self.folder);
            match self.read_bundle(&key).await {
                Ok(Some(bundle)) => {
                    let name = Some(name);
                    return Some(Stored { bundle, name });
                }
                // Removed by another server in this moment.
                Ok(None) => (),
                Err(Unusable::Storage(error)) => {
                    tracing::error!(target: "plugin/tls", "{}: {error}", self.storage.place(&key));
                }
                Err(Unusable::Content(text, error)) => {
                    tracing::error!(target: "plugin/tls", "{}: {error}; it is put aside", self.storage.place(&key));
                    if self
                        .storage
                        .put(&format!("{key}.corrupt"), &text)
                        .await
                        .is_ok()
                    {
                        let _ = self.storage.delete(&key).await;
                    }
                }
            }
        }
        let bundle = self.load_certmagic().await?;
        Some(Stored { bundle, name: None })
    }

    /// The newest bundle that can be used; nothing is changed.
    pub(crate) async fn peek(&self) -> Option<Bundle> {
        for name in self.bundles().await.into_iter().rev() {
            let key = format!("{}/{name}", self.folder);
            if let Ok(Some(bundle)) = self.read_bundle(&key).await {
                return Some(bundle);
            }
        }
        None
    }

    async fn read_bundle(&self, key: &str) -> Result<Option<Bundle>, Unusable> {
        let Some(text) = self.storage.get(key).await.map_err(Unusable::Storage)? else {
            return Ok(None);
        };
        let bundle = Bundle::read(&String::from_utf8_lossy(&text))
            .and_then(|bundle| bundle.check_names(&self.names).map(|()| bundle));
        match bundle {
            Ok(bundle) => Ok(Some(bundle)),
            Err(error) => Err(Unusable::Content(text, error.to_string())),
        }
    }

    /// What CertMagic, and so CoreDNS, left for a certificate of one name.
    async fn load_certmagic(&self) -> Option<Bundle> {
        let [name] = &self.names[..] else { return None };
        let name = certmagic::safe(name);
        for folder in &self.certmagic {
            let (key, chain) = (
                self.text(&format!("{folder}/{name}/{name}.key")).await,
                self.text(&format!("{folder}/{name}/{name}.crt")).await,
            );
            let (Some(key), Some(chain)) = (key, chain) else {
                continue;
            };
            let bundle = Bundle::read(&format!("{key}\n{chain}"))
                .and_then(|bundle| bundle.check_names(&self.names).map(|()| bundle));
            match bundle {
                Ok(bundle) => {
                    tracing::info!(target: "plugin/tls", "Using the certificate of {name} in {}", self.storage.place(folder));
                    return Some(bundle);
                }
                Err(error) => {
                    tracing::warn!(target: "plugin/tls", "{}: {error}", self.storage.place(&format!("{folder}/{name}")));
                }
            }
        }
        None
    }

    async fn text(&self, key: &str) -> Option<String> {
        String::from_utf8(self.storage.get(key).await.ok()??).ok()
    }

    /// Keeps a bundle and returns its name; old ones go.
    pub(crate) async fn save(&self, bundle: &Bundle) -> io::Result<String> {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let name = |number: u128| format!("bundle-{number:020}.pem");
        // Another server's clock may be fast: later ones are greater all the same.
        let last = self.bundles().await.pop().and_then(|last| {
            let number = last.strip_prefix("bundle-")?.strip_suffix(".pem")?;
            number.parse::<u128>().ok()
        });
        let name = name(
            now.as_nanos()
                .max(last.map_or(0, |last| last.saturating_add(1))),
        );
        self.storage
            .put(&format!("{}/{name}", self.folder), bundle.pem().as_bytes())
            .await?;
        let bundles = self.bundles().await;
        for old in &bundles[..bundles.len().saturating_sub(GENERATIONS)] {
            let _ = self.storage.delete(&format!("{}/{old}", self.folder)).await;
        }
        Ok(name)
    }

    /// Names of the bundles, oldest first.
    pub(crate) async fn bundles(&self) -> Vec<String> {
        let mut names = self.storage.list(&self.folder).await.unwrap_or_default();
        names.retain(|name| name.starts_with("bundle-") && name.ends_with(".pem"));
        names
    }

    /// Whether something can be kept at all: no certificate is asked for that would be lost.
    pub(crate) async fn probe(&self) -> io::Result<()> {
        let key = format!("{}/probe-{:08x}", self.folder, rand::random::<u32>());
        self.storage.put(&key, b"probe").await?;
        let read = self.storage.get(&key).await?;
        self.storage.delete(&key).await?;
        match read.as_deref() {
            Some(b"probe") => Ok(()),
            _ => Err(io::Error::other("what was written was not read back")),
        }
    }

    /// Tries to become the only one of all servers who works at this certificate, or with the local
    /// CA; nothing if somebody else does.
    pub(crate) async fn lease(&self, issuer: &Issuer) -> io::Result<Option<Arc<dyn Lease>>> {
        // The local CA's own keys are made on the way.
        let folder = match issuer {
            Issuer::Internal => &self.issuer,
            Issuer::Acme { .. } => &self.folder,
        };
        self.storage.lease(&format!("{folder}/lock")).await
    }

    /// A small value kept beside the bundles; nothing if it is not there or cannot be read.
    pub(crate) async fn load_json<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        let key = format!("{}/{name}", self.folder);
        serde_json::from_slice(&self.storage.get(&key).await.ok()??).ok()
    }

    /// Keeps a small value beside the bundles.
    pub(crate) async fn save_json<T: Serialize + Sync>(
        &self,
        name: &str,
        value: &T,
    ) -> io::Result<()> {
        let key = format!("{}/{name}", self.folder);
        self.storage.put(&key, &serde_json::to_vec(value)?).await
    }

    /// Where the account with a CA is kept.
    pub(crate) fn account_key(&self, directory: &str, email: Option<&str>) -> String {
        let hash = short_hash(email.unwrap_or_default());
        format!("corten/{}/account-{hash}.json", issuer_key(directory))
    }
}

/// Why a bundle is none.
enum Unusable {
    Storage(io::Error),
    Content(Vec<u8>, String),
}

/// The outcome of a call that does not wait.
fn now<T>(call: impl Future<Output = T>) -> Option<T> {
    match pin!(call).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

/// A CA's name as CertMagic makes it from its directory's URL: host and path, slashes as hyphens.
fn issuer_key(directory: &str) -> String {
    let rest = directory
        .split_once("://")
        .map_or(directory, |(_, rest)| rest);
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "-._".contains(c) {
            c
        } else {
            '-'
        }
    };
    rest.trim_end_matches('/')
        .to_ascii_lowercase()
        .chars()
        .filter(|c| *c != ':')
        .map(safe)
        .collect()
}

/// Eight digits that stand for a text.
pub(crate) fn short_hash(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .take(4)
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
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
        let kept = store.bundles().await;
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
        assert_eq!(store.bundles().await.len(), GENERATIONS - 1);
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
        assert!(store.bundles().await.is_empty());
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
}
