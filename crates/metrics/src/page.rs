//! Metrics as text: what Prometheus reads.
use std::fmt::Write;

use crate::Histogram;

/// A text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0: names of counters' families lack `_total`, numbers of bounds have a point,
    /// and the page ends with a mark.
    OpenMetrics,
}

impl Format {
    /// Value of the header `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A page of metrics that is being written.
#[derive(Debug)]
pub struct Page {
    format: Format,
    text: String,
}

impl Page {
    /// An empty page.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            text: String::with_capacity(16 * 1024),
        }
    }

    /// Begins a metric; its samples follow, with the same name.
    pub fn family(&mut self, name: &str, help: &str, kind: Kind) {
        let mut help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let mut family = name;
        if self.format == Format::OpenMetrics {
            help = help.replace('"', "\\\"");
            if kind == Kind::Counter {
                family = name.strip_suffix("_total").unwrap_or(name);
            }
        }
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let _ = writeln!(self.text, "# HELP {family} {help}\n# TYPE {family} {kind}");
    }

    /// A sample; `labels` is what stands between the braces, see [`labels`].
    pub fn sample(&mut self, name: &str, labels: &str, value: f64) {
        self.line(name, labels, &number(value));
    }

    /// A sample of a whole number, however large.
    pub fn whole(&mut self, name: &str, labels: &str, value: u64) {
        self.line(name, labels, &value.to_string());
    }

    /// A counter's sample.
    pub(crate) fn counter(&mut self, name: &str, labels: &str, value: u64) {
        if self.format == Format::OpenMetrics && !name.ends_with("_total") {
            return self.whole(&format!("{name}_total"), labels, value);
        }
        self.whole(name, labels, value);
    }

    /// The samples of a histogram.
    pub(crate) fn histogram(&mut self, name: &str, labels: &str, histogram: &Histogram) {
        let comma = if labels.is_empty() { "" } else { "," };
        let bucket = format!("{name}_bucket");
        let mut count = 0;
        for (bound, below) in histogram.cumulative() {
            let mut bound = number(bound);
            if self.format == Format::OpenMetrics && !bound.contains(['.', 'e', 'I']) {
                bound.push_str(".0");
            }
            self.whole(&bucket, &format!("{labels}{comma}le=\"{bound}\""), below);
            count = below;
        }
        self.sample(&format!("{name}_sum"), labels, histogram.sum());
        self.whole(&format!("{name}_count"), labels, count);
    }

    fn line(&mut self, name: &str, labels: &str, value: &str) {
        let _ = match labels.is_empty() {
            true => writeln!(self.text, "{name} {value}"),
            false => writeln!(self.text, "{name}{{{labels}}} {value}"),
        };
    }

    /// The whole page.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// Labels as they stand between the braces.
pub fn labels<'a>(labels: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
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

/// A number as Go's client library writes it: `0.00025`, `1e+06`, `+Inf`.
fn number(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    match exponent {
        // Go's rule for the shortest form.
        -4..=5 => format!("{value}"),
        _ => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_look_as_in_go() {
        for (value, text) in [
            (0.0, "0"),
            (0.00025, "0.00025"),
            (0.0000125, "1.25e-05"),
            (8.192, "8.192"),
            (64000.0, "64000"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
            (1e6, "1e+06"),
            (34_893_824.0, "3.4893824e+07"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
