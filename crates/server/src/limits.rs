//! Every bound of the transports, in one place.
use std::time::Duration;

/// Messages of one `recvmmsg` call.
pub(crate) const BATCH_MESSAGES: usize = 64;
/// Octets of the largest UDP query: what EDNS clients announce for themselves at most in practice.
pub(crate) const UDP_QUERY_OCTETS_MAX: usize = 4096;
/// Kernel queue of a UDP socket, in octets: some 5,000 small queries, so that a burst outlives a
/// scheduling delay.
pub(crate) const UDP_QUEUE_OCTETS: usize = 4 << 20;
/// Messages for which it has room at most: the kernel takes twice as many octets, and counts more than
/// 512 for the smallest message.
pub(crate) const UDP_QUEUE_MESSAGES: usize = 2 * UDP_QUEUE_OCTETS / 512;
/// Where a socket's load begins to be shed: this share of the kernel queue is taken, and the kernel
/// is about to lose the newest queries.
pub(crate) const SHED_FROM: f32 = 0.75;
/// Where it ends. The kernel may count up to a quarter that has already been received.
pub(crate) const SHED_UNTIL: f32 = 0.5;
/// Exchanges of one worker that wait for the network; beyond it new ones are dropped and memory
/// answers go on.
pub(crate) const WAITING_MAX: usize = 16_384;
/// Open connections of the process, TCP and QUIC; beyond it those that were idle longest are closed.
pub(crate) const CONNECTIONS_MAX: usize = 8192;
/// Of these one client may have so many: much for a proxy in front, and little enough that others
/// find room beside a client that means no good.
pub(crate) const CLIENT_CONNECTIONS_MAX: usize = CONNECTIONS_MAX / 4;
/// Connections that are closed at once when the operating system has no room for another.
pub(crate) const CONNECTIONS_CLOSED_AT_ONCE: usize = 16;
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
/// Octets of memory that a connection keeps to read into, and as many to collect replies in, however much
/// it once needed.
pub(crate) const KEPT_OCTETS: usize = 16 * 1024;
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
/// For so long a connection is heard whose address is no longer served: what the kernel has of it was
/// asked before.
pub(crate) const LAST_WORDS: Duration = Duration::from_millis(50);
/// A handshake that is under way when its address is no longer served must be over within this time.
pub(crate) const LAST_HANDSHAKE: Duration = Duration::from_secs(2);
/// How long the end of a worker waits for calls that block, such as of a file system.
pub(crate) const LAST_CALLS: Duration = Duration::from_secs(2);
/// Waiting connections that the kernel keeps for a listener.
pub(crate) const BACKLOG: i32 = 1024;
/// Open connections of a DoH or gRPC listener, unless its blocks say otherwise (CoreDNS's value).
pub(crate) const WEB_CONNECTIONS_MAX: usize = 200;
/// Requests of one connection that a DoH client may have open.
pub(crate) const WEB_STREAMS_MAX: u32 = 128;
/// The same for gRPC, unless the blocks say otherwise (CoreDNS's value).
pub(crate) const GRPC_STREAMS_MAX: u32 = 256;
/// Octets of a request's body: a DNS message, and what gRPC has around it.
pub(crate) const WEB_BODY_OCTETS_MAX: u32 = 65_535 + 16;
/// Octets of input that a connection of HTTP holds: the longest frame of HTTP/2.
pub(crate) const WEB_INPUT_OCTETS: usize = 9 + 16 * 1024;
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

// QUIC (`quic`).
/// Streams that a client may have open on one connection (CoreDNS's value for DoQ and DoH3).
pub(crate) const QUIC_STREAMS_MAX: u32 = 256;
/// Queries of one DoQ listener that wait for the network at the same time (CoreDNS's value).
pub(crate) const QUIC_WAITING_MAX: usize = 1024;
/// Connections of one DoH3 listener (CoreDNS's value).
pub(crate) const HTTP3_CONNECTIONS_MAX: usize = 200;
/// Octets that a client may have sent on one stream, and on all streams of a connection, and that
/// nobody has read yet.
pub(crate) const QUIC_STREAM_WINDOW: u32 = 16 * 1024;
pub(crate) const QUIC_WINDOW: u32 = 32 * 1024;
/// Octets of replies on one connection that are under way.
pub(crate) const QUIC_SEND_WINDOW: u64 = 128 * 1024;
/// Octets of unfinished queries, and of replies that do not fit into the window, on one connection.
pub(crate) const QUIC_HELD_OCTETS: usize = 192 * 1024;
/// Streams of one worker whose query or end has not come yet. When half of them are taken a connection
/// may have no more than a few; lost packets explain those.
pub(crate) const QUIC_UNFINISHED_MAX: usize = 8192;
pub(crate) const QUIC_UNFINISHED_FEW: usize = 16;
/// Octets of a handshake's messages that are kept until those before them arrive.
pub(crate) const QUIC_CRYPTO_OCTETS: usize = 16 * 1024;
/// Handshakes of one worker under way from which on clients must show first that they receive what is
/// sent to them (Retry, RFC 9000 section 8.1.2).
pub(crate) const QUIC_RETRY_FROM: usize = 64;
/// Handshakes of one worker under way; beyond it clients get no answer and try again.
pub(crate) const QUIC_HANDSHAKES_MAX: usize = 1024;
/// Octets that are kept of a connection that is about to be accepted, and of all of them.
pub(crate) const QUIC_INCOMING_OCTETS: u64 = 16 * 1024;
pub(crate) const QUIC_INCOMING_OCTETS_ALL: u64 = 4 << 20;
/// Sessions that the process remembers so that clients can resume them, with 0-RTT.
pub(crate) const QUIC_SESSIONS_KEPT: usize = 4096;
/// Clients behind proxies that a QUIC socket knows the way to; the one that was silent longest is
/// forgotten first.
pub(crate) const QUIC_PATHS_MAX: usize = 16_384;
/// How long it knows it: longer than connections that nobody uses stay open.
pub(crate) const QUIC_PATH_KEPT: Duration = Duration::from_secs(600);
/// What was sent last on a connection that ends is given this time to arrive, at most.
pub(crate) const QUIC_LAST_WORDS: Duration = Duration::from_millis(500);
