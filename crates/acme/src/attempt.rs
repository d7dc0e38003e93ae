//! One attempt to obtain a certificate from a CA: whose turn it is, what is looked at before, and
//! the order.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::account::Accounts;
use crate::ari::Suggestion;
use crate::backoff::{Backoff, Failure};
use crate::challenges::Challenges;
use crate::http::{Access, Directory, Transport};
use crate::order::Order;
use crate::preflight::{self, Places, Verdict};
use crate::problem::{ObtainError, explain};
use crate::spec::{Issuer, LETS_ENCRYPT, LETS_ENCRYPT_STAGING, Spec};
use crate::storage::Lease;
use crate::store::Store;

/// How long name servers are waited for where what they show is not held against the order.
const LENIENT: Duration = Duration::from_secs(8);

/// How long things may take, and where they are.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One request to the CA, connection included.
    pub request: Duration,
    /// One order with everything that belongs to it.
    pub order: Duration,
    /// Until all name servers show a challenge's answer.
    pub visible: Duration,
    /// Until all name servers show a probe, before anything is ordered.
    pub probe: Duration,
    /// Port of the name servers that are asked.
    pub dns_port: u16,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(30),
            order: Duration::from_secs(600),
            visible: Duration::from_secs(120),
            probe: Duration::from_secs(30),
            dns_port: 53,
        }
    }
}

impl Limits {
    /// How a specification's CA is reached.
    pub(crate) fn access<'a>(&self, spec: &'a Spec, upstreams: &'a [SocketAddr]) -> Access<'a> {
        let (roots, _) = parts(&spec.issuer);
        Access {
            roots: roots.map(PathBuf::as_path),
            with_system_roots: spec.options.with_system_roots,
            resolver: spec.options.resolver.as_deref(),
            fallbacks: upstreams,
            deadline: self.request,
        }
    }
}

/// What an attempt is made with.
pub(crate) struct Attempt<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) store: &'a Store,
    pub(crate) lease: &'a dyn Lease,
    pub(crate) challenges: &'a Arc<Challenges>,
    pub(crate) limits: Limits,
    pub(crate) upstreams: &'a [SocketAddr],
    pub(crate) backoff: &'a Backoff,
    /// The certificate that is live, and what is known of its CA.
    pub(crate) replaces: Option<(String, Suggestion)>,
}

/// Key and chain as PEM text, and the directory of the CA that signed.
pub(crate) struct Issued {
    pub(crate) pem: String,
    pub(crate) directory: Option<String>,
}

impl Attempt<'_> {
    /// Asks the CA whose turn it is.
    pub(crate) async fn run(&self) -> Result<Issued, ObtainError> {
        let attempt = self.ask();
        tokio::time::timeout(self.limits.order, attempt)
            .await
            .unwrap_or_else(|_| {
                let what = format!("the order took longer than {:?}", self.limits.order);
                Err(ObtainError::new(Failure::Unreachable, what))
            })
    }

    async fn ask(&self) -> Result<Issued, ObtainError> {
        let directories = self.spec.directories();
        let turn = self.backoff.turn(directories.len());
        let directory = *directories
            .get(turn)
            .ok_or_else(|| ObtainError::new(Failure::Refused, "there is no CA"))?;
        let transport = Transport::new(self.limits.access(self.spec, self.upstreams))
            .map_err(|error| ObtainError::new(Failure::Preflight, error))?;
        // The way for the CA's queries is open before anything is asked of it.
        let _open = match self.challenges.responder() {
            Some(responder) => Some(
                responder
                    .open()
                    .await
                    .map_err(|error| ObtainError::new(Failure::Preflight, error))?,
            ),
            None => None,
        };
        let about = self.directory(&transport, directory).await?;
        preflight::clock(&about, SystemTime::now())?;
        preflight::directory(&about, self.spec, turn == 0)?;
        let (roots, _) = parts(&self.spec.issuer);
        let places = Places::new(
            self.spec,
            roots.is_some(),
            self.limits.dns_port,
            self.patience(self.limits.visible),
        )
        .await;
        self.look(&places, &about).await?;
        if self.backoff.rehearse && directory == LETS_ENCRYPT {
            let order = self.order(&transport, LETS_ENCRYPT_STAGING, &places, turn == 0);
            let rehearsed = order.obtain().await;
            rehearsed.map_err(|error| ObtainError {
                what: format!("a trial at the staging directory failed, {}", error.what),
                ..error
            })?;
            tracing::info!(target: "plugin/tls", "Certificate for {}: a trial at the staging directory went well", self.spec.names.join(" "));
        }
        let order = self.order(&transport, directory, &places, turn == 0);
        let pem = order.obtain().await?;
        Ok(Issued {
            pem,
            directory: Some(directory.to_owned()),
        })
    }

    /// How long is waited for name servers that may never show what is wanted.
    fn patience(&self, usual: Duration) -> Duration {
        match self.spec.options.lenient {
            true => usual.min(LENIENT),
            false => usual,
        }
    }

    async fn directory(
        &self,
        transport: &Transport,
        directory: &str,
    ) -> Result<Directory, ObtainError> {
        transport.directory(directory).await.map_err(|error| {
            let explained = explain(directory, &error);
            ObtainError {
                failure: match transport.was_rate_limited() {
                    true => Failure::RateLimited,
                    false => explained.failure,
                },
                retry_after: transport.take_retry_after(),
                ..explained
            }
        })
    }

    /// Fails if something is seen to be wrong; says what cannot be seen.
    async fn look(&self, places: &Places, about: &Directory) -> Result<(), ObtainError> {
        let patience = self.patience(self.limits.probe);
        let findings = preflight::look(places, self.spec, self.challenges, about, patience).await;
        let mut wrong = Vec::new();
        for finding in findings {
            match &finding.verdict {
                Verdict::Good => (),
                Verdict::Bad(_) if !self.spec.options.lenient => wrong.push(finding.to_string()),
                Verdict::Unknown(_) | Verdict::Bad(_) => {
                    tracing::warn!(target: "plugin/tls", "Certificate for {}: {finding}", self.spec.names.join(" "));
                }
            }
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => Err(ObtainError::new(Failure::Preflight, wrong.join("; "))),
        }
    }

    fn order<'a>(
        &'a self,
        transport: &'a Transport,
        directory: &'a str,
        places: &'a Places,
        first: bool,
    ) -> Order<'a> {
        let options = &self.spec.options;
        let (_, email) = parts(&self.spec.issuer);
        let replaces = self.replaces.as_ref().filter(|(certificate, suggestion)| {
            suggestion.certificate == *certificate
                && suggestion.directory == directory
                && !options.no_renewal_info
        });
        Order {
            spec: self.spec,
            directory,
            transport,
            accounts: Accounts {
                store: self.store,
                transport,
                directory,
                email,
                binding: options.binding.as_ref().filter(|_| first),
            },
            lease: self.lease,
            challenges: self.challenges,
            places,
            profile: options.profile.as_deref().filter(|_| first),
            replaces: replaces.map(|(certificate, _)| certificate.as_str()),
        }
    }
}

/// Roots and contact address of a CA.
pub(crate) fn parts(issuer: &Issuer) -> (Option<&PathBuf>, Option<&str>) {
    match issuer {
        Issuer::Acme { roots, email, .. } => (roots.as_ref(), email.as_deref()),
        Issuer::Internal => (None, None),
    }
}
