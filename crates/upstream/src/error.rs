//! What went wrong, where, and in which phase.
use std::fmt;
use std::io;
use std::net::SocketAddr;

/// How far an exchange came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Opening the socket, the connection, the TLS session.
    Dial,
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
        /// `udp` or `tcp`.
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
    /// Too many queries are in flight.
    #[error("concurrent queries exceeded maximum {0}")]
    Concurrent(usize),
}

impl UpstreamError {
    fn sentence(&self) -> String {
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
        let (verb, call) = match phase {
            Phase::Dial => ("dial", "connect"),
            Phase::Write => ("write", "write"),
            Phase::Read => ("read", "read"),
        };
        let reason = match source.kind() {
            io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
            // Go says only this when a peer closes; we add who it was.
            io::ErrorKind::UnexpectedEof => return format!("{remote}: EOF"),
            io::ErrorKind::ConnectionRefused => format!("{call}: connection refused"),
            io::ErrorKind::ConnectionReset => format!("{call}: connection reset by peer"),
            io::ErrorKind::NetworkUnreachable => format!("{call}: network is unreachable"),
            io::ErrorKind::HostUnreachable => format!("{call}: no route to host"),
            _ => source.to_string(),
        };
        match local.filter(|_| *phase != Phase::Dial) {
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
