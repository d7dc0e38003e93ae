//! Talking to other name servers.
//!
//! | module | what it is |
//! |---|---|
//! | [`settings`] | everything that can be set, with its default |
//! | [`error`] | what went wrong, where, and in which phase |
//! | [`flight`] | the queries in flight on one socket or connection |
//! | [`datagram`] | UDP: random ports that carry a number of queries each |
//! | [`stream`] | TCP and TLS: connections with many queries in flight |
//! | [`https`] | DNS over HTTPS, and the connections of gRPC |
//! | [`grpc`] | CoreDNS's service over gRPC |
//! | [`client_tls`] | TLS towards servers: roots and a client certificate |
//! | [`dial`] | how long a connection may take to open |
//! | [`lane`] | one worker's sockets to one server |
//! | [`tally`] | counters of one server |
//! | [`upstream`] | one server: lanes, protocols, silent retries, health |
//! | [`group`] | several servers: policy, failover, the budget of a query |
//!
//! A worker has sockets of its own, so that workers do not meet, and no timer for a single query.
//! What does not come from the server that was asked, or does not answer the question, is ignored
//! (RFC 5452 section 9).
pub mod client_tls;
mod datagram;
mod dial;
mod error;
mod flight;
mod group;
mod grpc;
mod https;
mod lane;
mod settings;
mod stream;
mod tally;
mod upstream;

pub use error::{Phase, UpstreamError};
pub use group::{Answered, Attempt, Group, Observer};
pub use settings::{DohMethod, HealthCheck, Policy, Protocol, Server, Settings};
pub use tally::Network;
pub use upstream::Upstream;

#[cfg(test)]
mod tests;
