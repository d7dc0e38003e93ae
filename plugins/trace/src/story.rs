//! The spans of one query as a collector gets them.
use std::borrow::Cow;
use std::time::{Duration, Instant, SystemTime};

use corten_plugin::{Exchange, Spans};

use crate::config::Protocol;

/// A query's spans; the first is the query's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Story {
    pub(crate) trace: u128,
    pub(crate) spans: Vec<Told>,
}

/// One span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: u64,
    pub(crate) parent: Option<u64>,
    pub(crate) name: Cow<'static, str>,
    pub(crate) started: SystemTime,
    pub(crate) lasted: Duration,
    pub(crate) tags: Vec<(&'static str, String)>,
    /// What went wrong.
    pub(crate) error: Option<String>,
}

/// What CoreDNS calls a query's own span.
const QUERY: &str = "servedns";

/// An id that no other trace has; collectors other than OpenTelemetry's get 64 bits.
pub(crate) fn trace_id(protocol: Protocol) -> u128 {
    match protocol {
        Protocol::Otlp => rand::random::<u128>().max(1),
        Protocol::Zipkin | Protocol::Datadog => u128::from(some_id()),
    }
}

/// The id as metadata and collectors show it.
pub(crate) fn show(protocol: Protocol, trace: u128) -> String {
    match protocol {
        Protocol::Otlp => format!("{trace:032x}"),
        Protocol::Zipkin => format!("{trace:016x}"),
        Protocol::Datadog => trace.to_string(),
    }
}

/// An id of 63 bits, because some tools keep them in signed numbers; never 0.
fn some_id() -> u64 {
    (rand::random::<u64>() >> 1).max(1)
}

impl Told {
    /// Whether it is the query's own span.
    pub(crate) fn is_query(&self) -> bool {
        self.name == QUERY
    }
}

impl Story {
    /// Of an exchange that is over.
    pub(crate) fn new(protocol: Protocol, trace: u128, spans: Spans, ex: &Exchange) -> Self {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let at = |then: Instant| {
            let ago = now.saturating_duration_since(then);
            wall.checked_sub(ago).unwrap_or(wall)
        };
        // A client's trace goes on with this query.
        let client = ex.trace.filter(|_| protocol != Protocol::Datadog);
        let root = match protocol {
            Protocol::Otlp => some_id(),
            Protocol::Zipkin if client.is_some() => some_id(),
            // As CoreDNS's libraries do it.
            Protocol::Zipkin | Protocol::Datadog => trace as u64,
        };
        let own = Told {
            id: root,
            parent: client.map(|client| client.span),
            name: Cow::Borrowed(QUERY),
            started: at(spans.started),
            lasted: now.saturating_duration_since(spans.started),
            tags: tags(protocol, ex),
            error: ex.failure().map(ToString::to_string),
        };
        let list = spans.into_list();
        let ids: Vec<_> = list.iter().map(|_| some_id()).collect();
        let below = list.into_iter().zip(&ids).map(|(span, id)| Told {
            id: *id,
            parent: Some(
                span.parent
                    .and_then(|index| ids.get(index).copied())
                    .unwrap_or(root),
            ),
            name: span.name,
            started: at(span.started),
            lasted: span.ended.saturating_duration_since(span.started),
            tags: span.tags,
            error: None,
        });
        Self {
            trace,
            spans: std::iter::once(own).chain(below).collect(),
        }
    }
}

/// CoreDNS's tags.
fn tags(protocol: Protocol, ex: &Exchange) -> Vec<(&'static str, String)> {
    let [name, rtype, proto, remote, rcode] = match protocol {
        Protocol::Zipkin | Protocol::Otlp => [
            "coredns.io/name",
            "coredns.io/type",
            "coredns.io/proto",
            "coredns.io/remote",
            "coredns.io/rcode",
        ],
        Protocol::Datadog => [
            "coredns.io@name",
            "coredns.io@type",
            "coredns.io@proto",
            "coredns.io@remote",
            "coredns.io@rcode",
        ],
    };
    let question = &ex.query.question;
    vec![
        (name, question.name.to_string()),
        (rtype, question.rtype.to_string()),
        (proto, ex.transport.network().to_owned()),
        (remote, ex.client.ip().to_canonical().to_string()),
        (rcode, ex.reply.rcode.to_string()),
    ]
}
