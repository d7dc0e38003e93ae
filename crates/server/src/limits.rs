//! Every bound of the transports, in one place.
use std::time::Duration;

/// Messages of one `recvmmsg` call.
pub(crate) const BATCH_MESSAGES: usize = 64;
/// Octets of the largest UDP query: what EDNS clients announce for themselves at most in practice.
pub(crate) const UDP_QUERY_OCTETS_MAX: usize = 4096;
/// Kernel queue of a UDP socket, in octets: some 5,000 small queries, so that a burst outlives a
/// scheduling delay.
pub(crate) const UDP_QUEUE_OCTETS: usize = 4 << 20;
/// Where a socket's load begins to be shed: this share of the kernel queue is taken, and the kernel
/// is about to lose the newest queries.
pub(crate) const SHED_FROM: f32 = 0.75;
/// Where it ends. The kernel may count up to a quarter that has already been received.
pub(crate) const SHED_UNTIL: f32 = 0.5;
/// Exchanges of one worker that wait for the network; beyond it new ones are dropped and memory
/// answers go on.
pub(crate) const WAITING_MAX: usize = 16_384;
/// Open TCP and TLS connections of the process; beyond it new ones are closed.
pub(crate) const CONNECTIONS_MAX: usize = 8192;
/// Queries of one connection that wait at the same time; reading stops until some are answered.
pub(crate) const PIPELINE_MAX: usize = 128;
/// Messages of one answer that wait to be written, when it has several.
pub(crate) const PARTS_MAX: usize = 2;
/// Queries of one connection that are answered in one go at most, and how many of them make a turn
/// after which everybody else is served.
pub(crate) const TURN_QUERIES_MAX: u64 = 128;
pub(crate) const TURN_QUERIES: u64 = 16;
/// Octets that one read from a connection takes at most.
pub(crate) const READ_OCTETS: usize = 4 * 1024;
/// Octets of replies collected before they are written.
pub(crate) const WRITE_OCTETS: usize = 64 * 1024;
/// A connection must send its first whole query within this time (CoreDNS's value).
pub(crate) const FIRST_QUERY: Duration = Duration::from_secs(3);
/// Afterwards it may be silent for this time (CoreDNS's value). Only whole queries count, so
/// dripping octets do not help.
pub(crate) const IDLE: Duration = Duration::from_secs(10);
/// A client that does not take its replies for this time is given up.
pub(crate) const WRITE: Duration = Duration::from_secs(5);
/// A TLS handshake must be over within this time.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(5);
/// A handshake waits this long for the first certificate; the client gets an alert afterwards.
pub(crate) const FIRST_CERTIFICATE: Duration = Duration::from_secs(10);
/// A connection that had all its queries is read this long, and no more than this many octets, so
/// that its end does not destroy replies on their way.
pub(crate) const LINGER: Duration = Duration::from_secs(1);
pub(crate) const LINGER_OCTETS: usize = 1 << 20;
/// What is under way when a configuration ends may take this long (CoreDNS's value).
pub(crate) const DRAIN: Duration = Duration::from_secs(5);
/// Waiting connections that the kernel keeps for a listener.
pub(crate) const BACKLOG: i32 = 1024;
/// Open connections to HTTP endpoints; beyond it new ones are closed.
pub(crate) const HTTP_CONNECTIONS_MAX: usize = 256;
/// Waiting connections that the kernel keeps for an HTTP endpoint.
pub(crate) const HTTP_BACKLOG: i32 = 128;
/// The head of an HTTP request must be there within this time.
pub(crate) const HTTP_HEADER: Duration = Duration::from_secs(10);
/// Lines of an HTTP request's head.
pub(crate) const HTTP_HEADERS_MAX: usize = 64;
/// Octets of an HTTP request's head.
pub(crate) const HTTP_HEADER_OCTETS_MAX: usize = 16 * 1024;
/// An HTTP connection ends after this time, or with the answer that is under way then.
pub(crate) const HTTP_CONNECTION: Duration = Duration::from_secs(120);
/// That answer must be over within this time; CPU profiles take their time.
pub(crate) const HTTP_RESPONSE: Duration = Duration::from_secs(330);
