//! The process asks itself: a process that is overloaded answers late, and says so.
use std::io;
use std::time::{Duration, Instant};

use corten_plugin::metrics::registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

const PERIOD: Duration = Duration::from_secs(1);
/// Slower answers are worth a warning.
const SLOW: Duration = Duration::from_secs(1);
/// Afterwards there is no answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Seconds.
const DURATION: &[f64] = &[0.00025, 0.0025, 0.025, 0.25, 2.5];

/// Asks for ever.
pub(crate) async fn every_second(address: String, path: &'static str) {
    let durations = registry().histogram(
        "coredns_health_request_duration_seconds",
        "Histogram of the time (in seconds) each request took.",
        DURATION,
        &[],
    );
    let failures = registry().counter(
        "coredns_health_request_failures_total",
        "The number of times the health check failed.",
        &[],
    );
    let address = match address.strip_prefix(':') {
        Some(port) => format!("localhost:{port}"),
        None => address,
    };
    let url = format!("http://{address}{path}");
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first is now, when nothing is served yet.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let begin = Instant::now();
        let result = timeout(PATIENCE, ask(&address, path)).await;
        let took = begin.elapsed();
        durations.observe(took.as_secs_f64());
        let error = match result {
            Ok(Ok(())) if took > SLOW => {
                tracing::warn!(
                    target: "plugin/health",
                    "Local health request to {url:?} took more than 1s: {took:?}"
                );
                continue;
            }
            Ok(Ok(())) => continue,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {PATIENCE:?}"),
        };
        failures.increment();
        tracing::warn!(target: "plugin/health", "Local health request to {url:?} failed: {error}");
    }
}

/// One request; any answer will do.
async fn ask(address: &str, path: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut start = [0; 9];
    stream.read_exact(&mut start).await?;
    match &start {
        b"HTTP/1.1 " => Ok(()),
        _ => Err(io::Error::other("the answer is not HTTP/1.1")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn only_http_is_an_answer() {
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("SSH-2.0-OpenSSH", false),
            ("", false),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let serve = async {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 12];
                stream.read_exact(&mut request).await.unwrap();
                assert_eq!(&request, b"GET /health ");
                stream.write_all(answer.as_bytes()).await.unwrap();
            };
            let (result, ()) = tokio::join!(ask(&address, "/health"), serve);
            assert_eq!(result.is_ok(), expected, "{answer}");
        }
    }
}
