//! Asking the CA when it would like its certificate to be renewed.
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use super::Entry;
use crate::ari::{self, Suggestion};
use crate::http::Transport;
use crate::spec::Issuer;
use crate::store::SUGGESTION;

/// How long the CA has at least to answer.
const PATIENCE_MIN: Duration = Duration::from_secs(1);

impl Entry {
    /// Asks the CA if it is time to, or takes up what another server has asked.
    pub(super) async fn ask_when(&self) {
        let now = SystemTime::now();
        let Some(certificate) = self.state().certificate.clone() else {
            return;
        };
        let Issuer::Acme { directory, .. } = &self.spec.issuer else {
            return;
        };
        let fresh = |suggestion: &Suggestion| suggestion.is_fresh(&certificate, now);
        if fresh(&self.state().suggestion) {
            return;
        }
        let kept: Option<Suggestion> = self.store.load_json(SUGGESTION).await;
        let kept = kept.filter(|kept| kept.certificate == certificate);
        if let Some(kept) = &kept {
            self.suggest(kept.clone());
            if fresh(kept) {
                return;
            }
        }
        if self.spec.options.no_renewal_info {
            return;
        }
        let directory = kept.map_or_else(|| directory.clone(), |kept| kept.directory);
        let upstreams = self
            .upstreams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let transport = match Transport::new(self.limits.access(&self.spec, &upstreams)) {
            Ok(transport) => transport,
            Err(error) => {
                tracing::warn!(target: "plugin/tls", "Certificate for {}: {error}", self.names());
                return;
            }
        };
        // A CA that says nothing must not hold up the renewal itself.
        let due = self.state().due;
        let left = due.and_then(|due| due.duration_since(now).ok());
        let patience = (left.unwrap_or_default() / 4).clamp(PATIENCE_MIN, self.limits.request);
        let ask = ari::ask(&transport, &directory, &certificate, now);
        let (mut suggestion, asked) = tokio::time::timeout(patience, ask)
            .await
            .unwrap_or_else(|_| ari::unanswered(&directory, &certificate, now));
        let before = self.state().suggestion.clone();
        match asked {
            Ok(explanation) => {
                if suggestion.window.is_some() && suggestion.window != before.window {
                    let why = explanation
                        .map(|url| format!(" ({url})"))
                        .unwrap_or_default();
                    tracing::debug!(target: "plugin/tls", "Certificate for {}: the CA suggests when to renew{why}", self.names());
                }
            }
            Err(error) => {
                // What it said before still counts.
                if before.certificate == certificate {
                    suggestion.window = before.window;
                }
                tracing::debug!(target: "plugin/tls", "Certificate for {}: {directory} does not say when to renew: {error}", self.names());
            }
        }
        let _ = self.store.save_json(SUGGESTION, &suggestion).await;
        self.suggest(suggestion);
    }

    /// Notes who has signed the certificate that is live, so that it is the one who is asked.
    pub(super) async fn note_issuer(&self, directory: Option<String>) {
        let (Some(directory), Some(certificate)) = (directory, self.state().certificate.clone())
        else {
            return;
        };
        let suggestion = Suggestion {
            certificate,
            directory,
            ..Suggestion::default()
        };
        let _ = self.store.save_json(SUGGESTION, &suggestion).await;
        self.suggest(suggestion);
    }

    fn suggest(&self, suggestion: Suggestion) {
        let names = self.names();
        let before = {
            let mut state = self.state();
            state.suggestion = suggestion;
            state.due
        };
        self.set_due();
        let now = SystemTime::now();
        if let (Some(before), Some(due)) = (before, self.state().due)
            && due <= now
            && before > now
        {
            tracing::warn!(target: "plugin/tls", "The CA wants the certificate for {names} to be renewed now, as it does when it revokes certificates");
        }
    }
}
