//! The Datadog agent's JSON, version 0.3 of its traces' API.
use std::time::UNIX_EPOCH;

use serde_json::{Map, Value, json};

use crate::story::{Story, Told};

/// The body of a request.
pub(crate) fn body(stories: &[Story], service: &str, analytics_rate: f64) -> Vec<u8> {
    let traces = stories.iter().map(|story| {
        let spans = story.spans.iter();
        Value::from_iter(spans.map(|told| span(story.trace as u64, told, service, analytics_rate)))
    });
    Value::from_iter(traces).to_string().into_bytes()
}

fn span(trace: u64, told: &Told, service: &str, analytics_rate: f64) -> Value {
    let tags = told
        .tags
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_str().into()));
    let mut meta: Map<String, Value> = tags.collect();
    meta.insert("dns".to_owned(), "true".into());
    if let Some(error) = &told.error {
        meta.insert("error.message".to_owned(), error.as_str().into());
        meta.insert("error.type".to_owned(), "dns_error".into());
    }
    let started = told.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut span = json!({
        "trace_id": trace,
        "span_id": told.id,
        "parent_id": told.parent.unwrap_or(0),
        "name": told.name,
        "resource": told.name,
        "service": service,
        "type": "dns",
        "start": u64::try_from(started.as_nanos()).unwrap_or(u64::MAX),
        "duration": u64::try_from(told.lasted.as_nanos()).unwrap_or(u64::MAX),
        "error": i32::from(told.error.is_some()),
        "meta": meta,
    });
    if told.parent.is_none() {
        span["metrics"] = json!({"_sampling_priority_v1": 1, "_dd1.sr.eausr": analytics_rate});
    }
    span
}
