//! What is below `/debug/pprof/`.
use std::io::Write;
use std::time::Duration;

use corten_plugin::endpoint::text;
use corten_plugin::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, HeaderValue};
use corten_plugin::http::{Request, Response};
use corten_plugin::{Endpoint, async_trait};
use flate2::Compression;
use flate2::write::GzEncoder;
use pprof::protos::Message;
use pprof::{ProfilerGuard, ProfilerGuardBuilder};

/// Where everything begins.
pub(crate) const ROOT: &str = "/debug/pprof/";
/// Length of a profile unless the request says otherwise: Go's.
const SECONDS: u64 = 30;
/// Longer ones are cut; the server gives an answer that much time.
const SECONDS_MAX: u64 = 300;
/// Samples a second of CPU time: Go's.
const FREQUENCY: i32 = 100;
/// Libraries in which no sample is taken: unwinding from inside them may wait for a lock that they hold.
const NOT_IN: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// What Go has and a Rust program does not, with what to do instead.
const ABSENT: [(&str, &str); 8] = [
    (
        "allocs",
        "the allocator keeps no samples; process_resident_memory_bytes tells how much there is",
    ),
    ("block", "there is no record of what waits"),
    (
        "goroutine",
        "there are no goroutines; waiting queries are tasks, which have no stacks",
    ),
    (
        "heap",
        "the allocator keeps no samples; process_resident_memory_bytes tells how much there is",
    ),
    ("mutex", "there is no record of what waits"),
    ("symbol", "profiles carry their symbols"),
    (
        "threadcreate",
        "threads are started once, one for each core; corten_threads counts them",
    ),
    (
        "trace",
        "there is no runtime whose events could be traced; see the plugin 'trace' for queries",
    ),
];

const INDEX: &str = "<html>\n<head><title>/debug/pprof/</title></head>\n<body>\n<h1>/debug/pprof/</h1>\n\
    <ul>\n<li><a href=\"profile\">profile</a>: CPU time for 30 seconds, or as many as <code>?seconds=N</code> \
    says, for <code>go tool pprof</code></li>\n<li><a href=\"cmdline\">cmdline</a>: the command line</li>\n\
    </ul>\n</body>\n</html>\n";

/// The endpoint.
pub(crate) struct Pages;

#[async_trait]
impl Endpoint for Pages {
    async fn respond(&self, request: &Request<()>) -> Response<Vec<u8>> {
        match request.uri().path().strip_prefix(ROOT).unwrap_or_default() {
            "" => html(INDEX),
            "cmdline" => text(200, std::env::args().collect::<Vec<_>>().join("\0")),
            "profile" => profile(request.uri().query().unwrap_or_default()).await,
            name => match ABSENT.iter().find(|(absent, _)| *absent == name) {
                Some((_, why)) => text(501, format!("no profile '{name}': {why}\n")),
                None => text(404, "Unknown profile\n"),
            },
        }
    }
}

fn html(page: &str) -> Response<Vec<u8>> {
    let mut response = text(200, page);
    let kind = HeaderValue::from_static("text/html; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// The length that a query string asks for.
fn seconds(query: &str) -> Option<u64> {
    let asked = query
        .split('&')
        .find_map(|part| part.strip_prefix("seconds="));
    match asked.map(str::parse::<u64>) {
        None | Some(Ok(0)) => Some(SECONDS),
        Some(Ok(seconds)) => Some(seconds.min(SECONDS_MAX)),
        Some(Err(_)) => None,
    }
}

/// Samples for a while. When the client goes away, sampling ends.
async fn profile(query: &str) -> Response<Vec<u8>> {
    let Some(seconds) = seconds(query) else {
        return text(400, "seconds is not a number\n");
    };
    // The first start looks up symbols of its own, which takes its time.
    let start = tokio::task::spawn_blocking(|| {
        ProfilerGuardBuilder::default()
            .frequency(FREQUENCY)
            .blocklist(&NOT_IN)
            .build()
    });
    let guard = match start.await {
        Ok(Ok(guard)) => guard,
        Ok(Err(error)) => return no_profile(&error),
        Err(error) => return no_profile(&error),
    };
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let body = match tokio::task::spawn_blocking(move || encode(&guard)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return no_profile(&error),
        Err(error) => return no_profile(&error),
    };
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(
        CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment; filename=\"profile\""),
    );
    response
}

fn no_profile(error: &dyn std::error::Error) -> Response<Vec<u8>> {
    text(500, format!("Could not enable CPU profiling: {error}\n"))
}

/// The profile as `go tool pprof` reads it: compressed protobuf.
fn encode(guard: &ProfilerGuard<'_>) -> Result<Vec<u8>, pprof::Error> {
    let profile = guard.report().build()?.pprof()?;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&profile.encode_to_vec())?;
    Ok(gzip.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use flate2::read::GzDecoder;
    use pprof::protos::Profile;

    use super::*;

    async fn get(path: &str) -> Response<Vec<u8>> {
        let request = Request::builder().uri(path).body(()).unwrap();
        Pages.respond(&request).await
    }

    #[tokio::test]
    async fn pages_say_what_there_is() {
        for (path, status, part) in [
            ("/debug/pprof/", 200, "profile"),
            ("/debug/pprof/heap", 501, "keeps no samples"),
            ("/debug/pprof/goroutine?debug=1", 501, "no goroutines"),
            ("/debug/pprof/nothing", 404, "Unknown profile"),
            ("/debug/pprof/profile?seconds=x", 400, "not a number"),
        ] {
            let response = get(path).await;
            assert_eq!(response.status().as_u16(), status, "{path}");
            let body = String::from_utf8(response.into_body()).unwrap();
            assert!(body.contains(part), "{path}: {body}");
        }
        let command = get("/debug/pprof/cmdline").await.into_body();
        assert!(String::from_utf8(command).unwrap().contains("pprof-"));
        for (query, length) in [
            ("", Some(SECONDS)),
            ("seconds=0", Some(SECONDS)),
            ("debug=1&seconds=5", Some(5)),
            ("seconds=99999", Some(SECONDS_MAX)),
            ("seconds=-1", None),
        ] {
            assert_eq!(seconds(query), length, "{query}");
        }
    }

    #[tokio::test]
    async fn a_profile_has_samples_and_there_is_one_at_a_time() {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let busy = std::thread::spawn(move || {
            let mut number = 1u64;
            while !seen.load(Relaxed) {
                number = number
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
            }
            number
        });
        let path = "/debug/pprof/profile?seconds=2";
        let (one, other) = tokio::join!(get(path), get(path));
        over.store(true, Relaxed);
        let (response, refused) = match one.status().is_success() {
            true => (one, other),
            false => (other, one),
        };
        assert_eq!(refused.status().as_u16(), 500);
        assert_eq!(response.status().as_u16(), 200);
        let mut octets = Vec::new();
        GzDecoder::new(&response.body()[..])
            .read_to_end(&mut octets)
            .unwrap();
        let profile = Profile::decode(&octets[..]).unwrap();
        assert!(!profile.sample.is_empty(), "a busy thread is seen");
        assert_ne!(busy.join().unwrap(), 0);
    }
}
