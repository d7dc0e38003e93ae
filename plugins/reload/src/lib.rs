//! *reload*: watches the Corefile and its imports, and starts a graceful reload when their words
//! change.
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use corten_plugin::corefile::Token;
use corten_plugin::metrics::registry;
use corten_plugin::{
    BoxError, Context, Directive, Interest, Plugin, Process, Running, Setup, SetupError, Stop,
    async_trait,
};
use rand::RngExt;
use sha2::{Digest, Sha512};
use tokio::task::JoinHandle;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "reload",
    setup,
    readme: include_str!("../README.md"),
};

const INTERVAL: Duration = Duration::from_secs(30);
const INTERVAL_MIN: Duration = Duration::from_secs(2);
const JITTER: Duration = Duration::from_secs(15);
const JITTER_MIN: Duration = Duration::from_secs(1);
const VERSION_INFO: &str = "coredns_reload_version_info";

struct Watch {
    id: u64,
    /// Time between two looks, jitter included.
    period: Duration,
    process: Arc<Process>,
    running: Mutex<Option<(JoinHandle<()>, String)>>,
}

/// Watches that have been started; only the last looks, so that several blocks do not reload one
/// after the other.
#[derive(Default)]
struct Watches(Mutex<Vec<u64>>);

impl Watches {
    fn change(&self, change: impl FnOnce(&mut Vec<u64>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn is_last(&self, id: u64) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).last() == Some(&id)
    }
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let (mut interval, mut jitter) = (INTERVAL, JITTER);
    for line in setup.occurrences()? {
        line.no_block()?;
        let words = line.args_between(0, 2)?;
        if let Some(word) = words.first() {
            interval = at_least(
                word,
                INTERVAL_MIN,
                "interval value must be greater or equal to 2s",
            )?;
        }
        if let Some(word) = words.get(1).filter(|word| word.text != "0s") {
            jitter = at_least(
                word,
                JITTER_MIN,
                "jitter value must be 0 or greater or equal to 1s",
            )?;
        } else if words.len() == 2 {
            jitter = Duration::ZERO;
        }
    }
    let jitter = jitter.min(interval / 2);
    // Drawn once: the servers of a fleet keep apart from one another.
    let period = interval - jitter / 2 + jitter.mul_f64(rand::rng().random::<f64>());
    let (id, process) = (NEXT.fetch_add(1, Relaxed), Arc::clone(setup.process));
    setup.push(Watch {
        id,
        period,
        process,
        running: Mutex::new(None),
    });
    Ok(())
}

fn at_least(word: &Token, least: Duration, text: &str) -> Result<Duration, SetupError> {
    let duration = word.parse_duration()?;
    if duration >= least || (duration.is_zero() && least == JITTER_MIN) {
        Ok(duration)
    } else {
        Err(word.error(text).into())
    }
}

/// The configuration's SHA-512 in hexadecimal.
fn hash(running: &Running) -> String {
    Sha512::digest(running.fingerprint.as_bytes())
        .iter()
        .map(|octet| format!("{octet:02x}"))
        .collect()
}

/// Looks at the files for ever.
async fn watch(process: Arc<Process>, id: u64, period: Duration, mut seen: String) {
    let failed = registry().counter(
        "coredns_reload_failed_total",
        "Counter of the number of failed reload attempts.",
        &[],
    );
    let watches = process.service(Watches::default);
    loop {
        tokio::time::sleep(period).await;
        let Some(reload) = process.reload().filter(|_| watches.is_last(id)) else {
            continue;
        };
        let now = match reload.read().await {
            Ok(running) => hash(&running),
            Err(error) => {
                tracing::warn!(target: "plugin/reload", "Corefile parse failed: {error}");
                continue;
            }
        };
        if now == seen {
            continue;
        }
        // Tried once: a file that cannot be served is tried again when it changes again.
        seen = now;
        // In a task of its own, because this one ends with the generation that the reload replaces.
        let result = tokio::spawn(async move { reload.reload().await }).await;
        if let Ok(Err(error)) = result {
            failed.increment();
            tracing::error!(target: "plugin/reload", "Corefile changed but reload failed: {error}");
        }
    }
}

#[async_trait]
impl Plugin for Watch {
    fn name(&self) -> &'static str {
        "reload"
    }

    fn interest(&self) -> Interest {
        Interest::Nothing
    }

    async fn start(&self, context: &Context) -> Result<(), BoxError> {
        let hash = hash(&context.running);
        tracing::info!(target: "plugin/reload", "Running configuration SHA512 = {hash}");
        registry()
            .gauge(
                VERSION_INFO,
                "A metric with value 1 and the hash of the running configuration.",
                &[("hash", "sha512"), ("value", &hash)],
            )
            .set(1);
        self.process
            .service(Watches::default)
            .change(|ids| ids.push(self.id));
        let task = tokio::spawn(watch(
            Arc::clone(&self.process),
            self.id,
            self.period,
            hash.clone(),
        ));
        *self.running.lock().unwrap_or_else(PoisonError::into_inner) = Some((task, hash));
        Ok(())
    }

    async fn stop(&self, _: Stop) {
        self.process
            .service(Watches::default)
            .change(|ids| ids.retain(|id| *id != self.id));
        let Some((task, own)) = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        else {
            return;
        };
        task.abort();
        if self
            .process
            .reload()
            .is_none_or(|reload| hash(&reload.running()) != own)
        {
            registry().remove(VERSION_INFO, &[("hash", "sha512"), ("value", &own)]);
        }
    }
}
