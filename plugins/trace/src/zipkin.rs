//! Zipkin's JSON, version 2 (<https://zipkin.io/zipkin-api/>).
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

use crate::config::Protocol;
use crate::story::{Story, Told, show};

/// The body of a request. `address`: where the service is, if one address is all it is bound to.
pub(crate) fn body(stories: &[Story], service: &str, address: Option<IpAddr>) -> Vec<u8> {
    let mut endpoint = json!({"serviceName": service});
    match address {
        Some(IpAddr::V4(v4)) => endpoint["ipv4"] = v4.to_string().into(),
        Some(IpAddr::V6(v6)) => endpoint["ipv6"] = v6.to_string().into(),
        None => (),
    }
    let spans = stories.iter().flat_map(|story| {
        let trace = show(Protocol::Zipkin, story.trace);
        let endpoint = &endpoint;
        story
            .spans
            .iter()
            .map(move |told| span(&trace, told, endpoint))
    });
    Value::from_iter(spans).to_string().into_bytes()
}

fn span(trace: &str, told: &Told, endpoint: &Value) -> Value {
    let tags = told
        .tags
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.as_str().into()));
    let mut tags: Map<String, Value> = tags.collect();
    let mut span = json!({
        "traceId": trace,
        "id": id(told.id),
        "name": told.name,
        "timestamp": micros(told.started.duration_since(UNIX_EPOCH).unwrap_or_default()),
        // Less than a microsecond is one: 0 would mean that it is not known.
        "duration": micros(told.lasted).max(1),
        "localEndpoint": endpoint,
    });
    if let Some(parent) = told.parent {
        span["parentId"] = id(parent).into();
    }
    if told.is_query() {
        span["kind"] = "SERVER".into();
    }
    if let Some(error) = &told.error {
        tags.insert("error".to_owned(), "true".into());
        let when: SystemTime = told.started + told.lasted;
        let when = micros(when.duration_since(UNIX_EPOCH).unwrap_or_default());
        span["annotations"] = json!([{"timestamp": when, "value": error}]);
    }
    if !tags.is_empty() {
        span["tags"] = tags.into();
    }
    span
}

fn id(number: u64) -> String {
    format!("{number:016x}")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
