//! One entry for each wanted certificate. Entries outlive configurations: a reload finds the one
//! that is there.
mod alarm;
mod suggest;

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use crate::ari::{self, Suggestion};
use crate::attempt::{Attempt, Issued, Limits};
use crate::backoff::{Backoff, Failure, seconds};
use crate::bundle::{Bundle, Validity};
use crate::challenges::{Challenges, Managed};
use crate::internal;
use crate::machine::{Decision, decide, due};
use crate::metrics::Metrics;
use crate::order::ObtainError;
use crate::report::{LAST_ERROR, LastError};
use crate::spec::{Issuer, Spec};
use crate::storage::Lease;
use crate::store::{RETRY, Store, Stored};
use alarm::Alarms;

/// Resolvers beside the system's.
const UPSTREAMS_MAX: usize = 8;
/// How often the storage is looked at for what another server has obtained.
const WATCH: Duration = Duration::from_secs(60);
/// The same while another server is at work, or the storage cannot be used.
const WATCH_CLOSELY: Duration = Duration::from_secs(5);
/// The same while there is no certificate at all.
const WATCH_EAGERLY: Duration = Duration::from_secs(1);

/// Every certificate of the process.
#[derive(Default)]
pub struct Manager {
    entries: Mutex<Vec<Weak<Entry>>>,
    challenges: Arc<Challenges>,
    limits: Limits,
    upstreams: Arc<Mutex<Vec<SocketAddr>>>,
}

/// One certificate: what is live, and the task that keeps it so.
pub struct Entry {
    spec: Spec,
    store: Store,
    limits: Limits,
    challenges: Arc<Challenges>,
    /// Other servers' challenges of these names are answered as long as this lives.
    _managed: Option<Managed>,
    live: ArcSwapOption<CertifiedKey>,
    state: Mutex<State>,
    started: AtomicBool,
    metrics: Arc<Metrics>,
    /// Resolvers for the CA's host when the system's fails.
    upstreams: Arc<Mutex<Vec<SocketAddr>>>,
    /// Counts the certificates that went live.
    serial: watch::Sender<u64>,
}

#[derive(Clone, Default)]
struct State {
    validity: Option<Validity>,
    due: Option<SystemTime>,
    issuer: String,
    backoff: Backoff,
    last_error: Option<String>,
    alarms: Alarms,
    /// Name of the live certificate in renewal information.
    certificate: Option<String>,
    /// A number between 0 and 1 of the live certificate.
    chance: f64,
    /// What its CA suggests.
    suggestion: Suggestion,
    /// It is another entry's, in service until there is one of its own.
    borrowed: bool,
    /// Name of the stored bundle that is live; nothing for one that could not be stored.
    stored: Option<String>,
    /// What was said last about waiting for others or for the storage.
    waiting: Option<String>,
}

/// What an operator wants to know about a certificate.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its names.
    pub names: Vec<String>,
    /// Who signed the one that is live.
    pub issuer: String,
    /// From when to when that is good; nothing before there is one.
    pub validity: Option<Validity>,
    /// When it is to be renewed.
    pub renewal: Option<SystemTime>,
    /// Why the last attempt failed, if it did.
    pub last_error: Option<String>,
}

impl Manager {
    /// A manager with limits of its own.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Challenges that are pending, for whoever serves DNS.
    pub fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }

    /// The entry of a specification. A new one takes up what is stored, so that a certificate is
    /// live at once and without a word to the CA; what is missing is obtained when the entry is
    /// started, and meanwhile the certificate of another entry serves that has names in common.
    pub fn entry(&self, spec: Spec) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.strong_count() > 0);
        let known: Vec<_> = entries.iter().filter_map(Weak::upgrade).collect();
        if let Some(entry) = known.iter().find(|entry| entry.spec == spec) {
            return Arc::clone(entry);
        }
        let upstreams = Arc::clone(&self.upstreams);
        let entry = Entry::new(spec, Arc::clone(&self.challenges), self.limits, upstreams);
        if entry.live.load().is_none() {
            let names = &entry.spec.names;
            let shares =
                |other: &&Arc<Entry>| other.spec.names.iter().any(|name| names.contains(name));
            if let Some(other) = known.iter().find(shares) {
                entry.borrow(other);
            }
        }
        let entry = Arc::new(entry);
        entries.push(Arc::downgrade(&entry));
        entry
    }

    /// Adds resolvers that know the CA's host when the system's do not, such as those that this
    /// server forwards to: the system may be asking this very server.
    pub fn add_upstreams(&self, resolvers: impl IntoIterator<Item = SocketAddr>) {
        let mut upstreams = self
            .upstreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for resolver in resolvers {
            if upstreams.len() < UPSTREAMS_MAX && !upstreams.contains(&resolver) {
                upstreams.push(resolver);
            }
        }
    }

    /// Every entry that is in use.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .filter_map(Weak::upgrade)
            .collect()
    }
}

impl Entry {
    fn new(
        spec: Spec,
        challenges: Arc<Challenges>,
        limits: Limits,
        upstreams: Arc<Mutex<Vec<SocketAddr>>>,
    ) -> Self {
        let store = Store::new(&spec);
        let managed = match &spec.issuer {
            Issuer::Internal => None,
            Issuer::Acme { .. } => Some(challenges.manage(&spec, store.storage())),
        };
        let entry = Self {
            _managed: managed,
            metrics: Metrics::of(spec.names.first().map_or("", String::as_str)),
            upstreams,
            live: ArcSwapOption::empty(),
            state: Mutex::default(),
            started: AtomicBool::new(false),
            serial: watch::channel(0).0,
            store,
            spec,
            limits,
            challenges,
        };
        // What takes a network is looked at when the entry is started.
        let (stored, backoff) = Store::load_now(&entry.spec, RETRY);
        entry.state().backoff = backoff.unwrap_or_default();
        if let Some(stored) = stored {
            entry.swap(&stored.bundle, stored.name);
        }
        entry
    }

    /// What it is for.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The certificate to shake hands with; an expired one is better than none, because clients
    /// that do not check keep their encryption (RFC 8310 section 5), and those that check refuse
    /// either. Unless the specification says so.
    pub fn current(&self) -> Option<Arc<CertifiedKey>> {
        if self.spec.options.refuse_expired && self.is_expired(SystemTime::now()) {
            return None;
        }
        self.live.load_full()
    }

    fn is_expired(&self, now: SystemTime) -> bool {
        self.state()
            .validity
            .is_some_and(|validity| validity.until <= now)
    }

    /// Returns once there is a certificate.
    pub async fn until_ready(&self) {
        let mut serial = self.serial.subscribe();
        while self.live.load().is_none() {
            if serial.changed().await.is_err() {
                return;
            }
        }
    }

    /// Changes with every certificate that goes live.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.serial.subscribe()
    }

    /// What an operator wants to know.
    pub fn status(&self) -> Status {
        let state = self.state().clone();
        Status {
            names: self.spec.names.clone(),
            issuer: state.issuer,
            validity: state.validity,
            renewal: state.due,
            last_error: state.last_error,
        }
    }

    /// Begins to obtain and renew, on the calling runtime; further calls do nothing. Ends when
    /// nobody has the entry.
    pub fn start(self: &Arc<Self>) {
        if !self.started.swap(true, Relaxed) {
            tokio::spawn(keep(Arc::downgrade(self)));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a certificate live. Connections that are open keep theirs.
    fn swap(&self, bundle: &Bundle, stored: Option<String>) {
        let validity = bundle.validity();
        {
            let mut state = self.state();
            state.validity = Some(validity);
            state.chance = bundle.chance();
            state.certificate = bundle
                .certified()
                .cert
                .first()
                .and_then(|leaf| ari::identifier(leaf));
            state.issuer = bundle.issuer().to_owned();
            state.last_error = None;
            state.alarms = Alarms::default();
            state.stored = stored;
            state.waiting = None;
            state.borrowed = false;
        }
        self.set_due();
        self.live.store(Some(Arc::clone(bundle.certified())));
        self.serial.send_modify(|serial| *serial += 1);
    }

    /// What to do now.
    fn decide(&self, now: SystemTime) -> Decision {
        self.raise_alarms(now);
        let state = self.state();
        let paused = SystemTime::UNIX_EPOCH + Duration::from_secs(state.backoff.not_before);
        decide(now, state.due, paused, self.spec.check_interval)
    }

    /// Puts another entry's certificate live until there is one of its own.
    fn borrow(&self, other: &Self) {
        self.live.store(other.live.load_full());
        let mut state = self.state();
        state.validity = other.state().validity;
        state.borrowed = true;
    }

    /// Computes when the certificate is to be renewed.
    fn set_due(&self) {
        let mut state = self.state();
        let Some(validity) = state.validity.filter(|_| !state.borrowed) else {
            return;
        };
        let window = state.suggestion.window(state.certificate.as_deref());
        let at = due(validity, self.spec.options.renew_at, window, state.chance);
        state.due = Some(at);
        self.metrics.set_times(validity.until, at);
    }

    fn names(&self) -> String {
        self.spec.names.join(" ")
    }

    /// Takes up what another server has stored: a certificate, or failed attempts.
    async fn follow(&self) {
        if let Some(backoff) = self.store.load_json(RETRY).await {
            self.state().backoff = backoff;
        }
        let newest = self.store.bundles().await.pop();
        let known = self.state().stored.clone();
        let (own, borrowed) = (self.live.load().is_some(), self.state().borrowed);
        if own && !borrowed && (newest.is_none() || newest <= known) {
            return;
        }
        let Some(Stored { bundle, name }) = self.store.load().await else {
            return;
        };
        let better = {
            let state = self.state();
            let later = state
                .validity
                .is_none_or(|validity| validity.until < bundle.validity().until);
            name > state.stored && (later || state.stored.is_some())
                || state.validity.is_none()
                || state.borrowed
        };
        if better {
            self.swap(&bundle, name);
            tracing::info!(target: "plugin/tls", "The certificate for {} has been renewed by another server and is live", self.names());
        }
    }

    /// One attempt, by one server at a time. The certificate that is live stays until a better one
    /// has been verified. Returns how long to wait before the next look.
    async fn obtain(&self) -> Duration {
        let lease = match self.store.lease(&self.spec.issuer).await {
            Ok(Some(lease)) => lease,
            Ok(None) => {
                let what = "another server is at work".to_owned();
                if self.state().waiting.replace(what.clone()).as_ref() != Some(&what) {
                    tracing::info!(target: "plugin/tls", "Certificate for {}: {what}; its result will be taken up", self.names());
                }
                return self.watch_closely();
            }
            Err(error) => {
                let what = format!("the storage cannot be used: {error}");
                let pause = self.watch_closely();
                self.metrics.set_storage(false);
                if self.state().waiting.replace(what.clone()).as_ref() != Some(&what) {
                    self.metrics.failed(Failure::Storage);
                    self.complain("no certificate", &what, pause);
                }
                self.state().last_error = Some(what);
                return pause;
            }
        };
        // Another server may have been faster, or have failed.
        self.follow().await;
        if self.decide(SystemTime::now()) == Decision::Obtain {
            self.obtain_alone(&*lease).await;
        }
        lease.release().await;
        Duration::ZERO
    }

    async fn obtain_alone(&self, lease: &dyn Lease) {
        match self.live.load().is_none() {
            true => {
                tracing::info!(target: "plugin/tls", "Obtaining TLS Certificate, may take a moment")
            }
            false => {
                tracing::info!(target: "plugin/tls", "Renewing the certificate for {}", self.names())
            }
        }
        match self.try_obtain(lease).await {
            Ok((bundle, directory)) => {
                let stored = self.keep(&bundle, lease).await;
                self.state().backoff = Backoff::default();
                if stored.is_some() {
                    let _ = self.store.save_json(RETRY, &Backoff::default()).await;
                    let _ = self.store.save_json(LAST_ERROR, &None::<LastError>).await;
                }
                self.swap(&bundle, stored);
                self.metrics.renewed(SystemTime::now());
                self.note_issuer(directory).await;
                let left = bundle
                    .validity()
                    .until
                    .duration_since(SystemTime::now())
                    .unwrap_or_default()
                    .as_secs();
                tracing::info!(target: "plugin/tls", "The certificate for {} is live; it expires in {left} s", self.names());
            }
            Err(error) => self.failed(&error, lease).await,
        }
    }

    /// How long to wait while others are at work: short enough for certificates that live for
    /// minutes.
    fn watch_closely(&self) -> Duration {
        let Some(validity) = self.state().validity else {
            return WATCH_EAGERLY;
        };
        let left = validity.until.duration_since(SystemTime::now());
        (left.unwrap_or_default() / 20).clamp(Duration::from_millis(250), WATCH_CLOSELY)
    }

    /// A new certificate, and the directory of the CA that signed it.
    async fn try_obtain(&self, lease: &dyn Lease) -> Result<(Bundle, Option<String>), ObtainError> {
        // No certificate is asked for that could not be kept.
        self.store
            .probe()
            .await
            .map_err(|error| ObtainError::new(Failure::Storage, error.to_string()))?;
        self.metrics.set_storage(true);
        let Issued { pem, directory } = match &self.spec.issuer {
            Issuer::Internal => {
                let (storage, folder) = (self.store.storage(), self.store.issuer_folder());
                let made = internal::issue(&**storage, folder, &self.spec.names).await;
                Issued {
                    pem: made.map_err(|error| ObtainError::new(Failure::Storage, error))?,
                    directory: None,
                }
            }
            Issuer::Acme { .. } => {
                let (backoff, suggestion) = {
                    let state = self.state();
                    let replaced = state.certificate.clone().zip(state.stored.clone());
                    (
                        state.backoff.clone(),
                        replaced.map(|(certificate, _)| (certificate, state.suggestion.clone())),
                    )
                };
                let upstreams = self
                    .upstreams
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                let attempt = Attempt {
                    spec: &self.spec,
                    store: &self.store,
                    lease,
                    challenges: &self.challenges,
                    limits: self.limits,
                    upstreams: &upstreams,
                    backoff: &backoff,
                    replaces: suggestion,
                };
                attempt.run().await?
            }
        };
        let bundle = Bundle::read(&pem)
            .and_then(|bundle| bundle.check_names(&self.spec.names).map(|()| bundle));
        let bundle =
            bundle.map_err(|error| ObtainError::new(Failure::Certificate, error.to_string()))?;
        if bundle.validity().until <= SystemTime::now() {
            return Err(ObtainError::new(
                Failure::Certificate,
                "it is expired already; is the clock right?",
            ));
        }
        Ok((bundle, directory))
    }

    /// Stores a new certificate and returns its name. It has cost some of the CA's quota: what cannot
    /// be kept is still served.
    async fn keep(&self, bundle: &Bundle, lease: &dyn Lease) -> Option<String> {
        let kept = match lease.check().await {
            Ok(()) => self.store.save(bundle).await,
            Err(error) => Err(error),
        };
        match kept {
            Ok(name) => Some(name),
            Err(error) => {
                tracing::error!(target: "plugin/tls", "The certificate for {} could not be stored and is lost when the server ends: {error}", self.names());
                None
            }
        }
    }

    async fn failed(&self, error: &ObtainError, lease: &dyn Lease) {
        let now = SystemTime::now();
        let backoff = {
            let mut state = self.state();
            let left = state
                .validity
                .map(|validity| validity.until.duration_since(now).unwrap_or_default());
            let directories = self.spec.directories();
            state
                .backoff
                .failed(error.failure, now, left, error.retry_after, &directories);
            state.last_error = Some(error.what.clone());
            state.backoff.clone()
        };
        self.metrics.failed(error.failure);
        // For the other servers, too; unless one of them has taken over.
        if lease.check().await.is_ok() {
            let _ = self.store.save_json(RETRY, &backoff).await;
            let error = LastError {
                what: error.what.clone(),
                at: seconds(now),
            };
            let _ = self.store.save_json(LAST_ERROR, &Some(error)).await;
        }
        let next = SystemTime::UNIX_EPOCH + Duration::from_secs(backoff.not_before);
        self.complain(
            &error.failure.to_string(),
            &error.what,
            next.duration_since(now).unwrap_or_default(),
        );
    }

    fn complain(&self, kind: &str, what: &str, pause: Duration) {
        let meanwhile = if self.live.load().is_some() {
            "the old certificate goes on"
        } else {
            "handshakes are refused"
        };
        tracing::error!(target: "plugin/tls", "Certificate for {}: {kind}: {what}; {meanwhile}, next attempt in {} s", self.names(), pause.as_secs());
    }
}

/// Keeps an entry's certificate fresh as long as somebody has the entry.
async fn keep(entry: Weak<Entry>) {
    loop {
        let Some(strong) = entry.upgrade() else {
            return;
        };
        strong.follow().await;
        strong.ask_when().await;
        let pause = match strong.decide(SystemTime::now()) {
            Decision::Obtain => strong.obtain().await,
            Decision::Wait(time) => time.min(WATCH),
        };
        drop(strong);
        tokio::time::sleep(pause).await;
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("names", &self.spec.names)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Manager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Manager")
            .field("entries", &self.entries())
            .finish_non_exhaustive()
    }
}
