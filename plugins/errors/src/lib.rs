//! *errors*: prints errors that the chain left, one by one or counted by pattern.
mod config;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use corten_plugin::corefile::go_duration;
use corten_plugin::{
    Directive, Exchange, Flow, Interest, Plugin, Setup, SetupError, Stop, async_trait,
};
use regex::Regex;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "errors",
    setup,
    readme: include_str!("../README.md"),
};

/// How loud a pattern's lines are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Debug,
    Info,
    Warning,
    Error,
}

impl Level {
    fn log(self, text: &str) {
        match self {
            Self::Debug => tracing::debug!(target: "plugin/errors", "{text}"),
            Self::Info => tracing::info!(target: "plugin/errors", "{text}"),
            Self::Warning => tracing::warn!(target: "plugin/errors", "{text}"),
            Self::Error => tracing::error!(target: "plugin/errors", "{text}"),
        }
    }
}

/// Errors that are counted and told once a period.
struct Pattern {
    regex: Regex,
    period: Duration,
    level: Level,
    show_first: bool,
    /// Errors since the last summary.
    count: AtomicU32,
}

struct Errors {
    patterns: Vec<Arc<Pattern>>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let config = config::read(&setup.only_occurrence()?)?;
    setup.options.stacktrace |= config.stacktrace;
    setup.push(Errors {
        patterns: config.patterns.into_iter().map(Arc::new).collect(),
    });
    Ok(())
}

impl Pattern {
    /// Counts an error; the first of a period starts the clock.
    fn count(self: &Arc<Self>, line: &str) {
        if self.count.fetch_add(1, Relaxed) > 0 {
            return;
        }
        if self.show_first {
            self.level.log(line);
        }
        let pattern = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(pattern.period).await;
            pattern.tell();
        });
    }

    /// Prints the summary and begins to count anew.
    fn tell(&self) {
        let count = self.count.swap(0, Relaxed);
        if count > u32::from(self.show_first) {
            let (regex, period) = (&self.regex, go_duration(self.period));
            self.level.log(&format!(
                "{count} errors like '{regex}' occurred in last {period}"
            ));
        }
    }
}

#[async_trait]
impl Plugin for Errors {
    fn name(&self) -> &'static str {
        "errors"
    }

    fn interest(&self) -> Interest {
        Interest::Response
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        let Some(failure) = ex.failure() else {
            return Flow::Respond;
        };
        let (text, question) = (failure.to_string(), &ex.query.question);
        let line = format!(
            "{} {} {}: {text}",
            ex.reply.rcode.0, question.name, question.rtype
        );
        match self
            .patterns
            .iter()
            .find(|pattern| pattern.regex.is_match(&text))
        {
            Some(pattern) => pattern.count(&line),
            None => Level::Error.log(&line),
        }
        Flow::Respond
    }

    async fn stop(&self, _: Stop) {
        self.patterns.iter().for_each(|pattern| pattern.tell());
    }
}
