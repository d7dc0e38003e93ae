//! Counters of each upstream, with CoreDNS's names.
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use corten_plugin::metrics::{Counter, Histogram, registry};
use corten_plugin::wire::Rcode;
use corten_upstream::Server;

/// Seconds: 0.25 ms and its doubles (CoreDNS's `plugin.TimeBuckets`).
const SECONDS: &[f64] = &[
    0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024,
    2.048, 4.096, 8.192,
];
/// RCODEs of a header.
const RCODES: usize = 16;

/// Of all upstreams.
pub(crate) struct Counters(Vec<Own>);

/// Of one; made with its first reply.
struct Own {
    server: SocketAddr,
    to: String,
    requests: OnceLock<Counter>,
    durations: OnceLock<Histogram>,
    responses: [OnceLock<Counter>; RCODES],
}

impl Counters {
    pub(crate) fn new(servers: &[Server]) -> Self {
        let own = |server: &Server| Own {
            server: server.address,
            to: server.address.to_string(),
            requests: OnceLock::new(),
            durations: OnceLock::new(),
            responses: [const { OnceLock::new() }; RCODES],
        };
        Self(servers.iter().map(own).collect())
    }

    /// A reply came after this time.
    pub(crate) fn answered(&self, server: SocketAddr, reply: &[u8], took: Duration) {
        let Some(own) = self.0.iter().find(|own| own.server == server) else {
            return;
        };
        let to = [("to", own.to.as_str())];
        let requests = || {
            registry().counter(
                "coredns_grpc_requests_total",
                "Counter of requests made per upstream.",
                &to,
            )
        };
        own.requests.get_or_init(requests).increment();
        let durations = || {
            registry().histogram(
                "coredns_grpc_request_duration_seconds",
                "Histogram of the time each request took.",
                SECONDS,
                &to,
            )
        };
        own.durations
            .get_or_init(durations)
            .observe(took.as_secs_f64());
        let rcode = usize::from(reply.get(3).copied().unwrap_or(0) & 0xf);
        let responses = || {
            let code = Rcode(rcode as u16);
            let name = code
                .mnemonic()
                .map_or_else(|| rcode.to_string(), str::to_owned);
            registry().counter(
                "coredns_grpc_responses_total",
                "Counter of requests made per upstream.",
                &[("rcode", &name), ("to", &own.to)],
            )
        };
        own.responses[rcode].get_or_init(responses).increment();
    }
}
