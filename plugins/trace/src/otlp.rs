//! OpenTelemetry's protobuf (opentelemetry-proto, `ExportTraceServiceRequest`), as far as spans
//! need it.
use std::time::{SystemTime, UNIX_EPOCH};

use prost::Message as _;

use crate::story::{Story, Told};

/// `Span.SpanKind`.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
/// `Status.StatusCode.STATUS_CODE_ERROR`.
const ERROR: i32 = 2;

#[derive(Clone, PartialEq, prost::Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

/// Only texts.
#[derive(Clone, PartialEq, prost::Message)]
struct AnyValue {
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}

/// The body of a request.
pub(crate) fn body(stories: &[Story], service: &str) -> Vec<u8> {
    let all = stories.iter();
    let spans = all.flat_map(|story| story.spans.iter().map(|told| span(story.trace, told)));
    let scope = Scope {
        name: "corten".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let request = Request {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", service)],
            }),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope),
                spans: spans.collect(),
            }],
        }],
    };
    request.encode_to_vec()
}

fn span(trace: u128, told: &Told) -> Span {
    let id = |id: u64| id.to_be_bytes().to_vec();
    let is_connection = told.tags.iter().any(|(key, _)| *key == "peer.address");
    let tags = told.tags.iter();
    Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: id(told.id),
        parent_span_id: told.parent.map(id).unwrap_or_default(),
        name: told.name.clone().into_owned(),
        kind: match told.is_query() {
            true => SERVER,
            false if is_connection => CLIENT,
            false => INTERNAL,
        },
        start_time_unix_nano: nanos(told.started),
        end_time_unix_nano: nanos(told.started + told.lasted),
        attributes: tags.map(|(key, value)| attribute(key, value)).collect(),
        status: told.error.as_ref().map(|error| Status {
            message: error.clone(),
            code: ERROR,
        }),
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            string_value: Some(value.to_owned()),
        }),
    }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn spans_become_messages() {
        let started = UNIX_EPOCH + Duration::from_secs(1);
        let told = |id, parent, name: &'static str, tags, error| Told {
            id,
            parent,
            name: name.into(),
            started,
            lasted: Duration::from_nanos(5),
            tags,
            error,
        };
        let story = Story {
            trace: 7,
            spans: vec![
                told(
                    1,
                    None,
                    "servedns",
                    vec![("coredns.io/name", "a.".into())],
                    Some("bad".into()),
                ),
                told(
                    2,
                    Some(1),
                    "connect",
                    vec![("peer.address", "[::1]:53".into())],
                    None,
                ),
                told(3, Some(1), "log", vec![], None),
            ],
        };
        let request = Request::decode(&body(&[story], "names")[..]).unwrap();
        let resource = &request.resource_spans[0];
        assert_eq!(
            resource.resource.as_ref().unwrap().attributes,
            [attribute("service.name", "names")]
        );
        let spans = &resource.scope_spans[0].spans;
        let kinds: Vec<_> = spans
            .iter()
            .map(|span| (span.name.as_str(), span.kind))
            .collect();
        assert_eq!(
            kinds,
            [("servedns", SERVER), ("connect", CLIENT), ("log", INTERNAL)]
        );
        let root = &spans[0];
        assert_eq!(
            (root.trace_id.len(), root.trace_id[15], &root.span_id[..]),
            (16, 7, &[0, 0, 0, 0, 0, 0, 0, 1][..])
        );
        assert_eq!(
            (root.start_time_unix_nano, root.end_time_unix_nano),
            (1_000_000_000, 1_000_000_005)
        );
        assert_eq!(root.status.as_ref().unwrap().code, ERROR);
        assert_eq!(root.attributes, [attribute("coredns.io/name", "a.")]);
        assert!(root.parent_span_id.is_empty());
        assert_eq!(
            (&spans[2].parent_span_id, &spans[2].status),
            (&root.span_id, &None)
        );
    }
}
