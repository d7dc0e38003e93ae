//! What went wrong, where, and in which phase.
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// How far an exchange came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Opening the socket or connection.
    Dial,
    /// Agreeing on keys: the TLS session, HTTP/2.
    Handshake,
    /// Sending the query.
    Write,
    /// Waiting for the reply.
    Read,
}

/// Why a query was not answered by its upstreams.
///
/// The texts are Go's, because people match them: `read udp 127.0.0.1:4000->127.0.0.1:53: i/o
/// timeout`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// One server's failure, the last of the query's.
    #[error("{}", self.sentence())]
    Io {
        /// How far it came.
        phase: Phase,
        /// `udp`, `tcp`, `tcp-tls` or `https`.
        network: &'static str,
        /// Our end, once there is one.
        local: Option<SocketAddr>,
        /// The server.
        remote: SocketAddr,
        /// What the operating system or TLS says.
        source: io::Error,
    },
    /// Every server is down.
    #[error("no healthy proxies")]
    NoHealthy,
    /// No server's address is known, because names have not been resolved.
    #[error("no address of an upstream is known yet{0}")]
    Unresolved(String),
    /// Too many queries are in flight.
    #[error("concurrent queries exceeded maximum {0}")]
    Concurrent(usize),
}

impl UpstreamError {
    fn sentence(&self) -> String {
        self.words(true)
    }

    /// What happened, for the client: without our address and port, which are nobody's business.
    pub fn public_text(&self) -> String {
        match self {
            Self::Io { .. } => self.words(false),
            other => other.to_string(),
        }
    }

    /// The INFO-CODE of an Extended DNS Error (RFC 8914 section 4).
    pub fn info_code(&self) -> u16 {
        const OTHER: u16 = 0;
        const NO_REACHABLE_AUTHORITY: u16 = 22;
        const NETWORK_ERROR: u16 = 23;
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::TimedOut => {
                NO_REACHABLE_AUTHORITY
            }
            Self::Io { .. } => NETWORK_ERROR,
            Self::NoHealthy | Self::Unresolved(_) => NO_REACHABLE_AUTHORITY,
            Self::Concurrent(_) => OTHER,
        }
    }

    fn words(&self, with_local: bool) -> String {
        let Self::Io {
            phase,
            network,
            local,
            remote,
            source,
        } = self
        else {
            return String::new();
        };
        let local = local.filter(|_| with_local);
        let (verb, call) = match phase {
            Phase::Dial => ("dial", "connect"),
            Phase::Handshake => ("dial", "handshake"),
            Phase::Write => ("write", "write"),
            Phase::Read => ("read", "read"),
        };
        let reason = match source.kind() {
            io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
            io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
            io::ErrorKind::ConnectionRefused => format!("{call}: connection refused"),
            io::ErrorKind::ConnectionReset => format!("{call}: connection reset by peer"),
            io::ErrorKind::NetworkUnreachable => format!("{call}: network is unreachable"),
            io::ErrorKind::HostUnreachable => format!("{call}: no route to host"),
            _ if *phase == Phase::Handshake => format!("{call}: {source}"),
            _ => source.to_string(),
        };
        match local.filter(|_| !matches!(phase, Phase::Dial | Phase::Handshake)) {
            Some(local) => format!("{verb} {network} {local}->{remote}: {reason}"),
            None => format!("{verb} {network} {remote}: {reason}"),
        }
    }
}

/// Fills in what the place of a failure knows.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) network: &'static str,
    pub(crate) local: Option<SocketAddr>,
    pub(crate) remote: SocketAddr,
}

impl Place {
    pub(crate) fn error(self, phase: Phase, source: io::Error) -> UpstreamError {
        UpstreamError::Io {
            phase,
            network: self.network,
            local: self.local,
            remote: self.remote,
            source,
        }
    }

    pub(crate) fn timeout(self, phase: Phase) -> UpstreamError {
        self.error(phase, io::ErrorKind::TimedOut.into())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.network, self.remote)
    }
}
