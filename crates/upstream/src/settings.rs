//! Everything that can be set, with its default.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use corten_wire::{Name, Rcode};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;

/// In which order servers are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// A fresh permutation for each query.
    #[default]
    Random,
    /// Each query begins one server further.
    RoundRobin,
    /// First to last, always.
    Sequential,
}

/// How a server is spoken to.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// UDP or TCP, as the client did.
    Plain,
    /// DNS over TLS (RFC 7858).
    Tls {
        /// Roots, client certificate, session store.
        config: Arc<ClientConfig>,
        /// The name, or address, that its certificate must be made for.
        name: ServerName<'static>,
    },
    /// DNS over HTTPS (RFC 8484), over HTTP/2.
    Https {
        /// Roots, client certificate, session store; offers `h2`.
        config: Arc<ClientConfig>,
        /// The name, or address, that its certificate must be made for.
        name: ServerName<'static>,
        /// What is requested, such as `https://192.0.2.1/dns-query`.
        uri: Arc<str>,
    },
    /// CoreDNS's service over gRPC.
    Grpc {
        /// With TLS: roots, client certificate, session store, offering `h2`; and the name, or
        /// address, that the server's certificate must be made for.
        tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
        /// How the server is called, such as `192.0.2.1:443`.
        authority: Arc<str>,
    },
}

impl PartialEq for Protocol {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Plain, Self::Plain) => true,
            (
                Self::Tls { config, name },
                Self::Tls {
                    config: other,
                    name: other_name,
                },
            ) => Arc::ptr_eq(config, other) && name == other_name,
            (
                Self::Https { config, name, uri },
                Self::Https {
                    config: other,
                    name: other_name,
                    uri: other_uri,
                },
            ) => Arc::ptr_eq(config, other) && name == other_name && uri == other_uri,
            (
                Self::Grpc { tls, authority },
                Self::Grpc {
                    tls: other,
                    authority: other_authority,
                },
            ) => {
                let same = match (tls, other) {
                    (None, None) => true,
                    (Some((config, name)), Some((other, other_name))) => {
                        Arc::ptr_eq(config, other) && name == other_name
                    }
                    _ => false,
                };
                same && authority == other_authority
            }
            _ => false,
        }
    }
}

/// How DNS over HTTPS asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DohMethod {
    /// The query is the request's body.
    #[default]
    Post,
    /// The query is part of the URI.
    Get,
}

/// A server to ask.
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// Its address and port.
    pub address: SocketAddr,
    /// How it is spoken to.
    pub protocol: Protocol,
}

/// What is asked of a server that failed, until it answers.
#[derive(Clone, Debug)]
pub struct HealthCheck {
    /// Time between two checks; after sixteen they grow apart while the server stays silent, to
    /// sixteen times this.
    pub interval: Duration,
    /// RD of the check.
    pub recursion_desired: bool,
    /// Name of the check; its type is NS.
    pub domain: Name,
}

/// How a group of servers is asked. The defaults are CoreDNS's.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Default: random.
    pub policy: Policy,
    /// Checks that must fail before a server counts as down; 0: it never does, and is not checked.
    /// Default: 2.
    pub max_fails: u32,
    /// The check. Default: `. NS` with RD each 500 ms.
    pub health_check: HealthCheck,
    /// Longest wait for a reply. Default: 2 s.
    pub read_timeout: Duration,
    /// How long an unused socket is kept. Default: 10 s.
    pub expire: Duration,
    /// Unused sockets kept for a server and a worker; 0: no limit but `expire`'s. Default: 0.
    pub idle_max: usize,
    /// Attempts of one query; 0: as many as its time allows. Default: twice the number of servers.
    pub attempts_max: usize,
    /// Queries in flight; 0: no limit. Default: 0.
    pub concurrent_max: usize,
    /// TCP even for clients of UDP. Default: no.
    pub force_tcp: bool,
    /// UDP even for clients of TCP, and TCP when the reply is truncated. Default: no.
    pub prefer_udp: bool,
    /// All servers down is an error at once. Default: no, one is tried.
    pub failfast: bool,
    /// RCODEs for which the next server is asked. Default: none.
    pub failover: Vec<Rcode>,
    /// How long a connection takes new queries. Default: no limit.
    pub max_age: Option<Duration>,
    /// Where queries come from. Default: the system decides.
    pub source_address: Option<IpAddr>,
    /// Default: POST.
    pub doh_method: DohMethod,
    /// The label `proxy_name` of metrics. Default: `forward`.
    pub proxy_name: &'static str,
}

impl Default for Settings {
    fn default() -> Self {
        let check = HealthCheck {
            interval: Duration::from_millis(500),
            recursion_desired: true,
            domain: Name::root(),
        };
        Self {
            policy: Policy::default(),
            max_fails: 2,
            health_check: check,
            read_timeout: Duration::from_secs(2),
            expire: Duration::from_secs(10),
            idle_max: 0,
            attempts_max: 0,
            concurrent_max: 0,
            force_tcp: false,
            prefer_udp: false,
            failfast: false,
            failover: Vec::new(),
            max_age: None,
            source_address: None,
            doh_method: DohMethod::default(),
            proxy_name: "forward",
        }
    }
}
