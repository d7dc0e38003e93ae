//! The answer to a scrape: who asks, in which format, compressed or not.
use std::io::Write;
use std::sync::Arc;

use corten_plugin::endpoint::text;
use corten_plugin::http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, VARY, WWW_AUTHENTICATE,
};
use corten_plugin::http::{Request, Response};
use corten_plugin::metrics::{Format, Page, registry};
use corten_plugin::{Endpoint, async_trait};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::own;
use crate::web::Web;

/// The endpoint `/metrics`.
pub(crate) struct Scrapes {
    web: Option<Arc<Web>>,
}

impl Scrapes {
    pub(crate) fn new(web: Option<Arc<Web>>) -> Self {
        Self { web }
    }
}

#[async_trait]
impl Endpoint for Scrapes {
    async fn respond(&self, request: &Request<()>) -> Response<Vec<u8>> {
        let Some(web) = &self.web else {
            return page(request.headers());
        };
        let mut response = match web.admits(request.headers().get(AUTHORIZATION)).await {
            true => page(request.headers()),
            false => {
                let mut refusal = text(401, "Unauthorized\n");
                let basic = HeaderValue::from_static("Basic");
                refusal.headers_mut().insert(WWW_AUTHENTICATE, basic);
                refusal
            }
        };
        response.headers_mut().extend(web.headers());
        response
    }
}

fn page(headers: &HeaderMap) -> Response<Vec<u8>> {
    let format = format(&values(headers, ACCEPT));
    let mut page = Page::new(format);
    registry().write(&mut page);
    own::write(&mut page);
    let mut response = Response::new(page.finish().into_bytes());
    let kind = HeaderValue::from_static(format.content_type());
    response.headers_mut().insert(CONTENT_TYPE, kind);
    let vary = HeaderValue::from_static("Accept, Accept-Encoding");
    response.headers_mut().insert(VARY, vary);
    if takes_gzip(&values(headers, ACCEPT_ENCODING)) {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        // Writing to memory does not fail; if it did, the page goes out as it is.
        if let Ok(body) = gzip.write_all(response.body()).and_then(|()| gzip.finish()) {
            *response.body_mut() = body;
            let gzip = HeaderValue::from_static("gzip");
            response.headers_mut().insert(CONTENT_ENCODING, gzip);
        }
    }
    response
}

/// A header's elements, from all lines that have it.
fn values(headers: &HeaderMap, name: HeaderName) -> String {
    let lines: Vec<_> = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .collect();
    lines.join(",")
}

/// An element of `Accept` or `Accept-Encoding`: its name, lower-cased, its parameters, its weight
/// (RFC 9110 section 12.4.2).
fn elements(header: &str) -> impl Iterator<Item = (String, Vec<(&str, &str)>, f32)> {
    header.split(',').map(|element| {
        let mut parts = element.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let weight = parameters
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case("q"))
            .map_or(1.0, |(_, value)| value.parse().unwrap_or(0.0));
        (name, parameters, weight)
    })
}

/// OpenMetrics for those who prefer it to text, text for everybody else.
fn format(accept: &str) -> Format {
    let (mut open_metrics, mut plain) = (0f32, 0f32);
    for (name, parameters, weight) in elements(accept) {
        let version = parameters.iter().find(|(key, _)| *key == "version");
        match (name.as_str(), version) {
            ("application/openmetrics-text", None | Some((_, "1.0.0" | "0.0.1"))) => {
                open_metrics = open_metrics.max(weight);
            }
            ("text/plain", None | Some((_, "0.0.4"))) | ("text/*" | "*/*", _) => {
                plain = plain.max(weight);
            }
            _ => (),
        }
    }
    match open_metrics > 0.0 && open_metrics >= plain {
        true => Format::OpenMetrics,
        false => Format::Text,
    }
}

fn takes_gzip(accept: &str) -> bool {
    elements(accept).any(|(name, _, weight)| name == "gzip" && weight > 0.0)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;

    use super::*;

    #[test]
    fn the_format_is_what_the_client_prefers() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html, */*", Format::Text),
            ("text/plain", Format::Text),
            (prometheus, Format::OpenMetrics),
            ("Application/OpenMetrics-Text", Format::OpenMetrics),
            (
                "application/openmetrics-text; version=2.0.0, */*;q=0.1",
                Format::Text,
            ),
            (
                "application/openmetrics-text;q=0.1,text/plain;q=0.5",
                Format::Text,
            ),
            ("application/openmetrics-text;q=0", Format::Text),
        ] {
            assert_eq!(format(accept), expected, "{accept}");
        }
        for (accept, expected) in [
            ("", false),
            ("gzip", true),
            ("deflate, GZip;q=0.5", true),
            ("gzip;q=0", false),
            ("identity", false),
        ] {
            assert_eq!(takes_gzip(accept), expected, "{accept}");
        }
    }

    #[tokio::test]
    async fn pages_are_complete_and_compressed_on_demand() {
        let ask = |accept: &str, encoding: &str| {
            let mut request = Request::new(());
            let headers = request.headers_mut();
            headers.insert(ACCEPT, accept.parse().unwrap());
            headers.insert(ACCEPT_ENCODING, encoding.parse().unwrap());
            async move { Scrapes::new(None).respond(&request).await }
        };
        let plain = ask("*/*", "identity").await;
        let body = String::from_utf8(plain.body().clone()).unwrap();
        assert!(body.contains("# TYPE process_cpu_seconds_total counter\n"));
        assert!(plain.headers().get(CONTENT_ENCODING).is_none());
        let packed = ask("application/openmetrics-text", "gzip").await;
        assert_eq!(packed.headers()[CONTENT_ENCODING], "gzip");
        assert_eq!(
            packed.headers()[CONTENT_TYPE],
            Format::OpenMetrics.content_type()
        );
        let mut body = String::new();
        GzDecoder::new(&packed.body()[..])
            .read_to_string(&mut body)
            .unwrap();
        assert!(
            body.contains("# TYPE process_cpu_seconds counter\n"),
            "{body}"
        );
        assert!(body.ends_with("# EOF\n"));
    }
}
