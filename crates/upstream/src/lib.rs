//! Talking to other name servers.
//!
//! | module | what it is |
//! |---|---|
//! | [`settings`] | everything that can be set, with its default |
//! | [`error`] | what went wrong, where, and in which phase |
//! | [`connection`] | one socket to one server, and the exchange of one query over it |
//! | [`upstream`] | one server: kept sockets, health |
//! | [`group`] | several servers: policy, failover, the budget of a query |
//!
//! A query in flight has its socket for itself: a random port and a random id that no other query
//! shares. What does not come from the server that was asked, or does not answer the question, is
//! ignored (RFC 5452 section 9).
mod connection;
mod error;
mod group;
mod settings;
mod upstream;

pub use error::{Phase, UpstreamError};
pub use group::{Answered, Group};
pub use settings::{HealthCheck, Policy, Protocol, Server, Settings};
pub use upstream::Upstream;

#[cfg(test)]
mod tests;
