//! `fallback internal`: a certificate of the local CA while there is none from the CA that is to sign.
use std::time::{Duration, SystemTime};

use super::Entry;
use crate::bundle::{Bundle, Validity};
use crate::internal;
use crate::machine::due;
use crate::spec::RenewAt;

/// An attempt may take this long before handshakes get something else than an alert.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// A certificate of the local CA that is live.
#[derive(Clone, Copy, Debug)]
pub(super) struct StandIn {
    until: SystemTime,
}

impl Entry {
    /// One attempt; one that takes long does not keep a stand-in away.
    pub(super) async fn obtain_or_stand_in(&self) -> Duration {
        let mut obtain = std::pin::pin!(self.obtain());
        tokio::select! {
            pause = &mut obtain => pause,
            () = tokio::time::sleep(PATIENCE) => {
                self.stand_in(true).await;
                obtain.await
            }
        }
    }

    /// Serves a certificate of the local CA, if that is wanted and there is no other: one that a server
    /// has stored, or, once an attempt has failed or takes long, a new one.
    pub(super) async fn stand_in(&self, takes_long: bool) {
        if !self.spec.options.fallback_internal || self.has_certificate() {
            return;
        }
        let now = SystemTime::now();
        let is_fresh = self.state().stand_in.is_some_and(|kept| now < kept.until);
        if !is_fresh {
            let bundle = match self.store.load_stand_in().await {
                Some(kept) if now < fresh_until(kept.validity()) => kept,
                _ if !takes_long && !self.has_failed() => return,
                _ => match self.make_stand_in().await {
                    Ok(Some(made)) => made,
                    // Another server makes one.
                    Ok(None) => return,
                    Err(error) => {
                        if self.state().alarms.raise(now, true) {
                            tracing::error!(target: "plugin/tls", "Certificate for {}: the local CA has none either: {error}", self.names());
                        }
                        return;
                    }
                },
            };
            self.show(&bundle);
        }
        let (reminds, why) = {
            let mut state = self.state();
            let reminds = state.alarms.raise(now, false);
            (reminds, state.last_error.clone())
        };
        if reminds {
            let why = why.map(|error| format!(": {error}")).unwrap_or_default();
            let root = self.store.storage().place(internal::ROOT);
            tracing::warn!(target: "plugin/tls", "There is no certificate for {} yet; one of the local CA serves until there is, for clients that trust {root}{why}", self.names());
        }
    }

    /// Whether there is a certificate that is no stand-in.
    pub(super) fn has_certificate(&self) -> bool {
        self.live.load().is_some() && self.state().stand_in.is_none()
    }

    fn has_failed(&self) -> bool {
        let state = self.state();
        state.backoff.attempts > 0 || state.last_error.is_some()
    }

    async fn make_stand_in(&self) -> Result<Option<Bundle>, String> {
        let storage = self.store.storage();
        let lease = storage.lease(internal::LOCK).await;
        let Some(lease) = lease.map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let (folder, names) = (internal::FOLDER, &self.spec.names);
        let made = internal::issue(&**storage, folder, names, &*lease).await;
        lease.release().await;
        let bundle = Bundle::read(&made?).map_err(|error| error.to_string())?;
        // For the other servers, and the next start; it serves all the same.
        let _ = self.store.save_stand_in(&bundle).await;
        Ok(Some(bundle))
    }

    fn show(&self, bundle: &Bundle) {
        self.state().stand_in = Some(StandIn {
            until: fresh_until(bundle.validity()),
        });
        self.metrics.set_stand_in(true);
        self.go_live(bundle);
    }
}

/// When it is replaced by another.
fn fresh_until(validity: Validity) -> SystemTime {
    due(validity, RenewAt::default(), None, 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::tests::pair;
    use crate::manager::Manager;
    use crate::spec::{Issuer, Options, Spec};
    use crate::tests::Scratch;
    use std::sync::Arc;

    fn entry(scratch: &Scratch, fallback_internal: bool) -> Arc<Entry> {
        let issuer = Issuer::Acme {
            directory: "127.0.0.1:9/dir".into(),
            roots: None,
            email: None,
        };
        let options = Options {
            fallback_internal,
            resolver: Some("127.0.0.1:9".into()),
            ..Options::default()
        };
        let (folder, interval) = (scratch.path().to_owned(), Duration::from_secs(900));
        let spec = Spec::new(&["a.example"], issuer, folder, interval);
        Manager::default().entry(spec.unwrap().with(options).unwrap())
    }

    fn leaf(entry: &Entry) -> Vec<u8> {
        entry.current().unwrap().cert[0].to_vec()
    }

    #[tokio::test]
    async fn the_local_ca_stands_in_until_there_is_a_certificate() {
        let scratch = Scratch::new();
        let (one, without) = (entry(&scratch, true), entry(&scratch, false));
        one.stand_in(false).await;
        assert!(one.current().is_none(), "nothing has failed yet");
        for entry in [&one, &without] {
            entry.obtain().await;
            entry.stand_in(false).await;
        }
        assert!(without.current().is_none(), "it is not wanted");
        let stand_in = leaf(&one);
        assert!(!one.has_certificate() && one.state().validity.is_none());
        // Another server takes up the same, before anything has failed there.
        let other = entry(&scratch, true);
        assert!(other.current().is_none());
        other.stand_in(false).await;
        assert_eq!(leaf(&other), stand_in);
        // Nothing is made anew while it is fresh.
        one.stand_in(true).await;
        assert_eq!(leaf(&one), stand_in);

        let (key, certificate) = pair(&["a.example"]);
        let real = Bundle::read(&format!("{key}{certificate}")).unwrap();
        one.store.save(&real).await.unwrap();
        for entry in [&one, &other] {
            entry.follow().await.unwrap();
            assert!(entry.has_certificate());
            assert_eq!(leaf(entry), real.certified().cert[0].to_vec());
            entry.stand_in(true).await;
            assert_eq!(leaf(entry), real.certified().cert[0].to_vec());
        }
    }

    #[tokio::test]
    async fn an_attempt_that_takes_long_does_not_keep_it_away() {
        let scratch = Scratch::new();
        let one = entry(&scratch, true);
        one.stand_in(true).await;
        assert!(one.current().is_some() && !one.has_failed());
    }
}
