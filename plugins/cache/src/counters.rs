//! Metrics, by CoreDNS's names and labels.
use std::sync::{Arc, OnceLock};

use corten_plugin::metrics::{Counter, Gauge, registry};
use corten_plugin::{BySite, Site};

use crate::contents::Contents;
use crate::judge::Shelf;

/// Numbers of one listener and view. Each appears when it is first counted, as in CoreDNS.
pub(crate) struct Counters {
    site: Site,
    zones: Arc<str>,
    requests: OnceLock<Counter>,
    misses: OnceLock<Counter>,
    prefetches: OnceLock<Counter>,
    drops: OnceLock<Counter>,
    stale: OnceLock<Counter>,
    hits: [OnceLock<Counter>; 2],
    evictions: [OnceLock<Counter>; 2],
    entries: [OnceLock<Gauge>; 2],
}

impl Counters {
    /// Counters for each site; `zones` is the label.
    pub(crate) fn by_site(zones: Arc<str>) -> BySite<Self> {
        BySite::new(move |site| Self {
            site,
            zones: Arc::clone(&zones),
            requests: OnceLock::new(),
            misses: OnceLock::new(),
            prefetches: OnceLock::new(),
            drops: OnceLock::new(),
            stale: OnceLock::new(),
            hits: Default::default(),
            evictions: Default::default(),
            entries: Default::default(),
        })
    }

    fn labels(&self) -> [(&'static str, &str); 3] {
        [
            ("server", self.site.server()),
            ("zones", &self.zones),
            ("view", self.site.view()),
        ]
    }

    fn of(&self, shelf: Shelf) -> [(&'static str, &str); 4] {
        let [server, zones, view] = self.labels();
        [server, ("type", name(shelf)), zones, view]
    }

    fn plain(&self, cell: &OnceLock<Counter>, metric: &'static str, help: &'static str) {
        cell.get_or_init(|| registry().counter(metric, help, &self.labels()))
            .increment();
    }

    pub(crate) fn request(&self) {
        self.plain(
            &self.requests,
            "coredns_cache_requests_total",
            "The count of cache requests.",
        );
    }

    pub(crate) fn miss(&self) {
        self.plain(
            &self.misses,
            "coredns_cache_misses_total",
            "The count of cache misses. Deprecated, derive misses from cache hits/requests counters.",
        );
    }

    pub(crate) fn prefetch(&self) {
        self.plain(
            &self.prefetches,
            "coredns_cache_prefetch_total",
            "The number of times the cache has prefetched a cached item.",
        );
    }

    pub(crate) fn drop(&self) {
        self.plain(
            &self.drops,
            "coredns_cache_drops_total",
            "The number responses that are not cached, because the reply is malformed.",
        );
    }

    pub(crate) fn stale(&self) {
        self.plain(
            &self.stale,
            "coredns_cache_served_stale_total",
            "The number of requests served from stale cache entries.",
        );
    }

    pub(crate) fn hit(&self, shelf: Shelf) {
        let counter = self.hits[shelf as usize].get_or_init(|| {
            let help = "The count of cache hits.";
            registry().counter("coredns_cache_hits_total", help, &self.of(shelf))
        });
        counter.increment();
    }

    pub(crate) fn eviction(&self, shelf: Shelf) {
        let counter = self.evictions[shelf as usize].get_or_init(|| {
            let help = "The count of cache evictions.";
            registry().counter("coredns_cache_evictions_total", help, &self.of(shelf))
        });
        counter.increment();
    }

    /// Sets how many entries there are now.
    pub(crate) fn entries(&self, contents: &Contents) {
        for shelf in [Shelf::Success, Shelf::Denial] {
            let gauge = self.entries[shelf as usize].get_or_init(|| {
                let help = "The number of elements in the cache.";
                registry().gauge("coredns_cache_entries", help, &self.of(shelf))
            });
            gauge.set(i64::try_from(contents.len(shelf)).unwrap_or(i64::MAX));
        }
    }
}

const fn name(shelf: Shelf) -> &'static str {
    match shelf {
        Shelf::Success => "success",
        Shelf::Denial => "denial",
    }
}
