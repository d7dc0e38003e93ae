//! Counters of one server, with CoreDNS's names.
//!
//! A sample appears with its first event, as CoreDNS's do.
use std::sync::OnceLock;
use std::time::Duration;

use corten_metrics::{Counter, Histogram, registry};
use corten_wire::Rcode;

use crate::lane::Kept;

/// Seconds: 0.25 ms and its doubles (CoreDNS's `plugin.TimeBuckets`).
const SECONDS: &[f64] = &[
    0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024,
    2.048, 4.096, 8.192,
];
/// RCODEs of a header.
const RCODES: usize = 16;

/// How a server is spoken to: the label `proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Datagrams.
    Udp,
    /// Plain TCP.
    Tcp,
    /// DNS over TLS.
    Tls,
    /// DNS over HTTPS.
    Https,
    /// gRPC.
    Grpc,
}

impl Network {
    /// What CoreDNS calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tcp-tls",
            Self::Https => "https",
            Self::Grpc => "grpc",
        }
    }
}

#[derive(Default)]
pub(crate) struct Tally {
    proxy: &'static str,
    to: String,
    durations: [OnceLock<Histogram>; RCODES],
    failures: OnceLock<Counter>,
    hits: [OnceLock<Counter>; 5],
    misses: [OnceLock<Counter>; 5],
}

impl Tally {
    pub(crate) fn new(proxy: &'static str, to: String) -> Self {
        Self {
            proxy,
            to,
            ..Self::default()
        }
    }

    /// A reply came after this time.
    pub(crate) fn answered(&self, reply: &[u8], took: Duration) {
        let rcode = usize::from(reply.get(3).copied().unwrap_or(0) & 0xf);
        self.durations[rcode]
            .get_or_init(|| {
                let rcode = Rcode(rcode as u16);
                // CoreDNS prints the number of a code that has no name.
                let name = rcode
                    .mnemonic()
                    .map_or_else(|| rcode.0.to_string(), str::to_owned);
                registry().histogram(
                    "coredns_proxy_request_duration_seconds",
                    "Histogram of the time each request took.",
                    SECONDS,
                    &[
                        ("proxy_name", self.proxy),
                        ("to", &self.to),
                        ("rcode", &name),
                    ],
                )
            })
            .observe(took.as_secs_f64());
    }

    /// A check failed.
    pub(crate) fn check_failed(&self) {
        let make = || {
            registry().counter(
                "coredns_proxy_healthcheck_failures_total",
                "Counter of the number of failed healthchecks.",
                &[("proxy_name", self.proxy), ("to", &self.to)],
            )
        };
        self.failures.get_or_init(make).increment();
    }

    /// A kept socket was used, or none was there.
    pub(crate) fn socket(&self, network: Network, kept: Kept) {
        let (cells, name, help) = match kept {
            Kept::Yes => (
                &self.hits,
                "coredns_proxy_conn_cache_hits_total",
                "Counter of connection cache hits per upstream and protocol.",
            ),
            Kept::No => (
                &self.misses,
                "coredns_proxy_conn_cache_misses_total",
                "Counter of connection cache misses per upstream and protocol.",
            ),
        };
        let make = || {
            let labels = [
                ("proxy_name", self.proxy),
                ("to", self.to.as_str()),
                ("proto", network.name()),
            ];
            registry().counter(name, help, &labels)
        };
        cells[network as usize].get_or_init(make).increment();
    }
}
