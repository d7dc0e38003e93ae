//! *trace*: spans for a tracing collector.
mod config;
mod datadog;
mod http;
mod otlp;
mod report;
mod sample;
mod story;
mod zipkin;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use corten_plugin::{
    BoxError, Context, Directive, Exchange, Flow, Plugin, Setup, SetupError, Span, Stop, Tap,
    Updates, UpstreamExchange, async_trait,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use config::{Config, Protocol};
use report::Desk;
use sample::Sample;
use story::Story;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "trace",
    setup,
    readme: include_str!("../README.md"),
};

struct Trace {
    config: Config,
    /// The one address that the block is bound to.
    address: Option<IpAddr>,
    sample: Sample,
    desk: OnceLock<Desk>,
    task: Mutex<Option<(CancellationToken, JoinHandle<()>)>>,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let config = config::read(&setup.occurrences()?)?;
    for option in &config.idle {
        tracing::warn!(
            target: "plugin/trace",
            "'{option}' has no effect: no query brings a trace of its own along"
        );
    }
    let bound = setup.options.bind.as_ref().and_then(|bound| bound.first());
    let address = bound
        .map(|bound| bound.ip())
        .filter(|ip| !ip.is_unspecified());
    setup.provide::<dyn Tap>(Arc::new(Upstreams));
    setup.push(Trace {
        sample: Sample::new(config.every),
        config,
        address,
        desk: OnceLock::new(),
        task: Mutex::default(),
    });
    Ok(())
}

/// Notes who was asked, below the plugin that asks.
struct Upstreams;

impl Tap for Upstreams {
    fn upstream(&self, ex: &Exchange, exchange: &UpstreamExchange<'_>) {
        let Some(spans) = ex.spans() else {
            return;
        };
        let (now, wall) = (Instant::now(), SystemTime::now());
        let at = |then| {
            let ago = wall.duration_since(then).unwrap_or_default();
            now.checked_sub(ago).unwrap_or(now)
        };
        spans.add(Span {
            name: "connect".into(),
            parent: None,
            started: at(exchange.asked),
            ended: at(exchange.answered),
            tags: vec![("peer.address", exchange.server.to_string())],
        });
    }
}

#[async_trait]
impl Plugin for Trace {
    fn name(&self) -> &'static str {
        "trace"
    }

    fn any_class(&self) -> bool {
        true
    }

    fn updates(&self) -> Updates {
        Updates::See
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        if ex.spans().is_some() || !self.sample.takes() {
            return Flow::Pass;
        }
        // Datadog's headers are others; CoreDNS reads none there, either.
        let client = ex
            .trace
            .filter(|_| self.config.protocol != Protocol::Datadog);
        if client.is_some_and(|client| client.sampled == Some(false)) {
            return Flow::Pass;
        }
        let trace = match client {
            Some(client) => client.trace,
            None => story::trace_id(self.config.protocol),
        };
        if ex.has_metadata() {
            ex.set_metadata("trace/traceid", story::show(self.config.protocol, trace));
        }
        ex.record_spans();
        ex.keep(trace);
        Flow::Watch
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        if let (Some(trace), Some(spans)) = (ex.kept::<u128>(), ex.take_spans())
            && let Some(desk) = self.desk.get()
        {
            desk.put(Story::new(self.config.protocol, trace, spans, ex));
        }
        Flow::Respond
    }

    async fn start(&self, _: &Context) -> Result<(), BoxError> {
        let (desk, reporter) = report::open(&self.config, self.address);
        let end = CancellationToken::new();
        let task = tokio::spawn(reporter.run(end.clone()));
        let _ = self.desk.set(desk);
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = Some((end, task));
        Ok(())
    }

    async fn stop(&self, _: Stop) {
        let task = self
            .task
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some((end, task)) = task {
            end.cancel();
            let _ = task.await;
        }
    }
}
