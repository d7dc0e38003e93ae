//! The directive's lines.
use std::time::Duration;

use corten_plugin::SetupError;
use corten_plugin::corefile::{Line, Occurrence, Token};
use http::Uri;

/// Spans that may wait for the collector, in one request, and how long one waits for others, unless
/// the Corefile says otherwise: what CoreDNS's library has.
const BACKLOG: usize = 1000;
const BATCH: usize = 100;
const INTERVAL: Duration = Duration::from_secs(1);
/// More would be a mistake: a span takes some 200 octets.
const BACKLOG_MAX: usize = 1_000_000;

/// Whose language is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// Zipkin's JSON, version 2.
    Zipkin,
    /// The Datadog agent's JSON, version 0.3.
    Datadog,
    /// OpenTelemetry's protobuf over HTTP.
    Otlp,
}

/// What the directive says.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    pub(crate) protocol: Protocol,
    pub(crate) endpoint: Uri,
    /// One query of so many; 0: none.
    pub(crate) every: u64,
    pub(crate) service: String,
    pub(crate) analytics_rate: f64,
    pub(crate) backlog_spans: usize,
    pub(crate) batch_spans: usize,
    pub(crate) batch_interval: Duration,
    /// Options that have no effect here, for a line in the log.
    pub(crate) idle: Vec<&'static str>,
}

/// Reads every occurrence of a block; what stands last counts.
pub(crate) fn read(lines: &[Occurrence<'_>]) -> Result<Config, SetupError> {
    let mut config = Config {
        protocol: Protocol::Zipkin,
        endpoint: Uri::from_static("http://localhost:9411/api/v2/spans"),
        every: 1,
        service: "coredns".to_owned(),
        analytics_rate: 0.0,
        backlog_spans: BACKLOG,
        batch_spans: BATCH,
        batch_interval: INTERVAL,
        idle: Vec::new(),
    };
    for line in lines {
        (config.protocol, config.endpoint) = endpoint(line)?;
        for option in line.lines() {
            read_option(&mut config, option)?;
        }
    }
    Ok(config)
}

/// `[ENDPOINT-TYPE] [ENDPOINT]`
fn endpoint(line: &Occurrence<'_>) -> Result<(Protocol, Uri), SetupError> {
    let (protocol, place) = match line.args[..] {
        [] => (Protocol::Zipkin, None),
        // CoreDNS takes a word that stands alone for the endpoint; nobody's host is called that.
        [only] if only.text == "otlp" => (Protocol::Otlp, None),
        [only] => (Protocol::Zipkin, Some(only)),
        [kind, place] => (protocol(kind)?, Some(place)),
        _ => return Err(line.argument_error().into()),
    };
    let (default, path) = match protocol {
        Protocol::Zipkin => ("localhost:9411", "/api/v2/spans"),
        Protocol::Datadog => ("localhost:8126", "/v0.3/traces"),
        Protocol::Otlp => ("localhost:4318", "/v1/traces"),
    };
    let text = place.map_or(default, |place| place.text.as_str());
    let url = match (text.contains("://"), protocol) {
        (false, _) => format!("http://{text}{path}"),
        (true, Protocol::Zipkin) => text.to_owned(),
        (true, _) if text.splitn(4, '/').nth(3).is_none_or(str::is_empty) => {
            format!("{}{path}", text.trim_end_matches('/'))
        }
        (true, _) => text.to_owned(),
    };
    let uri = url.parse::<Uri>().ok().filter(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https"))
            && uri.host().is_some_and(|host| !host.is_empty())
    });
    let wrong = || {
        let token = place.unwrap_or(line.name);
        token
            .error(format!("'{text}' is not an endpoint"))
            .help("an endpoint is HOST:PORT, or a URL that begins with http:// or https://")
    };
    Ok((protocol, uri.ok_or_else(wrong)?))
}

fn protocol(token: &Token) -> Result<Protocol, SetupError> {
    match token.text.to_ascii_lowercase().as_str() {
        "zipkin" => Ok(Protocol::Zipkin),
        "datadog" => Ok(Protocol::Datadog),
        "otlp" => Ok(Protocol::Otlp),
        other => Err(token
            .error(format!("tracing endpoint type '{other}' is not supported"))
            .help("types are zipkin, datadog and otlp (OpenTelemetry)")
            .into()),
    }
}

fn read_option(config: &mut Config, option: &Line<'_>) -> Result<(), SetupError> {
    match option.name.text.as_str() {
        "every" => config.every = option.one_arg()?.parse("a number of queries")?,
        "service" => config.service.clone_from(&option.one_arg()?.text),
        "client_server" => {
            if let Some(word) = option.args_between(0, 1)?.first() {
                switch(word)?;
            }
            config.idle.push("client_server");
        }
        "datadog_analytics_rate" => config.analytics_rate = rate(option)?,
        "zipkin_max_backlog_size" => config.backlog_spans = spans(option, BACKLOG)?,
        "zipkin_max_batch_size" => config.batch_spans = spans(option, BATCH)?,
        "zipkin_max_batch_interval" => {
            config.batch_interval = match option.one_arg()?.parse_duration()? {
                Duration::ZERO => INTERVAL,
                interval => interval,
            };
        }
        _ => {
            let known = [
                "every",
                "service",
                "client_server",
                "datadog_analytics_rate",
                "zipkin_max_backlog_size",
                "zipkin_max_batch_size",
                "zipkin_max_batch_interval",
            ];
            return Err(option.unknown_property(&known).into());
        }
    }
    Ok(())
}

/// The words that Go's `strconv.ParseBool` knows.
fn switch(token: &Token) -> Result<bool, SetupError> {
    match token.text.as_str() {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(token
            .error(format!("'{other}' is neither true nor false"))
            .into()),
    }
}

fn rate(option: &Line<'_>) -> Result<f64, SetupError> {
    let Some(word) = option.args_between(0, 1)?.first() else {
        return Ok(0.0);
    };
    let rate: f64 = word.parse("a number")?;
    if !(0.0..=1.0).contains(&rate) {
        let text =
            format!("datadog analytics rate must be between 0 and 1, '{rate:.6}' is not supported");
        return Err(word.error(text).into());
    }
    Ok(rate)
}

/// A number of spans; 0 is the default.
fn spans(option: &Line<'_>, default: usize) -> Result<usize, SetupError> {
    let word = option.one_arg()?;
    match word.parse("a number of spans")? {
        0 => Ok(default),
        number if number > BACKLOG_MAX => Err(word
            .error(format!("{number} spans are more than {BACKLOG_MAX}"))
            .into()),
        number => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use corten_plugin::corefile::{Source, parse};

    use super::*;

    fn config(lines: &str) -> Result<Config, String> {
        let text = format!(". {{\n {lines}\n}}");
        let source = Source {
            name: "Corefile",
            text: &text,
            path: None,
        };
        let corefile = parse(&source, &["trace"], &|_| None).unwrap();
        let lines = &corefile.blocks[0].directives;
        let lines: Vec<_> = lines
            .iter()
            .map(|line| line.occurrence().unwrap())
            .collect();
        read(&lines).map_err(|error| error.to_string())
    }

    #[test]
    fn endpoints_are_read() {
        for (line, protocol, url) in [
            (
                "trace",
                Protocol::Zipkin,
                "http://localhost:9411/api/v2/spans",
            ),
            (
                "trace tracer:9411",
                Protocol::Zipkin,
                "http://tracer:9411/api/v2/spans",
            ),
            (
                "trace zipkin tracer:1",
                Protocol::Zipkin,
                "http://tracer:1/api/v2/spans",
            ),
            (
                "trace https://tracer/spans",
                Protocol::Zipkin,
                "https://tracer/spans",
            ),
            (
                "trace Datadog agent:8126",
                Protocol::Datadog,
                "http://agent:8126/v0.3/traces",
            ),
            (
                "trace otlp",
                Protocol::Otlp,
                "http://localhost:4318/v1/traces",
            ),
            (
                "trace otlp collector:4318",
                Protocol::Otlp,
                "http://collector:4318/v1/traces",
            ),
            (
                "trace otlp https://collector",
                Protocol::Otlp,
                "https://collector/v1/traces",
            ),
            (
                "trace otlp https://collector/",
                Protocol::Otlp,
                "https://collector/v1/traces",
            ),
            (
                "trace otlp https://collector/own",
                Protocol::Otlp,
                "https://collector/own",
            ),
        ] {
            let config = config(line).unwrap();
            assert_eq!(
                (config.protocol, config.endpoint.to_string()),
                (protocol, url.into()),
                "{line}"
            );
        }
    }

    #[test]
    fn options_are_read() {
        let all = config(
            "trace datadog a:1 {\n every 100\n service names\n client_server\n datadog_analytics_rate 0.5\n \
            zipkin_max_backlog_size 10\n zipkin_max_batch_size 0\n zipkin_max_batch_interval 100ms\n}",
        )
        .unwrap();
        assert_eq!(
            (all.every, &all.service[..], all.analytics_rate),
            (100, "names", 0.5)
        );
        assert_eq!((all.backlog_spans, all.batch_spans), (10, BATCH));
        assert_eq!(
            (all.batch_interval, &all.idle[..]),
            (Duration::from_millis(100), &["client_server"][..])
        );
    }

    #[test]
    fn mistakes_are_told() {
        for (line, error) in [
            (
                "trace jaeger a:1",
                "tracing endpoint type 'jaeger' is not supported",
            ),
            ("trace zipkin a:1 b", "Wrong argument count"),
            ("trace ftp://a", "'ftp://a' is not an endpoint"),
            ("trace {\n every -1\n}", "'-1' is not a number of queries"),
            ("trace {\n every\n}", "Wrong argument count"),
            ("trace {\n evry 1\n}", "unknown property 'evry'"),
            (
                "trace {\n client_server maybe\n}",
                "'maybe' is neither true nor false",
            ),
            (
                "trace {\n datadog_analytics_rate 2\n}",
                "must be between 0 and 1, '2.000000' is not supported",
            ),
            (
                "trace {\n zipkin_max_batch_size big\n}",
                "'big' is not a number of spans",
            ),
            (
                "trace {\n zipkin_max_batch_interval soon\n}",
                "invalid duration 'soon'",
            ),
        ] {
            let text = config(line).unwrap_err();
            assert!(text.contains(error), "{line}: {text}");
        }
    }
}
