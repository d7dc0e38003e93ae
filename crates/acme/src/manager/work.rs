//! Obtaining one certificate: by one server at a time, and taken up by the others.
use std::io;
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use super::Entry;
use crate::attempt::{Attempt, Issued};
use crate::backoff::{Backoff, Failure, longest_pause, seconds};
use crate::bundle::Bundle;
use crate::internal;
use crate::machine::Decision;
use crate::order::ObtainError;
use crate::report::{LAST_ERROR, LastError};
use crate::spec::Issuer;
use crate::storage::Lease;
use crate::store::{RETRY, Stored};

/// How often the storage is looked at while another server is at work, or the storage cannot be
/// used.
const WATCH_CLOSELY: Duration = Duration::from_secs(5);
/// The same while there is no certificate at all.
const WATCH_EAGERLY: Duration = Duration::from_secs(1);

impl Entry {
    /// Takes up what another server has stored: a certificate, or failed attempts.
    pub(super) async fn follow(&self) -> io::Result<()> {
        if let Some(backoff) = self.store.load_json(RETRY).await {
            self.state().backoff = backoff;
        }
        let newest = self.store.bundles().await?.pop();
        let known = self.state().stored.clone();
        let (own, borrowed) = (self.live.load().is_some(), self.state().borrowed);
        if own && !borrowed && (newest.is_none() || newest <= known) {
            return Ok(());
        }
        let Some(Stored { bundle, name }) = self.store.load().await else {
            return Ok(());
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
        Ok(())
    }

    /// One attempt, by one server at a time. The certificate that is live stays until a better one
    /// has been verified. Returns how long to wait before the next look.
    pub(super) async fn obtain(&self) -> Duration {
        let lease = match self.store.lease(&self.spec.issuer).await {
            Ok(Some(lease)) => lease,
            Ok(None) => {
                let what = "another server is at work".to_owned();
                if self.state().waiting.replace(what.clone()).as_ref() != Some(&what) {
                    tracing::info!(target: "plugin/tls", "Certificate for {}: {what}; its result will be taken up", self.names());
                }
                return self.watch_closely();
            }
            Err(error) => return self.without_storage(&error),
        };
        // Another server may have been faster, or have failed. What cannot be seen is not ordered
        // again.
        let pause = match self.follow().await {
            Err(error) => self.without_storage(&error),
            Ok(()) => {
                if self.decide(SystemTime::now()) == Decision::Obtain {
                    self.obtain_alone(&*lease).await;
                }
                Duration::ZERO
            }
        };
        lease.release().await;
        pause
    }

    /// Says that nothing can be done, once for each reason.
    fn without_storage(&self, error: &io::Error) -> Duration {
        let what = format!("the storage cannot be used: {error}");
        let pause = self.watch_closely();
        self.metrics.set_storage(false);
        if self.state().waiting.replace(what.clone()).as_ref() != Some(&what) {
            self.metrics.failed(Failure::Storage);
            self.complain("no certificate", &what, pause);
        }
        self.state().last_error = Some(what);
        pause
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
            let longest = state.validity.map(|validity| longest_pause(validity, now));
            let directories = self.spec.directories();
            state
                .backoff
                .failed(error.failure, now, longest, error.retry_after, &directories);
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
