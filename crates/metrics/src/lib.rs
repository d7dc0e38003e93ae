//! Counters, gauges and histograms with CoreDNS's names, and their exposition as text.
//!
//! The registry belongs to the process, so that numbers survive a reload: whoever asks again for
//! the same name and labels gets the same handle. Counters are split over cells of their own cache
//! lines, one for a worker, so that counting a query never waits for another core; reading adds the
//! cells up.
//!
//! Not here: HTTP. Label values come from the configuration, never from a query.
mod histogram;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub use histogram::Histogram;

/// Cells of a counter; more workers than this share some.
const CELLS: usize = 16;

/// A number that only grows.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<[Cell; CELLS]>);

/// One cache line of a counter; 128 octets, because processors fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell(AtomicU64);

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
        self.0[cell()].0.fetch_add(number, Relaxed);
    }

    /// The sum so far.
    pub fn value(&self) -> u64 {
        self.0.iter().map(|cell| cell.0.load(Relaxed)).sum()
    }
}

impl Gauge {
    /// Sets the value.
    pub fn set(&self, value: i64) {
        self.0.store(value, Relaxed);
    }

    /// The value.
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// The calling thread's cell.
fn cell() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static CELL: usize = NEXT.fetch_add(1, Relaxed) % CELLS);
    CELL.with(|cell| *cell)
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
        let mut text = String::new();
        for (name, family) in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let kind = match family.samples.values().next() {
                Some(Handle::Counter(_)) => "counter",
                Some(Handle::Gauge(_)) => "gauge",
                Some(Handle::Histogram(_)) => "histogram",
                None => continue,
            };
            let _ = writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help);
            for (labels, handle) in &family.samples {
                let labels = between_braces(labels);
                let braces = match labels.is_empty() {
                    true => String::new(),
                    false => format!("{{{labels}}}"),
                };
                let _ = match handle {
                    Handle::Counter(counter) => {
                        writeln!(text, "{name}{braces} {}", counter.value())
                    }
                    Handle::Gauge(gauge) => writeln!(text, "{name}{braces} {}", gauge.value()),
                    Handle::Histogram(histogram) => {
                        histogram.expose(&mut text, name, &labels);
                        Ok(())
                    }
                };
            }
        }
        text
    }
}

fn between_braces(labels: &Labels) -> String {
    let mut text = String::new();
    for (label, value) in labels {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let comma = if text.is_empty() { "" } else { "," };
        let _ = write!(text, "{comma}{label}=\"{value}\"");
    }
    text
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
        registry.gauge("corten_entries", "Entries.", &[]).set(-4);
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
    fn threads_count_into_the_same_number() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..CELLS + 1 {
                scope.spawn(|| (0..1000).for_each(|_| counter.increment()));
            }
        });
        assert_eq!(counter.value(), 1000 * (CELLS as u64 + 1));
    }
}
