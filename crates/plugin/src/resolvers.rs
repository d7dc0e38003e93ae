//! Who may resolve names when the system cannot.
use std::net::SocketAddr;

/// Name servers that a block forwards to over UDP and TCP: a service for plugins that must resolve
/// a name while the system's resolver fails, which may be this very server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolvers(pub Vec<SocketAddr>);
