//! Counters, gauges and histograms with CoreDNS's names, and their exposition as text.
//!
//! The registry belongs to the process, so that numbers survive a reload: whoever asks again for
//! the same name and labels gets the same handle. Asking takes a lock and compares texts; handles are
//! asked for once and kept.
//!
//! Counting takes no lock and waits for nobody: a number is split over cells on cache lines of their
//! own, one for each of the first threads that count, so that two cores never write the same line.
//! Reading adds the cells up; it may miss what is being counted at that moment, never what was counted
//! before.
//!
//! | module | what it is |
//! |---|---|
//! | [`cells`] | which cell a thread counts in |
//! | [`histogram`] | distributions |
//! | [`page`] | the text formats |
//!
//! Not here: HTTP. Label values come from the configuration, never from a query: every set of labels
//! costs memory as long as the process lives.
mod cells;
mod histogram;
mod page;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use cells::{Line, Own};
pub use histogram::Histogram;
pub use page::{Format, Kind, Page, labels};

/// A number that only grows.
#[derive(Clone, Debug)]
pub struct Counter(Arc<[Line]>);

/// A number that goes up and down.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Arc<AtomicI64>);

/// Every metric of the process.
#[derive(Debug, Default)]
pub struct Registry(Mutex<BTreeMap<&'static str, Family>>);

#[derive(Debug)]
struct Family {
    help: &'static str,
    samples: BTreeMap<Labels, Handle>,
}

type Labels = Vec<(&'static str, String)>;

#[derive(Clone, Debug)]
enum Handle {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `number`.
    pub fn add(&self, number: u64) {
        let own = Own::get();
        own.add(&self.0[own.index()].0[0], number);
    }

    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.0.iter().map(|line| line.0[0].load(Relaxed)).sum()
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self(Line::zeros(cells::count()).into())
    }
}

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// Adds to the value, or takes away.
    pub fn add(&self, number: i64) {
        self.0.fetch_add(number, Relaxed);
    }

    /// The value.
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// The process's registry.
pub fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(Registry::default)
}

impl Registry {
    /// The counter with this name and these labels.
    ///
    /// # Panics
    /// When the name belongs to another kind: a mistake in the program.
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        match self.handle(name, help, labels, || Handle::Counter(Counter::default())) {
            Handle::Counter(counter) => counter,
            _ => panic!("{name} is no counter"),
        }
    }

    /// The gauge with this name and these labels.
    ///
    /// # Panics
    /// When the name belongs to another kind: a mistake in the program.
    pub fn gauge(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Gauge {
        match self.handle(name, help, labels, || Handle::Gauge(Gauge::default())) {
            Handle::Gauge(gauge) => gauge,
            _ => panic!("{name} is no gauge"),
        }
    }

    /// The histogram with this name and these labels; the bounds of its buckets rise.
    ///
    /// # Panics
    /// When the name belongs to another kind: a mistake in the program.
    pub fn histogram(
        &self,
        name: &'static str,
        help: &'static str,
        bounds: &'static [f64],
        labels: &[(&'static str, &str)],
    ) -> Histogram {
        let make = || Handle::Histogram(Histogram::new(bounds));
        match self.handle(name, help, labels, make) {
            Handle::Histogram(histogram) => histogram,
            _ => panic!("{name} is no histogram"),
        }
    }

    fn handle(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
        make: impl FnOnce() -> Handle,
    ) -> Handle {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let family = families.entry(name).or_insert_with(|| Family {
            help,
            samples: BTreeMap::new(),
        });
        let labels = labels
            .iter()
            .map(|(label, value)| (*label, (*value).to_owned()))
            .collect();
        family.samples.entry(labels).or_insert_with(make).clone()
    }

    /// Forgets one sample, such as that of a file which is no longer served.
    pub fn remove(&self, name: &'static str, labels: &[(&'static str, &str)]) {
        let mut families = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let labels: Labels = labels
            .iter()
            .map(|(label, value)| (*label, (*value).to_owned()))
            .collect();
        if let Some(family) = families.get_mut(name) {
            family.samples.remove(&labels);
        }
    }

    /// Everything in the Prometheus text format, version 0.0.4.
    pub fn expose(&self) -> String {
        let mut page = Page::new(Format::Text);
        self.write(&mut page);
        page.finish()
    }

    /// Writes everything, in the order of names and labels.
    pub fn write(&self, page: &mut Page) {
        for (name, family) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let kind = match family.samples.values().next() {
                Some(Handle::Counter(_)) => Kind::Counter,
                Some(Handle::Gauge(_)) => Kind::Gauge,
                Some(Handle::Histogram(_)) => Kind::Histogram,
                None => continue,
            };
            page.family(name, family.help, kind);
            for (labels, handle) in &family.samples {
                let labels =
                    page::labels(labels.iter().map(|(label, value)| (*label, value.as_str())));
                match handle {
                    Handle::Counter(counter) => page.counter(name, &labels, counter.value()),
                    Handle::Gauge(gauge) => page.sample(name, &labels, gauge.value() as f64),
                    Handle::Histogram(histogram) => page.histogram(name, &labels, histogram),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_and_labels_are_the_same_number() {
        let registry = Registry::default();
        registry
            .counter("corten_tests_total", "Tests.", &[("kind", "unit")])
            .add(2);
        registry
            .counter("corten_tests_total", "Tests.", &[("kind", "unit")])
            .increment();
        registry
            .counter("corten_tests_total", "Tests.", &[("kind", "a\"b\\")])
            .increment();
        let entries = registry.gauge("corten_entries", "Entries.", &[]);
        entries.set(-5);
        entries.add(1);
        assert_eq!(
            registry.expose(),
            "# HELP corten_entries Entries.\n# TYPE corten_entries gauge\ncorten_entries -4\n\
             # HELP corten_tests_total Tests.\n# TYPE corten_tests_total counter\n\
             corten_tests_total{kind=\"a\\\"b\\\\\"} 1\ncorten_tests_total{kind=\"unit\"} 3\n"
        );
        registry.remove("corten_entries", &[]);
        assert!(!registry.expose().contains("entries"));
    }

    #[test]
    fn values_are_counted_below_their_bounds() {
        let registry = Registry::default();
        let sizes = registry.histogram("corten_sizes", "Sizes.", &[1.0, 2.5], &[("kind", "a")]);
        for size in [0.5, 1.0, 2.0, 9.0] {
            sizes.observe(size);
        }
        assert_eq!(sizes.total(), (4, 12.5));
        assert_eq!(
            registry.expose(),
            "# HELP corten_sizes Sizes.\n# TYPE corten_sizes histogram\n\
             corten_sizes_bucket{kind=\"a\",le=\"1\"} 2\n\
             corten_sizes_bucket{kind=\"a\",le=\"2.5\"} 3\n\
             corten_sizes_bucket{kind=\"a\",le=\"+Inf\"} 4\n\
             corten_sizes_sum{kind=\"a\"} 12.5\ncorten_sizes_count{kind=\"a\"} 4\n"
        );
    }

    #[test]
    fn open_metrics_differs_where_its_standard_says_so() {
        let registry = Registry::default();
        registry
            .counter("corten_a_total", "Say \"A\\\".\nB", &[])
            .increment();
        registry.counter("corten_b", "B.", &[]).increment();
        registry
            .histogram("corten_c", "C.", &[1.0, 2.5], &[])
            .observe(2.0);
        let mut page = Page::new(Format::OpenMetrics);
        registry.write(&mut page);
        assert_eq!(
            page.finish(),
            "# HELP corten_a Say \\\"A\\\\\\\".\\nB\n# TYPE corten_a counter\ncorten_a_total 1\n\
             # HELP corten_b B.\n# TYPE corten_b counter\ncorten_b_total 1\n\
             # HELP corten_c C.\n# TYPE corten_c histogram\ncorten_c_bucket{le=\"1.0\"} 0\n\
             corten_c_bucket{le=\"2.5\"} 1\ncorten_c_bucket{le=\"+Inf\"} 1\n\
             corten_c_sum 2\ncorten_c_count 1\n# EOF\n"
        );
    }

    #[test]
    fn more_threads_than_cells_count_into_the_same_number() {
        let counter = Counter::default();
        let registry = Registry::default();
        let histogram = registry.histogram("corten_times", "Times.", &[1.0], &[]);
        let threads = cells::count() + 8;
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.increment();
                        histogram.observe(0.5);
                    }
                });
            }
        });
        assert_eq!(counter.value(), 1000 * threads as u64);
        assert_eq!(
            histogram.total(),
            (1000 * threads as u64, 500.0 * threads as f64)
        );
    }
}
