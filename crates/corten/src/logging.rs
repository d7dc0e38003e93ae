//! Log lines on standard output, in CoreDNS's form: `[INFO] plugin/NAME: text`, no time.
//!
//! Lines are put down in buffers of the threads that make them, and one thread writes them out,
//! many with one call. When a buffer is full lines are lost, never queries, and how many is told.
//! Ordinary lines come through `tracing`, and stand in the order in which they were made, whatever
//! thread made them; those that *log* makes for each query are put down as they are.
use std::fmt::{self, Write};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use corten_plugin::{Process, Spool, SpoolLimit};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterFn, LevelFilter};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt as layer};

/// What may wait for the writer, for each thread.
const WAITING: SpoolLimit = SpoolLimit {
    entries: 1 << 17,
    octets: 8 << 20,
};

/// How long the writer lets lines gather: the price of a call is shared by those that come
/// meanwhile.
const GATHER: Duration = Duration::from_millis(3);

/// Time between two looks whether lines were lost.
const LOST_INTERVAL: Duration = Duration::from_secs(10);

/// Installs the log for the whole process; the guard writes out what waits when it is dropped.
pub(crate) fn install(process: &Arc<Process>) -> LogGuard {
    let writer = Arc::new(OnceLock::<Thread>::new());
    let woken = Arc::clone(&writer);
    let lines = Arc::new(Spool::new(WAITING, move || {
        if let Some(writer) = woken.get() {
            writer.unpark();
        }
    }));
    let guard = LogGuard::start(Arc::clone(&lines), &writer);
    let wanting = Arc::clone(process);
    let filter = FilterFn::new(move |metadata| wanted(metadata, wanting.debug()))
        .with_max_level_hint(LevelFilter::DEBUG);
    let made = Arc::clone(&lines);
    let layer = layer::layer()
        .with_writer(move || OneLine(Arc::clone(&made)))
        .event_format(Lines)
        .with_filter(filter);
    // Only a program that has a log already gets an error here; then that one is used.
    if tracing_subscriber::registry()
        .with(layer)
        .try_init()
        .is_ok()
    {
        process.set_lines(lines);
    }
    guard
}

/// Ends the writer, after it has written what waits.
pub(crate) struct LogGuard {
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl LogGuard {
    fn start(lines: Arc<Spool>, writer: &OnceLock<Thread>) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&ended);
        // A system without a thread to spare has worse trouble than a log that stays empty.
        let thread = std::thread::Builder::new()
            .name("corten-log".into())
            .spawn(move || write_out(&lines, &end))
            .ok();
        if let Some(thread) = &thread {
            let _ = writer.set(thread.thread().clone());
        }
        Self { ended, thread }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

/// Writes lines out until the end.
fn write_out(lines: &Spool, ended: &AtomicBool) {
    let (mut spare, mut looked) = (Vec::new(), Instant::now());
    loop {
        let last = ended.load(Ordering::Acquire);
        lines.drain(&mut spare, |octets, _| {
            // Whoever closed standard output does not want them.
            let _ = write_all(octets);
        });
        if last {
            return;
        }
        if looked.elapsed() >= LOST_INTERVAL {
            looked = Instant::now();
            let lost = lines.take_lost();
            if lost > 0 {
                tracing::warn!("{lost} log lines were lost: whoever reads them is too slow");
            }
        }
        // Lines that came since the look above have left a token, and this does not wait.
        std::thread::park_timeout(LOST_INTERVAL);
        if !ended.load(Ordering::Acquire) {
            std::thread::sleep(GATHER);
        }
    }
}

fn write_all(octets: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(octets)?;
    out.flush()
}

/// Takes one whole line at a time, as the layer below writes them.
struct OneLine(Arc<Spool>);

impl io::Write for OneLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push_in_order(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
