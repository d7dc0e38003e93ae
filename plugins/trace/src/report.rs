//! The task that sends spans to the collector, some at a time.
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Protocol};
use crate::http::{Client, Form};
use crate::story::Story;
use crate::{datadog, otlp, zipkin};

/// Time between two lines about spans that were lost.
const TELL: Duration = Duration::from_secs(10);

/// Where stories of queries are put down.
#[derive(Clone, Debug)]
pub(crate) struct Desk {
    stories: mpsc::Sender<Story>,
    waiting: Arc<Waiting>,
    backlog_spans: usize,
}

/// Spans on their way to the collector.
#[derive(Debug, Default)]
struct Waiting {
    spans: AtomicUsize,
    lost: AtomicU64,
}

/// Takes stories from the desk, and sends them.
pub(crate) struct Reporter {
    config: Config,
    address: Option<IpAddr>,
    stories: mpsc::Receiver<Story>,
    waiting: Arc<Waiting>,
    client: Client,
    batch: Vec<Story>,
    batch_spans: usize,
    due: Option<Instant>,
    told: Option<Instant>,
}

/// A desk and the one who works at it.
pub(crate) fn open(config: &Config, address: Option<IpAddr>) -> (Desk, Reporter) {
    let (sender, receiver) = mpsc::channel(config.backlog_spans);
    let waiting = Arc::new(Waiting::default());
    let desk = Desk {
        stories: sender,
        waiting: Arc::clone(&waiting),
        backlog_spans: config.backlog_spans,
    };
    let reporter = Reporter {
        config: config.clone(),
        address,
        stories: receiver,
        waiting,
        client: Client::new(config.endpoint.clone(), form(config.protocol)),
        batch: Vec::new(),
        batch_spans: 0,
        due: None,
        told: None,
    };
    (desk, reporter)
}

fn form(protocol: Protocol) -> Form {
    let mut headers = HeaderMap::new();
    let (method, content_type) = match protocol {
        Protocol::Zipkin => {
            // The collector need not trace this request.
            headers.insert("b3", HeaderValue::from_static("0"));
            (Method::POST, "application/json")
        }
        Protocol::Datadog => {
            headers.insert("datadog-meta-lang", HeaderValue::from_static("rust"));
            (Method::PUT, "application/json")
        }
        Protocol::Otlp => (Method::POST, "application/x-protobuf"),
    };
    Form {
        method,
        content_type,
        headers,
    }
}

impl Desk {
    /// Puts a story down; it is lost when too much waits. Does not wait.
    pub(crate) fn put(&self, story: Story) {
        let spans = story.spans.len();
        let before = self.waiting.spans.fetch_add(spans, Relaxed);
        if before + spans > self.backlog_spans || self.stories.try_send(story).is_err() {
            self.waiting.spans.fetch_sub(spans, Relaxed);
            self.waiting.lost.fetch_add(spans as u64, Relaxed);
        }
    }
}

impl Reporter {
    /// Sends until the end, then what is left.
    pub(crate) async fn run(mut self, end: CancellationToken) {
        while !end.is_cancelled() {
            tokio::select! {
                () = end.cancelled() => (),
                Some(story) = self.stories.recv() => {
                    self.take(story);
                    if self.batch_spans >= self.config.batch_spans {
                        self.send(&end).await;
                    }
                }
                () = sleep_until(self.due.unwrap_or_else(Instant::now)), if self.due.is_some() => self.send(&end).await,
            }
        }
        while let Ok(story) = self.stories.try_recv() {
            self.take(story);
        }
        // The collector gets one chance: the process wants to end.
        let last = CancellationToken::new();
        self.send(&last).await;
    }

    fn take(&mut self, story: Story) {
        self.batch_spans += story.spans.len();
        self.batch.push(story);
        self.due
            .get_or_insert_with(|| Instant::now() + self.config.batch_interval);
    }

    /// Sends the batch. Spans that cannot be sent are lost, as with CoreDNS.
    async fn send(&mut self, end: &CancellationToken) {
        self.due = None;
        if self.batch.is_empty() {
            return;
        }
        let (batch, spans) = (
            std::mem::take(&mut self.batch),
            std::mem::take(&mut self.batch_spans),
        );
        let service = &self.config.service;
        let body = match self.config.protocol {
            Protocol::Zipkin => zipkin::body(&batch, service, self.address),
            Protocol::Datadog => datadog::body(&batch, service, self.config.analytics_rate),
            Protocol::Otlp => otlp::body(&batch, service),
        };
        let sent = tokio::select! {
            sent = self.client.send(body) => sent,
            () = end.cancelled() => Err(std::io::ErrorKind::Interrupted.into()),
        };
        self.waiting.spans.fetch_sub(spans, Relaxed);
        let error = match sent {
            Ok(()) => None,
            Err(error) => {
                self.waiting.lost.fetch_add(spans as u64, Relaxed);
                Some(error)
            }
        };
        if self.told.is_some_and(|told| told.elapsed() < TELL) {
            return;
        }
        let lost = self.waiting.lost.swap(0, Relaxed);
        if lost > 0 {
            self.told = Some(Instant::now());
            let why = error.map_or_else(
                || "too many at a time".to_owned(),
                |error| error.to_string(),
            );
            tracing::warn!(target: "plugin/trace", "{lost} spans did not reach {}: {why}", self.config.endpoint);
        }
    }
}
