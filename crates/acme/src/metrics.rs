//! Numbers for those who watch: one set for each certificate.
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::SystemTime;

use corten_metrics::{Counter, Gauge, registry};

use crate::backoff::{Failure, seconds};

const EXPIRY: &str = "coredns_tls_acme_expiry_timestamp_seconds";
const DUE: &str = "coredns_tls_acme_renewal_due_timestamp_seconds";
const RENEWED: &str = "coredns_tls_acme_last_renewal_timestamp_seconds";
const STORAGE: &str = "coredns_tls_acme_storage_ok";
const STAND_IN: &str = "coredns_tls_acme_fallback";
const FAILURES: &str = "coredns_tls_acme_failures_total";

/// Metrics of one certificate. They go with the last entry that has them.
#[derive(Debug)]
pub(crate) struct Metrics {
    name: String,
    expiry: Gauge,
    due: Gauge,
    renewed: Gauge,
    storage: Gauge,
    stand_in: Gauge,
    failures: [Counter; Failure::ALL.len()],
}

impl Metrics {
    /// Those of the certificate whose first name this is.
    pub(crate) fn of(name: &str) -> Arc<Self> {
        let mut known = known();
        if let Some(metrics) = known.get(name).and_then(Weak::upgrade) {
            return metrics;
        }
        let metrics = Arc::new(Self::new(name));
        known.retain(|_, metrics| metrics.strong_count() > 0);
        known.insert(name.to_owned(), Arc::downgrade(&metrics));
        metrics
    }

    fn new(name: &str) -> Self {
        let labels = [("name", name)];
        let gauge = |metric, help| registry().gauge(metric, help, &labels);
        let storage = gauge(STORAGE, "Whether certificates can be stored.");
        storage.set(1);
        Self {
            name: name.to_owned(),
            expiry: gauge(
                EXPIRY,
                "When the certificate that is served expires; 0 without one.",
            ),
            due: gauge(DUE, "When the certificate is to be renewed; 0 for now."),
            renewed: gauge(
                RENEWED,
                "When a certificate was obtained last by this process; 0 for never.",
            ),
            storage,
            stand_in: gauge(
                STAND_IN,
                "Whether a certificate of the local CA serves, for want of another.",
            ),
            failures: Failure::ALL.map(|kind| {
                let labels = [("kind", kind.as_str()), ("name", name)];
                registry().counter(
                    FAILURES,
                    "Counter of attempts that brought no certificate.",
                    &labels,
                )
            }),
        }
    }

    /// Another certificate, or another time for its renewal.
    pub(crate) fn set_times(&self, expiry: SystemTime, due: SystemTime) {
        self.expiry.set(seconds(expiry) as i64);
        self.due.set(seconds(due) as i64);
    }

    /// A certificate was obtained.
    pub(crate) fn renewed(&self, now: SystemTime) {
        self.renewed.set(seconds(now) as i64);
        self.set_storage(true);
    }

    /// Whether something can be stored.
    pub(crate) fn set_storage(&self, works: bool) {
        self.storage.set(i64::from(works));
    }

    /// Whether the local CA's is served, for want of another.
    pub(crate) fn set_stand_in(&self, serves: bool) {
        self.stand_in.set(i64::from(serves));
    }

    /// An attempt failed.
    pub(crate) fn failed(&self, kind: Failure) {
        let at = Failure::ALL.iter().position(|other| *other == kind);
        if let Some(counter) = at.and_then(|at| self.failures.get(at)) {
            counter.increment();
        }
        if kind == Failure::Storage {
            self.set_storage(false);
        }
    }
}

fn known() -> MutexGuard<'static, HashMap<String, Weak<Metrics>>> {
    static KNOWN: OnceLock<Mutex<HashMap<String, Weak<Metrics>>>> = OnceLock::new();
    let known = KNOWN.get_or_init(Mutex::default);
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Metrics {
    fn drop(&mut self) {
        let known = known();
        // Another one may have begun in this moment.
        if known
            .get(&self.name)
            .is_some_and(|other| other.strong_count() > 0)
        {
            return;
        }
        let labels = [("name", self.name.as_str())];
        for metric in [EXPIRY, DUE, RENEWED, STORAGE, STAND_IN] {
            registry().remove(metric, &labels);
        }
        for kind in Failure::ALL {
            registry().remove(FAILURES, &[("kind", kind.as_str()), ("name", &self.name)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_live_as_long_as_their_certificate() {
        let (one, other) = (Metrics::of("m.example"), Metrics::of("m.example"));
        one.failed(Failure::Storage);
        one.failed(Failure::Validation);
        let page = registry().expose();
        for sample in [
            r#"coredns_tls_acme_failures_total{kind="validation",name="m.example"} 1"#,
            r#"coredns_tls_acme_storage_ok{name="m.example"} 0"#,
        ] {
            assert!(page.contains(sample), "{page}");
        }
        drop(one);
        assert!(registry().expose().contains("m.example"));
        drop(other);
        assert!(!registry().expose().contains("m.example"));
    }
}
