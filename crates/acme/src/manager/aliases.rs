//! Aliases of challenges' names, for servers that have no storage in common.
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Entry;
use crate::attempt::parts;
use crate::preflight::Places;

/// Time for all names.
const PATIENCE: Duration = Duration::from_secs(30);

impl Entry {
    /// Looks where aliases lead, now and then, if peers may obtain a certificate for the same names:
    /// nobody tells this server, which may be asked for the end of one.
    pub(super) async fn look_for_aliases(&self) {
        if self.spec.peers().is_empty() || self.managed.is_none() {
            return;
        }
        let now = Instant::now();
        let sought = self.state().aliases_sought.replace(now);
        if sought.is_some_and(|before| now - before < self.spec.check_interval) {
            self.state().aliases_sought = sought;
            return;
        }
        let look = async {
            let (roots, _) = parts(&self.spec.issuer);
            let limits = self.limits;
            let places =
                Places::new(&self.spec, roots.is_some(), limits.dns_port, limits.visible).await;
            for record in self.spec.records() {
                let alias = places.alias(&record).await;
                self.challenges.note(&record, &alias).await;
            }
        };
        // What was found by then counts; the next look is the next chance.
        let _ = timeout(PATIENCE, look).await;
    }
}
