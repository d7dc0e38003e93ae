//! One entry for each wanted certificate. Entries outlive configurations: a reload finds the one
//! that is there.
mod alarm;
mod aliases;
mod pace;
mod stand_in;
mod suggest;
mod work;

use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwapOption;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::ari::{self, Suggestion};
use crate::attempt::Limits;
use crate::backoff::Backoff;
use crate::bundle::{Bundle, Validity};
use crate::challenges::{Challenges, Managed};
use crate::machine::{Decision, decide, due, rest, while_new};
use crate::metrics::Metrics;
use crate::spec::{Issuer, Spec};
use crate::store::{RETRY, Store, stored_at};
use alarm::Alarms;
use pace::Pace;
use stand_in::StandIn;

/// Resolvers beside the system's.
const UPSTREAMS_MAX: usize = 8;
/// Pause after a mistake in the program, before a certificate is looked after again.
const AFTER_PANIC: Duration = Duration::from_secs(60);
/// How often the storage is looked at for what another server has obtained.
const WATCH: Duration = Duration::from_secs(60);

/// Every certificate of the process.
#[derive(Default)]
pub struct Manager {
    entries: Mutex<Vec<Weak<Entry>>>,
    challenges: Arc<Challenges>,
    limits: Limits,
    upstreams: Arc<Mutex<Vec<SocketAddr>>>,
    pace: Arc<Pace>,
}

/// One certificate: what is live, and the task that keeps it so.
pub struct Entry {
    spec: Spec,
    store: Store,
    limits: Limits,
    challenges: Arc<Challenges>,
    /// Other servers' challenges of these names are answered as long as this lives.
    managed: Option<Managed>,
    live: ArcSwapOption<CertifiedKey>,
    state: Mutex<State>,
    started: AtomicBool,
    metrics: Arc<Metrics>,
    /// Resolvers for the CA's host when the system's fails.
    upstreams: Arc<Mutex<Vec<SocketAddr>>>,
    pace: Arc<Pace>,
    /// Counts the certificates that went live.
    serial: watch::Sender<u64>,
}

#[derive(Clone, Default)]
struct State {
    validity: Option<Validity>,
    due: Option<SystemTime>,
    issuer: String,
    backoff: Backoff,
    /// What was last read from the storage about that, or written there.
    stored_backoff: Backoff,
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
    /// The certificate that is live and could not be stored.
    unstored: Option<Bundle>,
    /// The local CA's is live, for want of another.
    stand_in: Option<StandIn>,
    /// A stopgap has been looked for.
    sought: bool,
    /// Before then it is not replaced.
    rest: Option<SystemTime>,
    /// When aliases of challenges' names were looked for.
    aliases_sought: Option<Instant>,
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
        let entry = Entry::new(spec, self);
        if entry.live.load().is_none() {
            let names = &entry.spec.names;
            let shares =
                |other: &&Arc<Entry>| other.spec.names.iter().any(|name| names.contains(name));
            let mut others = known.iter().filter(shares);
            if let Some(other) = others.find(|other| other.has_certificate()) {
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
    fn new(spec: Spec, manager: &Manager) -> Self {
        let challenges = Arc::clone(&manager.challenges);
        let store = Store::new(&spec);
        let managed = match &spec.issuer {
            Issuer::Internal => None,
            Issuer::Acme { .. } => Some(challenges.manage(&spec, store.storage())),
        };
        let entry = Self {
            managed,
            metrics: Metrics::of(spec.names.first().map_or("", String::as_str)),
            upstreams: Arc::clone(&manager.upstreams),
            pace: Arc::clone(&manager.pace),
            live: ArcSwapOption::empty(),
            state: Mutex::default(),
            started: AtomicBool::new(false),
            serial: watch::channel(0).0,
            store,
            spec,
            limits: manager.limits,
            challenges,
        };
        // What takes a network is looked at when the entry is started.
        let (stored, backoff) = Store::load_now(&entry.spec, RETRY);
        entry.state().count_others(backoff.unwrap_or_default());
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
            let entry = Arc::downgrade(self);
            tokio::spawn(look_after(self.names(), AFTER_PANIC, move || {
                keep(Weak::clone(&entry))
            }));
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
            // Of servers that share it the one that has stored it knows since when it is there.
            let now = SystemTime::now();
            state.rest = Some(match stored.as_deref().and_then(stored_at) {
                Some(since) => {
                    let since = since.min(now);
                    since + rest(validity, self.spec.options.renew_at, since)
                }
                None => now + while_new(validity),
            });
            state.unstored = None;
            state.last_error = None;
            state.alarms = Alarms::default();
            state.stored = stored;
            state.waiting = None;
            state.borrowed = false;
            state.stand_in = None;
        }
        self.metrics.set_stand_in(false);
        self.set_due();
        self.go_live(bundle);
    }

    /// Shows a certificate from the next handshake on.
    fn go_live(&self, bundle: &Bundle) {
        self.live.store(Some(Arc::clone(bundle.certified())));
        self.serial.send_modify(|serial| *serial += 1);
    }

    /// What to do now.
    fn decide(&self, now: SystemTime) -> Decision {
        self.raise_alarms(now);
        let state = self.state();
        let paused = state.backoff.paused_until(now);
        let due = state.due.map(|due| due.max(state.rest.unwrap_or(due)));
        decide(now, due, paused, self.spec.check_interval)
    }

    /// Puts another entry's certificate live until there is one of its own.
    fn borrow(&self, other: &Self) {
        self.live.store(other.live.load_full());
        let mut state = self.state();
        state.validity = other.state().validity;
        state.borrowed = true;
    }

    /// The same with one that is stored for other names, or from another CA.
    fn borrow_stored(&self, bundle: &Bundle) {
        {
            let mut state = self.state();
            state.validity = Some(bundle.validity());
            state.borrowed = true;
            state.stand_in = None;
        }
        self.go_live(bundle);
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
}

impl State {
    /// Takes up failed attempts that the storage tells of. What has been seen there is no news: our own
    /// may be later, and could not be stored.
    fn count_others(&mut self, stored: Backoff) {
        if self.stored_backoff != stored {
            self.stored_backoff = stored.clone();
            self.backoff = stored;
        }
    }
}

/// Does the work again after a mistake in the program, which must not end renewals for good.
async fn look_after<F>(names: String, pause: Duration, work: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    while let Err(error) = tokio::spawn(work()).await {
        if !error.is_panic() {
            return;
        }
        tracing::error!(target: "plugin/tls", "Certificate for {names}: a mistake in the program; it is looked after again in {} s", pause.as_secs());
        tokio::time::sleep(pause).await;
    }
}

/// Keeps an entry's certificate fresh as long as somebody has the entry.
async fn keep(entry: Weak<Entry>) {
    loop {
        let Some(strong) = entry.upgrade() else {
            return;
        };
        // What fails here is told by the next attempt.
        let _ = strong.follow().await;
        strong.store_again().await;
        strong.look_for_aliases().await;
        strong.ask_when().await;
        let pause = match strong.decide(SystemTime::now()) {
            Decision::Obtain => strong.obtain_or_stand_in().await,
            Decision::Wait(time) => time.min(WATCH),
        };
        strong.stand_in(false).await;
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
