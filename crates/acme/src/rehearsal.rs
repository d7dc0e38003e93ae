//! A dry run: everything up to the certificate, at a CA for practice, with nothing kept.
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::time::timeout;

use crate::account::Accounts;
use crate::attempt::{Limits, parts};
use crate::bundle::Bundle;
use crate::challenges::Challenges;
use crate::http::Transport;
use crate::order::Order;
use crate::preflight::{self, Finding, Places, Verdict};
use crate::problem::explain;
use crate::spec::{Issuer, LETS_ENCRYPT, LETS_ENCRYPT_STAGING, Spec};
use crate::storage::{Lease, Storage};
use crate::store::Store;

/// Time to take back what other servers were to answer.
const LEAVING: Duration = Duration::from_secs(5);

/// How a dry run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The CA has signed; nobody keeps it.
    Issued {
        /// Who has signed.
        issuer: String,
        /// Days that the certificate would be good for.
        days: u64,
    },
    /// There would be no certificate: why.
    Failed(String),
    /// It cannot be tried: why.
    NotTried(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issued { issuer, days } => write!(
                f,
                "a certificate would be issued (the trial's is signed by {issuer}, for {days} days)"
            ),
            Self::Failed(why) => write!(f, "no certificate would be issued: {why}"),
            Self::NotTried(why) => write!(f, "not tried: {why}"),
        }
    }
}

/// Tries a specification at the staging directory of its CA, or at the directory that is named, and
/// tells what is found on the way.
pub async fn rehearse(
    spec: &Spec,
    ca: Option<&str>,
    challenges: &Arc<Challenges>,
    limits: Limits,
    mut tell: impl FnMut(&Finding),
) -> Outcome {
    let directory = match (ca, &spec.issuer) {
        (Some(ca), Issuer::Acme { .. }) => ca.to_owned(),
        (None, Issuer::Acme { directory, .. })
            if directory == LETS_ENCRYPT || directory == LETS_ENCRYPT_STAGING =>
        {
            LETS_ENCRYPT_STAGING.to_owned()
        }
        (None, Issuer::Acme { directory, .. }) => {
            return Outcome::NotTried(format!(
                "no staging directory is known for {directory}; name one with '-ca URL', which may be this one if a certificate more does no harm"
            ));
        }
        (_, Issuer::Internal) => {
            return Outcome::NotTried("the local CA needs no trial".to_owned());
        }
    };
    let trial = match at(spec, &directory) {
        Ok(trial) => trial,
        Err(why) => return Outcome::NotTried(why),
    };
    let run = run(&trial, challenges, limits, &mut tell);
    let outcome = match timeout(limits.order, run).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(why)) => Outcome::Failed(why),
        Err(_) => Outcome::Failed(format!("it took longer than {:?}", limits.order)),
    };
    // The program ends now; what is left behind other servers would go on to show.
    let _ = timeout(LEAVING, challenges.withdrawn()).await;
    outcome
}

/// The same specification at another directory.
fn at(spec: &Spec, directory: &str) -> Result<Spec, String> {
    let (roots, email) = parts(&spec.issuer);
    let issuer = Issuer::Acme {
        directory: directory.to_owned(),
        roots: roots.cloned(),
        email: email.map(str::to_owned),
    };
    let names: Vec<_> = spec.names.iter().map(String::as_str).collect();
    Spec::new(&names, issuer, spec.storage.clone(), spec.check_interval)
        .and_then(|trial| trial.with(spec.options.clone()))
        .map_err(|error| error.to_string())
}

async fn run(
    spec: &Spec,
    challenges: &Arc<Challenges>,
    limits: Limits,
    tell: &mut impl FnMut(&Finding),
) -> Result<Outcome, String> {
    let (roots, email) = parts(&spec.issuer);
    let directory = spec.directories().first().map(|url| (*url).to_owned());
    let directory = directory.ok_or("there is no CA")?;
    let mut good = |what: &str| {
        tell(&Finding {
            what: what.to_owned(),
            verdict: Verdict::Good,
        });
    };
    let store = Store::new(spec);
    store
        .probe()
        .await
        .map_err(|error| format!("certificates cannot be kept: {error}"))?;
    good("the place for certificates");
    let transport = Transport::new(limits.access(spec, &[]))?;
    let about = transport
        .directory(&directory)
        .await
        .map_err(|error| explain(&directory, &error).what)?;
    good(&format!("the directory {directory}"));
    preflight::clock(&about, SystemTime::now()).map_err(|error| error.what)?;
    good("the clock");
    preflight::directory(&about, spec, true).map_err(|error| error.what)?;
    let places = Places::new(spec, roots.is_some(), limits.dns_port, limits.visible).await;
    let findings = preflight::look(&places, spec, challenges, &about, limits.probe).await;
    let mut wrong = Vec::new();
    for finding in &findings {
        tell(finding);
        if matches!(finding.verdict, Verdict::Bad(_)) {
            wrong.push(finding.what.clone());
        }
    }
    if !wrong.is_empty() && !spec.options.lenient {
        return Ok(Outcome::Failed(wrong.join("; ")));
    }
    let nowhere = Store::with(spec, Arc::new(Memory::default()));
    let order = Order {
        spec,
        directory: &directory,
        transport: &transport,
        accounts: Accounts {
            store: &nowhere,
            transport: &transport,
            directory: &directory,
            email,
            binding: spec.options.binding.as_ref(),
        },
        lease: &Alone,
        challenges,
        places: &places,
        profile: spec.options.profile.as_deref(),
        replaces: None,
    };
    let pem = order.obtain().await.map_err(|error| error.what)?;
    let bundle = Bundle::read(&pem).map_err(|error| error.to_string())?;
    let life = bundle
        .validity()
        .until
        .duration_since(bundle.validity().from)
        .unwrap_or_default();
    Ok(Outcome::Issued {
        issuer: bundle.issuer().to_owned(),
        days: life.as_secs().div_ceil(86_400),
    })
}

/// What is kept as long as the trial lasts.
#[derive(Default)]
struct Memory(Mutex<BTreeMap<String, Vec<u8>>>);

impl Memory {
    fn values(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Storage for Memory {
    fn place(&self, key: &str) -> String {
        key.to_owned()
    }

    async fn get(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.values().get(key).cloned())
    }

    async fn put(&self, key: &str, value: &[u8]) -> io::Result<()> {
        self.values().insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    async fn delete(&self, key: &str) -> io::Result<()> {
        self.values().remove(key);
        Ok(())
    }

    async fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let prefix = format!("{folder}/");
        let names = self.values();
        let below = names.keys().filter_map(|key| key.strip_prefix(&prefix));
        Ok(below
            .filter(|rest| !rest.contains('/'))
            .map(str::to_owned)
            .collect())
    }

    async fn lease(&self, _: &str) -> io::Result<Option<Arc<dyn Lease>>> {
        Ok(Some(Arc::new(Alone)))
    }
}

/// Nobody else works at a trial.
pub(crate) struct Alone;

#[async_trait]
impl Lease for Alone {
    async fn check(&self) -> io::Result<()> {
        Ok(())
    }

    async fn release(&self) {}
}
