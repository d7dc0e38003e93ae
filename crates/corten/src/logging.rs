//! Log lines on standard output, in CoreDNS's form: `[INFO] plugin/NAME: text`, no time.
//!
//! Lines leave the workers through a bounded queue that one thread writes out; when it is full
//! lines are lost, never queries.
use std::fmt::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use corten_plugin::Process;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as layer};

/// Lines that may wait for the writer.
const QUEUE_LINES_MAX: usize = 32_768;

/// Time between two looks whether lines were lost.
const LOST_INTERVAL: Duration = Duration::from_secs(10);

/// Installs the log for the whole process; the guard writes out what waits when it is dropped.
pub(crate) fn install(process: &Arc<Process>) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUE_LINES_MAX)
        .lossy(true)
        .thread_name("corten-log")
        .finish(std::io::stdout());
    tell_lost(writer.error_counter());
    let process = Arc::clone(process);
    let filter = FilterFn::new(move |metadata| wanted(metadata, process.debug()))
        .with_max_level_hint(LevelFilter::DEBUG);
    let layer = layer::layer()
        .with_writer(writer)
        .event_format(Lines)
        .with_filter(filter);
    // Only a program that has a log already gets an error here; then that one is used.
    let _ = tracing_subscriber::registry().with(layer).try_init();
    guard
}

/// Says how many lines were lost, while some are.
fn tell_lost(lost: ErrorCounter) {
    let watch = move || {
        let mut told = 0;
        loop {
            std::thread::sleep(LOST_INTERVAL);
            let all = lost.dropped_lines();
            if all > told {
                let new = all - told;
                tracing::warn!("{new} log lines were lost: whoever reads them is too slow");
                told = all;
            }
        }
    };
    // A system without a thread to spare has worse trouble than this.
    let _ = std::thread::Builder::new()
        .name("corten-log-lost".into())
        .spawn(watch);
}

/// Ours at INFO, or DEBUG when that is switched on; of libraries nothing.
fn wanted(metadata: &Metadata<'_>, debug: bool) -> bool {
    let target = metadata.target();
    let ours = target.starts_with("plugin/") || target.starts_with("corten") || target == "query";
    ours && (*metadata.level() <= Level::INFO || debug && *metadata.level() == Level::DEBUG)
}

struct Lines;

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "[ERROR] ",
            Level::WARN => "[WARNING] ",
            Level::INFO => "[INFO] ",
            _ => "[DEBUG] ",
        };
        writer.write_str(level)?;
        if event.metadata().target().starts_with("plugin/") {
            write!(writer, "{}: ", event.metadata().target())?;
        }
        let mut text = Text {
            message: String::new(),
            fields: String::new(),
        };
        event.record(&mut text);
        writeln!(writer, "{}{}", text.message, text.fields)
    }
}

/// An event's message with its fields behind it.
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
