//! What is kept of one certificate, and of its issuer.
//!
//! ```text
//! corten/ISSUER/account-HASH.json      account of the CA
//! corten/ISSUER/lock-HASH              who makes that
//! corten/ISSUER/NAME-HASH/
//!     bundle-NANOSECONDS.pem           key and chain, newest last; three are kept
//!     fallback.pem                     the same of the local CA, for want of others
//!     retry.json                       failed attempts
//!     lock                             who works at it
//! certificates/ISSUER/NAME/NAME.crt    CertMagic's layout: read, never written
//! ```
//!
//! Several servers may use the same storage at the same time.
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::backoff::moment;
use crate::bundle::Bundle;
use crate::certmagic;
use crate::spec::{Issuer, Spec};
use crate::storage::{Lease, Location, Storage};

/// File of the failed attempts.
pub(crate) const RETRY: &str = "retry.json";
/// File of what the CA has said about the time to renew.
pub(crate) const SUGGESTION: &str = "renewal.json";
/// Key and chain of the local CA, for want of others.
const STAND_IN: &str = "fallback.pem";
/// Bundles that are kept, the one in use included.
const GENERATIONS: usize = 3;
/// Octets that there must be room for before a certificate is asked for: more than key and chain have.
const PROBE_OCTETS: usize = 16 << 10;
/// How long a start waits for a file system that does not answer, once for all that is kept there.
const AT_START: Duration = Duration::from_secs(3);
/// Folders of CAs, and of certificates there, that are looked through for a stopgap.
const STOPGAPS_MAX: usize = 16;

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
        let first = folder_name(spec.names.first().map_or("none", String::as_str));
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

    /// What is kept of a specification, for callers that cannot wait long; nothing where that takes a
    /// network, or a file system that does not answer.
    pub(crate) fn load_now<T: DeserializeOwned + Send + 'static>(
        spec: &Spec,
        json: &'static str,
    ) -> (Option<Stored>, Option<T>) {
        /// Places that did not answer, each with a look that goes on: the next certificate there, of
        /// thousands, does not wait.
        static SILENT: Mutex<Vec<(Location, Weak<()>)>> = Mutex::new(Vec::new());
        let silent = || SILENT.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(storage) = spec.storage.open_inline() else {
            return (None, None);
        };
        {
            let mut silent = silent();
            silent.retain(|(_, look)| look.strong_count() > 0);
            if silent.iter().any(|(place, _)| *place == spec.storage) {
                return (None, None);
            }
        }
        let store = Self::with(spec, storage);
        let (done, wait) = mpsc::channel();
        let going_on = Arc::new(());
        let handle = Arc::downgrade(&going_on);
        let look = move || {
            let _going_on = going_on;
            let found = now(store.look()).flatten();
            let _ = done.send((found, now(store.load_json(json)).flatten()));
        };
        // A thread that hangs in the kernel cannot be called back.
        let thread = std::thread::Builder::new().name("certificates".to_owned());
        if let Err(error) = thread.spawn(look) {
            tracing::error!(target: "plugin/tls", "{}: {error}", spec.storage);
            return (None, None);
        }
        wait.recv_timeout(AT_START).unwrap_or_else(|_| {
            silent().push((spec.storage.clone(), handle));
            tracing::error!(target: "plugin/tls", "{}: the file system does not answer; the start goes on without what is stored there", spec.storage);
            (None, None)
        })
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
        for name in self.bundles().await.unwrap_or_default().into_iter().rev() {
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

    /// The newest bundle that can be used, or what CertMagic left; nothing is changed.
    pub(crate) async fn look(&self) -> Option<Stored> {
        for name in self.bundles().await.unwrap_or_default().into_iter().rev() {
            let key = format!("{}/{name}", self.folder);
            if let Ok(Some(bundle)) = self.read_bundle(&key).await {
                let name = Some(name);
                return Some(Stored { bundle, name });
            }
        }
        let bundle = self.load_certmagic().await?;
        Some(Stored { bundle, name: None })
    }

    /// A certificate for the first name that is stored for other names as well, or from another CA: after
    /// a change of the configuration it serves better than none.
    pub(crate) async fn stopgap(&self) -> Option<Bundle> {
        let (first, now) = (self.names.first()?, SystemTime::now());
        let begin = format!("{}-", folder_name(first));
        let issuers = self.storage.list("corten").await.unwrap_or_default();
        for issuer in issuers.iter().take(STOPGAPS_MAX) {
            let issuer = format!("corten/{issuer}");
            let mut folders = self.storage.list(&issuer).await.unwrap_or_default();
            folders.retain(|folder| folder.starts_with(&begin));
            for folder in folders.iter().take(STOPGAPS_MAX) {
                let folder = format!("{issuer}/{folder}");
                let mut bundles = self.storage.list(&folder).await.unwrap_or_default();
                bundles.retain(|name| is_bundle(name));
                let Some(newest) = bundles.pop() else {
                    continue;
                };
                if let Some(text) = self.text(&format!("{folder}/{newest}")).await
                    && let Ok(bundle) = Bundle::read(&text)
                    && bundle.covers(first)
                    && bundle.validity().until > now
                {
                    return Some(bundle);
                }
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
        let last = self.bundles().await?.pop();
        let last = last.and_then(|last| number(&last));
        let name = name(
            now.as_nanos()
                .max(last.map_or(0, |last| last.saturating_add(1))),
        );
        self.storage
            .put(&format!("{}/{name}", self.folder), bundle.pem().as_bytes())
            .await?;
        let bundles = self.bundles().await.unwrap_or_default();
        for old in &bundles[..bundles.len().saturating_sub(GENERATIONS)] {
            let _ = self.storage.delete(&format!("{}/{old}", self.folder)).await;
        }
        Ok(name)
    }

    /// What the local CA has made for want of a certificate, if it can be used.
    pub(crate) async fn load_stand_in(&self) -> Option<Bundle> {
        let key = format!("{}/{STAND_IN}", self.folder);
        self.read_bundle(&key).await.ok()?
    }

    /// Keeps that.
    pub(crate) async fn save_stand_in(&self, bundle: &Bundle) -> io::Result<()> {
        let key = format!("{}/{STAND_IN}", self.folder);
        self.storage.put(&key, bundle.pem().as_bytes()).await
    }

    /// Removes it.
    pub(crate) async fn forget_stand_in(&self) {
        let key = format!("{}/{STAND_IN}", self.folder);
        let _ = self.storage.delete(&key).await;
    }

    /// Names of the bundles, oldest first.
    pub(crate) async fn bundles(&self) -> io::Result<Vec<String>> {
        let mut names = self.storage.list(&self.folder).await?;
        names.retain(|name| is_bundle(name));
        Ok(names)
    }

    /// Whether something can be kept at all: no certificate is asked for that would be lost.
    pub(crate) async fn probe(&self) -> io::Result<()> {
        // Named like what is being written: should we be killed it is removed some time.
        let key = format!("{}/.probe-{:08x}.new", self.folder, rand::random::<u32>());
        // What is all but full has room for a word, and none for a chain.
        let probe = b"probe".repeat(PROBE_OCTETS / 5);
        self.storage.put(&key, &probe).await?;
        let read = self.storage.get(&key).await?;
        self.storage.delete(&key).await?;
        match read.as_deref() == Some(&probe[..]) {
            true => Ok(()),
            false => Err(io::Error::other("what was written was not read back")),
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

    /// What whoever makes an account with a CA holds.
    pub(crate) fn account_lock(&self, directory: &str, email: Option<&str>) -> String {
        let hash = short_hash(email.unwrap_or_default());
        format!("corten/{}/lock-{hash}", issuer_key(directory))
    }

    /// Where the account with a CA is kept.
    pub(crate) fn account_key(&self, directory: &str, email: Option<&str>) -> String {
        let hash = short_hash(email.unwrap_or_default());
        format!("corten/{}/account-{hash}.json", issuer_key(directory))
    }
}

fn is_bundle(name: &str) -> bool {
    name.starts_with("bundle-") && name.ends_with(".pem")
}

/// The number of a bundle: nanoseconds since 1970.
fn number(name: &str) -> Option<u128> {
    let number = name.strip_prefix("bundle-")?.strip_suffix(".pem")?;
    number.parse().ok()
}

/// When a bundle was stored.
pub(crate) fn stored_at(name: &str) -> Option<SystemTime> {
    let seconds = u64::try_from(number(name)? / 1_000_000_000).ok()?;
    Some(moment(seconds))
}

/// A certificate's name as that of a folder.
fn folder_name(name: &str) -> String {
    name.replace('*', "wildcard_")
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
mod tests;
