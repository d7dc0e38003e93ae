//! What plugins report to those who record it.
use std::fmt;
use std::net::SocketAddr;
use std::time::SystemTime;

use crate::Exchange;

/// How an upstream was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamTransport {
    /// Plain datagrams.
    Udp,
    /// Plain TCP.
    Tcp,
    /// DNS over TLS.
    Tls,
    /// DNS over HTTPS.
    Https,
}

/// One query to an upstream and what came of it.
#[derive(Clone, Copy)]
pub struct UpstreamExchange<'a> {
    /// Who was asked.
    pub server: SocketAddr,
    /// From which address, if that is known.
    pub local: Option<SocketAddr>,
    /// How.
    pub transport: UpstreamTransport,
    /// The query as it was sent.
    pub query: &'a [u8],
    /// The response as it came.
    pub response: Option<&'a [u8]>,
    /// When the query was sent.
    pub asked: SystemTime,
    /// When the response came, or was given up.
    pub answered: SystemTime,
}

impl fmt::Debug for UpstreamExchange<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UpstreamExchange")
            .field("server", &self.server)
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}

/// Records what is said to upstreams; offered with [`crate::Setup::provide`] as `Arc<dyn Tap>` and
/// found by *forward* and the like in [`crate::Plugin::start`].
pub trait Tap: Send + Sync {
    /// Called once for each query to an upstream. Must not block.
    fn upstream(&self, ex: &Exchange, exchange: &UpstreamExchange<'_>);
}
