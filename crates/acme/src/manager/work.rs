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
use crate::problem::ObtainError;
use crate::report::{LAST_ERROR, LastError, span};
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
            self.state().count_others(backoff);
        }
        if let Some(managed) = &self.managed {
            managed.follow_aliases().await?;
        }
        let newest = self.store.bundles().await?.pop();
        let known = self.state().stored.clone();
        let (own, borrowed) = (self.has_certificate(), self.state().borrowed);
        if own && !borrowed && (newest.is_none() || newest <= known) {
            return Ok(());
        }
        let Some(Stored { bundle, name }) = self.store.load().await else {
            let sought = std::mem::replace(&mut self.state().sought, true);
            if !own
                && !sought
                && let Some(bundle) = self.store.stopgap().await
            {
                self.borrow_stored(&bundle);
                tracing::info!(target: "plugin/tls", "Certificate for {}: one that is stored for {} serves until there is a new one", self.names(), bundle.names().join(" "));
            }
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
        let asks = matches!(self.spec.issuer, Issuer::Acme { .. });
        if asks && self.state().waiting.is_none() {
            self.pace.turn().await;
        }
        let _turn = match asks {
            true => None,
            false => Some(self.pace.turn_at_local_ca().await),
        };
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
        match !self.has_certificate() {
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
                let unstored = stored.is_none().then(|| bundle.clone());
                self.swap(&bundle, stored);
                match unstored {
                    None => self.forget_failures().await,
                    lost => self.state().unstored = lost,
                }
                self.metrics.renewed(SystemTime::now());
                self.note_issuer(directory).await;
                let left = bundle
                    .validity()
                    .until
                    .duration_since(SystemTime::now())
                    .unwrap_or_default();
                tracing::info!(target: "plugin/tls", "The certificate for {} is live; it expires in {}", self.names(), span(left));
            }
            Err(error) => self.failed(&error, lease).await,
        }
    }

    /// Stores a certificate that could not be stored when it came; unless another server has stored a
    /// better one meanwhile.
    pub(super) async fn store_again(&self) {
        if self.state().unstored.is_none() {
            return;
        }
        let Ok(Some(lease)) = self.store.lease(&self.spec.issuer).await else {
            return;
        };
        let followed = self.follow().await.is_ok() && lease.check().await.is_ok();
        let lost = self.state().unstored.clone().filter(|_| followed);
        if let Some(bundle) = lost
            && let Ok(name) = self.store.save(&bundle).await
        {
            {
                let mut state = self.state();
                (state.stored, state.unstored) = (Some(name), None);
            }
            self.forget_failures().await;
            self.metrics.set_storage(true);
            tracing::info!(target: "plugin/tls", "The certificate for {} is stored now", self.names());
        }
        lease.release().await;
    }

    /// Tells other servers, and the next start, that all is well.
    async fn forget_failures(&self) {
        if self
            .store
            .save_json(RETRY, &Backoff::default())
            .await
            .is_ok()
        {
            self.state().stored_backoff = Backoff::default();
        }
        let _ = self.store.save_json(LAST_ERROR, &None::<LastError>).await;
        if self.spec.options.fallback_internal {
            self.store.forget_stand_in().await;
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
                let made = internal::issue(&**storage, folder, &self.spec.names, lease).await;
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
        let bundle = Bundle::read(&pem).and_then(|bundle| {
            bundle.check_names(&self.spec.names)?;
            bundle.check_new(SystemTime::now())?;
            Ok(bundle)
        });
        let bundle =
            bundle.map_err(|error| ObtainError::new(Failure::Certificate, error.to_string()))?;
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
            if self.store.save_json(RETRY, &backoff).await.is_ok() {
                self.state().stored_backoff = backoff.clone();
            }
            let error = LastError {
                what: error.what.clone(),
                at: seconds(now),
            };
            let _ = self.store.save_json(LAST_ERROR, &Some(error)).await;
        }
        let next = backoff.paused_until(now);
        self.complain(
            &error.failure.to_string(),
            &error.what,
            next.duration_since(now).unwrap_or_default(),
        );
    }

    fn complain(&self, kind: &str, what: &str, pause: Duration) {
        let meanwhile = match self.live.load().is_some() {
            true if self.has_certificate() => "the old certificate goes on",
            true => "the local CA's goes on",
            false if self.spec.options.fallback_internal => "the local CA is asked",
            false => "handshakes are refused",
        };
        tracing::error!(target: "plugin/tls", "Certificate for {}: {kind}: {what}; {meanwhile}, next attempt in {} s", self.names(), pause.as_secs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manager::{Manager, State};
    use crate::spec::Spec;
    use crate::storage::lost;
    use crate::tests::Scratch;
    use async_trait::async_trait;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    /// A lease that is lost when the certificate is there.
    struct Fading(AtomicUsize);

    #[async_trait]
    impl Lease for Fading {
        async fn check(&self) -> io::Result<()> {
            let left = self.0.load(Relaxed);
            self.0.store(left.saturating_sub(1), Relaxed);
            match left {
                0 => Err(lost()),
                _ => Ok(()),
            }
        }

        async fn release(&self) {}
    }

    fn entry(scratch: &Scratch) -> Arc<Entry> {
        let (folder, interval) = (scratch.path().to_owned(), Duration::from_secs(900));
        let spec = Spec::new(&["a.example"], Issuer::Internal, folder, interval).unwrap();
        Manager::default().entry(spec)
    }

    #[tokio::test]
    async fn a_certificate_that_could_not_be_stored_is_stored_later() {
        let scratch = Scratch::new();
        let entry = entry(&scratch);
        // Root and intermediate are made under it.
        entry.obtain_alone(&Fading(AtomicUsize::new(2))).await;
        assert!(entry.current().is_some(), "it serves: {:?}", entry.status());
        assert!(entry.store.bundles().await.unwrap().is_empty());
        entry.store_again().await;
        let kept = entry.store.bundles().await.unwrap();
        assert_eq!(kept.len(), 1);
        let state = entry.state().clone();
        assert_eq!(state.stored.as_ref(), kept.first());
        assert!(state.unstored.is_none());
        // Once is enough.
        entry.store_again().await;
        assert_eq!(entry.store.bundles().await.unwrap(), kept);
    }

    #[tokio::test]
    async fn a_better_one_that_another_server_stored_is_taken_instead() {
        let scratch = Scratch::new();
        let (one, other) = (entry(&scratch), entry(&scratch));
        one.obtain_alone(&Fading(AtomicUsize::new(2))).await;
        tokio::time::sleep(Duration::from_millis(1100)).await;
        other.obtain().await;
        let kept = other.store.bundles().await.unwrap();
        one.store_again().await;
        assert_eq!(one.store.bundles().await.unwrap(), kept);
        assert_eq!(one.state().stored.as_ref(), kept.first());
        assert_eq!(one.current().unwrap().cert, other.current().unwrap().cert);
    }

    #[tokio::test]
    async fn the_local_ca_works_for_many_certificates_one_after_the_other() {
        let (scratch, manager) = (Scratch::new(), Manager::default());
        let entry = |at: usize| {
            let (folder, interval) = (scratch.path().to_owned(), Duration::from_secs(900));
            let name = format!("n{at}.example");
            let spec = Spec::new(&[name.as_str()], Issuer::Internal, folder, interval);
            manager.entry(spec.unwrap())
        };
        let mut work = tokio::task::JoinSet::new();
        for at in 0..10 {
            let entry = entry(at);
            work.spawn(async move {
                let pause = entry.obtain().await;
                (pause, entry.current().is_some())
            });
        }
        for done in work.join_all().await {
            assert_eq!(done, (Duration::ZERO, true), "none has to come again");
        }
    }

    #[test]
    fn failures_that_could_not_be_stored_count() {
        let mut state = State::default();
        let mut stored = Backoff {
            attempts: 1,
            not_before: 5,
            ..Backoff::default()
        };
        state.count_others(stored.clone());
        state.backoff.attempts = 2;
        state.count_others(stored.clone());
        assert_eq!(state.backoff.attempts, 2, "nothing new is stored");
        stored.attempts = 9;
        state.count_others(stored);
        assert_eq!(state.backoff.attempts, 9, "another server's");
    }

    #[tokio::test]
    async fn a_certificate_is_looked_after_again_behind_a_mistake() {
        let times = Arc::new(AtomicUsize::new(0));
        let work = {
            let times = Arc::clone(&times);
            move || {
                let time = times.fetch_add(1, Relaxed);
                async move { assert!(time > 0, "the first time") }
            }
        };
        super::super::look_after("a.example".to_owned(), Duration::ZERO, work).await;
        assert_eq!(times.load(Relaxed), 2);
    }
}
