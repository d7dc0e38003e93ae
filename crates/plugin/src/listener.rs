//! What directives say about the sockets of their block.
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::Site;

/// Settings of a block's listeners. Several blocks may share a listener; the server decides whose
/// settings hold there.
#[derive(Clone, Default)]
pub struct ListenerOptions {
    /// Bounds of connections; of several blocks the last that sets one counts.
    pub streams: StreamOptions,
    /// Sockets on each address; the first block's count. Nothing for one on each worker.
    pub sockets: Option<usize>,
    /// PROXY protocol headers are expected; blocks that share a listener must agree.
    pub proxy: Option<Arc<ProxyProtocol>>,
    /// DNS over HTTPS; of several blocks the last that sets a value counts.
    pub https: HttpsOptions,
    /// CoreDNS's service over gRPC; likewise.
    pub grpc: GrpcOptions,
    /// Load is shed on the UDP sockets when there is too much of it.
    pub overload: Option<Arc<dyn Overload>>,
    /// Bounds of DoQ connections; of several blocks the last that sets one counts.
    pub quic: QuicOptions,
    /// Bounds of DoH3 connections; likewise.
    pub https3: Https3Options,
}

/// Bounds of DNS over QUIC; nothing for the server's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuicOptions {
    /// Streams that a client may have open on one connection.
    pub streams_max: Option<u32>,
    /// Queries of the listener that wait for the network at the same time.
    pub waiting_max: Option<usize>,
}

/// Bounds of DNS over HTTP/3; nothing for the server's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Https3Options {
    /// Streams that a client may have open on one connection.
    pub streams_max: Option<u32>,
    /// Connections of the listener; [`usize::MAX`] for any number.
    pub connections_max: Option<usize>,
}

/// Bounds of TCP and TLS connections; nothing for the server's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamOptions {
    /// For the handshake, and then for the first whole query.
    pub read: Option<Duration>,
    /// For a client to take its replies.
    pub write: Option<Duration>,
    /// For the next whole query.
    pub idle: Option<Duration>,
    /// Queries of one connection; [`u64::MAX`] for any number.
    pub queries_max: Option<u64>,
}

/// Bounds of DNS over HTTPS, and who is behind its proxies; nothing for the server's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpsOptions {
    /// Connections of the listener; [`usize::MAX`] for any number.
    pub connections_max: Option<usize>,
    /// Proxies that tell whom they speak for.
    pub proxies: Option<Arc<HttpProxies>>,
}

/// Bounds of gRPC; nothing for the server's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrpcOptions {
    /// Calls that a client may have open on one connection.
    pub streams_max: Option<u32>,
    /// Connections of the listener; [`usize::MAX`] for any number.
    pub connections_max: Option<usize>,
}

/// HTTP proxies that are believed when they tell the client's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProxies {
    /// Their networks: an address, and how many leading bits count.
    pub trusted: Vec<(IpAddr, u8)>,
    /// Where they tell it. Only one field is read: a proxy that sets one of them leaves the other as
    /// its client sent it.
    pub header: ForwardedHeader,
}

/// The header field in which HTTP proxies tell the client's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`
    XForwardedFor,
    /// `Forwarded` (RFC 7239)
    Forwarded,
}

impl HttpProxies {
    /// Whether this peer is one of them.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|net| contains(*net, peer))
    }
}

/// What is done with the PROXY header of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderPolicy {
    /// The client's address is the one in the header, if there is a header.
    Use,
    /// A header is taken off, and the client is the peer.
    Ignore,
    /// Whoever sends a header is not served.
    Reject,
    /// Nobody looks for a header; one would be malformed DNS.
    Skip,
}

/// Whose PROXY headers are believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyProtocol {
    /// Networks whose headers are used: an address, and how many leading bits count.
    pub trusted: Vec<(IpAddr, u8)>,
    /// What is done with those of others.
    pub others: HeaderPolicy,
    /// A UDP header counts for later datagrams of its peer as well.
    pub sessions: Option<SessionTracking>,
}

/// For how long a UDP header counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTracking {
    /// Time since the last datagram of the peer.
    pub ttl: Duration,
    /// Peers that are remembered by one socket; the one that was silent longest is forgotten first.
    pub sessions_max: usize,
}

impl ProxyProtocol {
    /// What is done with headers of this peer.
    pub fn policy(&self, peer: IpAddr) -> HeaderPolicy {
        let peer = peer.to_canonical();
        match self.trusted.iter().any(|net| contains(*net, peer)) {
            true => HeaderPolicy::Use,
            false => self.others,
        }
    }
}

fn contains((net, bits): (IpAddr, u8), address: IpAddr) -> bool {
    let (net, address, width) = match (net, address) {
        (IpAddr::V4(net), IpAddr::V4(address)) => {
            (u128::from(net.to_bits()), u128::from(address.to_bits()), 32)
        }
        (IpAddr::V6(net), IpAddr::V6(address)) => (net.to_bits(), address.to_bits(), 128),
        _ => return false,
    };
    let ignored = width - u32::from(bits).min(width);
    (net ^ address).checked_shr(ignored).unwrap_or(0) == 0
}

/// Hears what is dropped while there is more load than the server can take.
pub trait Overload: Send + Sync {
    /// Queries that were dropped before anybody looked at them.
    fn queries_dropped(&self, site: Site, count: u64);

    /// Replies that could not be sent.
    fn responses_dropped(&self, site: Site, count: u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_go_by_the_peers_network() {
        let nets = ["192.0.2.0/24", "2001:db8::/33", "198.51.100.7/32"];
        let net = |text: &str| {
            let (address, bits) = text.split_once('/').unwrap();
            (address.parse().unwrap(), bits.parse().unwrap())
        };
        let mut proxy = ProxyProtocol {
            trusted: nets.map(net).to_vec(),
            others: HeaderPolicy::Reject,
            sessions: None,
        };
        for (peer, trusted) in [
            ("192.0.2.255", true),
            ("192.0.3.0", false),
            ("::ffff:192.0.2.1", true),
            ("2001:db8:7fff::1", true),
            ("2001:db8:8000::1", false),
            ("198.51.100.7", true),
            ("198.51.100.6", false),
        ] {
            let expected = match trusted {
                true => HeaderPolicy::Use,
                false => HeaderPolicy::Reject,
            };
            assert_eq!(proxy.policy(peer.parse().unwrap()), expected, "{peer}");
        }
        proxy.trusted = vec![net("::/0")];
        assert_eq!(
            proxy.policy("::1".parse().unwrap()),
            HeaderPolicy::Use,
            "no bit counts"
        );
        assert_eq!(
            proxy.policy("192.0.2.1".parse().unwrap()),
            HeaderPolicy::Reject
        );
    }
}
