//! Metrics, by CoreDNS's names and labels.
use std::sync::OnceLock;

use corten_plugin::metrics::{Counter, Gauge, registry};
use corten_plugin::{BySite, Site};

/// Numbers of one listener. Each appears when it is first counted, as in CoreDNS.
pub(crate) struct Counters {
    site: Site,
    hits: OnceLock<Counter>,
    misses: OnceLock<Counter>,
    refused: OnceLock<Counter>,
    entries: OnceLock<Gauge>,
}

impl Counters {
    pub(crate) fn by_site() -> BySite<Self> {
        BySite::new(|site| Self {
            site,
            hits: OnceLock::new(),
            misses: OnceLock::new(),
            refused: OnceLock::new(),
            entries: OnceLock::new(),
        })
    }

    fn counter<'a>(
        &self,
        cell: &'a OnceLock<Counter>,
        name: &'static str,
        help: &'static str,
    ) -> &'a Counter {
        cell.get_or_init(|| registry().counter(name, help, &[("server", self.site.server())]))
    }

    pub(crate) fn hit(&self) {
        let (name, help) = (
            "coredns_dnssec_cache_hits_total",
            "The count of cache hits.",
        );
        self.counter(&self.hits, name, help).increment();
    }

    pub(crate) fn miss(&self) {
        let (name, help) = (
            "coredns_dnssec_cache_misses_total",
            "The count of cache misses.",
        );
        self.counter(&self.misses, name, help).increment();
    }

    pub(crate) fn refused(&self) {
        let help = "Replies that were SERVFAIL because they could not be signed in time.";
        self.counter(&self.refused, "corten_dnssec_unsigned_total", help)
            .increment();
    }

    /// Sets how many entries there are now.
    pub(crate) fn entries(&self, entries: usize) {
        let gauge = self.entries.get_or_init(|| {
            registry().gauge(
                "coredns_dnssec_cache_entries",
                "The number of elements in the dnssec cache.",
                &[("server", self.site.server()), ("type", "signature")],
            )
        });
        gauge.set(i64::try_from(entries).unwrap_or(i64::MAX));
    }
}
