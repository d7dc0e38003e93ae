//! Statuses of HTTP that are answered, their texts and their counters.
use std::sync::OnceLock;

use corten_metrics::{Counter, registry};
use corten_plugin::Site;

/// A status other than 200, or 200 itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Status {
    /// The response is a DNS message, whatever its RCODE.
    Ok,
    /// The request carries no DNS query.
    BadRequest,
    /// Another path.
    NotFound,
    /// A method that this resource does not have.
    MethodNotAllowed,
    /// The body did not come in time.
    Timeout,
    /// A body that is longer than any DNS message.
    TooLarge,
    /// A body that is no DNS message.
    UnsupportedMediaType,
    /// Header fields beyond the limits.
    HeadersTooLarge,
    /// The chain gave no reply (RFC 8484 section 4.2.1).
    NoResponse,
    /// A method, or a transfer coding, that is not known here.
    NotImplemented,
}

impl Status {
    /// Every status, in the order of the counters.
    const ALL: [Self; 10] = [
        Self::Ok,
        Self::BadRequest,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::Timeout,
        Self::TooLarge,
        Self::UnsupportedMediaType,
        Self::HeadersTooLarge,
        Self::NoResponse,
        Self::NotImplemented,
    ];

    /// The number as it is written.
    pub(crate) const fn digits(self) -> &'static str {
        match self {
            Self::Ok => "200",
            Self::BadRequest => "400",
            Self::NotFound => "404",
            Self::MethodNotAllowed => "405",
            Self::Timeout => "408",
            Self::TooLarge => "413",
            Self::UnsupportedMediaType => "415",
            Self::HeadersTooLarge => "431",
            Self::NoResponse => "500",
            Self::NotImplemented => "501",
        }
    }

    /// The reason phrase of HTTP/1.1.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::BadRequest => "Bad Request",
            Self::NotFound => "Not Found",
            Self::MethodNotAllowed => "Method Not Allowed",
            Self::Timeout => "Request Timeout",
            Self::TooLarge => "Content Too Large",
            Self::UnsupportedMediaType => "Unsupported Media Type",
            Self::HeadersTooLarge => "Request Header Fields Too Large",
            Self::NoResponse => "Internal Server Error",
            Self::NotImplemented => "Not Implemented",
        }
    }

    /// The body; a person may read it.
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Self::Ok => "",
            Self::BadRequest => "invalid request\n",
            Self::NotFound => "DNS queries are answered at /dns-query\n",
            Self::MethodNotAllowed => "DNS queries come by GET or POST\n",
            Self::Timeout => "the request took too long\n",
            Self::TooLarge => "a DNS message has 65535 octets at most\n",
            Self::UnsupportedMediaType => "a DNS query is of type application/dns-message\n",
            Self::HeadersTooLarge => "the header fields are too long; POST has no such limit\n",
            Self::NoResponse => "No response\n",
            Self::NotImplemented => "this server does not know such requests\n",
        }
    }
}

/// Counts the responses of one listener by status, as CoreDNS does.
pub(crate) struct Tally {
    server: &'static str,
    metric: Metric,
    counters: [OnceLock<Counter>; Status::ALL.len()],
}

/// Which protocol's responses are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// HTTP/1.1 and HTTP/2.
    Https,
    /// HTTP/3.
    Https3,
}

impl Tally {
    /// Counters of this listener; none is made before it counts.
    pub(crate) fn new(site: Site, metric: Metric) -> Self {
        Self {
            server: site.server(),
            metric,
            counters: [const { OnceLock::new() }; Status::ALL.len()],
        }
    }

    /// Counts one response.
    pub(crate) fn count(&self, status: Status) {
        let Some(at) = Status::ALL.iter().position(|other| *other == status) else {
            return;
        };
        self.counters[at]
            .get_or_init(|| self.counter(status))
            .increment();
    }

    fn counter(&self, status: Status) -> Counter {
        let labels = [("server", self.server), ("status", status.digits())];
        match self.metric {
            Metric::Https => registry().counter(
                "coredns_dns_https_responses_total",
                "Counter of DoH responses per server and http status code.",
                &labels,
            ),
            Metric::Https3 => registry().counter(
                "coredns_dns_https3_responses_total",
                "Counter of DoH3 responses per server and http status code.",
                &labels,
            ),
        }
    }
}
